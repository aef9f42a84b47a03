//! Who has yet to show that it speaks now: what is heard may be a recording.
//!
//! A heartbeat from where nobody was believed so far is a reason to ask, and no more: whoever sent it
//! is to send back a number that was never used before. Only who has the key can, and only now. From
//! then on the sequence tells old from new.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Way;
use crate::layer2::LinkIndex;
use crate::wire::ethernet::Mac;

/// What is to be sent to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) link: LinkIndex,
    pub(super) to: Mac,
    pub(super) nonce: u64,
}

/// Who is being asked.
#[derive(Debug)]
pub(super) struct Challenges {
    pending: BTreeMap<Suspect, Challenge>,
    rng: fastrand::Rng,
    /// How many were answered who are not believed themselves, since when.
    answered: (u32, Option<Instant>),
}

/// A node on a way, in one of its incarnations.
type Suspect = (String, Way, u64);

#[derive(Debug)]
struct Challenge {
    nonce: u64,
    to: Mac,
    next: Instant,
    left: u8,
}

impl Challenges {
    /// Asks nobody yet.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            pending: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed),
            answered: (0, None),
        }
    }

    /// Begins to ask, unless that is being done already.
    pub(super) fn begin(&mut self, now: Instant, suspect: Suspect, to: Mac) -> Option<Question> {
        let link = suspect.1.link;
        if self.pending.contains_key(&suspect) || self.pending.len() >= MAX_PENDING {
            return None;
        }
        let nonce = self.rng.u64(1..);
        let challenge = Challenge {
            nonce,
            to,
            next: now + AGAIN,
            left: TIMES,
        };
        self.pending.insert(suspect, challenge);
        Some(Question { link, to, nonce })
    }

    /// Whether this is the answer that was asked for.
    pub(super) fn settle(&mut self, suspect: &Suspect, nonce: u64) -> bool {
        let is_answer = self
            .pending
            .get(suspect)
            .is_some_and(|challenge| challenge.nonce == nonce);
        if is_answer {
            self.pending.remove(suspect);
        }
        is_answer
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|challenge| challenge.next).min()
    }

    /// Whom to ask again; who has been asked often enough is asked no more until it is heard again.
    pub(super) fn again(&mut self, now: Instant) -> Vec<Question> {
        self.pending
            .retain(|_, challenge| challenge.left > 0 || now < challenge.next);
        let due = self
            .pending
            .iter_mut()
            .filter(|(_, challenge)| challenge.next <= now);
        due.map(|((_, way, _), challenge)| {
            challenge.left -= 1;
            challenge.next = now + AGAIN;
            Question {
                link: way.link,
                to: challenge.to,
                nonce: challenge.nonce,
            }
        })
        .collect()
    }

    /// An interface is gone.
    pub(super) fn lose_link(&mut self, link: LinkIndex) {
        self.pending.retain(|(_, way, _), _| way.link != link);
    }

    /// Whether somebody may be answered who is not believed: a recording can be played fast.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        let (count, since) = &mut self.answered;
        if since.is_none_or(|since| since + ANSWERS_IN <= now) {
            (*count, *since) = (0, Some(now));
        }
        *count += 1;
        *count <= MAX_ANSWERS
    }
}

/// How often somebody is asked again for one heartbeat: question and answer can be lost.
const TIMES: u8 = 2;

/// How long an answer is waited for: there is one wire between.
const AGAIN: Duration = Duration::from_millis(15);

/// As many as there can be nodes.
const MAX_PENDING: usize = super::MAX_NODES;

/// More than there are nodes that can begin in the time below.
const MAX_ANSWERS: u32 = 512;

const ANSWERS_IN: Duration = Duration::from_millis(100);
