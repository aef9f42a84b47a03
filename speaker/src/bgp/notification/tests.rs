use super::*;

fn told(fault: impl Into<Malformed>) -> (u8, u8, Vec<u8>) {
    told_fault(fault.into().into())
}

fn told_fault(fault: PeerFault) -> (u8, u8, Vec<u8>) {
    let notification = Notification::from(&fault);
    (notification.code, notification.subcode, notification.data)
}

#[test]
fn every_fault_is_told_by_its_code() {
    let asn = Asn::new(65001).unwrap();
    let attribute = vec![0x40, 99, 0];
    assert_eq!(told(HeaderError::ConnectionNotSynchronized), (1, 1, vec![]));
    assert_eq!(told(HeaderError::BadMessageLength(18)), (1, 2, vec![0, 18]));
    assert_eq!(told(HeaderError::BadMessageType(9)), (1, 3, vec![9]));
    assert_eq!(told(OpenError::Unspecific), (2, 0, vec![]));
    assert_eq!(
        told(OpenError::UnsupportedVersionNumber(3)),
        (2, 1, vec![0, 4])
    );
    let bad_as = OpenError::BadPeerAs {
        offered: 1,
        expected: ExpectedAs::Exactly(asn),
    };
    assert_eq!(told(bad_as), (2, 2, vec![]));
    assert_eq!(
        told(OpenError::BadBgpIdentifier([0, 0, 0, 0].into())),
        (2, 3, vec![])
    );
    assert_eq!(
        told(OpenError::UnsupportedOptionalParameter(1)),
        (2, 4, vec![])
    );
    assert_eq!(told(OpenError::UnacceptableHoldTime(2)), (2, 6, vec![]));
    let families = vec![1, 4, 0, 1, 0, 1];
    assert_eq!(
        told(OpenError::UnsupportedCapability(families.clone())),
        (2, 7, families)
    );
    assert_eq!(told(UpdateError::MalformedAttributeList), (3, 1, vec![]));
    assert_eq!(
        told(UpdateError::UnrecognizedWellKnownAttribute(
            attribute.clone()
        )),
        (3, 2, attribute.clone())
    );
    assert_eq!(
        told(UpdateError::OptionalAttributeError(attribute.clone())),
        (3, 9, attribute)
    );
    assert_eq!(told(UpdateError::InvalidNetworkField), (3, 10, vec![]));
    assert_eq!(told_fault(PeerFault::HoldTimerExpired), (4, 0, vec![]));
    let refresh = vec![0xff; 24];
    assert_eq!(
        told(RefreshError::InvalidMessageLength(refresh.clone())),
        (7, 1, refresh)
    );
}

#[test]
fn a_message_out_of_place_is_named_by_its_type() {
    let states = [
        (FsmError::OpenSent, 1),
        (FsmError::OpenConfirm, 2),
        (FsmError::Established, 3),
    ];
    for (state, subcode) in states {
        for message in MessageType::ALL {
            let told = told_fault(PeerFault::Unexpected(state, message));
            assert_eq!(told, (5, subcode, vec![message.code()]));
        }
    }
    let fault = PeerFault::Unexpected(FsmError::OpenSent, MessageType::Update);
    let expected = "the peer sent UPDATE, which was not expected in OpenSent";
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn every_cease_has_its_subcode() {
    let told = |cease: Cease| {
        let notification = Notification::from(cease);
        assert_eq!(notification.code, 6);
        (notification.subcode, notification.data)
    };
    let quiet = Cease::AdministrativeShutdown(String::new());
    assert_eq!(told(quiet), (2, vec![]));
    let said = Cease::AdministrativeShutdown("bye".to_owned());
    assert_eq!(told(said), (2, b"\x03bye".to_vec()));
    assert_eq!(told(Cease::PeerDeconfigured), (3, vec![]));
    assert_eq!(told(Cease::ConnectionRejected), (5, vec![]));
    assert_eq!(told(Cease::OtherConfigurationChange), (6, vec![]));
    assert_eq!(told(Cease::ConnectionCollisionResolution), (7, vec![]));
}

#[test]
fn a_sentence_of_ours_is_cut_between_letters() {
    let long = "ä".repeat(200);
    let data = Notification::from(Cease::AdministrativeShutdown(long)).data;
    assert_eq!((data[0], data.len()), (254, 255));
    assert!(std::str::from_utf8(&data[1..]).is_ok());
}

#[test]
fn a_hard_reset_carries_what_it_is_about() {
    let cease = Notification::from(Cease::AdministrativeShutdown("bye".to_owned()));
    let reset = cease.into_hard_reset();
    assert_eq!((reset.code, reset.subcode), (6, 9));
    assert_eq!(reset.data, b"\x06\x02\x03bye");
    let shown = reset.to_string();
    assert_eq!(
        shown,
        "Cease/Hard Reset: Cease/Administrative Shutdown (bye)"
    );
    // No matter how deep a peer nests them.
    let nested = reset.into_hard_reset().to_string();
    assert_eq!(nested, "Cease/Hard Reset: Cease/Hard Reset");
    assert_eq!(displayed(6, 9, &[6]), "Cease/Hard Reset");
}

fn displayed(code: u8, subcode: u8, data: &[u8]) -> String {
    let data = data.to_vec();
    Notification {
        code,
        subcode,
        data,
    }
    .to_string()
}

#[test]
fn a_notification_reads_as_its_rfc_names() {
    assert_eq!(displayed(6, 2, &[]), "Cease/Administrative Shutdown");
    assert_eq!(displayed(4, 0, &[]), "Hold Timer Expired");
    assert_eq!(displayed(6, 10, &[]), "Cease/BFD Down");
    assert_eq!(displayed(8, 0, &[]), "Send Hold Timer Expired");
    assert_eq!(
        displayed(7, 1, &[]),
        "ROUTE-REFRESH Message Error/Invalid Message Length"
    );
    assert_eq!(displayed(2, 2, &[]), "OPEN Message Error/Bad Peer AS");
    assert_eq!(displayed(200, 7, &[]), "code 200/subcode 7");
    assert_eq!(displayed(0, 0, &[]), "code 0");
}

#[test]
fn a_shutdown_communication_is_shown_without_control_characters() {
    let shown = displayed(6, 2, b"\x0dback\x1b[31mat 6 pm");
    assert_eq!(shown, "Cease/Administrative Shutdown (back [31mat 6)");
    let turned = "\u{202e}pu kcab\u{2066}";
    let data = [&[u8::try_from(turned.len()).unwrap()], turned.as_bytes()].concat();
    assert_eq!(
        displayed(6, 4, &data),
        "Cease/Administrative Reset ( pu kcab )"
    );
    assert_eq!(
        displayed(6, 2, b"\x02\xff!"),
        "Cease/Administrative Shutdown (\u{fffd}!)"
    );
    assert_eq!(
        displayed(6, 2, b"\xffshort"),
        "Cease/Administrative Shutdown"
    );
    assert_eq!(displayed(6, 3, b"\x01x"), "Cease/Peer De-configured");
}

#[test]
fn the_end_of_a_path_is_told_by_the_subcode_of_rfc_9384() {
    let notification = Notification::from(Cease::BfdDown);
    assert_eq!((notification.code, notification.subcode), (6, 10));
    assert_eq!(notification.to_string(), "Cease/BFD Down");
}
