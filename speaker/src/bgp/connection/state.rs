//! The states of RFC 4271 §8.2.2 and what every event does in each of them.
//!
//! Every match is complete: an event that means nothing in a state stands there and says why.

use std::time::Instant;

use ferrolb_crds::model::Family;

use super::super::message::Message;
use super::super::notification::{Cease, FsmError, Malformed, Notification, PeerFault};
use super::super::{SessionState, Settings};
use super::endpoint::Endpoint;
use super::negotiation::{Negotiated, negotiate, offer};
use super::{Input, Output, Reason, Timer};

/// RFC 4271 §8.2.2; every state owns what is true only in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Not trying, or not yet again.
    Idle { is_started: bool },
    /// TCP is being made.
    Connect,
    /// Waiting to try again; nothing listens, so this is all that it does.
    Active,
    /// Waiting for the peer's OPEN.
    OpenSent { endpoint: Endpoint },
    /// Waiting for the peer's KEEPALIVE.
    OpenConfirm { session: Negotiated },
    /// Exchanging routes.
    Established { session: Negotiated, since: Instant },
}

/// What an input leads to.
pub(super) struct Step {
    pub(super) next: State,
    /// `Some`: through the door, even where the state stays the same.
    pub(super) reason: Option<Reason>,
    pub(super) outputs: Vec<Output>,
    pub(super) changes: Vec<Change>,
}

/// What an input changes beside the state.
pub(super) enum Change {
    /// From the beginning.
    Start(Timer),
    /// Unless it is running.
    Continue(Timer),
    Stop(Timer),
    /// Not of a timer: something failed, and is tried again in the same state.
    Failed(Reason),
}

impl Step {
    fn stay(next: State) -> Self {
        Self {
            next,
            reason: None,
            outputs: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn go(next: State, reason: Reason) -> Self {
        Self {
            reason: Some(reason),
            ..Self::stay(next)
        }
    }

    fn output(mut self, output: Output) -> Self {
        self.outputs.push(output);
        self
    }

    fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// Ends a connection without a word: the peer's turn, or TCP's.
    fn lose(reason: Reason) -> Self {
        Self::go(State::Idle { is_started: true }, reason).output(Output::Close)
    }

    /// Ends a connection and tells the peer why.
    fn refuse(fault: impl Into<PeerFault>) -> Self {
        let fault = fault.into();
        let notification = Notification::from(&fault);
        Self::go(State::Idle { is_started: true }, Reason::PeerFault(fault))
            .output(Output::Send(Message::Notification(notification)))
            .output(Output::Close)
    }

    /// RFC 6608: a message that has no place in the state.
    fn fsm_error(state: FsmError) -> Self {
        Self::refuse(PeerFault::Unexpected(state))
    }

    /// Ends a connection because we were told to.
    fn shut_down() -> Self {
        let notification = Notification::from(Cease::AdministrativeShutdown);
        Self::go(State::Idle { is_started: false }, Reason::Stopped)
            .output(Output::Send(Message::Notification(notification)))
            .output(Output::Close)
    }

    /// RFC 9384: ends a connection whose path has failed, and tells the peer if that still gets there.
    fn bfd_down() -> Self {
        let notification = Notification::from(Cease::BfdDown);
        Self::go(State::Idle { is_started: true }, Reason::BfdDown)
            .output(Output::Send(Message::Notification(notification)))
            .output(Output::Close)
    }

    fn dial(reason: Reason) -> Self {
        Self::go(State::Connect, reason).output(Output::Connect)
    }
}

impl State {
    pub(super) fn reported(&self) -> SessionState {
        match self {
            Self::Idle { .. } => SessionState::Idle,
            Self::Connect => SessionState::Connect,
            Self::Active => SessionState::Active,
            Self::OpenSent { .. } => SessionState::OpenSent,
            Self::OpenConfirm { .. } => SessionState::OpenConfirm,
            Self::Established { .. } => SessionState::Established,
        }
    }

    pub(super) fn established_since(&self) -> Option<Instant> {
        match self {
            Self::Established { since, .. } => Some(*since),
            Self::Idle { .. }
            | Self::Connect
            | Self::Active
            | Self::OpenSent { .. }
            | Self::OpenConfirm { .. } => None,
        }
    }

    pub(super) fn step(self, settings: &Settings, now: Instant, input: Input) -> Step {
        match self {
            Self::Idle { is_started } => idle(is_started, input),
            Self::Connect => connect(settings, input),
            Self::Active => active(settings, input),
            Self::OpenSent { endpoint } => open_sent(settings, endpoint, input),
            Self::OpenConfirm { session } => open_confirm(session, now, input),
            Self::Established { session, since } => established(session, since, input),
        }
    }
}

fn idle(is_started: bool, input: Input) -> Step {
    match input {
        Input::ManualStart if !is_started => Step::dial(Reason::Started),
        Input::Timer(Timer::IdleHold) if is_started => Step::dial(Reason::Retry),
        Input::ManualStop if is_started => {
            Step::go(State::Idle { is_started: false }, Reason::Stopped)
        }
        // A connection nobody wants any more.
        Input::TcpConfirmed(_) => Step::stay(State::Idle { is_started }).output(Output::Close),
        // RFC 4271 §8.2.2: any other event received in the Idle state is ignored.
        Input::ManualStart
        | Input::ManualStop
        | Input::Timer(_)
        | Input::TcpFailed(_)
        | Input::Open(_)
        | Input::HeaderError(_)
        | Input::OpenError(_)
        | Input::Notification(_)
        | Input::Keepalive
        | Input::Update
        | Input::UpdateError(_)
        | Input::RouteRefresh(_)
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed
        | Input::BfdDown => Step::stay(State::Idle { is_started }),
    }
}

fn connect(settings: &Settings, input: Input) -> Step {
    match input {
        Input::ManualStop => {
            Step::go(State::Idle { is_started: false }, Reason::Stopped).output(Output::Close)
        }
        // RFC 4271 §8.2.2, event 9: drop it, restart the timer, try anew, stay.
        Input::Timer(Timer::ConnectRetry) => Step::stay(State::Connect)
            .output(Output::Connect)
            .change(Change::Start(Timer::ConnectRetry))
            .change(Change::Failed(Reason::NoAnswer)),
        Input::TcpConfirmed(endpoint) => say_open(settings, endpoint),
        // Deviation: RFC 4271 goes to Idle here unless DelayOpen runs. Active waits as long, and
        // tells "nobody there" from "a session failed".
        Input::TcpFailed(error) => Step::go(State::Active, Reason::TcpFailed(error)),
        Input::ManualStart => Step::stay(State::Connect),
        // Without a connection there are no messages, and no other timer runs.
        Input::Timer(Timer::Hold | Timer::Keepalive | Timer::IdleHold | Timer::SendHold)
        | Input::Open(_)
        | Input::HeaderError(_)
        | Input::OpenError(_)
        | Input::Notification(_)
        | Input::Keepalive
        | Input::Update
        | Input::UpdateError(_)
        | Input::RouteRefresh(_)
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed
        | Input::BfdDown => Step::stay(State::Connect),
    }
}

fn active(settings: &Settings, input: Input) -> Step {
    match input {
        Input::ManualStop => Step::go(State::Idle { is_started: false }, Reason::Stopped),
        Input::Timer(Timer::ConnectRetry) => Step::dial(Reason::Retry),
        Input::TcpConfirmed(endpoint) => say_open(settings, endpoint),
        Input::ManualStart => Step::stay(State::Active),
        // Without a connection there are no messages, and no other timer runs.
        Input::Timer(Timer::Hold | Timer::Keepalive | Timer::IdleHold | Timer::SendHold)
        | Input::TcpFailed(_)
        | Input::Open(_)
        | Input::HeaderError(_)
        | Input::OpenError(_)
        | Input::Notification(_)
        | Input::Keepalive
        | Input::Update
        | Input::UpdateError(_)
        | Input::RouteRefresh(_)
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed
        | Input::BfdDown => Step::stay(State::Active),
    }
}

fn say_open(settings: &Settings, endpoint: Endpoint) -> Step {
    let open = offer(settings, &endpoint);
    Step::go(State::OpenSent { endpoint }, Reason::Connected)
        .output(Output::Send(Message::Open(open)))
}

fn open_sent(settings: &Settings, endpoint: Endpoint, input: Input) -> Step {
    match input {
        Input::ManualStop => Step::shut_down(),
        Input::BfdDown => Step::bfd_down(),
        Input::Timer(Timer::Hold) => Step::refuse(PeerFault::HoldTimerExpired),
        // RFC 4271 §8.2.2, event 18.
        Input::TcpFailed(error) => {
            Step::go(State::Active, Reason::TcpFailed(error)).output(Output::Close)
        }
        Input::Open(open) => match negotiate(settings, endpoint, &open) {
            Ok(session) => Step::go(State::OpenConfirm { session }, Reason::OpenAccepted)
                .output(Output::Send(Message::Keepalive)),
            Err(error) => Step::refuse(Malformed::Open(error)),
        },
        Input::HeaderError(error) => Step::refuse(Malformed::Header(error)),
        Input::OpenError(error) => Step::refuse(Malformed::Open(error)),
        Input::Notification(notification) => Step::lose(Reason::NotificationReceived(notification)),
        Input::Keepalive | Input::Update | Input::UpdateError(_) | Input::RouteRefresh(_) => {
            Step::fsm_error(FsmError::OpenSent)
        }
        // RFC 4271 §8.2.2: start events are ignored. There is one connection at a time, no other
        // timer runs, and the hold timer watches over an OPEN that cannot be sent.
        Input::ManualStart
        | Input::TcpConfirmed(_)
        | Input::Timer(
            Timer::ConnectRetry | Timer::Keepalive | Timer::IdleHold | Timer::SendHold,
        )
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed => Step::stay(State::OpenSent { endpoint }),
    }
}

fn open_confirm(session: Negotiated, now: Instant, input: Input) -> Step {
    match input {
        Input::ManualStop => Step::shut_down(),
        Input::BfdDown => Step::bfd_down(),
        Input::Timer(Timer::Hold) => Step::refuse(PeerFault::HoldTimerExpired),
        Input::Timer(Timer::SendHold) => Step::lose(Reason::SendHoldTimerExpired),
        Input::Timer(Timer::Keepalive) => keep_alive(State::OpenConfirm { session }),
        Input::TcpFailed(error) => Step::lose(Reason::TcpFailed(error)),
        Input::HeaderError(error) => Step::refuse(Malformed::Header(error)),
        Input::OpenError(error) => Step::refuse(Malformed::Open(error)),
        Input::Notification(notification) => Step::lose(Reason::NotificationReceived(notification)),
        Input::Keepalive => {
            let since = now;
            Step::go(State::Established { session, since }, Reason::Confirmed)
        }
        Input::Open(_) | Input::Update | Input::UpdateError(_) | Input::RouteRefresh(_) => {
            Step::fsm_error(FsmError::OpenConfirm)
        }
        Input::SendBlocked => {
            Step::stay(State::OpenConfirm { session }).change(Change::Continue(Timer::SendHold))
        }
        Input::SendResumed => {
            Step::stay(State::OpenConfirm { session }).change(Change::Stop(Timer::SendHold))
        }
        Input::ManualStart
        | Input::TcpConfirmed(_)
        | Input::Timer(Timer::ConnectRetry | Timer::IdleHold)
        | Input::UpdateSent => Step::stay(State::OpenConfirm { session }),
    }
}

fn established(session: Negotiated, since: Instant, input: Input) -> Step {
    let is_agreed = |family: &Family| session.families.contains(family);
    match input {
        Input::ManualStop => Step::shut_down(),
        Input::BfdDown => Step::bfd_down(),
        Input::Timer(Timer::Hold) => Step::refuse(PeerFault::HoldTimerExpired),
        Input::Timer(Timer::SendHold) => Step::lose(Reason::SendHoldTimerExpired),
        Input::Timer(Timer::Keepalive) => keep_alive(State::Established { session, since }),
        Input::TcpFailed(error) => Step::lose(Reason::TcpFailed(error)),
        Input::HeaderError(error) => Step::refuse(Malformed::Header(error)),
        Input::UpdateError(error) => Step::refuse(Malformed::Update(error)),
        Input::Notification(notification) => Step::lose(Reason::NotificationReceived(notification)),
        // RFC 4271 §8.2.2, events 26 and 27. With a hold time of 0 there is no timer to restart.
        Input::Keepalive | Input::Update => {
            Step::stay(State::Established { session, since }).change(Change::Start(Timer::Hold))
        }
        Input::RouteRefresh(family) => match family.filter(is_agreed) {
            Some(family) => {
                Step::stay(State::Established { session, since }).output(Output::Refresh(family))
            }
            // RFC 2918 §4: not agreed on, ignored.
            None => Step::stay(State::Established { session, since }),
        },
        Input::Open(_) | Input::OpenError(_) => Step::fsm_error(FsmError::Established),
        // RFC 4271 §8.2.2: an UPDATE is as good as a KEEPALIVE.
        Input::UpdateSent => Step::stay(State::Established { session, since })
            .change(Change::Start(Timer::Keepalive)),
        Input::SendBlocked => Step::stay(State::Established { session, since })
            .change(Change::Continue(Timer::SendHold)),
        Input::SendResumed => {
            Step::stay(State::Established { session, since }).change(Change::Stop(Timer::SendHold))
        }
        Input::ManualStart
        | Input::TcpConfirmed(_)
        | Input::Timer(Timer::ConnectRetry | Timer::IdleHold) => {
            Step::stay(State::Established { session, since })
        }
    }
}

fn keep_alive(state: State) -> Step {
    Step::stay(state)
        .output(Output::Send(Message::Keepalive))
        .change(Change::Start(Timer::Keepalive))
}
