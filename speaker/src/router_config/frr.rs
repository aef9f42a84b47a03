//! In the words of FRR, as `vtysh` reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::model::{BfdProfile, Family, Neighbor, Port};

use super::filter::Filter;
use super::names::Names;
use super::{HIDDEN, PATHS, Password, RouterAsn, Session, families, router_id, word};

/// A session under its name.
struct Group<'s, 'a> {
    session: &'s Session<'a>,
    name: String,
    /// The addresses in it, and the nodes they are of.
    neighbours: BTreeMap<IpAddr, &'s BTreeSet<&'a str>>,
}

/// The whole configuration.
pub(super) fn render(sessions: &[Session<'_>], problems: &mut Vec<String>) -> String {
    let mut names = Names::default();
    let nothing = names.take(&["nothing"]);
    let groups = groups(sessions, &mut names, problems);
    let profiles = profiles(&groups, &mut names);
    let mut text = HEADER.to_owned();
    let carried = families(sessions);
    for family in &carried {
        let ip = ip(*family);
        put(
            &mut text,
            &format!("{ip} prefix-list {nothing} seq 5 deny any"),
        );
    }
    for group in &groups {
        for (family, filter) in &group.session.filters {
            put_filter(&mut text, &group.list(*family), *family, filter);
        }
    }
    put_profiles(&mut text, &profiles);
    // There is one, since there is a session.
    if let Some(first) = groups.first() {
        put_asn(&mut text, first.session);
    }
    if let Some(id) = router_id(sessions) {
        put(&mut text, &format!(" bgp router-id {id}"));
    }
    text.push_str(" no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax\n");
    for group in &groups {
        put_group(&mut text, group, &profiles, problems);
    }
    for family in carried {
        put_family(&mut text, &groups, family, &nothing);
    }
    text.push_str("exit\n");
    text
}

/// One AS, and one session with each address: what FRR has no place for is somebody else's router.
fn groups<'s, 'a>(
    sessions: &'s [Session<'a>],
    names: &mut Names,
    problems: &mut Vec<String>,
) -> Vec<Group<'s, 'a>> {
    let mut groups: Vec<Group<'s, 'a>> = Vec::new();
    let asn = |session: &Session<'_>| session.router_asn().get();
    let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for session in sessions {
        let name = &session.peer.name;
        if let Some(first) = groups.first()
            && asn(first.session) != asn(session)
        {
            problems.push(format!(
                "BGPPeer/{name}: it leads to a router of another AS than BGPPeer/{}, and FRR has one \
                 AS: print it by itself with --peer {name}",
                first.session.peer.name
            ));
            continue;
        }
        let mut neighbours = BTreeMap::new();
        for (address, nodes) in &session.neighbours {
            match owners.get(address) {
                None => {
                    owners.insert(*address, name);
                    neighbours.insert(*address, nodes);
                }
                Some(owner) => problems.push(format!(
                    "BGPPeer/{name}: {address} is a neighbour by BGPPeer/{owner} already, and FRR has \
                     one session with an address: if that is another router, print it by itself with \
                     --peer {name}"
                )),
            }
        }
        groups.push(Group {
            session,
            name: names.take(&[name]),
            neighbours,
        });
    }
    groups
}

impl Group<'_, '_> {
    /// The name of what is accepted of a family.
    fn list(&self, family: Family) -> String {
        format!("{}_{}", self.name, word(family))
    }

    /// What one says `neighbor` of to name each of the sessions.
    fn addresses(&self) -> Vec<String> {
        match &self.session.peer.neighbor {
            Neighbor::Interface(interface) => vec![interface.clone()],
            Neighbor::Address(_) => self.neighbours.keys().map(IpAddr::to_string).collect(),
        }
    }
}

fn put_asn(text: &mut String, session: &Session<'_>) {
    let asn = session.router_asn();
    if matches!(asn, RouterAsn::Placeholder(_)) {
        text.push_str("! PLACEHOLDER: this router's AS, which may be any but the nodes'\n");
    }
    put(text, &format!("router bgp {}", asn.get()));
}

fn put_filter(text: &mut String, list: &str, family: Family, filter: &Filter) {
    let ip = ip(family);
    if filter.accepted.is_empty() {
        put(text, &format!("{ip} prefix-list {list} seq 5 deny any"));
    }
    for (at, accepted) in filter.accepted.iter().enumerate() {
        let (sequence, within) = (5 * (at + 1), accepted.within);
        let lengths = match accepted.is_single() {
            true => String::new(),
            false => format!(" ge {0} le {0}", accepted.length),
        };
        put(
            text,
            &format!("{ip} prefix-list {list} seq {sequence} permit {within}{lengths}"),
        );
    }
}

/// The BFD profiles in use, by name, each with its name here.
type Profiles<'a> = BTreeMap<&'a str, (String, &'a BfdProfile)>;

fn profiles<'a>(groups: &[Group<'_, 'a>], names: &mut Names) -> Profiles<'a> {
    let mut profiles = Profiles::new();
    for profile in groups.iter().filter_map(|group| group.session.bfd) {
        let entry = profiles.entry(profile.name.as_str());
        entry.or_insert_with(|| (names.take(&["bfd", &profile.name]), profile));
    }
    profiles
}

/// What the nodes send at is what is received here, and the other way round.
fn put_profiles(text: &mut String, profiles: &Profiles<'_>) {
    if profiles.is_empty() {
        return;
    }
    text.push_str("bfd\n");
    for (name, profile) in profiles.values() {
        let milliseconds = |time: Option<Duration>| time.map_or(300, |time| time.as_millis());
        put(text, &format!(" profile {name}"));
        let sent = milliseconds(profile.receive_interval);
        let received = milliseconds(profile.transmit_interval);
        let lost = profile.detect_multiplier.unwrap_or(3);
        put(text, &format!("  transmit-interval {sent}"));
        put(text, &format!("  receive-interval {received}"));
        put(text, &format!("  detect-multiplier {lost}"));
        if profile.echo_mode {
            let echo = profile.echo_interval.map_or(50, |time| time.as_millis());
            text.push_str("  echo-mode\n");
            put(text, &format!("  echo transmit-interval {echo}"));
            put(text, &format!("  echo receive-interval {echo}"));
        }
        if let Some(ttl) = profile.minimum_ttl {
            put(text, &format!("  minimum-ttl {ttl}"));
        }
        text.push_str(" exit\n");
    }
    text.push_str("exit\n");
}

fn put_group(
    text: &mut String,
    group: &Group<'_, '_>,
    profiles: &Profiles<'_>,
    problems: &mut Vec<String>,
) {
    let (session, name) = (group.session, &group.name);
    let peer = session.peer;
    put(text, &format!(" ! {}", session.title()));
    if peer.port != Port::BGP {
        let port = peer.port;
        put(
            text,
            &format!(" ! The nodes dial port {port}: start bgpd with -p {port}."),
        );
    }
    put(text, &format!(" neighbor {name} peer-group"));
    let mut set = |words: &str| put(text, &format!(" neighbor {name} {words}"));
    set(&format!("remote-as {}", session.node_asn()));
    if !peer.options.passive {
        set("passive");
    }
    if let Some(hops) = session.ttl_security_hops() {
        set(&format!("ttl-security hops {hops}"));
    }
    if peer.ebgp_multi_hop {
        set("ebgp-multihop");
    }
    if let Some((hold, keepalive)) = session.timers() {
        set(&format!("timers {keepalive} {hold}"));
    }
    if session.has_extended_next_hop() {
        set("capability extended-nexthop");
    }
    if let Some((profile, _)) = session.bfd.and_then(|bfd| profiles.get(bfd.name.as_str())) {
        set("bfd");
        set(&format!("bfd profile {profile}"));
        if !session.is_internal() && session.ttl_security_hops().is_some_and(|hops| hops > 1) {
            problems.push(format!(
                "BGPPeer/{}: FRR takes a peer with ttl-security for one hop away in BFD, the nodes for further: \
                 use ebgpMultiHop in place of ferrolb.io/bgp-ttl-security-hops, or no bfdProfile",
                peer.name
            ));
        }
    }
    if let Some(password) = session.password {
        put_password(text, group, password, problems);
    }
    put_neighbours(text, group);
}

/// A blank ends a word of FRR's.
fn put_password(
    text: &mut String,
    group: &Group<'_, '_>,
    password: Password<'_>,
    problems: &mut Vec<String>,
) {
    let name = &group.name;
    let shown = match password {
        Password::Shown(password) if !password.contains(char::is_whitespace) => password,
        Password::Shown(_) => {
            problems.push(format!(
                "BGPPeer/{}: its password has a blank, which FRR has no way to write",
                group.session.peer.name
            ));
            HIDDEN
        }
        Password::Hidden => {
            text.push_str(" ! PLACEHOLDER: that of the BGPPeer (--show-passwords)\n");
            HIDDEN
        }
    };
    put(text, &format!(" neighbor {name} password {shown}"));
}

fn put_neighbours(text: &mut String, group: &Group<'_, '_>) {
    let (peer, name) = (group.session.peer, &group.name);
    if let Neighbor::Interface(interface) = &peer.neighbor {
        put(
            text,
            &format!(
                " ! {interface} is what the nodes call it: put this router's own name, once for each port.\n \
                 neighbor {interface} interface peer-group {name}"
            ),
        );
    }
    for (address, nodes) in &group.neighbours {
        let nodes: Vec<&str> = nodes.iter().copied().collect();
        put(text, &format!(" neighbor {address} peer-group {name}"));
        let nodes = nodes.join(", ");
        put(text, &format!(" neighbor {address} description {nodes}"));
    }
    if peer.graceful_restart {
        for address in group.addresses() {
            put(
                text,
                &format!(" neighbor {address} graceful-restart-helper"),
            );
        }
    }
}

fn put_family(text: &mut String, groups: &[Group<'_, '_>], family: Family, nothing: &str) {
    put(text, &format!(" address-family {} unicast", word(family)));
    let is_internal = |group: &Group<'_, '_>| group.session.is_internal();
    if !groups.iter().all(is_internal) {
        put(text, &format!("  maximum-paths {PATHS}"));
    }
    if groups.iter().any(is_internal) {
        put(text, &format!("  maximum-paths ibgp {PATHS}"));
    }
    for group in groups {
        let Some(filter) = group.session.filters.get(&family) else {
            continue;
        };
        let name = &group.name;
        let mut set = |words: &str| put(text, &format!("  neighbor {name} {words}"));
        set("activate");
        set(&format!("prefix-list {} in", group.list(family)));
        set(&format!("prefix-list {nothing} out"));
        if !filter.accepted.is_empty() {
            set(&format!("maximum-prefix {} restart 1", filter.limit()));
        }
    }
    text.push_str(" exit-address-family\n");
}

/// How lists of a family are made.
fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ipv6",
    }
}

fn put(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

const HEADER: &str = "\
! The router's side of the cluster's BGPPeers, for FRR: paste it after `configure terminal`. It changes
! with BGPPeers, pools, BGPAdvertisements and Nodes: `ferrolb-speaker router-config` prints it anew.
!
";
