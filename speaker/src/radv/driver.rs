//! Socket and clock of router discovery: one task for all interfaces, and nothing to decide.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, waits for its one deadline"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::{pending, poll_fn};
use std::io;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::link::{Input, Link};
use super::socket::{self, Arrival, Interface, Port};
use super::{Report, Router, Wanted};
use crate::wire::radv::{self, Received};

/// Router discovery at work, until it is dropped.
#[derive(Debug)]
pub struct Radv {
    wanted: watch::Sender<Wanted>,
    report: watch::Receiver<Report>,
    _task: JoinSet<()>,
}

impl Radv {
    /// On no interface yet. Needs a tokio runtime.
    pub fn start() -> Self {
        let (wanted, orders) = watch::channel(Wanted::new());
        let (reporter, report) = watch::channel(Report::new());
        let driver = Driver {
            wanted: orders,
            reporter,
            places: BTreeMap::new(),
            own: BTreeSet::new(),
            port: None,
            problem: None,
            look_at: None,
        };
        let mut task = JoinSet::new();
        task.spawn(driver.run());
        Self {
            wanted,
            report,
            _task: task,
        }
    }

    /// On these interfaces from now on.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|present| {
            let differs = *present != wanted;
            *present = wanted;
            differs
        });
    }

    /// Who is the router on each of them.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }
}

struct Driver {
    wanted: watch::Receiver<Wanted>,
    reporter: watch::Sender<Report>,
    places: BTreeMap<String, Place>,
    /// The link-local addresses of the interfaces that this node is advertised on: two of them may be on one
    /// link. Those of others do not count, a router may well have the same.
    own: BTreeSet<Ipv6Addr>,
    /// `None`: there is no interface, or it could not be opened.
    port: Option<Port>,
    /// Why it could not be the last time, as the log has it.
    problem: Option<String>,
    /// When the interfaces are looked at again.
    look_at: Option<Instant>,
}

/// One interface.
struct Place {
    link: Link,
    /// Its number, while it can be used.
    index: Option<u32>,
    /// Why it cannot.
    problem: Option<String>,
    /// What was sent last has not left.
    is_mute: bool,
}

impl Driver {
    async fn run(mut self) {
        loop {
            self.act();
            self.publish();
            let timeouts = self
                .places
                .values()
                .filter_map(|place| place.link.poll_timeout());
            let deadline = timeouts.chain(self.look_at).min();
            let (port, places, own) = (&mut self.port, &mut self.places, &self.own);
            let heard = async {
                match port {
                    Some(port) => {
                        poll_fn(|cx| port.poll_read(cx, |it| hear(places, own, it))).await
                    }
                    None => pending().await,
                }
            };
            let now = Instant::now;
            tokio::select! {
                wanted = self.wanted.changed() => match wanted {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                heard = heard => match heard {
                    // Of many things that happen to interfaces at once the last one counts.
                    Ok(true) => self.look_again(now() + LOOK_LAG),
                    Ok(false) => {}
                    Err(error) => self.lose_port(&error),
                },
                () = until(deadline) => {}
            }
            let now = now();
            if self.look_at.is_some_and(|at| at <= now) {
                self.look_at = None;
                self.look(now);
            }
            for place in self.places.values_mut() {
                place.link.handle_timeout(now);
            }
            // Who speaks all the time must not keep the sessions waiting.
            tokio::task::yield_now().await;
        }
    }

    fn follow(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.places.retain(|name, _| wanted.contains_key(name));
        let now = Instant::now();
        for (name, is_in_use) in wanted {
            let place = || Place {
                link: Link::new(fastrand::Rng::with_seed(fastrand::u64(..))),
                index: None,
                problem: None,
                is_mute: false,
            };
            let place = self.places.entry(name).or_insert_with(place);
            place.link.handle(now, Input::InUse(is_in_use));
        }
        match self.places.is_empty() {
            true => (self.port, self.look_at) = (None, None),
            false => self.look(now),
        }
    }

    fn look_again(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |planned| planned.min(at)));
    }

    /// Nothing is known without a socket, but that a router with a session is there.
    fn lose_port(&mut self, error: &io::Error) {
        let now = Instant::now();
        let problem = format!("router discovery has no socket: {error}");
        self.port = None;
        self.look_again(now + RETRY);
        for place in self.places.values_mut() {
            if place.link.router().is_none() || !place.link.is_in_use() {
                place.take(now, None, Some(problem.clone()));
            }
        }
        if self.problem.as_ref() != Some(&problem) {
            warn!(%error, "router discovery has no socket, trying again");
            self.problem = Some(problem);
        }
    }

    /// Makes each link what its interface is.
    fn look(&mut self, now: Instant) {
        if self.port.is_none() {
            match Port::open() {
                Ok(port) => self.port = Some(port),
                Err(error) => return self.lose_port(&error),
            }
        }
        let names = self.places.keys().map(String::as_str).collect();
        let (Some(port), Ok(found)) = (&self.port, socket::interfaces(&names)) else {
            return self.look_again(now + RETRY);
        };
        let mut has_failed = false;
        for (name, place) in &mut self.places {
            let mut state = usable(name, found.get(name));
            // Each time: the socket may be another one.
            if let Ok(index) = state
                && let Err(error) = port.join(index)
            {
                has_failed = true;
                state = Err(format!(
                    "router solicitations on {name} cannot be heard: {error}"
                ));
            }
            place.take(now, state.as_ref().ok().copied(), state.err());
        }
        let own = found.into_values().flat_map(|it| it.link_local);
        self.own = own.collect();
        if has_failed {
            self.look_again(now + RETRY);
        }
    }

    fn act(&mut self) {
        let Some(port) = &self.port else {
            return;
        };
        for (interface, place) in &mut self.places {
            let Some(index) = place.index else {
                continue;
            };
            while let Some(packet) = place.link.poll() {
                let sent = port.send(index, packet);
                place.is_mute = sent.is_err();
                if let Err(error) = sent {
                    debug!(%interface, %error, ?packet, "not sent");
                }
            }
        }
    }

    fn publish(&self) {
        let places = self.places.iter();
        let report: Report = places
            .map(|(name, place)| (name.clone(), place.router(name)))
            .collect();
        self.reporter.send_if_modified(|published| {
            let is_news = *published != report;
            *published = report;
            is_news
        });
    }
}

impl Place {
    fn take(&mut self, now: Instant, index: Option<u32>, problem: Option<String>) {
        self.problem = problem;
        if self.index != index {
            self.link.handle(now, Input::Down);
            if index.is_some() {
                self.link.handle(now, Input::Up);
            }
            self.index = index;
        } else if self.is_mute {
            self.link.handle(now, Input::Unsent);
        }
    }

    fn router(&self, interface: &str) -> Result<Router, String> {
        match (self.link.router(), self.index, &self.problem) {
            (Some(address), Some(interface), _) => Ok(Router { address, interface }),
            (_, _, Some(problem)) => Err(problem.clone()),
            (_, _, None) => Err(format!("no router advertisement heard on {interface} yet")),
        }
    }
}

/// A message on some interface.
fn hear(places: &mut BTreeMap<String, Place>, own: &BTreeSet<Ipv6Addr>, arrival: &Arrival<'_>) {
    if own.contains(&arrival.source) {
        return;
    }
    let mut places = places.iter_mut();
    let of = places.find(|(_, place)| place.index == Some(arrival.interface));
    let Some((interface, Place { link, .. })) = of else {
        return;
    };
    let input = match radv::parse(arrival.source, arrival.hop_limit, arrival.octets) {
        Ok(Received::Solicitation) => Input::Solicitation,
        Ok(Received::Advertisement { lifetime }) => Input::Advertisement {
            from: arrival.source,
            lifetime,
        },
        Err(error) => {
            let from = arrival.source;
            return debug!(%interface, %from, %error, "message of router discovery dropped");
        }
    };
    let (router, was_contested) = (link.router(), link.is_contested());
    link.handle(Instant::now(), input);
    let other = arrival.source;
    match (router, link.router()) {
        (None, Some(router)) => info!(%interface, %router, "router heard"),
        (Some(old), Some(router)) if old != router => {
            debug!(%interface, %old, %router, "a router without a session gives way");
        }
        _ => {}
    }
    if let Some(router) = router.filter(|_| link.is_contested() && !was_contested) {
        warn!(%interface, %router, %other, "another router heard: who has a session keeps its place");
    }
}

/// The number of an interface that can be used, or in words why it cannot.
fn usable(name: &str, interface: Option<&Interface>) -> Result<u32, String> {
    match interface {
        None => Err(format!("interface {name} does not exist")),
        Some(Interface { is_up: false, .. }) => Err(format!("interface {name} is down")),
        Some(Interface { link_local, .. }) if link_local.is_empty() => {
            Err(format!("interface {name} has no IPv6 link-local address"))
        }
        Some(interface) => Ok(interface.index),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// How long to wait for more to happen to interfaces before they are looked at.
const LOOK_LAG: Duration = Duration::from_millis(50);
/// How long to wait before what could not be done is tried again.
const RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::radv::ADVERTISEMENT;

    #[test]
    fn this_node_is_not_the_router_of_its_other_interface_on_the_link() {
        let [router, own] = ["fe80::1", "fe80::2"].map(|address| address.parse().unwrap());
        let mut link = Link::new(fastrand::Rng::with_seed(1));
        link.handle(Instant::now(), Input::Up);
        let place = Place {
            link,
            index: Some(7),
            problem: None,
            is_mute: false,
        };
        let mut places = BTreeMap::from([("eth1".to_owned(), place)]);
        let mut heard = |source| {
            let arrival = Arrival {
                source,
                interface: 7,
                hop_limit: 255,
                octets: &ADVERTISEMENT,
            };
            hear(&mut places, &BTreeSet::from([own]), &arrival);
            places["eth1"].link.router()
        };
        assert_eq!(heard(own), None);
        assert_eq!(heard(router), Some(router));
    }
}
