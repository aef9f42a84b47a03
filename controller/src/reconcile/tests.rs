mod hints;

use ferrolb_crds::model::FamilyPolicy::{PreferDual, RequireDual};
use ferrolb_crds::model::{
    Operator, Pool, Requirement, Selector, ServiceAllocation, TrafficPolicy,
};
use proptest::prelude::*;

use super::*;
use crate::fixture::{
    V4, V6, With, config, incomplete, ips, key, labels, manual, now, pool, service,
};

/// A reconciler, its clock, and what would be on disk.
struct Bench {
    reconciler: Reconciler,
    now: Instant,
    disk: BTreeMap<ServiceKey, Arc<Status>>,
}

impl Bench {
    /// Without quarantine, which has tests of its own.
    fn new(changes: impl IntoIterator<Item = Change>) -> Self {
        Self::resting(Duration::ZERO, changes)
    }

    fn resting(quarantine: Duration, changes: impl IntoIterator<Item = Change>) -> Self {
        let class = None;
        let mut bench = Self {
            reconciler: Reconciler::new(Settings { class, quarantine }, BTreeMap::new()),
            now: now(),
            disk: BTreeMap::new(),
        };
        bench.apply(changes);
        bench.apply([Change::Synced]);
        bench
    }

    /// Returns what was put out.
    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Output> {
        self.reconciler.apply(self.now, changes);
        let mut outputs = Vec::new();
        while let Some(output) = self.reconciler.poll() {
            match &output {
                Output::Write(key, status) => {
                    self.disk.insert(key.clone(), status.clone());
                }
                Output::Remove(key) => {
                    self.disk.remove(key);
                }
            }
            outputs.push(output);
        }
        outputs
    }

    fn ingress(&self, name: &str) -> Vec<IpAddr> {
        let status = self.disk.get(&key(name));
        status.map_or_else(Vec::new, |status| status.ingress.clone())
    }

    #[track_caller]
    fn assert_holds(&self, name: &str, addresses: &[&str]) {
        let message = self.disk.get(&key(name)).map(|status| &status.message);
        assert_eq!(self.ingress(name), ips(addresses), "{name}: {message:?}");
    }
}

fn gone(name: &str) -> Change {
    Change::Service(key(name), None)
}

fn v4() -> Pool {
    pool("a", &["10.0.0.0/30"])
}

fn single() -> Pool {
    pool("a", &["10.0.0.0/32"])
}

fn any_unreadable() -> Change {
    Change::Unreadable(Unreadable {
        any: true,
        ..Unreadable::default()
    })
}

#[test]
fn i1_an_address_is_given_to_two_only_if_they_may_share() {
    let changes = [config(&[single()]), service("a").change()];
    let mut bench = Bench::new(changes);
    bench.apply([service("b").change()]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.assert_holds("b", &[]);
    bench.apply([service("c").sharing("k").change()]);
    bench.assert_holds("c", &[]);
}

#[test]
fn i2_a_restart_changes_nothing_and_writes_nothing() {
    let dual = pool("d", &["10.9.0.0/30", "fc00:9::/126"]);
    let pools = [v4(), dual];
    let services = [
        service("a").sharing("k"),
        service("b").sharing("k").port(1),
        service("c").dual(PreferDual),
        service("d").from_pool("nowhere"),
        service("e").wanting("10.0.0.3"),
    ];
    let changes = services.clone().map(With::change);
    let bench = Bench::new([config(&pools)].into_iter().chain(changes));
    assert_eq!(bench.disk.len(), 5);

    let mut again = Reconciler::new(Settings::default(), bench.disk.clone());
    let held = services.map(|mut service| {
        service.ingress = bench.disk[&service.key].ingress.clone();
        service.change()
    });
    again.apply(now(), held);
    again.apply(now(), [config(&pools), Change::Synced]);
    assert_eq!(again.poll(), None);
}

#[test]
fn i2_nobody_moves_for_another_service_or_a_pool_that_grew_or_was_split() {
    let mut bench = Bench::new([config(&[v4()]), service("a").created(9).change()]);
    bench.apply([
        service("b").created(1).change(),
        config(&[pool("a", &["10.0.0.0/24"]), pool("0", &["10.1.0.0/24"])]),
        gone("b"),
    ]);
    bench.assert_holds("a", &["10.0.0.0"]);
    let split = [pool("x", &["10.0.0.0/32"]), pool("y", &["10.0.0.1/32"])];
    bench.apply([config(&split)]);
    bench.assert_holds("a", &["10.0.0.0"]);
    assert_eq!(bench.disk[&key("a")].pool.as_deref(), Some("x"));
}

#[test]
fn i3_nothing_is_decided_before_everything_present_is_known() {
    let mut reconciler = Reconciler::new(Settings::default(), BTreeMap::new());
    let new = service("a").created(1).change();
    reconciler.apply(now(), [config(&[single()]), new]);
    assert_eq!(reconciler.poll(), None);
    let holder = service("b").created(2).holding(&["10.0.0.0"]).change();
    reconciler.apply(now(), [holder, Change::Synced]);
    let outputs: Vec<_> = std::iter::from_fn(|| reconciler.poll()).collect();
    let ingress: Vec<_> = outputs.iter().map(ingress_of).collect();
    assert_eq!(ingress, [vec![], ips(&["10.0.0.0"])]);
}

fn ingress_of(output: &Output) -> Vec<IpAddr> {
    match output {
        Output::Write(_, status) => status.ingress.clone(),
        Output::Remove(_) => Vec::new(),
    }
}

#[test]
fn i4_what_changes_nothing_puts_out_nothing() {
    let refused = service("b").from_pool("x");
    let mut bench = Bench::new([
        config(&[v4()]),
        service("a").change(),
        refused.clone().change(),
    ]);
    let same = [config(&[v4()]), service("a").change(), refused.change()];
    assert_eq!(bench.apply(same), []);
    // A Service's own record comes back to it, or an old one does.
    let echo = [
        service("a").holding(&["10.0.0.0"]).change(),
        service("b").from_pool("x").holding(&["10.0.0.1"]).change(),
    ];
    assert_eq!(bench.apply(echo), []);
    assert_eq!(
        bench.apply([Change::Synced, Change::Orphans(BTreeMap::new())]),
        []
    );
}

#[test]
fn i5_a_pool_set_aside_takes_nothing_and_says_so() {
    let mut bench = Bench::new([config(&[v4()]), service("a").change()]);
    bench.apply([incomplete(&[])]);
    bench.assert_holds("a", &["10.0.0.0"]);
    let status = &bench.disk[&key("a")];
    assert_eq!(status.reason, "PoolSetAside");
    assert_eq!(status.pool.as_deref(), Some("a"));
    bench.apply([config(&[pool("b", &["10.1.0.0/30"])])]);
    bench.assert_holds("a", &["10.1.0.0"]);
}

#[test]
fn i5_what_may_exist_unread_keeps_its_address_and_its_record() {
    let orphan = |name: &str| BTreeMap::from([(key(name), ips(&["10.0.0.0"]))]);
    let mut bench = Bench::new([
        config(&[v4()]),
        any_unreadable(),
        Change::Orphans(orphan("u")),
        service("a").change(),
    ]);
    assert_eq!(bench.disk.keys().collect::<Vec<_>>(), [&key("a")]);
    bench.assert_holds("a", &["10.0.0.1"]);
    // Once it can be read it has what it had.
    bench.apply([service("u").change()]);
    bench.assert_holds("u", &["10.0.0.0"]);
    // Gone from where it was, it may be in what cannot be read, if that changed since.
    let hidden = Change::Unreadable(Unreadable {
        any: true,
        services: BTreeSet::from([key("u")]),
        ..Unreadable::default()
    });
    assert_eq!(bench.apply([hidden, gone("u")]), []);
    bench.apply([service("b").change()]);
    bench.assert_holds("b", &["10.0.0.2"]);
    let outputs = bench.apply([any_unreadable()]);
    assert_eq!(outputs, [Output::Remove(key("u"))]);
    bench.apply([service("c").change()]);
    bench.assert_holds("c", &["10.0.0.0"]);
    assert_eq!(bench.apply([gone("c")]), [Output::Remove(key("c"))]);
}

#[test]
fn i5_a_service_that_was_never_seen_keeps_its_record_while_it_may_be_unread() {
    let orphan = BTreeMap::from([(key("u"), ips(&["10.0.0.0"]))]);
    let mut bench = Bench::new([config(&[v4()]), any_unreadable(), Change::Orphans(orphan)]);
    let other = Unreadable {
        any: true,
        services: BTreeSet::from([key("x")]),
        ..Unreadable::default()
    };
    assert_eq!(bench.apply([Change::Unreadable(other)]), []);
    bench.apply([service("a").change()]);
    bench.assert_holds("a", &["10.0.0.1"]);
}

#[test]
fn i1_a_record_that_is_read_late_is_adopted_before_anything_is_given_out() {
    let orphans = |held: &[&str]| Change::Orphans(BTreeMap::from([(key("u"), ips(held))]));
    let unread = |records| {
        Change::Unreadable(Unreadable {
            any: true,
            records,
            ..Unreadable::default()
        })
    };
    let mut bench = Bench::new([
        config(&[v4()]),
        unread(true),
        orphans(&[]),
        service("a").change(),
    ]);
    bench.assert_holds("a", &[]);
    bench.apply([unread(false), orphans(&["10.0.0.0"])]);
    bench.assert_holds("a", &["10.0.0.1"]);
    bench.apply([service("u").holding(&["10.0.0.0"]).change()]);
    bench.assert_holds("u", &["10.0.0.0"]);
    // Told again it is old news, whatever has become of it.
    bench.apply([gone("u")]);
    bench.apply([service("b").change(), orphans(&["10.0.0.0"])]);
    bench.assert_holds("b", &["10.0.0.0"]);
}

#[test]
fn a_record_of_a_service_that_went_while_it_could_not_be_read_is_removed() {
    let mut bench = Bench::new([config(&[v4()])]);
    let orphans = BTreeMap::from([(key("u"), Vec::new())]);
    let outputs = bench.apply([Change::Orphans(orphans.clone())]);
    assert_eq!(outputs, [Output::Remove(key("u"))]);
    assert_eq!(bench.apply([Change::Orphans(orphans)]), []);
}

#[test]
fn i1_while_a_record_cannot_be_read_nothing_is_given_out() {
    let unread = |records| {
        Change::Unreadable(Unreadable {
            records,
            ..Unreadable::default()
        })
    };
    let dual = pool("d", &["10.0.0.0/30", "fc00::/126"]);
    let half = service("h").dual(PreferDual).holding(&["10.0.0.1"]);
    let held = service("a").holding(&["10.0.0.2"]).change();
    let mut bench = Bench::new([config(&[dual]), held, half.change(), unread(true)]);
    bench.apply([
        service("b").change(),
        service("c").wanting("10.0.0.0").change(),
    ]);
    bench.assert_holds("a", &["10.0.0.2"]);
    bench.assert_holds("h", &["10.0.0.1"]);
    for name in ["b", "c"] {
        bench.assert_holds(name, &[]);
        let message = &bench.disk[&key(name)].message;
        assert!(message.contains("a record in the state directory cannot be read"));
    }
    // What was in it is adopted before anybody else gets anything.
    let read = service("r").holding(&["10.0.0.0"]).change();
    bench.apply([read, unread(false)]);
    bench.assert_holds("r", &["10.0.0.0"]);
    bench.assert_holds("b", &["10.0.0.3"]);
    bench.assert_holds("c", &[]);
    bench.assert_holds("h", &["10.0.0.1", "fc00::"]);
}

#[test]
fn i5_services_that_shared_before_do_so_after_one_could_not_be_read() {
    let shared = |name: &str, port| service(name).sharing("k").port(port);
    let mut bench = Bench::new([
        config(&[v4()]),
        any_unreadable(),
        Change::Orphans(BTreeMap::from([(key("u"), ips(&["10.0.0.3"]))])),
        shared("a", 1).holding(&["10.0.0.3"]).change(),
    ]);
    bench.assert_holds("a", &["10.0.0.3"]);
    bench.apply([shared("u", 2).change()]);
    bench.assert_holds("u", &["10.0.0.3"]);
}

#[test]
fn records_of_services_that_are_gone_are_removed_at_the_start() {
    let record = Status {
        pool: None,
        ingress: ips(&["10.0.0.0"]),
        hints: Hints::default(),
        reason: "IPAllocated".into(),
        message: Arc::default(),
    };
    let written = BTreeMap::from([(key("old"), Arc::new(record))]);
    let mut reconciler = Reconciler::new(Settings::default(), written);
    let orphans = BTreeMap::from([(key("old"), ips(&["10.0.0.0"]))]);
    let changes = [
        config(&[single()]),
        Change::Orphans(orphans),
        Change::Synced,
    ];
    reconciler.apply(now(), changes);
    assert_eq!(reconciler.poll(), Some(Output::Remove(key("old"))));
    assert_eq!(reconciler.poll(), None);
    reconciler.apply(now(), [service("new").change()]);
    let output = reconciler.poll().unwrap();
    assert_eq!(ingress_of(&output), ips(&["10.0.0.0"]));
}

#[test]
fn a_service_that_stops_being_ours_frees_its_address_for_who_waits() {
    let mut bench = Bench::new([
        config(&[single()]),
        service("a").created(1).change(),
        service("b").change(),
    ]);
    let mut cluster_ip = service("a");
    cluster_ip.is_load_balancer = false;
    let outputs = bench.apply([cluster_ip.change()]);
    assert!(outputs.contains(&Output::Remove(key("a"))));
    bench.assert_holds("b", &["10.0.0.0"]);
    bench.apply([service("a").change(), gone("b")]);
    bench.assert_holds("a", &["10.0.0.0"]);
    assert!(!bench.disk.contains_key(&key("b")));
}

#[test]
fn who_waits_is_served_in_order_and_no_more_than_there_is() {
    let waiting = (0..50).map(|n| service(&format!("w{n}")).created(100 - n).change());
    let mut bench = Bench::new([config(&[single()]), service("a").created(1).change()]);
    bench.apply(waiting);
    let outputs = bench.apply([gone("a")]);
    bench.assert_holds("w49", &["10.0.0.0"]);
    // One is gone, one is served; the others are not even looked at (they would be written anew if
    // their message had changed, so the work is counted where it is done: see the queue's tests).
    assert_eq!(outputs.len(), 2);
}

#[test]
fn who_waits_for_an_address_gets_it_when_it_is_released() {
    let wanting = |name: &str| service(name).wanting("10.0.0.1");
    let mut bench = Bench::resting(
        Duration::from_secs(60),
        [
            config(&[v4()]),
            wanting("a").created(1).change(),
            wanting("b").created(3).change(),
            wanting("c").created(2).change(),
        ],
    );
    bench.apply([gone("a")]);
    bench.assert_holds("b", &[]);
    bench.assert_holds("c", &["10.0.0.1"]);
}

#[test]
fn a_change_of_sharing_moves_only_who_changed_and_may_bring_them_together_again() {
    let shared = |name: &str, port| service(name).sharing("k").port(port);
    let mut bench = Bench::new([
        config(&[single()]),
        shared("a", 1).change(),
        shared("b", 2).change(),
    ]);
    bench.assert_holds("b", &["10.0.0.0"]);
    bench.apply([shared("a", 1).local().change()]);
    bench.assert_holds("a", &[]);
    bench.assert_holds("b", &["10.0.0.0"]);
    let mut aligned = shared("b", 2).local();
    aligned.selector = labels(&[("app", "a")]);
    bench.apply([aligned.change()]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.assert_holds("b", &["10.0.0.0"]);
}

#[test]
fn sharers_that_change_their_key_together_stay_together() {
    let shared = |name: &str, port, key: &str| service(name).sharing(key).port(port).change();
    let pools = config(&[v4()]);
    let mut bench = Bench::new([pools, shared("a", 1, "k"), shared("b", 2, "k")]);
    let taken = service("c").wanting("10.0.0.1").change();
    bench.apply([taken, shared("b", 2, "l"), shared("a", 1, "l")]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.assert_holds("b", &["10.0.0.0"]);
}

#[test]
fn a_port_that_is_given_up_lets_another_in() {
    let shared = |name: &str, port| service(name).sharing("k").port(port).change();
    let mut bench = Bench::new([
        config(&[single()]),
        shared("a", 1),
        shared("b", 2),
        shared("c", 2),
    ]);
    bench.assert_holds("c", &[]);
    bench.apply([shared("b", 3)]);
    bench.assert_holds("b", &["10.0.0.0"]);
    bench.assert_holds("c", &["10.0.0.0"]);
}

#[test]
fn a_dual_stack_service_follows_its_pool_and_its_policy() {
    let v4_only = pool("d", &["10.9.0.0/30"]);
    let both = pool("d", &["10.9.0.0/30", "fc00:9::/126"]);
    let prefers = || service("s").dual(PreferDual).change();
    let mut bench = Bench::new([config(std::slice::from_ref(&v4_only)), prefers()]);
    bench.assert_holds("s", &["10.9.0.0"]);
    bench.apply([service("s").dual(RequireDual).change()]);
    bench.assert_holds("s", &[]);
    bench.apply([prefers()]);
    bench.assert_holds("s", &["10.9.0.0"]);
    bench.apply([config(&[
        v4_only,
        pool("0", &["10.8.0.0/30", "fc00:8::/126"]),
    ])]);
    bench.assert_holds("s", &["10.9.0.0"]);
    bench.apply([config(&[both])]);
    bench.assert_holds("s", &["10.9.0.0", "fc00:9::"]);
}

#[test]
fn the_second_family_arrives_when_its_own_pool_has_one_again() {
    let narrow = pool("d", &["10.9.0.0/30", "fc00:9::/128"]);
    let mut bench = Bench::new([
        config(&[narrow]),
        service("v6").v6().change(),
        service("s")
            .created(1)
            .dual(PreferDual)
            .holding(&["10.9.0.1"])
            .change(),
        service("t")
            .created(2)
            .dual(PreferDual)
            .holding(&["10.9.0.2"])
            .change(),
    ]);
    bench.assert_holds("s", &["10.9.0.1", "fc00:9::"]);
    assert_eq!(bench.disk[&key("t")].reason, "AdditionalAssignFailed");
    bench.apply([gone("s")]);
    bench.assert_holds("t", &["10.9.0.2", "fc00:9::"]);
    bench.assert_holds("v6", &[]);
}

#[test]
fn who_gives_up_a_family_keeps_the_other_address_and_leaves_one_to_who_waits() {
    let narrow = pool("d", &["10.9.0.0/30", "fc00:9::/128"]);
    let prefers = service("s").created(1).dual(PreferDual);
    let mut bench = Bench::new([
        config(&[narrow]),
        prefers.clone().holding(&["10.9.0.1", "fc00:9::"]).change(),
        service("w").v6().change(),
    ]);
    bench.assert_holds("w", &[]);
    let mut single = prefers;
    single.families = V4.into();
    bench.apply([single.change()]);
    bench.assert_holds("s", &["10.9.0.1"]);
    bench.assert_holds("w", &["fc00:9::"]);
}

#[test]
fn why_something_is_lost_is_known_until_the_next_change_and_not_recorded() {
    let mut bench = Bench::new([config(&[v4(), pool("b", &["10.0.9.0/30"])])]);
    bench.apply([service("s").change()]);
    assert_eq!(bench.reconciler.loss(&key("s")), None);
    bench.apply([service("s").from_pool("b").change()]);
    let why = bench.reconciler.loss(&key("s"));
    assert_eq!(why, Some(r#"it asks for pool "b""#));
    let message = &bench.disk[&key("s")].message;
    assert_eq!(&**message, r#"has 10.0.9.0 from pool "b""#);
    bench.apply([service("t").change()]);
    assert_eq!(bench.reconciler.loss(&key("s")), None);
}

#[test]
fn what_is_taken_and_given_back_is_not_lost() {
    let shared = |name: &str, port| service(name).sharing("k").port(port);
    let pools = config(&[single(), pool("b", &["10.0.9.0/30"])]);
    let mut bench = Bench::new([pools, shared("a", 1).change(), shared("b", 2).change()]);
    // The one may not stay with the other, who leaves.
    let leaves = shared("b", 2).from_pool("b");
    bench.apply([shared("a", 1).sharing("l").change(), leaves.change()]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.assert_holds("b", &["10.0.9.0"]);
    assert_eq!(bench.reconciler.loss(&key("a")), None);
    assert!(bench.reconciler.loss(&key("b")).is_some());
}

#[test]
fn a_namespace_that_changes_its_labels_evicts_and_admits() {
    let special = selecting(single(), team("red"));
    let mut bench = Bench::new([config(&[special]), service("s").change()]);
    bench.assert_holds("s", &[]);
    bench.apply([namespace(&[("team", "red")])]);
    bench.assert_holds("s", &["10.0.0.0"]);
    bench.apply([namespace(&[])]);
    bench.assert_holds("s", &[]);
}

#[test]
fn a_released_address_rests_but_not_for_who_had_it() {
    let minute = Duration::from_secs(60);
    let mut bench = Bench::resting(minute, [config(&[v4()]), service("a").change()]);
    bench.apply([gone("a")]);
    bench.apply([service("b").change()]);
    bench.assert_holds("b", &["10.0.0.1"]);
    bench.apply([service("a").change()]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.apply([gone("a")]);
    bench.now += minute;
    bench.apply([service("c").change()]);
    bench.assert_holds("c", &["10.0.0.0"]);
    // With nothing else left, it does not rest.
    bench.apply([service("d").change(), service("e").change(), gone("c")]);
    bench.apply([service("f").change()]);
    bench.assert_holds("f", &["10.0.0.0"]);
}

#[test]
fn another_pool_is_better_than_an_address_that_rests() {
    let general = [single(), pool("b", &["10.1.0.0/30"])];
    let minute = Duration::from_secs(60);
    let mut bench = Bench::resting(minute, [config(&general), service("a").change()]);
    bench.apply([gone("a")]);
    bench.apply([service("b").change()]);
    bench.assert_holds("b", &["10.1.0.0"]);
}

#[test]
fn who_stops_asking_when_his_address_comes_free_does_not_get_it() {
    let waiting = || service("b").wanting("10.0.0.0");
    let mut bench = Bench::new([
        config(&[single()]),
        service("a").change(),
        waiting().change(),
    ]);
    let stranger = Service {
        is_load_balancer: false,
        ..waiting()
    };
    bench.apply([gone("a"), stranger.change()]);
    bench.apply([service("c").change()]);
    bench.assert_holds("c", &["10.0.0.0"]);
}

#[test]
fn a_pool_that_stops_being_automatic_evicts_nobody() {
    let mut bench = Bench::new([config(&[single()]), service("a").change()]);
    assert_eq!(bench.apply([config(&[manual(single())])]), []);
    bench.assert_holds("a", &["10.0.0.0"]);
}

#[test]
fn a_new_service_takes_what_its_status_says_unless_somebody_has_it() {
    let mut bench = Bench::new([config(&[v4()]), service("a").change()]);
    bench.apply([service("b").holding(&["10.0.0.3"]).change()]);
    bench.assert_holds("b", &["10.0.0.3"]);
    let rival = service("0").created(1).holding(&["10.0.0.0"]).change();
    bench.apply([rival]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.assert_holds("0", &["10.0.0.1"]);
}

#[derive(Debug, Clone)]
enum Op {
    Put(Box<Service>),
    Delete(u8),
    Pools(usize),
    Wait(u64),
}

fn any_service() -> impl Strategy<Value = Service> {
    let wanted = prop_oneof![
        6 => Just(None),
        1 => Just(Some("10.0.0.1")),
        1 => Just(Some("10.0.0.1,fc00::1")),
        1 => Just(Some("rubbish")),
    ];
    let from = prop_oneof![4 => Just(None), 1 => Just(Some("a")), 1 => Just(Some("b"))];
    let key = prop_oneof![2 => Just(None), 2 => Just(Some("k")), 1 => Just(Some("l"))];
    let traits = (any::<bool>(), any::<bool>(), 0..4_u8);
    (0..8_u8, wanted, from, key, 1..4_u16, traits).prop_map(
        |(name, wanted, from, key, port, (is_local, is_ours, families))| {
            let mut service = service(&format!("s{name}")).port(port);
            service.requests.addresses = wanted.map(str::to_owned);
            service.requests.pool = from.map(str::to_owned);
            service.requests.sharing_key = key.map(str::to_owned);
            service.is_load_balancer = is_ours || name > 2;
            if is_local {
                service.traffic_policy = TrafficPolicy::Local;
                service.selector = labels(&[("app", "x")]);
            }
            match families {
                0 => service.families = V6.into(),
                1 => service.families = V4.into(),
                2 => service = service.dual(PreferDual),
                _ => service = service.dual(RequireDual),
            }
            service
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any_service().prop_map(|service| Op::Put(Box::new(service))),
        2 => (0..8_u8).prop_map(Op::Delete),
        1 => (0..5_usize).prop_map(Op::Pools),
        1 => (0..90_u64).prop_map(Op::Wait),
    ]
}

fn configuration(which: usize) -> Change {
    let a = || pool("a", &["10.0.0.0/31", "fc00::/127"]);
    let b = || pool("b", &["10.1.0.0/31"]);
    match which {
        0 => config(&[]),
        1 => config(&[a()]),
        2 => config(&[a(), b()]),
        3 => config(&[pool("c", &["10.0.0.0/31"]), pool("b", &["fc00::/127"])]),
        _ => incomplete(&[b()]),
    }
}

fn change_of(op: &Op) -> Option<Change> {
    match op {
        Op::Put(service) => Some(service.clone().change()),
        Op::Delete(name) => Some(gone(&format!("s{name}"))),
        Op::Pools(which) => Some(configuration(*which)),
        Op::Wait(_) => None,
    }
}

/// The sharing rules once more, pair by pair.
fn may_share(a: &Service, b: &Service) -> bool {
    let backends = |service: &Service| {
        let is_local = service.traffic_policy == TrafficPolicy::Local;
        let selector = is_local.then(|| service.selector.clone());
        selector.filter(|selector| !selector.is_empty())
    };
    let key = |service: &Service| service.requests.sharing_key.clone();
    let is_disjoint = a.ports.iter().all(|port| !b.ports.contains(port));
    key(a).is_some() && key(a) == key(b) && backends(a) == backends(b) && is_disjoint
}

fn assert_i1(bench: &Bench) -> Result<(), TestCaseError> {
    for outcome in bench.reconciler.outcomes() {
        let recorded = bench.disk.get(outcome.key);
        let recorded = recorded.map_or(&[][..], |status| &status.ingress);
        prop_assert_eq!(outcome.ingress, recorded, "{}", outcome.key);
    }
    let held: Vec<_> = bench.disk.iter().collect();
    for (index, (a, status)) in held.iter().enumerate() {
        for (b, other) in &held[index + 1..] {
            let shares = status.ingress.iter().any(|a| other.ingress.contains(a));
            let [Some(a), Some(b)] = [a, b].map(|key| bench.reconciler.service(key)) else {
                prop_assert!(false, "a record without a Service");
                return Ok(());
            };
            prop_assert!(!shares || may_share(a, b), "{} and {}", a.key, b.key);
        }
    }
    Ok(())
}

/// A restart that finds what is on disk moves nobody and has nothing to write.
fn assert_i2(bench: &Bench) -> Result<(), TestCaseError> {
    let mut again = Reconciler::new(Settings::default(), bench.disk.clone());
    again.apply(
        now(),
        [Change::Config(Arc::clone(&bench.reconciler.config))],
    );
    for record in bench.reconciler.records.values() {
        let mut service = Service::clone(&record.known.as_ref().unwrap().service);
        let status = bench.disk.get(&service.key);
        service.ingress = status.map_or_else(Vec::new, |status| status.ingress.clone());
        again.apply(now(), [service.change()]);
    }
    again.apply(now(), [Change::Synced]);
    prop_assert_eq!(again.poll(), None);
    Ok(())
}

proptest! {
    #[test]
    fn i1_and_i2_hold_after_any_changes(
        ops in prop::collection::vec(prop::collection::vec(op(), 1..4), 1..30),
        rests in any::<bool>(),
    ) {
        let quarantine = Duration::from_secs(if rests { 60 } else { 0 });
        let mut bench = Bench::resting(quarantine, [configuration(2)]);
        for batch in ops {
            for op in &batch {
                if let Op::Wait(seconds) = op {
                    bench.now += Duration::from_secs(*seconds);
                }
            }
            bench.apply(batch.iter().filter_map(change_of));
            assert_i1(&bench)?;
            assert_i2(&bench)?;
        }
    }

    #[test]
    fn the_order_of_changes_in_a_batch_does_not_matter(
        services in prop::collection::vec(any_service(), 1..8),
        which in 0..5_usize,
        seed in any::<usize>(),
    ) {
        let last: BTreeMap<_, _> = services.into_iter().map(|s| (s.key.clone(), s)).collect();
        let changes: Vec<_> = last.into_values().map(With::change).collect();
        let mut turned = changes.clone();
        turned.reverse();
        turned.rotate_left(seed % changes.len());
        let one = Bench::new(changes.into_iter().chain([configuration(which)]));
        let two = Bench::new([configuration(which)].into_iter().chain(turned.clone()));
        prop_assert_eq!(&one.disk, &two.disk);
        // Nor does it whether they were there at the start or came in one batch later.
        let mut three = Bench::new([configuration(which)]);
        three.apply(turned);
        prop_assert_eq!(&one.disk, &three.disk);
    }
}

fn selecting(pool: Pool, selector: Selector) -> Pool {
    let allocation = ServiceAllocation {
        namespace_selectors: vec![selector],
        ..ServiceAllocation::default()
    };
    Pool {
        allocation: Some(allocation),
        ..pool
    }
}

fn team(name: &str) -> Selector {
    Selector {
        match_labels: labels(&[("team", name)]),
        ..Selector::default()
    }
}

fn not_team(name: &str) -> Selector {
    let requirement = Requirement {
        key: "team".to_owned(),
        operator: Operator::NotIn,
        values: BTreeSet::from([name.to_owned()]),
    };
    Selector {
        requirements: BTreeSet::from([requirement]),
        ..Selector::default()
    }
}

/// The namespace of all Services here.
fn namespace(pairs: &[(&str, &str)]) -> Change {
    let (name, labels) = ("default".to_owned(), labels(pairs));
    Change::Namespace(name.clone(), Some(Namespace { name, labels }))
}

fn hidden() -> Change {
    Change::Unreadable(Unreadable {
        namespaces: BTreeSet::from(["default".to_owned()]),
        ..Unreadable::default()
    })
}

fn readable() -> Change {
    Change::Unreadable(Unreadable::default())
}

#[test]
fn i5_while_the_namespace_cannot_be_read_nothing_is_taken_away() {
    let pools = [selecting(v4(), team("x")), pool("g", &["10.1.0.0/30"])];
    let held = service("a").holding(&["10.0.0.0"]);
    let mut bench = Bench::new([config(&pools), held.change(), hidden()]);
    bench.assert_holds("a", &["10.0.0.0"]);
    let message = &bench.disk[&key("a")].message;
    assert_eq!(
        &**message,
        r#"keeps 10.0.0.0: whether pool "a" is for it is unknown because namespace "default" cannot be read"#
    );
    bench.apply([service("a").wanting("10.0.0.1").change()]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.apply([service("a").change()]);
    bench.apply([readable()]);
    bench.assert_holds("a", &["10.1.0.0"]);
}

#[test]
fn while_the_namespace_cannot_be_read_its_missing_labels_admit_nobody() {
    let pools = [selecting(v4(), not_team("x"))];
    let asking = [
        service("a"),
        service("b").wanting("10.0.0.1"),
        service("c").from_pool("a"),
    ];
    let mut bench = Bench::new([config(&pools), hidden()]);
    bench.apply(asking.map(With::change));
    for name in ["a", "b", "c"] {
        bench.assert_holds(name, &[]);
        assert_eq!(
            &*bench.disk[&key(name)].message,
            r#"no address: pool "a" selects namespaces by label, and namespace "default" cannot be read"#
        );
    }
    bench.apply([namespace(&[("team", "x")]), readable()]);
    bench.assert_holds("a", &[]);
    bench.apply([namespace(&[("team", "y")])]);
    bench.assert_holds("a", &["10.0.0.0"]);
    // What is held stays, also when something else is asked for.
    let change = service("b").wanting("10.0.0.3").change();
    bench.apply([hidden(), change]);
    bench.assert_holds("a", &["10.0.0.0"]);
    bench.assert_holds("b", &["10.0.0.1"]);
}

#[test]
fn while_the_namespace_cannot_be_read_no_second_address_is_given() {
    let pools = [selecting(
        pool("d", &["10.9.0.0/30", "fc00:9::/126"]),
        not_team("x"),
    )];
    let held = service("a").dual(PreferDual).holding(&["10.9.0.1"]);
    let mut bench = Bench::new([config(&pools), held.change(), hidden()]);
    bench.assert_holds("a", &["10.9.0.1"]);
    bench.apply([namespace(&[]), readable()]);
    bench.assert_holds("a", &["10.9.0.1", "fc00:9::"]);
}

#[test]
fn a_namespace_that_is_named_needs_no_labels() {
    let mut named = selecting(v4(), not_team("x"));
    let allocation = named.allocation.as_mut().unwrap();
    allocation.namespaces.insert("default".to_owned());
    let bench = Bench::new([config(&[named]), hidden(), service("a").change()]);
    bench.assert_holds("a", &["10.0.0.0"]);
}

#[test]
fn what_somebody_elses_service_holds_does_not_rest() {
    let settings = Settings {
        class: None,
        quarantine: Duration::from_secs(60),
    };
    let mut reconciler = Reconciler::new(settings, BTreeMap::new());
    let mut other = service("other").holding(&["10.0.0.1"]);
    other.class = Some("another".to_owned());
    let changes = vec![
        config(&[pool("a", &["10.0.0.1-10.0.0.9"])]),
        other.change(),
        service("ours").change(),
        Change::Synced,
    ];
    reconciler.apply(now(), changes);
    let outcomes: Vec<_> = reconciler.outcomes().collect();
    assert_eq!(outcomes[1].ingress, ips(&["10.0.0.1"]));
}
