//! A problem with its place.

use std::fmt;

use serde::Serialize;

/// A problem of a file, at its place: what `check` prints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Located {
    /// The file, relative to the manifests directory; a state file by its whole path.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Kind of the object; none when the problem is the file's.
    pub kind: Option<String>,
    /// Namespace of the object, if it has one.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: Option<String>,
    /// Field path, such as `spec.addresses[0]`.
    pub path: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", OneLine(&self.file), self.line, self.column)?;
        match (&self.kind, &self.name) {
            (Some(kind), Some(name)) => write!(f, "{}/{}: ", OneLine(kind), OneLine(name))?,
            (Some(kind), None) => write!(f, "{}: ", OneLine(kind))?,
            (None, _) => {}
        }
        if let Some(path) = &self.path {
            write!(f, "{}: ", OneLine(path))?;
        }
        OneLine(&self.message).fmt(f)
    }
}

/// A problem is one line, whatever characters the names in it have.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.split(char::is_control).enumerate() {
            if at > 0 {
                f.write_str("\u{fffd}")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_an_object_and_one_of_a_file() {
        let mut problem = Located {
            file: "pools/a.yaml".to_owned(),
            line: 7,
            column: 5,
            kind: Some("IPAddressPool".to_owned()),
            namespace: Some("metallb-system".to_owned()),
            name: Some("edge".to_owned()),
            path: Some("spec.addresses[0]".to_owned()),
            message: "runs backwards".to_owned(),
        };
        assert_eq!(
            problem.to_string(),
            "pools/a.yaml:7:5: IPAddressPool/edge: spec.addresses[0]: runs backwards"
        );
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"file":"pools/a.yaml","line":7,"column":5,"kind":"IPAddressPool","namespace":"metallb-system","name":"edge","path":"spec.addresses[0]","message":"runs backwards"}"#
        );
        problem.name = Some("two\nlines".to_owned());
        assert_eq!(problem.to_string().lines().count(), 1);
        (problem.kind, problem.name, problem.path) = (None, None, None);
        assert_eq!(problem.to_string(), "pools/a.yaml:7:5: runs backwards");
    }
}
