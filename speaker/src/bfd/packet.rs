//! The BFD Control packet (RFC 5880 §4.1), and what makes one invalid by itself (§6.8.6).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use thiserror::Error;

use crate::wire::{Reader, Truncated, Writer};

/// Octets of a packet without an authentication section.
pub const SIZE: usize = 24;

/// Names one end of a session, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discriminator(pub NonZeroU32);

impl fmt::Display for Discriminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The states of RFC 5880 §6.2; the diagram is beside [`Session`](super::session::Session).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Taken down on purpose.
    AdminDown,
    /// Nothing is known of the path, or it failed.
    Down,
    /// The peer is heard, and does not say yet that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

/// Why the state last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Diagnostic {
    /// 0, No Diagnostic.
    Absent,
    /// 1: the peer was not heard for the Detection Time.
    ControlDetectionTimeExpired,
    /// 2: echo packets did not come back.
    EchoFunctionFailed,
    /// 3: the peer says that it is down.
    NeighborSignaledSessionDown,
    /// 4
    ForwardingPlaneReset,
    /// 5
    PathDown,
    /// 6
    ConcatenatedPathDown,
    /// 7: it was taken down on purpose.
    AdministrativelyDown,
    /// 8
    ReverseConcatenatedPathDown,
    /// Any other of the 32.
    Unassigned(u8),
}

/// A BFD Control packet without authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Why the sender's state last changed.
    pub diagnostic: Diagnostic,
    /// Where the sender stands.
    pub state: State,
    /// The sender wants an answer at once.
    pub poll: bool,
    /// This is such an answer.
    pub is_final: bool,
    /// The sender's BFD outlives its control plane.
    pub control_plane_independent: bool,
    /// The sender wants no periodic packets while both are Up.
    pub demand: bool,
    /// How many packets may be lost.
    pub detect_multiplier: NonZeroU8,
    /// The sender's end.
    pub my_discriminator: Discriminator,
    /// The receiver's end, as far as the sender knows.
    pub your_discriminator: Option<Discriminator>,
    /// Least time between two packets that the sender would send.
    pub desired_min_tx: Duration,
    /// Least time between two packets that the sender can take; zero: it wants none.
    pub required_min_rx: Duration,
    /// Least time between two echo packets that the sender can take; zero: it wants none.
    pub required_min_echo_rx: Duration,
}

/// Why octets are no packet that can be believed. All of it is discarded in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Invalid {
    /// Shorter than it says, or than any packet is.
    #[error("truncated")]
    Truncated,
    /// Another version than 1.
    #[error("unknown version")]
    Version,
    /// A length that no packet has.
    #[error("impossible length")]
    Length,
    /// Detect Mult is 0.
    #[error("detect multiplier 0")]
    DetectMultiplier,
    /// The Multipoint bit is set.
    #[error("multipoint")]
    Multipoint,
    /// My Discriminator is 0.
    #[error("my discriminator 0")]
    MyDiscriminator,
    /// Your Discriminator is 0 in a state in which the sender must know it.
    #[error("your discriminator 0")]
    YourDiscriminator,
    /// With an authentication section, and none is in use here.
    #[error("authentication")]
    Authentication,
}

impl From<Truncated> for Invalid {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Control {
    /// Reads what a datagram carries, by the rules of RFC 5880 §6.8.6 that need no session.
    pub fn parse(octets: &[u8]) -> Result<Self, Invalid> {
        let mut reader = Reader::new(octets);
        let (first, second) = (reader.u8()?, reader.u8()?);
        let (detect_multiplier, length) = (reader.u8()?, reader.u8()?);
        if first >> 5 != VERSION {
            return Err(Invalid::Version);
        }
        let is_authenticated = second & AUTHENTICATION_PRESENT != 0;
        let least = if is_authenticated {
            SIZE_WITH_AUTHENTICATION
        } else {
            SIZE
        };
        if usize::from(length) < least {
            return Err(Invalid::Length);
        }
        if usize::from(length) > octets.len() {
            return Err(Invalid::Truncated);
        }
        let detect_multiplier =
            NonZeroU8::new(detect_multiplier).ok_or(Invalid::DetectMultiplier)?;
        if second & MULTIPOINT != 0 {
            return Err(Invalid::Multipoint);
        }
        let my_discriminator = discriminator(reader.u32()?).ok_or(Invalid::MyDiscriminator)?;
        let your_discriminator = discriminator(reader.u32()?);
        let state = State::of(second >> 6);
        if your_discriminator.is_none() && matches!(state, State::Init | State::Up) {
            return Err(Invalid::YourDiscriminator);
        }
        if is_authenticated {
            return Err(Invalid::Authentication);
        }
        Ok(Self {
            diagnostic: Diagnostic::of(first & 0x1f),
            state,
            poll: second & POLL != 0,
            is_final: second & FINAL != 0,
            control_plane_independent: second & CONTROL_PLANE_INDEPENDENT != 0,
            demand: second & DEMAND != 0,
            detect_multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: interval(reader.u32()?),
            required_min_rx: interval(reader.u32()?),
            required_min_echo_rx: interval(reader.u32()?),
        })
    }

    /// The packet as a datagram carries it.
    pub fn emit(&self) -> Vec<u8> {
        let flags = [
            (self.poll, POLL),
            (self.is_final, FINAL),
            (self.control_plane_independent, CONTROL_PLANE_INDEPENDENT),
            (self.demand, DEMAND),
        ];
        let set = flags.into_iter().filter(|(is_set, _)| *is_set);
        let flags = set.fold(self.state.code() << 6, |all, (_, flag)| all | flag);
        let yours = self.your_discriminator.map_or(0, |yours| yours.0.get());
        let mut writer = Writer::with_capacity(SIZE);
        writer
            .u8(VERSION << 5 | self.diagnostic.code())
            .u8(flags)
            .u8(self.detect_multiplier.get())
            .u8(SIZE as u8)
            .u32(self.my_discriminator.0.get())
            .u32(yours)
            .u32(microseconds(self.desired_min_tx))
            .u32(microseconds(self.required_min_rx))
            .u32(microseconds(self.required_min_echo_rx));
        writer.finish()
    }
}

impl State {
    /// Of the two bits of Sta.
    fn of(code: u8) -> Self {
        match code & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

impl Diagnostic {
    /// Of the five bits of Diag.
    fn of(code: u8) -> Self {
        match code {
            0 => Self::Absent,
            1 => Self::ControlDetectionTimeExpired,
            2 => Self::EchoFunctionFailed,
            3 => Self::NeighborSignaledSessionDown,
            4 => Self::ForwardingPlaneReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            other => Self::Unassigned(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::ControlDetectionTimeExpired => 1,
            Self::EchoFunctionFailed => 2,
            Self::NeighborSignaledSessionDown => 3,
            Self::ForwardingPlaneReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Unassigned(code) => code & 0x1f,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "no diagnostic",
            Self::ControlDetectionTimeExpired => "control detection time expired",
            Self::EchoFunctionFailed => "echo function failed",
            Self::NeighborSignaledSessionDown => "neighbor signaled session down",
            Self::ForwardingPlaneReset => "forwarding plane reset",
            Self::PathDown => "path down",
            Self::ConcatenatedPathDown => "concatenated path down",
            Self::AdministrativelyDown => "administratively down",
            Self::ReverseConcatenatedPathDown => "reverse concatenated path down",
            Self::Unassigned(code) => return write!(f, "diagnostic {code}"),
        })
    }
}

fn discriminator(value: u32) -> Option<Discriminator> {
    NonZeroU32::new(value).map(Discriminator)
}

fn interval(microseconds: u32) -> Duration {
    Duration::from_micros(u64::from(microseconds))
}

fn microseconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

const VERSION: u8 = 1;
/// With the least authentication section there is.
const SIZE_WITH_AUTHENTICATION: usize = 26;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION_PRESENT: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
