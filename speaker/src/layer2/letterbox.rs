//! What layer 2 has found out and nobody has taken in yet.
//!
//! One box with one lock: what is taken together was true together, and whoever puts something in waits
//! for nobody. It holds the latest of each address; the report says when there is something in it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::layer2::{ClaimsByAddress, Findings, Rival};

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letter {
    /// What the others claim by now of those addresses of which that has changed.
    pub claims: ClaimsByAddress,
    /// Who else has those addresses of which that was found out.
    pub findings: Findings,
    /// Who else was seen to answer for a held address.
    pub rivals: Vec<Rival>,
}

impl Letter {
    fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.findings.is_empty() && self.rivals.is_empty()
    }

    /// What is newer counts; who takes them in says how many rivals are too many.
    fn add(&mut self, newer: Self) {
        self.claims.extend(newer.claims);
        self.findings.extend(newer.findings);
        let room = MAX_RIVALS.saturating_sub(self.rivals.len());
        self.rivals.extend(newer.rivals.into_iter().take(room));
    }
}

/// Where it waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Letterbox(Arc<Mutex<Letter>>);

impl Letterbox {
    /// Adds what was found out since.
    pub(super) fn put(&self, letter: Letter) {
        if !letter.is_empty() {
            let waiting = self.0.lock();
            waiting.unwrap_or_else(PoisonError::into_inner).add(letter);
        }
    }

    /// Takes everything.
    pub(super) fn take(&self) -> Letter {
        let waiting = self.0.lock();
        std::mem::take(&mut waiting.unwrap_or_else(PoisonError::into_inner))
    }
}

/// So many rivals wait to be taken in.
const MAX_RIVALS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::layer2::claims::{Source, Standing};

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    fn rival(n: u32) -> Rival {
        Rival {
            interface: "eth0".to_owned(),
            address: address(n),
            mac: "02:00:00:00:00:07".to_owned(),
            node: None,
        }
    }

    fn letter(n: u32, claimants: &[&str], mac: &str) -> Letter {
        let claims = claimants.iter();
        let claims = claims.map(|node| (Source::of(node, "eth0"), Standing::Holds));
        let others = BTreeMap::from([("eth0".to_owned(), mac.to_owned())]);
        Letter {
            claims: BTreeMap::from([(address(n), claims.collect())]),
            findings: BTreeMap::from([(address(n), others)]),
            rivals: vec![rival(n)],
        }
    }

    #[test]
    fn what_waits_is_taken_once_and_the_latest_of_each_address() {
        let ours = Letterbox::default();
        let theirs = ours.clone();
        theirs.put(letter(1, &["n2"], "a"));
        theirs.put(letter(2, &["n3"], "b"));
        theirs.put(letter(1, &[], "c"));
        let mut expected = letter(1, &[], "c");
        let second = letter(2, &["n3"], "b");
        expected.claims.extend(second.claims);
        expected.findings.extend(second.findings);
        expected.rivals = [1, 2, 1].map(rival).to_vec();
        assert_eq!(ours.take(), expected);
        assert_eq!(ours.take(), Letter::default());
    }

    #[test]
    fn rivals_that_nobody_takes_in_do_not_pile_up() {
        let letterbox = Letterbox::default();
        for n in 0..3_000 {
            letterbox.put(Letter {
                rivals: vec![rival(n)],
                ..Letter::default()
            });
        }
        assert_eq!(letterbox.take().rivals.len(), MAX_RIVALS);
    }
}
