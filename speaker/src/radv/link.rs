//! One interface: which router is there, and when to speak (RFC 4861 §6.2, §6.3).
//!
//! ```text
//!                    advertisement                another's, and no session
//!   down ──▶ nobody ──────────────▶ router known ────────────────────────▶ the other one known
//!    ▲         ▲  └ solicits thrice      │         for eight seconds
//!    │ Down    └─────────────────────────┘
//!   all           lifetime over, no session
//! ```
//!
//! Anybody on the link can say that it is a router. So a router with a session keeps its place whoever
//! speaks, and of those without one each gets its turn until there is a session with one of them.

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
    /// From when on a rival takes the place of a router that is not in use.
    gives_way_at: Option<Instant>,
    advertised: Option<Instant>,
    solicited: Option<Instant>,
    is_to_advertise: bool,
    is_to_solicit: bool,
    /// How many more solicitations follow.
    solicitations: u8,
    advertise_at: Option<Instant>,
    solicit_at: Option<Instant>,
    /// The router is not here any more.
    expires_at: Option<Instant>,
    /// Until then there is another one that advertises here, too.
    contested_until: Option<Instant>,
}

impl Link {
    /// Down, and without a router.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            is_up: false,
            is_in_use: false,
            router: None,
            gives_way_at: None,
            advertised: None,
            solicited: None,
            is_to_advertise: false,
            is_to_solicit: false,
            solicitations: 0,
            advertise_at: None,
            solicit_at: None,
            expires_at: None,
            contested_until: None,
        }
    }

    /// The router's link-local address, if one is known.
    pub fn router(&self) -> Option<Ipv6Addr> {
        self.router
    }

    /// Whether there is a session with the router.
    pub fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// Whether more than one router has been heard in the last half hour.
    pub fn is_contested(&self) -> bool {
        self.contested_until.is_some()
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
                    solicited: self.solicited,
                    ..Self::new(self.rng.clone())
                };
            }
            Input::InUse(is_in_use) => self.use_(now, is_in_use),
            Input::Unsent => {
                self.advertise_at = Some(now);
                self.solicited = None;
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
            self.contested_until,
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
            self.solicited = Some(now);
            self.solicitations = self.solicitations.saturating_sub(1);
            self.solicit_at = (self.solicitations > 0).then(|| now + RTR_SOLICITATION_INTERVAL);
        }
        take_due(&mut self.contested_until, now);
        if take_due(&mut self.expires_at, now) {
            self.expire(now);
        }
    }

    fn use_(&mut self, now: Instant, is_in_use: bool) {
        let was_in_use = std::mem::replace(&mut self.is_in_use, is_in_use);
        if was_in_use && !is_in_use {
            self.gives_way_at = Some(now + PATIENCE);
            self.ask_rivals();
        } else if is_in_use && self.router.is_some() {
            self.solicit_at = None;
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.is_in_use {
            self.expires_at = Some(now + QUIET);
            return;
        }
        self.router = None;
        self.look_for_routers(now);
    }

    fn hear(&mut self, now: Instant, from: Ipv6Addr, lifetime: Duration) {
        let is_rival = self.router.is_some_and(|router| router != from);
        if is_rival {
            self.contested_until = Some(now + LONGEST_SILENCE);
        }
        let has_time = self.is_in_use || self.gives_way_at.is_some_and(|at| now < at);
        match is_rival && has_time {
            true => self.ask_rivals(),
            false => self.learn(now, from, lifetime),
        }
    }

    /// This is the router.
    fn learn(&mut self, now: Instant, from: Ipv6Addr, lifetime: Duration) {
        if self.router != Some(from) {
            self.router = Some(from);
            self.gives_way_at = Some(now + PATIENCE);
            self.solicit_at = None;
        }
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

    /// To speak as soon as the router has had its time. That is as often as sessions and routers come and go,
    /// each of which has that time, however many rivals speak meanwhile.
    fn ask_rivals(&mut self) {
        if let Some(at) = self.gives_way_at
            && self.is_contested()
            && !self.is_in_use
            && self.router.is_some()
            && self.solicit_at.is_none()
        {
            self.solicit(at, 1);
        }
    }

    /// From `at` on, but not too soon after the last one.
    fn solicit(&mut self, at: Instant, count: u8) {
        let soonest = self.solicited.map(|last| last + RTR_SOLICITATION_INTERVAL);
        self.solicitations = count;
        self.solicit_at = Some(soonest.map_or(at, |soonest| soonest.max(at)));
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

/// Three advertisements of a router that speaks as often as we do: after such a silence it is looked at again
/// whether it is used.
const QUIET: Duration = Duration::from_secs(30);

/// How long a router keeps its place without a session: time for more than one attempt to connect.
const PATIENCE: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests;
