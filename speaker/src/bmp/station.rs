//! One monitoring station: whether there is a connection, and what is to be said on it.
//!
//! ```text
//!            start, Retry             TCP up
//!     Idle ───────────────▶ Connect ──────────▶ Connected
//!      ▲                       │                    │
//!      └──── TCP fails, no answer ──────────────────┘
//! ```
//!
//! On a new connection everything is said anew: who speaks, every session, and the table of each. From
//! then on only what differs, composed when the transport has room for it. A session that comes and
//! goes meanwhile is never told of.

mod monitored;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant, SystemTime};

use self::monitored::Monitored;
use super::{Event, codec};
use crate::backoff::Backoff;
use crate::timer::TimerTable;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Begin.
    Start,
    /// The connection that was asked for is up.
    Connected,
    /// It could not be made or was lost; in words.
    Failed(String),
    /// To the session with this peer.
    Session(String, Event),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection.
    Connect,
    /// Drop the connection, or stop opening it.
    Close,
}

/// The timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// How long TCP may take.
    Connect,
    /// How long to wait before it is tried again (RFC 7854 §3.2).
    Retry,
    /// When counts that have changed are told.
    Statistics,
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting to try.
    Idle,
    /// Waiting for TCP.
    Connect,
    /// There is one.
    Connected { since: Instant, is_initiated: bool },
}

/// What one station is told.
///
/// After every `handle` and `handle_timeout`: `poll` until `None`, `poll_message` as often as there is
/// room, then ask `poll_timeout` for the deadline.
#[derive(Debug)]
pub struct Station {
    /// Of this node.
    name: String,
    state: State,
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output>,
    backoff: Backoff,
    rng: fastrand::Rng,
    last_error: Option<String>,
    sessions: BTreeMap<String, Monitored>,
    /// Whose turn it is, so that no session keeps the others waiting.
    turn: usize,
}

impl Station {
    /// In Idle, until [`Input::Start`]; `node` is what the station is told that we are.
    pub fn new(node: String, rng: fastrand::Rng) -> Self {
        Self {
            name: node,
            state: State::Idle,
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            backoff: Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF),
            rng,
            last_error: None,
            sessions: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match (input, self.state) {
            (Input::Start, State::Idle) => self.connect(now),
            (Input::Connected, State::Connect) => self.begin(now),
            (Input::Failed(error), State::Connect) => self.fail(now, error),
            (Input::Failed(error), State::Connected { since, .. }) => {
                if now.duration_since(since) >= LASTING {
                    self.backoff.reset();
                }
                self.fail(now, error);
            }
            (Input::Session(peer, event), _) => {
                let session = self.sessions.entry(peer).or_default();
                session.note(event);
                self.forget();
            }
            // Of a connection that nobody waits for any more.
            (Input::Start, State::Connect | State::Connected { .. })
            | (Input::Connected, State::Idle | State::Connected { .. })
            | (Input::Failed(_), State::Idle) => {}
        }
    }

    /// What is to be done next; call it until `None`.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next message, for a connection that has room for it; `None`: the station knows everything.
    #[must_use]
    pub fn poll_message(&mut self, at: SystemTime) -> Option<Vec<u8>> {
        let State::Connected { is_initiated, .. } = &mut self.state else {
            return None;
        };
        if !mem::replace(is_initiated, true) {
            return Some(codec::initiation(DESCRIPTION, &self.name));
        }
        let message = self.poll_session(at);
        self.forget();
        message
    }

    /// The last message, if there is anybody to hear it (RFC 7854 §4.5).
    pub fn farewell(&self) -> Option<Vec<u8>> {
        self.is_connected().then(codec::termination)
    }

    /// When [`Self::handle_timeout`] is due, and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Connect => self.fail(now, "no answer to the connection attempt".to_owned()),
                Timer::Retry => self.connect(now),
                Timer::Statistics => {
                    self.timers.set(Timer::Statistics, now + STATISTICS);
                    self.sessions.values_mut().for_each(Monitored::count);
                }
            }
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// Why the last connection ended, or why none comes up.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn connect(&mut self, now: Instant) {
        self.state = State::Connect;
        self.timers.set(Timer::Connect, now + CONNECT_TIME);
        self.outputs.push_back(Output::Connect);
    }

    fn begin(&mut self, now: Instant) {
        self.state = State::Connected {
            since: now,
            is_initiated: false,
        };
        self.timers.stop_all();
        self.timers.set(Timer::Statistics, now + STATISTICS);
        let sessions = mem::take(&mut self.sessions).into_iter();
        let anew = sessions.map(|(peer, session)| (peer, session.anew()));
        self.sessions = anew.collect();
        self.forget();
    }

    fn fail(&mut self, now: Instant, error: String) {
        self.state = State::Idle;
        self.timers.stop_all();
        let wait = self.backoff.next(&mut self.rng);
        self.timers.set(Timer::Retry, now + wait);
        self.last_error = Some(error);
        self.outputs.push_back(Output::Close);
    }

    fn poll_session(&mut self, at: SystemTime) -> Option<Vec<u8>> {
        let turn = self.turn;
        for is_past in [false, true] {
            let sessions = self.sessions.values_mut().enumerate();
            for (index, session) in sessions.filter(|(index, _)| (*index < turn) == is_past) {
                if let Some(message) = session.poll(at) {
                    self.turn = index + 1;
                    return Some(message);
                }
            }
        }
        None
    }

    /// What is over, and has been told to be, is nothing to keep.
    fn forget(&mut self) {
        let is_connected = self.is_connected();
        self.sessions
            .retain(|_, session| session.is_up() || (is_connected && session.is_told()));
    }
}

/// What the station is told that this program is.
const DESCRIPTION: &str = concat!("FerroLB ", env!("CARGO_PKG_VERSION"));
/// How long TCP may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Who has listened for so long is dialled at once when the connection is lost.
const LASTING: Duration = Duration::from_secs(60);
/// How often counts are told, if they change.
const STATISTICS: Duration = Duration::from_secs(10);
