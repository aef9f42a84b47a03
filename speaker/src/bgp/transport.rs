//! What a session asks of TCP beyond the addresses of its two ends.

use ferrolb_crds::model::{Port, Secret, TcpAo, TtlSecurityHops};

/// How the connection of one session is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transport {
    /// TCP port of our end, if it must be a certain one.
    pub source_port: Option<Port>,
    /// The VRF, or any other interface, that the connection does not leave.
    pub device: Option<String>,
    /// GTSM (RFC 5082).
    pub ttl_security_hops: Option<TtlSecurityHops>,
    /// Who the peer has to be.
    pub authentication: Authentication,
}

/// How segments prove that they are the peer's.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Authentication {
    /// They do not.
    #[default]
    None,
    /// TCP MD5 (RFC 2385).
    Md5(Secret),
    /// TCP-AO (RFC 5925).
    Ao(TcpAo, Secret),
}

impl Authentication {
    /// With these keys of a peer: a password is one of TCP MD5 unless it is said to be of TCP-AO.
    pub fn new(password: Option<Secret>, tcp_ao: Option<TcpAo>) -> Self {
        match (password, tcp_ao) {
            (None, _) => Self::None,
            (Some(password), None) => Self::Md5(password),
            (Some(password), Some(tcp_ao)) => Self::Ao(tcp_ao, password),
        }
    }
}
