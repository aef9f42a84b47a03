//! Who of several controllers is the active one, and what it is about to do: the Lease.
//!
//! ```text
//!             free, or unchanged for its duration
//! Following ───────────── PUT succeeds ─────────────▶ Leading ──PUT every two seconds──┐
//!     ▲                                                  │  ▲──────────────────────────┘
//!     └───────────── somebody else's, or gone ───────────┘
//! ```
//!
//! The Lease is the write-ahead log, too: what is about to be written into Services stands in it first,
//! by a PUT that carries the resourceVersion. Who takes the Lease over finds there whatever its
//! predecessor may still write, and the predecessor can log nothing more, because its PUT conflicts.
//! So no clock has to be right: time only says how soon somebody tries.
//!
//! Pure. At most one request is under way. After each `handle` or `log` poll until `None`, then ask for
//! the deadline.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_crds::model::ServiceKey;

/// What is about to be written into one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The resourceVersion it is written over; over any other the API server refuses it.
    pub version: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

/// What the Lease says beside who holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The highest resourceVersion of what has been written: who has seen that has seen it all.
    pub through: u64,
    /// What may be written beyond.
    pub intents: BTreeMap<ServiceKey, Intent>,
}

/// The Lease as the API server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// resourceVersion.
    pub version: String,
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// How long without a change until it may be taken from them.
    pub duration: Duration,
    /// How often it has changed hands.
    pub transitions: i32,
    /// Its log.
    pub log: Log,
}

/// The Lease as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The resourceVersion it replaces; `None`: there is none yet.
    pub version: Option<String>,
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// How often it has changed hands.
    pub transitions: i32,
    /// Whether it changes hands by this.
    pub is_taking: bool,
    /// Its log.
    pub log: Log,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The Lease was read; `None`: there is none.
    Read(Result<Option<Lease>, String>),
    /// It was written, and is like this.
    Written(Result<Lease, Refusal>),
    /// It is given up: the program ends.
    Resign,
}

/// Why it was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not as it was.
    Conflict,
    /// It may have been written or not.
    Failed(String),
}

/// What to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Read the Lease.
    Read,
    /// Write it.
    Write(Draft),
    /// This is the active controller, after one that left this.
    Elected(Log),
    /// It is not any more.
    Deposed,
    /// What was logged under this number is logged.
    Logged(u64),
    /// The Lease is given up.
    Resigned,
    /// It cannot be read or written; said once for each cause.
    Failing(String),
}

/// Why to wake up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// To see whether the Lease is free.
    Look,
    /// To renew it.
    Renew,
}

#[derive(Debug)]
enum State {
    Following {
        /// What is in the way, and since when it is like that.
        seen: Option<(Lease, Instant)>,
    },
    Leading {
        lease: Lease,
        /// When it was last known to be ours.
        since: Instant,
    },
    Resigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    Read,
    /// With the number up to which it logs.
    Write(u64),
}

/// Takes part in the election.
#[derive(Debug)]
pub struct Election {
    identity: String,
    state: State,
    flight: Option<Flight>,
    wake_at: Option<Instant>,
    log: Log,
    /// The number of what is to be logged, and of what is.
    asked: u64,
    logged: u64,
    has_looked: bool,
    must_resign: bool,
    failing: Option<String>,
    outputs: VecDeque<Output>,
}

impl Election {
    /// Somebody with this identity, which nobody else has. What stands before its last `_` is the
    /// place it runs at: one that was there before is gone.
    pub fn new(identity: String, now: Instant) -> Self {
        Self {
            identity,
            state: State::Following { seen: None },
            flight: None,
            wake_at: Some(now),
            log: Log::default(),
            asked: 0,
            logged: 0,
            has_looked: false,
            must_resign: false,
            failing: None,
            outputs: VecDeque::new(),
        }
    }

    /// Whether this is the active controller, as far as is known.
    pub fn is_leading(&self) -> bool {
        matches!(self.state, State::Leading { .. })
    }

    /// Whether nobody else can be by now, if clocks run alike. What must not happen twice does not
    /// rely on it.
    pub fn is_sure(&self, now: Instant) -> bool {
        match &self.state {
            State::Leading { lease, since } => now < *since + lease.duration,
            State::Following { .. } | State::Resigned => false,
        }
    }

    /// Who is, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        match &self.state {
            State::Following { seen } => seen.as_ref().map(|(lease, _)| lease.holder.as_str()),
            State::Leading { lease, .. } => Some(&lease.holder),
            State::Resigned => None,
        }
    }

    /// Logs this in place of what was logged before; [`Output::Logged`] with the number, or with a
    /// higher one, says that it is done.
    pub fn log(&mut self, log: Log) -> u64 {
        self.log = log;
        self.asked += 1;
        self.write();
        self.asked
    }

    /// Logs this in place of what was logged before, when the Lease is next written.
    pub fn revise(&mut self, log: Log) {
        self.log = log;
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Read(result) => {
                self.flight = None;
                match result {
                    Ok(lease) => self.look(now, lease),
                    Err(cause) => self.fail(now, cause),
                }
            }
            Input::Written(result) => {
                let flight = self.flight.take();
                match result {
                    Ok(lease) => self.have(now, lease, flight),
                    Err(Refusal::Conflict) => self.read(),
                    Err(Refusal::Failed(cause)) => self.fail(now, cause),
                }
            }
            Input::Resign => {
                self.must_resign = true;
                self.resign();
            }
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let timer = match &self.state {
            State::Following { .. } => Timer::Look,
            State::Leading { .. } => Timer::Renew,
            State::Resigned => return None,
        };
        Some((self.wake_at.filter(|_| self.flight.is_none())?, timer))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.flight.is_some() || self.wake_at.is_none_or(|at| at > now) {
            return;
        }
        self.wake_at = None;
        match self.state {
            // Also after a request whose end is unknown: it may have come to pass.
            State::Following { .. } => self.read(),
            State::Leading { .. } if self.failing.is_some() => self.read(),
            State::Leading { .. } => {
                self.asked += 1;
                self.write();
            }
            State::Resigned => {}
        }
    }

    fn read(&mut self) {
        self.flight = Some(Flight::Read);
        self.outputs.push_back(Output::Read);
    }

    fn fail(&mut self, now: Instant, cause: String) {
        if self.must_resign {
            return self.end();
        }
        if self.failing.as_ref() != Some(&cause) {
            self.failing = Some(cause.clone());
            self.outputs.push_back(Output::Failing(cause));
        }
        self.wake_at = Some(now + RETRY);
    }

    /// The Lease is like this: is it ours, or free?
    fn look(&mut self, now: Instant, lease: Option<Lease>) {
        self.failing = None;
        let is_first = !std::mem::replace(&mut self.has_looked, true);
        let Some(lease) = lease else {
            // What stood in it counts still.
            let log = self.last_log();
            self.depose();
            return self.take(None, log);
        };
        if lease.holder == self.identity {
            // A write whose end was unknown came to pass, or somebody else edited it.
            return self.have(now, lease, None);
        }
        let is_same_place = |holder: &str| place(holder) == place(&self.identity);
        let is_free = lease.holder.is_empty() || is_first && is_same_place(&lease.holder);
        self.depose();
        if is_free || self.has_expired(now, &lease) {
            let log = lease.log.clone();
            return self.take(Some(lease), log);
        }
        let since = match &self.state {
            State::Following {
                seen: Some((seen, since)),
            } if seen.version == lease.version => *since,
            State::Following { .. } | State::Leading { .. } | State::Resigned => now,
        };
        let expires = since + lease.duration;
        self.wake_at = Some(expires.min(now + LOOK));
        self.state = State::Following {
            seen: Some((lease, since)),
        };
        self.resign();
    }

    fn has_expired(&self, now: Instant, lease: &Lease) -> bool {
        match &self.state {
            State::Following {
                seen: Some((seen, since)),
            } => seen.version == lease.version && *since + lease.duration <= now,
            State::Following { seen: None } | State::Leading { .. } | State::Resigned => false,
        }
    }

    /// As far as is known.
    fn last_log(&self) -> Log {
        match &self.state {
            State::Following { seen } => seen.as_ref().map(|(lease, _)| lease.log.clone()),
            State::Leading { .. } | State::Resigned => Some(self.log.clone()),
        }
        .unwrap_or_default()
    }

    fn take(&mut self, lease: Option<Lease>, log: Log) {
        if self.must_resign {
            return self.end();
        }
        let (version, transitions) = match lease {
            Some(lease) => (Some(lease.version), lease.transitions + 1),
            None => (None, 0),
        };
        // Whoever comes next has to find what the last one left, whatever becomes of this one.
        self.log = log.clone();
        self.flight = Some(Flight::Write(self.asked));
        self.outputs.push_back(Output::Write(Draft {
            version,
            holder: self.identity.clone(),
            transitions,
            is_taking: true,
            log,
        }));
    }

    /// The Lease is ours.
    fn have(&mut self, now: Instant, lease: Lease, flight: Option<Flight>) {
        self.failing = None;
        if lease.holder != self.identity {
            return self.end();
        }
        if !self.is_leading() {
            self.log = lease.log.clone();
            self.asked += 1;
            self.logged = self.asked;
            self.outputs.push_back(Output::Elected(lease.log.clone()));
        } else if let Some(Flight::Write(number)) = flight {
            self.logged = number;
            self.outputs.push_back(Output::Logged(number));
        }
        self.state = State::Leading { lease, since: now };
        self.wake_at = Some(now + RENEW);
        self.write();
        self.resign();
    }

    /// Writes the log, if it is ours to write and is not there yet.
    fn write(&mut self) {
        let State::Leading { lease, .. } = &self.state else {
            return;
        };
        if self.flight.is_some() || self.asked == self.logged || self.must_resign {
            return;
        }
        self.flight = Some(Flight::Write(self.asked));
        self.outputs.push_back(Output::Write(Draft {
            version: Some(lease.version.clone()),
            holder: self.identity.clone(),
            transitions: lease.transitions,
            is_taking: false,
            log: self.log.clone(),
        }));
    }

    fn depose(&mut self) {
        if self.is_leading() {
            self.state = State::Following { seen: None };
            self.outputs.push_back(Output::Deposed);
        }
    }

    /// Gives the Lease up as soon as nothing is under way.
    fn resign(&mut self) {
        if !self.must_resign || self.flight.is_some() {
            return;
        }
        let State::Leading { lease, .. } = &self.state else {
            return self.end();
        };
        let draft = Draft {
            version: Some(lease.version.clone()),
            holder: String::new(),
            transitions: lease.transitions,
            is_taking: false,
            log: self.log.clone(),
        };
        self.flight = Some(Flight::Write(self.asked));
        self.outputs.push_back(Output::Write(draft));
    }

    fn end(&mut self) {
        self.depose();
        if !matches!(self.state, State::Resigned) {
            self.state = State::Resigned;
            self.outputs.push_back(Output::Resigned);
        }
    }
}

fn place(identity: &str) -> Option<&str> {
    Some(identity.rsplit_once('_')?.0)
}

/// How long without a change until somebody else takes the Lease.
pub const DURATION: Duration = Duration::from_secs(6);
const RENEW: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
