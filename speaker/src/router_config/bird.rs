//! In the words of BIRD 2.

use std::time::Duration;

use ferrolb_crds::model::{BfdProfile, Family, Neighbor, Port};

use super::filter::{Accepted, Filter};
use super::names::Names;
use super::{HIDDEN, PATHS, Password, RouterAsn, Session, families, router_id, word};

/// The whole configuration.
pub(super) fn render(sessions: &[Session<'_>], problems: &mut Vec<String>) -> String {
    let mut text = HEADER.to_owned();
    match router_id(sessions) {
        Some(id) => put(&mut text, &format!("router id {id};")),
        None => put(
            &mut text,
            "# No peer has an IPv4 address of this router: without an IPv4 interface, set `router id` here.",
        ),
    }
    text.push_str("\nprotocol device { }\nprotocol direct { ipv4; ipv6; }\n");
    for family in families(sessions) {
        let word = word(family);
        put(
            &mut text,
            &format!(
                "protocol kernel {{ {word} {{ import none; export where source = RTS_BGP; }}; \
                 merge paths on limit {PATHS}; }}"
            ),
        );
    }
    if sessions.iter().any(|session| session.bfd.is_some()) {
        put(&mut text, "protocol bfd { }");
    }
    put_advertisements(&mut text, sessions);
    let mut names = Names::default();
    for session in sessions {
        put_session(&mut text, session, &mut names, problems);
    }
    text
}

/// The nodes learn the router's link-local address from its router advertisements.
fn put_advertisements(text: &mut String, sessions: &[Session<'_>]) {
    let mut interfaces: Vec<&str> = Vec::new();
    for session in sessions {
        if let Neighbor::Interface(name) = &session.peer.neighbor {
            interfaces.push(name);
        }
    }
    interfaces.sort_unstable();
    interfaces.dedup();
    if interfaces.is_empty() {
        return;
    }
    text.push_str("protocol radv {\n");
    for interface in interfaces {
        put(
            text,
            &format!("  interface \"{interface}\" {{ max ra interval 10; default lifetime 0; }};"),
        );
    }
    text.push_str("}\n");
}

fn put_session(
    text: &mut String,
    session: &Session<'_>,
    names: &mut Names,
    problems: &mut Vec<String>,
) {
    let peer = session.peer;
    put(text, &format!("\n# {}", session.title()));
    let mut filters = Vec::new();
    for (family, filter) in &session.filters {
        let name = names.take(&[&peer.name, word(*family)]);
        if !filter.accepted.is_empty() {
            put_filter(text, &name, filter);
        }
        filters.push((*family, name, filter));
    }
    let template = names.take(&[&peer.name]);
    put(text, &format!("template bgp {template} {{"));
    put(text, &format!("  {}", local(session)));
    if !peer.options.passive {
        text.push_str("  passive on;  # the nodes dial\n");
    }
    text.push_str("  error wait time 1, 10;  # a node is let in again soon after an error\n");
    match session.ttl_security_hops() {
        Some(1) => text.push_str("  direct;\n  ttl security on;\n"),
        Some(hops) => put(text, &format!("  multihop {hops};\n  ttl security on;")),
        None if peer.ebgp_multi_hop => text.push_str("  multihop;\n"),
        None => {}
    }
    let is_near = session.ttl_security_hops().is_none() && session.is_internal();
    if is_near && session.bfd.is_some() {
        // BIRD takes an internal peer for a far one, and BFD with it.
        text.push_str(
            "  direct;  # `multihop` for nodes that are not on a network of this router\n",
        );
    }
    if let Some(password) = session.password {
        put_password(text, session, password, problems);
    }
    if let Some((hold, keepalive)) = session.timers() {
        put(
            text,
            &format!("  hold time {hold};\n  keepalive time {keepalive};"),
        );
    }
    if peer.graceful_restart {
        text.push_str("  graceful restart aware;\n");
    }
    if let Some(profile) = session.bfd {
        put_bfd(text, session, profile);
    }
    for (family, name, filter) in filters {
        put_channel(text, session, family, &name, filter);
    }
    text.push_str("}\n");
    put_neighbours(text, session, &template, names);
}

fn local(session: &Session<'_>) -> String {
    let address = session.router_address();
    let address = address.map_or(String::new(), |address| format!("{address} "));
    let port = session.peer.port;
    let port = match port == Port::BGP {
        true => String::new(),
        false => format!("port {port} "),
    };
    let comment = match session.router_asn() {
        RouterAsn::Known(_) => "",
        RouterAsn::Placeholder(_) => {
            "  # PLACEHOLDER: this router's AS, which may be any but the nodes'"
        }
    };
    let asn = session.router_asn().get();
    format!("local {address}{port}as {asn};{comment}")
}

fn put_filter(text: &mut String, name: &str, filter: &Filter) {
    put(text, &format!("filter {name} {{\n  if net ~ ["));
    let last = filter.accepted.len().saturating_sub(1);
    for (at, accepted) in filter.accepted.iter().enumerate() {
        let comma = if at == last { "" } else { "," };
        put(text, &format!("    {}{comma}", pattern(accepted)));
    }
    text.push_str("  ] then accept;\n  reject;\n}\n");
}

fn pattern(accepted: &Accepted) -> String {
    let Accepted { within, length } = accepted;
    match accepted.is_single() {
        true => within.to_string(),
        false => format!("{within}{{{length},{length}}}"),
    }
}

/// BIRD has no way to write a quotation mark within quotation marks.
fn put_password(
    text: &mut String,
    session: &Session<'_>,
    password: Password<'_>,
    problems: &mut Vec<String>,
) {
    match password {
        Password::Shown(password) if !password.contains('"') => {
            put(text, &format!("  password \"{password}\";"));
        }
        Password::Shown(_) => {
            problems.push(format!(
                "BGPPeer/{}: its password has a quotation mark, which BIRD has no way to write",
                session.peer.name
            ));
            put(text, &format!("  password \"{HIDDEN}\";"));
        }
        Password::Hidden => {
            put(
                text,
                &format!("  password \"{HIDDEN}\";  # that of the BGPPeer (--show-passwords)"),
            );
        }
    }
}

/// What the nodes send at is what is received here, and the other way round.
fn put_bfd(text: &mut String, session: &Session<'_>, profile: &BfdProfile) {
    let milliseconds = |time: Option<Duration>| time.map_or(300, |time| time.as_millis());
    put(
        text,
        &format!(
            "  bfd {{ min rx interval {} ms; min tx interval {} ms; multiplier {}; }};",
            milliseconds(profile.transmit_interval),
            milliseconds(profile.receive_interval),
            profile.detect_multiplier.unwrap_or(3),
        ),
    );
    if session.peer.graceful_restart {
        text.push_str("  bfd graceful;  # a node that restarts takes its BFD along\n");
    }
    let is_within = session.ttl_security_hops().is_some_and(|hops| hops > 1);
    let is_far = session.peer.ebgp_multi_hop || (is_within && !session.is_internal());
    if is_far && profile.minimum_ttl.is_none_or(|ttl| ttl > 64) {
        text.push_str(
            "  # BFD over several hops is sent with the host's own TTL, and the nodes want 254 or the\n  \
             # profile's minimumTtl: sysctl net.ipv4.ip_default_ttl=255, net.ipv6.conf.all.hop_limit=255\n",
        );
    }
}

fn put_channel(
    text: &mut String,
    session: &Session<'_>,
    family: Family,
    name: &str,
    filter: &Filter,
) {
    let extended = match family == Family::V4 && session.has_extended_next_hop() {
        true => " extended next hop on;",
        false => "",
    };
    let import = match filter.accepted.is_empty() {
        true => "import none;  # no BGPAdvertisement for it\n   ".to_owned(),
        false => format!(
            "import filter {name}; receive limit {} action restart;",
            filter.limit()
        ),
    };
    let word = word(family);
    put(
        text,
        &format!("  {word} {{ {import} export none;{extended} }};"),
    );
}

fn put_neighbours(text: &mut String, session: &Session<'_>, template: &str, names: &mut Names) {
    let node_asn = session.node_asn();
    if let Neighbor::Interface(interface) = &session.peer.neighbor {
        let name = names.take(&[&session.peer.name, interface]);
        put(
            text,
            &format!(
                "# {interface:?} is what the nodes call it: put this router's own name, in `radv` above too, once \
                 for each port.\n\
                 protocol bgp {name} from {template} {{ neighbor range fe80::/10 as {node_asn}; \
                 interface \"{interface}\"; dynamic name \"{name}_\"; }}"
            ),
        );
        return;
    }
    for (address, nodes) in &session.neighbours {
        let mut words = vec![session.peer.name.as_str()];
        words.extend(nodes.iter().copied());
        let name = names.take(&words);
        put(
            text,
            &format!("protocol bgp {name} from {template} {{ neighbor {address} as {node_asn}; }}"),
        );
    }
}

fn put(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

const HEADER: &str = "\
# The router's side of the cluster's BGPPeers, for BIRD 2. It stands by itself; in a configuration
# that is there already, leave out what that one has. It changes with BGPPeers, pools,
# BGPAdvertisements and Nodes: `ferrolb-speaker router-config` prints it anew.

";
