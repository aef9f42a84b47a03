//! What a session has come to be by, and what it ended by: for whoever tells a third party of it.

use std::net::IpAddr;
use std::time::Instant;

use ferrolb_crds::model::Asn;

use super::codec;
use super::connection::{Negotiated, Reason};
use super::message::Message;

/// A session in Established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// When it came to be, which tells the sessions of one peer apart.
    pub since: Instant,
    /// What was agreed on, with our end as it is.
    pub session: Negotiated,
    /// Our AS.
    pub local_asn: Asn,
    /// Address of the peer.
    pub neighbor: IpAddr,
    /// The VRF, or any other interface, that the connection does not leave.
    pub device: Option<String>,
    /// Both OPENs, whole.
    pub opens: Opens,
}

/// The OPENs of a session, as they were on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opens {
    /// Ours.
    pub sent: Vec<u8>,
    /// The peer's.
    pub received: Vec<u8>,
}

/// What ended a session that was established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// This NOTIFICATION of ours, whole.
    Sent(Vec<u8>),
    /// Something for which there is none: the event by its number in RFC 4271 §8.1; 0: it has none.
    Closed(u16),
    /// This NOTIFICATION of the peer's, whole.
    Received(Vec<u8>),
    /// TCP was lost.
    Lost,
}

impl Ended {
    /// By why the state changed, and by what was sent then.
    pub(super) fn new(reason: &Reason, sent: Option<Vec<u8>>) -> Self {
        if let Some(notification) = sent {
            return Self::Sent(notification);
        }
        match reason {
            Reason::NotificationReceived(notification) => {
                let message = Message::Notification(notification.clone());
                Self::Received(codec::encode(&message))
            }
            Reason::TcpFailed(_) => Self::Lost,
            Reason::Stopped => Self::Closed(MANUAL_STOP),
            Reason::PeerRestarted => Self::Closed(BGP_OPEN),
            Reason::SendHoldTimerExpired => Self::Closed(SEND_HOLD_TIMER_EXPIRES),
            // A NOTIFICATION goes with the last three, and none of the others ends a session.
            Reason::Started
            | Reason::Retry
            | Reason::Connected
            | Reason::OpenAccepted
            | Reason::Confirmed
            | Reason::NoAnswer
            | Reason::PeerFault(_)
            | Reason::BfdDown
            | Reason::Collision => Self::Closed(0),
        }
    }
}

// Events of RFC 4271 §8.1 and RFC 9687 §3.
const MANUAL_STOP: u16 = 2;
const BGP_OPEN: u16 = 19;
const SEND_HOLD_TIMER_EXPIRES: u16 = 29;
