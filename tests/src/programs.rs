//! Where the programs under proof are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::process::output;

/// Names another directory with the programs, such as that of a release build.
pub const DIRECTORY: &str = "FERROLB_PROGRAMS";

/// The controller.
pub fn controller() -> Result<PathBuf> {
    product("ferrolb-controller")
}

/// The speaker.
pub fn speaker() -> Result<PathBuf> {
    product("ferrolb-speaker")
}

/// The helper that runs inside namespaces.
pub fn tool() -> Result<PathBuf> {
    existing(&beside_us()?, "netns-tool")
}

/// The multi-call binary with etcd, the Kubernetes programs and kubectl.
pub fn kubernetes() -> Result<PathBuf> {
    Ok(built_by_go()?.0.into())
}

/// A program of the reference MetalLB: `controller` or `speaker`.
pub fn metallb(name: &str) -> Result<PathBuf> {
    Ok(Path::new(&built_by_go()?.1).join(name))
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn product(name: &str) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return existing(Path::new(&directory), name);
    }
    built()?;
    existing(&beside_us()?, name)
}

/// `cargo test` alone does not build the programs of other packages: have it done, once.
fn built() -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let Some(cargo) = std::env::var_os("CARGO") else {
            return Ok(());
        };
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
        // What cargo tells a test about its package, build scripts take for their own: with it they
        // run again, and with them half of the crates.
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
        output(command.current_dir(workspace()))
            .map(drop)
            .map_err(|error| format!("{error:#}"))
    });
    done.clone().map_err(anyhow::Error::msg)
}

/// Asks the script that built them where they are; once.
fn built_by_go() -> Result<(String, String)> {
    static PATHS: OnceLock<Result<(String, String), String>> = OnceLock::new();
    let paths = PATHS.get_or_init(|| {
        let script = workspace().join("tests/kubernetes.sh");
        let text = output(Command::new("sh").arg(script).arg("paths"))
            .map_err(|error| format!("{error:#}"))?;
        let paths = text.trim_end().split_once('\n');
        let (kubernetes, metallb) = paths.ok_or_else(|| format!("paths are two lines: {text}"))?;
        Ok((kubernetes.to_owned(), metallb.to_owned()))
    });
    paths.clone().map_err(anyhow::Error::msg)
}

/// The directory of this executable; tests are one below it, in `deps`.
fn beside_us() -> Result<PathBuf> {
    let own = std::env::current_exe().context("asking for the own path")?;
    let directory = own.parent().context("the own path has no directory")?;
    let directory = match directory.ends_with("deps") {
        true => directory.parent().unwrap_or(directory),
        false => directory,
    };
    Ok(directory.to_owned())
}

fn existing(directory: &Path, name: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    if !path.is_file() {
        bail!(
            "{} does not exist: run cargo build --workspace first",
            path.display()
        );
    }
    Ok(path)
}
