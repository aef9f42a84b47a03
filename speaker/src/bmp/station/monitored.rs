//! One session as a station is told of it.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::codec::{self, Peer, Session};
use super::super::{Down, Event, Up};
use crate::bgp::Established;
use crate::bgp::adj_rib_out::{AdjRibOut, Composed};

/// What is true of a session, and what the station has heard of it.
#[derive(Debug, Default)]
pub(super) struct Monitored {
    told: Option<Told>,
    current: Option<Box<Current>>,
}

/// A session that the station takes to be established.
#[derive(Debug)]
struct Told {
    peer: Peer,
    /// It is over.
    down: Option<Down>,
}

/// A session that is established.
#[derive(Debug)]
struct Current {
    peer: Peer,
    established: Arc<Established>,
    since: SystemTime,
    rib: AdjRibOut,
    counts: Counts,
}

/// Whether the station knows how many routes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Known,
    /// They have changed.
    Changed,
    /// It is time to tell.
    Due,
}

impl Monitored {
    /// Takes note of something that happened.
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Up(up) => {
                // Whatever was heard of the one before, this is another.
                self.end(Down::Deconfigured);
                self.current = Some(Box::new(Current::new(up)));
            }
            Event::Relocated(established) => {
                if let Some(current) = &mut self.current {
                    current.rib.relocate(&established.session.endpoint);
                    current.established = established;
                }
            }
            Event::Changed(changed) => {
                if let Some(current) = &mut self.current {
                    for (prefix, route) in changed.iter() {
                        current.rib.change(*prefix, route.as_ref());
                    }
                }
            }
            Event::Down(down) => self.end(down),
        }
    }

    fn end(&mut self, down: Down) {
        self.current = None;
        if let Some(told) = &mut self.told {
            told.down.get_or_insert(down);
        }
    }

    /// Nothing has been told; everything will be.
    pub(super) fn anew(self) -> Self {
        let current = self.current.map(|current| Box::new(current.anew()));
        Self {
            told: None,
            current,
        }
    }

    /// Whether there is a session.
    pub(super) fn is_up(&self) -> bool {
        self.current.is_some()
    }

    /// Whether the station takes one to be there.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// It is time to tell how many routes there are, if that has changed.
    pub(super) fn count(&mut self) {
        if let Some(current) = &mut self.current
            && current.counts == Counts::Changed
        {
            current.counts = Counts::Due;
        }
    }

    /// The next message; `None`: the station knows everything.
    pub(super) fn poll(&mut self, at: SystemTime) -> Option<Vec<u8>> {
        if let Some(told) = self.told.take_if(|told| told.down.is_some()) {
            return Some(told.peer_down(at));
        }
        let current = self.current.as_mut()?;
        if self.told.is_none() {
            self.told = Some(Told {
                peer: current.peer.clone(),
                down: None,
            });
            return Some(current.peer_up());
        }
        current.poll(at)
    }
}

impl Told {
    fn peer_down(&self, at: SystemTime) -> Vec<u8> {
        let ended = match &self.down {
            Some(Down::Ended(ended)) => Some(ended.as_ref()),
            Some(Down::Deconfigured) | None => None,
        };
        codec::peer_down(&self.peer, at, ended)
    }
}

impl Current {
    fn new(up: Up) -> Self {
        let Up {
            established,
            since,
            routes,
        } = up;
        let routes = Arc::unwrap_or_clone(routes);
        Self {
            peer: peer(&established),
            rib: AdjRibOut::new(&established.session, established.local_asn, routes),
            established,
            since,
            counts: Counts::Changed,
        }
    }

    fn anew(self) -> Self {
        Self::new(Up {
            established: self.established,
            since: self.since,
            routes: Arc::new(self.rib.into_desired()),
        })
    }

    fn peer_up(&self) -> Vec<u8> {
        let endpoint = &self.established.session.endpoint;
        let session = Session {
            local: endpoint.local,
            local_port: endpoint.ports.local,
            remote_port: endpoint.ports.remote,
            opens: &self.established.opens,
        };
        codec::peer_up(&self.peer, self.since, session)
    }

    fn poll(&mut self, at: SystemTime) -> Option<Vec<u8>> {
        if self.counts == Counts::Due {
            self.counts = Counts::Known;
            return Some(self.statistics(at));
        }
        loop {
            match self.rib.poll()? {
                Composed::Update(update) => {
                    self.counts = Counts::Changed;
                    return Some(codec::route_monitoring(&self.peer, at, &update));
                }
                // A station has no use for what marks a refresh: it is no part of the table.
                Composed::Marker(_) => {}
            }
        }
    }

    fn statistics(&self, at: SystemTime) -> Vec<u8> {
        let families = self.established.session.families.iter();
        let counts = families.map(|family| {
            let count = self.rib.prefixes_of(*family);
            (*family, u64::try_from(count).unwrap_or(u64::MAX))
        });
        codec::statistics(&self.peer, at, &counts.collect())
    }
}

/// How the station is to know the peer. An address of one interface or VRF may be another peer's on the
/// next.
fn peer(established: &Established) -> Peer {
    let session = &established.session;
    Peer {
        address: established.neighbor,
        instance: established.device.as_deref().map(name_hash),
        asn: session.peer_asn,
        router_id: session.peer_router_id,
        is_legacy: !session.has_four_octet_asn,
    }
}

/// FNV-1a: the same at every start, and another one for another name, as good as certainly.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
