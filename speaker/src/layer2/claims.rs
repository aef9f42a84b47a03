//! What the nodes of a segment say that they hold.
//!
//! Every heartbeat carries a digest of what its sender says of the interface that it is sent from.
//! What changes is said at once, and again with the next heartbeats. Who finds that a digest does
//! not match asks, and is told everything, in parts:
//!
//! ```text
//!  alike ──▶ digest differs ── a moment later, still ──▶ ask ──▶ parts ──▶ alike
//! ```
//!
//! Each part tells all there is in one range of addresses, and each change what is true of an
//! address by now: so they can come twice, in any order, or not at all, and the digest tells.
//!
//! A source is an interface of another node. Whether that node lives is for
//! [`liveness`](crate::layer2::liveness) to say; what it said last is kept while it is silent, since
//! after a short cut it is still true. From when it is heard, or heard again, until all is alike its
//! claims are *unknown*, and what nobody seems to hold may be its own; but nobody is waited for
//! longer than [`PATIENCE`].

mod codec;
mod holdings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layer2::LinkIndex;
use crate::wire::ethernet::Mac;

pub use holdings::{Digest, Holdings, packets};

/// How a node stands to an address, in its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Holds,
    /// It answers until somebody else does.
    Offers,
    /// It does not answer yet, but did before it was started anew.
    Remembers,
}

/// What is true of an address by now; `None`: nothing.
pub type Change = (IpAddr, Option<Standing>);

/// What a heartbeat tells of claims beside the digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Message {
    /// Nothing.
    #[default]
    Nothing,
    /// What is true of some addresses by now.
    Changes(Vec<Change>),
    /// Everything in a range.
    Part(Part),
}

/// Everything there is in one range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The range begins behind this address; `None`: with the first.
    pub after: Option<IpAddr>,
    /// The range ends with this address; `None`: with the last.
    pub last: Option<IpAddr>,
    /// What there is in it; the rest of the range is empty.
    pub entries: Vec<(IpAddr, Standing)>,
}

/// An interface of another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The node.
    pub node: Arc<str>,
    /// The interface, as that node calls it.
    pub interface: Arc<str>,
}

impl Source {
    /// An interface of this name of a node of that name.
    pub fn of(node: &str, interface: &str) -> Self {
        Self {
            node: node.into(),
            interface: interface.into(),
        }
    }
}

/// What an authentic heartbeat said, which was neither old nor ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Our interface.
    pub link: LinkIndex,
    /// Their hardware address.
    pub sender: Mac,
    /// Who says it.
    pub source: Source,
    /// Differs each time that node starts.
    pub incarnation: u64,
    /// Digest of all it says.
    pub digest: Digest,
    /// A part of it.
    pub message: Message,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ask a node for everything it has to say.
    Ask {
        /// Where.
        link: LinkIndex,
        /// Its hardware address.
        to: Mac,
    },
    /// The claims of some source are known by now.
    Known,
}

/// What the others say.
///
/// After any `handle` or `handle_timeout`: `poll` until `None`, then ask for the next deadline.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// By node and interface.
    accounts: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Account>>,
    by_address: BTreeMap<IpAddr, Vec<(Source, Standing)>>,
    changed: BTreeSet<IpAddr>,
    /// How many claims there are in all.
    count: usize,
    /// No deadline is earlier.
    wake: Option<Instant>,
    outputs: VecDeque<Output>,
}

/// What one source said.
#[derive(Debug, Clone)]
struct Account {
    link: LinkIndex,
    sender: Mac,
    incarnation: u64,
    holdings: Holdings,
    /// It was all known since it was heard again: then what differs is a change on its way.
    is_known: bool,
    /// When it was heard again.
    since: Instant,
    asked: Option<Instant>,
    ask_at: Option<Instant>,
}

impl Claims {
    /// Takes in what was said.
    pub fn handle(&mut self, now: Instant, heard: Heard) {
        let Heard {
            link,
            sender,
            source,
            incarnation,
            digest,
            message,
        } = heard;
        // What it said of any interface before it was started anew holds no more.
        let mut known = self.accounts.get(&source.node).into_iter().flatten();
        if known.any(|(_, known)| known.incarnation != incarnation) {
            self.forget(&source.node);
        }
        if self.account(&source.node, &source.interface).is_none() && !self.has_room(&source.node) {
            return;
        }
        let accounts = self.accounts.entry(source.node.clone()).or_default();
        let account = accounts.entry(source.interface.clone());
        let account = account.or_insert_with(|| Account::new(now, link, sender, incarnation));
        account.link = link;
        account.sender = sender;
        if account.holdings.digest() != digest {
            let changes = account.changes(digest, message);
            self.change(&source, changes);
        }
        if let Some(account) = self.account_mut(&source.node, &source.interface) {
            let was_known = account.is_known;
            account.compare(now, digest);
            let (is_known, deadline) = (account.is_known, account.deadline());
            if is_known && !was_known {
                self.outputs.push_back(Output::Known);
            }
            self.wake = self.wake.into_iter().chain(deadline).min();
        }
    }

    /// A source is heard again: what it said before may have changed.
    pub fn expect(&mut self, now: Instant, node: &str, interface: &str) {
        if let Some(account) = self.account_mut(node, interface) {
            account.is_known = false;
            account.since = now;
        }
    }

    /// Somebody answers for an address without having said so, or more than was heard of it: it is
    /// asked what it holds. Anybody can send what is seen on the wire; what it says bears the key.
    pub fn note_answer(&mut self, now: Instant, source: &Source, address: IpAddr) {
        let Some(account) = self.account_mut(&source.node, &source.interface) else {
            return;
        };
        if account.holdings.get(address) != Some(Standing::Holds) {
            let again = account.asked.map_or(now, |asked| asked + ASK_AGAIN);
            let at = again.max(now);
            account.ask_at = Some(account.ask_at.map_or(at, |planned| planned.min(at)));
            self.wake = self.wake.into_iter().chain([at]).min();
        }
    }

    /// Forgets a node.
    pub fn forget(&mut self, node: &str) {
        let accounts = self.accounts.get(node).into_iter().flatten();
        let sources = accounts.map(|(interface, _)| Source::of(node, interface));
        for source in sources.collect::<Vec<_>>() {
            self.clear(&source);
        }
    }

    /// The next thing that follows.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Asks those whose digest still does not match.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        for account in self.accounts.values_mut().flat_map(BTreeMap::values_mut) {
            if account.ask_at.is_some_and(|at| at <= now) {
                account.ask_at = None;
                account.asked = Some(now);
                let (link, to) = (account.link, account.sender);
                self.outputs.push_back(Output::Ask { link, to });
            }
            if !account.is_known && account.since + PATIENCE <= now {
                account.is_known = true;
                self.outputs.push_back(Output::Known);
            }
        }
        let accounts = self.accounts.values().flat_map(BTreeMap::values);
        self.wake = accounts.filter_map(Account::deadline).min();
    }

    /// What is said of an address, by source.
    pub fn at(&self, address: IpAddr) -> &[(Source, Standing)] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Whether all is known that a source has to say, or has been waited for long enough. One that
    /// nothing is kept of, for want of room, is not waited for.
    pub fn is_known(&self, node: &str, interface: &str) -> bool {
        let account = self.account(node, interface);
        account.is_none_or(|account| account.is_known)
    }

    /// The addresses of which something else is said than when this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.changed)
    }

    fn account(&self, node: &str, interface: &str) -> Option<&Account> {
        self.accounts.get(node)?.get(interface)
    }

    fn account_mut(&mut self, node: &str, interface: &str) -> Option<&mut Account> {
        self.accounts.get_mut(node)?.get_mut(interface)
    }

    fn has_room(&self, node: &str) -> bool {
        match self.accounts.get(node) {
            Some(accounts) => accounts.len() < MAX_INTERFACES,
            None => self.accounts.len() < MAX_NODES,
        }
    }

    fn change(&mut self, source: &Source, changes: Vec<Change>) {
        let accounts = self.accounts.get_mut(&source.node);
        let Some(account) = accounts.and_then(|accounts| accounts.get_mut(&source.interface))
        else {
            return;
        };
        for (address, standing) in changes {
            let is_full = self.count >= MAX_CLAIMS || account.holdings.len() >= MAX_ADDRESSES;
            let is_new = account.holdings.get(address).is_none();
            if is_full && is_new && standing.is_some() {
                continue;
            }
            let before = account.holdings.len();
            if account.holdings.set(address, standing) {
                self.count = self.count + account.holdings.len() - before;
                self.changed.insert(address);
                index(&mut self.by_address, source, (address, standing));
            }
        }
    }

    fn clear(&mut self, source: &Source) {
        let Some(accounts) = self.accounts.get_mut(&source.node) else {
            return;
        };
        let account = accounts.remove(&source.interface);
        if accounts.is_empty() {
            self.accounts.remove(&source.node);
        }
        if let Some(account) = account {
            self.count -= account.holdings.len();
            for (address, _) in account.holdings.iter() {
                self.changed.insert(address);
                index(&mut self.by_address, source, (address, None));
            }
        }
    }
}

impl Account {
    fn new(now: Instant, link: LinkIndex, sender: Mac, incarnation: u64) -> Self {
        Self {
            link,
            sender,
            incarnation,
            holdings: Holdings::default(),
            is_known: false,
            since: now,
            asked: None,
            ask_at: None,
        }
    }

    /// What a message means for what is known.
    fn changes(&self, digest: Digest, message: Message) -> Vec<Change> {
        if digest == Holdings::default().digest() {
            return self
                .holdings
                .iter()
                .map(|(address, _)| (address, None))
                .collect();
        }
        match message {
            Message::Nothing => Vec::new(),
            Message::Changes(changes) => changes,
            Message::Part(part) => self.holdings.changes_to(part),
        }
    }

    /// Plans to ask if what is known is not what is said.
    fn compare(&mut self, now: Instant, digest: Digest) {
        if self.holdings.digest() == digest {
            self.is_known = true;
            self.ask_at = None;
            return;
        }
        let soonest = match self.is_known {
            true => now + GRACE,
            false => now,
        };
        let again = self.asked.map_or(soonest, |asked| asked + ASK_AGAIN);
        self.ask_at.get_or_insert_with(|| soonest.max(again));
    }

    fn deadline(&self) -> Option<Instant> {
        let patience = (!self.is_known).then(|| self.since + PATIENCE);
        self.ask_at.into_iter().chain(patience).min()
    }
}

fn index(
    by_address: &mut BTreeMap<IpAddr, Vec<(Source, Standing)>>,
    source: &Source,
    (address, standing): Change,
) {
    let claims = by_address.entry(address).or_default();
    let at = claims.binary_search_by(|(claimant, _)| claimant.cmp(source));
    match (at, standing) {
        (Ok(at), Some(standing)) => {
            if let Some((_, present)) = claims.get_mut(at) {
                *present = standing;
            }
        }
        (Err(at), Some(standing)) => claims.insert(at, (source.clone(), standing)),
        (Ok(at), None) => drop(claims.remove(at)),
        (Err(_), None) => {}
    }
    if claims.is_empty() {
        by_address.remove(&address);
    }
}

/// How long a digest may differ before somebody who was alike is asked: changes of several packets
/// are on their way so long.
const GRACE: Duration = Duration::from_millis(30);

/// How long to wait for an answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How long the claims of a source can be unknown before it counts as one that claims what is known.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// More than the nodes of a segment.
const MAX_NODES: usize = 1024;

/// More than the interfaces that a node has there.
const MAX_INTERFACES: usize = 64;

/// More than all nodes of a segment hold.
const MAX_CLAIMS: usize = 262_144;

/// More than a node can hold; without a key anybody can say anything.
const MAX_ADDRESSES: usize = 65_536;

#[cfg(test)]
mod tests;
