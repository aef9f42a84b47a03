use ferrolb_crds::model::{
    Families,
    FamilyPolicy::{PreferDual, RequireDual},
    Namespace, Pool, Selector, Service,
};
use ferrolb_crds::source::Change;

use super::*;
use crate::fixture::{
    With, config, incomplete, ip, ips, labels, manual, now, pinned, pool, range, service,
};

fn plan(now: Instant, class: Option<String>, changes: Vec<Change>) -> Vec<Row> {
    rows(&decide(now, class, changes))
}

fn plan_of(config: Change, services: impl IntoIterator<Item = Service>) -> Vec<Row> {
    let mut changes = vec![config];
    changes.extend(services.into_iter().map(With::change));
    changes.push(Change::Synced);
    plan(now(), None, changes)
}

/// The one Service's decision, addresses, pool and reason.
fn one(pools: &[Pool], service: Service) -> (&'static str, Vec<IpAddr>, Option<String>, String) {
    let row = plan_of(config(pools), [service]).remove(0);
    let reason = format!("{}: {}", row.reason, row.message);
    (row.decision, row.ingress, row.pool, reason)
}

fn assert_gets(pools: &[Pool], service: Service, decision: &str, addresses: &[&str], pool: &str) {
    let (got, ingress, from, reason) = one(pools, service);
    assert_eq!((got, &ingress), (decision, &ips(addresses)), "{reason}");
    assert_eq!(from.as_deref(), (!pool.is_empty()).then_some(pool));
}

#[track_caller]
fn assert_refused(pools: &[Pool], service: Service, reason: &str) {
    let expected = ("Refuse", Vec::new(), None, reason.to_owned());
    assert_eq!(one(pools, service), expected);
}

fn v4() -> Pool {
    pool("a", &["10.0.0.0/30"])
}

fn dual(name: &str) -> Pool {
    pool(name, &["10.9.0.0/30", "fc00:9::/126"])
}

#[test]
fn the_lowest_address_of_the_first_range_as_listed() {
    let a = pool("a", &["10.0.1.0-10.0.1.1", "10.0.0.0-10.0.0.1"]);
    let services = (0..5).map(|n| service(&format!("s{n}")));
    let rows = plan_of(config(&[a]), services);
    let ingress: Vec<_> = rows.iter().flat_map(|row| row.ingress.clone()).collect();
    let expected = ["10.0.1.0", "10.0.1.1", "10.0.0.0", "10.0.0.1"];
    assert_eq!(ingress, ips(&expected));
    assert_eq!(rows[4].decision, "Refuse");
    assert_eq!(rows[4].reason, "AllocationFailed");
    assert_eq!(
        rows[4].message,
        r#"no address: pool "a" is exhausted for IPv4"#
    );
}

#[test]
fn older_services_come_first_and_those_without_a_timestamp_last() {
    let rows = plan_of(
        config(&[v4()]),
        [
            service("a"),
            service("b").created(2),
            service("c").created(1),
        ],
    );
    let ingress: Vec<_> = rows.iter().map(|row| row.ingress[0]).collect();
    assert_eq!(ingress, ips(&["10.0.0.2", "10.0.0.1", "10.0.0.0"]));
}

#[test]
fn who_lost_an_address_comes_before_who_never_had_one() {
    let narrow = pool("a", &["10.0.0.0/32"]);
    let rows = plan_of(
        config(&[narrow]),
        [
            service("new").created(1),
            service("old").created(2).holding(&["10.1.1.1"]),
        ],
    );
    assert_eq!((rows[0].decision, rows[1].decision), ("Refuse", "Assign"));
}

#[test]
fn buggy_addresses_are_skipped_and_evicted() {
    let mut avoiding = pool("a", &["10.0.0.255-10.0.1.1"]);
    avoiding.avoid_buggy_ips = true;
    let pools = [avoiding];
    assert_gets(&pools, service("s"), "Assign", &["10.0.1.1"], "a");
    let holder = service("s").holding(&["10.0.0.255"]);
    assert_gets(&pools, holder, "Assign", &["10.0.1.1"], "a");
    let reason = r#"AllocationFailed: it asks for 10.0.1.0, but pool "a" avoids addresses that end in .0 or .255"#;
    assert_refused(&pools, service("s").wanting("10.0.1.0"), reason);
}

#[test]
fn other_types_and_classes_are_ignored_and_hold_nothing() {
    let mut cluster_ip = service("s").holding(&["10.0.0.1"]);
    cluster_ip.is_load_balancer = false;
    assert_gets(&[v4()], cluster_ip, "Ignore", &[], "");
    let mut classy = service("s").holding(&["10.0.0.1"]);
    classy.class = Some("other".to_owned());
    assert_gets(&[v4()], classy.clone(), "Ignore", &[], "");

    for (class, decisions) in [("other", ["Assign", "Keep"]), ("third", ["Ignore"; 2])] {
        let mut unclassy = service("t");
        unclassy.class = (class == "other").then(|| class.to_owned());
        let changes = [config(&[v4()]), classy.clone().change(), unclassy.change()];
        let changes = changes.into_iter().chain([Change::Synced]).collect();
        let rows = plan(now(), Some(class.to_owned()), changes);
        let mut got = [rows[0].decision, rows[1].decision];
        got.sort_unstable();
        assert_eq!(got[..], [decisions[0], decisions[decisions.len() - 1]]);
    }
}

#[test]
fn pinned_pools_by_priority_then_name_then_general_ones_by_name() {
    let at = |n: u8| format!("10.0.{n}.0/32");
    let pools = [
        pinned(pool("p-none", &[&at(0)]), 0, &["default"]),
        pinned(pool("p-20", &[&at(1)]), 20, &["default"]),
        pinned(pool("p-10b", &[&at(2)]), 10, &["default"]),
        pinned(pool("p-10a", &[&at(3)]), 10, &[]),
        pinned(pool("p-other", &[&at(4)]), 1, &["other"]),
        pool("b", &[&at(5)]),
        pool("a", &[&at(6)]),
        manual(pool("m", &[&at(7)])),
    ];
    let services = (0..7).map(|n| service(&format!("s{n}")));
    let rows = plan_of(config(&pools), services);
    let from: Vec<_> = rows.iter().flat_map(|row| row.pool.as_deref()).collect();
    assert_eq!(from, ["p-10a", "p-10b", "p-20", "p-none", "a", "b"]);
    assert_eq!(
        rows[6].message,
        "no address: pool \"p-other\" is for other namespaces; pool \"p-10a\" is exhausted for IPv4; \
         pool \"p-10b\" is exhausted for IPv4; pool \"p-20\" is exhausted for IPv4; \
         pool \"p-none\" is exhausted for IPv4; pool \"a\" is exhausted for IPv4; \
         pool \"b\" is exhausted for IPv4; pool \"m\" is not assigned automatically"
    );
}

#[test]
fn namespace_labels_and_service_labels_pin_together() {
    let mut special = pinned(pool("special", &["10.0.0.0/32"]), 0, &[]);
    let allocation = special.allocation.as_mut().unwrap();
    let selector = |pairs: &[(&str, &str)]| Selector {
        match_labels: labels(pairs),
        ..Selector::default()
    };
    allocation.namespace_selectors = vec![selector(&[("team", "red")])];
    allocation.service_selectors = vec![selector(&[("tier", "web")]), selector(&[("tier", "db")])];
    let mut labelled = service("s");
    labelled.labels = labels(&[("tier", "db")]);
    let red = Namespace {
        name: "default".to_owned(),
        labels: labels(&[("team", "red")]),
    };
    let with = |service: Service, namespace: Option<Namespace>| {
        let namespace = Change::Namespace("default".to_owned(), namespace);
        let changes = vec![
            service.change(),
            namespace,
            config(&[special.clone()]),
            Change::Synced,
        ];
        plan(now(), None, changes).remove(0)
    };
    assert_eq!(with(labelled.clone(), Some(red.clone())).decision, "Assign");
    assert_eq!(
        with(labelled.clone(), None).message,
        r#"no address: pool "special" is for other namespaces"#
    );
    assert_eq!(
        with(service("s"), Some(red)).message,
        r#"no address: pool "special" is for Services with other labels"#
    );
    // Also on explicit request, by address or by pool.
    let asking = [
        labelled.clone().wanting("10.0.0.0"),
        labelled.from_pool("special"),
    ];
    for asking in asking {
        let row = with(asking, None);
        assert_eq!(row.decision, "Refuse", "{}", row.message);
    }
}

#[test]
fn pools_that_are_not_automatic_serve_explicit_requests_and_evict_nobody() {
    let pools = [manual(v4())];
    let reason = r#"AllocationFailed: no address: pool "a" is not assigned automatically"#;
    assert_refused(&pools, service("s"), reason);
    let named = service("s").from_pool("a");
    assert_gets(&pools, named, "Assign", &["10.0.0.0"], "a");
    let wanting = service("s").wanting("10.0.0.2");
    assert_gets(&pools, wanting, "Assign", &["10.0.0.2"], "a");
    let holding = service("s").holding(&["10.0.0.3"]);
    assert_gets(&pools, holding, "Keep", &["10.0.0.3"], "a");
}

#[test]
fn the_pool_annotation_moves_a_service_and_its_removal_does_not() {
    let pools = [v4(), pool("b", &["10.0.1.0/30"])];
    let held = service("s").holding(&["10.0.0.2"]);
    let moved = held.clone().from_pool("b");
    assert_gets(&pools, moved, "Assign", &["10.0.1.0"], "b");
    assert_gets(&pools, held.clone(), "Keep", &["10.0.0.2"], "a");
    let same = held.clone().from_pool("a");
    assert_gets(&pools, same, "Keep", &["10.0.0.2"], "a");
    let empty = held.clone().from_pool("");
    assert_gets(&pools, empty, "Keep", &["10.0.0.2"], "a");
    let (decision, _, _, reason) = one(&pools, held.from_pool("x"));
    assert_eq!(decision, "Clear");
    assert_eq!(
        reason,
        r#"ClearAssignment: it asks for pool "x", which is unknown; unknown pool "x""#
    );
    let reason = r#"AllocationFailed: unknown pool "x""#;
    assert_refused(&pools, service("s").from_pool("x"), reason);
}

#[test]
fn requested_addresses_come_as_given_and_from_one_pool() {
    let pools = [dual("d"), v4()];
    let wanting = |text: &str| service("s").dual(RequireDual).wanting(text);
    let given = ["fc00:9::1", "10.9.0.2"];
    assert_gets(
        &pools,
        wanting("fc00:9::1 , 10.9.0.2"),
        "Assign",
        &given,
        "d",
    );
    let held = wanting("10.9.0.2,fc00:9::1").holding(&given);
    assert_gets(&pools, held, "Keep", &given, "d");
    for (text, reason) in [
        (
            "10.9.0.2",
            "AllocationFailed: it asks for 10.9.0.2, its cluster IPs are IPv4 and IPv6: ask for one address of each of these families",
        ),
        (
            "fc00:9::1,10.0.0.1",
            "AllocationFailed: it asks for fc00:9::1 and 10.0.0.1, which are not of one pool: ask for two addresses of the same pool",
        ),
        (
            "10.9.0.2,10.9.0.3",
            "AllocationFailed: metallb.io/loadBalancerIPs: 2 addresses of which two are of one family: write at most one IPv4 and one IPv6 address",
        ),
        (
            "10.9.0.2,",
            "AllocationFailed: metallb.io/loadBalancerIPs: \"\" is not an IP address: write one, or two separated by a comma",
        ),
    ] {
        assert_refused(&pools, wanting(text), reason);
    }
}

#[test]
fn the_field_load_balancer_ip_asks_too_but_not_together_with_the_annotation() {
    let mut field = service("s");
    field.requests.load_balancer_ip = Some("10.0.0.3".to_owned());
    assert_gets(&[v4()], field.clone(), "Assign", &["10.0.0.3"], "a");
    let both = field.clone().wanting("10.0.0.3");
    let reason = "AllocationFailed: the annotation metallb.io/loadBalancerIPs and spec.loadBalancerIP are both set: remove one of them";
    assert_refused(&[v4()], both, reason);
    // An annotation that is there but empty asks for nothing.
    assert_gets(&[v4()], field.wanting(""), "Assign", &["10.0.0.3"], "a");
}

#[test]
fn a_request_outside_every_pool_or_already_taken_is_refused_with_the_reason() {
    let reason = "AllocationFailed: it asks for 10.7.0.1, which is in no pool";
    assert_refused(&[v4()], service("s").wanting("10.7.0.1"), reason);
    let both = service("s").wanting("10.0.0.1").from_pool("b");
    let b = pool("b", &["10.0.1.0/30"]);
    let reason =
        r#"AllocationFailed: it asks for 10.0.0.1 and for pool "b", which does not own that"#;
    assert_refused(&[v4(), b], both, reason);
    let rows = plan_of(
        config(&[v4()]),
        [
            service("s").wanting("10.0.0.1"),
            service("t").holding(&["10.0.0.1"]),
        ],
    );
    assert_eq!(
        rows[0].message,
        "it asks for 10.0.0.1, but it is in use by default/t, and not both allow sharing"
    );
}

#[test]
fn a_request_for_others_than_held_moves_and_a_bad_one_keeps() {
    let held = service("s").holding(&["10.0.0.1"]);
    let other = held.clone().wanting("10.0.0.2");
    assert_gets(&[v4()], other, "Assign", &["10.0.0.2"], "a");
    let (decision, _, _, reason) = one(&[v4()], held.clone().wanting("10.7.0.1"));
    assert_eq!(decision, "Clear");
    assert_eq!(
        reason,
        "ClearAssignment: it asks for 10.7.0.1 and held 10.0.0.1; it asks for 10.7.0.1, which is in no pool"
    );
    let (decision, ingress, _, reason) = one(&[v4()], held.clone().wanting("rubbish"));
    assert_eq!((decision, ingress), ("Keep", ips(&["10.0.0.1"])));
    assert!(
        reason.starts_with("LoadBalancerFailed: keeps 10.0.0.1: "),
        "{reason}"
    );
    let b = pool("b", &["10.0.1.0/30"]);
    let both = held.wanting("rubbish").from_pool("b");
    let (decision, ..) = one(&[v4(), b], both);
    assert_eq!(decision, "Clear");
}

#[test]
fn an_edit_of_a_pool_keeps_what_some_pool_still_covers() {
    let held = service("s").holding(&["10.0.0.2"]);
    let grown = [pool("renamed", &["10.0.0.0/24"])];
    assert_gets(&grown, held.clone(), "Keep", &["10.0.0.2"], "renamed");
    let shrunk = [pool("a", &["10.0.0.0/31"])];
    assert_gets(&shrunk, held.clone(), "Assign", &["10.0.0.0"], "a");
    let gone = [pool("b", &["fc00::/64"])];
    let (decision, _, _, reason) = one(&gone, held.clone());
    assert_eq!(decision, "Clear");
    assert_eq!(
        reason,
        r#"ClearAssignment: 10.0.0.2 is in no pool; no address: pool "b" has no IPv4 addresses"#
    );
    let (decision, _, _, reason) = one(&[], held.clone());
    assert_eq!(decision, "Clear");
    assert!(reason.ends_with("no address: there is no address pool"));
    let others = [pinned(v4(), 0, &["other"])];
    assert_eq!(one(&others, held).0, "Clear");
}

#[test]
fn who_moves_is_told_why_it_may_not_stay() {
    let held = || service("s").holding(&["10.0.0.3"]);
    let b = || pool("b", &["10.0.9.0/30"]);
    let message = |pools: &[Pool], service| one(pools, service).3;
    let others = [pinned(v4(), 0, &["other"]), b()];
    assert_eq!(
        message(&others, held()),
        r#"IPAllocated: 10.0.0.3 belongs to pool "a", which is not for it; has 10.0.9.0 from pool "b""#
    );
    assert_eq!(
        message(&[v4(), b()], held().from_pool("b")),
        r#"IPAllocated: it asks for pool "b"; has 10.0.9.0 from pool "b""#
    );
    let surplus = || service("s").holding(&["10.9.0.1", "fc00:9::1"]);
    assert_eq!(
        message(&[dual("d")], surplus()),
        r#"IPAllocated: fc00:9::1 is not of its cluster IPs' family, IPv4; has 10.9.0.1 from pool "d""#
    );
    assert_eq!(
        message(&[b()], surplus()),
        r#"IPAllocated: fc00:9::1 is not of its cluster IPs' family, IPv4; 10.9.0.1 is in no pool; has 10.0.9.0 from pool "b""#
    );
    assert_eq!(
        message(&[v4()], held()),
        r#"IPAllocated: has 10.0.0.3 from pool "a""#
    );
}

#[test]
fn i5_no_address_is_taken_away_while_a_pool_is_set_aside() {
    let held = service("s").holding(&["10.7.0.2"]);
    let row = |config: Change, service: &Service| plan_of(config, [service.clone()]).remove(0);
    let kept = row(incomplete(&[v4()]), &held);
    assert_eq!((kept.decision, kept.reason), ("Keep", "PoolSetAside"));
    assert_eq!((kept.ingress, kept.pool), (ips(&["10.7.0.2"]), None));
    assert_eq!(row(config(&[v4()]), &held).decision, "Assign");
    // A pool that is there and does not admit the Service is a different matter.
    let inadmissible = [pinned(pool("p", &["10.7.0.0/24"]), 0, &["other"])];
    assert_eq!(row(incomplete(&inadmissible), &held).decision, "Clear");
    // So is a pool that it asks for and that is there; one that is unknown may be the broken one.
    let b = pool("b", &["10.0.1.0/30"]);
    let moving = service("s").holding(&["10.0.0.2"]).from_pool("b");
    assert_eq!(row(incomplete(&[v4(), b]), &moving).decision, "Assign");
    assert_eq!(row(incomplete(&[v4()]), &moving).reason, "PoolSetAside");
    let asking = service("s").holding(&["10.0.0.2"]).wanting("10.8.0.1");
    assert_eq!(
        row(incomplete(&[v4()]), &asking).reason,
        "LoadBalancerFailed"
    );
    let message = row(incomplete(&[]), &service("s")).message;
    assert!(message.contains("set aside"), "{message}");
}

fn reversed(families: Families) -> Families {
    let mut families: Vec<_> = families.iter().collect();
    families.reverse();
    families.into_iter().collect()
}

#[test]
fn a_dual_stack_service_gets_both_from_one_pool_ipv4_first() {
    let v6 = pool("c", &["fc00:1::/126"]);
    let pools = [v4(), v6.clone(), dual("d")];
    let both = ["10.9.0.0", "fc00:9::"];
    for policy in [PreferDual, RequireDual] {
        let mut service = service("s").dual(policy);
        assert_gets(&pools, service.clone(), "Assign", &both, "d");
        service.families = reversed(service.families);
        assert_gets(&pools, service, "Assign", &both, "d");
    }
    let reason = r#"AllocationFailed: no address: pool "a" has no IPv6 addresses; pool "c" has no IPv4 addresses"#;
    assert_refused(&[v4(), v6], service("s").dual(RequireDual), reason);
    assert_gets(&pools, service("s").v6(), "Assign", &["fc00:1::"], "c");
}

#[test]
fn without_a_dual_pool_the_primary_family_decides() {
    let v6 = pool("0", &["fc00:1::/126"]);
    let pools = [v4(), v6.clone()];
    let mut prefers = service("s").dual(PreferDual);
    assert_gets(&pools, prefers.clone(), "Assign", &["10.0.0.0"], "a");
    assert_gets(&[v6], prefers.clone(), "Assign", &["fc00:1::"], "0");
    prefers.families = reversed(prefers.families);
    assert_gets(&pools, prefers.clone(), "Assign", &["fc00:1::"], "0");
    let first = [pinned(v4(), 0, &["default"]), dual("d")];
    assert_gets(&first, prefers, "Assign", &["10.0.0.0"], "a");
}

#[test]
fn the_second_family_comes_from_its_own_pool_only_and_is_appended() {
    let prefers = service("s").dual(PreferDual);
    let held = prefers.clone().holding(&["fc00:9::2"]);
    let both = ["fc00:9::2", "10.9.0.0"];
    assert_gets(&[dual("d")], held, "Assign", &both, "d");
    let held = prefers.holding(&["10.0.0.2"]);
    assert_gets(&[v4(), dual("d")], held, "Keep", &["10.0.0.2"], "a");
    // With one family it is content with one address.
    let mut single = service("s").holding(&["10.9.0.1"]);
    single.family_policy = PreferDual;
    assert_gets(&[dual("d")], single, "Keep", &["10.9.0.1"], "d");
}

#[test]
fn a_second_family_that_is_exhausted_is_said_so() {
    let mut d = dual("d");
    d.ranges[1] = range("fc00:9::/128");
    let rows = plan_of(
        config(&[d]),
        [
            service("s").dual(PreferDual).holding(&["10.9.0.1"]),
            service("t").v6().holding(&["fc00:9::"]),
        ],
    );
    assert_eq!(rows[0].decision, "Keep");
    assert_eq!(rows[0].reason, "AdditionalAssignFailed");
    assert_eq!(
        rows[0].message,
        r#"has 10.9.0.1 and no IPv6 address: pool "d" is exhausted for IPv6"#
    );
}

#[test]
fn a_dual_pool_that_shrinks_clears_both_and_another_dual_pool_is_preferred() {
    let prefers = service("s")
        .dual(PreferDual)
        .holding(&["10.0.0.1", "fc00::1"]);
    assert_gets(
        &[v4(), dual("d")],
        prefers.clone(),
        "Assign",
        &["10.9.0.0", "fc00:9::"],
        "d",
    );
    assert_gets(&[v4()], prefers, "Assign", &["10.0.0.0"], "a");
}

#[test]
fn a_dual_stack_pair_stays_valid_when_its_pool_is_split_by_family() {
    let split = [v4(), pool("b", &["fc00::/126"])];
    let held = ["10.0.0.1", "fc00::1"];
    for service in [
        service("s").dual(RequireDual),
        service("s").dual(PreferDual),
        service("s").dual(RequireDual).from_pool("a"),
        service("s").dual(RequireDual).wanting("10.0.0.1,fc00::1"),
    ] {
        assert_gets(&split, service.holding(&held), "Keep", &held, "a");
    }
}

#[test]
fn families_that_no_longer_fit_are_cleared() {
    let pools = [dual("d")];
    let requires = service("s").dual(RequireDual).holding(&["10.0.0.1"]);
    assert_eq!(one(&[v4()], requires).0, "Clear");
    let other = service("s").v6().holding(&["10.9.0.1"]);
    assert_gets(&pools, other, "Assign", &["fc00:9::"], "d");
    let two = service("s")
        .dual(PreferDual)
        .holding(&["10.9.0.1", "10.9.0.2"]);
    assert_gets(&pools, two, "Assign", &["10.9.0.0", "fc00:9::"], "d");
}

#[test]
fn of_two_families_the_one_that_still_fits_keeps_its_address() {
    let pools = [dual("d")];
    let both = ["10.9.0.1", "fc00:9::1"];
    let single = service("s").holding(&both);
    assert_gets(&pools, single.clone(), "Assign", &["10.9.0.1"], "d");
    let mut prefers = single.clone();
    prefers.family_policy = PreferDual;
    assert_gets(&pools, prefers, "Assign", &["10.9.0.1"], "d");
    assert_gets(&pools, single.v6(), "Assign", &["fc00:9::1"], "d");
    // As long as nothing else is wrong with it.
    let wanting = service("s").holding(&both).wanting("10.9.0.2");
    assert_gets(&pools, wanting, "Assign", &["10.9.0.2"], "d");
    let elsewhere = service("s").holding(&["10.0.0.1", "fc00:9::1"]);
    assert_gets(&pools, elsewhere, "Assign", &["10.9.0.0"], "d");
    let mut requires = service("s").holding(&both);
    requires.family_policy = RequireDual;
    assert_eq!(one(&pools, requires).0, "Clear");
}

#[test]
fn two_families_required_and_one_there_is_refused() {
    let mut service = service("s");
    service.family_policy = RequireDual;
    let reason = "NotEnoughClusterIPs: it requires two IP families and its cluster IPs are IPv4 only: give it cluster IPs of both, or the policy PreferDualStack";
    assert_refused(&[dual("d")], service.clone(), reason);
    let (decision, _, _, reason) = one(&[dual("d")], service.holding(&["10.9.0.1"]));
    assert_eq!(decision, "Clear");
    assert!(reason.starts_with("NotEnoughClusterIPs: "));
}

#[test]
fn services_that_may_share_meet_on_the_lowest_address() {
    let rows = plan_of(
        config(&[v4()]),
        [
            service("a").sharing("k").port(80),
            service("b").sharing("k").port(443),
            service("c").sharing("k").port(80),
            service("d").sharing("other").port(53),
            service("e").sharing("").port(54),
        ],
    );
    let ingress: Vec<_> = rows.iter().map(|row| row.ingress[0]).collect();
    let expected = ["10.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
    assert_eq!(ingress, ips(&expected));
}

#[test]
fn local_services_share_only_with_the_same_backends_in_the_same_namespace() {
    let with = |name: &str, port: u16, app: &str| {
        let mut service = service(name).sharing("k").port(port).wanting("10.0.0.1");
        service.selector = labels(&[("app", app)]);
        service
    };
    let first = with("a", 1, "x").local();
    let mut elsewhere = with("other/e", 5, "x").local();
    elsewhere.labels = labels(&[]);
    for (second, decision) in [
        (with("b", 2, "x").local(), "Assign"),
        (with("c", 3, "y").local(), "Refuse"),
        (with("d", 4, "x"), "Refuse"),
        (elsewhere, "Refuse"),
    ] {
        let name = second.key.name.clone();
        let rows = plan_of(config(&[v4()]), [first.clone(), second]);
        let row = rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.decision, decision, "{name}: {}", row.message);
    }
    // With Cluster the namespace does not matter, nor does a Local one without a selector differ.
    let mut bare = with("other/b", 2, "x").local();
    bare.selector.clear();
    let rows = plan_of(config(&[v4()]), [with("a", 1, "x"), bare]);
    assert!(rows.iter().all(|row| row.decision == "Assign"));
}

#[test]
fn i1_of_two_that_hold_one_address_the_older_keeps_it() {
    let rows = plan_of(
        config(&[v4()]),
        [
            service("a").created(2).holding(&["10.0.0.0"]),
            service("b").created(1).holding(&["10.0.0.0"]),
        ],
    );
    assert_eq!((rows[0].decision, rows[1].decision), ("Assign", "Keep"));
    assert_eq!(rows[0].ingress, ips(&["10.0.0.1"]));
}

#[test]
fn two_services_can_swap_their_addresses() {
    let rows = plan_of(
        config(&[v4()]),
        [
            service("a").holding(&["10.0.0.0"]).wanting("10.0.0.1"),
            service("b").holding(&["10.0.0.1"]).wanting("10.0.0.0"),
        ],
    );
    assert_eq!(rows[0].ingress, [ip("10.0.0.1")]);
    assert_eq!(rows[1].ingress, [ip("10.0.0.0")]);
}

#[test]
fn json_is_what_the_interface_says() {
    let rows = plan_of(config(&[dual("d")]), [service("s").dual(RequireDual)]);
    let json = serde_json::to_value(&rows).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "namespace": "default",
            "name": "s",
            "decision": "Assign",
            "ingress": ["10.9.0.0", "fc00:9::"],
            "pool": "d",
            "reason": "IPAllocated",
            "message": "has 10.9.0.0 and fc00:9:: from pool \"d\"",
        }])
    );
}

#[test]
fn the_table_names_every_pool_considered() {
    let full = manual(pool("long-name", &["10.0.0.0/32"]));
    let rows = plan_of(config(&[full]), [service("s")]);
    assert_eq!(
        table(&rows),
        "SERVICE    DECISION  ADDRESSES  POOL  REASON            MESSAGE\n\
         default/s  Refuse    -          -     AllocationFailed  no address: pool \"long-name\" is not assigned automatically\n"
    );
}

#[test]
fn ten_thousand_services_and_a_hundred_pools_are_planned_at_once() {
    let pools: Vec<_> = (0..100)
        .map(|n| pool(&format!("p{n:03}"), &[&format!("10.{n}.0.0/25")]))
        .collect();
    let services: Vec<_> = (0..10_000).map(|n| service(&format!("s{n:05}"))).collect();
    let start = now();
    let rows = plan_of(config(&pools), services);
    assert!(rows.iter().all(|row| row.decision == "Assign"));
    // Not the bar, which is measured in a release build: that nothing here is quadratic.
    let elapsed = now() - start;
    assert!(elapsed.as_secs() < 10, "{elapsed:?}");
}
