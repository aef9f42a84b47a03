//! The command line: raw arguments become [`Settings`], the only thing the rest sees.

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ferrolb_crds::{api, duration};

use crate::cluster;

/// Gives addresses to Services of type LoadBalancer.
#[derive(Debug, Parser)]
#[command(name = "ferrolb-controller", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines look; they go to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// The least level that is logged, unless RUST_LOG says otherwise.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM.
    Run(Box<RunArgs>),
    /// Print what would be decided now; write nothing.
    Plan(PlanArgs),
    /// Print every problem of the configuration; exit with 1 if there is any.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Read objects from the YAML files below this directory.
    #[arg(
        long,
        value_name = "DIR",
        requires = "state",
        conflicts_with = "kubeconfig"
    )]
    manifests: Option<PathBuf>,
    /// Record assignments in this directory.
    #[arg(long, value_name = "DIR", requires = "manifests")]
    state: Option<PathBuf>,
    /// Connect to the cluster that this file describes.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    class: ClassArgs,
    /// How long a released address rests before somebody else gets it.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::from_argument)]
    address_quarantine: Duration,
    /// In a cluster: port of /healthz and /readyz; 0: none.
    #[arg(long, value_name = "PORT", default_value_t = 17472)]
    health_probe_port: u16,
    /// In a cluster: port of /metrics, on loopback; 0: none.
    #[arg(long, value_name = "PORT", default_value_t = 9120)]
    port: u16,
    #[command(flatten)]
    metallb: MetallbArgs,
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// Read objects from the YAML files below this directory.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// Read present assignments from this directory.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    class: ClassArgs,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = PlanOutput::Table)]
    output: PlanOutput,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Read objects from the YAML files below this directory.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    #[command(flatten)]
    namespace: NamespaceArgs,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = CheckOutput::Text)]
    output: CheckOutput,
}

#[derive(Debug, Args)]
struct NamespaceArgs {
    /// The namespace of the metallb.io objects [default: metallb-system].
    #[arg(long, value_name = "NS", env = "FERROLB_NAMESPACE")]
    namespace: Option<String>,
    /// What MetalLB calls the same.
    #[arg(long, hide = true, env = "METALLB_NAMESPACE")]
    metallb_namespace: Option<String>,
}

#[derive(Debug, Args)]
struct ClassArgs {
    /// Take Services of this loadBalancerClass, and no others.
    #[arg(long, value_name = "NAME")]
    lb_class: Option<String>,
}

/// Flags of MetalLB's controller that mean nothing here: its manifests still start this program.
#[derive(Debug, Default, Args)]
struct MetallbArgs {
    #[arg(long, hide = true, env = "METALLB_ML_SECRET_NAME")]
    ml_secret_name: Option<String>,
    #[arg(long, hide = true, env = "METALLB_DEPLOYMENT")]
    deployment: Option<String>,
    #[arg(long, hide = true, env = "METALLB_BGP_TYPE")]
    bgp_type: Option<String>,
    #[arg(long, hide = true)]
    pprof_bind_address: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_cert_rotation: Option<String>,
    #[arg(long, hide = true)]
    cert_dir: Option<String>,
    #[arg(long, hide = true)]
    cert_service_name: Option<String>,
    #[arg(long, hide = true)]
    webhook_mode: Option<String>,
    #[arg(long, hide = true)]
    webhook_secret: Option<String>,
    #[arg(long, hide = true, env = "METALLB_POD_NAME")]
    pod_name: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    webhook_http2: Option<String>,
    #[arg(long, hide = true)]
    tls_min_version: Option<String>,
    #[arg(long, hide = true)]
    tls_cipher_suites: Option<String>,
    #[arg(long, hide = true)]
    tls_curve_preferences: Option<String>,
    #[arg(long, hide = true)]
    metrics_cert_dir: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// The least level that is logged, in MetalLB's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    All,
    /// Minor events too.
    Debug,
    /// What belongs into a timeline.
    Info,
    /// What is surprising.
    Warn,
    /// What is broken.
    Error,
    /// Nothing.
    None,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanOutput {
    /// For people.
    Table,
    /// An array of objects.
    Json,
}

/// How problems are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// One line each.
    Text,
    /// An array of objects.
    Json,
}

/// What the command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What to do.
    pub task: Task,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which there are.
    pub log_level: LogLevel,
    /// Flags that were given and mean nothing here.
    pub ignored: Vec<&'static str>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Give addresses to the Services of a directory, until told to stop.
    Run(Run),
    /// The same for a cluster.
    RunInCluster(cluster::Settings),
    /// Say what would be decided.
    Plan(Plan),
    /// Say what is wrong.
    Check(Check),
}

/// What `run` has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where the objects are.
    pub manifests: PathBuf,
    /// Where assignments are recorded.
    pub state: PathBuf,
    /// The namespace of the metallb.io objects.
    pub namespace: String,
    /// The class of the Services to take.
    pub class: Option<String>,
    /// How long released addresses rest.
    pub quarantine: Duration,
}

/// What `plan` has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where the objects are.
    pub manifests: PathBuf,
    /// Where assignments are recorded.
    pub state: Option<PathBuf>,
    /// The namespace of the metallb.io objects.
    pub namespace: String,
    /// The class of the Services to take.
    pub class: Option<String>,
    /// How to print it.
    pub output: PlanOutput,
}

/// What `check` has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Where the objects are.
    pub manifests: PathBuf,
    /// The namespace of the metallb.io objects.
    pub namespace: String,
    /// How to print it.
    pub output: CheckOutput,
}

impl Cli {
    /// What it means.
    pub fn into_settings(self) -> Settings {
        let (task, ignored) = match self.command {
            Command::Run(args) => args.into_task(),
            Command::Plan(args) => (args.into_task(), Vec::new()),
            Command::Check(args) => (args.into_task(), Vec::new()),
        };
        Settings {
            task,
            log_format: self.log_format,
            log_level: self.log_level,
            ignored,
        }
    }
}

impl RunArgs {
    fn into_task(self) -> (Task, Vec<&'static str>) {
        let ignored = self.metallb.given();
        let (Some(manifests), Some(state)) = (self.manifests, self.state) else {
            let settings = cluster::Settings {
                kubeconfig: self.kubeconfig,
                namespace: self.namespace.name(),
                class: self.class.name(),
                quarantine: self.address_quarantine,
                health_port: NonZeroU16::new(self.health_probe_port),
                metrics_port: NonZeroU16::new(self.port),
                pod: self.metallb.pod_name,
                deployment: self.metallb.deployment,
                key_secret: self
                    .metallb
                    .ml_secret_name
                    .unwrap_or_else(|| api::HEARTBEAT_SECRET.to_owned()),
            };
            return (Task::RunInCluster(settings), ignored);
        };
        let run = Run {
            manifests,
            state,
            namespace: self.namespace.name(),
            class: self.class.name(),
            quarantine: self.address_quarantine,
        };
        (Task::Run(run), ignored)
    }
}

impl PlanArgs {
    fn into_task(self) -> Task {
        Task::Plan(Plan {
            manifests: self.manifests,
            state: self.state,
            namespace: self.namespace.name(),
            class: self.class.name(),
            output: self.output,
        })
    }
}

impl CheckArgs {
    fn into_task(self) -> Task {
        Task::Check(Check {
            manifests: self.manifests,
            namespace: self.namespace.name(),
            output: self.output,
        })
    }
}

impl NamespaceArgs {
    fn name(self) -> String {
        let given = self.namespace.or(self.metallb_namespace);
        given
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "metallb-system".to_owned())
    }
}

impl ClassArgs {
    fn name(self) -> Option<String> {
        self.lb_class.filter(|class| !class.is_empty())
    }
}

impl MetallbArgs {
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--bgp-type", &self.bgp_type),
            ("--pprof-bind-address", &self.pprof_bind_address),
            ("--disable-cert-rotation", &self.disable_cert_rotation),
            ("--cert-dir", &self.cert_dir),
            ("--cert-service-name", &self.cert_service_name),
            ("--webhook-mode", &self.webhook_mode),
            ("--webhook-secret", &self.webhook_secret),
            ("--webhook-http2", &self.webhook_http2),
            ("--tls-min-version", &self.tls_min_version),
            ("--tls-cipher-suites", &self.tls_cipher_suites),
            ("--tls-curve-preferences", &self.tls_curve_preferences),
            ("--metrics-cert-dir", &self.metrics_cert_dir),
        ];
        let given = flags.into_iter().filter(|(_, value)| value.is_some());
        given.map(|(flag, _)| flag).collect()
    }
}
