use serde_json::json;

use super::*;
use crate::nft::fixture::golden;

/// What nft 1.0.6 prints for [`golden`] once the golden text was applied.
const LISTING: &str = include_str!("listing.json");

/// The listing with one change, compared with what it should be.
fn after(change: impl FnOnce(&mut Vec<Value>)) -> Option<(usize, String)> {
    let mut listing: Value = serde_json::from_str(LISTING).unwrap();
    change(listing["nftables"].as_array_mut().unwrap());
    Table::parse(&listing.to_string())
        .unwrap()
        .difference(&Table::expected(&golden()))
}

fn position(entries: &[Value], kind: &str, name: &str) -> usize {
    let is_it = |entry: &Value| entry[kind]["name"] == name;
    entries.iter().position(is_it).unwrap()
}

#[test]
fn what_nft_lists_is_recognised() {
    assert_eq!(after(|_| {}), None);
}

#[test]
fn a_lost_element_is_a_difference() {
    let difference = after(|entries| {
        let map = position(entries, "map", "ports6");
        entries[map]["map"]["elem"] = json!([]);
    });
    let line = "missing: element ports6 2001:db8:1::10 . tcp . 80 : 30080".to_owned();
    assert_eq!(difference, Some((1, line)));
}

#[test]
fn an_element_of_others_is_a_difference() {
    let difference = after(|entries| {
        let set = position(entries, "set", "addresses4");
        let elements = entries[set]["set"]["elem"].as_array_mut().unwrap();
        elements.push(json!("198.51.100.1"));
    });
    let line = "unexpected: element addresses4 198.51.100.1".to_owned();
    assert_eq!(difference, Some((1, line)));
}

#[test]
fn a_rule_of_others_is_a_difference() {
    let difference = after(|entries| {
        let rule = json!({"rule": {"chain": "refuse", "expr": [{"accept": null}]}});
        entries.push(rule);
    });
    let line = "unexpected: rule refuse 4 ".to_owned();
    assert_eq!(difference, Some((1, line)));
}

#[test]
fn rules_in_another_order_are_a_difference() {
    let difference = after(|entries| {
        let in_refuse = |entry: &Value| entry["rule"]["chain"] == "refuse";
        let first = entries.iter().position(in_refuse).unwrap();
        entries.swap(first, first + 1);
    });
    assert_eq!(difference.map(|(count, _)| count), Some(4));
}

#[test]
fn a_chain_hooked_elsewhere_is_a_difference() {
    let difference = after(|entries| {
        let chain = position(entries, "chain", "rest");
        entries[chain]["chain"]["policy"] = json!("drop");
    });
    assert_eq!(difference.map(|(count, _)| count), Some(2));
}

#[test]
fn an_object_of_another_kind_is_a_difference() {
    let difference =
        after(|entries| entries.push(json!({"counter": {"name": "mine", "packets": 0}})));
    assert_eq!(difference, Some((1, "unexpected: counter mine".to_owned())));
}

#[test]
fn addresses_and_protocols_are_compared_by_value() {
    assert_eq!(
        found_element(&json!([{"concat": ["2001:DB8:0::1", 17, 53]}, 30053])),
        "2001:db8::1 . udp . 53 : 30053"
    );
    assert_eq!(
        found_element(
            &json!({"concat": ["::1.2.3.4", 6, 6, {"prefix": {"addr": "fd00::", "len": 8}}]})
        ),
        "::102:304 . tcp . 6 . fd00::/8"
    );
}

#[test]
fn only_the_table_of_the_right_family_is_ours() {
    let tables = |family: &str, name: &str| {
        json!({"nftables": [{"metainfo": {}}, {"table": {"family": family, "name": name}}]})
            .to_string()
    };
    assert_eq!(has_table(&tables("inet", "ferrolb")), Ok(true));
    assert_eq!(has_table(&tables("ip", "ferrolb")), Ok(false));
    assert_eq!(has_table(&tables("inet", "filter")), Ok(false));
}

#[test]
fn kube_proxy_is_seen_by_its_table_and_by_its_chains() {
    let none = json!({"nftables": [{"metainfo": {}}]}).to_string();
    let table = json!({"nftables": [{"table": {"family": "ip6", "name": "kube-proxy"}}]});
    let chain = |name: &str| {
        json!({"nftables": [{"chain": {"family": "ip", "table": "nat", "name": name}}]}).to_string()
    };
    let by_table = rival(&table.to_string(), &none).unwrap().unwrap();
    assert!(by_table.starts_with("the table ip6 kube-proxy exists"));
    let by_chain = rival(&none, &chain("KUBE-SERVICES")).unwrap().unwrap();
    assert!(by_chain.starts_with("the chain KUBE-SERVICES exists in the table ip nat"));
    assert_eq!(rival(&none, &chain("DOCKER")), Ok(None));
    assert_eq!(rival(&none, &none), Ok(None));
}

#[test]
fn anything_else_is_no_listing_and_no_panic() {
    for text in ["", "{}", "[]", "null", "{\"nftables\": 7}", "Error: no"] {
        assert!(Table::parse(text).is_err(), "{text}");
        assert!(has_table(text).is_err(), "{text}");
    }
    let odd = "{\"nftables\": [7, {}, {\"set\": 3}, {\"map\": {\"elem\": [[], [1], {}]}}, {\"rule\": null}]}";
    let difference = Table::parse(odd)
        .unwrap()
        .difference(&Table::expected(&golden()));
    assert!(difference.is_some());
}
