//! What became different: the log lines an operator would put in a timeline, and since when things
//! are as they are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use tracing::{debug, info, warn};

use crate::plan::{AddressPlan, Layer2, Plan, Reason, RefusedPort};
use crate::status::Since;

/// Which machines have something new to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) layer2: bool,
    pub(super) hand_off: bool,
}

impl Differences {
    /// Adds those between two plans of one address.
    pub(super) fn add(&mut self, old: Option<&AddressPlan>, new: Option<&AddressPlan>) {
        self.layer2 |= old.and_then(at_layer2) != new.and_then(at_layer2);
        let hand_off = |plan: &AddressPlan| (plan.is_handed_off(), plan.hand_off.clone());
        self.hand_off |= old.map(hand_off) != new.map(hand_off);
    }
}

/// What there is to do at layer 2, if there is anything.
fn at_layer2(plan: &AddressPlan) -> Option<&Layer2> {
    Some(&plan.layer2).filter(|layer2| layer2.is_concerned())
}

/// What the machines are still to be told.
///
/// A change by itself is told at once; those right behind it are told together, so that however fast
/// they come the telling takes a share of the time only. Layer 2 is told by a pass over all addresses, and
/// the hand-off in the same turn; the sessions are told what has changed, so their turn is soon.
#[derive(Debug, Default)]
pub(super) struct Owed {
    differs: Turn<Differences>,
    /// Of which routes may be others. Also when there are none the sessions are to be looked at.
    prefixes: Turn<BTreeSet<IpNet>>,
}

/// What is to be told, and not before when.
#[derive(Debug, Default)]
struct Turn<T> {
    owed: Option<T>,
    next: Option<Instant>,
}

impl<T> Turn<T> {
    fn deadline(&self) -> Option<Instant> {
        self.next.filter(|_| self.owed.is_some())
    }

    fn take(&mut self, now: Instant) -> Option<T> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.owed.take()
    }

    fn rest(&mut self, now: Instant, each: Duration, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.next = Some(now + each.saturating_mul(count).clamp(SHORTEST, LONGEST));
    }
}

impl Owed {
    /// They are to be told that, too.
    pub(super) fn add(&mut self, more: Differences, prefixes: BTreeSet<IpNet>) {
        let differs = self.differs.owed.get_or_insert_default();
        differs.layer2 |= more.layer2;
        differs.hand_off |= more.hand_off;
        self.prefixes.owed.get_or_insert_default().extend(prefixes);
    }

    /// When they are to be told.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let turns = [self.differs.deadline(), self.prefixes.deadline()];
        turns.into_iter().flatten().min()
    }

    /// What they are to be told now, which is a pass over so many addresses.
    pub(super) fn take(&mut self, now: Instant, addresses: usize) -> Option<Differences> {
        let differs = self.differs.take(now)?;
        if differs != Differences::default() {
            self.differs.rest(now, PER_ADDRESS, addresses);
        }
        // What is not to be handed off any more routers are told of in the same turn.
        if differs.hand_off {
            self.prefixes.next = None;
        }
        Some(differs)
    }

    /// Of which prefixes the sessions are to be told now.
    pub(super) fn take_prefixes(&mut self, now: Instant) -> Option<BTreeSet<IpNet>> {
        let prefixes = self.prefixes.take(now)?;
        if !prefixes.is_empty() {
            self.prefixes.rest(now, PER_ADDRESS, prefixes.len());
        }
        Some(prefixes)
    }

    /// The pass is made now whatever is the time: somebody waits for it.
    pub(super) fn hurry(&mut self) {
        self.differs.next = None;
    }

    /// Nobody waits for the pass: it is made when routers have heard of so many prefixes, which it would
    /// only hold up.
    pub(super) fn give_way(&mut self, now: Instant, prefixes: usize) {
        // One that is on its way is not put off.
        if self.differs.owed.is_none() {
            self.differs.next = None;
            if prefixes > 0 {
                self.differs.rest(now, PER_ADDRESS, prefixes);
            }
        }
    }
}

/// To tell of one takes about a microsecond of it.
const PER_ADDRESS: Duration = Duration::from_micros(20);

/// So long a router may hear nothing of the next change, so that many are few UPDATEs.
const SHORTEST: Duration = Duration::from_millis(3);

/// Nobody notices in what comes and goes with its Service.
const LONGEST: Duration = Duration::from_millis(100);

/// Logs how the plan of an address changed.
pub(super) fn log(address: IpAddr, old: Option<&AddressPlan>, new: Option<&AddressPlan>) {
    log_conflict(address, old, new);
    log_layer2(address, old, new);
    log_bgp(address, old, new);
    let refused = |plan: Option<&AddressPlan>| -> BTreeSet<RefusedPort> {
        plan.map(|plan| plan.hand_off.refused.clone())
            .unwrap_or_default()
    };
    for port in refused(new).difference(&refused(old)) {
        let RefusedPort {
            service,
            frontend,
            reason,
        } = port;
        let port = format!("{}/{}", frontend.port, frontend.protocol);
        warn!(%service, %address, port, reason, "port not handed off");
    }
}

/// Says once that somebody else has the address, and once that it is over.
fn log_conflict(address: IpAddr, old: Option<&AddressPlan>, new: Option<&AddressPlan>) {
    let others = |plan: Option<&AddressPlan>| plan.and_then(|plan| plan.layer2.others().cloned());
    let (before, present) = (others(old), others(new));
    if before == present {
        return;
    }
    for (interface, mac) in present.iter().flatten() {
        warn!(%address, interface, mac, "somebody else has the address");
    }
    if present.is_none() {
        info!(%address, "nobody else is known to have the address any more");
    }
}

fn log_layer2(address: IpAddr, old: Option<&AddressPlan>, new: Option<&AddressPlan>) {
    let was_held = old.is_some_and(|plan| plan.layer2.is_held());
    match new.map(|plan| (plan, &plan.layer2)) {
        Some((plan, Layer2::Held(holding))) => {
            let cause = holding.cause;
            let service = services(plan, |service| service.layer2.is_none());
            if !was_held {
                let reason = NODE_ASSIGNED;
                info!(%address, service, protocol = "layer2", reason, %cause, "address announced");
            }
            let missing: Vec<&str> = holding.missing.iter().map(String::as_str).collect();
            let missed = old.and_then(|plan| plan.layer2.missing());
            if !missing.is_empty() && missed != Some(&holding.missing) {
                let interface = missing.join(", ");
                warn!(%address, interface, "interface of an advertisement not usable here");
            }
        }
        Some((_, Layer2::Withheld { reason, .. })) if was_held => {
            info!(%address, protocol = "layer2", %reason, "address withdrawn");
        }
        Some((_, Layer2::Withheld { reason, .. })) => {
            debug!(%address, protocol = "layer2", %reason, "address not announced");
        }
        Some((
            _,
            Layer2::NotHeld {
                reason,
                detail,
                holder,
                ..
            },
        )) => {
            let node = holder.as_deref().unwrap_or_default();
            let detail = detail.as_deref().unwrap_or_default();
            let had_failed = old.is_some_and(|plan| plan.layer2.reason() == Some(*reason));
            if *reason == Reason::AnnounceFailed && !had_failed {
                warn!(%address, %reason, detail, "address cannot be announced");
            }
            if was_held {
                info!(%address, protocol = "layer2", %reason, node, "address withdrawn");
            } else {
                debug!(%address, protocol = "layer2", %reason, node, "address not announced");
            }
        }
        None if was_held => {
            let reason = SERVICE_DELETED;
            info!(%address, protocol = "layer2", reason, "address withdrawn");
        }
        None => {}
    }
}

fn log_bgp(address: IpAddr, old: Option<&AddressPlan>, new: Option<&AddressPlan>) {
    let is_advertised = |plan: Option<&AddressPlan>| plan.is_some_and(|p| !p.advertised.is_empty());
    match (is_advertised(old), new) {
        (false, Some(plan)) if is_advertised(new) => {
            let service = services(plan, |service| service.bgp.is_none());
            let reason = NODE_ASSIGNED;
            info!(%address, service, protocol = "bgp", reason, "address announced");
        }
        (true, Some(plan)) if !is_advertised(new) => {
            let reason = plan.services.iter().find_map(|(_, service)| service.bgp);
            let reason = reason.map_or(SERVICE_DELETED, Reason::as_str);
            info!(%address, protocol = "bgp", reason, "address withdrawn");
        }
        (true, None) => {
            let reason = SERVICE_DELETED;
            info!(%address, protocol = "bgp", reason, "address withdrawn");
        }
        (_, Some(_)) | (false, None) => {}
    }
}

fn services(plan: &AddressPlan, which: impl Fn(&crate::plan::ServicePlan) -> bool) -> String {
    let chosen = plan.services.iter().filter(|(_, service)| which(service));
    let names: Vec<String> = chosen.map(|(key, _)| key.to_string()).collect();
    names.join(", ")
}

/// Remembers when an address came to be held, or to be somebody else's.
pub(super) fn note_held(
    since: &mut Since,
    now: SystemTime,
    address: IpAddr,
    plan: Option<&AddressPlan>,
) {
    match plan.map(|plan| &plan.layer2) {
        Some(Layer2::Held(_)) => {
            since.held.entry(address).or_insert(now);
            since.not_held.remove(&address);
        }
        Some(layer2 @ (Layer2::Withheld { .. } | Layer2::NotHeld { .. })) => {
            since.held.remove(&address);
            let holder = layer2.other_holder();
            let known = since.not_held.get(&address);
            if known.is_none_or(|(known, _)| known.as_deref() != holder) {
                let holder = holder.map(str::to_owned);
                since.not_held.insert(address, (holder, now));
            }
        }
        None => {
            since.held.remove(&address);
            since.not_held.remove(&address);
        }
    }
}

/// Adds the prefixes that an address makes and did not, or the other way round.
pub(super) fn note_moved(
    moved: &mut BTreeSet<IpNet>,
    old: Option<&AddressPlan>,
    new: Option<&AddressPlan>,
) {
    if old.map(|plan| &plan.advertised) != new.map(|plan| &plan.advertised) {
        let plans = old.into_iter().chain(new);
        let advertised = plans.flat_map(|plan| &plan.advertised);
        moved.extend(advertised.map(|advertised| advertised.prefix));
    }
}

/// Remembers when each of these prefixes came to be advertised, if it is.
pub(super) fn note_advertised(
    since: &mut Since,
    now: SystemTime,
    moved: &BTreeSet<IpNet>,
    plan: &Plan,
) {
    for prefix in moved {
        let mut plans = plan.within(*prefix).map(|(_, plan)| plan);
        let makes_it = |plan: &AddressPlan| plan.advertised.iter().any(|one| one.prefix == *prefix);
        if plans.any(makes_it) {
            since.advertised.entry(*prefix).or_insert(now);
        } else {
            since.advertised.remove(prefix);
        }
    }
}

/// The event reason that operators know.
const NODE_ASSIGNED: &str = "nodeAssigned";

/// The withdraw reason of a Service that is no more, or no longer holds the address.
const SERVICE_DELETED: &str = "serviceDeleted";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::ops::Range;

    use super::*;

    const HAND_OFF: Differences = Differences {
        layer2: false,
        hand_off: true,
    };
    const LAYER2: Differences = Differences {
        layer2: true,
        hand_off: false,
    };

    /// Of single addresses, by number.
    fn prefixes(numbers: Range<u32>) -> BTreeSet<IpNet> {
        let hosts = numbers.map(|n| IpAddr::from(Ipv4Addr::from_bits(n)));
        hosts.map(IpNet::from).collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn a_change_is_told_at_once_and_those_right_behind_it_together() {
        let mut owed = Owed::default();
        let start = Instant::now();
        assert_eq!((owed.deadline(), owed.take(start, 1000)), (None, None));
        let none = BTreeSet::new;
        owed.add(HAND_OFF, none());
        assert_eq!(owed.take(start, 1000), Some(HAND_OFF));
        assert_eq!(owed.take_prefixes(start), Some(none()));
        assert_eq!(owed.deadline(), None);

        owed.add(HAND_OFF, none());
        owed.add(LAYER2, none());
        assert_eq!(owed.take_prefixes(start), Some(none()));
        let later = owed.deadline().unwrap();
        assert_eq!(later - start, Duration::from_millis(20));
        assert_eq!(owed.take(later - Duration::from_micros(1), 1000), None);
        let both = Differences {
            layer2: true,
            hand_off: true,
        };
        assert_eq!(owed.take(later, 1_000_000), Some(both));

        owed.add(LAYER2, none());
        assert_eq!(owed.take_prefixes(later), Some(none()));
        assert_eq!(owed.deadline(), Some(later + LONGEST));
        owed.hurry();
        assert_eq!(owed.take(later, 1), Some(LAYER2));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn a_pass_that_nobody_waits_for_lets_the_routers_hear_first() {
        let (mut owed, start) = (Owed::default(), Instant::now());
        for (prefixes, rest) in [(1, SHORTEST), (10_000, LONGEST)] {
            owed.give_way(start, prefixes);
            owed.add(HAND_OFF, BTreeSet::new());
            owed.give_way(start + SHORTEST / 2, prefixes);
            assert_eq!(owed.take(start, 1), None);
            assert_eq!(owed.take_prefixes(start), Some(BTreeSet::new()));
            assert_eq!(owed.deadline(), Some(start + rest));
            assert_eq!(owed.take(start + rest, 1), Some(HAND_OFF));
        }
        // Where no router hears of it.
        owed.give_way(start, 0);
        owed.add(HAND_OFF, BTreeSet::new());
        assert_eq!(owed.take(start, 1), Some(HAND_OFF));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn routers_are_told_no_later_than_what_is_handed_off_changes() {
        let (mut owed, start) = (Owed::default(), Instant::now());
        owed.add(Differences::default(), prefixes(0..10_000));
        assert!(owed.take(start, 10_000).is_some());
        assert!(owed.take_prefixes(start).is_some(), "and rests for long");
        let later = start + SHORTEST / 2;
        owed.give_way(later, 1);
        owed.add(HAND_OFF, prefixes(0..1));
        assert_eq!(owed.take_prefixes(later), None);
        let later = later + SHORTEST;
        assert_eq!(owed.take(later, 10_000), Some(HAND_OFF));
        assert_eq!(owed.take_prefixes(later), Some(prefixes(0..1)));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn the_turn_of_the_sessions_comes_however_long_a_pass_over_all_addresses_rests() {
        let mut owed = Owed::default();
        let start = Instant::now();
        owed.add(LAYER2, prefixes(1..2));
        assert_eq!(owed.take(start, 1_000_000), Some(LAYER2));
        assert_eq!(owed.take_prefixes(start), Some(prefixes(1..2)));

        owed.add(LAYER2, prefixes(2..3));
        owed.add(LAYER2, prefixes(3..4));
        assert_eq!(owed.take_prefixes(start), None);
        let soon = owed.deadline().unwrap();
        assert_eq!(soon, start + SHORTEST);
        assert_eq!(owed.take(soon, 1_000_000), None);
        assert_eq!(owed.take_prefixes(soon), Some(prefixes(2..4)));
        assert_eq!(owed.deadline(), Some(start + LONGEST));
    }
}
