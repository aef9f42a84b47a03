//! Annotations `ferrolb.io/bgp-…` of an object: what MetalLB has no field for.
//!
//! One that nobody knows has no effect and is reported, as an unknown field is.

use serde_json::Value;

use super::fault::Faults;
use super::path::Path;
use crate::api;

/// The options of one kind.
pub(super) trait Options: Default {
    /// Every option, and what may stand there.
    const KNOWN: &'static [(&'static str, &'static str)];

    /// Takes a value over; `None`: it is none of those that may stand there.
    fn set(&mut self, key: &str, text: &str) -> Option<()>;
}

/// The options in a document, as written.
pub(super) fn written(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let annotations = document["metadata"]["annotations"].as_object();
    let annotations = annotations.into_iter().flatten();
    annotations.filter(|(key, _)| key.starts_with(api::BGP_PREFIX))
}

/// Reads the options of an object. Nobody writes a password here, so values can be shown.
pub(super) fn read<T: Options>(document: &Value, faults: &mut Faults) -> T {
    let mut options = T::default();
    for (key, value) in written(document) {
        let at = Path::Root("metadata.annotations");
        let at = at.field(key);
        let Some((_, allowed)) = T::KNOWN.iter().find(|(known, _)| known == key) else {
            let known: Vec<&str> = T::KNOWN.iter().map(|(known, _)| *known).collect();
            faults.advise(
                at,
                format!(
                    "unknown annotation, without effect: known are {}",
                    known.join(", ")
                ),
            );
            continue;
        };
        let taken = value.as_str().and_then(|text| options.set(key, text));
        if taken.is_none() {
            faults.add(at, format!("invalid value {value}: write {allowed}"));
        }
    }
    options
}

/// Digits alone: no sign.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}
