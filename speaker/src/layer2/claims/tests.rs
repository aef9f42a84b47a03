use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::wire::{Reader, Writer};

const LINK: LinkIndex = LinkIndex(2);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn source(node: &str) -> Source {
    Source {
        node: node.into(),
        interface: "eth0".into(),
    }
}

fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A node that speaks, and one that listens.
struct Bench {
    now: Instant,
    theirs: Holdings,
    claims: Claims,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn new() -> Self {
        Self {
            now: Instant::now(),
            theirs: Holdings::default(),
            claims: Claims::default(),
        }
    }

    fn say(&mut self, message: Message) {
        self.say_as(1, message);
    }

    fn say_as(&mut self, incarnation: u64, message: Message) {
        let heard = Heard {
            link: LINK,
            sender: MAC,
            source: source("n2"),
            incarnation,
            digest: self.theirs.digest(),
            message,
        };
        self.claims.handle(self.now, heard);
    }

    /// The other holds so many addresses by now; gives the messages that say what changed.
    fn hold(&mut self, numbers: impl Iterator<Item = u32>) -> Vec<Message> {
        let wanted = numbers.map(|n| (address(n), Standing::Holds)).collect();
        let changes = self.theirs.replace_with(&wanted);
        let pieces = packets(&changes, |(address, _)| *address);
        let messages = pieces
            .into_iter()
            .map(|piece| Message::Changes(piece.to_vec()));
        messages.collect()
    }

    /// Whether the other is asked within this time.
    fn is_asked_within(&mut self, time: Duration) -> bool {
        let end = self.now + time;
        let due = self.claims.poll_timeout().filter(|at| *at <= end);
        self.now = due.unwrap_or(end);
        self.claims.handle_timeout(self.now);
        let said: Vec<Output> = std::iter::from_fn(|| self.claims.poll()).collect();
        said.contains(&Output::Ask {
            link: LINK,
            to: MAC,
        })
    }

    fn known(&self) -> Vec<(IpAddr, Standing)> {
        let addresses = (0..1000).map(address);
        let known = addresses.filter_map(|address| match self.claims.at(address) {
            [] => None,
            [(_, standing)] => Some((address, *standing)),
            more => panic!("one source, {more:?}"),
        });
        known.collect()
    }

    fn is_alike(&self) -> bool {
        self.known() == self.theirs.iter().collect::<Vec<_>>()
    }
}

#[test]
fn a_change_is_known_as_soon_as_it_is_heard() {
    let mut bench = Bench::new();
    for message in bench.hold(0..3) {
        bench.say(message);
    }
    assert!(bench.is_alike());
    let changed = (0..3).map(address).collect();
    assert_eq!(bench.claims.take_changed(), changed);
    for message in bench.hold(1..3) {
        bench.say(message.clone());
        bench.say(message);
    }
    assert!(bench.is_alike());
    assert_eq!(bench.claims.take_changed(), BTreeSet::from([address(0)]));
    assert!(!bench.is_asked_within(milliseconds(1000)));
}

#[test]
fn who_is_heard_for_the_first_time_is_asked_at_once_and_then_once_in_a_while() {
    let mut bench = Bench::new();
    drop(bench.hold(0..3));
    bench.say(Message::Nothing);
    assert!(bench.is_asked_within(Duration::ZERO));
    assert!(
        !bench.is_asked_within(milliseconds(900)),
        "unless it is heard again"
    );
    bench.say(Message::Nothing);
    assert!(bench.is_asked_within(Duration::ZERO));
    bench.say(Message::Nothing);
    assert!(!bench.is_asked_within(milliseconds(99)));
    assert!(bench.is_asked_within(milliseconds(1)));
}

#[test]
fn who_is_heard_again_is_unknown_until_all_is_alike_but_not_for_ever() {
    let mut bench = Bench::new();
    let is_known = |bench: &Bench| bench.claims.is_known("n2", "eth0");
    for message in bench.hold(0..3) {
        bench.say(message);
    }
    assert!(is_known(&bench));
    bench.claims.expect(bench.now, "n2", "eth0");
    assert!(!is_known(&bench));
    bench.say(Message::Nothing);
    assert!(is_known(&bench), "nothing has changed");

    bench.claims.expect(bench.now, "n2", "eth0");
    drop(bench.hold(0..5));
    bench.say(Message::Nothing);
    assert!(bench.is_asked_within(Duration::ZERO), "at once");
    assert!(!bench.is_asked_within(PATIENCE - milliseconds(1)));
    assert!(!is_known(&bench));
    assert!(!bench.is_asked_within(milliseconds(1)));
    assert!(is_known(&bench), "it has been waited for long enough");
}

#[test]
fn who_holds_nothing_need_not_be_asked() {
    let mut bench = Bench::new();
    bench.say(Message::Nothing);
    assert!(bench.is_alike());
    for message in bench.hold(0..3) {
        bench.say(message);
    }
    drop(bench.hold(0..0));
    bench.say(Message::Nothing);
    assert!(bench.is_alike());
    assert!(!bench.is_asked_within(milliseconds(1000)));
}

#[test]
fn changes_of_several_packets_are_waited_for_before_anybody_is_asked() {
    let mut bench = Bench::new();
    bench.say(Message::Nothing);
    let messages = bench.hold(0..500);
    assert!(messages.len() > 2);
    for message in messages {
        bench.say(message);
    }
    assert!(bench.is_alike());
    let messages = bench.hold(500..1000);
    for message in messages.into_iter().skip(1) {
        bench.say(message);
    }
    assert!(!bench.is_alike());
    assert!(!bench.is_asked_within(milliseconds(29)));
    assert!(bench.is_asked_within(milliseconds(1)), "one was lost");
}

#[test]
fn parts_say_it_all_in_any_order_and_what_is_not_in_them_is_not_held() {
    let mut bench = Bench::new();
    for message in bench.hold(0..300) {
        bench.say(message);
    }
    drop(bench.hold((200..700).filter(|n| n % 3 != 0)));
    let mut parts = bench.theirs.parts();
    assert!(parts.len() > 2);
    parts.reverse();
    for part in parts {
        bench.say(part);
    }
    assert!(bench.is_alike());
}

#[test]
fn a_node_that_was_started_anew_holds_what_it_says_and_nothing_else() {
    let mut bench = Bench::new();
    for message in bench.hold(0..10) {
        bench.say(message);
    }
    assert_eq!(bench.known().len(), 10);
    bench.claims.take_changed();
    bench.theirs = Holdings::default();
    let messages = bench.hold(5..6);
    for message in messages {
        bench.say_as(2, message);
    }
    assert!(bench.is_alike());
    assert_eq!(bench.claims.take_changed().len(), 10);
}

#[test]
fn who_answers_without_having_said_so_is_asked_at_once() {
    let mut bench = Bench::new();
    bench.say(Message::Nothing);
    let answer = |bench: &mut Bench| {
        let now = bench.now;
        bench.claims.note_answer(now, &source("n2"), address(1));
    };
    answer(&mut bench);
    assert_eq!(
        bench.claims.at(address(1)),
        [],
        "anybody could have sent it"
    );
    assert!(bench.is_asked_within(Duration::ZERO));
    // However often that is seen.
    answer(&mut bench);
    assert!(!bench.is_asked_within(ASK_AGAIN / 2));
    bench.theirs.set(address(1), Some(Standing::Holds));
    let holds = vec![(address(1), Some(Standing::Holds))];
    bench.say(Message::Changes(holds));
    assert_eq!(
        bench.claims.at(address(1)),
        [(source("n2"), Standing::Holds)]
    );
    assert!(bench.is_alike());
}

#[test]
fn i7_what_is_remembered_is_bounded() {
    let mut bench = Bench::new();
    let too_many = 70_000;
    for start in (0..too_many).step_by(150) {
        let changes = (start..start + 150).map(|n| (address(n), Some(Standing::Holds)));
        let changes: Vec<Change> = changes.collect();
        for (address, standing) in &changes {
            bench.theirs.set(*address, *standing);
        }
        bench.say(Message::Changes(changes));
    }
    let known = (0..too_many).filter(|n| !bench.claims.at(address(*n)).is_empty());
    assert_eq!(known.count(), MAX_ADDRESSES);
    assert_eq!(bench.claims.count, MAX_ADDRESSES);
    bench.claims.forget("n2");
    assert_eq!(bench.claims.count, 0);
}

#[test]
fn a_source_that_there_is_no_room_for_is_not_waited_for() {
    let mut bench = Bench::new();
    drop(bench.hold(0..3));
    for n in 0..100 {
        let heard = Heard {
            link: LINK,
            sender: MAC,
            source: Source::of("n2", &format!("eth{n}")),
            incarnation: 1,
            digest: bench.theirs.digest(),
            message: Message::Nothing,
        };
        bench.claims.handle(bench.now, heard);
    }
    assert!(!bench.claims.is_known("n2", "eth0"));
    assert!(bench.claims.is_known("n2", "eth99"));
}

#[test]
fn what_a_node_said_of_any_interface_is_gone_when_it_is_started_anew() {
    let mut bench = Bench::new();
    for message in bench.hold(0..3) {
        bench.say(message);
    }
    let heard = Heard {
        link: LINK,
        sender: MAC,
        source: Source::of("n2", "renamed"),
        incarnation: 2,
        digest: Holdings::default().digest(),
        message: Message::Nothing,
    };
    bench.claims.handle(bench.now, heard);
    assert_eq!(bench.known(), []);
}

fn standing() -> impl Strategy<Value = Option<Standing>> {
    prop::option::of(prop::sample::select(vec![
        Standing::Holds,
        Standing::Offers,
        Standing::Remembers,
    ]))
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..50).prop_map(address),
        (0u128..50).prop_map(|n| std::net::Ipv6Addr::from(n).into())
    ]
}

proptest! {
    #[test]
    fn every_message_survives(
        changes in prop::collection::vec((any_address(), standing()), 0..60),
        bounds in [prop::option::of(any_address()), prop::option::of(any_address())],
    ) {
        let [after, last] = bounds;
        let entries = changes.iter().filter_map(|(address, standing)| Some((*address, (*standing)?)));
        let part = Part { after, last, entries: entries.collect() };
        for message in [Message::Nothing, Message::Changes(changes), Message::Part(part)] {
            let mut writer = Writer::default();
            message.emit(&mut writer);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Message::parse(&mut reader), Ok(message));
            prop_assert!(reader.rest().is_empty());
            for length in 0..bytes.len() {
                prop_assert!(Message::parse(&mut Reader::new(&bytes[..length])).is_err());
            }
        }
    }

    #[test]
    fn equal_holdings_have_equal_digests_however_they_came_about(
        steps in prop::collection::vec((any_address(), standing()), 0..60)
    ) {
        let (mut one, mut other) = (Holdings::default(), Holdings::default());
        for (address, standing) in &steps {
            one.set(*address, *standing);
        }
        prop_assert_eq!(one.len(), one.iter().count());
        let entries = one.iter().collect();
        other.replace_with(&entries);
        prop_assert_eq!(one.digest(), other.digest());
        other.set(address(99), Some(Standing::Holds));
        prop_assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn whatever_is_lost_both_are_alike_in_the_end(
        steps in prop::collection::vec((any_address(), standing(), any::<bool>()), 1..60)
    ) {
        let mut bench = Bench::new();
        for (address, standing, is_lost) in steps {
            bench.theirs.set(address, standing);
            match is_lost {
                true => bench.say(Message::Nothing),
                false => bench.say(Message::Changes(vec![(address, standing)])),
            }
        }
        for part in bench.theirs.parts() {
            bench.say(part);
        }
        prop_assert!(bench.claims.is_known("n2", "eth0"));
        let told: Vec<_> = bench.theirs.iter().collect();
        for (address, standing) in told {
            prop_assert_eq!(bench.claims.at(address), &[(source("n2"), standing)]);
        }
    }
}
