//! What a station has not been told yet of the sessions: the latest of each.
//!
//! Whoever adds something waits for nobody, and what is not taken for a while does not pile up: there is
//! one end, one beginning and one entry per prefix for a session at most.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::{Down, Event, Up};
use crate::bgp::{Changed, Established, supersede};

/// By peer.
#[derive(Debug, Default)]
pub struct News(BTreeMap<String, Word>);

/// Of one session, in the order in which it is told.
#[derive(Debug, Default)]
struct Word {
    down: Option<Down>,
    up: Option<Up>,
    relocated: Option<Arc<Established>>,
    changed: Arc<Changed>,
}

impl News {
    /// Adds what is newer.
    pub fn put(&mut self, peer: &str, event: Event) {
        let word = self.0.entry(peer.to_owned()).or_default();
        match event {
            Event::Up(up) => {
                *word = Word {
                    down: word.down.take(),
                    up: Some(up),
                    ..Word::default()
                };
            }
            // Why the first one ended: what came after it was never told of.
            Event::Down(down) => {
                *word = Word {
                    down: word.down.take().or(Some(down)),
                    ..Word::default()
                };
            }
            Event::Relocated(established) => word.relocated = Some(established),
            Event::Changed(changed) => supersede(&mut word.changed, changed),
        }
    }

    /// Takes everything.
    pub fn take(&mut self) -> impl Iterator<Item = (String, Event)> + use<> {
        let words = mem::take(&mut self.0).into_iter();
        words.flat_map(|(peer, word)| {
            let Word {
                down,
                up,
                relocated,
                changed,
            } = word;
            let events = [
                down.map(Event::Down),
                up.map(Event::Up),
                relocated.map(Event::Relocated),
                (!changed.is_empty()).then_some(Event::Changed(changed)),
            ];
            let events = events.into_iter().flatten();
            events.map(move |event| (peer.clone(), event))
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use super::super::station::tests::established;
    use super::*;
    use crate::bgp::tests::net;
    use crate::bgp::{Ended, Route};

    fn up(established: &Arc<Established>) -> Event {
        Event::Up(Up {
            established: Arc::clone(established),
            since: UNIX_EPOCH,
            routes: Arc::default(),
        })
    }

    fn ended(ended: Ended) -> Event {
        Event::Down(Down::Ended(Arc::new(ended)))
    }

    fn changed(prefix: &str, route: Option<Route>) -> Event {
        Event::Changed(Arc::new(Changed::from([(net(prefix), route)])))
    }

    fn told(events: &[Event]) -> Vec<Event> {
        let mut news = News::default();
        for event in events {
            news.put("tor", event.clone());
        }
        let told: Vec<_> = news.take().map(|(_, event)| event).collect();
        assert_eq!(news.take().count(), 0, "once");
        told
    }

    #[test]
    fn of_what_nobody_has_taken_only_the_latest_is_told() {
        let now = Instant::now();
        let (first, second) = (established(now), established(now + Duration::from_secs(1)));
        let route = || Some(Route::default());
        let one = changed("192.0.2.1/32", route());
        let none = changed("192.0.2.1/32", None);
        assert_eq!(
            told(&[one.clone(), none.clone()]),
            std::slice::from_ref(&none)
        );
        let whole = [
            up(&first),
            Event::Relocated(Arc::clone(&first)),
            one.clone(),
        ];
        assert_eq!(told(&whole), whole);
        // A session that begins knows of all that was before.
        assert_eq!(
            told(&[one.clone(), ended(Ended::Lost), up(&second), none.clone()]),
            [ended(Ended::Lost), up(&second), none]
        );
        // Of one that was never told of nothing is said.
        let unseen = [up(&first), one, ended(Ended::Closed(2)), up(&second)];
        assert_eq!(
            told(&[&[ended(Ended::Lost)], unseen.as_slice()].concat()),
            [ended(Ended::Lost), up(&second)]
        );
    }
}
