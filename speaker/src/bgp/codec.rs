//! Bytes to messages and back (RFC 4271 §4), and the fence around `zettabgp`.
//!
//! Only `compose` names that crate, and it is given nothing that a peer sent: its UPDATE decoder can
//! loop for ever, its AS_PATH encoder writes AS_SET, and it splits nothing at the message size. What
//! it does for us is to encode the values of single attributes, and prefixes.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod capabilities;
mod compose;
mod open;
mod reader;
mod refresh;
#[cfg(test)]
mod tests;
mod update;

pub use self::capabilities::encode as encode_capabilities;
pub use self::compose::{Packed, announce, end_of_rib, withdraw};
use self::reader::Reader;
pub use self::refresh::marker as refresh_marker;
use super::message::{Message, MessageType, Received};
use super::notification::{HeaderError, Malformed, Notification};

/// The longest message (RFC 4271 §4.1), unless both sides offer longer ones.
pub const MAX_MESSAGE: usize = 4096;
/// The longest message where both do (RFC 8654).
pub const MAX_EXTENDED_MESSAGE: usize = 65535;

/// A message that has been cut out of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    kind: MessageType,
    body: &'a [u8],
}

impl Frame<'_> {
    /// How many octets of the stream it takes.
    pub fn size(&self) -> usize {
        self.body.len().saturating_add(HEADER)
    }
}

/// Cuts the first message out of a stream in which messages have at most so many octets; `None`:
/// more octets are needed.
pub fn frame(stream: &[u8], limit: usize) -> Result<Option<Frame<'_>>, HeaderError> {
    let mut reader = Reader::new(stream);
    let (Some(marker), Some(length), Some(kind)) = (reader.take(16), reader.u16(), reader.u8())
    else {
        return Ok(None);
    };
    // RFC 4271 §6.1, in its order. The body need not have arrived for any of this.
    if marker.iter().any(|octet| *octet != 0xff) {
        return Err(HeaderError::ConnectionNotSynchronized);
    }
    let size = usize::from(length);
    if !(HEADER..=limit).contains(&size) {
        return Err(HeaderError::BadMessageLength(length));
    }
    let kind = MessageType::ALL
        .into_iter()
        .find(|known| known.code() == kind)
        .ok_or(HeaderError::BadMessageType(kind))?;
    if !sizes(kind, limit).contains(&size) {
        return Err(HeaderError::BadMessageLength(length));
    }
    let body = reader.take(size.saturating_sub(HEADER));
    Ok(body.map(|body| Frame { kind, body }))
}

/// Reads a message; of an UPDATE only whether it is well-formed.
pub fn decode(frame: Frame<'_>) -> Result<Received, Malformed> {
    Ok(match frame.kind {
        MessageType::Open => Received::Open(open::decode(frame.body)?),
        MessageType::Update => {
            update::check(frame.body)?;
            Received::Update
        }
        MessageType::Notification => Received::Notification(decode_notification(frame.body)),
        MessageType::Keepalive => Received::Keepalive,
        MessageType::RouteRefresh => Received::RouteRefresh(refresh::decode(frame.body)?),
    })
}

/// Writes a message.
pub fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::Open(open) => enclose(MessageType::Open, &open::encode(open)),
        Message::Notification(notification) => {
            let mut body = vec![notification.code, notification.subcode];
            body.extend(&notification.data);
            // Also where longer ones are agreed on: what is at fault may be just that.
            body.truncate(MAX_MESSAGE.saturating_sub(HEADER));
            enclose(MessageType::Notification, &body)
        }
        Message::Keepalive => enclose(MessageType::Keepalive, &[]),
    }
}

/// RFC 4271 §6.1, RFC 2918 §3, RFC 7313 §5: how long a message of this type may be. OPEN and
/// KEEPALIVE are never extended (RFC 8654 §4).
fn sizes(kind: MessageType, limit: usize) -> std::ops::RangeInclusive<usize> {
    match kind {
        MessageType::Open => 29..=MAX_MESSAGE,
        MessageType::Update => 23..=limit,
        MessageType::Notification => 21..=limit,
        MessageType::Keepalive => 19..=19,
        // What is too short for its subtype has an error of its own.
        MessageType::RouteRefresh => HEADER..=limit,
    }
}

fn decode_notification(body: &[u8]) -> Notification {
    let mut reader = Reader::new(body);
    // The frame has made sure of both.
    let code = reader.u8().unwrap_or(0);
    let subcode = reader.u8().unwrap_or(0);
    let data = reader.rest().to_vec();
    Notification {
        code,
        subcode,
        data,
    }
}

fn enclose(kind: MessageType, body: &[u8]) -> Vec<u8> {
    let length = body.len().saturating_add(HEADER);
    let length = u16::try_from(length).expect("every body was cut to the message size");
    let mut message = vec![0xff; 16];
    message.extend(length.to_be_bytes());
    message.push(kind.code());
    message.extend(body);
    message
}

const HEADER: usize = 19;
