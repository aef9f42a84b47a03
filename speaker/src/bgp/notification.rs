//! NOTIFICATION: error codes and subcodes by their RFC names (RFC 4271 §4.5 and §6, RFC 4486,
//! RFC 5492, RFC 6608, RFC 8538, RFC 9003, RFC 9384, RFC 9687).
//!
//! A peer's fault is a value that carries what it will be told; turning it into code, subcode and
//! data happens here and nowhere else. How one reads, `text` says.

#[cfg(test)]
mod tests;
mod text;

use std::fmt;

use ferrolb_crds::model::Asn;

use super::message::MessageType;

/// A NOTIFICATION message, also with codes nobody has assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data.
    pub data: Vec<u8>,
}

/// Error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// §6.1
    MessageHeader,
    /// §6.2
    OpenMessage,
    /// §6.3
    UpdateMessage,
    /// §6.5
    HoldTimerExpired,
    /// §6.6
    FiniteStateMachine,
    /// §6.7
    Cease,
    /// RFC 7313 §5
    RouteRefreshMessage,
}

/// Why we end a session that a peer made impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// A message that is wrong in itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message that has no place in the state.
    #[error("the peer sent {1}, which was not expected in {0}")]
    Unexpected(FsmError, MessageType),
    /// Nothing was heard for the hold time.
    #[error("hold timer expired")]
    HoldTimerExpired,
}

/// A message that is wrong in itself, whatever the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A message that cannot be framed.
    #[error("the peer sent a bad message header: {0}")]
    Header(#[from] HeaderError),
    /// An OPEN that cannot be accepted.
    #[error("the peer's OPEN was refused: {0}")]
    Open(#[from] OpenError),
    /// An UPDATE beyond what RFC 7606 forgives.
    #[error("the peer sent a bad UPDATE: {0}")]
    Update(#[from] UpdateError),
    /// A ROUTE-REFRESH that cannot be one.
    #[error("the peer sent a bad ROUTE-REFRESH: {0}")]
    RouteRefresh(#[from] RefreshError),
}

/// Message Header Error subcodes (RFC 4271 §6.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The marker is not all ones.
    #[error("the marker is not all ones")]
    ConnectionNotSynchronized,
    /// Not 19 to the longest that was agreed on, or not what the type allows.
    #[error("a message of {0} octets is not possible")]
    BadMessageLength(u16),
    /// A type nobody announced.
    #[error("message type {0} is unknown")]
    BadMessageType(u8),
}

/// OPEN Message Error subcodes (RFC 4271 §6.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Optional parameters that do not fit their lengths.
    #[error("its optional parameters are malformed")]
    Unspecific,
    /// Anything but 4.
    #[error("BGP version {0} is not spoken here")]
    UnsupportedVersionNumber(u8),
    /// Not the AS that is configured.
    #[error("its AS is {offered}, expected is {expected}")]
    BadPeerAs {
        /// What it said.
        offered: u32,
        /// What would do.
        expected: ExpectedAs,
    },
    /// 0, or our own on an internal session (RFC 6286).
    #[error("its BGP Identifier {0} is zero or our own")]
    BadBgpIdentifier(std::net::Ipv4Addr),
    /// A parameter that is no capability.
    #[error("optional parameter {0} is unknown")]
    UnsupportedOptionalParameter(u8),
    /// 1 or 2 seconds.
    #[error("a hold time of {0} s is not acceptable")]
    UnacceptableHoldTime(u16),
    /// None of the families that the session is for (RFC 5492 §3); capabilities that would have done,
    /// as they are written.
    #[error("it offers no address family that this session is configured for")]
    UnsupportedCapability(Vec<u8>),
}

/// Which AS a peer should have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedAs {
    /// This one.
    Exactly(Asn),
    /// Any but ours.
    OtherThan(Asn),
}

impl fmt::Display for ExpectedAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(asn) => write!(f, "{asn}"),
            Self::OtherThan(asn) => write!(f, "any but ours ({asn})"),
        }
    }
}

/// UPDATE Message Error subcodes that RFC 7606 leaves a reason to end a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Lengths that contradict each other, or MP_REACH_NLRI twice.
    #[error("its attribute list is malformed")]
    MalformedAttributeList,
    /// A well-known attribute nobody knows; the attribute.
    #[error("it has an unrecognized well-known attribute")]
    UnrecognizedWellKnownAttribute(Vec<u8>),
    /// MP_REACH_NLRI or MP_UNREACH_NLRI whose prefixes cannot be found; the attribute.
    #[error("its multiprotocol attribute is malformed")]
    OptionalAttributeError(Vec<u8>),
    /// Prefixes that cannot be parsed.
    #[error("its prefixes are malformed")]
    InvalidNetworkField,
}

/// ROUTE-REFRESH Message Error subcodes (RFC 7313 §5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// A marker that is not four octets; the message.
    #[error("its length is wrong")]
    InvalidMessageLength(Vec<u8>),
}

/// Finite State Machine Error subcodes (RFC 6608): the state in which a message was unexpected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsmError {
    /// Subcode 1.
    OpenSent,
    /// Subcode 2.
    OpenConfirm,
    /// Subcode 3.
    Established,
}

impl fmt::Display for FsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// Cease subcodes (RFC 4486) that we send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cease {
    /// Subcode 2, with a sentence for the operator of the peer (RFC 9003).
    AdministrativeShutdown(String),
    /// Subcode 3.
    PeerDeconfigured,
    /// Subcode 5.
    ConnectionRejected,
    /// Subcode 6.
    OtherConfigurationChange,
    /// Subcode 7.
    ConnectionCollisionResolution,
    /// Subcode 10 (RFC 9384).
    BfdDown,
}

impl From<Cease> for Notification {
    fn from(cease: Cease) -> Self {
        let (subcode, data) = match cease {
            Cease::AdministrativeShutdown(text) => (2, communication(&text)),
            Cease::PeerDeconfigured => (3, Vec::new()),
            Cease::ConnectionRejected => (CONNECTION_REJECTED, Vec::new()),
            Cease::OtherConfigurationChange => (6, Vec::new()),
            Cease::ConnectionCollisionResolution => (CONNECTION_COLLISION, Vec::new()),
            Cease::BfdDown => (10, Vec::new()),
        };
        Self::new(ErrorCode::Cease, subcode, data)
    }
}

/// RFC 9003 §2: a length, and UTF-8 of at most 255 octets. Nothing at all is said by no data.
fn communication(text: &str) -> Vec<u8> {
    let mut data = vec![0];
    for letter in text.chars() {
        let mut octets = [0; 4];
        let octets = letter.encode_utf8(&mut octets).as_bytes();
        if data.len() + octets.len() > 256 {
            break;
        }
        data.extend(octets);
    }
    match u8::try_from(data.len() - 1) {
        Ok(0) | Err(_) => Vec::new(),
        Ok(length) => {
            data[0] = length;
            data
        }
    }
}

impl From<&PeerFault> for Notification {
    fn from(fault: &PeerFault) -> Self {
        match fault {
            PeerFault::Malformed(Malformed::Header(error)) => error.into(),
            PeerFault::Malformed(Malformed::Open(error)) => error.into(),
            PeerFault::Malformed(Malformed::Update(error)) => error.into(),
            PeerFault::Malformed(Malformed::RouteRefresh(error)) => error.into(),
            // RFC 6608 §4: the data is the type of the message.
            PeerFault::Unexpected(state, message) => {
                let subcode = match state {
                    FsmError::OpenSent => 1,
                    FsmError::OpenConfirm => 2,
                    FsmError::Established => 3,
                };
                let data = vec![message.code()];
                Self::new(ErrorCode::FiniteStateMachine, subcode, data)
            }
            PeerFault::HoldTimerExpired => Self::new(ErrorCode::HoldTimerExpired, 0, Vec::new()),
        }
    }
}

impl From<&HeaderError> for Notification {
    // RFC 4271 §6.1: the data is the field at fault.
    fn from(error: &HeaderError) -> Self {
        let (subcode, data) = match error {
            HeaderError::ConnectionNotSynchronized => (1, Vec::new()),
            HeaderError::BadMessageLength(length) => (2, length.to_be_bytes().to_vec()),
            HeaderError::BadMessageType(kind) => (3, vec![*kind]),
        };
        Self::new(ErrorCode::MessageHeader, subcode, data)
    }
}

impl From<&OpenError> for Notification {
    fn from(error: &OpenError) -> Self {
        let (subcode, data) = match error {
            OpenError::Unspecific => (0, Vec::new()),
            // RFC 4271 §6.2: the data is the version we speak.
            OpenError::UnsupportedVersionNumber(_) => (1, vec![0, 4]),
            OpenError::BadPeerAs { .. } => (2, Vec::new()),
            OpenError::BadBgpIdentifier(_) => (3, Vec::new()),
            OpenError::UnsupportedOptionalParameter(_) => (4, Vec::new()),
            OpenError::UnacceptableHoldTime(_) => (6, Vec::new()),
            OpenError::UnsupportedCapability(capabilities) => (7, capabilities.clone()),
        };
        Self::new(ErrorCode::OpenMessage, subcode, data)
    }
}

impl From<&UpdateError> for Notification {
    fn from(error: &UpdateError) -> Self {
        let (subcode, data) = match error {
            UpdateError::MalformedAttributeList => (1, Vec::new()),
            UpdateError::UnrecognizedWellKnownAttribute(attribute) => (2, attribute.clone()),
            UpdateError::OptionalAttributeError(attribute) => (9, attribute.clone()),
            UpdateError::InvalidNetworkField => (10, Vec::new()),
        };
        Self::new(ErrorCode::UpdateMessage, subcode, data)
    }
}

impl From<&RefreshError> for Notification {
    fn from(error: &RefreshError) -> Self {
        let RefreshError::InvalidMessageLength(message) = error;
        Self::new(ErrorCode::RouteRefreshMessage, 1, message.clone())
    }
}

impl Notification {
    /// RFC 8538 §3: the same, said in a way that leaves no routes in place.
    pub fn into_hard_reset(self) -> Self {
        let data = [&[self.code, self.subcode], self.data.as_slice()].concat();
        Self::new(ErrorCode::Cease, HARD_RESET, data)
    }

    fn new(code: ErrorCode, subcode: u8, data: Vec<u8>) -> Self {
        let code = match code {
            ErrorCode::MessageHeader => 1,
            ErrorCode::OpenMessage => 2,
            ErrorCode::UpdateMessage => 3,
            ErrorCode::HoldTimerExpired => 4,
            ErrorCode::FiniteStateMachine => 5,
            ErrorCode::Cease => CEASE,
            ErrorCode::RouteRefreshMessage => 7,
        };
        Self {
            code,
            subcode,
            data,
        }
    }
}

const CEASE: u8 = 6;
// Subcodes of Cease.
const CONNECTION_REJECTED: u8 = 5;
const CONNECTION_COLLISION: u8 = 7;
const HARD_RESET: u8 = 9;
