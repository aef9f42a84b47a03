//! What can be said about this speaker, as data: the one form behind `status -o json`, the text for
//! people and the node's file in the state directory.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// Name of the node.
    pub node: String,
    /// Version of the program.
    pub version: String,
    /// Since when the speaker runs.
    pub since: String,
    /// How reading the objects and writing the state goes.
    pub source: Source,
    /// How layer 2 stands.
    pub layer2: Layer2,
    /// How the hand-off to the NodePorts stands.
    pub hand_off: HandOff,
    /// Whether what arrives here is delivered, where somebody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// How far the node is with leaving, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
    /// BGP sessions, by peer.
    pub sessions: Vec<Session>,
    /// Monitoring stations that are told of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bmp: Vec<Station>,
    /// Prefixes advertised by BGP.
    pub advertised: Vec<Prefix>,
    /// LoadBalancer Services, by name.
    pub services: Vec<Service>,
}

/// How reading the objects and writing the state goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// How many problems the objects have.
    pub problem_count: usize,
    /// The problems, each with file, line and column.
    pub problems: Vec<String>,
    /// Why this file could not be written, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_error: Option<String>,
}

/// Whether what arrives here is delivered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delivery {
    /// `delivering`, `notDelivering` or `unknown`.
    pub state: String,
    /// Who is asked.
    pub check: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A monitoring station (RFC 7854).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Station {
    /// Where it is.
    pub station: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Since when that is so.
    pub since: String,
    /// Why the last connection ended, or why none comes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// How far the node is with leaving.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Draining {
    /// `draining`, `withdrawn` or `drained`.
    pub state: String,
    /// What says so.
    pub why: String,
    /// Since when.
    pub since: String,
}

/// How layer 2 stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Layer2 {
    /// `running`, `listening` or `off`.
    pub state: String,
    /// Why it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Addresses this node answers for.
    pub held: Vec<Held>,
    /// Addresses it does not answer for.
    pub not_held: Vec<NotHeld>,
    /// Addresses of this node's that somebody else has who is no speaker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// Addresses that it held when it last ran, and of which it is not known who holds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remembered: Vec<String>,
    /// Other nodes ever heard.
    pub nodes: Vec<Node>,
    /// Other nodes that live by the API server's view, should be heard, and never were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// Interfaces fit for announcing.
    pub interfaces: Vec<Interface>,
}

/// An address this node answers for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Held {
    /// The address.
    pub address: String,
    /// The Services announced at it.
    pub services: Vec<String>,
    /// The interfaces chosen; empty: all.
    pub interfaces: Vec<String>,
    /// Interfaces that an advertisement names and that cannot be used here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_interfaces: Vec<String>,
    /// Since when.
    pub since: String,
    /// Why this node came to hold it: a cause.
    pub why: String,
}

/// An address this node does not answer for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NotHeld {
    /// The address.
    pub address: String,
    /// The Services that hold it.
    pub services: Vec<String>,
    /// The reason constant.
    pub reason: String,
    /// What exactly, where the reason alone does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who answers, as far as this node knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Since when this node knows it so.
    pub since: String,
}

/// An address that somebody else has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conflict {
    /// The address.
    pub address: String,
    /// The interface of this node on which they were seen.
    pub interface: String,
    /// Their hardware address.
    pub mac: String,
    /// Whether this node answers for it all the same.
    pub is_held: bool,
}

/// Another node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is heard at present.
    pub is_alive: bool,
    /// Whether it said that it is leaving.
    pub is_leaving: bool,
    /// Whether it said that what arrives there is not delivered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_not_delivering: bool,
    /// On which interfaces of this node it is heard.
    pub heard_on: Vec<String>,
    /// When it last came up or went down.
    pub since: String,
}

/// A node that lives and is not heard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blocked {
    /// Its name.
    pub node: String,
    /// On which interfaces of this node it should be heard.
    pub interfaces: Vec<String>,
    /// Since when that is known.
    pub since: String,
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is up and has carrier.
    pub is_up: bool,
    /// Hardware address.
    pub mac: String,
    /// Addresses with prefix lengths.
    pub addresses: Vec<String>,
    /// Why it cannot be used, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How the hand-off stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HandOff {
    /// `idle`, `programmed`, `refused` or `failed`.
    pub state: String,
    /// Why it is refused or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many ports are handed off.
    pub frontends: usize,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Ports that are announced but not handed off.
    pub refused_ports: Vec<RefusedPort>,
}

/// A port that is announced but not handed off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RefusedPort {
    /// The Service, as namespace/name.
    pub service: String,
    /// The address.
    pub address: String,
    /// The port, as number/protocol.
    pub port: String,
    /// Why.
    pub reason: String,
}

/// A BGP session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// Name of the BGPPeer.
    pub peer: String,
    /// Where the peer is: an address, or an interface.
    pub address: String,
    /// State, in the words of RFC 4271 §8.2.2.
    pub state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why the last connection ended, or why none comes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How many prefixes the peer holds from this node.
    pub prefixes: usize,
    /// UPDATE messages sent; not in the state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates_sent: Option<u64>,
    /// Hold time agreed on, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<u16>,
    /// Families agreed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Capabilities that both ends have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Local address of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    /// How the path to the peer is watched, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd: Option<Bfd>,
}

/// A BFD session, in the words of RFC 5880 §6.8.1. Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bfd {
    /// `AdminDown`, `Down`, `Init` or `Up`.
    pub state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<String>,
    /// Why it was last lost, if it was since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Where the peer says that it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_state: Option<String>,
    /// And why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_diagnostic: Option<String>,
    /// Whether the peer may be more than one hop away.
    pub is_multihop: bool,
    /// Time between two packets that are sent, agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transmit_interval: Option<f64>,
    /// Silence after which the session is down, agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_time: Option<f64>,
    /// Whether echo packets come back.
    pub is_echo_active: bool,
    /// What there was of packets and changes; not in the state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<BfdCounters>,
    /// Why it cannot be run, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Packets and changes since the session was wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BfdCounters {
    /// Control packets received and believed.
    pub control_packets_in: u64,
    /// Control packets sent.
    pub control_packets_out: u64,
    /// Echo packets that came back.
    pub echo_packets_in: u64,
    /// Echo packets sent.
    pub echo_packets_out: u64,
    /// Times that it came up.
    pub session_ups: u64,
    /// Times that it went down.
    pub session_downs: u64,
}

impl Bfd {
    /// Without what changes while nothing happens: a session that is not Up goes on trying.
    fn at_rest(&mut self) {
        self.counters = None;
        if self.state != UP {
            let problem = self.problem.take();
            *self = Self {
                state: "Down".to_owned(),
                last_failure: self.last_failure.take(),
                is_multihop: self.is_multihop,
                problem,
                ..Self::default()
            };
        }
    }
}

/// A prefix advertised by BGP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prefix {
    /// The prefix.
    pub prefix: String,
    /// To which peers.
    pub peers: Vec<String>,
    /// LOCAL_PREF toward iBGP peers, where set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC, where set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// How often our AS is repeated toward eBGP peers, where set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path_prepend: Option<u8>,
    /// Octets per second by which routers weigh this node, where set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_bandwidth: Option<u64>,
    /// Communities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
    /// The addresses it stands for.
    pub addresses: Vec<String>,
    /// Since when.
    pub since: String,
}

/// A LoadBalancer Service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// As namespace/name.
    pub service: String,
    /// How it fares at each of its addresses.
    pub addresses: Vec<ServiceAddress>,
    /// Why it has none, where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else a person should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How a Service fares at one address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAddress {
    /// The address.
    pub address: String,
    /// `announced`, or the reason why not.
    pub layer2: String,
    /// `announced`, or the reason why not.
    pub bgp: String,
}

impl Document {
    /// The addresses that a speaker that starts again is to come back to.
    pub fn memory(&self) -> BTreeSet<IpAddr> {
        let held = self.layer2.held.iter().map(|held| &held.address);
        let all = held.chain(&self.layer2.remembered);
        all.filter_map(|address| address.parse().ok()).collect()
    }

    /// The document as a file keeps it: without what changes while nothing happens. A session that
    /// is not established keeps trying, so its steps are one state here.
    pub fn at_rest(mut self) -> Self {
        // The file that says so cannot be the one that was not written.
        self.source.state_error = None;
        for session in &mut self.sessions {
            session.updates_sent = None;
            if let Some(bfd) = &mut session.bfd {
                bfd.at_rest();
            }
            if session.state != ESTABLISHED {
                session.state = "Active".to_owned();
                session.since = None;
                session.local_address = None;
            }
        }
        self
    }

    /// A number that two documents have in common if they say the same, and practically only then: what
    /// was said last of 10,000 addresses need not be kept for that.
    pub fn fingerprint(&self) -> serde_json::Result<u64> {
        let mut hashing = Hashing(DefaultHasher::new());
        serde_json::to_writer(&mut hashing, self)?;
        Ok(hashing.0.finish())
    }
}

/// Hashes what is written to it.
struct Hashing(DefaultHasher);

impl io::Write for Hashing {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The state of a BFD session whose path carries packets.
pub const UP: &str = "Up";

/// The state of a session that exchanges routes.
pub const ESTABLISHED: &str = "Established";
