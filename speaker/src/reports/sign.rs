//! What a speaker lets those know through the API server who do not hear it: that it lives, and on
//! which segments it is. It is an annotation of its ConfigurationState.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The sign of one speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// Another number each time that it says that it lives; `None`: nobody needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat: Option<u64>,
    /// The interfaces that it would answer on, each with its addresses.
    #[serde(default)]
    pub interfaces: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Sign {
    /// As the annotation has it.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= LONGEST).then(|| serde_json::from_str(text).ok())?
    }

    /// For the annotation. Of more interfaces than fit those count that come first.
    pub fn text(&self) -> String {
        let mut sign = self.clone();
        loop {
            // Names and addresses are text.
            let text = serde_json::to_string(&sign).unwrap_or_default();
            if text.len() <= LONGEST || sign.interfaces.pop_last().is_none() {
                return text;
            }
        }
    }

    /// Whether this is said already by what is there. Where nobody needs to know that this speaker lives,
    /// any beat will do.
    pub fn is_said_by(&self, present: &Self) -> bool {
        self.interfaces == present.interfaces && (self.beat.is_none() || self.beat == present.beat)
    }
}

/// A longer annotation is not read.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(beat: Option<u64>, interfaces: usize) -> Sign {
        let interfaces = (0..interfaces).map(|n| {
            let address = IpAddr::from([10, 0, (n / 250) as u8, (n % 250) as u8]);
            (format!("eth{n:04}"), BTreeSet::from([address]))
        });
        Sign {
            beat,
            interfaces: interfaces.collect(),
        }
    }

    #[test]
    fn a_sign_comes_back_as_it_was_and_is_never_too_long_to_be_read() {
        let text = sign(Some(7), 2).text();
        assert_eq!(
            text,
            r#"{"beat":7,"interfaces":{"eth0000":["10.0.0.0"],"eth0001":["10.0.0.1"]}}"#
        );
        assert_eq!(Sign::parse(&text), Some(sign(Some(7), 2)));
        let cut = Sign::parse(&sign(None, 1000).text()).unwrap();
        assert!(cut.interfaces.len() > 50 && cut.interfaces.contains_key("eth0000"));
        for bad in ["", "{", "7", r#"{"interfaces": {"eth0": ["x"]}}"#] {
            assert_eq!(Sign::parse(bad), None, "{bad}");
        }
        assert_eq!(Sign::parse(&" ".repeat(LONGEST + 1)), None);
    }

    #[test]
    fn a_beat_is_said_anew_only_while_somebody_needs_it() {
        let present = sign(Some(7), 1);
        assert!(sign(Some(7), 1).is_said_by(&present) && sign(None, 1).is_said_by(&present));
        assert!(!sign(Some(8), 1).is_said_by(&present) && !sign(None, 2).is_said_by(&present));
    }
}
