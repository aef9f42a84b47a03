//! The finite state machine of RFC 4271 §8, for one connection with a peer.
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
//!
//! A connection that we dial lives as long as its peer is configured. One that the peer dialled begins
//! in OpenSent and ends with its session, unless the other [adopts](Connection::adopt) it; which of
//! the two is kept, `collision` says.

mod collision;
mod endpoint;
mod farewell;
mod negotiation;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use ferrolb_crds::model::Family;

pub use self::collision::Verdict;
pub use self::endpoint::{Endpoint, NoNextHop, Ports};
pub use self::negotiation::{Negotiated, RestartTerms};
use self::state::{Change, Local, State};
use super::message::{Message, Open, Received};
use super::notification::{
    HeaderError, Malformed, Notification, OpenError, PeerFault, RefreshError, UpdateError,
};
use super::{Farewell, Live, SessionState, Settings, codec};
use crate::backoff::{Backoff, jitter};
use crate::timer::TimerTable;

/// Something happened (the events of RFC 4271 §8.1).
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Event 1, and 3: begin, and begin again by yourself after every failure.
    ManualStart,
    /// Event 2: end, and stay ended.
    ManualStop(Farewell),
    /// Events 9 to 13, and 29 of RFC 9687.
    Timer(Timer),
    /// Event 16, Tcp_CR_Acked, or on a connection that the peer dialled 17, TcpConnectionConfirmed.
    TcpConfirmed(Endpoint),
    /// Event 18, TcpConnectionFails: could not be made, or was lost; in words.
    TcpFailed(String),
    /// A connection that the peer dialled ended before it was a session.
    AcceptedFailed(Reason),
    /// Event 19, BGPOpen.
    Open(Open),
    /// Event 21, BGPHeaderErr.
    HeaderError(HeaderError),
    /// Event 22, BGPOpenMsgErr.
    OpenError(OpenError),
    /// Event 23, OpenCollisionDump.
    OpenCollisionDump,
    /// RFC 4724 §4.2: the peer has made another connection and knows nothing of this one.
    PeerRestarted,
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
    /// One that cannot be (RFC 7313 §5).
    RouteRefreshError(RefreshError),
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
            Err(Malformed::RouteRefresh(error)) => Self::RouteRefreshError(error),
        }
    }
}

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We did.
    Dialed,
    /// The peer did.
    Accepted,
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
    /// Another connection with the peer was kept.
    Collision,
    /// The peer has come back with another connection.
    PeerRestarted,
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
            | Self::Confirmed
            | Self::Collision
            | Self::PeerRestarted => false,
            // Which of two connections is kept is agreed on, whoever says so.
            Self::NotificationReceived(notification) => !notification.is_collision(),
            Self::TcpFailed(_)
            | Self::NoAnswer
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
            Self::Collision => f.write_str("another connection with the peer was kept"),
            Self::PeerRestarted => f.write_str("the peer has come back with another connection"),
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
    role: Role,
    state: State,
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output>,
    backoff: Backoff,
    rng: fastrand::Rng,
    last_failure: Option<Reason>,
    /// RFC 4724 §3: set in OPENs until there has been a session, since it is not known what the peer
    /// still holds of an earlier run.
    is_restarting: bool,
}

impl Connection {
    /// In Idle, until [`Input::ManualStart`].
    pub fn new(settings: Settings, rng: fastrand::Rng) -> Self {
        Self {
            settings,
            role: Role::Dialed,
            state: State::Idle { is_started: false },
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            backoff: Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF),
            rng,
            last_failure: None,
            is_restarting: true,
        }
    }

    /// One that the peer dialled, beside this one.
    pub fn accept(&mut self, now: Instant, endpoint: Endpoint) -> Self {
        let mut accepted = Self {
            role: Role::Accepted,
            state: State::Active,
            is_restarting: self.is_restarting,
            ..Self::new(self.settings.clone(), self.rng.fork())
        };
        accepted.handle(now, Input::TcpConfirmed(endpoint));
        accepted
    }

    /// Goes on with the connection of another one, whose outputs have been taken. What this one had
    /// is the caller's to close.
    pub fn adopt(&mut self, accepted: Self) {
        self.role = accepted.role;
        self.state = accepted.state;
        self.timers = accepted.timers;
        self.is_restarting &= accepted.is_restarting;
    }

    /// Goes on with other settings than before, as far as a session survives that.
    pub fn adjust(&mut self, now: Instant, live: Live) {
        self.settings = self.settings.with(live);
        if self.state.adjust(&self.settings) {
            self.change(now, Change::Start(Timer::Keepalive));
        }
        // It had nothing to wait for, or has nothing any more.
        if self.state == State::Active {
            let change = match self.settings.passive {
                true => Change::Stop(Timer::ConnectRetry),
                false => Change::Continue(Timer::ConnectRetry),
            };
            self.change(now, change);
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let from = self.state.reported();
        let established = self.state.established_since();
        let state = mem::replace(&mut self.state, State::Idle { is_started: false });
        let local = Local {
            settings: &self.settings,
            is_restarting: self.is_restarting,
            now,
        };
        let step = state.step(local, input);
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

    /// What it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Since when it is in Established, if it is.
    pub fn established_since(&self) -> Option<Instant> {
        self.state.established_since()
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

    /// What has been agreed on so far: from OpenConfirm on.
    fn agreed(&self) -> Option<&Negotiated> {
        self.state.negotiated()
    }

    /// Whether the peer's OPEN has been accepted.
    pub fn is_confirming(&self) -> bool {
        self.agreed().is_some()
    }

    /// The longest message that may come.
    pub fn message_limit(&self) -> usize {
        self.agreed()
            .map_or(codec::MAX_MESSAGE, Negotiated::message_limit)
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
            // Whom we do not dial is waited for without end.
            State::Active if self.settings.passive => &[],
            State::Connect | State::Active => &[Timer::ConnectRetry],
            State::OpenSent { .. } => &[Timer::Hold],
            State::OpenConfirm { .. } | State::Established { .. } => {
                &[Timer::Hold, Timer::Keepalive]
            }
        };
        for timer in timers {
            self.change(now, Change::Start(*timer));
        }
        match self.state {
            State::Established { .. } => self.is_restarting = false,
            State::Idle { .. } | State::Connect | State::Active => self.role = Role::Dialed,
            State::OpenSent { .. } | State::OpenConfirm { .. } => {}
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
            // Who says how long to wait between two attempts means that also of the next session.
            (Timer::IdleHold, _) => {
                let backoff = self.backoff.next(&mut self.rng);
                let limit = self.settings.connect_retry_time;
                Some(limit.map_or(backoff, |limit| backoff.min(limit)))
            }
            (Timer::ConnectRetry, State::Active) => Some(match self.settings.connect_retry_time {
                Some(time) => jitter(time, &mut self.rng),
                None => self.backoff.next(&mut self.rng),
            }),
            (Timer::ConnectRetry, _) => {
                let time = self.settings.connect_retry_time.unwrap_or(CONNECT_TIME);
                Some(jitter(time, &mut self.rng))
            }
            // RFC 4271 §8.2.2: a large value until one has been negotiated.
            (Timer::Hold, State::OpenSent { .. }) => Some(match self.role {
                Role::Dialed => LARGE_HOLD_TIME,
                Role::Accepted => ACCEPTED_HOLD_TIME,
            }),
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
/// Who dials us has something to say; until then it is in the way of others from the same address.
const ACCEPTED_HOLD_TIME: Duration = Duration::from_secs(60);
/// How long TCP may take, unless ConnectRetryTime is configured.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A session that held for so long is no oscillation.
const LASTING: Duration = Duration::from_secs(30);
