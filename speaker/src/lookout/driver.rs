//! Follows what the API server shows of other speakers, while somebody wants to know it.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: owns a task and its watches"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrolb_crds::api;
use ferrolb_crds::source::kubernetes::watch::{Event, Target, Watch};
use kube::Client;
use kube::core::DynamicObject;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{Attention, View};
use crate::reports::{Body, Key, Seen, Sort, label, seen};

/// Looks until dropped.
#[derive(Debug)]
pub struct Lookout {
    attention: watch::Sender<Attention>,
    view: watch::Receiver<Arc<View>>,
    task: JoinHandle<()>,
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lookout {
    /// Looks at nothing yet; `node` is this one.
    pub fn start(client: Client, node: &str, namespace: &str) -> Self {
        let (attention, wanted) = watch::channel(Attention::Nothing);
        let (reporter, view) = watch::channel(Arc::default());
        let driver = Driver {
            client,
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            reporter,
            listed: BTreeSet::new(),
            objects: BTreeMap::new(),
        };
        Self {
            attention,
            view,
            task: tokio::spawn(driver.run(wanted)),
        }
    }

    /// Says how much is to be looked at.
    pub fn look(&self, attention: Attention) {
        self.attention.send_if_modified(|current| {
            let differs = *current != attention;
            *current = attention;
            differs
        });
    }

    /// What is shown; waits there for what changes of it.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}

struct Driver {
    client: Client,
    node: String,
    namespace: String,
    reporter: watch::Sender<Arc<View>>,
    listed: BTreeSet<Sort>,
    /// By name.
    objects: BTreeMap<(Sort, String), Object>,
}

/// What matters of an object.
struct Object {
    node: Option<String>,
    seen: Seen,
}

type Heard = (Sort, Event<Option<Object>>);

impl Driver {
    async fn run(mut self, mut wanted: watch::Receiver<Attention>) {
        let (sender, mut heard) = mpsc::channel(HEARD);
        let mut watches: BTreeMap<Sort, Watch> = BTreeMap::new();
        loop {
            let attention = *wanted.borrow_and_update();
            for (sort, least) in SORTS {
                if attention >= least {
                    let follow = || self.follow(sort, &sender);
                    watches.entry(sort).or_insert_with(follow);
                } else if watches.remove(&sort).is_some() {
                    self.forget(sort);
                }
            }
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some((sort, event)) = heard.recv() => {
                    let mut heard = std::iter::successors(Some((sort, event)), |_| heard.try_recv().ok());
                    // What has come by now is told together; what was on its way is of no interest any more.
                    for (sort, event) in heard.by_ref().take(HEARD) {
                        if watches.contains_key(&sort) {
                            self.hear(sort, event);
                        }
                    }
                    self.tell();
                }
            }
        }
    }

    fn follow(&self, sort: Sort, sender: &mpsc::Sender<Heard>) -> Watch {
        let labels = match sort {
            Sort::Layer2 => format!("{}!={}", api::LABEL_NODE, label(&self.node)),
            Sort::Bgp | Sort::Configuration | Sort::Session => {
                format!("{}={}", api::LABEL_COMPONENT_TYPE, api::COMPONENT_SPEAKER)
            }
        };
        let target = Target {
            labels,
            ..Target::all(sort.path(&self.namespace))
        };
        let sender = sender.clone();
        let sink = move |event| {
            let sender = sender.clone();
            // Nobody listens any more only when nothing is to be looked at.
            async move { drop(sender.send((sort, event)).await) }
        };
        let convert = move |object: DynamicObject| read(sort, &object);
        Watch::start(
            self.client.clone(),
            target,
            watch::channel(0).1,
            convert,
            sink,
        )
    }

    fn hear(&mut self, sort: Sort, event: Event<Option<Object>>) {
        match event {
            Event::Listed { objects, .. } => {
                self.listed.insert(sort);
                self.objects.retain(|(of, _), _| *of != sort);
                for object in objects.into_iter().flatten() {
                    self.objects
                        .insert((sort, object.seen.name.clone()), object);
                }
            }
            Event::Applied(Some(object), _) => {
                self.objects
                    .insert((sort, object.seen.name.clone()), object);
            }
            Event::Deleted(Some(object), _) => {
                self.objects.remove(&(sort, object.seen.name));
            }
            // The source of the objects says so, too; what was shown last stands.
            Event::Failed(_) | Event::Recovered | Event::Reached(_) => {}
            Event::Applied(None, _) | Event::Deleted(None, _) => {}
        }
    }

    fn tell(&self) {
        let mut view = View {
            knows_signs: self.listed.contains(&Sort::Configuration),
            knows_announced: self.listed.contains(&Sort::Layer2),
            ..View::default()
        };
        for ((_, name), Object { node, seen }) in &self.objects {
            match (&seen.key, &seen.body) {
                (Key::Layer2(service), Some(Body::Layer2(interfaces))) => {
                    if let Some(node) = node {
                        let announced = view.announced.entry(node.clone()).or_default();
                        announced.insert(service.clone(), interfaces.clone());
                    }
                }
                (Key::Configuration, _) => {
                    let sign = seen.sign.clone();
                    view.signs.extend(sign.map(|sign| (name.clone(), sign)));
                }
                (Key::Layer2(_) | Key::Bgp(_) | Key::Session(_), _) => {}
            }
        }
        self.reporter.send_if_modified(|current| {
            let differs = **current != view;
            if differs {
                *current = Arc::new(view);
            }
            differs
        });
    }

    fn forget(&mut self, sort: Sort) {
        self.listed.remove(&sort);
        self.objects.retain(|(of, _), _| *of != sort);
        self.tell();
    }
}

fn read(sort: Sort, object: &DynamicObject) -> Option<Object> {
    let object = serde_json::to_value(object).ok()?;
    let node = object["status"]["node"].as_str().map(str::to_owned);
    Some(Object {
        node,
        seen: seen(sort, object)?,
    })
}

/// What is looked at, and from which attention on.
const SORTS: [(Sort, Attention); 2] = [
    (Sort::Configuration, Attention::Signs),
    (Sort::Layer2, Attention::Everything),
];

/// How much may wait to be looked at; then the watches wait.
const HEARD: usize = 256;
