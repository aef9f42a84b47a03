//! What the kernel keeps from us while packets come in a flood, as a program of the classic packet
//! filter: whatever is from nobody we have a session with, and what came through a router where
//! nothing may.
//!
//! It is in force only then, because what the kernel drops cannot be counted by its reason.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Hops;

/// One instruction (`struct sock_filter`): code, how many to skip if it holds and if not, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Lets datagrams of these senders through, all of one family; `None`: they are too many for the
/// kernel.
pub fn senders(hops: Hops, peers: &BTreeSet<IpAddr>) -> Option<Vec<Instruction>> {
    let mut program = Vec::new();
    if hops == Hops::Single {
        let at = match peers.first()? {
            IpAddr::V4(_) => TTL,
            IpAddr::V6(_) => HOP_LIMIT,
        };
        // RFC 5881 §5.
        program.extend([(LOAD_BYTE, 0, 0, at), (IS, 1, 0, 255), NOTHING]);
    }
    for peer in peers {
        let (at, words) = words(*peer);
        let count = words.len();
        for (index, (at, word)) in (at..).step_by(4).zip(words).enumerate() {
            // What is left of this sender, and the verdict after it.
            let rest = u8::try_from(2 * (count - index - 1) + 1).ok()?;
            program.extend([(LOAD_WORD, 0, 0, at), (IS, 0, rest, word)]);
        }
        program.push(ALL_OF_IT);
    }
    program.push(NOTHING);
    (program.len() <= LONGEST).then_some(program)
}

/// Where the source address begins, and what it is, in words.
fn words(address: IpAddr) -> (u32, Vec<u32>) {
    match address {
        IpAddr::V4(address) => (SOURCE_V4, vec![address.to_bits()]),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let words = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
            (SOURCE_V6, words.to_vec())
        }
    }
}

/// `BPF_LD | BPF_B | BPF_ABS`
const LOAD_BYTE: u16 = 0x30;
/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD_WORD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const IS: u16 = 0x15;
/// `BPF_RET | BPF_K`
const ALL_OF_IT: Instruction = (0x06, 0, 0, 0xffff);
const NOTHING: Instruction = (0x06, 0, 0, 0);

/// SKF_NET_OFF: from here on, offsets are from the IP header.
const HEADER: u32 = (-0x0010_0000_i32) as u32;
const TTL: u32 = HEADER + 8;
const SOURCE_V4: u32 = HEADER + 12;
const HOP_LIMIT: u32 = HEADER + 7;
const SOURCE_V6: u32 = HEADER + 8;
/// BPF_MAXINSNS
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// Runs a program over an IP header, as the kernel would.
    fn takes(program: &[Instruction], header: &[u8]) -> bool {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let (code, on_true, on_false, value) = program[at];
            at += 1;
            let place = value.wrapping_sub(HEADER) as usize;
            match code {
                LOAD_BYTE => accumulator = u32::from(header[place]),
                LOAD_WORD => {
                    let word = header[place..place + 4].try_into().unwrap();
                    accumulator = u32::from_be_bytes(word);
                }
                IS if accumulator == value => at += usize::from(on_true),
                IS => at += usize::from(on_false),
                _ => return value != 0,
            }
        }
    }

    fn v4(source: [u8; 4], ttl: u8) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[8] = ttl;
        header[12..16].copy_from_slice(&source);
        header
    }

    fn v6(source: Ipv6Addr, limit: u8) -> Vec<u8> {
        let mut header = vec![0; 40];
        header[7] = limit;
        header[8..24].copy_from_slice(&source.octets());
        header
    }

    #[test]
    fn only_packets_of_the_peers_pass_and_over_one_hop_only_from_the_link() {
        let peers = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 7)];
        let peers = peers.map(IpAddr::from).into();
        let near = senders(Hops::Single, &peers).unwrap();
        let far = senders(Hops::Multiple, &peers).unwrap();
        for last in 0..10 {
            let is_peer = last == 1 || last == 7;
            assert_eq!(takes(&near, &v4([192, 0, 2, last], 255)), is_peer, "{last}");
            assert!(!takes(&near, &v4([192, 0, 2, last], 254)), "{last}");
            assert_eq!(takes(&far, &v4([192, 0, 2, last], 9)), is_peer, "{last}");
        }
    }

    #[test]
    fn an_ipv6_address_counts_whole() {
        let peers: [Ipv6Addr; 2] =
            ["2001:db8::1", "2001:db8:1::1"].map(|peer| peer.parse().unwrap());
        let near = senders(Hops::Single, &peers.map(IpAddr::from).into()).unwrap();
        for peer in peers {
            assert!(takes(&near, &v6(peer, 255)));
            assert!(!takes(&near, &v6(peer, 64)));
            for bit in 0..128 {
                let other = Ipv6Addr::from_bits(peer.to_bits() ^ (1 << bit));
                assert!(
                    !takes(&near, &v6(other, 255)) || peers.contains(&other),
                    "{other}"
                );
            }
        }
    }

    #[test]
    fn more_senders_than_the_kernel_takes_are_not_filtered() {
        let peers = |count: u32| {
            (1..=count)
                .map(|n| IpAddr::from(Ipv4Addr::from_bits(n)))
                .collect()
        };
        assert!(senders(Hops::Single, &peers(1300)).is_some());
        assert_eq!(senders(Hops::Single, &peers(1400)), None);
    }
}
