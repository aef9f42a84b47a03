//! Address arithmetic: families and inclusive ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which families, in order, each once. Takes no room of its own: every Service has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Families {
    first: Option<Family>,
    second: Option<Family>,
}

impl Families {
    /// Both, in the order they are written into a status.
    pub const ALL: Self = Self {
        first: Some(Family::V4),
        second: Some(Family::V6),
    };

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        [self.first, self.second].into_iter().flatten()
    }

    /// How many: none, one or two.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.first.is_none()
    }

    /// Whether it is one of them.
    pub fn contains(self, family: Family) -> bool {
        self.iter().any(|one| one == family)
    }

    /// Those for which this is true.
    #[must_use]
    pub fn filter(self, is_kept: impl Fn(Family) -> bool) -> Self {
        self.iter().filter(|family| is_kept(*family)).collect()
    }
}

impl FromIterator<Family> for Families {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        let mut all = Self::default();
        for family in families {
            if all.first.is_none() {
                all.first = Some(family);
            } else if all.first != Some(family) {
                all.second = Some(family);
            }
        }
        all
    }
}

impl From<Family> for Families {
    fn from(family: Family) -> Self {
        [family].into_iter().collect()
    }
}

impl Family {
    /// Both, in the order they are written into a status.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Length of a host route: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address of this family with the given numeric value; for IPv4 the low 32 bits count.
    pub fn address(self, value: u128) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(value as u32)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(value)),
        }
    }

    /// The numeric value of an address.
    pub fn value(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An inclusive range of addresses of one family, `first <= last` by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// `None` when the families differ or the range runs backwards.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let same_family = Family::of(first) == Family::of(last);
        (same_family && first <= last).then_some(Self { first, last })
    }

    /// First address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Last address, inclusive.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// The family of both ends.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Whether the address lies within.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.first <= address && address <= self.last
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }

    /// The least prefixes that make up the range, in ascending order.
    pub fn prefixes(&self) -> Vec<IpNet> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => ipnet::Ipv4Subnets::new(first, last, 0)
                .map(IpNet::V4)
                .collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => ipnet::Ipv6Subnets::new(first, last, 0)
                .map(IpNet::V6)
                .collect(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
        }
    }

    /// The length of the shortest (widest) prefix within the range: what an aggregate must not be
    /// shorter than.
    pub fn widest_prefix_len(&self) -> u8 {
        self.prefixes()
            .iter()
            .map(IpNet::prefix_len)
            .min()
            .unwrap_or_else(|| self.family().bits())
    }
}

impl From<IpNet> for AddressRange {
    /// Host bits are masked off.
    fn from(net: IpNet) -> Self {
        let (first, last) = match net {
            IpNet::V4(net) => v4_bounds(net),
            IpNet::V6(net) => v6_bounds(net),
        };
        Self { first, last }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn v4_bounds(net: Ipv4Net) -> (IpAddr, IpAddr) {
    (IpAddr::V4(net.network()), IpAddr::V4(net.broadcast()))
}

fn v6_bounds(net: Ipv6Net) -> (IpAddr, IpAddr) {
    (IpAddr::V6(net.network()), IpAddr::V6(net.broadcast()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_prefix_with_host_bits_is_masked() {
        let net: IpNet = "10.0.0.77/24".parse().unwrap();
        assert_eq!(AddressRange::from(net), range("10.0.0.0", "10.0.0.255"));
    }

    #[test]
    fn backwards_and_mixed_ranges_do_not_exist() {
        let v4 = "10.0.0.1".parse().unwrap();
        let v6 = "fc00::1".parse().unwrap();
        assert_eq!(AddressRange::new("10.0.0.2".parse().unwrap(), v4), None);
        assert_eq!(AddressRange::new(v4, v6), None);
    }

    #[test]
    fn the_widest_prefix_of_a_range() {
        assert_eq!(
            range("192.168.1.240", "192.168.1.250").widest_prefix_len(),
            29
        );
        assert_eq!(range("10.0.0.1", "10.0.0.1").widest_prefix_len(), 32);
        assert_eq!(
            range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").widest_prefix_len(),
            0
        );
    }
}
