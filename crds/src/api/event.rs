//! An Event of the core group, in the form that `kubectl describe` finds.

use serde_json::{Value, json};

/// Something that happened to an object, and who says so.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// To which object.
    pub about: Subject<'a>,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// Why, in one word.
    pub reason: &'a str,
    /// What, in a sentence.
    pub message: &'a str,
    /// Which program says so.
    pub component: &'a str,
    /// Which process of it.
    pub instance: &'a str,
    /// On which node, where that matters.
    pub host: Option<&'a str>,
}

/// An object that something happened to; `describe` finds it by its UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A Service.
    Service {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
        /// Its UID.
        uid: &'a str,
    },
    /// A Node.
    Node {
        /// Its name.
        name: &'a str,
        /// Its UID.
        uid: &'a str,
    },
}

impl<'a> Subject<'a> {
    /// Where its Events are; those about what has no namespace are in `default`.
    fn namespace(self) -> &'a str {
        match self {
            Self::Service { namespace, .. } => namespace,
            Self::Node { .. } => "default",
        }
    }

    fn name(self) -> &'a str {
        match self {
            Self::Service { name, .. } | Self::Node { name, .. } => name,
        }
    }

    fn reference(self) -> Value {
        match self {
            Self::Service {
                namespace,
                name,
                uid,
            } => json!({
                "apiVersion": "v1", "kind": "Service",
                "namespace": namespace, "name": name, "uid": uid,
            }),
            Self::Node { name, uid } => {
                json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid})
            }
        }
    }
}

impl Event<'_> {
    /// The Event as it is posted; `instant` makes its name its own.
    pub fn object(&self, now: &str, instant: u128) -> Value {
        let stem: String = self.about.name().chars().take(LONGEST_STEM).collect();
        let message: String = self.message.chars().take(LONGEST_MESSAGE).collect();
        let mut source = json!({"component": self.component});
        if let Some(host) = self.host {
            source["host"] = json!(host);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "namespace": self.about.namespace(),
                "name": format!("{stem}.{instant:x}"),
            },
            "involvedObject": self.about.reference(),
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "reason": self.reason,
            "message": message,
            "source": source,
            "reportingComponent": self.component,
            "reportingInstance": self.instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        })
    }
}

/// The name of an object has 253 characters at most, 17 of which make it its own.
const LONGEST_STEM: usize = 230;

/// A message has 1024 octets at most.
const LONGEST_MESSAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(name: &'a str, message: &'a str) -> Event<'a> {
        Event {
            about: Subject::Service {
                namespace: "shop",
                name,
                uid: "u1",
            },
            is_warning: true,
            reason: "AllocationFailed",
            message,
            component: "metallb-controller",
            instance: "c_1",
            host: None,
        }
    }

    #[test]
    fn an_event_is_found_by_describe() {
        let object = event("web", "no address").object("now", 255);
        let own = json!({"namespace": "shop", "name": "web.ff"});
        assert_eq!(object["metadata"], own);
        let about = json!({
            "apiVersion": "v1", "kind": "Service",
            "namespace": "shop", "name": "web", "uid": "u1",
        });
        assert_eq!(object["involvedObject"], about);
        assert_eq!(object["type"], "Warning");
        assert_eq!(object["source"], json!({"component": "metallb-controller"}));
        let speaker = Event {
            host: Some("n1"),
            is_warning: false,
            ..event("web", "")
        };
        let object = speaker.object("now", 255);
        assert_eq!(object["source"]["host"], "n1");
        assert_eq!(object["type"], "Normal");
    }

    #[test]
    fn an_event_about_a_node_is_in_the_namespace_for_what_has_none() {
        let event = Event {
            about: Subject::Node {
                name: "n1",
                uid: "u2",
            },
            ..event("web", "why")
        };
        let object = event.object("now", 255);
        let own = json!({"namespace": "default", "name": "n1.ff"});
        assert_eq!(object["metadata"], own);
        let about = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u2"});
        assert_eq!(object["involvedObject"], about);
    }

    #[test]
    fn what_is_too_long_for_the_server_is_cut() {
        let (name, message) = ("n".repeat(253), "m".repeat(5000));
        let object = event(&name, &message).object("now", u128::from(u64::MAX));
        let length = |value: &Value| value.as_str().unwrap().len();
        assert!(length(&object["metadata"]["name"]) <= 253);
        assert!(length(&object["message"]) <= 1024);
        assert_eq!(object["involvedObject"]["name"], name);
    }
}
