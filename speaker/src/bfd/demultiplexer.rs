//! Whose a packet is (RFC 5880 §6.3, RFC 5881 §3 to §5, RFC 5883 §3), and why it is nobody's.
//!
//! Sessions are made by configuration alone. What arrives makes none, so that nothing in here grows
//! by what others send.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::packet::{Control, Discriminator, Invalid};
use super::{Hops, Reach, SessionKey};

/// A datagram as the kernel tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Which port it came to.
    pub hops: Hops,
    /// Who sent it.
    pub source: IpAddr,
    /// To which of our addresses.
    pub destination: IpAddr,
    /// By which interface.
    pub interface: u32,
    /// The device that the port is bound to.
    pub device: Option<&'a Device>,
    /// Its TTL or hop limit when it arrived.
    pub ttl: u8,
    /// What it carries.
    pub octets: &'a [u8],
}

/// What a port is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Whether that is a VRF: an interface of its own may be anywhere, and all that comes by it comes to the
    /// port that is bound to it.
    pub is_vrf: bool,
}

/// Why a packet was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// It is wrong in itself.
    Malformed,
    /// It has an authentication section, and none is in use here.
    Authentication,
    /// It came through a router, or through more of them than are allowed.
    Ttl,
    /// It names a session that there is not.
    UnknownDiscriminator,
    /// It names none, and nobody wants one with its sender.
    UnknownPeer,
    /// It names a session with somebody else.
    OtherPeer,
}

impl Discard {
    /// As metrics and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Authentication => "authentication",
            Self::Ttl => "ttl",
            Self::UnknownDiscriminator => "unknownDiscriminator",
            Self::UnknownPeer => "unknownPeer",
            Self::OtherPeer => "otherPeer",
        }
    }
}

impl From<Invalid> for Discard {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Authentication => Self::Authentication,
            Invalid::Truncated
            | Invalid::Version
            | Invalid::Length
            | Invalid::DetectMultiplier
            | Invalid::Multipoint
            | Invalid::MyDiscriminator
            | Invalid::YourDiscriminator => Self::Malformed,
        }
    }
}

/// What a packet has to be like to belong to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    discriminator: Discriminator,
    hops: Hops,
    least_ttl: u8,
}

/// The sessions by what tells them apart.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    by_discriminator: BTreeMap<Discriminator, SessionKey>,
    terms: BTreeMap<SessionKey, Terms>,
}

impl Demultiplexer {
    /// Without sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// A session begins, or is told apart in another way. `minimum_ttl` counts over several hops only.
    pub fn insert(
        &mut self,
        key: &SessionKey,
        discriminator: Discriminator,
        hops: Hops,
        minimum_ttl: u8,
    ) {
        self.remove(key);
        let least_ttl = match hops {
            // RFC 5881 §5: nobody beyond the link can send this.
            Hops::Single => u8::MAX,
            Hops::Multiple => minimum_ttl,
        };
        let terms = Terms {
            discriminator,
            hops,
            least_ttl,
        };
        self.by_discriminator.insert(discriminator, key.clone());
        self.terms.insert(key.clone(), terms);
    }

    /// A session is no more.
    pub fn remove(&mut self, key: &SessionKey) {
        if let Some(terms) = self.terms.remove(key) {
            self.by_discriminator.remove(&terms.discriminator);
        }
    }

    /// Whether a discriminator names one of the sessions.
    pub fn is_taken(&self, discriminator: Discriminator) -> bool {
        self.by_discriminator.contains_key(&discriminator)
    }

    /// The session that a discriminator names.
    pub fn named(&self, discriminator: Discriminator) -> Option<&SessionKey> {
        self.by_discriminator.get(&discriminator)
    }

    /// Whose a datagram is, and the packet in it.
    pub fn sort(&self, arrival: &Arrival<'_>) -> Result<(&SessionKey, Control), Discard> {
        // RFC 5881 §5, before anything is read.
        if arrival.hops == Hops::Single && arrival.ttl < u8::MAX {
            return Err(Discard::Ttl);
        }
        let packet = Control::parse(arrival.octets)?;
        let (key, terms) = match packet.your_discriminator {
            Some(discriminator) => self.by_name(arrival, discriminator)?,
            None => self.by_address(arrival)?,
        };
        match arrival.ttl < terms.least_ttl {
            true => Err(Discard::Ttl),
            false => Ok((key, packet)),
        }
    }

    /// RFC 5880 §6.8.6: a discriminator that is not 0 names the session, and nothing else does.
    fn by_name(
        &self,
        arrival: &Arrival<'_>,
        discriminator: Discriminator,
    ) -> Result<(&SessionKey, &Terms), Discard> {
        let key = self.by_discriminator.get(&discriminator);
        let key = key.ok_or(Discard::UnknownDiscriminator)?;
        let terms = self.terms.get(key).ok_or(Discard::UnknownDiscriminator)?;
        // Deviation: a number can be guessed; a session is configured with an address besides.
        match is_between(key, terms, arrival) {
            true => Ok((key, terms)),
            false => Err(Discard::OtherPeer),
        }
    }

    /// RFC 5881 §3, RFC 5883 §3: the first packet is told by its addresses. Who asks for the most wins
    /// where several would do, which is the order of the keys.
    fn by_address(&self, arrival: &Arrival<'_>) -> Result<(&SessionKey, &Terms), Discard> {
        let theirs = self.terms.range(least_with(arrival.source)..);
        let theirs = theirs.take_while(|(key, _)| key.peer == arrival.source);
        let found = theirs.filter(|(key, terms)| is_between(key, terms, arrival));
        found.last().ok_or(Discard::UnknownPeer)
    }
}

fn is_between(key: &SessionKey, terms: &Terms, arrival: &Arrival<'_>) -> bool {
    key.peer == arrival.source
        && terms.hops == arrival.hops
        && key
            .interface
            .is_none_or(|interface| interface == arrival.interface)
        && is_by(key.vrf.as_deref(), arrival.device)
        && key.local.is_none_or(|local| local == arrival.destination)
}

/// Whether what came to a port is for a session by a VRF, or by none.
fn is_by(vrf: Option<&str>, device: Option<&Device>) -> bool {
    match (vrf, device) {
        (None, None) => true,
        (None, Some(device)) => !device.is_vrf,
        (Some(vrf), device) => device.is_some_and(|device| device.name == vrf),
    }
}

/// No session with somebody has a lesser key.
fn least_with(peer: IpAddr) -> SessionKey {
    SessionKey {
        peer,
        interface: None,
        vrf: None,
        local: None,
        reach: Reach::SingleHop,
    }
}

#[cfg(test)]
mod tests;
