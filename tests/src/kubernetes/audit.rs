//! Who wrote what: the API server's own audit log, read back.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// Only what changes something, and everything that the accounts of an installation ask for; once per
/// request, without bodies.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
  - level: Metadata
    userGroups: [\"system:serviceaccounts:metallb-system\"]
  - level: None
";

const READS: [&str; 3] = ["get", "list", "watch"];

/// The audit log of one API server.
#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// One request, whether it was granted or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// As the server knows the client: `system:serviceaccount:NAMESPACE:NAME` for a token.
    pub user: String,
    /// What the client calls itself.
    pub agent: String,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`; `get`, `list` or `watch`.
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// In the plural, as in paths.
    pub resource: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Empty if the server was to choose one.
    pub name: String,
    /// The answer's HTTP status.
    pub code: u16,
}

impl Audit {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The present end. A request is logged about when its answer arrives: what has just been
    /// answered may still come after the mark.
    pub fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.path).map_or(0, |file| file.len()))
    }

    /// What was written since a mark, in the order of the answers.
    pub fn writes(&self, since: Mark) -> Result<Vec<Write>> {
        let mut all = self.requests(since)?;
        all.retain(|request| !READS.contains(&request.verb.as_str()));
        Ok(all)
    }

    /// The same, and what the accounts of `metallb-system` read. A watch is there when it has ended.
    pub fn requests(&self, since: Mark) -> Result<Vec<Write>> {
        let mut file = match std::fs::File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context("opening the audit log")?,
        };
        file.seek(SeekFrom::Start(since.0))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(Write::parse).collect()
    }
}

impl Write {
    /// Whether it concerns `RESOURCE` or `RESOURCE/SUBRESOURCE`.
    pub fn is_of(&self, resource: &str) -> bool {
        match resource.split_once('/') {
            Some((resource, sub)) => self.resource == resource && self.subresource == sub,
            None => self.resource == resource && self.subresource.is_empty(),
        }
    }

    fn parse(line: &str) -> Result<Self> {
        let event: Value = serde_json::from_str(line).context("an audit line is no JSON")?;
        let object = &event["objectRef"];
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        Ok(Self {
            user: text(&event["user"]["username"]),
            agent: text(&event["userAgent"]),
            verb: text(&event["verb"]),
            group: text(&object["apiGroup"]),
            resource: text(&object["resource"]),
            subresource: text(&object["subresource"]),
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            code: u16::try_from(code).context("an HTTP status has three digits")?,
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the audit log is a file")]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","stage":"ResponseComplete","verb":"patch",
        "user":{"username":"system:serviceaccount:a:b"},"userAgent":"kube.rs",
        "objectRef":{"resource":"services","namespace":"default","name":"web","apiVersion":"v1",
        "subresource":"status"},"responseStatus":{"code":200}}"#;

    #[test]
    fn a_line_says_who_wrote_what() {
        let write = Write::parse(&LINE.replace('\n', "")).unwrap();
        assert_eq!(write.user, "system:serviceaccount:a:b");
        assert_eq!((write.name.as_str(), write.code), ("web", 200));
        assert!(write.is_of("services/status") && !write.is_of("services"));
    }

    #[test]
    fn a_mark_hides_what_came_before_and_half_a_line_waits() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(&dir.path().join("audit.log"));
        assert!(audit.writes(Mark::default()).unwrap().is_empty());
        let line = LINE.replace('\n', "");
        std::fs::write(&audit.path, format!("{line}\n")).unwrap();
        let mark = audit.mark();
        std::fs::write(&audit.path, format!("{line}\n{line}\n{{\"ve")).unwrap();
        assert_eq!(audit.writes(mark).unwrap().len(), 1);
        assert_eq!(audit.writes(Mark::default()).unwrap().len(), 2);
    }
}
