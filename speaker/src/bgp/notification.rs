//! NOTIFICATION: error codes and subcodes by their RFC names (RFC 4271 §4.5 and §6, RFC 4486,
//! RFC 5492, RFC 6608, RFC 8538, RFC 9003, RFC 9384, RFC 9687).
//!
//! A peer's fault is a value that carries what it will be told; turning it into code, subcode and
//! data happens here and nowhere else.

use std::fmt;

use ferrolb_crds::model::Asn;

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
}

/// Why we end a session that a peer made impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// A message that is wrong in itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message that has no place in the state.
    #[error("the peer sent a message that was not expected in {0}")]
    Unexpected(FsmError),
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
}

/// Message Header Error subcodes (RFC 4271 §6.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The marker is not all ones.
    #[error("the marker is not all ones")]
    ConnectionNotSynchronized,
    /// Not 19 to 4096, or not what the type allows.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cease {
    /// Subcode 2.
    AdministrativeShutdown,
    /// Subcode 10 (RFC 9384).
    BfdDown,
}

impl From<Cease> for Notification {
    fn from(cease: Cease) -> Self {
        let subcode = match cease {
            Cease::AdministrativeShutdown => 2,
            Cease::BfdDown => 10,
        };
        Self::new(ErrorCode::Cease, subcode, Vec::new())
    }
}

impl From<&PeerFault> for Notification {
    fn from(fault: &PeerFault) -> Self {
        match fault {
            PeerFault::Malformed(Malformed::Header(error)) => error.into(),
            PeerFault::Malformed(Malformed::Open(error)) => error.into(),
            PeerFault::Malformed(Malformed::Update(error)) => error.into(),
            PeerFault::Unexpected(state) => {
                let subcode = match state {
                    FsmError::OpenSent => 1,
                    FsmError::OpenConfirm => 2,
                    FsmError::Established => 3,
                };
                Self::new(ErrorCode::FiniteStateMachine, subcode, Vec::new())
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

impl Notification {
    fn new(code: ErrorCode, subcode: u8, data: Vec<u8>) -> Self {
        let code = match code {
            ErrorCode::MessageHeader => 1,
            ErrorCode::OpenMessage => 2,
            ErrorCode::UpdateMessage => 3,
            ErrorCode::HoldTimerExpired => 4,
            ErrorCode::FiniteStateMachine => 5,
            ErrorCode::Cease => 6,
        };
        Self {
            code,
            subcode,
            data,
        }
    }

    /// RFC 9003: the sentence an operator sent along with a shutdown or reset.
    pub fn shutdown_communication(&self) -> Option<String> {
        let is_shutdown = self.code == 6 && matches!(self.subcode, 2 | 4);
        let (length, text) = self.data.split_first().filter(|_| is_shutdown)?;
        let text = text.get(..usize::from(*length))?;
        // A peer's text goes to a terminal: nothing in it may move the cursor.
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        (!text.is_empty()).then_some(text)
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match code_name(self.code) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "code {}", self.code)?,
        }
        match subcode_name(self.code, self.subcode) {
            Some(name) => write!(f, "/{name}")?,
            None if self.subcode == 0 => {}
            None => write!(f, "/subcode {}", self.subcode)?,
        }
        match self.shutdown_communication() {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

/// IANA's "BGP Error (Notification) Codes".
fn code_name(code: u8) -> Option<&'static str> {
    let names = [
        "Message Header Error",
        "OPEN Message Error",
        "UPDATE Message Error",
        "Hold Timer Expired",
        "Finite State Machine Error",
        "Cease",
        "ROUTE-REFRESH Message Error",
        "Send Hold Timer Expired",
    ];
    names.get(usize::from(code).checked_sub(1)?).copied()
}

/// IANA's "BGP Error Subcodes".
fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    let names: &[&str] = match code {
        1 => &[
            "Connection Not Synchronized",
            "Bad Message Length",
            "Bad Message Type",
        ],
        2 => &[
            "Unsupported Version Number",
            "Bad Peer AS",
            "Bad BGP Identifier",
            "Unsupported Optional Parameter",
            "Authentication Failure",
            "Unacceptable Hold Time",
            "Unsupported Capability",
            "Deprecated",
            "Deprecated",
            "Deprecated",
            "Role Mismatch",
        ],
        3 => &[
            "Malformed Attribute List",
            "Unrecognized Well-known Attribute",
            "Missing Well-known Attribute",
            "Attribute Flags Error",
            "Attribute Length Error",
            "Invalid ORIGIN Attribute",
            "AS Routing Loop",
            "Invalid NEXT_HOP Attribute",
            "Optional Attribute Error",
            "Invalid Network Field",
            "Malformed AS_PATH",
        ],
        5 => &[
            "Unexpected Message in OpenSent State",
            "Unexpected Message in OpenConfirm State",
            "Unexpected Message in Established State",
        ],
        6 => &[
            "Maximum Number of Prefixes Reached",
            "Administrative Shutdown",
            "Peer De-configured",
            "Administrative Reset",
            "Connection Rejected",
            "Other Configuration Change",
            "Connection Collision Resolution",
            "Out of Resources",
            "Hard Reset",
            "BFD Down",
        ],
        7 => &["Invalid Message Length"],
        _ => &[],
    };
    names.get(usize::from(subcode).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fault: impl Into<Malformed>) -> (u8, u8, Vec<u8>) {
        told_fault(fault.into().into())
    }

    fn told_fault(fault: PeerFault) -> (u8, u8, Vec<u8>) {
        let notification = Notification::from(&fault);
        (notification.code, notification.subcode, notification.data)
    }

    #[test]
    fn every_fault_is_told_by_its_code() {
        let asn = Asn::new(65001).unwrap();
        let attribute = vec![0x40, 99, 0];
        assert_eq!(told(HeaderError::ConnectionNotSynchronized), (1, 1, vec![]));
        assert_eq!(told(HeaderError::BadMessageLength(18)), (1, 2, vec![0, 18]));
        assert_eq!(told(HeaderError::BadMessageType(9)), (1, 3, vec![9]));
        assert_eq!(told(OpenError::Unspecific), (2, 0, vec![]));
        assert_eq!(
            told(OpenError::UnsupportedVersionNumber(3)),
            (2, 1, vec![0, 4])
        );
        let bad_as = OpenError::BadPeerAs {
            offered: 1,
            expected: ExpectedAs::Exactly(asn),
        };
        assert_eq!(told(bad_as), (2, 2, vec![]));
        assert_eq!(
            told(OpenError::BadBgpIdentifier([0, 0, 0, 0].into())),
            (2, 3, vec![])
        );
        assert_eq!(
            told(OpenError::UnsupportedOptionalParameter(1)),
            (2, 4, vec![])
        );
        assert_eq!(told(OpenError::UnacceptableHoldTime(2)), (2, 6, vec![]));
        assert_eq!(told(UpdateError::MalformedAttributeList), (3, 1, vec![]));
        assert_eq!(
            told(UpdateError::UnrecognizedWellKnownAttribute(
                attribute.clone()
            )),
            (3, 2, attribute.clone())
        );
        assert_eq!(
            told(UpdateError::OptionalAttributeError(attribute.clone())),
            (3, 9, attribute)
        );
        assert_eq!(told(UpdateError::InvalidNetworkField), (3, 10, vec![]));
        assert_eq!(told_fault(PeerFault::HoldTimerExpired), (4, 0, vec![]));
        assert_eq!(
            told_fault(PeerFault::Unexpected(FsmError::OpenSent)),
            (5, 1, vec![])
        );
        assert_eq!(
            told_fault(PeerFault::Unexpected(FsmError::OpenConfirm)),
            (5, 2, vec![])
        );
        assert_eq!(
            told_fault(PeerFault::Unexpected(FsmError::Established)),
            (5, 3, vec![])
        );
    }

    #[test]
    fn the_end_of_a_path_is_told_by_the_subcode_of_rfc_9384() {
        let notification = Notification::from(Cease::BfdDown);
        assert_eq!((notification.code, notification.subcode), (6, 10));
        assert_eq!(notification.to_string(), "Cease/BFD Down");
    }

    fn displayed(code: u8, subcode: u8, data: &[u8]) -> String {
        let data = data.to_vec();
        Notification {
            code,
            subcode,
            data,
        }
        .to_string()
    }

    #[test]
    fn a_notification_reads_as_its_rfc_names() {
        assert_eq!(displayed(6, 2, &[]), "Cease/Administrative Shutdown");
        assert_eq!(displayed(4, 0, &[]), "Hold Timer Expired");
        assert_eq!(displayed(2, 2, &[]), "OPEN Message Error/Bad Peer AS");
        assert_eq!(displayed(200, 7, &[]), "code 200/subcode 7");
        assert_eq!(displayed(0, 0, &[]), "code 0");
    }

    #[test]
    fn a_shutdown_communication_is_shown_without_control_characters() {
        let shown = displayed(6, 2, b"\x0dback\x1b[31mat 6 pm");
        assert_eq!(shown, "Cease/Administrative Shutdown (back [31mat 6)");
        assert_eq!(
            displayed(6, 2, b"\xffshort"),
            "Cease/Administrative Shutdown"
        );
        assert_eq!(displayed(6, 3, b"\x01x"), "Cease/Peer De-configured");
    }
}
