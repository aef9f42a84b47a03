use super::*;
use crate::mutator::mutate;

/// FRR 8.4.4 on the wire, captured: in Init after it was told to go down, and Up with a poll. Then a
/// packet with everything in it.
const INIT: [u8; SIZE] = [
    0x23, 0x80, 0x03, 0x18, 0x67, 0x6e, 0x6b, 0xab, 0xb2, 0x12, 0x1a, 0xf5, 0x00, 0x0f, 0x42, 0x40,
    0x00, 0x0f, 0x42, 0x40, 0x00, 0x00, 0xc3, 0x50,
];
const UP: [u8; SIZE] = [
    0x20, 0xe0, 0x03, 0x18, 0xb2, 0x12, 0x1a, 0xf5, 0x67, 0x6e, 0x6b, 0xab, 0x00, 0x01, 0x86, 0xa0,
    0x00, 0x01, 0x86, 0xa0, 0x00, 0x00, 0xc3, 0x50,
];
const FULL: [u8; SIZE] = [
    0x23, 0xfa, 0x05, 0x18, 0, 0, 0, 7, 0, 0, 0, 9, 0x00, 0x00, 0xc3, 0x50, 0x00, 0x04, 0x93, 0xe0,
    0, 0, 0, 0,
];

fn number(value: u32) -> Discriminator {
    discriminator(value).unwrap()
}

fn init() -> Control {
    Control {
        diagnostic: Diagnostic::NeighborSignaledSessionDown,
        state: State::Init,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: number(0x676e_6bab),
        your_discriminator: Some(number(0xb212_1af5)),
        desired_min_tx: Duration::from_secs(1),
        required_min_rx: Duration::from_secs(1),
        required_min_echo_rx: Duration::from_millis(50),
    }
}

fn up() -> Control {
    Control {
        diagnostic: Diagnostic::Absent,
        state: State::Up,
        poll: true,
        my_discriminator: number(0xb212_1af5),
        your_discriminator: Some(number(0x676e_6bab)),
        desired_min_tx: Duration::from_millis(100),
        required_min_rx: Duration::from_millis(100),
        ..init()
    }
}

fn full() -> Control {
    Control {
        diagnostic: Diagnostic::NeighborSignaledSessionDown,
        state: State::Up,
        poll: true,
        is_final: true,
        control_plane_independent: true,
        demand: true,
        detect_multiplier: NonZeroU8::new(5).unwrap(),
        my_discriminator: number(7),
        your_discriminator: Some(number(9)),
        desired_min_tx: Duration::from_millis(50),
        required_min_rx: Duration::from_millis(300),
        required_min_echo_rx: Duration::ZERO,
    }
}

#[test]
fn octets_and_packet_are_the_same_both_ways() {
    for (octets, packet) in [(INIT, init()), (UP, up()), (FULL, full())] {
        assert_eq!(Control::parse(&octets), Ok(packet));
        assert_eq!(packet.emit(), octets);
    }
}

#[test]
fn every_state_and_diagnostic_survives_the_wire() {
    for state in [State::AdminDown, State::Down, State::Init, State::Up] {
        for code in 0..32 {
            let diagnostic = Diagnostic::of(code);
            let packet = Control {
                diagnostic,
                state,
                ..full()
            };
            assert_eq!(Control::parse(&packet.emit()), Ok(packet));
        }
    }
    assert_eq!(
        Diagnostic::of(8).to_string(),
        "reverse concatenated path down"
    );
    assert_eq!(Diagnostic::of(9).to_string(), "diagnostic 9");
}

fn refused(change: impl FnOnce(&mut [u8; SIZE])) -> Result<Control, Invalid> {
    let mut octets = FULL;
    change(&mut octets);
    Control::parse(&octets)
}

/// RFC 5880 §6.8.6, sentence by sentence, up to where a session is looked for.
#[test]
fn what_is_invalid_by_itself_is_discarded_with_its_reason() {
    assert_eq!(refused(|octets| octets[0] = 0x43), Err(Invalid::Version));
    assert_eq!(refused(|octets| octets[0] = 0x03), Err(Invalid::Version));
    assert_eq!(refused(|octets| octets[3] = 23), Err(Invalid::Length));
    assert_eq!(refused(|octets| octets[3] = 25), Err(Invalid::Truncated));
    assert_eq!(Control::parse(&FULL[..23]), Err(Invalid::Truncated));
    assert_eq!(Control::parse(&[]), Err(Invalid::Truncated));
    let multiplier = refused(|octets| octets[2] = 0);
    assert_eq!(multiplier, Err(Invalid::DetectMultiplier));
    assert_eq!(refused(|octets| octets[1] |= 1), Err(Invalid::Multipoint));
    assert_eq!(
        refused(|octets| octets[7] = 0),
        Err(Invalid::MyDiscriminator)
    );
    assert_eq!(
        refused(|octets| octets[11] = 0),
        Err(Invalid::YourDiscriminator)
    );
    for (state, is_invalid) in [(0, false), (1, false), (2, true), (3, true)] {
        let packet = refused(|octets| {
            octets[1] = state << 6;
            octets[11] = 0;
        });
        assert_eq!(packet.is_err(), is_invalid, "state {state}");
    }
}

#[test]
fn a_packet_with_an_authentication_section_is_refused_and_said_to_be() {
    // RFC 5880 §4.2: simple password, key 1, "abc".
    let mut octets = FULL.to_vec();
    octets.extend([1, 6, 1, b'a', b'b', b'c']);
    octets[1] |= AUTHENTICATION_PRESENT;
    octets[3] = 30;
    assert_eq!(Control::parse(&octets), Err(Invalid::Authentication));
    octets[3] = 25;
    assert_eq!(Control::parse(&octets), Err(Invalid::Length));
    // Without the bit, what follows the packet is nobody's.
    octets[1] &= !AUTHENTICATION_PRESENT;
    octets[3] = 24;
    assert_eq!(Control::parse(&octets), Ok(full()));
}

#[test]
fn an_interval_beyond_what_the_wire_holds_is_the_longest_there_is() {
    let desired_min_tx = Duration::from_secs(5000);
    let packet = Control {
        desired_min_tx,
        ..full()
    };
    let read = Control::parse(&packet.emit()).unwrap();
    assert_eq!(
        read.desired_min_tx,
        Duration::from_micros(u64::from(u32::MAX))
    );
}

#[test]
fn i7_no_octets_panic_and_what_is_read_is_written_the_same() {
    mutate(&[INIT.to_vec(), UP.to_vec(), FULL.to_vec()], |octets| {
        if let Ok(packet) = Control::parse(octets) {
            let mut expected = octets[..SIZE].to_vec();
            expected[3] = 24;
            assert_eq!(packet.emit(), expected);
        }
    });
}
