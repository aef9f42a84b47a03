//! The flags and environment variables of MetalLB's speaker. A few mean the same here; the others
//! are accepted, and said to be without effect.

use std::path::PathBuf;

use clap::Args;
use ferrolb_crds::api;

/// MetalLB's flags, none of which is shown in the help.
#[derive(Debug, Args)]
pub(super) struct MetallbFlags {
    #[arg(
        id = "metallb_node_name",
        long = "metallb-node-name",
        hide = true,
        env = "METALLB_NODE_NAME"
    )]
    #[arg(value_parser = super::node_name)]
    pub(super) node_name: Option<String>,
    #[arg(
        id = "metallb_namespace",
        long = "metallb-namespace",
        hide = true,
        env = "METALLB_NAMESPACE"
    )]
    pub(super) namespace: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(super) ignore_exclude_lb: Option<bool>,
    #[arg(long, hide = true)]
    #[arg(value_parser = ["all", "debug", "info", "warn", "error", "none"])]
    log_level: Option<String>,

    /// Directory with the Secret that MetalLB's memberlist reads, mounted.
    #[arg(long, hide = true, env = "METALLB_ML_SECRET_KEY_PATH")]
    ml_secret_key_path: Option<PathBuf>,
    #[arg(long, hide = true, env = "METALLB_ML_SECRET_NAME")]
    ml_secret_name: Option<String>,

    #[arg(long, hide = true, env = "METALLB_BGP_DEBOUNCE_TIMEOUT")]
    bgp_debounce_timeout: Option<String>,
    #[arg(long, hide = true, env = "METALLB_BGP_TYPE")]
    bgp_type: Option<String>,
    #[arg(long, hide = true, env = "METALLB_HOST")]
    host: Option<String>,
    #[arg(long, hide = true, env = "METALLB_ML_BIND_ADDR")]
    ml_bindaddr: Option<String>,
    #[arg(long, hide = true, env = "METALLB_ML_BIND_PORT")]
    ml_bindport: Option<String>,
    #[arg(long, hide = true, env = "METALLB_ML_LABELS")]
    ml_labels: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    ml_wan_config: Option<String>,
    #[arg(long, hide = true, env = "METALLB_POD_NAME")]
    pod_name: Option<String>,
    #[arg(long, hide = true)]
    pprof_bind_address: Option<String>,
    #[arg(long, hide = true, env = "FRRK8S_NAMESPACE")]
    frrk8s_namespace: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    frrk8s_secret_passthrough: Option<String>,
    #[arg(long, hide = true, env = "FRR_CONFIG_FILE")]
    frr_config_file: Option<String>,
    #[arg(long, hide = true, env = "FRR_RELOADER_PID_FILE")]
    frr_reloader_pid_file: Option<String>,
    #[arg(long, hide = true, env = "FRR_LOGGING_LEVEL")]
    frr_logging_level: Option<String>,
    #[arg(long, hide = true)]
    tls_min_version: Option<String>,
    #[arg(long, hide = true)]
    tls_cipher_suites: Option<String>,
    #[arg(long, hide = true)]
    tls_curve_preferences: Option<String>,
    #[arg(long, hide = true)]
    metrics_cert_dir: Option<String>,
}

impl MetallbFlags {
    /// MetalLB's level in this program's words.
    pub(super) fn log_level(&self) -> &'static str {
        match self.log_level.as_deref() {
            Some("all") => "trace",
            Some("debug") => "debug",
            Some("warn") => "warn",
            Some("error") => "error",
            Some("none") => "off",
            Some(_) | None => "info",
        }
    }

    /// The file with the heartbeat key, where it is mounted.
    pub(super) fn key_file(&self) -> Option<PathBuf> {
        let directory = self.ml_secret_key_path.as_ref();
        let directory = directory.filter(|path| !path.as_os_str().is_empty())?;
        Some(directory.join(api::HEARTBEAT_KEY))
    }

    /// The Secret with the heartbeat key, where it is not.
    pub(super) fn key_secret(&self) -> String {
        let name = self.ml_secret_name.clone();
        let name = name.filter(|name| !name.is_empty());
        name.unwrap_or_else(|| api::HEARTBEAT_SECRET.to_owned())
    }

    /// The names of those that are set and mean nothing here.
    pub(super) fn ignored(&self) -> Vec<&'static str> {
        let all = [
            ("--bgp-debounce-timeout", &self.bgp_debounce_timeout),
            ("METALLB_BGP_TYPE", &self.bgp_type),
            ("--host", &self.host),
            ("--ml-bindaddr", &self.ml_bindaddr),
            ("--ml-bindport", &self.ml_bindport),
            ("--ml-labels", &self.ml_labels),
            ("--ml-wan-config", &self.ml_wan_config),
            ("--pprof-bind-address", &self.pprof_bind_address),
            ("--frrk8s-namespace", &self.frrk8s_namespace),
            (
                "--frrk8s-secret-passthrough",
                &self.frrk8s_secret_passthrough,
            ),
            ("FRR_CONFIG_FILE", &self.frr_config_file),
            ("FRR_RELOADER_PID_FILE", &self.frr_reloader_pid_file),
            ("FRR_LOGGING_LEVEL", &self.frr_logging_level),
            ("--tls-min-version", &self.tls_min_version),
            ("--tls-cipher-suites", &self.tls_cipher_suites),
            ("--tls-curve-preferences", &self.tls_curve_preferences),
            ("--metrics-cert-dir", &self.metrics_cert_dir),
        ];
        let set = all.iter().filter(|(_, value)| value.is_some());
        set.map(|(name, _)| *name).collect()
    }
}
