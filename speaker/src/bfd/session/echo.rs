//! The echo function (RFC 5880 §6.4, §6.8.5, §6.8.9).
//!
//! ```text
//!            Up, both sides able            one has come back
//!     Off ───────────────────────▶ Trying ────────────────────▶ Active
//!      ▲                             │                            │ none comes back: Down,
//!      └──────── not any more ───────┴────────────────────────────┘ diagnostic 2
//! ```
//!
//! Only what has worked can fail: a peer that offers echo and whose forwarding plane returns none
//! leaves the session to the control packets. They slow down only while echo is Active.

use std::time::{Duration, Instant};

use super::super::packet::State;
use super::{Output, Session, Timer};

/// The echo function of one session.
#[derive(Debug, Default)]
pub(super) struct Echo {
    phase: Phase,
    can_send: bool,
    can_return: bool,
    /// Number of the next packet.
    pub(super) next: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Off,
    Trying,
    Active,
}

impl Echo {
    pub(super) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    pub(super) fn set_means(&mut self, can_send: bool, can_return: bool) {
        self.can_send = can_send;
        self.can_return = can_return;
    }
}

impl Session {
    /// What packets offer to the peer.
    pub(super) fn required_min_echo_rx(&self) -> Duration {
        let offer = self.parameters.echo.filter(|_| self.echo.can_return);
        offer.unwrap_or_default()
    }

    /// RFC 5880 §6.8.9: time between two echo packets; `None`: none may be sent.
    fn echo_interval(&self) -> Option<Duration> {
        let theirs = self.remote.required_min_echo_rx;
        let may_send = self.state == State::Up && self.echo.can_send && !theirs.is_zero();
        let ours = self.parameters.echo.filter(|_| may_send)?;
        Some(ours.max(theirs))
    }

    pub(super) fn settle_echo(&mut self, now: Instant) {
        match (self.echo.phase, self.echo_interval()) {
            (Phase::Off, Some(_)) => {
                self.echo.phase = Phase::Trying;
                self.timers.set(Timer::Echo, now);
            }
            (Phase::Trying | Phase::Active, None) => {
                self.echo.phase = Phase::Off;
                self.timers.stop(&Timer::Echo);
                self.timers.stop(&Timer::EchoDetection);
            }
            (Phase::Off, None) | (Phase::Trying | Phase::Active, Some(_)) => {}
        }
    }

    pub(super) fn send_echo(&mut self, now: Instant) {
        if let Some(interval) = self.echo_interval() {
            self.outputs.push_back(Output::Echo(self.echo.next));
            self.echo.next = self.echo.next.wrapping_add(1);
            let jittered = self.jitter(interval);
            self.timers.set(Timer::Echo, now + jittered);
        }
    }

    /// One that comes back says that the path carried packets when it was sent: an old one says
    /// nothing.
    pub(super) fn echo_returned(&mut self, now: Instant, number: u32) {
        let Some(interval) = self
            .echo_interval()
            .filter(|_| self.echo.phase != Phase::Off)
        else {
            return;
        };
        let multiplier = u32::from(self.parameters.detect_multiplier.get());
        let age = self.echo.next.wrapping_sub(number);
        if (1..=multiplier).contains(&age) {
            self.timers
                .set(Timer::EchoDetection, now + interval * multiplier);
            if self.echo.phase == Phase::Trying {
                self.echo.phase = Phase::Active;
                self.settle(now);
            }
        }
    }
}
