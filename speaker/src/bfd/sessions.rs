//! All sessions of a host as one machine: packets in, packets out, one deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Instant;

use super::demultiplexer::{Arrival, Demultiplexer, Discard};
use super::echo::Echo;
use super::packet::{Control, Diagnostic, Discriminator, State};
use super::session::{self, Session, Timer};
use super::{Counts, Hops, Parameters, SessionKey};
use crate::timer::TimerTable;

/// How a session is wanted, once it is known how far away the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// How it is run.
    pub parameters: Parameters,
    /// How far away the peer is.
    pub hops: Hops,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    /// These sessions should be, and no others.
    Want(BTreeMap<SessionKey, Wish>),
    /// A datagram arrived.
    Arrived(Arrival<'a>),
    /// An echo packet came back.
    EchoReturned(Echo),
    /// What the host can do for the echo function of a session.
    EchoMeans {
        /// Of which.
        key: &'a SessionKey,
        /// Send echo packets, and see them come back.
        can_send: bool,
        /// Send the peer's back.
        can_return: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a packet to the peer of a session.
    Send(SessionKey, Control),
    /// Send an echo packet by way of the peer of a session.
    Echo(SessionKey, Echo),
    /// A session is in another state.
    StateChanged {
        /// Which.
        key: SessionKey,
        /// The state before.
        from: State,
        /// The state after.
        to: State,
        /// Why.
        diagnostic: Diagnostic,
        /// Whether the path failed.
        is_failure: bool,
    },
    /// A session is no more.
    Ended(SessionKey),
}

/// The sessions.
///
/// After every `handle` and `handle_timeout`: `poll` until `None`, then ask `poll_timeout` for the
/// deadline and call `handle_timeout` when it has come.
#[derive(Debug)]
pub struct Sessions {
    members: BTreeMap<SessionKey, Member>,
    demultiplexer: Demultiplexer,
    timers: TimerTable<SessionKey>,
    outputs: VecDeque<Output>,
    dropped: BTreeMap<Discard, u64>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Member {
    session: Session,
    hops: Hops,
    /// Goes with every echo packet.
    nonce: u64,
    counts: Counts,
}

impl Sessions {
    /// Without any.
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            members: BTreeMap::new(),
            demultiplexer: Demultiplexer::new(),
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            dropped: BTreeMap::new(),
            rng,
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Want(wanted) => self.want(now, &wanted),
            Input::Arrived(arrival) => self.arrive(now, &arrival),
            Input::EchoReturned(echo) => self.echo_returned(now, &echo),
            Input::EchoMeans {
                key,
                can_send,
                can_return,
            } => {
                let means = session::Input::EchoMeans {
                    can_send,
                    can_return,
                };
                self.tell(now, key, means);
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
        let (at, key) = self.timers.next()?;
        let (_, timer) = self.members.get(&key)?.session.poll_timeout()?;
        Some((at, timer))
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.expired(now) {
            if let Some(member) = self.members.get_mut(&key) {
                member.session.handle_timeout(now);
            }
            self.drain(&key);
        }
    }

    /// The sessions, those among them that are being taken down.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Session, Hops, Counts)> {
        let members = self.members.iter();
        members.map(|(key, member)| (key, &member.session, member.hops, member.counts))
    }

    /// How far away the peer of a session is taken to be.
    pub fn hops(&self, key: &SessionKey) -> Option<Hops> {
        self.members.get(key).map(|member| member.hops)
    }

    /// Packets that were not believed.
    pub fn dropped(&self) -> &BTreeMap<Discard, u64> {
        &self.dropped
    }

    fn want(&mut self, now: Instant, wanted: &BTreeMap<SessionKey, Wish>) {
        let keys: BTreeSet<&SessionKey> = self.members.keys().collect();
        let unwanted: Vec<SessionKey> = keys
            .into_iter()
            .filter(|key| !wanted.contains_key(key))
            .cloned()
            .collect();
        for key in unwanted {
            self.tell(now, &key, session::Input::Stop);
        }
        for (key, wish) in wanted {
            self.keep(now, key, wish);
        }
    }

    fn keep(&mut self, now: Instant, key: &SessionKey, wish: &Wish) {
        // Another number of hops is another session: it has other ports.
        if self
            .members
            .get(key)
            .is_some_and(|member| member.hops != wish.hops)
        {
            self.remove(key);
        }
        let parameters = Parameters {
            // RFC 5883 §4: no echo over several hops. And none over IPv6, where it has no use yet, nor in a
            // VRF, by whose tables the kernel would have to return it.
            echo: match (wish.hops, key.peer.is_ipv4(), &key.vrf) {
                (Hops::Single, true, None) => wish.parameters.echo,
                (Hops::Single | Hops::Multiple, _, _) => None,
            },
            ..wish.parameters
        };
        if !self.members.contains_key(key) {
            self.add(key, parameters, wish.hops);
        }
        if let Some(member) = self.members.get(key) {
            let discriminator = member.session.local_discriminator();
            let minimum_ttl = parameters.minimum_ttl;
            self.demultiplexer
                .insert(key, discriminator, member.hops, minimum_ttl);
        }
        self.tell(now, key, session::Input::Parameters(parameters));
        self.tell(now, key, session::Input::Start);
    }

    fn add(&mut self, key: &SessionKey, parameters: Parameters, hops: Hops) {
        let discriminator = self.free_discriminator();
        let rng = fastrand::Rng::with_seed(self.rng.u64(..));
        let member = Member {
            session: Session::new(parameters, discriminator, rng),
            hops,
            nonce: self.rng.u64(..),
            counts: Counts::default(),
        };
        self.members.insert(key.clone(), member);
    }

    /// RFC 5880 §10: better not one that can be guessed.
    fn free_discriminator(&mut self) -> Discriminator {
        loop {
            let number = NonZeroU32::new(self.rng.u32(..)).map(Discriminator);
            if let Some(free) = number.filter(|number| !self.demultiplexer.is_taken(*number)) {
                return free;
            }
        }
    }

    fn remove(&mut self, key: &SessionKey) {
        self.members.remove(key);
        self.demultiplexer.remove(key);
        self.timers.stop(key);
        self.outputs.push_back(Output::Ended(key.clone()));
    }

    fn arrive(&mut self, now: Instant, arrival: &Arrival<'_>) {
        let sorted = self.demultiplexer.sort(arrival);
        match sorted.map(|(key, packet)| (key.clone(), packet)) {
            Ok((key, packet)) => {
                if let Some(member) = self.members.get_mut(&key) {
                    member.counts.control_in += 1;
                }
                self.tell(now, &key, session::Input::Received(packet));
            }
            Err(reason) => *self.dropped.entry(reason).or_default() += 1,
        }
    }

    fn echo_returned(&mut self, now: Instant, echo: &Echo) {
        let Some(key) = self.demultiplexer.named(echo.discriminator).cloned() else {
            return;
        };
        if let Some(member) = self.members.get_mut(&key)
            && member.nonce == echo.nonce
        {
            member.counts.echo_in += 1;
            self.tell(now, &key, session::Input::EchoReturned(echo.number));
        }
    }

    fn tell(&mut self, now: Instant, key: &SessionKey, input: session::Input) {
        if let Some(member) = self.members.get_mut(key) {
            member.session.handle(now, input);
        }
        self.drain(key);
    }

    fn drain(&mut self, key: &SessionKey) {
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        let mut has_ended = false;
        while let Some(output) = member.session.poll() {
            let output = match output {
                session::Output::Send(packet) => {
                    member.counts.control_out += 1;
                    Output::Send(key.clone(), packet)
                }
                session::Output::Echo(number) => {
                    member.counts.echo_out += 1;
                    let echo = Echo {
                        discriminator: member.session.local_discriminator(),
                        nonce: member.nonce,
                        number,
                    };
                    Output::Echo(key.clone(), echo)
                }
                session::Output::StateChanged {
                    from,
                    to,
                    diagnostic,
                    is_failure,
                } => {
                    member.counts.ups += u64::from(to == State::Up);
                    member.counts.downs += u64::from(from == State::Up);
                    let key = key.clone();
                    Output::StateChanged {
                        key,
                        from,
                        to,
                        diagnostic,
                        is_failure,
                    }
                }
                session::Output::Ended => {
                    has_ended = true;
                    continue;
                }
            };
            self.outputs.push_back(output);
        }
        let deadline = member.session.poll_timeout();
        match (has_ended, deadline) {
            (true, _) => self.remove(key),
            (false, Some((at, _))) => self.timers.set(key.clone(), at),
            (false, None) => self.timers.stop(key),
        }
    }
}

#[cfg(test)]
mod tests;
