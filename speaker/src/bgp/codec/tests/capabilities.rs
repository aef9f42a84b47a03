//! Capabilities that others send, and those that we do.

use super::*;

/// An OPEN with these capabilities, each parameter as given.
fn with_parameters(parameters: &str) -> Result<Vec<Capability>, Malformed> {
    let parameters = hex(parameters);
    let mut body = hex("04 fc59 0009 0a00000b");
    body.push(u8::try_from(parameters.len()).unwrap());
    body.extend(parameters);
    let Received::Open(open) = decoded(&message(1, &body))? else {
        panic!("an OPEN");
    };
    Ok(open.capabilities)
}

#[test]
fn what_we_have_no_use_for_is_tolerated() {
    let parameters = [
        ("role (RFC 9234)", "02 03 09 01 03", 9),
        ("add-path (RFC 7911)", "02 06 45 04 00010103", 69),
        ("FQDN", "02 06 49 04 02723100", 73),
        ("software version", "02 06 4b 04 03464f4f", 75),
        ("dynamic capability", "02 02 43 00", 67),
        ("BGPsec", "02 05 07 03 100001", 7),
        ("one that nobody has assigned", "02 02 f0 00", 240),
    ];
    for (what, digits, code) in parameters {
        let capabilities = with_parameters(digits).unwrap();
        let [Capability::Other { code: read, .. }] = capabilities.as_slice() else {
            panic!("{what}: {capabilities:?}");
        };
        assert_eq!(*read, code, "{what}");
    }
}

#[test]
fn a_length_that_overruns_its_parameter_is_refused() {
    for malformed in [
        "02 01 40",
        "02 03 40 02 00",
        "02 03 01 04 00",
        "02 02 02 01",
    ] {
        let error = with_parameters(malformed).unwrap_err();
        assert_eq!(error, OpenError::Unspecific.into(), "{malformed}");
    }
}

#[test]
fn a_known_code_with_a_value_of_the_wrong_length_counts_as_not_offered() {
    let odd = [
        ("02 03 02 01 00", capability(2, &[0])),
        ("02 03 06 01 00", capability(6, &[0])),
        ("02 03 46 01 00", capability(70, &[0])),
        ("02 03 40 01 c0", capability(64, &[0xc0])),
        (
            "02 07 40 05 0078 000101",
            capability(64, &[0, 0x78, 0, 1, 1]),
        ),
        (
            "02 08 47 06 000101 80 0000",
            capability(71, &[0, 1, 1, 0x80, 0, 0]),
        ),
    ];
    for (digits, expected) in odd {
        assert_eq!(with_parameters(digits), Ok(vec![expected]), "{digits}");
    }
}

#[test]
fn graceful_restart_is_read_and_written_to_the_bit() {
    let read = |digits: &str| match with_parameters(digits).unwrap().as_slice() {
        [Capability::GracefulRestart(read)] => read.clone(),
        other => panic!("{other:?}"),
    };
    // BIRD that waits for others and does not restart itself.
    let helper = read("02 04 40 02 0078");
    let expected = GracefulRestart {
        is_restarting: false,
        has_notification: false,
        restart_time: 120,
        families: vec![],
    };
    assert_eq!(helper, expected);
    let restarting = read("02 0c 40 0a cfff 0001 01 80 0002 01 00");
    assert!(restarting.is_restarting && restarting.has_notification);
    assert_eq!(restarting.restart_time, 4095);
    let preserved: Vec<bool> = restarting
        .families
        .iter()
        .map(|f| f.is_forwarding)
        .collect();
    assert_eq!(preserved, [true, false]);
    let written = encode_capabilities(&[Capability::GracefulRestart(restarting)]);
    assert_eq!(written, hex("40 0a cfff 0001 01 80 0002 01 00"));
    // What does not fit into 12 bits must not be taken for a flag.
    let written = encode_capabilities(&[Capability::GracefulRestart(GracefulRestart {
        restart_time: 0xffff,
        ..helper
    })]);
    assert_eq!(written, hex("40 02 0fff"));
}

#[test]
fn long_lived_graceful_restart_has_24_bits_of_seconds() {
    let family = LongLived {
        afi_safi: AfiSafi::unicast(Family::V6),
        is_forwarding: true,
        stale_time: 0x0001_5180,
    };
    let capability = Capability::LongLivedGracefulRestart(vec![family]);
    let written = encode_capabilities(std::slice::from_ref(&capability));
    assert_eq!(written, hex("47 07 0002 01 80 015180"));
    let read = with_parameters("02 09 47 07 0002 01 80 015180");
    assert_eq!(read, Ok(vec![capability]));
}

#[test]
fn one_that_comes_twice_is_there_twice() {
    let twice = with_parameters("02 02 02 00 02 04 02 00 06 00").unwrap();
    let expected = [
        Capability::RouteRefresh,
        Capability::RouteRefresh,
        Capability::ExtendedMessage,
    ];
    assert_eq!(twice, expected);
}
