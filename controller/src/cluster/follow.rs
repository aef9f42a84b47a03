//! Follows the controller's own ConfigurationState: what somebody deletes or edits is restored.

use std::future;

use ferrolb_crds::api;
use ferrolb_crds::source::kubernetes::watch::{Event, Failure, Target, Watch};
use kube::Client;
use kube::core::DynamicObject;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::verdict::Seen;

/// Follows until dropped.
pub(super) struct Follower {
    heard: mpsc::Receiver<Event<Value>>,
    _watch: Watch,
}

impl Follower {
    /// Begins to follow.
    pub(super) fn start(client: Client, namespace: &str) -> Self {
        let target = Target {
            fields: format!("metadata.name={}", api::COMPONENT_CONTROLLER),
            ..Target::all(api::CONFIGURATION_STATE.path(Some(namespace)))
        };
        let (sender, heard) = mpsc::channel(HEARD);
        let sink = move |event| {
            let sender = sender.clone();
            // Nobody listens any more only when everything ends.
            async move { drop(sender.send(event).await) }
        };
        let status = |mut object: DynamicObject| object.data["status"].take();
        let watch = Watch::start(client, target, watch::channel(0).1, status, sink);
        Self {
            heard,
            _watch: watch,
        }
    }

    /// Waits for what is there now, or for why that is not known. Nothing is lost when the wait is
    /// given up.
    pub(super) async fn next(&mut self) -> Result<Seen, Failure> {
        loop {
            match self.heard.recv().await {
                Some(Event::Listed {
                    objects, version, ..
                }) => {
                    let status = objects.first();
                    let nothing = || Seen::nothing(&version);
                    return Ok(status.map_or_else(nothing, |s| Seen::object(&version, s)));
                }
                Some(Event::Applied(status, version)) => {
                    return Ok(Seen::object(&version, &status));
                }
                Some(Event::Deleted(_, version)) => return Ok(Seen::nothing(&version)),
                Some(Event::Failed(failure)) => return Err(failure),
                Some(Event::Reached(_) | Event::Recovered) => {}
                // Impossible while there is a watch.
                None => future::pending().await,
            }
        }
    }
}

/// How much may wait to be looked at; then the watch waits.
const HEARD: usize = 16;
