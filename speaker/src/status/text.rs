//! The document for people: short sections, aligned columns.

use std::fmt::Write as _;

use super::document::{
    Bfd, Delivery, Document, Draining, HandOff, Layer2, Prefix, Service, Session, Station, UP,
};

/// Writes the whole document.
pub(super) fn render(document: &Document) -> String {
    let mut out = String::new();
    head(&mut out, document);
    draining(&mut out, document.draining.as_ref());
    layer2(&mut out, &document.layer2);
    sessions(&mut out, &document.sessions);
    agreements(&mut out, &document.sessions);
    paths(&mut out, &document.sessions);
    stations(&mut out, &document.bmp);
    advertised(&mut out, &document.advertised);
    services(&mut out, &document.services);
    hand_off(&mut out, &document.hand_off);
    delivery(&mut out, document.delivery.as_ref());
    problems(&mut out, document);
    out
}

fn head(out: &mut String, document: &Document) {
    let Document {
        node,
        version,
        since,
        ..
    } = document;
    line(
        out,
        &format!("node {node}   ferrolb-speaker {version}   since {since}"),
    );
}

fn draining(out: &mut String, draining: Option<&Draining>) {
    if let Some(Draining { state, why, since }) = draining {
        section(out, &format!("leaving   {state} since {since}"));
        line(out, &format!("  {why}"));
    }
}

fn layer2(out: &mut String, layer2: &Layer2) {
    let why = layer2.reason.as_deref().map(|why| format!(": {why}"));
    let title = format!("layer 2   {}{}", layer2.state, why.unwrap_or_default());
    section(out, &title);
    let held = layer2.held.iter().map(|held| {
        let on = match held.interfaces.is_empty() {
            true => "on all interfaces".to_owned(),
            false => format!("on {}", held.interfaces.join(", ")),
        };
        let missing = match held.missing_interfaces.is_empty() {
            true => String::new(),
            false => format!("not usable here: {}", held.missing_interfaces.join(", ")),
        };
        let since = format!("since {}", held.since);
        let services = held.services.join(", ");
        row([
            &held.address,
            "held",
            &services,
            &on,
            &since,
            &held.why,
            &missing,
        ])
    });
    let not_held = layer2.not_held.iter().map(|not| {
        let since = &not.since;
        let holder = not.holder.as_ref();
        let holder = holder.map(|node| format!("held by {node} since {since}"));
        let detail = not.detail.clone().unwrap_or_default();
        let services = not.services.join(", ");
        let holder = holder.unwrap_or_default();
        row([
            &not.address,
            "-",
            &services,
            &not.reason,
            &holder,
            "",
            &detail,
        ])
    });
    table(out, held.chain(not_held).collect());
    if !layer2.conflicts.is_empty() {
        section(out, "conflicts");
        let conflicts = layer2.conflicts.iter().map(|conflict| {
            let mac = format!("is also at {}", conflict.mac);
            let on = format!("on {}", conflict.interface);
            let state = if conflict.is_held {
                "held all the same"
            } else {
                "left to it"
            };
            row([&conflict.address, &mac, &on, state])
        });
        table(out, conflicts.collect());
    }
    section(out, "nodes heard");
    let nodes = layer2.nodes.iter().map(|node| {
        let state = match (node.is_alive, node.is_leaving) {
            (_, true) => "leaving",
            (true, false) => "alive",
            (false, false) => "down",
        };
        let fails = match node.is_alive && node.is_not_delivering {
            true => "what arrives there is not delivered",
            false => "",
        };
        let on = node.heard_on.join(", ");
        row([
            &node.name,
            state,
            &on,
            &format!("since {}", node.since),
            fails,
        ])
    });
    let blocked = layer2.blocked.iter().map(|blocked| {
        let on = blocked.interfaces.join(", ");
        let why = "lives by the API server's view, never heard";
        row([
            &blocked.node,
            "blocked",
            &on,
            &format!("since {}", blocked.since),
            why,
        ])
    });
    table(out, nodes.chain(blocked).collect());
    section(out, "interfaces");
    let interfaces = layer2.interfaces.iter().map(|interface| {
        let state = if interface.is_up { "up" } else { "down" };
        let problem = interface.problem.clone().unwrap_or_default();
        let addresses = interface.addresses.join(", ");
        row([&interface.name, state, &interface.mac, &addresses, &problem])
    });
    table(out, interfaces.collect());
}

fn sessions(out: &mut String, sessions: &[Session]) {
    section(out, "bgp sessions");
    let rows = sessions.iter().map(|session| {
        let since = session.since.as_ref().map(|since| format!("since {since}"));
        let since = since.unwrap_or_default();
        let prefixes = format!("{} prefixes", session.prefixes);
        let error = session.last_error.as_ref();
        let note = error.map(|error| format!("last error: {error}"));
        let note = note.unwrap_or_default();
        let state = session.state.as_str();
        row([
            &session.peer,
            &session.address,
            state,
            &since,
            &prefixes,
            &note,
        ])
    });
    table(out, rows.collect());
}

fn agreements(out: &mut String, sessions: &[Session]) {
    let up = sessions
        .iter()
        .filter(|session| !session.families.is_empty());
    let rows = up.map(|session| {
        let hold_time = session.hold_time.map(|time| format!("hold time {time} s"));
        row([
            &session.peer,
            &session.address,
            &hold_time.unwrap_or_default(),
            &session.families.join(", "),
            &session.capabilities.join(", "),
        ])
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        section(out, "bgp agreed on");
        table(out, rows);
    }
}

fn paths(out: &mut String, sessions: &[Session]) {
    let watched = sessions
        .iter()
        .filter_map(|session| Some((session, session.bfd.as_ref()?)));
    let rows = watched.map(|(session, bfd)| {
        let since = bfd.since.as_ref().map(|since| format!("since {since}"));
        let every = bfd
            .transmit_interval
            .map(|time| format!("sends every {time} ms"));
        let within = bfd
            .detection_time
            .map(|time| format!("detects within {time} ms"));
        let hops = if bfd.is_multihop {
            "multihop"
        } else {
            "single hop"
        };
        let echo = if bfd.is_echo_active { "echo" } else { "" };
        row([
            &session.peer,
            &session.address,
            &bfd.state,
            &since.unwrap_or_default(),
            hops,
            &every.unwrap_or_default(),
            &within.unwrap_or_default(),
            echo,
            &why(bfd),
        ])
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        section(out, "bfd sessions");
        table(out, rows);
    }
}

/// What is wrong, or was.
fn why(bfd: &Bfd) -> String {
    let local = bfd.diagnostic.as_ref().map(|why| format!("reason: {why}"));
    let remote = bfd.remote_diagnostic.as_ref();
    let remote = remote.map(|why| format!("the peer says: {why}"));
    let last = bfd
        .last_failure
        .as_ref()
        .map(|why| format!("last failure: {why}"));
    let problem = bfd.problem.clone();
    let all = match bfd.state.as_str() {
        UP => [last, None, None],
        _ => [problem, local, remote],
    };
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn advertised(out: &mut String, prefixes: &[Prefix]) {
    section(out, "bgp prefixes");
    let rows = prefixes.iter().map(|prefix| {
        let options = [
            prefix.local_pref.map(|pref| format!("localPref {pref}")),
            prefix.med.map(|med| format!("MED {med}")),
            prefix
                .as_path_prepend
                .map(|times| format!("prepend {times}")),
            prefix
                .link_bandwidth
                .map(|octets| format!("bandwidth {octets}")),
        ];
        let options: Vec<String> = options.into_iter().flatten().collect();
        let communities = match prefix.communities.is_empty() {
            true => String::new(),
            false => format!("communities {}", prefix.communities.join(" ")),
        };
        let peers = format!("to {}", prefix.peers.join(", "));
        row([&prefix.prefix, &peers, &options.join(" "), &communities])
    });
    table(out, rows.collect());
}

fn services(out: &mut String, services: &[Service]) {
    section(out, "services");
    let mut rows = Vec::new();
    for service in services {
        let notes = service.notes.join("; ");
        if let Some(reason) = &service.reason {
            rows.push(row([&service.service, "-", reason, "", &notes]));
        }
        for at in &service.addresses {
            let (layer2, bgp) = (format!("layer2 {}", at.layer2), format!("bgp {}", at.bgp));
            rows.push(row([&service.service, &at.address, &layer2, &bgp, &notes]));
        }
    }
    table(out, rows);
}

fn hand_off(out: &mut String, hand_off: &HandOff) {
    let why = hand_off.reason.as_deref().map(|why| format!(": {why}"));
    let ports = match hand_off.state.as_str() {
        "programmed" => format!(", {} ports", hand_off.frontends),
        _ => String::new(),
    };
    let why = why.unwrap_or_default();
    section(out, &format!("hand-off   {}{ports}{why}", hand_off.state));
    let rows = hand_off.refused_ports.iter();
    let rows = rows.map(|port| {
        let reason = format!("not handed off: {}", port.reason);
        row([&port.service, &port.address, &port.port, &reason])
    });
    table(out, rows.collect());
}

fn delivery(out: &mut String, delivery: Option<&Delivery>) {
    if let Some(Delivery {
        state,
        check,
        since,
    }) = delivery
    {
        let since = since.as_ref().map(|since| format!("   since {since}"));
        let since = since.unwrap_or_default();
        section(out, &format!("delivery   {state} by {check}{since}"));
    }
}

fn stations(out: &mut String, stations: &[Station]) {
    if stations.is_empty() {
        return;
    }
    section(out, &format!("bmp stations   {}", stations.len()));
    let rows = stations.iter().map(|station| {
        let since = format!("since {}", station.since);
        match station.connected {
            true => row([&station.station, "connected", &since, ""]),
            false => {
                let why = station.last_error.as_deref().unwrap_or_default();
                row([&station.station, "not connected", &since, why])
            }
        }
    });
    table(out, rows.collect());
}

fn problems(out: &mut String, document: &Document) {
    let source = &document.source;
    if source.problem_count == 0 && source.state_error.is_none() {
        return;
    }
    section(out, &format!("problems   {}", source.problem_count));
    let more = source.problem_count.saturating_sub(source.problems.len());
    for problem in &source.problems {
        line(out, &format!("  {problem}"));
    }
    if more > 0 {
        line(out, &format!("  and {more} more"));
    }
    if let Some(error) = &source.state_error {
        line(out, &format!("  state directory: {error}"));
    }
}

fn section(out: &mut String, title: &str) {
    line(out, "");
    line(out, title);
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", text.trim_end());
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

pub(super) fn table(out: &mut String, rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        line(out, "  none");
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let filled = cells.filter(|(_, width)| **width > 0);
        let padded: Vec<String> = filled
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(out, &format!("  {}", padded.join("  ")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Conflict, Held, NotHeld, Source};
    use super::*;

    #[test]
    fn a_path_that_is_watched_has_a_line_and_says_what_is_wrong() {
        let session = |peer: &str, bfd| Session {
            peer: peer.to_owned(),
            address: "192.0.2.1".to_owned(),
            bfd,
            ..Session::default()
        };
        let up = Bfd {
            state: "Up".to_owned(),
            since: Some("2026-01-01T00:00:01Z".to_owned()),
            last_failure: Some("control detection time expired".to_owned()),
            transmit_interval: Some(50.0),
            detection_time: Some(150.5),
            is_echo_active: true,
            ..Bfd::default()
        };
        let down = Bfd {
            state: "Down".to_owned(),
            is_multihop: true,
            problem: Some("port taken".to_owned()),
            diagnostic: Some("administratively down".to_owned()),
            ..Bfd::default()
        };
        let mut document = Document {
            sessions: vec![
                session("a", Some(up)),
                session("b", Some(down)),
                session("c", None),
            ],
            ..Document::default()
        };
        let text = render(&document);
        let (_, paths) = text.split_once("bfd sessions\n").unwrap();
        let columns = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = paths.lines().take(2).map(columns).collect();
        let expected = [
            "a 192.0.2.1 Up since 2026-01-01T00:00:01Z single hop sends every 50 ms \
             detects within 150.5 ms echo last failure: control detection time expired",
            "b 192.0.2.1 Down multihop port taken; reason: administratively down",
        ];
        assert_eq!(lines, expected, "{text}");
        document.sessions.retain(|session| session.bfd.is_none());
        assert!(!render(&document).contains("bfd"));
    }

    #[test]
    fn a_station_has_a_line_that_says_why_there_is_no_connection() {
        let station = |connected| Station {
            station: "192.0.2.20:1790".to_owned(),
            connected,
            since: "2026-01-01T00:00:01Z".to_owned(),
            last_error: Some("connection refused".to_owned()),
        };
        let mut document = Document {
            bmp: vec![station(true), station(false)],
            ..Document::default()
        };
        let text = render(&document);
        let (_, stations) = text.split_once("bmp stations   2\n").unwrap();
        let columns = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = stations.lines().take(2).map(columns).collect();
        let since = "since 2026-01-01T00:00:01Z";
        assert_eq!(lines[0], format!("192.0.2.20:1790 connected {since}"));
        let why = "connection refused";
        assert_eq!(
            lines[1],
            format!("192.0.2.20:1790 not connected {since} {why}")
        );
        document.bmp.clear();
        assert!(!render(&document).contains("bmp"));
    }

    #[test]
    fn of_sessions_that_are_up_it_is_shown_what_was_agreed_on() {
        let up = Session {
            peer: "a".to_owned(),
            address: "192.0.2.1".to_owned(),
            hold_time: Some(90),
            families: vec!["IPv4".to_owned(), "IPv6".to_owned()],
            capabilities: vec!["fourOctetAsn".to_owned(), "routeRefresh".to_owned()],
            ..Session::default()
        };
        let mut document = Document {
            sessions: vec![up, Session::default()],
            ..Document::default()
        };
        let text = render(&document);
        let (_, agreed) = text.split_once("bgp agreed on\n").unwrap();
        let words: Vec<&str> = agreed.lines().next().unwrap().split_whitespace().collect();
        let expected = "a 192.0.2.1 hold time 90 s IPv4, IPv6 fourOctetAsn, routeRefresh";
        assert_eq!(words.join(" "), expected, "{text}");
        document.sessions.remove(0);
        assert!(!render(&document).contains("agreed"));
    }

    #[test]
    fn the_text_is_short_aligned_sections() {
        let document = Document {
            node: "n1".to_owned(),
            version: "0.1.0".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            layer2: Layer2 {
                state: "running".to_owned(),
                held: vec![Held {
                    address: "10.0.0.1".to_owned(),
                    services: vec!["default/web".to_owned()],
                    interfaces: vec!["eth0".to_owned()],
                    since: "2026-01-01T00:00:01Z".to_owned(),
                    why: "hint".to_owned(),
                    ..Held::default()
                }],
                not_held: vec![NotHeld {
                    address: "10.0.0.200".to_owned(),
                    services: vec!["default/api".to_owned()],
                    reason: "notOwner".to_owned(),
                    holder: Some("n2".to_owned()),
                    since: "2026-01-01T00:00:02Z".to_owned(),
                    ..NotHeld::default()
                }],
                conflicts: vec![Conflict {
                    address: "10.0.0.1".to_owned(),
                    interface: "eth0".to_owned(),
                    mac: "02:00:00:00:00:77".to_owned(),
                    is_held: true,
                }],
                ..Layer2::default()
            },
            source: Source {
                problem_count: 2,
                problems: vec!["a.yaml:1:1: why".to_owned()],
                state_error: None,
            },
            ..Document::default()
        };
        let text = render(&document);
        let layer2 = "layer 2   running\n  \
             10.0.0.1    held  default/web  on eth0   since 2026-01-01T00:00:01Z             hint\n  \
             10.0.0.200  -     default/api  notOwner  held by n2 since 2026-01-01T00:00:02Z\n\n\
             conflicts\n  \
             10.0.0.1  is also at 02:00:00:00:00:77  on eth0  held all the same\n";
        assert!(text.contains(layer2), "{text}");
        let problems = "problems   2\n  a.yaml:1:1: why\n  and 1 more\n";
        assert!(text.ends_with(problems), "{text}");
        assert!(text.contains("\nbgp sessions\n  none\n"), "{text}");
    }
}
