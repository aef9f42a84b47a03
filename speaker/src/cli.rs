//! Command line to settings: `run`, `status`, `rebalance` and `router-config`, and MetalLB's flags, which are
//! accepted so that nobody's manifests stop working.

mod metallb;
mod router_config;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ferrolb_crds::{api, duration};

use crate::delivery::Check;
use crate::layer2::heartbeat::INTERVALS;
use crate::run::{Cluster, Heartbeat, Origin, Settings};
use crate::status::request::{Demand, DrainDemand};
use crate::status::{DrainOrder, Place, View};
use crate::telemetry::Format;
use crate::world::Identity;
use metallb::MetallbFlags;

pub use router_config::RouterConfigArguments;

/// Announces the addresses of LoadBalancer Services from this node.
#[derive(Debug, Parser)]
#[command(name = "ferrolb-speaker", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM.
    Run(Box<RunArguments>),
    /// Show what this node holds and announces, its sessions, and who else is alive.
    Status(StatusArguments),
    /// Give the layer-2 addresses of this node to the nodes that are first in rank for them: nothing
    /// else moves addresses for balance.
    Rebalance(RebalanceArguments),
    /// Give all traffic of this node away: addresses go to other nodes, routes become the last resort
    /// and are withdrawn, BGP sessions end. It lasts until --undo or a restart of the speaker; a label,
    /// annotation or taint ferrolb.io/drain of the Node lasts as long as it is there.
    Drain(DrainArguments),
    /// Print the router's side of the configured BGPPeers; exits 1 if there is none, or something is
    /// wrong with the configuration.
    RouterConfig(RouterConfigArguments),
}

/// The command line of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Directory with the objects as *.yaml files.
    #[arg(long, value_name = "DIR", requires = "state")]
    manifests: Option<PathBuf>,
    /// State directory: what the controller assigned, and this node's own status.
    #[arg(long, value_name = "DIR", requires = "manifests")]
    state: Option<PathBuf>,
    /// Kubeconfig of the cluster to watch; without it and without --manifests: the cluster that this
    /// runs in.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    kubeconfig: Option<PathBuf>,
    /// Name of this node; METALLB_NODE_NAME is read, too.
    #[arg(long, value_name = "NODE", env = "FERROLB_NODE_NAME", value_parser = node_name)]
    node_name: Option<String>,
    /// Namespace of the metallb.io objects; METALLB_NAMESPACE is read, too [default:
    /// metallb-system].
    #[arg(long, value_name = "NS", env = "FERROLB_NAMESPACE")]
    namespace: Option<String>,
    /// Serve the Services of this loadBalancerClass; without it, those that have none.
    #[arg(long, value_name = "NAME")]
    lb_class: Option<String>,
    /// File with the key that authenticates heartbeats, the same on every node; in a cluster without
    /// it: the Secret memberlist.
    #[arg(long, value_name = "FILE", conflicts_with = "heartbeat_insecure")]
    heartbeat_key_file: Option<PathBuf>,
    /// Believe anybody's heartbeats.
    #[arg(long)]
    heartbeat_insecure: bool,
    /// Least time between two heartbeats.
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    heartbeat_interval: Duration,
    /// Silence after which a node is down [default: three intervals plus skew].
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    heartbeat_down_after: Option<Duration>,
    /// Mean time between two announcements of an address that is held, 1s to 1h; 0s: none after the
    /// burst when it is taken.
    #[arg(long, value_name = "DURATION", env = "FERROLB_LAYER2_REANNOUNCE", default_value = "30s", value_parser = reannounce)]
    layer2_reannounce: Duration,
    /// List of interfaces that are never announced on, in the form of MetalLB's metallb-excludel2
    /// [default: /etc/metallb/excludel2.yaml, if it is there; else those of containers].
    #[arg(long, value_name = "FILE", env = "FERROLB_LAYER2_EXCLUDE_FILE")]
    layer2_exclude_file: Option<PathBuf>,
    /// What to do about an address that somebody else has who is no speaker, when it is to be announced
    /// for the first time.
    #[arg(long, value_enum, default_value_t = ConflictPolicy::Report, env = "FERROLB_CONFLICT")]
    conflict: ConflictPolicy,
    /// Ask this whether traffic for Services is delivered on this node, once a second, and let another
    /// node answer while it is not; kube-proxy's is http://127.0.0.1:10256/healthz.
    #[arg(long, value_name = "URL", env = "FERROLB_DELIVERY_CHECK", value_parser = check)]
    delivery_check: Option<Check>,
    /// How long the routes of a node that is drained stay as the last resort (RFC 8326) before they are
    /// withdrawn, whole seconds up to 1h.
    #[arg(long, value_name = "DURATION", env = "FERROLB_DRAIN_TIME", default_value = "10s", value_parser = drain_time)]
    drain_time: Duration,
    /// In a cluster: where /metrics is served, on the port that --port says.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    metrics_address: IpAddr,
    /// In a cluster: port of /metrics; 0: none.
    #[arg(long, value_name = "PORT", default_value_t = 9120)]
    port: u16,
    /// In a cluster: port of /healthz and /readyz on the loopback address; 0: none.
    #[arg(long, value_name = "PORT", default_value_t = 17472)]
    health_probe_port: u16,
    /// Let BGP peers dial this address of the node, such as 192.0.2.11:179 or `[::]:179`; more than
    /// once for several [default: nothing listens].
    #[arg(long, value_name = "ADDRESS:PORT")]
    bgp_listen: Vec<SocketAddr>,
    /// Tell this BMP station (RFC 7854) what BGP peers are sent, such as 192.0.2.20:1790; up to four
    /// times for several [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    bmp_station: Vec<SocketAddr>,
    /// Unix socket that `status` asks [default: /run/ferrolb/speaker-NODE.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    metallb: MetallbFlags,
}

/// The command line of `status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    #[command(flatten)]
    speaker: SpeakerArguments,
    /// Show of this address who could hold it at layer 2, who does, and what decided; exits 1 if no
    /// Service has it.
    #[arg(long, value_name = "ADDRESS")]
    explain: Option<IpAddr>,
}

/// The command line of `rebalance`.
#[derive(Debug, Args)]
pub struct RebalanceArguments {
    #[command(flatten)]
    speaker: SpeakerArguments,
    /// At most so many addresses a minute; each takes a second.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    per_minute: u32,
    /// Only show what would move.
    #[arg(long)]
    dry_run: bool,
}

/// The command line of `drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    #[command(flatten)]
    speaker: SpeakerArguments,
    /// How long the routes stay as the last resort before they are withdrawn [default: the
    /// speaker's --drain-time].
    #[arg(long, value_name = "DURATION", value_parser = drain_time, conflicts_with = "undo")]
    time: Option<Duration>,
    /// Serve again.
    #[arg(long)]
    undo: bool,
    /// Return at once, not when the node is drained.
    #[arg(long, conflicts_with = "undo")]
    no_wait: bool,
}

/// Which speaker to ask, and how to show its answer.
#[derive(Debug, Args)]
struct SpeakerArguments {
    /// The speaker's socket [default: the only one in /run/ferrolb].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The speaker's node, where several run on this host; METALLB_NODE_NAME is read, too.
    #[arg(long, value_name = "NODE", env = "FERROLB_NODE_NAME", value_parser = node_name)]
    node_name: Option<String>,
    #[arg(long, hide = true, env = "METALLB_NODE_NAME", value_parser = node_name)]
    metallb_node_name: Option<String>,
    /// For people or for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How the answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Short sections for people.
    Text,
    /// One document for programs.
    Json,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is done about an address that somebody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConflictPolicy {
    /// Announce it and say so: a gateway that answers for everything has it, too.
    Report,
    /// Say so and leave it to them until they have it no more.
    Refuse,
}

/// A command line that is well formed and yet cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The node has no name.
    #[error("this node's name is missing: give --node-name NODE or set METALLB_NODE_NAME")]
    NoNodeName,
    /// Every node would be down between two heartbeats.
    #[error("--heartbeat-down-after must be longer than --heartbeat-interval")]
    DownAfterTooShort,
    /// Each has a copy of what every peer holds.
    #[error("--bmp-station can be given {MOST_STATIONS} times at most")]
    TooManyStations,
}

const MOST_STATIONS: usize = 4;

impl RunArguments {
    /// How log lines look.
    pub fn log_format(&self) -> Format {
        match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }

    /// The log filter that holds when RUST_LOG is not set.
    pub fn log_level(&self) -> &'static str {
        self.metallb.log_level()
    }

    /// Flags and variables of MetalLB that are set and mean nothing here.
    pub fn ignored(&self) -> Vec<&'static str> {
        self.metallb.ignored()
    }

    fn origin(&self) -> Origin {
        if let (Some(manifests), Some(state)) = (&self.manifests, &self.state) {
            return Origin::Manifests {
                manifests: manifests.clone(),
                state: state.clone(),
            };
        }
        let at = |address, port: u16| (port != 0).then(|| SocketAddr::new(address, port));
        Origin::Cluster(Cluster {
            kubeconfig: self.kubeconfig.clone(),
            metrics: at(self.metrics_address, self.port),
            health: at(Ipv4Addr::LOCALHOST.into(), self.health_probe_port),
        })
    }

    fn heartbeat(&self) -> Heartbeat {
        if self.heartbeat_insecure {
            return Heartbeat::Insecure;
        }
        let metallbs = self.metallb.key_file();
        match self.heartbeat_key_file.clone().or(metallbs) {
            Some(file) => Heartbeat::KeyFile(file),
            None if self.manifests.is_some() => Heartbeat::NoKey,
            None => Heartbeat::Secret(self.metallb.key_secret()),
        }
    }

    /// What `run` is started with.
    pub fn settings(self) -> Result<Settings, Unusable> {
        let (origin, heartbeat) = (self.origin(), self.heartbeat());
        let node = self.node_name.or(self.metallb.node_name);
        let node = node.ok_or(Unusable::NoNodeName)?;
        let too_short = |down_after: Duration| down_after <= self.heartbeat_interval;
        if self.heartbeat_down_after.is_some_and(too_short) {
            return Err(Unusable::DownAfterTooShort);
        }
        if self.bmp_station.len() > MOST_STATIONS {
            return Err(Unusable::TooManyStations);
        }
        let namespace = self.namespace.or(self.metallb.namespace);
        Ok(Settings {
            namespace: namespace.unwrap_or_else(|| api::DEFAULT_NAMESPACE.to_owned()),
            socket: self
                .socket
                .unwrap_or_else(|| crate::status::socket_of(&node)),
            heartbeat,
            heartbeat_interval: self.heartbeat_interval,
            heartbeat_down_after: self.heartbeat_down_after,
            layer2_reannounce: (!self.layer2_reannounce.is_zero())
                .then_some(self.layer2_reannounce),
            layer2_exclusion: self.layer2_exclude_file,
            delivery_check: self.delivery_check,
            drain_time: self.drain_time,
            bgp_listen: self.bgp_listen,
            bmp_stations: BTreeSet::from_iter(self.bmp_station),
            identity: Identity {
                node,
                // MetalLB's manifests pass an empty class for none.
                class: self.lb_class.filter(|class| !class.is_empty()),
                ignore_exclude_label: self.metallb.ignore_exclude_lb.is_some_and(|on| on),
                refuses_conflicts: self.conflict == ConflictPolicy::Refuse,
                is_in_cluster: matches!(origin, Origin::Cluster(_)),
            },
            origin,
        })
    }
}

impl StatusArguments {
    /// The address to explain, if it is that.
    pub fn explain(&self) -> Option<IpAddr> {
        self.explain
    }

    /// How to answer.
    pub fn view(&self) -> View {
        self.speaker.view()
    }

    /// Where to look for the speaker.
    pub fn place(self) -> Place {
        self.speaker.place()
    }
}

impl RebalanceArguments {
    /// How to answer.
    pub fn view(&self) -> View {
        self.speaker.view()
    }

    /// What to demand.
    pub fn demand(&self) -> Demand {
        Demand {
            per_minute: self.per_minute,
            dry_run: self.dry_run,
        }
    }

    /// Where to look for the speaker.
    pub fn place(self) -> Place {
        self.speaker.place()
    }
}

impl DrainArguments {
    /// What is to be done.
    pub fn order(self) -> DrainOrder {
        DrainOrder {
            view: self.speaker.view(),
            demand: match self.undo {
                true => DrainDemand::Undo,
                false => DrainDemand::Begin {
                    seconds: self.time.map(|time| time.as_secs()),
                },
            },
            waits: !self.no_wait,
            place: self.speaker.place(),
        }
    }
}

impl SpeakerArguments {
    fn view(&self) -> View {
        match self.output {
            Output::Text => View::Text,
            Output::Json => View::Json,
        }
    }

    fn place(self) -> Place {
        match (self.socket, self.node_name.or(self.metallb_node_name)) {
            (Some(socket), _) => Place::Socket(socket),
            (None, Some(node)) => Place::Socket(crate::status::socket_of(&node)),
            (None, None) => Place::OnlyOne,
        }
    }
}

/// A node's name becomes a path, so it must be a name that Kubernetes would take.
fn node_name(text: &str) -> Result<String, String> {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| label.starts_with(is_letter) && label.ends_with(is_letter);
    let is_valid = text.len() <= 253
        && text.split('.').all(is_label)
        && text.chars().all(|c| is_letter(c) || c == '-' || c == '.');
    is_valid.then(|| text.to_owned()).ok_or_else(|| {
        "a node's name is made of lower-case letters, digits, '-' and '.', \
         and begins and ends with a letter or digit"
            .to_owned()
    })
}

fn check(text: &str) -> Result<Check, String> {
    Check::parse(text).map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, String> {
    let duration = duration::from_argument(text).map_err(|error| error.to_string())?;
    if !INTERVALS.contains(&duration) {
        return Err("it must lie between 10ms and 1m".to_owned());
    }
    Ok(duration)
}

fn drain_time(text: &str) -> Result<Duration, String> {
    let duration = duration::from_argument(text).map_err(|error| error.to_string())?;
    if duration > Duration::from_secs(3600) || duration.subsec_nanos() != 0 {
        return Err("it must be whole seconds, 1h at most".to_owned());
    }
    Ok(duration)
}

fn reannounce(text: &str) -> Result<Duration, String> {
    let duration = duration::from_argument(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
    if !duration.is_zero() && !allowed.contains(&duration) {
        return Err("it must lie between 1s and 1h, or be 0s".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests;
