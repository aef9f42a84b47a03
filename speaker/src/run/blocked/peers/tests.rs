use ferrolb_crds::model::ServiceKey;

use super::*;

/// This node and what the server shows it, on a virtual clock.
struct Bench {
    now: Instant,
    view: View,
    missed: BTreeSet<String>,
    links: BTreeMap<String, Vec<IpNet>>,
    peers: Peers,
    /// Beats of ours reach the server, and come back.
    is_reachable: bool,
    beats: u64,
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn bench() -> Bench {
    Bench {
        now: Instant::now(),
        view: View {
            knows_signs: true,
            knows_announced: true,
            ..View::default()
        },
        missed: BTreeSet::from(["n2".to_owned()]),
        links: links(&[("eth0", "192.168.1.11/24"), ("docker0", "172.17.0.1/16")]),
        peers: Peers::new(1000),
        is_reachable: true,
        beats: 0,
    }
}

fn links(links: &[(&str, &str)]) -> BTreeMap<String, Vec<IpNet>> {
    let links = links.iter();
    links
        .map(|(name, net)| ((*name).to_owned(), vec![net.parse().unwrap()]))
        .collect()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Bench {
    /// The other says something new.
    fn sign(&mut self, beat: u64) {
        let address = |text: &str| BTreeSet::from([text.parse().unwrap()]);
        let interfaces = [
            ("ens3".to_owned(), address("192.168.1.12")),
            ("docker0".to_owned(), address("172.17.0.1")),
        ];
        let sign = Sign {
            beat: Some(beat),
            interfaces: interfaces.into(),
        };
        self.view.signs.insert("speaker-n2".to_owned(), sign);
    }

    fn announce(&mut self) {
        let service = ServiceKey::new("default", "web");
        let announced = self.view.announced.entry("n2".to_owned()).or_default();
        announced.insert(service, Vec::new());
    }

    fn judge(&mut self) -> Vec<News> {
        let news = self.peers.judge(&Evidence {
            now: self.now,
            wall: SystemTime::UNIX_EPOCH,
            own: "speaker-n1",
            missed: self.missed.clone(),
            links: self.links.clone(),
            view: &self.view,
        });
        if let Some(beat) = self.peers.sign_of_life().filter(|_| self.is_reachable) {
            let own = self.view.signs.entry("speaker-n1".to_owned()).or_default();
            self.beats += u64::from(own.beat != Some(beat));
            own.beat = Some(beat);
        }
        news
    }

    /// Judges whenever it is due, and once the server has shown something.
    fn run_for(&mut self, time: Duration) -> Vec<News> {
        let end = self.now + time;
        let mut news = self.judge();
        news.extend(self.judge());
        while let Some(at) = self.peers.deadline().filter(|at| *at <= end) {
            self.now = at;
            news.extend(self.judge());
            news.extend(self.judge());
        }
        self.now = end;
        news
    }

    fn is_alive(&self) -> bool {
        self.peers.alive(&self.view).contains_key("n2")
    }
}

#[test]
fn who_says_nothing_counts_as_down_and_nothing_is_written_for_it() {
    let mut bench = bench();
    assert_eq!(bench.run_for(seconds(600)), []);
    assert!(!bench.is_alive() && bench.peers.deadline().is_none());
    assert_eq!(bench.beats, 0);
    let missed = bench.missed.clone();
    assert_eq!(bench.peers.attention(&missed), Attention::Signs);
    assert_eq!(bench.peers.attention(&BTreeSet::new()), Attention::Nothing);
}

#[test]
fn a_sign_that_changes_makes_alive_and_four_beats_without_a_change_make_down() {
    let mut bench = bench();
    bench.sign(1);
    bench.run_for(seconds(1));
    assert!(!bench.is_alive(), "it may be an old one");
    bench.sign(2);
    bench.run_for(Duration::ZERO);
    assert!(bench.is_alive());
    let missed = bench.missed.clone();
    assert_eq!(bench.peers.attention(&missed), Attention::Everything);
    for beat in 3..10 {
        bench.run_for(seconds(5));
        bench.sign(beat);
    }
    bench.run_for(seconds(15));
    assert!(bench.is_alive());
    bench.run_for(seconds(5));
    assert!(!bench.is_alive());
    bench.sign(10);
    bench.run_for(Duration::ZERO);
    assert!(bench.is_alive(), "it is back");
}

#[test]
fn i4_nobody_beats_for_long_for_a_node_that_is_down() {
    let mut bench = bench();
    bench.sign(1);
    bench.run_for(seconds(600));
    let beats = bench.beats;
    assert!((3..20).contains(&beats), "{beats}");
    bench.run_for(seconds(600));
    assert_eq!(bench.beats, beats);
    assert_eq!(bench.peers.deadline(), None);
    // Until it says that it is there: then it is to know that we are.
    bench.sign(2);
    bench.run_for(seconds(10));
    assert!(bench.beats > beats && bench.is_alive());
}

#[test]
fn while_the_server_is_out_of_reach_nobody_is_declared_down() {
    let mut bench = bench();
    bench.sign(1);
    bench.run_for(seconds(1));
    bench.sign(2);
    bench.run_for(seconds(1));
    bench.is_reachable = false;
    bench.run_for(seconds(3600));
    assert!(bench.is_alive());
    bench.is_reachable = true;
    bench.run_for(seconds(10));
    assert!(bench.is_alive(), "it is given the time to say so");
    bench.run_for(seconds(15));
    assert!(!bench.is_alive());
}

#[test]
fn who_begins_leaves_what_others_announce_to_them_until_they_are_known_to_be_gone() {
    let mut bench = bench();
    bench.sign(1);
    bench.announce();
    bench.run_for(seconds(4));
    assert!(bench.is_alive());
    bench.run_for(seconds(12));
    assert!(!bench.is_alive(), "it is what a node has left behind");
}

#[test]
fn nothing_is_taken_before_it_is_known_what_others_announce_but_not_for_long_and_only_once() {
    let mut bench = bench();
    bench.view = View::default();
    bench.judge();
    assert!(bench.peers.is_waiting() && bench.peers.is_active());
    bench.view.knows_signs = true;
    bench.sign(1);
    bench.judge();
    assert!(bench.peers.is_waiting(), "it should be heard");
    bench.view.knows_announced = true;
    bench.judge();
    assert!(!bench.peers.is_waiting());

    let mut bench = self::bench();
    bench.view = View::default();
    bench.run_for(PATIENCE - Duration::from_millis(1));
    assert!(bench.peers.is_waiting());
    bench.run_for(Duration::from_millis(1));
    assert!(!bench.peers.is_waiting());
    bench.missed.clear();
    bench.judge();
    bench.missed.insert("n3".to_owned());
    bench.judge();
    assert!(!bench.peers.is_waiting(), "what is held is not given up");

    let mut bench = self::bench();
    bench.view = View::default();
    bench.missed.clear();
    bench.judge();
    assert!(!bench.peers.is_waiting(), "everybody is heard");
}

#[test]
fn only_who_has_an_address_in_a_network_of_ours_should_be_heard() {
    let mut bench = bench();
    bench.sign(1);
    bench.run_for(seconds(1));
    bench.sign(2);
    bench.run_for(seconds(1));
    let ways = bench.peers.alive(&bench.view).remove("n2").unwrap();
    let eth0 = ("eth0".to_owned(), BTreeSet::from(["ens3".to_owned()]));
    assert_eq!(ways, BTreeMap::from([eth0]), "docker0 is each one's own");
    // In another rack.
    bench.links = links(&[("eth0", "192.168.2.11/24"), ("docker0", "172.17.0.1/16")]);
    let beats = bench.beats;
    bench.run_for(seconds(600));
    assert!(!bench.is_alive() && bench.beats == beats);
}

#[test]
fn people_are_told_once_after_a_while_and_that_it_is_over() {
    let mut bench = bench();
    bench.sign(1);
    bench.run_for(seconds(1));
    bench.sign(2);
    assert_eq!(bench.run_for(TELL_AFTER - seconds(1)), []);
    bench.sign(3);
    let blocked = News::Blocked("n2".to_owned(), vec!["eth0".to_owned()]);
    assert_eq!(bench.run_for(seconds(2)), std::slice::from_ref(&blocked));
    assert_eq!(bench.peers.told().count(), 1);
    for beat in 4..20 {
        bench.sign(beat);
        assert_eq!(bench.run_for(seconds(5)), []);
    }
    assert_eq!(bench.run_for(seconds(30)), [News::Down("n2".to_owned())]);
    assert_eq!(bench.peers.told().count(), 0);
    bench.sign(20);
    bench.run_for(seconds(5));
    bench.sign(21);
    assert_eq!(bench.run_for(seconds(6)), [blocked]);
    // It is heard.
    bench.missed.clear();
    assert_eq!(bench.run_for(seconds(1)), [News::Over("n2".to_owned())]);
    assert_eq!(bench.peers.deadline(), None);
}
