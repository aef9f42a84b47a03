//! Interfaces that are never announced on, whatever advertisements say: by default those of containers
//! and virtual machines, else what a file in the form of MetalLB's `metallb-excludel2` lists.

use regex::RegexSet;
use serde::Deserialize;
use thiserror::Error;

/// Which interfaces, by name.
#[derive(Debug, Clone)]
pub struct Exclusion(Names);

#[derive(Debug, Clone)]
enum Names {
    /// Nobody said anything else.
    Default,
    /// Those that any of these matches anywhere.
    Patterns(RegexSet),
}

/// Why a list cannot be used.
#[derive(Debug, Error)]
pub enum ExclusionError {
    /// It is written in another form.
    #[error("it has to be YAML with a list `announcedInterfacesToExclude`: {0}")]
    Form(String),
    /// One of the expressions.
    #[error("announcedInterfacesToExclude: an entry is no regular expression: {0}")]
    Pattern(String),
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "announcedInterfacesToExclude", default)]
    patterns: Vec<String>,
}

impl Exclusion {
    /// What a file says, in place of the default.
    pub fn parse(text: &str) -> Result<Self, ExclusionError> {
        let document: Document =
            serde_yaml::from_str(text).map_err(|error| ExclusionError::Form(error.to_string()))?;
        // Their sizes are bounded, and so is the time that a match takes.
        let patterns = RegexSet::new(document.patterns);
        let patterns = patterns.map_err(|error| ExclusionError::Pattern(error.to_string()))?;
        Ok(Self(Names::Patterns(patterns)))
    }

    /// Whether the interface is not announced on.
    pub fn excludes(&self, interface: &str) -> bool {
        match &self.0 {
            Names::Default => {
                let mut prefixes = DEFAULT.iter();
                interface == "lo" || prefixes.any(|prefix| interface.starts_with(prefix))
            }
            Names::Patterns(patterns) => patterns.is_match(interface),
        }
    }
}

impl Default for Exclusion {
    fn default() -> Self {
        Self(Names::Default)
    }
}

/// How the names begin that MetalLB leaves out by default.
const DEFAULT: [&str; 13] = [
    "docker",
    "cbr",
    "dummy",
    "virbr",
    "lxcbr",
    "veth",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "nodelocaldns",
    "lxc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_containers_are_left_out_unless_a_list_says_otherwise() {
        let default = Exclusion::default();
        assert!(default.excludes("veth12ab") && default.excludes("cali0"));
        assert!(!default.excludes("eth0") && !default.excludes("my-veth"));
        let list = "announcedInterfacesToExclude: [\"^eth1$\", \"wlan\"]\n";
        let list = Exclusion::parse(list).unwrap();
        assert!(list.excludes("eth1") && list.excludes("my-wlan0"));
        assert!(!list.excludes("eth10") && !list.excludes("veth12ab"));
    }

    #[test]
    fn metallbs_own_list_reads_as_it_is() {
        let list = "announcedInterfacesToExclude:\n- ^docker.*\n- ^cbr.*\n- ^dummy.*\n- ^virbr.*\n\
                    - ^lxcbr.*\n- ^veth.*\n- ^lo$\n- ^cali.*\n- ^tunl.*\n- ^flannel.*\n- ^kube-ipvs.*\n\
                    - ^cni.*\n- ^nodelocaldns.*\n- ^lxc.*\n";
        let (list, default) = (Exclusion::parse(list).unwrap(), Exclusion::default());
        for name in ["docker0", "cni0", "nodelocaldns", "eth0", "bond0.7", "br0"] {
            assert_eq!(list.excludes(name), default.excludes(name), "{name}");
        }
        assert!(!Exclusion::parse("{}").unwrap().excludes("veth0"));
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        let error = Exclusion::parse("announcedInterfacesToExclude: 3").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("a list `announcedInterfacesToExclude`"),
            "{text}"
        );
        let error = Exclusion::parse("announcedInterfacesToExclude: [\"eth(\"]").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no regular expression"), "{text}");
    }
}
