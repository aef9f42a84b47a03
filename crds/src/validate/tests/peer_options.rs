//! Annotations of a BGPPeer.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::api;
use crate::model::{AoAlgorithm, PeerOptions, Port, TcpAo, TtlSecurityHops};

/// A peer with more in its spec, and one annotation.
fn annotated(more: Value, key: &str, value: Value) -> Object {
    let mut spec = json!({"peerAddress": "192.0.2.1"});
    let fields = spec.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let mut object = peer_with("sample", spec);
    object.document["metadata"]["annotations"] = json!({key: value, "example.org/other": "?"});
    object
}

/// Every value is good, and bad ones are said to be with what is allowed.
#[track_caller]
fn check(key: &str, good: &[&str], bad: &[&str], allowed: &str) {
    let key = format!("ferrolb.io/bgp-{key}");
    let path = format!("metadata.annotations[{key}]");
    for value in good {
        let spec = json!({"password": "x", "enableGracefulRestart": true});
        let object = annotated(spec, &key, json!(value));
        check_sample(&object, &Facts::default(), &[]);
    }
    for value in bad {
        let object = annotated(json!({}), &key, json!(value));
        check_sample(&object, &Facts::default(), &[(path.as_str(), allowed)]);
    }
}

fn options(key: &str, value: &str) -> PeerOptions {
    let object = annotated(json!({"password": "x"}), key, json!(value));
    judge(&[object]).config.peers["sample"].options.clone()
}

#[test]
fn every_rule_of_the_options() {
    let hops = "from 1 to 254";
    check(
        "ttl-security-hops",
        &["1", "254"],
        &["0", "255", "-1", "+1", "", "one", "1 "],
        hops,
    );
    let port = "from 1 to 65535";
    check(
        "source-port",
        &["1", "65535"],
        &["0", "65536", "+1", "bgp"],
        port,
    );
    check(
        "passive",
        &["true", "false"],
        &["yes", "True", ""],
        "true or false",
    );
    let good = ["1s", "1h", "16777215s"];
    let bad = ["0s", "16777216s", "1", "1500ms", "-1s", ""];
    check("long-lived-stale-time", &good, &bad, "from 1s to 16777215s");
    let good = ["1/2", "0/255 hmac-sha1-96", "1/1 aes-128-cmac-96"];
    let bad = [
        "1",
        "1/",
        "1/256",
        "1/2/3",
        "1/2  hmac-sha1-96",
        "1/2 md5",
        "+1/2",
    ];
    check("tcp-ao", &good, &bad, "SENDID/RECVID");
}

#[test]
fn options_mean_what_they_say() {
    let base = PeerOptions::default;
    assert_eq!(
        options(api::BGP_TTL_SECURITY_HOPS, "2"),
        PeerOptions {
            ttl_security_hops: TtlSecurityHops::new(2),
            ..base()
        }
    );
    assert_eq!(
        options(api::BGP_SOURCE_PORT, "1790"),
        PeerOptions {
            source_port: Port::new(1790),
            ..base()
        }
    );
    assert_eq!(
        options(api::BGP_PASSIVE, "true"),
        PeerOptions {
            passive: true,
            ..base()
        }
    );
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(
        options(api::BGP_LONG_LIVED_STALE_TIME, "1h"),
        PeerOptions {
            long_lived_stale_time: hour,
            ..base()
        }
    );
    let key = |algorithm| {
        Some(TcpAo {
            send_id: 7,
            receive_id: 9,
            algorithm,
        })
    };
    let hmac = PeerOptions {
        tcp_ao: key(AoAlgorithm::HmacSha1),
        ..base()
    };
    assert_eq!(options(api::BGP_TCP_AO, "7/9"), hmac);
    let cmac = PeerOptions {
        tcp_ao: key(AoAlgorithm::AesCmac),
        ..base()
    };
    assert_eq!(options(api::BGP_TCP_AO, "7/9 aes-128-cmac-96"), cmac);
}

/// It is reported and without effect, as an unknown field is.
#[test]
fn an_unknown_option_is_told_with_those_that_are_known() {
    let object = annotated(json!({}), "ferrolb.io/bgp-ttl-security", json!("1"));
    let path = "metadata.annotations[ferrolb.io/bgp-ttl-security]";
    for known in [
        "ttl-security-hops",
        "source-port",
        "tcp-ao",
        "passive",
        "long-lived-stale-time",
    ] {
        let known = format!("ferrolb.io/bgp-{known}");
        check_sample(&object, &Facts::default(), &[(path, known.as_str())]);
    }
    assert_eq!(
        judge(&[object]).config.peers["sample"].options,
        PeerOptions::default()
    );
}

#[test]
fn options_that_contradict_fields() {
    let hops = api::BGP_TTL_SECURITY_HOPS;
    let path = "metadata.annotations[ferrolb.io/bgp-ttl-security-hops]";
    let both = annotated(json!({"ebgpMultiHop": true}), hops, json!("2"));
    check_sample(
        &both,
        &Facts::default(),
        &[(path, "not together with ebgpMultiHop")],
    );
    let off = annotated(json!({"ebgpMultiHop": false}), hops, json!("2"));
    check_sample(&off, &Facts::default(), &[]);
    let stale = annotated(json!({}), api::BGP_LONG_LIVED_STALE_TIME, json!("1h"));
    let path = "metadata.annotations[ferrolb.io/bgp-long-lived-stale-time]";
    check_sample(
        &stale,
        &Facts::default(),
        &[(path, "without spec.enableGracefulRestart")],
    );
    let path = "metadata.annotations[ferrolb.io/bgp-tcp-ao]";
    let key = secret("key", "kubernetes.io/basic-auth", Some("hunter2"));
    for (spec, expected) in [
        (
            json!({}),
            &[(path, "set password or passwordSecret")] as &[_],
        ),
        (json!({"password": ""}), &[(path, "there is no key")]),
        (json!({"passwordSecret": {"name": "key"}}), &[]),
    ] {
        check_sample(
            &annotated(spec, api::BGP_TCP_AO, json!("1/1")),
            &key,
            expected,
        );
    }
}

#[test]
fn i5_a_peer_with_a_bad_option_stays_as_it_last_was() {
    let port = |value: &str| annotated(json!({}), api::BGP_SOURCE_PORT, json!(value));
    let mut court = Judge::new(NAMESPACE);
    let mut in_force = |value: &str| {
        let verdict = court.judge(&[port(value)], &Facts::default(), false);
        verdict.config.peers["sample"]
            .options
            .source_port
            .map(Port::get)
    };
    assert_eq!(in_force("1790"), Some(1790));
    assert_eq!(in_force("none"), Some(1790));
    assert_eq!(in_force("1791"), Some(1791));
}
