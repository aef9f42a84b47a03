//! The metrics, under the names and labels that MetalLB's dashboards and alerts know.
//!
//! Nothing is registered for good: the page is made anew from what is known whenever somebody asks,
//! so that a series is there exactly as long as what it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::{Port, ServiceKey};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::bfd;
use crate::bgp::{SessionState, SessionStatus};
use crate::layer2::Counts;
use crate::layer2::tally::Tally;
use crate::plan::AddressPlan;
use crate::world::Cause;

/// What the page is made of, beside layer 2's counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// This node.
    pub node: String,
    /// How often this node came to hold an address, by what decided that.
    pub takeovers: BTreeMap<Cause, u64>,
    /// Which addresses this node announces, and for whom.
    pub announced: BTreeMap<IpAddr, Announced>,
    /// Addresses that somebody else has, too: hardware addresses by interface.
    pub conflicts: BTreeMap<IpAddr, BTreeMap<String, String>>,
    /// The sessions by peer.
    pub sessions: BTreeMap<Peer, SessionStatus>,
    /// What the source has brought.
    pub source: Source,
    /// How often somebody else held what this node holds.
    pub rivals: Rivals,
    /// Nodes that live and are not heard, each with the interface.
    pub blocked: BTreeSet<(String, String)>,
    /// Whether what arrives here is delivered; `None`: nobody is asked, or has answered for long enough.
    pub delivers: Option<bool>,
}

/// Who is at the other end of a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its address; a link's own with the interface.
    pub host: String,
    /// Its port, where that tells it from another.
    pub port: Option<Port>,
    /// By which VRF, if not by the default one.
    pub vrf: Option<String>,
}

impl Peer {
    /// As MetalLB names it, without brackets around an IPv6 address.
    fn labels(&self) -> Vec<String> {
        let Self { host, port, vrf } = self;
        let address = match port {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        vec![address, vrf.as_deref().unwrap_or(DEFAULT_VRF).to_owned()]
    }

    /// As frr-k8s names it: without a port, and with no label where there is no VRF, which is an empty one.
    fn bare_labels(&self) -> Vec<String> {
        vec![self.host.clone(), self.vrf.clone().unwrap_or_default()]
    }
}

/// As FRR names what is in no VRF.
const DEFAULT_VRF: &str = "default";

/// How often somebody else was found to hold an address that this node holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rivals {
    /// By what another node says.
    pub by_heartbeat: u64,
    /// By what is seen on the wire.
    pub by_frame: u64,
}

/// For whom an address is announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// At layer 2.
    pub layer2: BTreeSet<ServiceKey>,
    /// By BGP.
    pub bgp: BTreeSet<ServiceKey>,
}

/// What the source has brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Source {
    /// Changes of objects.
    pub updates: u64,
    /// Times that something was found wrong with them.
    pub errors: u64,
    /// Everything present has been read.
    pub is_loaded: bool,
    /// Something is wrong, so that part of what is in force is older than the objects.
    pub is_stale: bool,
}

impl Announced {
    /// What a plan says; `None`: it is not announced.
    pub fn of(plan: &AddressPlan) -> Option<Self> {
        let mut announced = Self::default();
        for (key, service) in &plan.services {
            if service.layer2.is_none() {
                announced.layer2.insert(key.clone());
            }
            if service.bgp.is_none() {
                announced.bgp.insert(key.clone());
            }
        }
        (announced != Self::default()).then_some(announced)
    }
}

/// The page, in Prometheus' text format.
pub fn render(
    snapshot: &Snapshot,
    counts: &BTreeMap<IpAddr, Counts>,
    tally: &Tally,
    paths: &bfd::Report,
) -> String {
    let page = Page(Registry::new());
    page.announced(snapshot);
    page.layer2(counts);
    page.conflicts(snapshot);
    page.holders(snapshot);
    page.tally(tally);
    page.sessions(&snapshot.sessions);
    page.messages(&snapshot.sessions);
    page.paths(paths);
    page.source(snapshot.source);
    page.rivals(snapshot.rivals);
    page.blocked(&snapshot.blocked);
    page.delivery(snapshot.delivers);
    let text = TextEncoder::new().encode_to_string(&page.0.gather());
    text.expect("every metric has a name and a value")
}

struct Page(Registry);

impl Page {
    fn announced(&self, snapshot: &Snapshot) {
        let by_protocol = |(address, announced): (&IpAddr, &Announced)| {
            let row = |protocol: &str, service: &ServiceKey| {
                let labels = [service.to_string(), protocol.to_owned()];
                let place = [snapshot.node.clone(), address.to_string()];
                ([labels, place].concat(), 1)
            };
            let layer2 = announced.layer2.iter().map(|key| row("layer2", key));
            let bgp = announced.bgp.iter().map(|key| row("bgp", key));
            layer2.chain(bgp).collect::<Vec<_>>()
        };
        self.gauge(
            "metallb_speaker_announced",
            "Addresses that this node announces.",
            &["service", "protocol", "node", "ip"],
            snapshot.announced.iter().flat_map(by_protocol),
        );
    }

    fn layer2(&self, counts: &BTreeMap<IpAddr, Counts>) {
        let columns: [Column<Counts>; 3] = [
            (
                "metallb_layer2_requests_received",
                "ARP and NDP requests for addresses that this node holds.",
                |counts| counts.requests,
            ),
            (
                "metallb_layer2_responses_sent",
                "Answers to such requests.",
                |counts| counts.responses,
            ),
            (
                "metallb_layer2_gratuitous_sent",
                "Announcements that nobody asked for.",
                |counts| counts.gratuitous,
            ),
        ];
        for (name, help, value) in columns {
            let rows = counts.iter();
            let rows = rows.map(|(address, counts)| (vec![address.to_string()], value(counts)));
            self.counter(name, help, &["ip"], rows);
        }
    }

    fn conflicts(&self, snapshot: &Snapshot) {
        let rows = snapshot.conflicts.iter().flat_map(|(address, others)| {
            let row = |(interface, mac): (&String, &String)| {
                let labels = [address.to_string(), interface.clone(), mac.clone()];
                (labels.to_vec(), 1)
            };
            others.iter().map(row).collect::<Vec<_>>()
        });
        self.gauge(
            "ferrolb_layer2_address_conflicts",
            "Addresses of this node's that somebody else has who is no speaker.",
            &["ip", "interface", "mac"],
            rows,
        );
    }

    fn holders(&self, snapshot: &Snapshot) {
        let held = snapshot.announced.values();
        let held = held.filter(|announced| !announced.layer2.is_empty());
        let held = i64::try_from(held.count()).unwrap_or(i64::MAX);
        self.gauge(
            "ferrolb_layer2_addresses_held",
            "Addresses that this node answers for at layer 2.",
            &[],
            [(Vec::new(), held)].into_iter(),
        );
        let takeovers = Cause::of_takeovers().map(|cause| {
            let count = snapshot.takeovers.get(&cause).copied();
            (vec![cause.to_string()], count.unwrap_or_default())
        });
        self.counter(
            "ferrolb_layer2_takeovers_total",
            "Times that this node came to hold an address, by what decided that.",
            &["cause"],
            takeovers,
        );
    }

    fn tally(&self, tally: &Tally) {
        let lost = tally.heard.keys().map(|node| {
            let count = tally.lost.get(node).copied();
            (vec![node.to_string()], count.unwrap_or_default())
        });
        self.counter(
            "ferrolb_layer2_heartbeats_lost_total",
            "About how many heartbeats of another node did not come.",
            &["node"],
            lost,
        );
        let silences = tally.silences.iter();
        let silences = silences.map(|(reason, count)| (vec![(*reason).to_owned()], *count));
        self.counter(
            "ferrolb_layer2_silences_total",
            "Frames that were not answered, by the reason.",
            &["reason"],
            silences,
        );
    }

    fn sessions(&self, sessions: &BTreeMap<Peer, SessionStatus>) {
        let columns: [Column<SessionStatus>; 3] = [
            (
                "bgp_session_up",
                "Whether the BGP session is established.",
                |status| u64::from(status.state == SessionState::Established),
            ),
            (
                "bgp_announced_prefixes_total",
                "Prefixes that the peer holds from this node.",
                |status| status.prefixes as u64,
            ),
            (
                "bgp_pending_prefixes_total",
                "Prefixes that the peer should hold from this node.",
                |status| status.desired as u64,
            ),
        ];
        for (name, help, value) in columns {
            let rows = sessions.iter().map(|(peer, status)| {
                let value = i64::try_from(value(status)).unwrap_or(i64::MAX);
                (peer.clone(), value)
            });
            self.gauge_of_peers(name, help, rows);
        }
        // What peers send is checked and dropped.
        let none = sessions.keys().map(|peer| (peer.bare_labels(), 0));
        self.gauge(
            "frrk8s_bgp_received_prefixes_total",
            "Prefixes that this node has from the peer.",
            &PEER,
            none,
        );
    }

    fn messages(&self, sessions: &BTreeMap<Peer, SessionStatus>) {
        let columns: [Column<SessionStatus>; 10] = [
            ("bgp_updates_total", "UPDATE messages sent.", |status| {
                status.updates_sent
            }),
            ("bgp_opens_sent", "OPEN messages sent.", |status| {
                status.messages.opens_sent
            }),
            ("bgp_opens_received", "OPEN messages received.", |status| {
                status.messages.opens_received
            }),
            (
                "bgp_notifications_sent",
                "NOTIFICATION messages sent.",
                |status| status.messages.notifications_sent,
            ),
            (
                "bgp_updates_total_received",
                "UPDATE messages received.",
                |status| status.messages.updates_received,
            ),
            (
                "bgp_route_refresh_sent",
                "ROUTE-REFRESH messages sent.",
                |status| status.messages.route_refreshes_sent,
            ),
            (
                "bgp_keepalives_sent",
                "KEEPALIVE messages sent.",
                |status| status.messages.keepalives_sent,
            ),
            (
                "bgp_keepalives_received",
                "KEEPALIVE messages received.",
                |status| status.messages.keepalives_received,
            ),
            ("bgp_total_sent", "Messages sent.", |status| {
                status.updates_sent + status.messages.sent()
            }),
            ("bgp_total_received", "Messages received.", |status| {
                status.messages.received
            }),
        ];
        for (name, help, value) in columns {
            let rows = sessions.iter();
            let rows = rows.map(|(peer, status)| (peer.clone(), value(status)));
            self.counter_of_peers(name, help, rows);
        }
    }

    fn paths(&self, report: &bfd::Report) {
        let peer = |key: &bfd::SessionKey| Peer {
            // A link's own address is another one on each link.
            host: match key.interface {
                Some(index) => format!("{}%{index}", key.peer),
                None => key.peer.to_string(),
            },
            port: None,
            vrf: key.vrf.clone(),
        };
        let up = report.sessions.iter().map(|(key, status)| {
            let is_up = status.state == bfd::State::Up;
            (peer(key), i64::from(is_up))
        });
        self.gauge_of_peers("bfd_session_up", "Whether the BFD session is up.", up);
        let columns: [Column<bfd::Counts>; 7] = [
            (
                "bfd_control_packet_input",
                "BFD control packets received and believed.",
                |counts| counts.control_in,
            ),
            (
                "bfd_control_packet_output",
                "BFD control packets sent.",
                |counts| counts.control_out,
            ),
            (
                "bfd_echo_packet_input",
                "BFD echo packets that came back.",
                |counts| counts.echo_in,
            ),
            (
                "bfd_echo_packet_output",
                "BFD echo packets sent.",
                |counts| counts.echo_out,
            ),
            (
                "bfd_session_up_events",
                "Times that the BFD session came up.",
                |counts| counts.ups,
            ),
            (
                "bfd_session_down_events",
                "Times that the BFD session went down.",
                |counts| counts.downs,
            ),
            (
                "bfd_zebra_notifications",
                "Times that BGP was told that the BFD session came up or went down.",
                |counts| counts.ups + counts.downs,
            ),
        ];
        for (name, help, value) in columns {
            let rows = report.counts.iter();
            let rows = rows.map(|(key, counts)| (peer(key), value(counts)));
            self.counter_of_peers(name, help, rows);
        }
        let dropped = report.dropped.iter();
        self.counter(
            "ferrolb_bfd_discarded_total",
            "BFD packets that were not believed, by the reason.",
            &["reason"],
            dropped.map(|(reason, count)| (vec![reason.as_str().to_owned()], *count)),
        );
    }

    fn source(&self, source: Source) {
        let counters = [
            (
                "metallb_k8s_client_updates_total",
                "Changes of objects taken in.",
                source.updates,
            ),
            (
                "metallb_k8s_client_update_errors_total",
                "Times that something was found wrong with objects.",
                source.errors,
            ),
        ];
        for (name, help, value) in counters {
            self.counter(name, help, &[], [(Vec::new(), value)].into_iter());
        }
        let gauges = [
            (
                "metallb_k8s_client_config_loaded_bool",
                "1 once the configuration has been loaded.",
                source.is_loaded,
            ),
            (
                "metallb_k8s_client_config_stale_bool",
                "1 while part of the configuration in force is older than the objects, which are wrong.",
                source.is_stale,
            ),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, &[], [(Vec::new(), value.into())].into_iter());
        }
    }

    fn rivals(&self, rivals: Rivals) {
        let rows = [
            ("heartbeat", rivals.by_heartbeat),
            ("frame", rivals.by_frame),
        ];
        self.counter(
            "ferrolb_layer2_rivals_total",
            "Times that somebody else came to hold an address that this node holds, by how that was seen.",
            &["seen"],
            rows.into_iter().map(|(seen, value)| (vec![seen.to_owned()], value)),
        );
    }

    fn blocked(&self, blocked: &BTreeSet<(String, String)>) {
        let rows = blocked.iter();
        self.gauge(
            "ferrolb_layer2_heartbeat_blocked",
            "1 for each node that lives and is not heard, by the interface on which it should be.",
            &["node", "interface"],
            rows.map(|(node, interface)| (vec![node.clone(), interface.clone()], 1)),
        );
    }

    fn delivery(&self, delivers: Option<bool>) {
        let rows = delivers.into_iter();
        self.gauge(
            "ferrolb_delivering",
            "1 while what arrives at this node is delivered, 0 while it is not.",
            &[],
            rows.map(|delivers| (Vec::new(), delivers.into())),
        );
    }

    /// What is told of a peer has two names: MetalLB's, and that of frr-k8s, which MetalLB runs by default.
    fn gauge_of_peers(
        &self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (Peer, i64)> + Clone,
    ) {
        let named = rows.clone().map(|(peer, value)| (peer.labels(), value));
        self.gauge(&format!("metallb_{name}"), help, &PEER, named);
        let bare = rows.map(|(peer, value)| (peer.bare_labels(), value));
        self.gauge(&format!("frrk8s_{name}"), help, &PEER, bare);
    }

    fn counter_of_peers(
        &self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (Peer, u64)> + Clone,
    ) {
        let named = rows.clone().map(|(peer, value)| (peer.labels(), value));
        self.counter(&format!("metallb_{name}"), help, &PEER, named);
        let bare = rows.map(|(peer, value)| (peer.bare_labels(), value));
        self.counter(&format!("frrk8s_{name}"), help, &PEER, bare);
    }

    fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        rows: impl Iterator<Item = (Vec<String>, i64)>,
    ) {
        let gauge = IntGaugeVec::new(Opts::new(name, help), labels);
        let gauge = gauge.expect("names are valid");
        for (values, value) in rows {
            gauge.with_label_values(&values).set(value);
        }
        self.add(gauge);
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        rows: impl Iterator<Item = (Vec<String>, u64)>,
    ) {
        let counter = IntCounterVec::new(Opts::new(name, help), labels);
        let counter = counter.expect("names are valid");
        for (values, value) in rows {
            counter.with_label_values(&values).inc_by(value);
        }
        self.add(counter);
    }

    fn add(&self, metric: impl prometheus::core::Collector + 'static) {
        let registered = self.0.register(Box::new(metric));
        registered.expect("every name is used once");
    }
}

/// The labels of what is about a peer; MetalLB has the second in its FRR modes.
const PEER: [&str; 2] = ["peer", "vrf"];

/// Name, help, and the value of a row.
type Column<T> = (&'static str, &'static str, fn(&T) -> u64);

#[cfg(test)]
mod tests;
