//! Our two intervals: as they stand in the packets, and as they are in force (RFC 5880 §6.5, §6.8.3).

use std::time::Duration;

/// bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) desired_min_tx: Duration,
    pub(super) required_min_rx: Duration,
}

/// The intervals and the poll sequence that changes them.
#[derive(Debug, Clone)]
pub(super) struct Intervals {
    advertised: Pair,
    sequence: PollSequence,
}

#[derive(Debug, Clone, Copy)]
enum PollSequence {
    /// There is none.
    Idle,
    /// The peer has not answered yet; these were the intervals before.
    Polling { previous: Pair },
    /// It has. RFC 5880 §6.8.3: another one begins only after a packet that is no answer, so that
    /// every answer is the answer to something.
    Settling,
}

impl Intervals {
    pub(super) fn new(advertised: Pair) -> Self {
        Self {
            advertised,
            sequence: PollSequence::Idle,
        }
    }

    /// What the packets say.
    pub(super) fn advertised(&self) -> Pair {
        self.advertised
    }

    /// Whether the packets carry the Poll bit.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self.sequence, PollSequence::Polling { .. })
    }

    /// What we send by: more time only once the peer knows.
    pub(super) fn desired_min_tx(&self) -> Duration {
        let advertised = self.advertised.desired_min_tx;
        match self.sequence {
            PollSequence::Polling { previous } => advertised.min(previous.desired_min_tx),
            PollSequence::Idle | PollSequence::Settling => advertised,
        }
    }

    /// What the peer is judged by: less time only once it knows.
    pub(super) fn required_min_rx(&self) -> Duration {
        let advertised = self.advertised.required_min_rx;
        match self.sequence {
            PollSequence::Polling { previous } => advertised.max(previous.required_min_rx),
            PollSequence::Idle | PollSequence::Settling => advertised,
        }
    }

    /// Goes over to other intervals: at once while not Up, else by a poll sequence, which waits for
    /// the end of the one before. Asked again after every packet. Says whether one begins.
    pub(super) fn want(&mut self, wanted: Pair, is_up: bool) -> bool {
        if !is_up {
            *self = Self::new(wanted);
            return false;
        }
        let previous = self.advertised;
        let begins = matches!(self.sequence, PollSequence::Idle) && wanted != previous;
        if begins {
            self.advertised = wanted;
            self.sequence = PollSequence::Polling { previous };
        }
        begins
    }

    /// A packet has arrived.
    pub(super) fn receive(&mut self, is_final: bool) {
        self.sequence = match self.sequence {
            PollSequence::Polling { .. } if is_final => PollSequence::Settling,
            PollSequence::Settling if !is_final => PollSequence::Idle,
            unchanged @ (PollSequence::Idle
            | PollSequence::Polling { .. }
            | PollSequence::Settling) => unchanged,
        };
    }
}
