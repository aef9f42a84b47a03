//! The finite state machine of RFC 4271 §8 for a peer we dial and never listen for.
//!
//! ```text
//!            start, IdleHold           TCP up                OPEN ok              KEEPALIVE
//!     Idle ──────────────────▶ Connect ──────▶ OpenSent ──────────▶ OpenConfirm ──────────▶ Established
//!      ▲                       │   ▲              │                    │                        │
//!      │            TCP fails  ▼   │ ConnectRetry │ TCP fails          │                        │
//!      │                      Active ◀────────────┘                    │                        │
//!      └─────────── any error: NOTIFICATION, close, IdleHold ──────────┴────────────────────────┘
//! ```
//!
//! It knows messages, not bytes; timers, not clocks; and it never waits for anything. Routes are not
//! its business either. DampPeerOscillations (§8.1.1) is always on: what ends a session leads to
//! Idle for an IdleHoldTime that doubles until a session has lasted.

mod endpoint;
mod negotiation;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use ferrolb_crds::model::Family;

pub use self::endpoint::{Endpoint, NoNextHop};
pub use self::negotiation::Negotiated;
use self::state::{Change, State};
use super::message::{Message, Open, Received};
use super::notification::{
    HeaderError, Malformed, Notification, OpenError, PeerFault, UpdateError,
};
use super::{SessionState, Settings};
use crate::backoff::{Backoff, jitter};
use crate::timer::TimerTable;

/// Something happened (the events of RFC 4271 §8.1).
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Event 1, and 3: begin, and begin again by yourself after every failure.
    ManualStart,
    /// Event 2: end, and stay ended.
    ManualStop,
    /// Events 9 to 13, and 29 of RFC 9687.
    Timer(Timer),
    /// Event 16, Tcp_CR_Acked.
    TcpConfirmed(Endpoint),
    /// Event 18, TcpConnectionFails: could not be made, or was lost; in words.
    TcpFailed(String),
    /// Event 19, BGPOpen.
    Open(Open),
    /// Event 21, BGPHeaderErr.
    HeaderError(HeaderError),
    /// Event 22, BGPOpenMsgErr.
    OpenError(OpenError),
    /// Events 24 and 25, NotifMsgVerErr and NotifMsg.
    Notification(Notification),
    /// Event 26, KeepAliveMsg.
    Keepalive,
    /// Event 27, UpdateMsg.
    Update,
    /// Event 28, UpdateMsgErr.
    UpdateError(UpdateError),
    /// A request of RFC 2918.
    RouteRefresh(Option<Family>),
    /// An UPDATE was handed to the transport.
    UpdateSent,
    /// The transport takes no more octets.
    SendBlocked,
    /// The transport took some octets again.
    SendResumed,
    /// RFC 9384: BFD says that the path to the peer has failed.
    BfdDown,
}

impl From<Result<Received, Malformed>> for Input {
    fn from(decoded: Result<Received, Malformed>) -> Self {
        match decoded {
            Ok(Received::Open(open)) => Self::Open(open),
            Ok(Received::Update) => Self::Update,
            Ok(Received::Notification(notification)) => Self::Notification(notification),
            Ok(Received::Keepalive) => Self::Keepalive,
            Ok(Received::RouteRefresh(family)) => Self::RouteRefresh(family),
            Err(Malformed::Header(error)) => Self::HeaderError(error),
            Err(Malformed::Open(error)) => Self::OpenError(error),
            Err(Malformed::Update(error)) => Self::UpdateError(error),
        }
    }
}

/// The timers of RFC 4271 §8.1.3, and of RFC 9687.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// In Connect how long TCP may take, in Active how long to wait before it is tried again.
    ConnectRetry,
    /// How long the peer may be silent.
    Hold,
    /// When to say something.
    Keepalive,
    /// How long to stay in Idle after a failure.
    IdleHold,
    /// How long the peer may leave unread what we send.
    SendHold,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a TCP connection; drop the one that is being opened, if there is one.
    Connect,
    /// Send a message.
    Send(Message),
    /// Close the connection, or stop opening it, once what was to be sent has been sent.
    Close,
    /// The peer wants the routes of a family again (RFC 2918).
    Refresh(Family),
    /// The state is another one.
    StateChanged {
        /// The one before.
        from: SessionState,
        /// The one after.
        to: SessionState,
        /// Why.
        reason: Reason,
    },
}

/// Why the state changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It was asked to.
    Started,
    /// It was asked to.
    Stopped,
    /// It is time to try again.
    Retry,
    /// TCP is up.
    Connected,
    /// The peer's OPEN will do.
    OpenAccepted,
    /// The peer took our OPEN.
    Confirmed,
    /// TCP could not be made or was lost.
    TcpFailed(String),
    /// TCP could not be made in time.
    NoAnswer,
    /// The peer ended it.
    NotificationReceived(Notification),
    /// We ended it.
    PeerFault(PeerFault),
    /// RFC 9687: the peer reads nothing.
    SendHoldTimerExpired,
    /// RFC 9384: the path to the peer has failed.
    BfdDown,
}

impl Reason {
    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Started
            | Self::Stopped
            | Self::Retry
            | Self::Connected
            | Self::OpenAccepted
            | Self::Confirmed => false,
            Self::TcpFailed(_)
            | Self::NoAnswer
            | Self::NotificationReceived(_)
            | Self::PeerFault(_)
            | Self::SendHoldTimerExpired
            | Self::BfdDown => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Stopped => f.write_str("stopped"),
            Self::Retry => f.write_str("trying again"),
            Self::Connected => f.write_str("connected"),
            Self::OpenAccepted => f.write_str("the peer's OPEN was accepted"),
            Self::Confirmed => f.write_str("the peer accepted our OPEN"),
            Self::TcpFailed(error) => f.write_str(error),
            Self::NoAnswer => f.write_str("no answer to the connection attempt"),
            Self::NotificationReceived(notification) => {
                write!(f, "peer sent NOTIFICATION {notification}")
            }
            Self::PeerFault(fault) => fault.fmt(f),
            Self::SendHoldTimerExpired => {
                f.write_str("send hold timer expired: the peer reads nothing")
            }
            Self::BfdDown => f.write_str("bfd session went down"),
        }
    }
}

/// One peer's connection.
///
/// After every `handle` and `handle_timeout`: `poll` until `None`, then ask `poll_timeout` for the
/// deadline and call `handle_timeout` when it has come.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    state: State,
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output>,
    backoff: Backoff,
    rng: fastrand::Rng,
    last_failure: Option<Reason>,
}

impl Connection {
    /// In Idle, until [`Input::ManualStart`].
    pub fn new(settings: Settings, rng: fastrand::Rng) -> Self {
        Self {
            settings,
            state: State::Idle { is_started: false },
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            backoff: Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF),
            rng,
            last_failure: None,
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let from = self.state.reported();
        let established = self.state.established_since();
        let state = mem::replace(&mut self.state, State::Idle { is_started: false });
        let step = state.step(&self.settings, now, input);
        self.state = step.next;
        match step.reason {
            Some(reason) => {
                if established.is_some_and(|since| now.duration_since(since) >= LASTING) {
                    self.backoff.reset();
                }
                self.outputs.extend(step.outputs);
                self.enter(now, from, reason);
            }
            None => self.outputs.extend(step.outputs),
        }
        for change in step.changes {
            self.change(now, change);
        }
    }

    /// What is to be done next; call it until `None`.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due, and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            self.handle(now, Input::Timer(timer));
        }
    }

    /// The state as it is reported.
    pub fn state(&self) -> SessionState {
        self.state.reported()
    }

    /// Whether it has been started and not been stopped.
    pub fn is_started(&self) -> bool {
        self.state != State::Idle { is_started: false }
    }

    /// What was agreed on, in Established.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        match &self.state {
            State::Established { session, .. } => Some(session),
            State::Idle { .. }
            | State::Connect
            | State::Active
            | State::OpenSent { .. }
            | State::OpenConfirm { .. } => None,
        }
    }

    /// Local address of the connection, while there is one.
    pub fn local_address(&self) -> Option<std::net::IpAddr> {
        match &self.state {
            State::Idle { .. } | State::Connect | State::Active => None,
            State::OpenSent { endpoint } => Some(endpoint.local),
            State::OpenConfirm { session } | State::Established { session, .. } => {
                Some(session.endpoint.local)
            }
        }
    }

    /// What went wrong last.
    pub fn last_failure(&self) -> Option<&Reason> {
        self.last_failure.as_ref()
    }

    /// The one door between states: timers of the old one end, those of the new one begin.
    fn enter(&mut self, now: Instant, from: SessionState, reason: Reason) {
        self.timers.stop_all();
        let timers: &[Timer] = match self.state {
            State::Idle { is_started: false } => &[],
            State::Idle { is_started: true } => &[Timer::IdleHold],
            State::Connect | State::Active => &[Timer::ConnectRetry],
            State::OpenSent { .. } => &[Timer::Hold],
            State::OpenConfirm { .. } | State::Established { .. } => {
                &[Timer::Hold, Timer::Keepalive]
            }
        };
        for timer in timers {
            self.change(now, Change::Start(*timer));
        }
        if reason.is_failure() {
            self.last_failure = Some(reason.clone());
        }
        let to = self.state.reported();
        self.outputs
            .push_back(Output::StateChanged { from, to, reason });
    }

    fn change(&mut self, now: Instant, change: Change) {
        match change {
            Change::Stop(timer) => self.timers.stop(&timer),
            Change::Continue(timer) if self.timers.deadline(&timer).is_some() => {}
            Change::Start(timer) | Change::Continue(timer) => {
                if let Some(duration) = self.duration(timer) {
                    self.timers.set(timer, now + duration);
                }
            }
            Change::Failed(reason) => self.last_failure = Some(reason),
        }
    }

    /// How long a timer runs in the present state; `None`: it does not.
    fn duration(&mut self, timer: Timer) -> Option<Duration> {
        match (timer, &self.state) {
            (Timer::IdleHold, _) => Some(self.backoff.next(&mut self.rng)),
            (Timer::ConnectRetry, State::Active) => Some(match self.settings.connect_retry_time {
                Some(time) => jitter(time, &mut self.rng),
                None => self.backoff.next(&mut self.rng),
            }),
            (Timer::ConnectRetry, _) => {
                let time = self.settings.connect_retry_time.unwrap_or(CONNECT_TIME);
                Some(jitter(time, &mut self.rng))
            }
            // RFC 4271 §8.2.2: a large value until one has been negotiated.
            (Timer::Hold, State::OpenSent { .. }) => Some(LARGE_HOLD_TIME),
            (
                Timer::Hold | Timer::SendHold,
                State::OpenConfirm { session } | State::Established { session, .. },
            ) => session.hold_time.duration(),
            (
                Timer::Keepalive,
                State::OpenConfirm { session } | State::Established { session, .. },
            ) => {
                let time = jitter(session.keepalive_time?, &mut self.rng);
                // RFC 4271 §4.4: not more than one a second.
                Some(time.max(Duration::from_secs(1)))
            }
            (
                Timer::Hold | Timer::SendHold | Timer::Keepalive,
                State::Idle { .. } | State::Connect | State::Active | State::OpenSent { .. },
            ) => None,
        }
    }
}

/// RFC 4271 §10 suggests 4 minutes.
const LARGE_HOLD_TIME: Duration = Duration::from_secs(240);
/// How long TCP may take, unless ConnectRetryTime is configured.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A session that held for so long is no oscillation.
const LASTING: Duration = Duration::from_secs(30);
