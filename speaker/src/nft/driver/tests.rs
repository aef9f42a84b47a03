use super::*;

#[test]
fn pauses_between_attempts_double_up_to_a_bound() {
    let pauses: Vec<_> = [1, 2, 3, 4, 5, 6, 7, u32::MAX]
        .map(|failures| retry_pause(failures).as_secs())
        .into();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn of_what_nft_says_the_first_line_is_enough() {
    let stderr = b"\n/dev/stdin:1:1-5: Error: no such table\nadd element\n^^^^^\n";
    assert_eq!(first_line(stderr), "/dev/stdin:1:1-5: Error: no such table");
    assert_eq!(first_line(b""), "no message");
    assert_eq!(first_line(&[b'x'; 5000]).len(), 300);
}

#[test]
fn an_error_is_told_with_its_causes() {
    let error = HandOffError::Run(io::Error::other("no memory"));
    assert_eq!(chain(&error), "failed to run nft: no memory");
}

#[test]
fn without_anything_to_hand_off_no_table_is_made() {
    assert!(matches!(
        step(&Known::Absent, &Ruleset::default()),
        Step::Nothing
    ));
    assert!(matches!(
        step(&Known::Differs, &Ruleset::default()),
        Step::Remove
    ));
}
