//! One neighbour: its connection and its Adj-RIB-Out, octets in and octets out.
//!
//! Messages that the protocol demands leave by [`Peer::poll`] at once. UPDATEs leave by
//! [`Peer::poll_update`] when the transport has room for them, so that a peer that reads slowly
//! makes no queue grow. There is no collision to resolve (RFC 4271 §6.8), because nothing listens.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ferrolb_crds::model::{Asn, Family, HoldTime};

use super::adj_rib_out::AdjRibOut;
use super::connection::{self, Connection, Endpoint, Reason, Timer};
use super::message::Message;
use super::{Messages, Routes, SessionState, Settings, codec};

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    /// Begin.
    Start,
    /// End for good.
    Stop,
    /// What the peer should hold.
    Routes(Arc<Routes>),
    /// The connection that was asked for is up.
    Connected(Endpoint),
    /// Our end of it has other addresses than before.
    Relocated(Endpoint),
    /// It is signed with another key from now on.
    Rekeyed,
    /// It could not be made or was lost; in words.
    Failed(String),
    /// Octets from the peer.
    Received(&'a [u8]),
    /// The transport takes no more octets.
    SendBlocked,
    /// The transport took some octets again.
    SendResumed,
    /// The path to the peer has failed.
    BfdDown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a TCP connection; drop the one that is being opened, if there is one.
    Connect,
    /// Send octets.
    Send(Vec<u8>),
    /// Close the connection, or stop opening it, once what was to be sent has been sent.
    Close,
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

/// One configured neighbour.
///
/// After every `handle` and `handle_timeout`: `poll` until `None`, `poll_update` as often as there
/// is room, then ask `poll_timeout` for the deadline.
#[derive(Debug)]
pub struct Peer {
    connection: Connection,
    local_asn: Asn,
    desired: Arc<Routes>,
    adj_rib_out: Option<AdjRibOut>,
    /// Our end of the connection as last seen.
    endpoint: Option<Endpoint>,
    /// Less than one message, between two inputs.
    inbox: Vec<u8>,
    outputs: VecDeque<Output>,
    updates_sent: u64,
    messages: Messages,
}

impl Peer {
    /// In Idle, until [`Input::Start`].
    pub fn new(settings: Settings, desired: Arc<Routes>, rng: fastrand::Rng) -> Self {
        Self {
            local_asn: settings.local_asn,
            connection: Connection::new(settings, rng),
            desired,
            adj_rib_out: None,
            endpoint: None,
            inbox: Vec::new(),
            outputs: VecDeque::new(),
            updates_sent: 0,
            messages: Messages::default(),
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let event = match input {
            Input::Start => connection::Input::ManualStart,
            Input::Stop => connection::Input::ManualStop,
            Input::Connected(endpoint) => {
                self.endpoint = Some(endpoint.clone());
                connection::Input::TcpConfirmed(endpoint)
            }
            Input::Failed(error) => connection::Input::TcpFailed(error),
            Input::SendBlocked => connection::Input::SendBlocked,
            Input::SendResumed => connection::Input::SendResumed,
            Input::BfdDown => connection::Input::BfdDown,
            Input::Routes(desired) => return self.apply(desired),
            Input::Relocated(endpoint) => {
                self.endpoint = Some(endpoint);
                return self.relocate();
            }
            Input::Rekeyed => return self.probe(),
            Input::Received(octets) => return self.receive(now, octets),
        };
        self.tell(now, event);
    }

    /// What is to be done next; call it until `None`.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next UPDATE, for a transport that has room for it.
    #[must_use]
    pub fn poll_update(&mut self, now: Instant) -> Option<Vec<u8>> {
        let message = self.adj_rib_out.as_mut()?.poll_update()?;
        self.updates_sent += 1;
        self.tell(now, connection::Input::UpdateSent);
        Some(message)
    }

    /// When [`Self::handle_timeout`] is due, and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.connection.poll_timeout()
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
        self.drain();
    }

    /// Where the session stands.
    pub fn state(&self) -> SessionState {
        self.connection.state()
    }

    /// Whether it has been started and not been stopped.
    pub fn is_started(&self) -> bool {
        self.connection.is_started()
    }

    /// Local address of the connection, while there is one.
    pub fn local_address(&self) -> Option<IpAddr> {
        self.connection.local_address()
    }

    /// Hold time agreed on, while Established.
    pub fn hold_time(&self) -> Option<HoldTime> {
        self.connection
            .negotiated()
            .map(|session| session.hold_time)
    }

    /// Families agreed on, while Established.
    pub fn families(&self) -> BTreeSet<Family> {
        let session = self.connection.negotiated();
        session.map_or_else(BTreeSet::new, |session| session.families.clone())
    }

    /// Prefixes the peer holds from us.
    pub fn prefixes(&self) -> usize {
        self.adj_rib_out.as_ref().map_or(0, AdjRibOut::prefixes)
    }

    /// UPDATE messages handed to the transport since the beginning.
    pub fn updates_sent(&self) -> u64 {
        self.updates_sent
    }

    /// Prefixes the peer should hold from us.
    pub fn desired(&self) -> usize {
        self.desired.len()
    }

    /// The other messages since the beginning.
    pub fn messages(&self) -> Messages {
        self.messages
    }

    /// Why the peer does not hold all that it should; or why the last connection ended.
    pub fn last_error(&self) -> Option<String> {
        let unannounced = self.adj_rib_out.as_ref().and_then(AdjRibOut::unannounced);
        let failure = self.connection.last_failure().map(Reason::to_string);
        unannounced.map(|why| why.to_string()).or(failure)
    }

    fn apply(&mut self, desired: Arc<Routes>) {
        self.desired = desired;
        if let Some(adj_rib_out) = &mut self.adj_rib_out {
            adj_rib_out.apply(Arc::clone(&self.desired));
        }
    }

    fn relocate(&mut self) {
        if let (Some(adj_rib_out), Some(endpoint)) = (&mut self.adj_rib_out, &self.endpoint) {
            adj_rib_out.relocate(endpoint);
        }
    }

    /// Says something at once: a peer that has ended the session when its key was changed answers with
    /// a reset as soon as it hears the new one, and not first at the next KEEPALIVE.
    fn probe(&mut self) {
        if self.state() == SessionState::Established {
            let message = Message::Keepalive;
            self.messages.count_sent(&message);
            self.outputs
                .push_back(Output::Send(codec::encode(&message)));
        }
    }

    fn receive(&mut self, now: Instant, octets: &[u8]) {
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(octets);
        let mut rest = inbox.as_slice();
        // What follows a message that ended the connection is nobody's.
        while self.connection.local_address().is_some() {
            let (event, size) = match codec::frame(rest) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let message = codec::decode(frame);
                    self.messages.count_received(&message);
                    (message.into(), frame.size())
                }
                Err(error) => (connection::Input::HeaderError(error), rest.len()),
            };
            rest = rest.get(size..).unwrap_or_default();
            self.tell(now, event);
        }
        if self.connection.local_address().is_some() {
            self.inbox = rest.to_vec();
        }
    }

    fn tell(&mut self, now: Instant, event: connection::Input) {
        self.connection.handle(now, event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.connection.poll() {
            let output = match output {
                connection::Output::Connect => Output::Connect,
                connection::Output::Send(message) => {
                    self.messages.count_sent(&message);
                    Output::Send(codec::encode(&message))
                }
                connection::Output::Close => {
                    self.inbox.clear();
                    Output::Close
                }
                connection::Output::Refresh(family) => {
                    if let Some(adj_rib_out) = &mut self.adj_rib_out {
                        adj_rib_out.refresh(family);
                    }
                    continue;
                }
                connection::Output::StateChanged { from, to, reason } => {
                    self.enter();
                    Output::StateChanged { from, to, reason }
                }
            };
            self.outputs.push_back(output);
        }
    }

    /// What was sent is known for as long as the session lasts, and no longer.
    fn enter(&mut self) {
        self.adj_rib_out = self
            .connection
            .negotiated()
            .map(|session| AdjRibOut::new(session, self.local_asn, Arc::clone(&self.desired)));
        // It may have changed while the session was being made.
        self.relocate();
    }
}
