//! Reads everything once, and prints what a router needs.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: waits for the API server no longer than a person would"
)]

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ferrolb_crds::source::Change;
use ferrolb_crds::source::kubernetes::{self, Kubernetes, Role};
use ferrolb_crds::source::manifests;

use super::{Dialect, Known, Printed, Selection, print};
use crate::status::complain;

/// What to print, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// In whose words.
    pub dialect: Dialect,
    /// Where the objects are.
    pub origin: Origin,
    /// Namespace of the configuration.
    pub namespace: String,
    /// Of which peers and nodes.
    pub selection: Selection,
}

/// Where the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a directory.
    Manifests(PathBuf),
    /// With an API server: that of the kubeconfig, or of the cluster that this runs in.
    Cluster(Option<PathBuf>),
}

/// Prints it. An error says that there is none, or not all of it; what is wrong has been told.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let (changes, mut problems) = match &settings.origin {
        Origin::Manifests(dir) => read(dir.clone(), &settings.namespace)?,
        Origin::Cluster(kubeconfig) => ask(kubeconfig.clone(), &settings.namespace)?,
    };
    let Printed {
        text,
        problems: missing,
    } = print(&Known::of(changes), &settings.selection, settings.dialect);
    problems.extend(missing);
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("writing the configuration")?;
    for problem in &problems {
        complain(problem);
    }
    match (text.is_empty(), problems.len()) {
        (false, 0) => Ok(()),
        (true, _) => bail!("there is nothing to configure"),
        (false, count) => bail!("the configuration may lack something: problems found: {count}"),
    }
}

type Read = (Vec<Change>, Vec<String>);

fn read(dir: PathBuf, namespace: &str) -> anyhow::Result<Read> {
    let listing = manifests::read(&manifests::Options {
        dir,
        state: None,
        namespace: namespace.to_owned(),
        follow_state: false,
    });
    let listing = listing.context("reading the manifests directory")?;
    let problems = listing.problems.iter().map(ToString::to_string);
    Ok((listing.changes, problems.collect()))
}

fn ask(kubeconfig: Option<PathBuf>, namespace: &str) -> anyhow::Result<Read> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let options = kubernetes::Options {
        namespace: namespace.to_owned(),
        role: Role::Speaker,
        key_secret: None,
    };
    let asked = async {
        let client = kubernetes::connect(kubeconfig.as_deref(), AGENT).await?;
        // The first batch comes when every kind has been listed.
        anyhow::Ok(Kubernetes::start(client, options).next().await)
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    let batch = answer.with_context(|| format!("no complete answer within {PATIENCE:?}"))??;
    let problems = batch.problems.into_iter().flatten();
    let misread = batch.misread.into_iter().flatten();
    let problems = problems.map(|problem| problem.to_string());
    let problems = problems.chain(misread.map(|misread| misread.to_string()));
    Ok((batch.changes, problems.collect()))
}

/// How long an API server may take to tell everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it calls itself before the API server.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
