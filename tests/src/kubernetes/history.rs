//! What must hold over the whole history of the Services, as a watch tells it: I1 and I2. Pure.
//!
//! The versions of one collection are one order of all its changes, and a watch tells them in that
//! order: what holds after each of them has held at all times.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use super::load::Seen;

/// All Services, as far as the watch has told. For Services that share nothing and ask for nothing
/// else while they live.
#[derive(Debug, Default)]
pub struct History {
    /// Addresses of the Services that are there, by uid.
    services: BTreeMap<String, Vec<IpAddr>>,
    holders: BTreeMap<IpAddr, String>,
    /// How often a Service came to have addresses.
    pub assigned: usize,
    /// How often the address came from another Service.
    pub reused: usize,
    earlier: BTreeMap<IpAddr, String>,
}

impl History {
    /// Takes one change in; an error is a violation.
    pub fn apply(&mut self, seen: &Seen) -> Result<()> {
        let uid = seen.object.metadata.uid.clone();
        let uid = uid.context("every Service has a uid")?;
        if seen.is_gone {
            for address in self.services.remove(&uid).unwrap_or_default() {
                self.holders.remove(&address);
                self.earlier.insert(address, uid.clone());
            }
            return Ok(());
        }
        let name = seen.name();
        let now = seen.addresses();
        let before = self.services.insert(uid.clone(), now.clone());
        let before = before.unwrap_or_default();
        if before == now {
            return Ok(());
        }
        ensure!(
            before.is_empty(),
            "I2: {name} had {before:?} and has {now:?}"
        );
        for address in now {
            if let Some(other) = self.holders.insert(address, uid.clone()) {
                let there = self.services.contains_key(&other);
                ensure!(!there, "I1: {address} was given to {name} and is {other}'s");
            }
            let earlier = self.earlier.remove(&address);
            self.reused += usize::from(earlier.is_some());
        }
        self.assigned += 1;
        Ok(())
    }

    /// How many Services are there without an address.
    pub fn waiting(&self) -> usize {
        let services = self.services.values();
        services.filter(|addresses| addresses.is_empty()).count()
    }

    /// How many Services are there.
    pub fn present(&self) -> usize {
        self.services.len()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a watch tells when it heard")]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn seen(uid: &str, address: Option<&str>, is_gone: bool) -> Seen {
        let ingress: Vec<_> = address.iter().map(|ip| json!({"ip": ip})).collect();
        let object = json!({
            "metadata": {"name": uid, "uid": uid},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        Seen {
            at: Instant::now(),
            is_gone,
            object: serde_json::from_value(object).unwrap(),
        }
    }

    fn told(changes: &[Seen]) -> Result<History> {
        let mut history = History::default();
        changes.iter().try_for_each(|seen| history.apply(seen))?;
        Ok(history)
    }

    #[test]
    fn an_address_may_go_from_one_service_to_the_next() {
        let history = told(&[
            seen("a", None, false),
            seen("b", None, false),
            seen("a", Some("10.0.0.1"), false),
            seen("a", Some("10.0.0.1"), true),
            seen("b", Some("10.0.0.1"), false),
            seen("c", None, false),
        ])
        .unwrap();
        assert_eq!((history.assigned, history.reused), (2, 1));
        assert_eq!((history.present(), history.waiting()), (2, 1));
    }

    #[test]
    fn i1_an_address_that_two_have_is_a_violation() {
        let changes = [
            seen("a", Some("10.0.0.1"), false),
            seen("b", Some("10.0.0.1"), false),
        ];
        assert!(told(&changes).unwrap_err().to_string().starts_with("I1"));
    }

    #[test]
    fn i2_an_address_that_changes_or_goes_is_a_violation() {
        for after in [Some("10.0.0.2"), None] {
            let changes = [seen("a", Some("10.0.0.1"), false), seen("a", after, false)];
            assert!(told(&changes).unwrap_err().to_string().starts_with("I2"));
        }
    }
}
