//! What a BGPPeer says in annotations: what MetalLB's fields have no place for.

use std::time::Duration;

use serde_json::Value;

use super::fault::Faults;
use super::path::Path;
use crate::api::{BGP_LONG_LIVED_STALE_TIME, BGP_PASSIVE};
use crate::duration;
use crate::model::Peer;

const METADATA: Path<'static> = Path::Root("metadata");
const SECOND: i64 = 1_000_000_000;
/// 24 bits of seconds (RFC 9494 §3.1).
const LONGEST: i64 = 0x00ff_ffff;

/// Takes what the annotations of a document say into the peer.
pub(super) fn apply(document: &Value, peer: &mut Peer, faults: &mut Faults) {
    let annotations = &document["metadata"]["annotations"];
    if let Some(text) = annotations[BGP_PASSIVE].as_str() {
        match text {
            "true" => peer.passive = true,
            "false" => {}
            _ => wrong(
                faults,
                BGP_PASSIVE,
                format!("{text:?} is neither true nor false"),
            ),
        }
    }
    let Some(text) = annotations[BGP_LONG_LIVED_STALE_TIME].as_str() else {
        return;
    };
    let Some(time) = stale_time(text) else {
        let message = format!(
            "invalid stale time {text:?}: write whole seconds, from 1s to {LONGEST}s, such as 1h"
        );
        return wrong(faults, BGP_LONG_LIVED_STALE_TIME, message);
    };
    match &mut peer.graceful_restart {
        Some(restart) => restart.long_lived = Some(time),
        None => {
            let message =
                "has no effect without spec.enableGracefulRestart: set it, or remove this";
            let path = METADATA.field("annotations");
            faults.advise(path.field(BGP_LONG_LIVED_STALE_TIME), message);
        }
    }
}

fn stale_time(text: &str) -> Option<Duration> {
    let time = duration::parse(text).filter(|time| time % SECOND == 0)? / SECOND;
    let seconds = Some(time).filter(|time| (1..=LONGEST).contains(time))?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

fn wrong(faults: &mut Faults, name: &str, message: String) {
    let path = METADATA.field("annotations");
    faults.add(path.field(name), message);
}
