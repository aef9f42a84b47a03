//! One control plane for all proofs of a file, and a namespace of it for each.
//!
//! For those that leave the server as it is: a tenant cannot stop, freeze or restart anything.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Error, Result};
use serde_json::json;

use super::{ControlPlane, Settings};

/// A namespace of the shared control plane; deleted when dropped.
#[derive(Debug)]
pub struct Tenant {
    /// The server, with controllers, that this one shares with the others.
    pub plane: &'static ControlPlane,
    /// The namespace that is this one's alone.
    pub namespace: String,
}

impl Tenant {
    /// Starts the control plane, if this is the first.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let plane = shared()?;
        let namespace = format!("proof-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let object = json!({ "metadata": { "name": namespace } });
        plane.post("/api/v1/namespaces", &object)?;
        Ok(Self { plane, namespace })
    }

    /// The path of a kind of the core group in this namespace, or of an object of it.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let own = ["--namespace", &self.namespace];
        self.plane.kubectl(&[&own, arguments].concat(), input)
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The static is never dropped, so that nobody else would say it.
            self.plane.keep_words();
            return;
        }
        // Nobody waits for it: the server ends soon after.
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let _ = self.plane.delete(&path);
    }
}

/// The warden ends it, after the last proof of the file.
fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let plane = SHARED.get_or_init(|| {
        let settings = Settings {
            controllers: true,
            ..Settings::default()
        };
        ControlPlane::alone(settings).map_err(|error| format!("{error:#}"))
    });
    plane.as_ref().map_err(|error| Error::msg(error.clone()))
}
