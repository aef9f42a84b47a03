//! Which frames the kernel hands to us, as programs of the classic packet filter.
//!
//! Every program is a conjunction: two instructions a test, then "all of it", then "nothing". What
//! passes is parsed and judged again by the machines; this only keeps the rest of the segment's
//! traffic from costing anything.

use crate::layer2::LinkIndex;
use crate::layer2::heartbeat::{GROUP, PORT};

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many to skip if it holds.
    pub on_true: u8,
    /// How many to skip if not.
    pub on_false: u8,
    /// Its operand.
    pub value: u32,
}

/// ARP requests and replies.
pub fn arp(link: LinkIndex) -> Vec<Instruction> {
    conjunction(&[Test::On(link), Test::ForUs, Test::Clear(20, 0xfffc)])
}

/// Neighbour solicitations that came through no router.
pub fn solicitations(link: LinkIndex) -> Vec<Instruction> {
    conjunction(&[
        Test::On(link),
        Test::ForUs,
        Test::Byte(20, 58),
        Test::Byte(21, 255),
        Test::Byte(54, 135),
    ])
}

/// Neighbour advertisements that came through no router.
pub fn advertisements(link: LinkIndex) -> Vec<Instruction> {
    conjunction(&[
        Test::On(link),
        Test::ForUs,
        Test::Byte(20, 58),
        Test::Byte(21, 255),
        Test::Byte(54, 136),
    ])
}

/// Heartbeats: UDP, no options, no fragment, to our group and port.
pub fn heartbeats(link: LinkIndex) -> Vec<Instruction> {
    conjunction(&[
        Test::On(link),
        Test::ForUs,
        Test::Byte(14, 0x45),
        Test::Clear(20, 0x3fff),
        Test::Byte(23, 17),
        Test::Word(30, GROUP.to_bits()),
        Test::Half(36, PORT),
    ])
}

/// A condition on a frame; offsets are from its first byte.
enum Test {
    /// The byte at an offset is this.
    Byte(u32, u8),
    /// The two bytes at an offset are this.
    Half(u32, u16),
    /// The four bytes at an offset are this.
    Word(u32, u32),
    /// None of these bits is set in the two bytes at an offset.
    Clear(u32, u16),
    /// It came in on this interface: a socket bound to it also gets what is a VLAN's on top of it.
    On(LinkIndex),
    /// To this host, to all or to a group: not to somebody else, not to another VLAN (the kernel
    /// marks both as another host's), and not sent by us.
    ForUs,
}

fn conjunction(tests: &[Test]) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (done, test) in tests.iter().enumerate() {
        let (load, at, jump, value, must_hold) = match *test {
            Test::Byte(at, value) => (LOAD_BYTE, at, EQUAL, value.into(), true),
            Test::Half(at, value) => (LOAD_HALF, at, EQUAL, value.into(), true),
            Test::Word(at, value) => (LOAD_WORD, at, EQUAL, value, true),
            Test::Clear(at, bits) => (LOAD_HALF, at, ANY_BIT, bits.into(), false),
            Test::On(link) => (LOAD_WORD, INTERFACE, EQUAL, link.0, true),
            Test::ForUs => (LOAD_BYTE, PACKET_TYPE, GREATER, HIGHEST_FOR_US, false),
        };
        // Over the tests that are left, and over "all of it".
        let reject = u8::try_from(2 * (tests.len() - done) - 1).unwrap_or(u8::MAX);
        let (on_true, on_false) = if must_hold { (0, reject) } else { (reject, 0) };
        program.push(instruction(load, 0, 0, at));
        program.push(instruction(jump, on_true, on_false, value));
    }
    program.push(instruction(RETURN, 0, 0, u32::MAX));
    program.push(instruction(RETURN, 0, 0, 0));
    program
}

fn instruction(code: u16, on_true: u8, on_false: u8, value: u32) -> Instruction {
    Instruction {
        code,
        on_true,
        on_false,
        value,
    }
}

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where the number of the interface is found (`SKF_AD_OFF + SKF_AD_IFINDEX`).
const INTERFACE: u32 = 0xffff_f008;

/// Where the type of the packet is found (`SKF_AD_OFF + SKF_AD_PKTTYPE`).
const PACKET_TYPE: u32 = 0xffff_f004;

/// `PACKET_MULTICAST`; `PACKET_HOST` and `PACKET_BROADCAST` are below, all others above.
const HIGHEST_FOR_US: u32 = 2;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::layer2::heartbeat;
    use crate::wire::arp;
    use crate::wire::ethernet::Mac;
    use crate::wire::ndisc::{self, Solicitation};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const LINK: LinkIndex = LinkIndex(7);
    const BROADCAST: u8 = 1;
    const OTHER_HOST: u8 = 3;
    const OUTGOING: u8 = 4;

    /// What the kernel does, as far as these programs need it.
    fn passes(program: &[Instruction], frame: &[u8], packet_type: u8) -> bool {
        let load = |at: u32, count: usize| {
            let at = usize::try_from(at).unwrap();
            let bytes = frame.get(at..at + count)?;
            Some(
                bytes
                    .iter()
                    .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let Instruction {
                code,
                on_true,
                on_false,
                value,
            } = program[at];
            at += 1;
            let loaded = match code {
                LOAD_BYTE if value == PACKET_TYPE => Some(packet_type.into()),
                LOAD_BYTE => load(value, 1),
                LOAD_HALF => load(value, 2),
                LOAD_WORD if value == INTERFACE => Some(LINK.0),
                LOAD_WORD => load(value, 4),
                RETURN => return value != 0,
                jump => {
                    let holds = match jump {
                        EQUAL => accumulator == value,
                        GREATER => accumulator > value,
                        ANY_BIT => accumulator & value != 0,
                        other => panic!("code {other:#x}"),
                    };
                    at += usize::from(if holds { on_true } else { on_false });
                    continue;
                }
            };
            // A load beyond the end drops the frame.
            let Some(value) = loaded else {
                return false;
            };
            accumulator = value;
        }
    }

    fn solicitation() -> Vec<u8> {
        let target = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let destination = ndisc::solicited_node(target);
        Solicitation {
            source: target,
            destination,
            target,
            source_link: None,
        }
        .emit(MAC, Mac::of_ipv6_group(destination))
    }

    #[test]
    fn each_program_passes_its_own_kind_and_none_else() {
        let [request, reply] = arp::announcements([10, 0, 0, 1].into(), MAC);
        let beat = heartbeat::frame(b"beat", MAC, None, None);
        let advertisement = ndisc::announcement([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), MAC);
        let arp_of_both = arp(LINK);
        let kinds = [request, solicitation(), advertisement, beat];
        let programs =
            [arp, solicitations, advertisements, heartbeats].map(|program| program(LINK));
        for (kind, frame) in kinds.iter().enumerate() {
            for (number, program) in programs.iter().enumerate() {
                assert_eq!(passes(program, frame, BROADCAST), kind == number);
                assert!(!passes(program, frame, OTHER_HOST));
                assert!(!passes(program, frame, OUTGOING));
            }
        }
        let strange = arp(LinkIndex(8));
        assert!(!passes(&strange, &reply, BROADCAST), "of a VLAN");
        assert!(passes(&arp_of_both, &reply, BROADCAST));
        let mut reverse = reply;
        reverse[21] = 4;
        assert!(!passes(&arp_of_both, &reverse, BROADCAST), "RARP");
    }

    #[test]
    fn fragments_options_and_other_ports_do_not_pass() {
        let frame = heartbeat::frame(b"beat", MAC, None, None);
        for (at, byte) in [(14, 0x46), (20, 0x20), (21, 1), (23, 6), (33, 253), (37, 0)] {
            let mut other = frame.clone();
            other[at] = byte;
            assert!(!passes(&heartbeats(LINK), &other, BROADCAST), "byte {at}");
        }
        assert!(!passes(&heartbeats(LINK), &frame[..30], BROADCAST));
    }
}
