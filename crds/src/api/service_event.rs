//! An Event of the core group about a Service, in the form that `kubectl describe` finds.

use serde_json::{Value, json};

/// Something that happened to a Service, and who says so.
#[derive(Debug, Clone, Copy)]
pub struct ServiceEvent<'a> {
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Name of the Service.
    pub name: &'a str,
    /// UID of the Service, without which `describe` does not find it.
    pub uid: &'a str,
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

impl ServiceEvent<'_> {
    /// The Event as it is posted; `instant` makes its name its own.
    pub fn object(&self, now: &str, instant: u128) -> Value {
        let Self {
            namespace, name, ..
        } = self;
        let stem: String = name.chars().take(LONGEST_STEM).collect();
        let message: String = self.message.chars().take(LONGEST_MESSAGE).collect();
        let mut source = json!({"component": self.component});
        if let Some(host) = self.host {
            source["host"] = json!(host);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{stem}.{instant:x}")},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Service",
                "namespace": namespace, "name": name, "uid": self.uid,
            },
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

    fn event<'a>(name: &'a str, message: &'a str) -> ServiceEvent<'a> {
        ServiceEvent {
            namespace: "default",
            name,
            uid: "u1",
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
        assert_eq!(object["metadata"]["name"], "web.ff");
        assert_eq!(object["involvedObject"]["uid"], "u1");
        assert_eq!(object["type"], "Warning");
        assert_eq!(object["source"], json!({"component": "metallb-controller"}));
        let speaker = ServiceEvent {
            host: Some("n1"),
            is_warning: false,
            ..event("web", "")
        };
        let object = speaker.object("now", 255);
        assert_eq!(object["source"]["host"], "n1");
        assert_eq!(object["type"], "Normal");
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
