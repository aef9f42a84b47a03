//! Router Discovery (RFC 4861 §4.1, §4.2): solicitations and advertisements as a raw ICMPv6 socket has
//! them, without an IPv6 header, and with a checksum that the kernel makes and checks (RFC 3542 §3.1).

use std::net::Ipv6Addr;
use std::time::Duration;

use super::Reader;
use super::ndisc::{NdiscError, SOURCE_LINK, link_layer_option};

/// The all-routers group.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// A message that passed the checks of RFC 4861 §6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Somebody wants to hear of routers.
    Solicitation,
    /// Somebody is a router.
    Advertisement {
        /// For how long as a default router; nothing: not as one.
        lifetime: Duration,
    },
}

/// Type of a solicitation.
pub const SOLICITED: u8 = 133;
/// Type of an advertisement.
pub const ADVERTISED: u8 = 134;

/// Who are the routers here?
pub const SOLICITATION: [u8; 8] = [SOLICITED, 0, 0, 0, 0, 0, 0, 0];

/// A router is here, and no default router: hop limit, times and flags leave everything as it is.
pub const ADVERTISEMENT: [u8; 16] = [ADVERTISED, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Reads a message: §6.1.1, §6.1.2.
pub fn parse(source: Ipv6Addr, hop_limit: u8, octets: &[u8]) -> Result<Received, NdiscError> {
    if hop_limit != 255 {
        return Err(NdiscError::HopLimit(hop_limit));
    }
    let mut reader = Reader::new(octets);
    let (kind, code, _checksum) = (reader.u8()?, reader.u8()?, reader.u16()?);
    if code != 0 {
        return Err(NdiscError::Code(code));
    }
    // Of a solicitation it is reserved.
    let parameters = reader.u32()?;
    let is_solicitation = kind == SOLICITED;
    if !is_solicitation {
        // What is reachable for how long, and asked for how often.
        reader.u64()?;
    }
    let source_link = link_layer_option(reader.rest(), SOURCE_LINK)?;
    match kind {
        SOLICITED if source.is_unspecified() && source_link.is_some() => Err(NdiscError::Option),
        SOLICITED => Ok(Received::Solicitation),
        ADVERTISED if !source.is_unicast_link_local() => Err(NdiscError::Source),
        ADVERTISED => Ok(Received::Advertisement {
            lifetime: Duration::from_secs((parameters & 0xffff).into()),
        }),
        other => Err(NdiscError::Type(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    /// Of FRR: lifetime 1800 s, its hardware address.
    const OF_FRR: [u8; 24] = [
        134, 0, 0x12, 0x34, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 1,
    ];

    fn edited(octets: &[u8], at: usize, value: u8) -> Vec<u8> {
        let octets = octets.iter().enumerate();
        octets
            .map(|(n, octet)| if n == at { value } else { *octet })
            .collect()
    }

    #[test]
    fn what_is_sent_is_read_as_what_it_is() {
        let of = |octets: &[u8]| parse(LINK_LOCAL, 255, octets);
        let seconds = |seconds| {
            let lifetime = Duration::from_secs(seconds);
            Ok(Received::Advertisement { lifetime })
        };
        assert_eq!(of(&SOLICITATION), Ok(Received::Solicitation));
        assert_eq!(of(&ADVERTISEMENT), seconds(0));
        assert_eq!(of(&OF_FRR), seconds(1800));
    }

    #[test]
    fn what_rfc_4861_wants_dropped_is_refused() {
        let unspecified = Ipv6Addr::UNSPECIFIED;
        let global = "2001:db8::1".parse().unwrap();
        let with_link = [&SOLICITATION[..], &OF_FRR[16..]].concat();
        let cases = [
            (LINK_LOCAL, 254, OF_FRR.to_vec(), NdiscError::HopLimit(254)),
            (
                LINK_LOCAL,
                254,
                SOLICITATION.to_vec(),
                NdiscError::HopLimit(254),
            ),
            (global, 255, OF_FRR.to_vec(), NdiscError::Source),
            (unspecified, 255, OF_FRR.to_vec(), NdiscError::Source),
            (LINK_LOCAL, 255, edited(&OF_FRR, 1, 7), NdiscError::Code(7)),
            (
                LINK_LOCAL,
                255,
                edited(&OF_FRR, 0, 136),
                NdiscError::Type(136),
            ),
            (
                LINK_LOCAL,
                255,
                OF_FRR[..15].to_vec(),
                NdiscError::Truncated,
            ),
            (
                LINK_LOCAL,
                255,
                OF_FRR[..23].to_vec(),
                NdiscError::Truncated,
            ),
            (
                LINK_LOCAL,
                255,
                SOLICITATION[..7].to_vec(),
                NdiscError::Truncated,
            ),
            (LINK_LOCAL, 255, edited(&OF_FRR, 17, 0), NdiscError::Option),
            (unspecified, 255, with_link.clone(), NdiscError::Option),
            (LINK_LOCAL, 255, Vec::new(), NdiscError::Truncated),
        ];
        for (source, hop_limit, octets, error) in cases {
            let parsed = parse(source, hop_limit, &octets);
            assert_eq!(parsed, Err(error), "{source} {hop_limit} {octets:?}");
        }
        assert_eq!(
            parse(LINK_LOCAL, 255, &with_link),
            Ok(Received::Solicitation)
        );
        let asked = parse(unspecified, 255, &SOLICITATION);
        assert_eq!(asked, Ok(Received::Solicitation));
    }

    proptest::proptest! {
        #[test]
        fn no_octets_panic(hop_limit in 250u8.., octets: Vec<u8>, kind in 133u8..135) {
            let _ = parse(LINK_LOCAL, hop_limit, &octets);
            let _ = parse(LINK_LOCAL, 255, &[&[kind, 0][..], &octets].concat());
        }
    }
}
