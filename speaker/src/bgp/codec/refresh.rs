//! ROUTE-REFRESH (RFC 2918 §3) with the subtypes of RFC 7313 §3.2 in its reserved octet.

use ferrolb_crds::model::Family;

use super::super::message::{AfiSafi, MessageType, RefreshMarker};
use super::super::notification::{HeaderError, Malformed, RefreshError};
use super::enclose;
use super::reader::Reader;

/// Reads the body of a ROUTE-REFRESH; `None`: nothing that we have an answer to.
pub(super) fn decode(body: &[u8]) -> Result<Option<Family>, Malformed> {
    let mut reader = Reader::new(body);
    let subtype = body.get(2).copied();
    let (afi, _, safi) = (reader.u16(), reader.u8(), reader.u8());
    let whole = afi.zip(safi).filter(|_| reader.is_empty());
    match (subtype, whole) {
        (Some(REQUEST), Some((afi, safi))) => Ok(AfiSafi { afi, safi }.family()),
        (Some(REQUEST) | None, _) => {
            let size = enclose(MessageType::RouteRefresh, body).len();
            let length = u16::try_from(size).unwrap_or(u16::MAX);
            Err(HeaderError::BadMessageLength(length).into())
        }
        // RFC 7313 §5: the data is the whole message.
        (Some(BEGIN | END), None) => {
            let message = enclose(MessageType::RouteRefresh, body);
            Err(RefreshError::InvalidMessageLength(message).into())
        }
        // The peer's own refresh is of routes that we do not keep. RFC 7313 §5: any other subtype
        // is ignored, whatever its length.
        (Some(_), _) => Ok(None),
    }
}

/// Marks where in the stream everything of a family is sent again.
pub fn marker(family: Family, marker: RefreshMarker) -> Vec<u8> {
    let AfiSafi { afi, safi } = AfiSafi::unicast(family);
    let [high, low] = afi.to_be_bytes();
    let subtype = match marker {
        RefreshMarker::Begin => BEGIN,
        RefreshMarker::End => END,
    };
    enclose(MessageType::RouteRefresh, &[high, low, subtype, safi])
}

const REQUEST: u8 = 0;
const BEGIN: u8 = 1;
const END: u8 = 2;
