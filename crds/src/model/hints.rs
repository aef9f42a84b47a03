//! Hints: the node that is to take each address of a Service when nobody holds it at layer 2.
//!
//! The controller writes them into one annotation when it gives the addresses, `ADDRESS=NODE` with
//! commas between, and they are never more than that: a node that cannot hold the address is passed
//! over, and a part of the text that makes no sense is set aside with the reason.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Which node is to take which address. A clone is the same one in memory, and none takes no room: every
/// Service has these in several places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints(Option<Arc<Listed>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Listed {
    /// By address, each once.
    entries: Vec<(IpAddr, Arc<str>)>,
    ignored: Vec<String>,
}

impl Hints {
    /// Reads the annotation.
    pub fn parse(text: &str) -> Self {
        let mut hints = Self::default();
        let parts = text.split(',').map(str::trim);
        for (number, part) in parts.filter(|part| !part.is_empty()).enumerate() {
            if number >= MOST {
                hints.ignore(format!("there are more than {MOST} of them"));
                break;
            }
            match entry(part) {
                Ok((address, node)) if hints.node(address).is_none() => {
                    hints.set(address, node.into());
                }
                Ok((address, _)) => hints.ignore(format!("{address} is there twice")),
                Err(why) => hints.ignore(format!("{part:?} {why}: write ADDRESS=NODE")),
            }
        }
        hints
    }

    /// The node for an address.
    pub fn node(&self, address: IpAddr) -> Option<&Arc<str>> {
        let at = self.at(address).ok()?;
        self.entries().get(at).map(|(_, node)| node)
    }

    /// This node is to take the address.
    pub fn set(&mut self, address: IpAddr, node: Arc<str>) {
        let at = self.at(address);
        let entries = &mut self.listed().entries;
        match at {
            Ok(at) => {
                if let Some((_, present)) = entries.get_mut(at) {
                    *present = node;
                }
            }
            Err(at) => {
                entries.reserve_exact(1);
                entries.insert(at, (address, node));
            }
        }
    }

    /// Takes out those of addresses that are not among these.
    pub fn keep_only(&mut self, addresses: &[IpAddr]) -> Vec<(IpAddr, Arc<str>)> {
        let is_other = |(address, _): &mut (IpAddr, Arc<str>)| !addresses.contains(address);
        if self
            .entries()
            .iter()
            .all(|(address, _)| addresses.contains(address))
        {
            return Vec::new();
        }
        let listed = self.listed();
        let gone = listed.entries.extract_if(.., is_other).collect();
        if *listed == Listed::default() {
            self.0 = None;
        }
        gone
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Arc<str>)> {
        self.entries()
            .iter()
            .map(|(address, node)| (*address, node))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Why parts of the annotation count for nothing.
    pub fn ignored(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |listed| &listed.ignored)
    }

    /// The same without what counts for nothing.
    #[must_use]
    pub fn sound(&self) -> Self {
        if self.ignored().is_empty() {
            return self.clone();
        }
        let listed = Listed {
            entries: self.entries().to_vec(),
            ignored: Vec::new(),
        };
        Self((listed != Listed::default()).then(|| Arc::new(listed)))
    }

    /// The annotation; `None`: there is nothing to say.
    pub fn annotation(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.to_string())
    }

    fn at(&self, address: IpAddr) -> Result<usize, usize> {
        self.entries()
            .binary_search_by_key(&address, |(address, _)| *address)
    }

    fn ignore(&mut self, why: String) {
        self.listed().ignored.push(why);
    }

    fn entries(&self) -> &[(IpAddr, Arc<str>)] {
        self.0.as_ref().map_or(&[], |listed| &listed.entries)
    }

    fn listed(&mut self) -> &mut Listed {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (address, node)) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{address}={node}")?;
        }
        Ok(())
    }
}

fn entry(part: &str) -> Result<(IpAddr, &str), &'static str> {
    let (address, node) = part.split_once('=').ok_or("has no =")?;
    let address = address
        .trim()
        .parse()
        .map_err(|_| "begins with no address")?;
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let node = node.trim();
    match (1..=253).contains(&node.len()) && node.chars().all(is_letter) {
        true => Ok((address, node)),
        false => Err("ends with no name of a node"),
    }
}

/// More than the addresses of a Service; the rest of a longer list is not read.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pairs(hints: &Hints) -> Vec<(IpAddr, &str)> {
        let pairs = hints.iter();
        pairs.map(|(address, node)| (address, &**node)).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut hints = Hints::default();
        assert_eq!(hints.annotation(), None);
        hints.set(ip("fc00::1"), "n2.example".into());
        hints.set(ip("10.0.0.1"), "n9".into());
        hints.set(ip("10.0.0.1"), "n1".into());
        let text = "10.0.0.1=n1,fc00::1=n2.example";
        assert_eq!(hints.annotation().as_deref(), Some(text));
        assert_eq!(Hints::parse(text), hints);
        assert_eq!(Hints::parse(" fc00::1=n2.example , 10.0.0.1 = n1,"), hints);
        assert_eq!(hints.node(ip("10.0.0.1")).map(|node| &**node), Some("n1"));
        assert_eq!(hints.node(ip("10.0.0.2")), None);
        let gone = hints.keep_only(&[ip("fc00::1"), ip("fc00::2")]);
        assert_eq!(gone, [(ip("10.0.0.1"), "n1".into())]);
        assert_eq!(pairs(&hints), [(ip("fc00::1"), "n2.example")]);
    }

    #[test]
    fn nonsense_is_set_aside_with_the_reason_and_the_rest_counts() {
        for (text, why) in [
            ("n1", "\"n1\" has no =: write ADDRESS=NODE"),
            (
                "10.0.0=n1",
                "\"10.0.0=n1\" begins with no address: write ADDRESS=NODE",
            ),
            (
                "10.0.0.9=",
                "\"10.0.0.9=\" ends with no name of a node: write ADDRESS=NODE",
            ),
            (
                "10.0.0.9=N/1",
                "\"10.0.0.9=N/1\" ends with no name of a node: write ADDRESS=NODE",
            ),
            ("10.0.0.1=n2", "10.0.0.1 is there twice"),
        ] {
            let hints = Hints::parse(&format!("10.0.0.1=n1,{text}"));
            assert_eq!(pairs(&hints), [(ip("10.0.0.1"), "n1")]);
            assert_eq!(hints.ignored(), [why]);
            assert_eq!(hints.annotation().as_deref(), Some("10.0.0.1=n1"));
            assert_ne!(hints, hints.sound());
        }
        let many = (0..99)
            .map(|n| format!("10.0.0.{n}=n1"))
            .collect::<Vec<_>>();
        let hints = Hints::parse(&many.join(","));
        assert_eq!(hints.iter().count(), MOST);
        assert_eq!(hints.ignored().len(), 1);
    }

    proptest! {
        #[test]
        fn i7_no_text_is_too_much(text in "[0-9a-f.:=, n]{0,200}|\\PC{0,200}") {
            let hints = Hints::parse(&text);
            prop_assert!(hints.iter().count() <= MOST);
            prop_assert_eq!(Hints::parse(&hints.to_string()), hints.sound());
        }
    }
}
