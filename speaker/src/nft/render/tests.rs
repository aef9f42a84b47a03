use super::*;
use crate::nft::fixture::{frontend, golden, ruleset, target};

#[test]
fn the_whole_table_is_the_golden_text() {
    assert_eq!(replace(&golden()), include_str!("golden.nft"));
}

#[test]
fn an_update_removes_first_and_names_only_what_differs() {
    let web = frontend("192.0.2.10", Protocol::Tcp, 80);
    let dns = frontend("2001:db8:1::10", Protocol::Udp, 53);
    let old = ruleset(vec![(web, target(30080, &["10.0.0.0/8"]))]);
    let new = ruleset(vec![(web, target(30081, &[])), (dns, target(30053, &[]))]);
    assert_eq!(
        update(&old.change_to(&new)),
        "delete element inet ferrolb limited4 { 192.0.2.10 . tcp . 80 }\n\
         delete element inet ferrolb ports4 { 192.0.2.10 . tcp . 80 : 30080 }\n\
         delete element inet ferrolb sources4 { 192.0.2.10 . tcp . 80 . 10.0.0.0/8 }\n\
         add element inet ferrolb addresses6 { 2001:db8:1::10 }\n\
         add element inet ferrolb ports4 { 192.0.2.10 . tcp . 80 : 30081 }\n\
         add element inet ferrolb ports6 { 2001:db8:1::10 . udp . 53 : 30053 }\n"
    );
}

#[test]
fn no_change_is_no_text() {
    assert_eq!(update(&Change::default()), "");
}

#[test]
fn interface_names_are_quoted() {
    let change = ruleset(Vec::new()).change_to(&ruleset(vec![(
        frontend("192.0.2.10", Protocol::Tcp, 80),
        target(30080, &[]),
    )]));
    assert!(update(&change).contains("numbered4 { \"eth0\", \"lo\" }"));
}

#[test]
fn no_command_grows_beyond_its_batch() {
    let many = (0..u16::try_from(BATCH * 2 + 1).unwrap()).map(|port| {
        let frontend = frontend("192.0.2.10", Protocol::Tcp, port + 1);
        (frontend, target(30000, &[]))
    });
    let text = replace(&ruleset(many.collect()));
    let commands: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("add element inet ferrolb ports4"))
        .map(|line| line.matches(" : ").count())
        .collect();
    assert_eq!(commands, [BATCH, BATCH, 1]);
}

#[test]
fn every_rule_of_a_chain_can_be_told_from_the_others() {
    let rules: Vec<_> = CHAINS
        .iter()
        .flat_map(|chain| chain.rules)
        .copied()
        .collect();
    let texts: BTreeSet<_> = rules.iter().collect();
    let comments: BTreeSet<_> = rules.iter().map(|rule| comment(rule)).collect();
    assert_eq!(texts.len(), comments.len());
}
