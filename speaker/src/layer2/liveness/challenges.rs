//! Who has yet to show that it speaks now: what is heard may be a recording.
//!
//! A heartbeat from where nobody was believed so far is a reason to ask, and no more: whoever sent it
//! is to send back a number that was not used before. Only who has the key can, and only now. From
//! then on the sequence tells old from new. The numbers can be guessed; that helps nobody, because
//! only who has the key can ask for an answer, either.

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
#[derive(Debug, Clone)]
pub(super) struct Challenges {
    pending: BTreeMap<Suspect, Challenge>,
    /// No question is to be repeated earlier.
    wake: Option<Instant>,
    rng: fastrand::Rng,
    /// How many packets went to those who are not believed, since when.
    sent: (u32, Option<Instant>),
}

/// A node on a way, in one of its incarnations.
pub(super) type Suspect = (String, Way, u64);

#[derive(Debug, Clone)]
struct Challenge {
    nonce: u64,
    /// From where it was heard: who plays a recording can say that it is elsewhere.
    to: Vec<Mac>,
    next: Instant,
    left: u8,
}

impl Challenges {
    /// Asks nobody yet.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            pending: BTreeMap::new(),
            wake: None,
            rng: fastrand::Rng::with_seed(seed),
            sent: (0, None),
        }
    }

    /// Asks, unless that has just been done.
    pub(super) fn ask(&mut self, now: Instant, suspect: Suspect, to: Mac) -> Option<Question> {
        let link = suspect.1.link;
        if let Some(challenge) = self.pending.get(&suspect) {
            let (nonce, is_asked) = (challenge.nonce, challenge.to.contains(&to));
            if is_asked || !self.may_send(now) {
                return None;
            }
            let challenge = self.pending.get_mut(&suspect)?;
            if challenge.to.len() >= MAX_SENDERS {
                challenge.to.remove(0);
            }
            challenge.to.push(to);
            return Some(Question { link, to, nonce });
        }
        if self.pending.len() >= MAX_PENDING {
            return None;
        }
        let nonce = self.rng.u64(1..);
        let challenge = Challenge {
            nonce,
            to: vec![to],
            next: now + AGAIN,
            left: TIMES,
        };
        self.wake = self.wake.into_iter().chain([challenge.next]).min();
        self.pending.insert(suspect, challenge);
        Some(Question { link, to, nonce })
    }

    /// Whether this is the answer that was asked for.
    pub(super) fn settle(&mut self, suspect: &Suspect, nonce: u64) -> bool {
        let challenge = self.pending.get(suspect);
        let is_answer = challenge.is_some_and(|challenge| challenge.nonce == nonce);
        if is_answer {
            self.pending.remove(suspect);
        }
        is_answer
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// Whether somebody has yet to answer on an interface.
    pub(super) fn is_pending_on(&self, link: LinkIndex) -> bool {
        let mut pending = self.pending.keys();
        pending.any(|(_, way, _)| way.link == link)
    }

    /// Whom to ask again, and who has been asked often enough: that one is asked no more until it is
    /// heard again.
    pub(super) fn again(&mut self, now: Instant) -> (Vec<Question>, Vec<Suspect>) {
        let (mut questions, mut mute) = (Vec::new(), Vec::new());
        if self.wake.is_none_or(|wake| now < wake) {
            return (questions, mute);
        }
        self.pending.retain(|suspect, challenge| {
            if now < challenge.next {
                return true;
            }
            if challenge.left == 0 {
                mute.push(suspect.clone());
                return false;
            }
            challenge.left -= 1;
            challenge.next = now + AGAIN;
            let (link, nonce) = (suspect.1.link, challenge.nonce);
            questions.extend(challenge.to.iter().map(|to| Question {
                link,
                to: *to,
                nonce,
            }));
            true
        });
        self.wake = self.pending.values().map(|challenge| challenge.next).min();
        (questions, mute)
    }

    /// An interface is gone.
    pub(super) fn lose_link(&mut self, link: LinkIndex) {
        self.pending.retain(|(_, way, _), _| way.link != link);
    }

    /// Whether another packet may go to somebody who is not believed: a recording can be played fast.
    pub(super) fn may_send(&mut self, now: Instant) -> bool {
        let (count, since) = &mut self.sent;
        if since.is_none_or(|since| since + WINDOW <= now) {
            (*count, *since) = (0, Some(now));
        }
        *count += 1;
        *count <= MAX_SENT
    }
}

/// How often somebody is asked again for one heartbeat: question and answer can be lost.
const TIMES: u8 = 2;

/// How long an answer is waited for: there is one wire between.
const AGAIN: Duration = Duration::from_millis(15);

/// As many as there can be nodes.
const MAX_PENDING: usize = super::MAX_NODES;

/// One, and some who pretend to be there.
const MAX_SENDERS: usize = 8;

/// More than there are nodes that can begin in the time below.
const MAX_SENT: u32 = 512;

const WINDOW: Duration = Duration::from_millis(100);
