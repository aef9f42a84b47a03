//! Annotations of a BGPPeer, `ferrolb.io/bgp-…`.
//!
//! One more is a line in `KNOWN` and an arm of `set`.

use std::time::Duration;

use serde_json::Value;

use super::fault::Faults;
use super::options::{self, Options, number};
use super::path::Path;
use crate::api::{self, BgpPeerSpec};
use crate::duration;
use crate::model::{AoAlgorithm, PeerOptions, Port, TcpAo, TtlSecurityHops};

impl Options for PeerOptions {
    const KNOWN: &'static [(&'static str, &'static str)] = &[
        (
            api::BGP_LONG_LIVED_STALE_TIME,
            "whole seconds from 1s to 16777215s, such as 1h",
        ),
        (api::BGP_PASSIVE, "true or false"),
        (api::BGP_SOURCE_PORT, "a port from 1 to 65535"),
        (
            api::BGP_TCP_AO,
            "SENDID/RECVID, each from 0 to 255, and perhaps hmac-sha1-96 or aes-128-cmac-96 after a blank",
        ),
        (api::BGP_TTL_SECURITY_HOPS, "a number of hops from 1 to 254"),
    ];

    fn set(&mut self, key: &str, text: &str) -> Option<()> {
        match key {
            api::BGP_LONG_LIVED_STALE_TIME => self.long_lived_stale_time = Some(stale_time(text)?),
            api::BGP_PASSIVE => self.passive = text.parse().ok()?,
            api::BGP_SOURCE_PORT => self.source_port = Some(number(text).and_then(Port::new)?),
            api::BGP_TCP_AO => self.tcp_ao = Some(tcp_ao(text)?),
            api::BGP_TTL_SECURITY_HOPS => {
                self.ttl_security_hops = Some(number(text).and_then(TtlSecurityHops::new)?);
            }
            _ => return None,
        }
        Some(())
    }
}

/// Reads the options of a peer, and measures them against its fields.
pub(super) fn read(document: &Value, spec: &BgpPeerSpec, faults: &mut Faults) -> PeerOptions {
    let options = options::read(document, faults);
    check(&options, spec, faults);
    options
}

fn check(options: &PeerOptions, spec: &BgpPeerSpec, faults: &mut Faults) {
    let annotations = Path::Root("metadata.annotations");
    if options.ttl_security_hops.is_some() && spec.ebgp_multi_hop == Some(true) {
        faults.add(
            annotations.field(api::BGP_TTL_SECURITY_HOPS),
            "not together with ebgpMultiHop: remove one, the number of hops says how far away the peer may be",
        );
    }
    if options.long_lived_stale_time.is_some() && spec.enable_graceful_restart != Some(true) {
        faults.advise(
            annotations.field(api::BGP_LONG_LIVED_STALE_TIME),
            "has no effect without spec.enableGracefulRestart: set it, or remove this",
        );
    }
    let has_password = spec
        .password
        .as_ref()
        .is_some_and(|text| !text.0.is_empty());
    let names_secret = spec.password_secret.as_ref();
    let names_secret = names_secret.and_then(|secret| secret.name.as_ref());
    if options.tcp_ao.is_some() && !has_password && names_secret.is_none_or(String::is_empty) {
        faults.add(
            annotations.field(api::BGP_TCP_AO),
            "there is no key: set password or passwordSecret, or remove it",
        );
    }
}

/// RFC 9494 §3.1: 24 bits.
fn stale_time(text: &str) -> Option<Duration> {
    let time = duration::from_argument(text).ok()?;
    let is_whole = time.subsec_nanos() == 0;
    (is_whole && (1..1 << 24).contains(&time.as_secs())).then_some(time)
}

fn tcp_ao(text: &str) -> Option<TcpAo> {
    let (ids, algorithm) = text.split_once(' ').unwrap_or((text, "hmac-sha1-96"));
    let (send_id, receive_id) = ids.split_once('/')?;
    Some(TcpAo {
        send_id: number(send_id)?,
        receive_id: number(receive_id)?,
        algorithm: match algorithm {
            "hmac-sha1-96" => AoAlgorithm::HmacSha1,
            "aes-128-cmac-96" => AoAlgorithm::AesCmac,
            _ => return None,
        },
    })
}
