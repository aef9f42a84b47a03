//! Nodes that should be heard on a segment and never were: what the API server shows of them goes into
//! the world beside what is heard of the others, and people are told.
//!
//! Whether such a node lives is for [`peers`] to say. What it announces, by its ServiceL2Status objects,
//! counts as its claims: so the plan knows no difference between who is heard and who is not.

pub(super) mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ipnet::IpNet;
use kube::Client;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Settings, Speaker};
use crate::layer2::Report;
use crate::lookout::View;
use crate::lookout::driver::Lookout;
use crate::plan::{self, Interfaces};
use crate::reports::{self, Key, Notice, Sign};
use crate::status::Blocked;
use crate::world::{Claim, Heard, LinkState, Segment, Standing, World};
use peers::{Evidence, News, Peers};

/// The machine, and what it sees through.
#[derive(Default)]
pub(super) struct BlockedLink {
    lookout: Option<(Lookout, watch::Receiver<Arc<View>>)>,
    pub(super) peers: Peers,
    /// What was put into the world for those that are not heard.
    claims: BTreeMap<IpAddr, Vec<Claim>>,
    told: Sign,
}

/// What those that count as alive say that they hold.
fn claims(alive: &Heard, view: &View, world: &World) -> BTreeMap<IpAddr, Vec<Claim>> {
    let mut claims = BTreeMap::<IpAddr, Vec<Claim>>::new();
    for (node, ways) in alive {
        let from: BTreeSet<&String> = ways.values().flatten().collect();
        for (service, on) in view.announced.get(node).into_iter().flatten() {
            for interface in from
                .iter()
                .filter(|name| on.is_empty() || on.contains(name))
            {
                for address in world.ingress_of(service) {
                    claims.entry(address).or_default().push(Claim {
                        node: node.as_str().into(),
                        interface: interface.as_str().into(),
                        standing: Standing::Holds,
                    });
                }
            }
        }
    }
    claims
}

/// What is known of the others.
pub(super) struct Seen {
    pub(super) segment: Segment,
    /// Of the addresses where that has changed.
    pub(super) claims: BTreeMap<IpAddr, Vec<Claim>>,
    /// Who counts as alive and is not heard.
    pub(super) unheard: Heard,
}

/// The interfaces on which this node announces and that are up, with what they are on.
fn links(report: &Report, interfaces: &Interfaces) -> BTreeMap<String, Vec<IpNet>> {
    let links = report.interfaces.iter();
    let links = links.filter(|(name, link)| link.is_up && interfaces.include(name));
    let links = links.map(|(name, link)| {
        let nets = link.addresses.iter();
        let nets = nets.filter(|net| is_of_a_segment(net));
        (name.clone(), nets.copied().collect::<Vec<_>>())
    });
    links.filter(|(_, nets)| !nets.is_empty()).collect()
}

/// Whether others may be on the same network, as far as the address tells.
fn is_of_a_segment(net: &IpNet) -> bool {
    let is_local = match net.addr() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    net.prefix_len() < net.max_prefix_len() && !is_local
}

impl BlockedLink {
    /// For a speaker in a cluster.
    pub(super) fn start(client: Option<Client>, settings: &Settings) -> Self {
        let node = &settings.identity.node;
        let lookout = client.map(|client| {
            let lookout = Lookout::start(client, node, &settings.namespace);
            let view = lookout.view();
            (lookout, view)
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            lookout,
            // Another number than an earlier run has said.
            peers: Peers::new(since.unwrap_or_default().as_secs()),
            ..Self::default()
        }
    }

    /// Waits until something else is shown; for ever without a cluster. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let is_changed = match &mut self.lookout {
            Some((_, view)) => view.changed().await.is_ok(),
            None => false,
        };
        if !is_changed {
            std::future::pending::<()>().await;
        }
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.peers.deadline()
    }

    /// Somebody is missed who may live, and whose claims count.
    pub(super) fn is_active(&self) -> bool {
        self.peers.is_active()
    }

    /// Layer 2 does not run, so that nobody can be missed.
    fn pause(&mut self) -> Vec<News> {
        self.claims.clear();
        self.peers.pause()
    }

    /// Who lives and is not heard, for people.
    pub(super) fn status(&self) -> Vec<Blocked> {
        let told = self.peers.told();
        let told = told.map(|(node, interfaces, since)| Blocked {
            node: node.to_owned(),
            interfaces: interfaces.cloned().collect(),
            since: crate::status::time(since),
        });
        told.collect()
    }

    /// Takes in what is known, and gives what the world is to know, and people.
    pub(super) fn see(
        &mut self,
        evidence: &Evidence<'_>,
        is_settled: bool,
        segment: Segment,
        told: BTreeMap<IpAddr, Vec<Claim>>,
        world: &World,
    ) -> (Seen, Vec<News>) {
        let news = match is_settled {
            true => self.peers.judge(evidence),
            false => self.peers.pause(),
        };
        let alive = self.peers.alive(evidence.view);
        let claims = claims(&alive, evidence.view, world);
        let seen = Seen {
            claims: self.replace_claims(claims, told, world),
            segment: self.amend(segment, alive.clone()),
            unheard: alive,
        };
        (seen, news)
    }

    /// What is claimed of the addresses where that has changed, by those that are heard and those that
    /// are not.
    fn replace_claims(
        &mut self,
        claims: BTreeMap<IpAddr, Vec<Claim>>,
        mut told: BTreeMap<IpAddr, Vec<Claim>>,
        world: &World,
    ) -> BTreeMap<IpAddr, Vec<Claim>> {
        let before = std::mem::replace(&mut self.claims, claims);
        let addresses: BTreeSet<&IpAddr> = before.keys().chain(self.claims.keys()).collect();
        for address in addresses {
            let old = before.get(address).map_or(&[][..], Vec::as_slice);
            let new = self.claims.get(address).map_or(&[][..], Vec::as_slice);
            if old != new && !told.contains_key(address) {
                let mut heard = world.claims_at(*address).to_vec();
                // One for each: who has come to be heard meanwhile says the same.
                for claim in old {
                    if let Some(at) = heard.iter().position(|heard| heard == claim) {
                        heard.remove(at);
                    }
                }
                told.insert(*address, heard);
            }
            if let Some(all) = told.get_mut(address) {
                all.extend(new.iter().cloned());
            }
        }
        told
    }

    /// Brings what the heartbeats say of the others together with what the server shows.
    fn amend(&self, segment: Segment, alive: Heard) -> Segment {
        match segment {
            Segment::Known { links, .. } if self.peers.is_waiting() => Segment::Listening { links },
            Segment::Known {
                mut links,
                mut heard,
                waiting,
                unknown,
            } => {
                let shared = alive.values().flat_map(BTreeMap::keys);
                for link in shared {
                    if let Some(state @ LinkState::Alone) = links.get_mut(link) {
                        *state = LinkState::Up;
                    }
                }
                heard.extend(alive);
                Segment::Known {
                    links,
                    heard,
                    waiting,
                    unknown,
                }
            }
            Segment::Listening { .. } | Segment::Off(_) => segment,
        }
    }
}

impl Speaker {
    /// What is known of the others: by their heartbeats, and of those that are not heard by the API
    /// server's view.
    pub(super) fn look_out(
        &mut self,
        report: &Report,
        segment: Segment,
        told: BTreeMap<IpAddr, Vec<Claim>>,
    ) -> Seen {
        let mut settled = report.interfaces.values();
        let is_settled = settled.any(|link| link.is_up && link.is_settled);
        let Some((_, view)) = self.blocked.lookout.as_mut().filter(|_| self.is_ready) else {
            return Seen {
                segment,
                claims: told,
                unheard: Heard::new(),
            };
        };
        let view = Arc::clone(&view.borrow_and_update());
        let interfaces = plan::heartbeat(&self.world).filter(|_| is_settled);
        let missed = match &interfaces {
            Some(_) => plan::candidates(&self.world, |node| report.nodes.contains_key(node)),
            None => BTreeSet::new(),
        };
        let own = reports::name(&Key::Configuration, &self.settings.identity.node);
        let evidence = Evidence {
            now: Instant::now(),
            wall: SystemTime::now(),
            own: &own,
            missed,
            links: interfaces.map_or_else(BTreeMap::new, |names| links(report, &names)),
            view: &view,
        };
        let (seen, news) = self
            .blocked
            .see(&evidence, is_settled, segment, told, &self.world);
        self.attend(&evidence);
        for news in news {
            self.tell_blocked(&news);
        }
        seen
    }

    /// Looks at the others while somebody is missed, and has this node show itself.
    fn attend(&mut self, evidence: &Evidence<'_>) {
        let link = &mut self.blocked;
        if let Some((lookout, _)) = &link.lookout {
            lookout.look(link.peers.attention(&evidence.missed));
        }
        let addresses = |nets: &Vec<IpNet>| nets.iter().map(IpNet::addr).collect();
        let interfaces = evidence.links.iter();
        let sign = Sign {
            beat: link.peers.sign_of_life(),
            interfaces: interfaces
                .map(|(name, nets)| (name.clone(), addresses(nets)))
                .collect(),
        };
        // Where nothing is to be announced there is nothing to be heard either.
        if sign != link.told && !sign.interfaces.is_empty() {
            link.told = sign.clone();
            if let Some(cluster) = &self.cluster {
                cluster.sign(sign);
            }
        }
    }

    /// Layer 2 does not run.
    pub(super) fn look_away(&mut self) {
        for news in self.blocked.pause() {
            self.tell_blocked(&news);
        }
    }

    fn tell_blocked(&self, news: &News) {
        match news {
            News::Blocked(node, interfaces) => {
                let interface = interfaces.join(", ");
                let reason = "it lives by the API server's view: is 224.0.0.254, UDP port 17946, let \
                              through between the nodes?";
                warn!(
                    node,
                    interface, reason, "heartbeats of a node are not heard"
                );
                let this = &self.settings.identity.node;
                let message = format!(
                    "node \"{this}\" has never heard node \"{node}\" on {interface}, although its speaker lives: let \
                     IPv4 multicast to 224.0.0.254, UDP port 17946, and the same port by unicast pass between the \
                     nodes; until then a takeover between the two takes up to 20 seconds"
                );
                if let Some(cluster) = &self.cluster {
                    cluster.notice(Notice {
                        is_warning: true,
                        reason: HEARTBEAT_BLOCKED,
                        message,
                    });
                }
            }
            News::Over(node) => info!(node, "heartbeats of a node are missed no more"),
            News::Down(node) => info!(node, "node is down by the API server's view"),
        }
        if let Some(cluster) = &self.cluster {
            cluster.note_blocked(self.blocked.status());
        }
    }
}

/// The event's reason.
const HEARTBEAT_BLOCKED: &str = "HeartbeatBlocked";

#[cfg(test)]
mod tests {
    use ferrolb_crds::model::ServiceKey;

    use super::*;
    use crate::run::simulation::{address, world};

    fn alive() -> Heard {
        let from = BTreeSet::from(["ens3".to_owned()]);
        let ways = BTreeMap::from([("eth0".to_owned(), from)]);
        Heard::from([("n2".to_owned(), ways)])
    }

    fn known(eth0: LinkState, heard: Heard) -> Segment {
        let links = [("eth0", eth0), ("eth1", LinkState::Alone)];
        let links = links.map(|(name, state)| (name.to_owned(), state));
        Segment::Known {
            links: links.into(),
            heard,
            waiting: Heard::new(),
            unknown: BTreeSet::new(),
        }
    }

    #[test]
    fn who_lives_and_is_not_heard_makes_a_segment_of_the_interface_and_is_heard_there() {
        let link = BlockedLink::default();
        let segment = known(LinkState::Alone, Heard::new());
        let amended = link.amend(segment.clone(), alive());
        assert_eq!(amended, known(LinkState::Up, alive()));
        assert_eq!(link.amend(segment.clone(), Heard::new()), segment);
    }

    #[test]
    fn what_it_announces_are_its_claims_on_the_interfaces_that_it_names() {
        let world = world("n1");
        let mut view = View::default();
        let mut announce = |node: &str, number: u32, on: &[&str]| {
            let service = ServiceKey::new("default", format!("web-{number}"));
            let on = on.iter().map(|name| (*name).to_owned()).collect();
            let announced = view.announced.entry(node.to_owned()).or_default();
            announced.insert(service, on);
        };
        announce("n2", 0, &[]);
        announce("n2", 1, &["ens3", "ens4"]);
        announce("n2", 2, &["ens4"]);
        announce("n3", 3, &[]);
        let claims = claims(&alive(), &view, &world);
        let claim = Claim {
            node: "n2".into(),
            interface: "ens3".into(),
            standing: Standing::Holds,
        };
        let expected = [0, 1].map(|n| (address(n), vec![claim.clone()]));
        assert_eq!(claims, BTreeMap::from(expected));
    }
}
