//! An Event of the core group about a Node, in the form that `kubectl describe` finds.

use serde_json::{Value, json};

use super::ServiceEvent;

/// Something that happened to a Node, and who says so.
#[derive(Debug, Clone, Copy)]
pub struct NodeEvent<'a> {
    /// Name of the Node.
    pub name: &'a str,
    /// UID of the Node, without which `describe` does not find it.
    pub uid: &'a str,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// Why, in one word.
    pub reason: &'a str,
    /// What, in a sentence.
    pub message: &'a str,
    /// Which program says so.
    pub component: &'a str,
}

impl NodeEvent<'_> {
    /// Where events about what has no namespace are.
    pub const NAMESPACE: &'static str = "default";

    /// The Event as it is posted; `instant` makes its name its own.
    pub fn object(&self, now: &str, instant: u128) -> Value {
        let event = ServiceEvent {
            namespace: Self::NAMESPACE,
            name: self.name,
            uid: self.uid,
            is_warning: self.is_warning,
            reason: self.reason,
            message: self.message,
            component: self.component,
            instance: self.name,
            host: Some(self.name),
        };
        let mut object = event.object(now, instant);
        object["involvedObject"] =
            json!({"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self.uid});
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_about_the_node_and_in_the_namespace_for_what_has_none() {
        let event = NodeEvent {
            name: "n1",
            uid: "u1",
            is_warning: true,
            reason: "HeartbeatBlocked",
            message: "why",
            component: "metallb-speaker",
        };
        let object = event.object("now", 255);
        assert_eq!(object["metadata"]["namespace"], "default");
        let about = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"});
        assert_eq!(object["involvedObject"], about);
        assert_eq!(object["type"], "Warning");
    }
}
