//! One session: the procedures of RFC 5880 §6.8.

mod echo;
mod intervals;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use self::echo::Echo;
use self::intervals::{Intervals, Pair};
use super::Parameters;
use super::packet::{Control, Diagnostic, Discriminator, State};
use crate::timer::TimerTable;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// RFC 5880 §6.8.16: take the session up.
    Start,
    /// And down, saying so to the peer.
    Stop,
    /// It is to be run in another way.
    Parameters(Parameters),
    /// The peer sent a packet that is this session's.
    Received(Control),
    /// An echo packet with this number came back.
    EchoReturned(u32),
    /// What the host can do for the echo function.
    EchoMeans {
        /// Send echo packets, and see them come back.
        can_send: bool,
        /// Send the peer's back.
        can_return: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a packet.
    Send(Control),
    /// Send an echo packet with this number.
    Echo(u32),
    /// The state is another one.
    StateChanged {
        /// The one before.
        from: State,
        /// The one after.
        to: State,
        /// Why (bfd.LocalDiag).
        diagnostic: Diagnostic,
        /// Whether the path failed, as opposed to somebody having taken the session down on purpose
        /// (RFC 5882 §3.2).
        is_failure: bool,
    },
    /// The peer has been told for long enough that the session is taken down.
    Ended,
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// How long the peer may be silent (RFC 5880 §6.8.4).
    Detection,
    /// How long echo packets may stay away.
    EchoDetection,
    /// When to send a packet (RFC 5880 §6.8.7).
    Transmit,
    /// When to send an echo packet.
    Echo,
    /// How long AdminDown is said.
    Farewell,
}

/// One session.
///
/// ```text
///                             +--+
///                             |  | UP, ADMIN DOWN, TIMER
///                             |  V
///                     DOWN  +------+  INIT
///              +------------|      |------------+
///              |            | DOWN |            |
///              |  +-------->|      |<--------+  |
///              |  |         +------+         |  |
///              |  | ADMIN DOWN,              |  |
///              |  | TIMER        ADMIN DOWN, |  |
///              V  |              DOWN, TIMER |  V
///            +------+                      +------+
///       +----|      |                      |      |----+
///   DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
///       +--->|      | INIT, UP             |      |<---+
///            +------+                      +------+
///
///   What arrives is the state that the peer says it is in (RFC 5880 §6.2). `Stop` leads to
///   AdminDown from everywhere, `Start` from there to Down.
/// ```
///
/// After every `handle` and `handle_timeout`: `poll` until `None`, then ask `poll_timeout` for the
/// deadline and call `handle_timeout` when it has come.
#[derive(Debug)]
pub struct Session {
    parameters: Parameters,
    /// bfd.LocalDiscr
    local_discriminator: Discriminator,
    /// bfd.SessionState
    state: State,
    /// bfd.LocalDiag
    diagnostic: Diagnostic,
    last_failure: Option<Diagnostic>,
    remote: Remote,
    /// bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval
    intervals: Intervals,
    echo: Echo,
    /// The last packet that was not an answer to a poll, and the interval that began with it.
    transmitted: Option<(Instant, Option<Duration>)>,
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output>,
    rng: fastrand::Rng,
}

/// What the peer said last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Remote {
    /// bfd.RemoteSessionState
    state: State,
    diagnostic: Diagnostic,
    /// bfd.RemoteDiscr
    discriminator: Option<Discriminator>,
    desired_min_tx: Duration,
    /// bfd.RemoteMinRxInterval
    required_min_rx: Duration,
    required_min_echo_rx: Duration,
    detect_multiplier: NonZeroU8,
    /// bfd.RemoteDemandMode
    is_on_demand: bool,
    /// When that was.
    heard: Option<Instant>,
}

impl Remote {
    /// RFC 5880 §6.8.1: nothing has been heard.
    const UNKNOWN: Self = Self {
        state: State::Down,
        diagnostic: Diagnostic::Absent,
        discriminator: None,
        desired_min_tx: Duration::ZERO,
        required_min_rx: Duration::from_micros(1),
        required_min_echo_rx: Duration::ZERO,
        detect_multiplier: NonZeroU8::MIN,
        is_on_demand: false,
        heard: None,
    };

    fn of(packet: &Control, now: Instant) -> Self {
        Self {
            state: packet.state,
            diagnostic: packet.diagnostic,
            discriminator: Some(packet.my_discriminator),
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            required_min_echo_rx: packet.required_min_echo_rx,
            detect_multiplier: packet.detect_multiplier,
            is_on_demand: packet.demand,
            heard: Some(now),
        }
    }
}

impl Session {
    /// In AdminDown, until [`Input::Start`]. The discriminator is one that no other session of this
    /// host has.
    pub fn new(parameters: Parameters, discriminator: Discriminator, rng: fastrand::Rng) -> Self {
        Self {
            parameters,
            local_discriminator: discriminator,
            state: State::AdminDown,
            diagnostic: Diagnostic::Absent,
            last_failure: None,
            remote: Remote::UNKNOWN,
            intervals: Intervals::new(Pair {
                desired_min_tx: parameters.desired_min_tx.max(SLOW),
                required_min_rx: parameters.required_min_rx,
            }),
            echo: Echo::default(),
            transmitted: None,
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            rng,
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Start => {
                if self.state == State::AdminDown {
                    self.timers.stop_all();
                    self.enter(now, State::Down, Diagnostic::Absent);
                }
            }
            Input::Stop => self.stop(now),
            Input::Parameters(parameters) => {
                self.parameters = parameters;
                self.settle(now);
            }
            Input::Received(packet) => self.receive(now, &packet),
            Input::EchoReturned(number) => self.echo_returned(now, number),
            Input::EchoMeans {
                can_send,
                can_return,
            } => {
                self.echo.set_means(can_send, can_return);
                self.settle(now);
            }
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
            match timer {
                Timer::Detection => self.detection_expired(now),
                Timer::EchoDetection => self.fail(now, Diagnostic::EchoFunctionFailed),
                Timer::Transmit => self.transmit(now),
                Timer::Echo => self.send_echo(now),
                Timer::Farewell => {
                    self.timers.stop_all();
                    self.outputs.push_back(Output::Ended);
                }
            }
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it stands there.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// Why it was last lost, if it ever was.
    pub fn last_failure(&self) -> Option<Diagnostic> {
        self.last_failure
    }

    /// Where the peer says that it stands, and why.
    pub fn remote(&self) -> (State, Diagnostic) {
        (self.remote.state, self.remote.diagnostic)
    }

    /// What packets to this session carry as Your Discriminator.
    pub fn local_discriminator(&self) -> Discriminator {
        self.local_discriminator
    }

    /// Whether echo packets come back.
    pub fn is_echo_active(&self) -> bool {
        self.echo.is_active()
    }

    /// RFC 5880 §6.8.2: time between two packets of ours, without jitter; `None`: the peer wants none,
    /// or we say nothing before it does.
    pub fn transmit_interval(&self) -> Option<Duration> {
        let remote = &self.remote;
        let is_silent = self.parameters.is_passive && remote.discriminator.is_none();
        // RFC 5880 §6.8.7: no periodic packets to who wants none, or only on demand.
        let is_demanded = remote.is_on_demand
            && self.state == State::Up
            && remote.state == State::Up
            && !self.intervals.is_polling();
        let may_transmit = !is_silent && !is_demanded && !remote.required_min_rx.is_zero();
        may_transmit.then(|| self.intervals.desired_min_tx().max(remote.required_min_rx))
    }

    /// RFC 5880 §6.8.4: silence after which the peer is lost, once it has been heard.
    pub fn detection_time(&self) -> Option<Duration> {
        self.remote.heard.map(|_| {
            let interval = self.intervals.required_min_rx();
            let interval = interval.max(self.remote.desired_min_tx);
            interval * u32::from(self.remote.detect_multiplier.get())
        })
    }

    /// RFC 5880 §6.8.6, from where the session is known.
    fn receive(&mut self, now: Instant, packet: &Control) {
        self.remote = Remote::of(packet, now);
        self.intervals.receive(packet.is_final);
        if self.state == State::AdminDown {
            return;
        }
        if let Some((to, diagnostic)) = transition(self.state, packet.state) {
            self.enter(now, to, diagnostic);
        }
        self.settle(now);
        if packet.poll {
            let answer = self.packet(Answer::Final);
            self.outputs.push_back(Output::Send(answer));
        }
    }

    /// RFC 5880 §6.8.4 and, for the discriminator, §6.8.1. Nothing else that it said is true any more
    /// either: one that wanted no packets would otherwise never be asked whether it is back.
    fn detection_expired(&mut self, now: Instant) {
        self.remote = Remote::UNKNOWN;
        match self.state {
            State::Init | State::Up => self.fail(now, Diagnostic::ControlDetectionTimeExpired),
            State::Down | State::AdminDown => self.settle(now),
        }
    }

    fn fail(&mut self, now: Instant, diagnostic: Diagnostic) {
        self.enter(now, State::Down, diagnostic);
        self.settle(now);
    }

    /// RFC 5880 §6.8.16: AdminDown is said for a Detection Time of the peer's, if it listens.
    fn stop(&mut self, now: Instant) {
        if self.state == State::AdminDown {
            return;
        }
        self.timers.stop_all();
        let is_heard = self.remote.discriminator.is_some();
        self.enter(now, State::AdminDown, Diagnostic::AdministrativelyDown);
        let interval = self.transmit_interval().filter(|_| is_heard);
        let multiplier = u32::from(self.parameters.detect_multiplier.get());
        let farewell = interval.unwrap_or_default() * multiplier;
        self.timers.set(Timer::Farewell, now + farewell);
    }

    /// The one door between states.
    fn enter(&mut self, now: Instant, to: State, diagnostic: Diagnostic) {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        if from == State::Up {
            self.last_failure = Some(diagnostic);
        }
        self.adjust(now);
        // RFC 5880 §6.8.7: what is new is told at once.
        self.transmit(now);
        self.outputs.push_back(Output::StateChanged {
            from,
            to,
            diagnostic,
            is_failure: from == State::Up
                && to == State::Down
                && self.remote.state != State::AdminDown,
        });
    }

    /// Brings everything to what state, parameters and peer make of it.
    fn settle(&mut self, now: Instant) {
        if self.adjust(now) {
            // The poll begins at once.
            self.transmit(now);
        }
    }

    /// The same, and says whether a poll sequence has begun that nobody has been told of.
    fn adjust(&mut self, now: Instant) -> bool {
        self.settle_echo(now);
        let parameters = &self.parameters;
        let is_up = self.state == State::Up;
        let wanted = Pair {
            // RFC 5880 §6.8.3: slow while not Up.
            desired_min_tx: match is_up {
                true => parameters.desired_min_tx,
                false => parameters.desired_min_tx.max(SLOW),
            },
            // And slow for the peer while echo does the work.
            required_min_rx: match self.echo.is_active() {
                true => parameters.required_min_rx.max(SLOW),
                false => parameters.required_min_rx,
            },
        };
        let has_begun = self.intervals.want(wanted, is_up);
        self.schedule();
        if let (Some(heard), Some(time)) = (self.remote.heard, self.detection_time()) {
            self.timers.set(Timer::Detection, heard + time);
        } else {
            self.timers.stop(&Timer::Detection);
        }
        has_begun
    }

    /// Sends a packet, and has the next one follow an interval later.
    fn transmit(&mut self, now: Instant) {
        if self.transmit_interval().is_some() {
            let packet = self.packet(Answer::Poll(self.intervals.is_polling()));
            self.outputs.push_back(Output::Send(packet));
        }
        self.transmitted = Some((now, None));
        self.schedule();
    }

    /// RFC 5880 §6.8.7. The jitter is drawn once for every packet and every change of the interval.
    fn schedule(&mut self) {
        let interval = self.transmit_interval();
        let Some((transmitted, present)) = self.transmitted else {
            return;
        };
        let Some(nominal) = interval else {
            self.transmitted = Some((transmitted, None));
            return self.timers.stop(&Timer::Transmit);
        };
        if present != Some(nominal) {
            self.transmitted = Some((transmitted, Some(nominal)));
            let jittered = self.jitter(nominal);
            self.timers.set(Timer::Transmit, transmitted + jittered);
        }
    }

    /// RFC 5880 §6.8.7: 75 to 100 % of the interval, and at most 90 % where no packet may be lost.
    fn jitter(&mut self, nominal: Duration) -> Duration {
        let spread = match self.parameters.detect_multiplier.get() {
            1 => 0.15,
            _ => 0.25,
        };
        nominal.mul_f64(0.75 + self.rng.f64() * spread)
    }

    /// RFC 5880 §6.8.7.
    fn packet(&self, answer: Answer) -> Control {
        let Pair {
            desired_min_tx,
            required_min_rx,
        } = self.intervals.advertised();
        Control {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: answer == Answer::Poll(true),
            is_final: answer == Answer::Final,
            control_plane_independent: false,
            demand: false,
            detect_multiplier: self.parameters.detect_multiplier,
            my_discriminator: self.local_discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx,
            required_min_rx,
            required_min_echo_rx: self.required_min_echo_rx(),
        }
    }
}

/// The Poll and Final bits of a packet: never both (RFC 5880 §6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Poll(bool),
    Final,
}

/// RFC 5880 §6.2 and §6.8.6: what follows from the peer's state; `None`: nothing.
fn transition(local: State, remote: State) -> Option<(State, Diagnostic)> {
    let lost = (State::Down, Diagnostic::NeighborSignaledSessionDown);
    match (local, remote) {
        (State::Down, State::Down) => Some((State::Init, Diagnostic::Absent)),
        (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
            Some((State::Up, Diagnostic::Absent))
        }
        (State::Init, State::AdminDown) | (State::Up, State::AdminDown | State::Down) => Some(lost),
        // The peer has not seen our Down yet, or is not to be talked to.
        (State::Down, State::Up | State::AdminDown) => None,
        // It has not seen our Init yet.
        (State::Init, State::Down) => None,
        (State::Up, State::Init | State::Up) => None,
        // Whatever arrives is discarded.
        (State::AdminDown, State::AdminDown | State::Down | State::Init | State::Up) => None,
    }
}

/// RFC 5880 §6.8.3: the least of intervals where speed does not matter.
const SLOW: Duration = Duration::from_secs(1);
