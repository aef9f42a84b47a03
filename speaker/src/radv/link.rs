//! One interface: which router is there, and when to speak (RFC 4861 §6.2, §6.3).
//!
//! ```text
//!                    advertisement                another's, and the router
//!   down ──▶ nobody ──────────────▶ router known ─────────────────────────▶ the other one known
//!    ▲         ▲  └ solicits thrice      │         does not answer two
//!    │ Down    └─────────────────────────┘         solicitations
//!   all                 lifetime over
//! ```
//!
//! A router that advertises keeps its place as long as it is there: of two on a link, each of which
//! speaks now and then, neither may take the session from the other.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The interface can be used.
    Up,
    /// It cannot.
    Down,
    /// What was sent last has not left, and the interface is another one now.
    Unsent,
    /// Whether there is a session with the router: it is there, then, however long it says nothing of that.
    InUse(bool),
    /// Somebody asks for routers.
    Solicitation,
    /// A router says that it is here.
    Advertisement {
        /// Its link-local address.
        from: Ipv6Addr,
        /// For how long, as a default router; nothing: that is not said.
        lifetime: Duration,
    },
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// To all nodes.
    Advertisement,
    /// To all routers.
    Solicitation,
}

/// The machine: `handle` what happens and `handle_timeout` when `poll_timeout` is due; then `poll` until
/// there is nothing to send.
#[derive(Debug)]
pub struct Link {
    rng: Rng,
    is_up: bool,
    is_in_use: bool,
    router: Option<Ipv6Addr>,
    /// When the router was heard last.
    heard: Option<Instant>,
    /// Another one that advertises here.
    rival: Option<Ipv6Addr>,
    advertised: Option<Instant>,
    is_to_advertise: bool,
    is_to_solicit: bool,
    /// How many more solicitations follow.
    solicitations: u8,
    advertise_at: Option<Instant>,
    solicit_at: Option<Instant>,
    /// The router is not here any more.
    expires_at: Option<Instant>,
    /// The router has had the time to contradict its rival.
    verdict_at: Option<Instant>,
}

impl Link {
    /// Down, and without a router.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            is_up: false,
            is_in_use: false,
            router: None,
            heard: None,
            rival: None,
            advertised: None,
            is_to_advertise: false,
            is_to_solicit: false,
            solicitations: 0,
            advertise_at: None,
            solicit_at: None,
            expires_at: None,
            verdict_at: None,
        }
    }

    /// The router's link-local address, if one is known.
    pub fn router(&self) -> Option<Ipv6Addr> {
        self.router
    }

    /// Another router that advertises here, while one is known.
    pub fn rival(&self) -> Option<Ipv6Addr> {
        self.rival
    }

    /// Takes what has happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let counts_always = matches!(input, Input::Up | Input::Down | Input::InUse(_));
        if !self.is_up && !counts_always {
            return;
        }
        match input {
            Input::Up => {
                self.is_up = true;
                self.advertise_at = Some(self.not_before(now));
                self.look_for_routers(now);
            }
            Input::Down => {
                *self = Self {
                    is_in_use: self.is_in_use,
                    advertised: self.advertised,
                    ..Self::new(self.rng.clone())
                };
            }
            Input::InUse(is_in_use) => self.is_in_use = is_in_use,
            Input::Unsent => {
                self.advertise_at = Some(now);
                self.look_for_routers(now);
            }
            Input::Solicitation => {
                let delay = self.between(Duration::ZERO, MAX_RA_DELAY_TIME);
                let at = self.not_before(now + delay);
                self.advertise_at = self.advertise_at.map(|planned| planned.min(at));
            }
            Input::Advertisement { from, lifetime } => self.hear(now, from, lifetime),
        }
    }

    /// What is to be sent, one by one.
    pub fn poll(&mut self) -> Option<Packet> {
        if std::mem::take(&mut self.is_to_advertise) {
            return Some(Packet::Advertisement);
        }
        std::mem::take(&mut self.is_to_solicit).then_some(Packet::Solicitation)
    }

    /// When [`Link::handle_timeout`] is to be called; never while the interface is down.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let all = [
            self.advertise_at,
            self.solicit_at,
            self.expires_at,
            self.verdict_at,
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if take_due(&mut self.advertise_at, now) {
            self.is_to_advertise = true;
            self.advertised = Some(now);
            let interval = self.between(MIN_RTR_ADV_INTERVAL, MAX_RTR_ADV_INTERVAL);
            self.advertise_at = Some(now + interval);
        }
        if take_due(&mut self.solicit_at, now) {
            self.is_to_solicit = true;
            self.solicitations = self.solicitations.saturating_sub(1);
            self.solicit_at = (self.solicitations > 0).then(|| now + RTR_SOLICITATION_INTERVAL);
        }
        if take_due(&mut self.verdict_at, now)
            && let Some(rival) = self.rival.take()
        {
            self.learn(now, rival, Duration::ZERO);
        }
        if take_due(&mut self.expires_at, now) {
            self.expire(now);
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.is_in_use {
            self.expires_at = Some(now + QUIET);
            return;
        }
        self.router = None;
        self.rival = None;
        self.verdict_at = None;
        self.look_for_routers(now);
    }

    fn hear(&mut self, now: Instant, from: Ipv6Addr, lifetime: Duration) {
        match self.router {
            Some(router) if router != from => {
                let is_stale = self.heard.is_none_or(|at| now >= at + QUIET);
                if self.verdict_at.is_none() && (self.rival != Some(from) || is_stale) {
                    self.solicit(now, 2);
                    self.verdict_at = Some(now + 2 * RTR_SOLICITATION_INTERVAL);
                }
                // Of several the one that spoke last.
                self.rival = Some(from);
            }
            Some(_) | None => self.learn(now, from, lifetime),
        }
    }

    /// This is the router.
    fn learn(&mut self, now: Instant, from: Ipv6Addr, lifetime: Duration) {
        self.router = Some(from);
        self.heard = Some(now);
        self.verdict_at = None;
        self.solicit_at = None;
        let silence = match lifetime.is_zero() {
            true => LONGEST_SILENCE,
            false => lifetime,
        };
        self.expires_at = Some(now + silence);
    }

    fn look_for_routers(&mut self, now: Instant) {
        if self.router.is_none() {
            self.solicit(now, MAX_RTR_SOLICITATIONS);
        }
    }

    fn solicit(&mut self, now: Instant, count: u8) {
        self.solicitations = count;
        self.solicit_at = Some(now);
    }

    /// §6.2.6: not too soon after the last advertisement.
    fn not_before(&self, at: Instant) -> Instant {
        let soonest = self.advertised.map(|last| last + MIN_DELAY_BETWEEN_RAS);
        soonest.map_or(at, |soonest| soonest.max(at))
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.rng.f64())
    }
}

fn take_due(at: &mut Option<Instant>, now: Instant) -> bool {
    at.take_if(|at| *at <= now).is_some()
}

/// MaxRtrAdvInterval (§6.2.1): how long a router that missed what was sent to it, or has begun anew, goes
/// without its peer; as long as routers themselves take on such links.
const MAX_RTR_ADV_INTERVAL: Duration = Duration::from_secs(10);
/// MinRtrAdvInterval: a third of that, which is its default.
const MIN_RTR_ADV_INTERVAL: Duration = Duration::from_millis(3300);

/// The constants of §10.
const MAX_RA_DELAY_TIME: Duration = Duration::from_millis(500);
const MIN_DELAY_BETWEEN_RAS: Duration = Duration::from_secs(3);
const RTR_SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
const MAX_RTR_SOLICITATIONS: u8 = 3;

/// No router that advertises may be silent for longer (§6.2.1, MaxRtrAdvInterval). It counts where an
/// advertisement says nothing of its own end.
const LONGEST_SILENCE: Duration = Duration::from_secs(1800);

/// Three advertisements of a router that speaks as often as we do: after such a silence it is asked again
/// whether it is still there, or looked at again whether it is used.
const QUIET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
