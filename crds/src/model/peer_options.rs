//! What is said of a BGP neighbour beyond the fields of a BGPPeer, in annotations.

use std::num::NonZeroU8;
use std::time::Duration;

use super::Port;

/// What the `ferrolb.io/bgp-…` annotations of a BGPPeer say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerOptions {
    /// `bgp-long-lived-stale-time`: Long-Lived Stale Time (RFC 9494 §3.1), whole seconds that fit in 24
    /// bits.
    pub long_lived_stale_time: Option<Duration>,
    /// `bgp-passive`: the peer connects.
    pub passive: bool,
    /// `bgp-source-port`: TCP port of this end.
    pub source_port: Option<Port>,
    /// `bgp-tcp-ao`: what the password is the key of, if it is not TCP MD5.
    pub tcp_ao: Option<TcpAo>,
    /// `bgp-ttl-security-hops`: GTSM.
    pub ttl_security_hops: Option<TtlSecurityHops>,
}

/// How far away a peer may be under the Generalized TTL Security Mechanism (RFC 5082): 1 to 254 hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlSecurityHops(NonZeroU8);

impl TtlSecurityHops {
    /// The TTL of everything that is sent.
    pub const SENT_TTL: u8 = 255;

    /// `None` for 0 and 255: the least TTL is then one that nothing has, or none.
    pub fn new(hops: u8) -> Option<Self> {
        NonZeroU8::new(hops)
            .filter(|hops| hops.get() < Self::SENT_TTL)
            .map(Self)
    }

    /// What is received with a lower TTL is from farther away: 255 from a neighbour on the link.
    pub fn least_ttl(self) -> u8 {
        Self::SENT_TTL - (self.0.get() - 1)
    }

    /// Whether the peer may be beyond a router.
    pub fn is_multihop(self) -> bool {
        self.0.get() > 1
    }
}

/// A Master Key Tuple of TCP-AO (RFC 5925 §3.1), the key itself aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpAo {
    /// SendID: KeyID of what is sent.
    pub send_id: u8,
    /// RecvID: KeyID of what is received.
    pub receive_id: u8,
    /// How segments are authenticated.
    pub algorithm: AoAlgorithm,
}

/// The algorithms of RFC 5926 §3: MAC and key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96 with KDF_HMAC_SHA1.
    HmacSha1,
    /// AES-128-CMAC-96 with KDF_AES_128_CMAC.
    AesCmac,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5082 §3: TrustRadius; a neighbour's packets have 255.
    #[test]
    fn the_least_ttl_falls_with_the_hops() {
        let least = |hops| TtlSecurityHops::new(hops).map(TtlSecurityHops::least_ttl);
        assert_eq!(
            [0, 1, 2, 254, 255].map(least),
            [None, Some(255), Some(254), Some(2), None]
        );
    }
}
