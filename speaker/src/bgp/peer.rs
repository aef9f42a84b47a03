//! One neighbour: its connections and its Adj-RIB-Out, octets in and octets out.
//!
//! Messages that the protocol demands leave by [`Peer::poll`] at once. UPDATEs leave by
//! [`Peer::poll_update`] when the transport has room for them, so that a peer that reads slowly
//! makes no queue grow.
//!
//! There are up to two connections. The main one is dialled, waited for, and lives on; the contender
//! was dialled by the peer and takes the place of the main one, or ends:
//!
//! ```text
//!                        OpenSent        OpenConfirm            Established
//! main has no session    wait            promote                promote
//! main is in OpenSent    wait            wait for main's OPEN   close main, promote
//! ```

mod rib;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ferrolb_crds::model::{Asn, Family, HoldTime};

use self::rib::Rib;
use super::adj_rib_out::{AdjRibOut, Composed};
use super::connection::{self, Connection, Endpoint, Reason, Timer, Verdict};
use super::message::{Message, Open, Received};
use super::notification::Cease;
use super::{
    Changed, Ended, Established, Farewell, Live, Messages, Opens, Routes, SessionState, Settings,
    codec,
};

/// Which of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The one that is dialled, or has been promoted.
    Main,
    /// The one that the peer dialled, until it is decided what becomes of it.
    Contender,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    /// Begin.
    Start,
    /// End for good.
    Stop(Farewell),
    /// What has become of some routes that the peer should hold.
    Changed(Arc<Changed>),
    /// The connection that was asked for is up.
    Connected(Endpoint),
    /// The peer has dialled.
    Accepted(Endpoint),
    /// Our end of the main connection has other addresses than before.
    Relocated(Endpoint),
    /// The session goes on with this, and what is sent is signed with another key, perhaps.
    Adjusted(Live),
    /// It could not be made or was lost; in words.
    Failed(Slot, String),
    /// Octets from the peer.
    Received(Slot, &'a [u8]),
    /// The transport takes no more octets.
    SendBlocked(Slot),
    /// The transport took some octets again.
    SendResumed(Slot),
    /// The path to the peer has failed.
    BfdDown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a TCP connection; drop the one that is being opened, if there is one.
    Connect,
    /// The connection that the peer has dialled is the contender.
    Accept,
    /// The connection that the peer has dialled is not wanted: send this and close it.
    Refuse(Vec<u8>),
    /// The contender is the main connection. What was the main one is closed already.
    Promote,
    /// Send octets.
    Send(Slot, Vec<u8>),
    /// Close the connection, or stop opening it, once what was to be sent has been sent.
    Close(Slot),
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
    main: Side,
    contender: Option<Side>,
    /// Of the side that is made next.
    next_id: u64,
    local_asn: Asn,
    rib: Rib,
    outputs: VecDeque<Output>,
    /// As last told.
    state: SessionState,
    /// Why some connection changed its state last.
    reason: Option<Reason>,
    updates_sent: u64,
    messages: Messages,
    established: Option<Arc<Established>>,
    ended: Option<Arc<Ended>>,
}

/// One connection.
#[derive(Debug)]
struct Side {
    /// Follows the connection when it is promoted.
    id: u64,
    connection: Connection,
    /// Our end of the connection as last seen.
    endpoint: Option<Endpoint>,
    /// The last that were sent and received.
    opens: Opens,
    /// Less than one message, between two inputs.
    inbox: Vec<u8>,
}

impl Peer {
    /// In Idle, until [`Input::Start`].
    pub fn new(settings: Settings, desired: Arc<Routes>, rng: fastrand::Rng) -> Self {
        Self {
            local_asn: settings.local_asn,
            main: Side {
                id: 0,
                connection: Connection::new(settings, rng),
                endpoint: None,
                opens: Opens::default(),
                inbox: Vec::new(),
            },
            contender: None,
            next_id: 1,
            rib: Rib::Desired(desired),
            outputs: VecDeque::new(),
            state: SessionState::Idle,
            reason: None,
            updates_sent: 0,
            messages: Messages::default(),
            established: None,
            ended: None,
        }
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Start => self.tell(now, Slot::Main, connection::Input::ManualStart),
            Input::Stop(farewell) => {
                let stop = connection::Input::ManualStop(farewell);
                self.tell(now, Slot::Contender, stop.clone());
                self.tell(now, Slot::Main, stop);
            }
            Input::Connected(endpoint) => {
                self.main.endpoint = Some(endpoint.clone());
                self.tell(now, Slot::Main, connection::Input::TcpConfirmed(endpoint));
            }
            Input::Accepted(endpoint) => self.accept(now, endpoint),
            Input::Failed(slot, error) => {
                self.tell(now, slot, connection::Input::TcpFailed(error));
            }
            Input::SendBlocked(slot) => self.tell(now, slot, connection::Input::SendBlocked),
            Input::SendResumed(slot) => self.tell(now, slot, connection::Input::SendResumed),
            Input::BfdDown => {
                self.tell(now, Slot::Contender, connection::Input::BfdDown);
                self.tell(now, Slot::Main, connection::Input::BfdDown);
            }
            Input::Adjusted(live) => {
                let contender = self.contender.as_mut().map(|side| &mut side.connection);
                for connection in [&mut self.main.connection].into_iter().chain(contender) {
                    connection.adjust(now, live.clone());
                }
                self.probe();
            }
            Input::Changed(changed) => self.rib.change(&changed),
            Input::Relocated(endpoint) => {
                self.main.endpoint = Some(endpoint);
                self.relocate();
            }
            Input::Received(slot, octets) => self.receive(now, slot, octets),
        }
        self.settle(now);
    }

    /// What is to be done next; call it until `None`.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next UPDATE, or what marks a place among them, for a main connection that has room for it.
    #[must_use]
    pub fn poll_update(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self.rib.sent_mut()?.poll()? {
            Composed::Update(message) => {
                self.updates_sent += 1;
                self.tell(now, Slot::Main, connection::Input::UpdateSent);
                Some(message)
            }
            Composed::Marker(message) => {
                self.messages.route_refreshes_sent += 1;
                Some(message)
            }
        }
    }

    /// When [`Self::handle_timeout`] is due, and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let contender = self.contender.as_ref();
        let contender = contender.and_then(|side| side.connection.poll_timeout());
        let main = self.main.connection.poll_timeout();
        main.into_iter().chain(contender).min()
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for slot in [Slot::Contender, Slot::Main] {
            if let Some(side) = self.side_mut(slot) {
                side.connection.handle_timeout(now);
                self.drain(slot);
            }
        }
        self.settle(now);
    }

    /// Where the session stands: where the connection stands that has come furthest.
    pub fn state(&self) -> SessionState {
        let contender = self.contender.as_ref();
        let contender = contender.map(|side| side.connection.state());
        contender
            .into_iter()
            .fold(self.main.connection.state(), SessionState::max)
    }

    /// Whether it has been started and not been stopped.
    pub fn is_started(&self) -> bool {
        self.main.connection.is_started()
    }

    /// Local address of the connection, while there is one.
    pub fn local_address(&self) -> Option<IpAddr> {
        let sides = [Some(&self.main), self.contender.as_ref()];
        let mut sides = sides.into_iter().flatten();
        sides.find_map(|side| side.connection.local_address())
    }

    /// Hold time agreed on, while Established.
    pub fn hold_time(&self) -> Option<HoldTime> {
        let session = self.main.connection.negotiated();
        session.map(|session| session.hold_time)
    }

    /// Families agreed on, while Established.
    pub fn families(&self) -> BTreeSet<Family> {
        let session = self.main.connection.negotiated();
        session.map_or_else(BTreeSet::new, |session| session.families.clone())
    }

    /// Capabilities that both ends have, by name, while Established.
    pub fn capabilities(&self) -> Vec<&'static str> {
        let session = self.main.connection.negotiated();
        session.map_or_else(Vec::new, connection::Negotiated::capabilities)
    }

    /// Prefixes the peer holds from us.
    pub fn prefixes(&self) -> usize {
        self.rib.sent().map_or(0, AdjRibOut::prefixes)
    }

    /// UPDATE messages handed to the transport since the beginning.
    pub fn updates_sent(&self) -> u64 {
        self.updates_sent
    }

    /// Prefixes the peer should hold from us.
    pub fn desired(&self) -> usize {
        match &self.rib {
            Rib::Desired(desired) => desired.len(),
            Rib::Sent(adj_rib_out) => adj_rib_out.desired().len(),
        }
    }

    /// The other messages since the beginning.
    pub fn messages(&self) -> Messages {
        self.messages
    }

    /// What the session has come to be by, while Established.
    pub fn established(&self) -> Option<Arc<Established>> {
        self.established.clone()
    }

    /// What the one before ended by.
    pub fn ended(&self) -> Option<Arc<Ended>> {
        self.ended.clone()
    }

    /// Why the peer does not hold all that it should; or why the last connection ended.
    pub fn last_error(&self) -> Option<String> {
        let unannounced = self.rib.sent().and_then(AdjRibOut::unannounced);
        let failure = self.main.connection.last_failure().map(Reason::to_string);
        unannounced.map(|why| why.to_string()).or(failure)
    }

    fn relocate(&mut self) {
        let Some(endpoint) = &self.main.endpoint else {
            return;
        };
        if let Some(adj_rib_out) = self.rib.sent_mut() {
            adj_rib_out.relocate(endpoint);
        }
        if let Some(established) = &mut self.established
            && established.session.endpoint != *endpoint
        {
            Arc::make_mut(established).session.endpoint = endpoint.clone();
        }
    }

    /// Says something at once: a peer that has ended the session when its key was changed answers with
    /// a reset as soon as it hears the new one, and not first at the next KEEPALIVE.
    fn probe(&mut self) {
        if self.state() == SessionState::Established {
            let message = Message::Keepalive;
            self.messages.count_sent(&message);
            let octets = codec::encode(&message);
            self.outputs.push_back(Output::Send(Slot::Main, octets));
        }
    }

    /// RFC 4271 §8.2.2: in Idle all connections are refused. One that has not said anything yet makes
    /// way for a newer one, which the peer has made because it knows nothing of it.
    fn accept(&mut self, now: Instant, endpoint: Endpoint) {
        let contender = self.contender.as_ref();
        let is_busy = contender.is_some_and(|side| side.connection.is_confirming());
        if is_busy || self.main.connection.state() == SessionState::Idle {
            let notification = Message::Notification(Cease::ConnectionRejected.into());
            self.messages.count_sent(&notification);
            let refusal = Output::Refuse(codec::encode(&notification));
            return self.outputs.push_back(refusal);
        }
        let dump = connection::Input::OpenCollisionDump;
        self.tell(now, Slot::Contender, dump);
        self.outputs.push_back(Output::Accept);
        self.contender = Some(Side {
            id: self.next_id,
            connection: self.main.connection.accept(now, endpoint.clone()),
            endpoint: Some(endpoint),
            opens: Opens::default(),
            inbox: Vec::new(),
        });
        self.next_id += 1;
        self.drain(Slot::Contender);
    }

    fn receive(&mut self, now: Instant, slot: Slot, octets: &[u8]) {
        let Some(side) = self.side_mut(slot) else {
            return;
        };
        let id = side.id;
        let mut inbox = mem::take(&mut side.inbox);
        inbox.extend_from_slice(octets);
        let mut rest = inbox.as_slice();
        // What follows a message that ended the connection is nobody's.
        while let Some((slot, limit)) = self.connected(id) {
            let (event, size) = match codec::frame(rest, limit) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let message = codec::decode(frame);
                    self.messages.count_received(&message);
                    if let (Ok(Received::Open(_)), Some(side)) = (&message, self.side_mut(slot)) {
                        side.opens.received = rest.get(..frame.size()).unwrap_or_default().to_vec();
                    }
                    (message.into(), frame.size())
                }
                Err(error) => (connection::Input::HeaderError(error), rest.len()),
            };
            rest = rest.get(size..).unwrap_or_default();
            self.tell(now, slot, event);
            self.settle(now);
        }
        if let Some((slot, _)) = self.connected(id)
            && let Some(side) = self.side_mut(slot)
        {
            side.inbox = rest.to_vec();
        }
    }

    /// Where this connection is, if it is still there, and how long its messages may be.
    fn connected(&self, id: u64) -> Option<(Slot, usize)> {
        let main = (Slot::Main, Some(&self.main));
        let contender = (Slot::Contender, self.contender.as_ref());
        [main, contender].into_iter().find_map(|(slot, side)| {
            let connection = &side.filter(|side| side.id == id)?.connection;
            connection.local_address()?;
            Some((slot, connection.message_limit()))
        })
    }

    fn side_mut(&mut self, slot: Slot) -> Option<&mut Side> {
        match slot {
            Slot::Main => Some(&mut self.main),
            Slot::Contender => self.contender.as_mut(),
        }
    }

    /// Tells one connection of an event, and before it of an OPEN the other of what it means to it.
    fn tell(&mut self, now: Instant, slot: Slot, event: connection::Input) {
        if let connection::Input::Open(open) = &event {
            match self.judge(slot, open) {
                Verdict::Proceed => {}
                Verdict::CloseThis => {
                    return self.pass_on(now, slot, connection::Input::OpenCollisionDump);
                }
                Verdict::CloseOther => {
                    self.pass_on(now, slot.other(), connection::Input::OpenCollisionDump);
                }
                Verdict::PeerRestarted => {
                    self.pass_on(now, slot.other(), connection::Input::PeerRestarted);
                }
            }
        }
        let was_established = self.main.connection.negotiated().is_some();
        self.pass_on(now, slot, event);
        // RFC 4271 §6.8: one that has not come as far collides with an established one. What is dialled
        // from here on is another matter: it may tell of a restart.
        if !was_established && self.main.connection.negotiated().is_some() {
            self.pass_on(now, Slot::Contender, connection::Input::OpenCollisionDump);
        }
    }

    fn judge(&self, slot: Slot, open: &Open) -> Verdict {
        let Some(contender) = &self.contender else {
            return Verdict::Proceed;
        };
        let (main, contender) = (&self.main.connection, &contender.connection);
        match slot {
            Slot::Main => main.judge(open, contender),
            Slot::Contender => contender.judge(open, main),
        }
    }

    fn pass_on(&mut self, now: Instant, slot: Slot, event: connection::Input) {
        if let Some(side) = self.side_mut(slot) {
            side.connection.handle(now, event);
            self.drain(slot);
        }
    }

    fn drain(&mut self, slot: Slot) {
        let mut notification = None;
        while let Some(output) = self.side_mut(slot).and_then(|side| side.connection.poll()) {
            match output {
                connection::Output::Connect => self.outputs.push_back(Output::Connect),
                connection::Output::Send(message) => {
                    self.messages.count_sent(&message);
                    let octets = codec::encode(&message);
                    match (message, self.side_mut(slot)) {
                        (Message::Open(_), Some(side)) => side.opens.sent = octets.clone(),
                        (Message::Notification(_), _) => notification = Some(octets.clone()),
                        (Message::Open(_) | Message::Keepalive, _) => {}
                    }
                    self.outputs.push_back(Output::Send(slot, octets));
                }
                connection::Output::Close => {
                    if let Some(side) = self.side_mut(slot) {
                        side.inbox.clear();
                    }
                    self.outputs.push_back(Output::Close(slot));
                }
                connection::Output::Refresh(family) => {
                    if let Some(adj_rib_out) = self.rib.sent_mut() {
                        adj_rib_out.refresh(family);
                    }
                }
                connection::Output::StateChanged { from, reason, .. } => {
                    if slot == Slot::Main {
                        if from == SessionState::Established {
                            let ended = Ended::new(&reason, notification.take());
                            self.ended = Some(Arc::new(ended));
                        }
                        self.enter();
                    }
                    self.reason = Some(reason);
                }
            }
        }
    }

    /// What was sent is known for as long as the session lasts, and no longer.
    fn enter(&mut self) {
        let desired = match mem::replace(&mut self.rib, Rib::Desired(Arc::default())) {
            Rib::Desired(desired) => desired,
            Rib::Sent(adj_rib_out) => Arc::new(adj_rib_out.into_desired()),
        };
        self.rib = match self.main.connection.negotiated() {
            Some(session) => {
                let desired = Arc::unwrap_or_clone(desired);
                let adj_rib_out = AdjRibOut::new(session, self.local_asn, desired);
                Rib::Sent(Box::new(adj_rib_out))
            }
            None => Rib::Desired(desired),
        };
        self.established = self.main.established(self.local_asn).map(Arc::new);
        // It may have changed while the session was being made.
        self.relocate();
    }

    /// Decides what becomes of the contender, and tells of another state.
    fn settle(&mut self, now: Instant) {
        if let Some(side) = self.contender.take() {
            self.settle_contender(now, side);
        }
        let (from, to) = (self.state, self.state());
        if from != to
            && let Some(reason) = self.reason.clone()
        {
            self.state = to;
            self.outputs
                .push_back(Output::StateChanged { from, to, reason });
        }
    }

    fn settle_contender(&mut self, now: Instant, side: Side) {
        let main = self.main.connection.state();
        match (side.connection.state(), main) {
            (SessionState::Idle | SessionState::Connect | SessionState::Active, _) => {
                if let Some(failure) = side.connection.last_failure() {
                    let failed = connection::Input::AcceptedFailed(failure.clone());
                    self.pass_on(now, Slot::Main, failed);
                }
            }
            (SessionState::OpenSent, _)
            | (
                SessionState::OpenConfirm,
                SessionState::OpenSent | SessionState::OpenConfirm | SessionState::Established,
            ) => self.contender = Some(side),
            (
                SessionState::OpenConfirm,
                SessionState::Idle | SessionState::Connect | SessionState::Active,
            )
            | (SessionState::Established, _) => self.promote(now, side),
        }
    }

    fn promote(&mut self, now: Instant, contender: Side) {
        match self.main.connection.state() {
            SessionState::Connect => self.outputs.push_back(Output::Close(Slot::Main)),
            SessionState::OpenSent | SessionState::OpenConfirm | SessionState::Established => {
                self.pass_on(now, Slot::Main, connection::Input::OpenCollisionDump);
            }
            SessionState::Idle | SessionState::Active => {}
        }
        self.main.id = contender.id;
        self.main.connection.adopt(contender.connection);
        self.main.endpoint = contender.endpoint;
        self.main.opens = contender.opens;
        self.main.inbox = contender.inbox;
        self.outputs.push_back(Output::Promote);
        self.enter();
    }
}

impl Side {
    fn established(&self, local_asn: Asn) -> Option<Established> {
        let settings = self.connection.settings();
        Some(Established {
            since: self.connection.established_since()?,
            session: self.connection.negotiated()?.clone(),
            local_asn,
            neighbor: settings.neighbor,
            device: settings.transport.device.clone(),
            opens: self.opens.clone(),
        })
    }
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::Main => Self::Contender,
            Self::Contender => Self::Main,
        }
    }
}
