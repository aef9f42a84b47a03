use std::path::Path;

use super::*;
use crate::layer2::LinkIndex;
use crate::layer2::station::{Input, Link, Station};
use crate::status::{self, View};
use crate::wire::ethernet::Mac;

const OBJECTS: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec: {addresses: [192.0.2.0/28]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: l2, namespace: metallb-system}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {ferrolb.io/layer2-hint: so what}}
spec: {type: LoadBalancer, ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}
";

fn settings(root: &Path) -> Settings {
    Settings {
        bgp_listen: Vec::new(),
        bmp_stations: BTreeSet::new(),
        origin: Origin::Manifests {
            manifests: manifests(root),
            state: root.join("state"),
        },
        namespace: "metallb-system".to_owned(),
        identity: Identity {
            node: "n1".to_owned(),
            ..Identity::default()
        },
        heartbeat: Heartbeat::NoKey,
        heartbeat_interval: Duration::from_millis(100),
        heartbeat_down_after: None,
        layer2_reannounce: None,
        layer2_exclusion: None,
        delivery_check: None,
        drain_time: Duration::from_secs(10),
        socket: root.join("run/speaker.sock"),
    }
}

fn manifests(root: &Path) -> PathBuf {
    root.join("manifests")
}

impl Speaker {
    fn document(&self) -> status::Document {
        status::document(&self.facts())
    }
}

fn start(settings: &Settings) -> Speaker {
    let Origin::Manifests { manifests, state } = &settings.origin else {
        panic!("there are manifests");
    };
    let source = Source::directory(manifests, state, &settings.namespace).unwrap();
    Speaker::start(settings.clone(), source, None)
}

/// Runs the loop until the condition holds.
async fn run_until(speaker: &mut Speaker, is_done: impl Fn(&Speaker) -> bool) {
    let run = async {
        while !is_done(speaker) {
            // What is waited for need not be an event of the loop.
            let tick = Duration::from_millis(20);
            if let Ok(event) = tokio::time::timeout(tick, speaker.next_event()).await {
                speaker.handle(event);
            }
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, run).await.unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn without_a_heartbeat_key_it_runs_says_that_layer_2_is_silent_and_follows_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    std::fs::create_dir(manifests(root.path())).unwrap();
    std::fs::write(manifests(root.path()).join("all.yaml"), OBJECTS).unwrap();
    std::fs::write(manifests(root.path()).join("bad.yaml"), "a: [").unwrap();
    let file = root.path().join("state/nodes/n1/status.yaml");
    block_on(async {
        let mut speaker = start(&settings);
        run_until(&mut speaker, |_| file.exists()).await;
        let document = speaker.document();
        assert_eq!(document.layer2.state, "off");
        assert_eq!(document.layer2.not_held[0].reason, "layer2Off");
        assert_eq!(document.services[0].service, "default/web");
        let mut notes = document.services[0].notes.iter();
        let why = "annotation ferrolb.io/layer2-hint: \"so what\" has no =: write ADDRESS=NODE";
        assert!(notes.any(|note| note == why));
        assert_eq!(document.source.problem_count, 1);
        assert!(document.source.problems[0].starts_with("bad.yaml:"));

        let moved = OBJECTS.replace("192.0.2.1}", "192.0.2.2}");
        std::fs::write(manifests(root.path()).join("all.yaml"), moved).unwrap();
        let new: IpAddr = "192.0.2.2".parse().unwrap();
        run_until(&mut speaker, |s| s.plan.addresses.contains_key(&new)).await;
        assert_eq!(speaker.plan.addresses.len(), 1, "the old address is gone");
        assert_eq!(speaker.plan, plan::plan(&speaker.world));

        speaker.stop().await;
        let last = std::fs::read_to_string(&file).unwrap();
        assert!(last.contains("this speaker has stopped"), "{last}");
        assert!(!settings.socket.exists());
    });
}

/// A station as the driver has it, with one interface and no sockets.
fn station(has_carrier: bool) -> Station {
    let settings = crate::layer2::Settings {
        node: "n1".to_owned(),
        key: None,
        interval: Duration::from_millis(100),
        down_after: None,
        reannounce: Some(Duration::from_secs(30)),
        exclusion: Default::default(),
    };
    let now = Instant::now();
    let mut station = Station::new(&settings, 1, now, SystemTime::UNIX_EPOCH);
    let eth0 = Link {
        name: "eth0".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        has_carrier,
        addresses: Vec::new(),
        path: BTreeMap::new(),
    };
    let links = BTreeMap::from([(LinkIndex(2), eth0)]);
    station.handle(now, Input::Links(links));
    station
}

#[test]
fn an_interface_that_is_missing_or_down_is_named_with_what_a_station_reports() {
    let named = "  interfaces: [eth9]";
    for (spec, has_carrier, reason, detail) in [
        (named, true, "announceFailed", "eth9"),
        ("", false, "announceFailed", "down: eth0"),
        ("", true, "listening", ""),
    ] {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(root.path());
        std::fs::create_dir(manifests(root.path())).unwrap();
        let name = "metadata: {name: l2, namespace: metallb-system}\n";
        let objects = OBJECTS.replace(
            name,
            &format!("{name}spec:\n  ipAddressPools: [pool]\n{spec}\n"),
        );
        std::fs::write(manifests(root.path()).join("all.yaml"), objects).unwrap();
        block_on(async {
            let mut speaker = start(&settings);
            run_until(&mut speaker, |speaker| !speaker.plan.addresses.is_empty()).await;
            let mut station = station(has_carrier);
            // Before the station is told what is wanted, and after: the plan says the same.
            for _ in 0..2 {
                let segment = translate::segment(&station.report());
                let touched = speaker.world.hear(segment);
                speaker.replan(touched);
                let not_held = &speaker.document().layer2.not_held[0];
                assert_eq!(not_held.reason, reason);
                let said = not_held.detail.clone().unwrap_or_default();
                assert!(said.contains(detail), "{said}");
                let plan = &speaker.plan;
                let all = plan.each();
                let desired = translate::layer2_desired(plan, &speaker.world, all);
                station.handle(Instant::now(), Input::Want(desired));
            }
            speaker.stop().await;
        });
    }
}

#[test]
fn an_address_is_explained_by_what_layer_2_knows_and_one_that_nobody_has_is_none() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    std::fs::create_dir(manifests(root.path())).unwrap();
    std::fs::write(manifests(root.path()).join("all.yaml"), OBJECTS).unwrap();
    block_on(async {
        let mut speaker = start(&settings);
        run_until(&mut speaker, |speaker| !speaker.plan.addresses.is_empty()).await;
        let explained = speaker.explain("192.0.2.1".parse().unwrap());
        assert_eq!(explained.services, ["default/web"]);
        assert_eq!(explained.reason.as_deref(), Some("layer2Off"));
        let [this] = explained.candidates.as_slice() else {
            panic!("{explained:?}");
        };
        assert!(this.is_eligible);
        assert_eq!((this.node.as_str(), this.state.as_str()), ("n1", "unable"));
        let none = speaker.explain("192.0.2.9".parse().unwrap());
        assert_eq!(none.services, Vec::<String>::new());

        // The station has settled, and knows of nobody.
        let links = BTreeMap::from([("eth0".to_owned(), crate::world::LinkState::Up)]);
        let touched = speaker.world.hear(Segment::Known {
            links,
            heard: BTreeMap::new(),
            waiting: BTreeMap::new(),
            unknown: BTreeSet::new(),
        });
        speaker.replan(touched);
        let explained = speaker.explain("192.0.2.1".parse().unwrap());
        assert_eq!(explained.holder.as_deref(), Some("n1"));
        assert_eq!(explained.decided.as_deref(), Some("kept"));
        assert_eq!(explained.why.as_deref(), Some("onlyCandidate"));
        assert!(explained.since.is_some());
        let held = &speaker.document().layer2.held[0];
        assert_eq!(held.why, "onlyCandidate");
        speaker.stop().await;
    });
}

#[test]
fn a_status_client_is_answered_while_the_loop_runs() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path());
    std::fs::create_dir(manifests(root.path())).unwrap();
    block_on(async {
        let mut speaker = start(&settings);
        let place = status::Place::Socket(settings.socket.clone());
        let asking = tokio::task::spawn_blocking(move || status::show(&place, View::Json, None));
        run_until(&mut speaker, |_| asking.is_finished()).await;
        asking.await.unwrap().unwrap();
        speaker.stop().await;
    });
}
