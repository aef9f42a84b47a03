//! The states of RFC 4271 §8.2.2 and what every event does in each of them.
//!
//! Every match is complete: an event that means nothing in a state stands there and says why.

use std::time::Instant;

use ferrolb_crds::model::Family;

use super::super::message::{Message, MessageType};
use super::super::notification::{Cease, FsmError, Malformed, Notification, PeerFault};
use super::super::{Farewell, SessionState, Settings};
use super::endpoint::Endpoint;
use super::farewell;
use super::negotiation::{Negotiated, RestartTerms, negotiate, offer};
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

/// What a step depends on beside the state.
#[derive(Clone, Copy)]
pub(super) struct Local<'a> {
    pub(super) settings: &'a Settings,
    /// RFC 4724: there has been no session with the peer since this program was started.
    pub(super) is_restarting: bool,
    pub(super) now: Instant,
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
    fn fsm_error(state: FsmError, message: MessageType) -> Self {
        Self::refuse(PeerFault::Unexpected(state, message))
    }

    /// Ends a connection because we were told to.
    fn shut_down(local: Local<'_>, farewell: Farewell, terms: Option<RestartTerms>) -> Self {
        let step = Self::go(State::Idle { is_started: false }, Reason::Stopped);
        match farewell::notification(farewell, terms, &local.settings.node) {
            Some(notification) => step.output(Output::Send(Message::Notification(notification))),
            None => step,
        }
        .output(Output::Close)
    }

    /// RFC 4271 §6.8: another connection with the peer is kept.
    fn collide() -> Self {
        let notification = Notification::from(Cease::ConnectionCollisionResolution);
        Self::go(State::Idle { is_started: true }, Reason::Collision)
            .output(Output::Send(Message::Notification(notification)))
            .output(Output::Close)
    }

    /// RFC 9384: ends a connection whose path has failed, and tells the peer if that still gets there. The
    /// routes are to go with it, because nothing that is sent by them arrives.
    fn bfd_down(terms: Option<RestartTerms>) -> Self {
        let notification = farewell::for_good(Cease::BfdDown, terms);
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

    /// What was agreed on, from the moment that it was.
    pub(super) fn negotiated(&self) -> Option<&Negotiated> {
        match self {
            Self::OpenConfirm { session } | Self::Established { session, .. } => Some(session),
            Self::Idle { .. } | Self::Connect | Self::Active | Self::OpenSent { .. } => None,
        }
    }

    /// Takes over what of the settings a session goes on with; true if it says something more often
    /// or more rarely from now on.
    pub(super) fn adjust(&mut self, settings: &Settings) -> bool {
        match self {
            Self::OpenConfirm { session } | Self::Established { session, .. } => {
                session.adjust(settings)
            }
            Self::Idle { .. } | Self::Connect | Self::Active | Self::OpenSent { .. } => false,
        }
    }

    pub(super) fn step(self, local: Local<'_>, input: Input) -> Step {
        match self {
            Self::Idle { is_started } => idle(local, is_started, input),
            Self::Connect => connect(local, input),
            Self::Active => active(local, input),
            Self::OpenSent { endpoint } => open_sent(local, endpoint, input),
            Self::OpenConfirm { session } => open_confirm(local, session, input),
            Self::Established { session, since } => established(local, session, since, input),
        }
    }
}

fn idle(local: Local<'_>, is_started: bool, input: Input) -> Step {
    match input {
        Input::ManualStart if !is_started => begin(local, Reason::Started),
        Input::Timer(Timer::IdleHold) if is_started => begin(local, Reason::Retry),
        Input::ManualStop(_) if is_started => {
            Step::go(State::Idle { is_started: false }, Reason::Stopped)
        }
        // A connection nobody wants any more.
        Input::TcpConfirmed(_) => Step::stay(State::Idle { is_started }).output(Output::Close),
        Input::AcceptedFailed(reason) if is_started => {
            Step::stay(State::Idle { is_started }).change(Change::Failed(reason))
        }
        // RFC 4271 §8.2.2: any other event received in the Idle state is ignored.
        Input::ManualStart
        | Input::ManualStop(_)
        | Input::Timer(_)
        | Input::TcpFailed(_)
        | Input::AcceptedFailed(_)
        | Input::Open(_)
        | Input::HeaderError(_)
        | Input::OpenError(_)
        | Input::OpenCollisionDump
        | Input::PeerRestarted
        | Input::Notification(_)
        | Input::Keepalive
        | Input::Update
        | Input::UpdateError(_)
        | Input::RouteRefresh(_)
        | Input::RouteRefreshError(_)
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed
        | Input::BfdDown => Step::stay(State::Idle { is_started }),
    }
}

/// Events 1 and 3, or 4 and 5 for a peer that makes the connection itself (RFC 4271 §8.1.2).
fn begin(local: Local<'_>, reason: Reason) -> Step {
    if local.settings.passive {
        Step::go(State::Active, reason)
    } else {
        Step::dial(reason)
    }
}

fn connect(local: Local<'_>, input: Input) -> Step {
    match input {
        Input::ManualStop(_) => {
            Step::go(State::Idle { is_started: false }, Reason::Stopped).output(Output::Close)
        }
        // RFC 4271 §8.2.2, event 9: drop it, restart the timer, try anew, stay.
        Input::Timer(Timer::ConnectRetry) => Step::stay(State::Connect)
            .output(Output::Connect)
            .change(Change::Start(Timer::ConnectRetry))
            .change(Change::Failed(Reason::NoAnswer)),
        Input::TcpConfirmed(endpoint) => say_open(local, endpoint),
        // Deviation: RFC 4271 goes to Idle here unless DelayOpen runs. Active waits as long, and
        // tells "nobody there" from "a session failed".
        Input::TcpFailed(error) => Step::go(State::Active, Reason::TcpFailed(error)),
        // What the peer dialled is another connection: ours may still come up.
        Input::AcceptedFailed(reason) => Step::stay(State::Connect).change(Change::Failed(reason)),
        Input::ManualStart => Step::stay(State::Connect),
        // Without a connection there are no messages, and no other timer runs.
        Input::Timer(Timer::Hold | Timer::Keepalive | Timer::IdleHold | Timer::SendHold)
        | Input::Open(_)
        | Input::HeaderError(_)
        | Input::OpenError(_)
        | Input::OpenCollisionDump
        | Input::PeerRestarted
        | Input::Notification(_)
        | Input::Keepalive
        | Input::Update
        | Input::UpdateError(_)
        | Input::RouteRefresh(_)
        | Input::RouteRefreshError(_)
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed
        | Input::BfdDown => Step::stay(State::Connect),
    }
}

fn active(local: Local<'_>, input: Input) -> Step {
    match input {
        Input::ManualStop(_) => Step::go(State::Idle { is_started: false }, Reason::Stopped),
        Input::Timer(Timer::ConnectRetry) => begin(local, Reason::Retry),
        Input::TcpConfirmed(endpoint) => say_open(local, endpoint),
        // DampPeerOscillations (§8.1.1) holds for who dials us, too.
        Input::AcceptedFailed(reason) => Step::go(State::Idle { is_started: true }, reason),
        Input::ManualStart => Step::stay(State::Active),
        // Without a connection there are no messages, and no other timer runs.
        Input::Timer(Timer::Hold | Timer::Keepalive | Timer::IdleHold | Timer::SendHold)
        | Input::TcpFailed(_)
        | Input::Open(_)
        | Input::HeaderError(_)
        | Input::OpenError(_)
        | Input::OpenCollisionDump
        | Input::PeerRestarted
        | Input::Notification(_)
        | Input::Keepalive
        | Input::Update
        | Input::UpdateError(_)
        | Input::RouteRefresh(_)
        | Input::RouteRefreshError(_)
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed
        | Input::BfdDown => Step::stay(State::Active),
    }
}

fn say_open(local: Local<'_>, endpoint: Endpoint) -> Step {
    let open = offer(local.settings, &endpoint, local.is_restarting);
    Step::go(State::OpenSent { endpoint }, Reason::Connected)
        .output(Output::Send(Message::Open(open)))
}

fn open_sent(local: Local<'_>, endpoint: Endpoint, input: Input) -> Step {
    let unexpected = |message| Step::fsm_error(FsmError::OpenSent, message);
    match input {
        Input::BfdDown => Step::bfd_down(None),
        Input::ManualStop(farewell) => Step::shut_down(local, farewell, None),
        Input::Timer(Timer::Hold) => Step::refuse(PeerFault::HoldTimerExpired),
        // RFC 4271 §8.2.2, event 18.
        Input::TcpFailed(error) => {
            Step::go(State::Active, Reason::TcpFailed(error)).output(Output::Close)
        }
        Input::Open(open) => match negotiate(local.settings, endpoint, &open) {
            Ok(session) => Step::go(State::OpenConfirm { session }, Reason::OpenAccepted)
                .output(Output::Send(Message::Keepalive)),
            Err(error) => Step::refuse(Malformed::Open(error)),
        },
        Input::HeaderError(error) => Step::refuse(Malformed::Header(error)),
        Input::OpenError(error) => Step::refuse(Malformed::Open(error)),
        Input::OpenCollisionDump => Step::collide(),
        // Deviation: RFC 4271 goes to Idle. Two sides that hold each other off in Idle would refuse each
        // other for ever; in Active this one can be dialled.
        Input::Notification(notification) if notification.is_rejection() => {
            let reason = Reason::NotificationReceived(notification);
            Step::go(State::Active, reason).output(Output::Close)
        }
        Input::Notification(notification) => Step::lose(Reason::NotificationReceived(notification)),
        Input::Keepalive => unexpected(MessageType::Keepalive),
        Input::Update | Input::UpdateError(_) => unexpected(MessageType::Update),
        Input::RouteRefresh(_) | Input::RouteRefreshError(_) => {
            unexpected(MessageType::RouteRefresh)
        }
        Input::AcceptedFailed(reason) => {
            Step::stay(State::OpenSent { endpoint }).change(Change::Failed(reason))
        }
        // RFC 4271 §8.2.2: start events are ignored. No other timer runs, and the hold timer watches
        // over an OPEN that cannot be sent. A peer that has said nothing yet has not restarted.
        Input::ManualStart
        | Input::TcpConfirmed(_)
        | Input::Timer(
            Timer::ConnectRetry | Timer::Keepalive | Timer::IdleHold | Timer::SendHold,
        )
        | Input::PeerRestarted
        | Input::UpdateSent
        | Input::SendBlocked
        | Input::SendResumed => Step::stay(State::OpenSent { endpoint }),
    }
}

fn open_confirm(local: Local<'_>, session: Negotiated, input: Input) -> Step {
    let unexpected = |message| Step::fsm_error(FsmError::OpenConfirm, message);
    match input {
        Input::BfdDown => Step::bfd_down(session.graceful_restart),
        Input::ManualStop(farewell) => Step::shut_down(local, farewell, session.graceful_restart),
        Input::Timer(Timer::Hold) => Step::refuse(PeerFault::HoldTimerExpired),
        Input::Timer(Timer::SendHold) => Step::lose(Reason::SendHoldTimerExpired),
        Input::Timer(Timer::Keepalive) => keep_alive(State::OpenConfirm { session }),
        Input::TcpFailed(error) => Step::lose(Reason::TcpFailed(error)),
        Input::HeaderError(error) => Step::refuse(Malformed::Header(error)),
        Input::OpenError(error) => Step::refuse(Malformed::Open(error)),
        Input::OpenCollisionDump => Step::collide(),
        Input::Notification(notification) => Step::lose(Reason::NotificationReceived(notification)),
        Input::Keepalive => {
            let since = local.now;
            Step::go(State::Established { session, since }, Reason::Confirmed)
        }
        Input::Open(_) => unexpected(MessageType::Open),
        Input::Update | Input::UpdateError(_) => unexpected(MessageType::Update),
        Input::RouteRefresh(_) | Input::RouteRefreshError(_) => {
            unexpected(MessageType::RouteRefresh)
        }
        Input::SendBlocked => {
            Step::stay(State::OpenConfirm { session }).change(Change::Continue(Timer::SendHold))
        }
        Input::SendResumed => {
            Step::stay(State::OpenConfirm { session }).change(Change::Stop(Timer::SendHold))
        }
        Input::AcceptedFailed(reason) => {
            Step::stay(State::OpenConfirm { session }).change(Change::Failed(reason))
        }
        Input::ManualStart
        | Input::TcpConfirmed(_)
        | Input::Timer(Timer::ConnectRetry | Timer::IdleHold)
        | Input::PeerRestarted
        | Input::UpdateSent => Step::stay(State::OpenConfirm { session }),
    }
}

fn established(local: Local<'_>, session: Negotiated, since: Instant, input: Input) -> Step {
    let is_agreed = |family: &Family| session.families.contains(family);
    match input {
        Input::BfdDown => Step::bfd_down(session.graceful_restart),
        Input::ManualStop(farewell) => Step::shut_down(local, farewell, session.graceful_restart),
        Input::Timer(Timer::Hold) => Step::refuse(PeerFault::HoldTimerExpired),
        Input::Timer(Timer::SendHold) => Step::lose(Reason::SendHoldTimerExpired),
        Input::Timer(Timer::Keepalive) => keep_alive(State::Established { session, since }),
        Input::TcpFailed(error) => Step::lose(Reason::TcpFailed(error)),
        Input::HeaderError(error) => Step::refuse(Malformed::Header(error)),
        Input::UpdateError(error) => Step::refuse(Malformed::Update(error)),
        Input::RouteRefreshError(error) => Step::refuse(Malformed::RouteRefresh(error)),
        Input::OpenCollisionDump => Step::collide(),
        // RFC 4724 §4.2: without a NOTIFICATION, since nobody is there to read it.
        Input::PeerRestarted => Step::lose(Reason::PeerRestarted),
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
        Input::Open(_) | Input::OpenError(_) => {
            Step::fsm_error(FsmError::Established, MessageType::Open)
        }
        // RFC 4271 §8.2.2: an UPDATE is as good as a KEEPALIVE.
        Input::UpdateSent => Step::stay(State::Established { session, since })
            .change(Change::Start(Timer::Keepalive)),
        Input::SendBlocked => Step::stay(State::Established { session, since })
            .change(Change::Continue(Timer::SendHold)),
        Input::SendResumed => {
            Step::stay(State::Established { session, since }).change(Change::Stop(Timer::SendHold))
        }
        // Another connection that came to nothing says nothing about this one.
        Input::AcceptedFailed(_)
        | Input::ManualStart
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
