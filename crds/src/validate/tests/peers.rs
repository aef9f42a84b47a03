//! BGPPeer and BFDProfile by themselves.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::{Asn, GracefulRestart, HoldTime, Neighbor, PeerAsn, Port};

/// Samples of what a peer says beside its two ASNs and its address.
#[track_caller]
fn check_peers(samples: &[Sample]) {
    for (more, expected) in samples {
        let mut spec = json!({"peerAddress": "192.0.2.1"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        check_sample(&peer_with("sample", spec), &Facts::default(), expected);
    }
}

#[test]
fn every_rule_of_the_autonomous_systems() {
    check_peers(&[
        (json!({}), &[]),
        (json!({"myASN": 4_294_967_295_u32, "peerASN": 1}), &[]),
        (json!({"myASN": 0}), &[("spec.myASN", "missing local ASN")]),
        (
            json!({"myASN": null}),
            &[("spec.myASN", "missing local ASN")],
        ),
        (
            json!({"myASN": "64500"}),
            &[("spec.myASN", "must be an integer, not a string")],
        ),
        (
            json!({"myASN": -1}),
            &[(
                "spec.myASN",
                "-1 is out of range: use a value from 0 to 4294967295",
            )],
        ),
        (
            json!({"myASN": 4_294_967_296_u64}),
            &[("spec.myASN", "4294967296 is out of range")],
        ),
        (
            json!({"myASN": u64::MAX}),
            &[("spec.myASN", "is out of range")],
        ),
        (
            json!({"myASN": 64500.5}),
            &[("spec.myASN", "must be an integer, not a number")],
        ),
        (
            json!({"myASN": 1e30}),
            &[("spec.myASN", "must be an integer, not a number")],
        ),
        (
            json!({"peerASN": 0}),
            &[("spec.peerASN", "missing peer ASN and dynamicASN")],
        ),
        (
            json!({"peerASN": null}),
            &[("spec.peerASN", "missing peer ASN and dynamicASN")],
        ),
        (json!({"peerASN": null, "dynamicASN": "internal"}), &[]),
        (json!({"peerASN": 0, "dynamicASN": "external"}), &[]),
        (
            json!({"dynamicASN": "external"}),
            &[("spec.dynamicASN", "both peer ASN and dynamicASN specified")],
        ),
        (
            json!({"peerASN": null, "dynamicASN": "any"}),
            &[(
                "spec.dynamicASN",
                "unsupported value \"any\": use one of internal, external",
            )],
        ),
        (
            json!({"dynamicASN": ""}),
            &[("spec.dynamicASN", "unsupported value \"\"")],
        ),
        (json!({"peerASN": 64500}), &[]),
        (
            json!({"peerASN": 64500, "ebgpMultiHop": true}),
            &[(
                "spec.ebgpMultiHop",
                "invalid ebgp-multihop parameter set for an ibgp peer",
            )],
        ),
        (json!({"ebgpMultiHop": true}), &[]),
        (
            json!({"ebgpMultiHop": "yes"}),
            &[("spec.ebgpMultiHop", "must be a boolean")],
        ),
        (json!({"localASN": 64999}), &[]),
        (
            json!({"localASN": 0}),
            &[(
                "spec.localASN",
                "0 is out of range: use a value from 1 to 4294967295",
            )],
        ),
    ]);
}

#[test]
fn every_rule_of_the_addresses() {
    check_peers(&[
        (json!({"peerAddress": "2001:db8::1"}), &[]),
        (
            json!({"peerAddress": null}),
            &[(
                "spec.peerAddress",
                "peer has no Address or Interface specified",
            )],
        ),
        (
            json!({"peerAddress": ""}),
            &[(
                "spec.peerAddress",
                "peer has no Address or Interface specified",
            )],
        ),
        (
            json!({"peerAddress": "router"}),
            &[("spec.peerAddress", "invalid BGPPeer address \"router\"")],
        ),
        (
            json!({"peerAddress": "192.0.2.1/24"}),
            &[("spec.peerAddress", "invalid BGPPeer address")],
        ),
        (
            json!({"peerAddress": 5}),
            &[("spec.peerAddress", "must be a string")],
        ),
        (json!({"peerAddress": null, "interface": "eth0"}), &[]),
        (
            json!({"interface": "eth0"}),
            &[(
                "spec.interface",
                "peer has both Address and Interface specified",
            )],
        ),
        (
            json!({"peerAddress": "", "interface": "eth0\nx"}),
            &[("spec.interface", "contains invalid characters")],
        ),
        (json!({"interface": ""}), &[]),
        (json!({"sourceAddress": "192.0.2.2"}), &[]),
        (
            json!({"sourceAddress": "eth0"}),
            &[("spec.sourceAddress", "invalid source IP \"eth0\"")],
        ),
        (json!({"routerID": "192.0.2.3"}), &[]),
        (
            json!({"routerID": "3"}),
            &[("spec.routerID", "invalid router ID \"3\"")],
        ),
        (
            json!({"routerID": "2001:db8::1"}),
            &[("spec.routerID", "write an IPv4 address")],
        ),
        (
            json!({"routerID": "0.0.0.0"}),
            &[("spec.routerID", "other than 0.0.0.0")],
        ),
        (json!({"peerPort": 16384}), &[]),
        (json!({"peerPort": 1}), &[]),
        (
            json!({"peerPort": 0}),
            &[(
                "spec.peerPort",
                "0 is out of range: use a value from 1 to 16384",
            )],
        ),
        (
            json!({"peerPort": 16385}),
            &[("spec.peerPort", "16385 is out of range")],
        ),
        (
            json!({"peerPort": "179"}),
            &[("spec.peerPort", "must be an integer, not a string")],
        ),
        (json!({"vrf": "red"}), &[]),
        (
            json!({"vrf": "red\r"}),
            &[("spec.vrf", "contains invalid characters")],
        ),
        (
            json!({"nodeSelectors": [{}, {}]}),
            &[(
                "spec.nodeSelectors[1]",
                "duplicate definition of nodeSelectors",
            )],
        ),
        (
            json!({"disableMP": true, "dualStackAddressFamily": true, "enableGracefulRestart": true}),
            &[],
        ),
        (
            json!({"gracefulRestart": true}),
            &[("spec.gracefulRestart", "unknown field")],
        ),
    ]);
}

#[test]
fn every_rule_of_the_timers() {
    check_peers(&[
        (json!({"holdTime": "90s"}), &[]),
        (json!({"holdTime": "1m30s", "keepaliveTime": "30s"}), &[]),
        (json!({"holdTime": "0s"}), &[]),
        (json!({"holdTime": "0"}), &[]),
        (json!({"holdTime": "3s"}), &[]),
        // Seconds are what the wire has, and half of one is none.
        (json!({"holdTime": "500ms"}), &[]),
        (
            json!({"holdTime": "2s"}),
            &[("spec.holdTime", "invalid hold time 2s: must be 0 or >=3s")],
        ),
        (
            json!({"holdTime": "2999ms"}),
            &[("spec.holdTime", "must be 0 or >=3s")],
        ),
        (json!({"holdTime": "18h12m15s"}), &[]),
        (
            json!({"holdTime": "18h12m16s"}),
            &[("spec.holdTime", "at most 65535s")],
        ),
        (
            json!({"holdTime": "-90s"}),
            &[("spec.holdTime", "must not be negative")],
        ),
        (
            json!({"holdTime": 90}),
            &[(
                "spec.holdTime",
                "must be a string, not an integer: put it in quotes",
            )],
        ),
        (
            json!({"holdTime": "90"}),
            &[(
                "spec.holdTime",
                "invalid duration \"90\": write one such as 90s",
            )],
        ),
        (
            json!({"holdTime": ""}),
            &[("spec.holdTime", "invalid duration \"\"")],
        ),
        (json!({"keepaliveTime": "1s"}), &[]),
        (
            json!({"keepaliveTime": "500ms"}),
            &[("spec.keepaliveTime", "invalid hold time 1.5s")],
        ),
        (
            json!({"keepaliveTime": "soon"}),
            &[("spec.keepaliveTime", "invalid duration \"soon\"")],
        ),
        (json!({"holdTime": "9s", "keepaliveTime": "9s"}), &[]),
        (
            json!({"holdTime": "9s", "keepaliveTime": "10s"}),
            &[(
                "spec.keepaliveTime",
                "invalid keepaliveTime 10s, must be lower than holdTime 9s",
            )],
        ),
        (
            json!({"holdTime": "0s", "keepaliveTime": "1s"}),
            &[("spec.keepaliveTime", "must be lower than holdTime")],
        ),
        (
            json!({"holdTime": "1s", "keepaliveTime": "2s"}),
            &[
                ("spec.holdTime", "invalid hold time 1s"),
                ("spec.keepaliveTime", "invalid keepaliveTime 2s"),
            ],
        ),
        (json!({"connectTime": "1s"}), &[]),
        (json!({"connectTime": "65535s"}), &[]),
        (
            json!({"connectTime": "0s"}),
            &[(
                "spec.connectTime",
                "must be whole seconds, from 1s to 65535s",
            )],
        ),
        (
            json!({"connectTime": "65536s"}),
            &[("spec.connectTime", "from 1s to 65535s")],
        ),
        (
            json!({"connectTime": "1500ms"}),
            &[("spec.connectTime", "must be whole seconds")],
        ),
        (
            json!({"connectTime": "x"}),
            &[("spec.connectTime", "invalid duration")],
        ),
    ]);
}

#[test]
fn every_rule_of_passwords() {
    let good = secret("bgp", "kubernetes.io/basic-auth", Some("hunter2"));
    let by_name = json!({"peerAddress": "192.0.2.1", "passwordSecret": {"name": "bgp"}});
    let by_name = peer_with("sample", by_name);
    check_sample(&by_name, &good, &[]);
    for (facts, part) in [
        (
            Facts::default(),
            "secret ref not found: create Secret metallb-system/bgp",
        ),
        (
            secret("bgp", "Opaque", Some("hunter2")),
            "secret type mismatch on metallb-system/bgp",
        ),
        (
            secret("bgp", "kubernetes.io/basic-auth", None),
            "password not specified in the secret",
        ),
        (
            secret("bgp", "kubernetes.io/basic-auth", Some("hunter2\n")),
            "contains invalid characters",
        ),
    ] {
        check_sample(&by_name, &facts, &[("spec.passwordSecret", part)]);
    }
    check_peers(&[
        (json!({"password": "hunter2"}), &[]),
        (json!({"password": "", "passwordSecret": {}}), &[]),
        (
            json!({"password": "hunter2\nno"}),
            &[("spec.password", "contains invalid characters")],
        ),
        (
            json!({"password": 12345}),
            &[("spec.password", "must be a string, not an integer")],
        ),
        (
            json!({"passwordSecret": "bgp"}),
            &[("spec.passwordSecret", "must be a mapping")],
        ),
        (
            json!({"passwordSecret": {"name": "bgp", "namespace": "default"}}),
            &[("spec.passwordSecret.namespace", "must be in metallb-system")],
        ),
    ]);
    let both = json!({"peerAddress": "192.0.2.1", "password": "hunter2", "passwordSecret": {"name": "bgp"}});
    check_sample(
        &peer_with("sample", both),
        &good,
        &[(
            "spec.passwordSecret",
            "can not have both password and secret ref set",
        )],
    );
}

#[test]
fn everything_wrong_with_a_peer_is_said_at_once() {
    let spec = json!({
        "peerASN": "x", "peerAddress": "y", "routerID": "z", "holdTime": "1s", "peerPort": 0,
        "nodeSelectors": [{"matchExpressions": [{"key": "rack", "operator": "Is"}]}],
        "bfdProfile": "none",
    });
    check_samples(
        Kind::BgpPeer,
        &Facts::default(),
        &[(
            spec,
            &[
                ("spec.bfdProfile", "non existing bfd profile none"),
                ("spec.holdTime", "invalid hold time"),
                ("spec.myASN", "missing local ASN"),
                (
                    "spec.nodeSelectors[0].matchExpressions[0].operator",
                    "not a valid",
                ),
                ("spec.peerASN", "must be an integer"),
                ("spec.peerAddress", "invalid BGPPeer address"),
                ("spec.peerPort", "out of range"),
                ("spec.routerID", "invalid router ID"),
            ],
        )],
    );
    check_samples(
        Kind::BgpPeer,
        &Facts::default(),
        &[(
            json!(null),
            &[
                ("spec.myASN", "missing local ASN"),
                ("spec.peerASN", "missing peer ASN"),
                ("spec.peerAddress", "no Address"),
            ],
        )],
    );
}

#[test]
fn a_peer_with_other_faults_hears_of_its_dangling_references_too() {
    let dangling = json!({"bfdProfile": "nope", "passwordSecret": {"name": "nope"}});
    let with = |more: Value| {
        let mut spec = dangling.clone();
        let fields = spec.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        spec
    };
    check_samples(
        Kind::BgpPeer,
        &Facts::default(),
        &[
            (
                with(json!({"myASN": 1, "peerASN": 2})),
                &[
                    ("spec.bfdProfile", "peer sample referencing non existing"),
                    ("spec.passwordSecret", "secret ref not found"),
                    ("spec.peerAddress", "no Address"),
                ],
            ),
            (
                with(json!({"peerASN": 2, "peerAddress": "192.0.2.1"})),
                &[
                    ("spec.bfdProfile", "non existing bfd profile nope"),
                    ("spec.myASN", "missing local ASN"),
                    ("spec.passwordSecret", "secret ref not found"),
                ],
            ),
        ],
    );
}

#[test]
fn a_peer_means_what_it_says() {
    let facts = secret("bgp", "kubernetes.io/basic-auth", Some("hunter2"));
    let spec = json!({
        "peerAddress": "192.0.2.1", "holdTime": "30s", "passwordSecret": {"name": "bgp"},
        "localASN": 64999, "vrf": "red", "connectTime": "10s",
    });
    let verdict = judge_with(&[peer_with("sample", spec)], &facts);
    let peer = &verdict.config.peers["sample"];
    assert_eq!(peer.my_asn, Asn::new(64500).unwrap());
    assert_eq!(peer.peer_asn, PeerAsn::Exact(Asn::new(64501).unwrap()));
    assert_eq!(peer.local_asn, Asn::new(64999));
    assert_eq!(
        peer.neighbor,
        Neighbor::Address("192.0.2.1".parse().unwrap())
    );
    assert_eq!(peer.port, Port::BGP);
    assert_eq!(
        (peer.hold_time, peer.keepalive_time),
        (HoldTime::new(30), None)
    );
    assert_eq!(peer.connect_time, Some(Duration::from_secs(10)));
    assert_eq!(peer.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(peer.vrf.as_deref(), Some("red"));
}

#[test]
fn one_timer_is_derived_from_the_other() {
    let timers = |more: Value| {
        let mut spec = json!({"peerAddress": "192.0.2.1"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let verdict = judge(&[peer_with("sample", spec)]);
        let peer = &verdict.config.peers["sample"];
        (peer.hold_time.map(HoldTime::seconds), peer.keepalive_time)
    };
    let ten = Some(Duration::from_secs(10));
    assert_eq!(timers(json!({})), (None, None));
    assert_eq!(timers(json!({"keepaliveTime": "10s"})), (Some(30), ten));
    assert_eq!(
        timers(json!({"holdTime": "90s", "keepaliveTime": "10s"})),
        (Some(90), ten)
    );
    assert_eq!(timers(json!({"holdTime": "500ms"})), (Some(0), None));
}

#[test]
fn the_first_version_of_a_peer_is_read_too() {
    let v1beta1 = |spec: Value| {
        let mut sample = object(Kind::BgpPeer, "sample", spec);
        sample.version = V1BETA1.to_owned();
        sample
    };
    let spec = json!({
        "myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", "peerPort": 0,
        "nodeSelectors": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a"]}]}],
    });
    let verdict = judge(&[v1beta1(spec)]);
    assert_eq!(verdict.problems, []);
    let peer = &verdict.config.peers["sample"];
    // Timers that are not given are not 0.
    assert_eq!((peer.hold_time, peer.keepalive_time), (None, None));
    assert_eq!(peer.port, Port::BGP);
    assert!(peer.selects_node(&labels("rack", "a")) && !peer.selects_node(&labels("rack", "b")));

    let none = Facts::default();
    check_sample(
        &v1beta1(json!({"myASN": 64500})),
        &none,
        &[
            ("spec.peerASN", "missing peer ASN"),
            ("spec.peerAddress", "no Address"),
        ],
    );
    let spec = json!({
        "myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", "peerPort": 16385, "vrf": "red",
        "nodeSelectors": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": []}]}],
    });
    check_sample(
        &v1beta1(spec),
        &none,
        &[
            (
                "spec.nodeSelectors[0].matchExpressions[0].values",
                "too short: give at least 1",
            ),
            ("spec.peerPort", "use a value from 0 to 16384"),
            ("spec.vrf", "unknown field"),
        ],
    );
}

#[test]
fn every_rule_of_a_bfd_profile() {
    let mut samples: Vec<Sample> = vec![
        (json!({}), &[]),
        (json!(null), &[]),
        (json!({"echoMode": true, "passiveMode": false}), &[]),
        (
            json!({"echoMode": "true"}),
            &[("spec.echoMode", "must be a boolean")],
        ),
        (
            json!({"interval": 5}),
            &[("spec.interval", "unknown field")],
        ),
        (
            json!({"receiveInterval": 9}),
            &[(
                "spec.receiveInterval",
                "9 is out of range: use a value from 10 to 60000",
            )],
        ),
        (
            json!({"transmitInterval": 60001}),
            &[("spec.transmitInterval", "60001 is out of range")],
        ),
        (
            json!({"echoInterval": "50"}),
            &[("spec.echoInterval", "must be an integer")],
        ),
        (
            json!({"detectMultiplier": 1}),
            &[("spec.detectMultiplier", "from 2 to 255")],
        ),
        (
            json!({"detectMultiplier": 256}),
            &[("spec.detectMultiplier", "from 2 to 255")],
        ),
        (
            json!({"minimumTtl": 0}),
            &[("spec.minimumTtl", "from 1 to 254")],
        ),
        (
            json!({"minimumTtl": 255}),
            &[("spec.minimumTtl", "from 1 to 254")],
        ),
    ];
    for (least, most) in [(10, 2), (60000, 255)] {
        let (receive, multiplier) = (json!(least), json!(most));
        samples.push((
            json!({"receiveInterval": receive, "transmitInterval": receive,
            "echoInterval": receive, "detectMultiplier": multiplier, "minimumTtl": 254}),
            &[],
        ));
    }
    check_samples(Kind::BfdProfile, &Facts::default(), &samples);
}

/// A peer with these annotations, with graceful restart or without.
fn annotated(annotations: Value, restarts: bool) -> Object {
    let mut object = peer_with(
        "sample",
        json!({"peerAddress": "192.0.2.1", "enableGracefulRestart": restarts}),
    );
    object.document["metadata"]["annotations"] = annotations;
    object
}

#[test]
fn every_rule_of_the_annotations() {
    const PASSIVE: &str = "metadata.annotations[ferrolb.io/bgp-passive]";
    const STALE: &str = "metadata.annotations[ferrolb.io/bgp-long-lived-stale-time]";
    let stale = |time: &str| json!({"ferrolb.io/bgp-long-lived-stale-time": time});
    const BAD: &[(&str, &str)] = &[(STALE, "write whole seconds, from 1s to 16777215s")];
    type Case = (Value, bool, &'static [(&'static str, &'static str)]);
    let cases: Vec<Case> = vec![
        (json!({"ferrolb.io/bgp-passive": "true"}), false, &[]),
        (json!({"ferrolb.io/bgp-passive": "false"}), false, &[]),
        (
            json!({"ferrolb.io/bgp-passive": "yes"}),
            false,
            &[(PASSIVE, "\"yes\" is neither true nor false")],
        ),
        (stale("1h"), true, &[]),
        (stale("16777215s"), true, &[]),
        (stale("16777216s"), true, BAD),
        (stale("0s"), true, BAD),
        (stale("1500ms"), true, BAD),
        (stale("-1h"), true, BAD),
        (stale("long"), true, BAD),
        (
            stale("1h"),
            false,
            &[(STALE, "has no effect without spec.enableGracefulRestart")],
        ),
        (json!({"example.org/bgp-passive": "yes"}), false, &[]),
        (json!({}), false, &[]),
    ];
    for (annotations, restarts, expected) in cases {
        let object = annotated(annotations, restarts);
        check_sample(&object, &Facts::default(), expected);
    }
}

#[test]
fn annotations_mean_what_they_say() {
    let read = |annotations: Value, restarts: bool| {
        let object = annotated(annotations, restarts);
        judge(&[object]).config.peers["sample"].clone()
    };
    let plain = read(json!({}), true);
    assert_eq!(
        (plain.passive, plain.graceful_restart),
        (false, Some(GracefulRestart::default()))
    );
    let annotations = json!({
        "ferrolb.io/bgp-passive": "true",
        "ferrolb.io/bgp-long-lived-stale-time": "1h30m",
    });
    let peer = read(annotations.clone(), true);
    let long_lived = Some(Duration::from_secs(5400));
    assert!(peer.passive);
    assert_eq!(peer.graceful_restart, Some(GracefulRestart { long_lived }));
    assert_eq!(read(annotations, false).graceful_restart, None);
}
