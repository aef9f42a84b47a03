//! Design invariants I5 (one bad object never stops the good ones; an error takes nothing away) and
//! I10 (no password is ever shown), and that nothing panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::Community;

/// A judge and the last judgement.
struct Court {
    judge: Judge,
    facts: Facts,
}

impl Court {
    fn new() -> Self {
        Self {
            judge: Judge::new(NAMESPACE),
            facts: Facts::default(),
        }
    }

    fn judge(&mut self, objects: &[Object]) -> Verdict {
        self.judge.judge(objects, &self.facts, false)
    }
}

fn first(verdict: &Verdict, pool: &str) -> Option<String> {
    let range = verdict.config.pools.get(pool)?.ranges.first()?;
    Some(range.first().to_string())
}

fn first_is(verdict: &Verdict, pool: &str, address: &str) -> bool {
    first(verdict, pool).as_deref() == Some(address)
}

#[test]
fn i5_one_bad_object_does_not_stop_the_good_ones() {
    let verdict = judge(&[
        pool("good", &["192.0.2.0/24"]),
        pool("bad", &["backwards"]),
        object(Kind::L2Advertisement, "l2", json!({})),
        bgp("bad", json!({"aggregationLength": 99})),
        bgp("good", json!({})),
        peer("good", "192.0.2.1"),
        peer("bad", "nonsense"),
    ]);
    assert!(verdict.config.pools.keys().eq(["good"]));
    assert!(verdict.config.l2_advertisements.keys().eq(["l2"]));
    assert!(verdict.config.bgp_advertisements.keys().eq(["good"]));
    assert!(verdict.config.peers.keys().eq(["good"]));
    assert_eq!(verdict.problems.len(), 3);
}

#[test]
fn i5_an_object_edited_into_nonsense_stays_as_it_last_was() {
    let mut court = Court::new();
    court.judge(&[pool("a", &["192.0.2.0/24"])]);
    for _ in 0..2 {
        let verdict = court.judge(&[pool("a", &["198.51.100.0/24", "nonsense"])]);
        assert_eq!(places(&verdict), ["IPAddressPool/a: spec.addresses[1]"]);
        assert!(first_is(&verdict, "a", "192.0.2.0"));
        assert!(!verdict.config.pools_incomplete);
    }
    let verdict = court.judge(&[pool("a", &["198.51.100.0/24"])]);
    assert!(verdict.problems.is_empty() && first_is(&verdict, "a", "198.51.100.0"));
}

#[test]
fn i5_while_a_pool_is_aside_or_unreadable_the_configuration_says_so() {
    let mut judge = Judge::new(NAMESPACE);
    let facts = Facts::default();
    let incomplete = |verdict: Verdict| verdict.config.pools_incomplete;
    assert!(incomplete(judge.judge(
        &[pool("a", &["nonsense"])],
        &facts,
        false
    )));
    assert!(!incomplete(judge.judge(
        &[pool("a", &["192.0.2.0/24"])],
        &facts,
        false
    )));
    assert!(incomplete(judge.judge(
        &[pool("a", &["192.0.2.0/24"])],
        &facts,
        true
    )));
    assert!(!incomplete(judge.judge(
        &[peer("bad", "nonsense")],
        &facts,
        false
    )));
}

#[test]
fn i5_of_two_that_contradict_each_other_the_older_stays() {
    let (a, b) = (pool("a", &["192.0.2.0/24"]), pool("b", &["192.0.2.0/25"]));
    let winner = |objects: &[Object]| judge(objects).config.pools.into_keys().next().unwrap();
    // By timestamp; without one is younger; then by name.
    assert_eq!(winner(&[created(a.clone(), 2), created(b.clone(), 1)]), "b");
    assert_eq!(winner(&[a.clone(), created(b.clone(), 9)]), "b");
    assert_eq!(winner(&[b.clone(), a.clone()]), "a");
    // What is in force is older than what is new.
    let mut court = Court::new();
    court.judge(std::slice::from_ref(&b));
    for _ in 0..2 {
        let verdict = court.judge(&[a.clone(), b.clone()]);
        assert!(verdict.config.pools.keys().eq(["b"]));
        assert_eq!(places(&verdict), ["IPAddressPool/a: spec.addresses[0]"]);
    }
    // With a timestamp it is younger all the same.
    let verdict = court.judge(&[created(a, 1), b]);
    assert!(verdict.config.pools.keys().eq(["a"]));
}

#[test]
fn i5_an_edit_that_contradicts_leaves_both_as_they_were() {
    let mut court = Court::new();
    let b = pool("b", &["198.51.100.0/24"]);
    court.judge(&[pool("a", &["192.0.2.0/24"]), b.clone()]);
    // Although `a` comes first by name: what is in force is its other version.
    let verdict = court.judge(&[pool("a", &["198.51.100.0/25"]), b]);
    assert_eq!(places(&verdict), ["IPAddressPool/a: spec.addresses[0]"]);
    assert!(first_is(&verdict, "a", "192.0.2.0") && first_is(&verdict, "b", "198.51.100.0"));
    assert!(!verdict.config.pools_incomplete);
    // The other one gone, the edit takes effect.
    let verdict = court.judge(&[pool("a", &["198.51.100.0/25"])]);
    assert!(verdict.problems.is_empty() && first_is(&verdict, "a", "198.51.100.0"));
}

#[test]
fn i5_the_last_good_version_stands_in_the_way_of_newcomers() {
    let mut court = Court::new();
    let b = pool("b", &["198.51.100.0/24"]);
    court.judge(&[pool("z", &["192.0.2.0/24"]), b.clone()]);
    // z's edit is refused because of b; c wants what z would have left, and comes before it by name.
    let verdict = court.judge(&[
        pool("z", &["198.51.100.0/25"]),
        b,
        pool("c", &["192.0.2.0/25"]),
    ]);
    assert!(first_is(&verdict, "z", "192.0.2.0"));
    assert_eq!(
        places(&verdict),
        [
            "IPAddressPool/c: spec.addresses[0]",
            "IPAddressPool/z: spec.addresses[0]"
        ]
    );
}

#[test]
fn i5_two_may_swap_what_they_have() {
    let mut court = Court::new();
    court.judge(&[
        pool("a", &["192.0.2.0/24"]),
        pool("b", &["198.51.100.0/24"]),
    ]);
    let verdict = court.judge(&[
        pool("a", &["198.51.100.0/24"]),
        pool("b", &["192.0.2.0/24"]),
    ]);
    assert_eq!(places(&verdict), [""; 0]);
    assert!(first_is(&verdict, "a", "198.51.100.0") && first_is(&verdict, "b", "192.0.2.0"));
}

#[test]
fn i5_a_deleted_object_is_gone() {
    let mut court = Court::new();
    court.judge(&[pool("a", &["192.0.2.0/24"])]);
    assert!(court.judge(&[]).config.pools.is_empty());
    let verdict = court.judge(&[pool("a", &["nonsense"])]);
    assert!(verdict.config.pools.is_empty());
}

#[test]
fn i5_an_older_object_edited_over_a_younger_one_puts_it_aside() {
    let mut court = Court::new();
    let young = created(pool("young", &["198.51.100.0/24"]), 2);
    court.judge(&[created(pool("old", &["192.0.2.0/24"]), 1), young.clone()]);
    let verdict = court.judge(&[created(pool("old", &["192.0.0.0/2"]), 1), young]);
    assert!(verdict.config.pools.keys().eq(["old"]));
    assert!(verdict.config.pools_incomplete);
    assert_eq!(places(&verdict), ["IPAddressPool/young: spec.addresses[0]"]);
}

#[test]
fn i5_who_loses_a_reference_stays_as_he_last_was() {
    let facts = secret("bgp", "kubernetes.io/basic-auth", Some("hunter2"));
    let names = |value: &str| {
        object(
            Kind::Community,
            "names",
            json!({"communities": [{"name": "vip", "value": value}]}),
        )
    };
    let profile = object(Kind::BfdProfile, "fast", json!({"detectMultiplier": 5}));
    let ad = bgp("ad", json!({"communities": ["vip"]}));
    let spec = json!({"peerAddress": "192.0.2.1", "bfdProfile": "fast", "passwordSecret": {"name": "bgp"}});
    let router = peer_with("router", spec);

    // Never valid: set aside.
    let mut court = Court::new();
    let verdict = court.judge(&[ad.clone(), router.clone()]);
    let lost = [
        "BGPAdvertisement/ad: spec.communities[0]",
        "BGPPeer/router: spec.bfdProfile",
        "BGPPeer/router: spec.passwordSecret",
    ];
    assert_eq!(places(&verdict), lost);
    assert!(verdict.config.peers.is_empty() && verdict.config.bgp_advertisements.is_empty());

    court.facts = facts;
    let all = [names("65000:1"), profile, ad.clone(), router.clone()];
    assert_eq!(places(&court.judge(&all)), [""; 0]);
    // Following a reference that changes is no edit of the one who refers.
    let verdict = court.judge(&[names("65000:2"), all[1].clone(), ad.clone(), router.clone()]);
    let communities =
        |verdict: &Verdict| verdict.config.bgp_advertisements["ad"].communities.clone();
    assert_eq!(
        communities(&verdict),
        [Community::Standard(65000, 2)].into()
    );

    court.facts = Facts::default();
    for _ in 0..2 {
        let verdict = court.judge(&[ad.clone(), router.clone()]);
        assert_eq!(places(&verdict), lost);
        assert_eq!(
            communities(&verdict),
            [Community::Standard(65000, 2)].into()
        );
        let router = &verdict.config.peers["router"];
        assert_eq!(router.password.as_ref().unwrap().expose(), "hunter2");
        assert_eq!(
            verdict.config.bfd_profiles["fast"].detect_multiplier,
            Some(5)
        );
    }
}

#[test]
fn i5_a_community_that_loses_its_name_takes_nobody_with_it() {
    let names = |name: &str, value: &str| {
        object(
            Kind::Community,
            name,
            json!({"communities": [{"name": "vip", "value": value}]}),
        )
    };
    let ad = bgp("ad", json!({"communities": ["vip"]}));
    let mut court = Court::new();
    court.judge(&[names("b", "65000:1"), ad.clone()]);
    let verdict = court.judge(&[names("a", "65000:2"), names("b", "65000:1"), ad]);
    assert_eq!(places(&verdict), ["Community/a: spec.communities[0].name"]);
    let communities = &verdict.config.bgp_advertisements["ad"].communities;
    assert_eq!(*communities, [Community::Standard(65000, 1)].into());
}

#[test]
fn i5_relabelled_nodes_can_set_the_younger_of_two_peers_aside() {
    let on = |name: &str, rack: &str| {
        let selectors = json!([{"matchLabels": {"rack": rack}}]);
        peer_with(
            name,
            json!({"peerAddress": "192.0.2.1", "nodeSelectors": selectors}),
        )
    };
    let peers = [
        on("a", "a"),
        peer_with(
            "b",
            json!({"peerAddress": "192.0.2.1",
        "nodeSelectors": [{"matchLabels": {"zone": "z"}}]}),
        ),
    ];
    let mut court = Court::new();
    court.facts = nodes(&[("n1", "rack", "a"), ("n2", "zone", "z")]);
    assert_eq!(places(&court.judge(&peers)), [""; 0]);
    court
        .facts
        .nodes
        .get_mut("n2")
        .unwrap()
        .labels
        .insert("rack".to_owned(), "a".to_owned());
    let verdict = court.judge(&peers);
    assert_eq!(places(&verdict), ["BGPPeer/b: spec.peerAddress"]);
    assert!(verdict.config.peers.keys().eq(["a"]));
}

#[test]
fn the_order_of_objects_does_not_matter() {
    let mut objects = vec![
        pool("a", &["192.0.2.0/24"]),
        pool("b", &["192.0.2.0/25", "nonsense"]),
        pool("c", &["192.0.2.128/25"]),
        bgp("x", json!({"localPref": 1})),
        bgp("y", json!({"localPref": 2, "communities": ["none"]})),
        peer("p", "192.0.2.1"),
        peer("q", "192.0.2.1"),
    ];
    let forwards = judge(&objects);
    objects.reverse();
    assert_eq!(judge(&objects), forwards);
    assert!(forwards.problems.is_sorted());
}

#[test]
fn i10_no_password_is_in_the_debug_output_or_in_a_problem() {
    let facts = secret("bgp", "kubernetes.io/basic-auth", Some("hunter2"));
    let objects = [
        peer_with(
            "a",
            json!({"peerAddress": "192.0.2.1", "password": "hunter2"}),
        ),
        peer_with(
            "b",
            json!({"peerAddress": "192.0.2.2", "passwordSecret": {"name": "bgp"}}),
        ),
        peer_with(
            "c",
            json!({"peerAddress": "192.0.2.3", "password": "hunter2\n"}),
        ),
        peer_with(
            "d",
            json!({"peerAddress": "192.0.2.4", "password": ["hunter2"]}),
        ),
        peer_with(
            "e",
            json!({"peerAddress": "192.0.2.5", "password": {"hunter2": "hunter2"}}),
        ),
    ];
    let mut judge = Judge::new(NAMESPACE);
    let verdict = judge.judge(&objects, &facts, false);
    assert_eq!(verdict.config.peers.len(), 2);
    assert_eq!(verdict.problems.len(), 3);
    let everything = format!("{verdict:?} {judge:?} {objects:?} {facts:?}");
    assert!(!everything.contains("hunter2"));
}

/// Values as users and attackers write them, biased toward what the rules know.
fn any_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "10.0.0.0/8",
        "10.0.0.1-10.0.0.9",
        "::/0",
        "0.0.0.0/0",
        "-",
        "a-b",
        "65000:1",
        "large:1:2:3",
        "90s",
        "-9223372036854775808ns",
        "In",
        "Exists",
        "internal",
        "fast",
        "vip",
        "10.0.0.1",
        "fe80::1",
        "\u{0}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..200_i64).prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let names = prop::sample::select(field_names());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(names.prop_map(str::to_owned), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn field_names() -> Vec<&'static str> {
    vec![
        "spec",
        "addresses",
        "autoAssign",
        "serviceAllocation",
        "priority",
        "namespaces",
        "namespaceSelectors",
        "serviceSelectors",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "ipAddressPools",
        "ipAddressPoolSelectors",
        "nodeSelectors",
        "preferredNodeSelectors",
        "weight",
        "preference",
        "aggregationLength",
        "aggregationLengthV6",
        "localPref",
        "communities",
        "peers",
        "myASN",
        "peerASN",
        "dynamicASN",
        "peerAddress",
        "interface",
        "holdTime",
        "keepaliveTime",
        "connectTime",
        "routerID",
        "password",
        "passwordSecret",
        "name",
        "value",
        "bfdProfile",
        "echoMode",
        "minimumTtl",
        "x.y",
        "",
    ]
}

/// A good document with one place of it replaced.
fn mutated(seed: usize, place: usize, value: Value) -> Object {
    let mut object = good().swap_remove(seed % good().len());
    let mut places = Vec::new();
    collect(&object.document, &mut String::new(), &mut places);
    let place = &places[place % places.len()];
    *object.document.pointer_mut(place).unwrap() = value;
    object
}

fn collect(value: &Value, at: &mut String, places: &mut Vec<String>) {
    places.push(at.clone());
    let fields = value.as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value));
    let items = value.as_array().into_iter().flatten().enumerate();
    for (name, value) in fields.chain(items.map(|(index, value)| (index.to_string(), value))) {
        let length = at.len();
        at.push('/');
        at.push_str(&name);
        collect(value, at, places);
        at.truncate(length);
    }
}

fn good() -> Vec<Object> {
    vec![
        object(
            Kind::IpAddressPool,
            "pool",
            json!({"addresses": ["10.0.0.0/8", "fc00::1-fc00::9"], "serviceAllocation": {"priority": 1,
                "namespaces": ["a"], "namespaceSelectors": [{"matchLabels": {"a/b": "c"}}]}}),
        ),
        object(
            Kind::L2Advertisement,
            "l2",
            json!({"ipAddressPools": ["pool"], "nodeSelectors": [{"matchExpressions":
                [{"key": "a", "operator": "In", "values": ["b"]}]}],
                "preferredNodeSelectors": [{"weight": 5, "preference": {}}]}),
        ),
        bgp(
            "bgp",
            json!({"aggregationLength": 24, "aggregationLengthV6": 120, "communities": ["vip"], "peers": ["router"]}),
        ),
        peer_with(
            "router",
            json!({"peerAddress": "10.0.0.1", "holdTime": "90s", "keepaliveTime": "30s",
            "connectTime": "5s", "passwordSecret": {"name": "bgp"}, "bfdProfile": "fast"}),
        ),
        object(
            Kind::BfdProfile,
            "fast",
            json!({"detectMultiplier": 3, "minimumTtl": 5}),
        ),
        object(
            Kind::Community,
            "names",
            json!({"communities": [{"name": "vip", "value": "1:2"}]}),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_document_makes_the_judge_panic(
        rounds in prop::collection::vec(
            prop::collection::vec((0..6_usize, 0..40_usize, any_value(), 0..4_i64), 0..8), 1..4),
    ) {
        let facts = secret("bgp", "kubernetes.io/basic-auth", Some("hunter2"));
        let mut judge = Judge::new(NAMESPACE);
        for round in rounds {
            let mut objects = good();
            for (seed, place, value, age) in round {
                let mut object = mutated(seed, place, value);
                object.name = format!("{}-{age}", object.name);
                object.created = (age > 0).then_some(Timestamp(age));
                objects.push(object);
            }
            let verdict = judge.judge(&objects, &facts, false);
            prop_assert!(verdict.problems.is_sorted());
            // Who judges again what is in force finds the same.
            let again = judge.judge(&objects, &facts, false);
            prop_assert_eq!(&again.config.pools, &verdict.config.pools);
            let ranges: Vec<_> = verdict.config.pools.values().flat_map(|pool| &pool.ranges).collect();
            for (index, range) in ranges.iter().enumerate() {
                prop_assert!(ranges[..index].iter().all(|other| !other.overlaps(range)));
            }
        }
    }
}
