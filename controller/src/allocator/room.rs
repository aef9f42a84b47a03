//! Where, among the addresses that Services with one key share, there is room for more ports.
//!
//! For each port there are runs: all positions of this key from the first of a run to its last have
//! the port in use. A search passes over what is in the way run by run, not address by address.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound::{Excluded, Unbounded};

use super::sharing::Port;

/// First to last, both inclusive; no two could be one.
type Runs = BTreeMap<u128, u128>;

/// The positions that Services with one key share.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// What is in use where.
    positions: BTreeMap<u128, BTreeSet<Port>>,
    runs: BTreeMap<Port, Runs>,
}

impl Room {
    /// The first position where none of the ports is in use.
    pub(super) fn first(&self, ports: &[Port]) -> Option<u128> {
        let mut position = *self.positions.first_key_value()?.0;
        while let Some(last) = ports.iter().filter_map(|p| self.last(p, position)).max() {
            position = self.after(last)?;
        }
        Some(position)
    }

    /// Where the run of the port ends in which the position is.
    fn last(&self, port: &Port, position: u128) -> Option<u128> {
        let (_, last) = self.runs.get(port)?.range(..=position).next_back()?;
        (position <= *last).then_some(*last)
    }

    fn before(&self, position: u128) -> Option<u128> {
        let mut before = self.positions.range(..position);
        before.next_back().map(|(position, _)| *position)
    }

    fn after(&self, position: u128) -> Option<u128> {
        let mut after = self.positions.range((Excluded(position), Unbounded));
        after.next().map(|(position, _)| *position)
    }

    /// Whether no position is shared.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The ports are in use at the position.
    pub(super) fn take(&mut self, position: u128, ports: &[Port]) {
        if !self.positions.contains_key(&position) {
            self.across(position, part);
            self.positions.insert(position, BTreeSet::new());
        }
        let (before, after) = (self.before(position), self.after(position));
        let Some(in_use) = self.positions.get_mut(&position) else {
            return;
        };
        for port in ports.iter().filter(|port| in_use.insert(**port)) {
            let runs = self.runs.entry(*port).or_default();
            runs.insert(position, position);
            before.inspect(|before| join(runs, *before, position));
            after.inspect(|after| join(runs, position, *after));
        }
    }

    /// The ports are no longer in use there.
    pub(super) fn give(&mut self, position: u128, ports: &[Port]) {
        let (before, after) = (self.before(position), self.after(position));
        let Some(in_use) = self.positions.get_mut(&position) else {
            return;
        };
        for port in ports.iter().filter(|port| in_use.remove(port)) {
            let Some(runs) = self.runs.get_mut(port) else {
                continue;
            };
            before.inspect(|before| part(runs, *before, position));
            after.inspect(|after| part(runs, position, *after));
            runs.remove(&position);
            if runs.is_empty() {
                self.runs.remove(port);
            }
        }
    }

    /// The position is no longer shared.
    pub(super) fn remove(&mut self, position: u128) {
        let ports = self.positions.get(&position);
        let ports: Vec<_> = ports.into_iter().flatten().copied().collect();
        self.give(position, &ports);
        self.positions.remove(&position);
        self.across(position, join);
    }

    /// Changes the runs from the neighbour before the position to the one after it, which is where
    /// the same ports are in use.
    fn across(&mut self, position: u128, change: impl Fn(&mut Runs, u128, u128)) {
        let (Some(before), Some(after)) = (self.before(position), self.after(position)) else {
            return;
        };
        for port in self.positions.get(&before).into_iter().flatten() {
            if let Some(runs) = self.runs.get_mut(port) {
                change(runs, before, after);
            }
        }
    }
}

/// One run of the one that ends here and the one that starts there, if there are both.
fn join(runs: &mut Runs, end: u128, start: u128) {
    let Some((first, last)) = runs.range(..=end).next_back() else {
        return;
    };
    let (first, is_end) = (*first, *last == end);
    if is_end && let Some(last) = runs.remove(&start) {
        runs.insert(first, last);
    }
}

/// Two of the run, if there is one, that is both here and there.
fn part(runs: &mut Runs, end: u128, start: u128) {
    if let Some((_, last)) = runs.range_mut(..=end).next_back()
        && *last >= start
    {
        let last = mem::replace(last, end);
        runs.insert(start, last);
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_crds::model::Protocol;
    use proptest::prelude::*;

    use super::*;

    fn tcp(number: u16) -> Port {
        (Protocol::Tcp, number)
    }

    fn runs(room: &Room) -> BTreeMap<Port, Vec<(u128, u128)>> {
        let runs = room.runs.iter();
        runs.map(|(port, runs)| (*port, runs.iter().map(|(a, b)| (*a, *b)).collect()))
            .collect()
    }

    #[test]
    fn i11_what_is_in_the_way_is_passed_over_at_once() {
        let mut room = Room::default();
        // Other addresses lie between those of this key.
        for position in (0..1000).map(|n| n * 3) {
            room.take(position, &[tcp(80), tcp(position as u16 + 1000)]);
        }
        assert_eq!(runs(&room)[&tcp(80)], [(0, 2997)]);
        room.give(30, &[tcp(80)]);
        room.remove(60);
        room.take(61, &[tcp(443)]);
        let expected = [(0, 27), (33, 57), (63, 2997)];
        assert_eq!(runs(&room)[&tcp(80)], expected);
        assert_eq!(room.first(&[tcp(80)]), Some(30));
        assert_eq!(room.first(&[tcp(80), tcp(1030)]), Some(61));
        room.remove(61);
        assert_eq!(runs(&room)[&tcp(80)], [(0, 27), (33, 2997)]);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Take(u128, Vec<Port>),
        Give(u128, Vec<Port>),
        Remove(u128),
    }

    fn op() -> impl Strategy<Value = Op> {
        let ports = || prop::collection::vec((1..4_u16).prop_map(tcp), 0..3);
        prop_oneof![
            4 => (0..8_u128, ports()).prop_map(|(position, ports)| Op::Take(position, ports)),
            2 => (0..8_u128, ports()).prop_map(|(position, ports)| Op::Give(position, ports)),
            1 => (0..8_u128).prop_map(Op::Remove),
        ]
    }

    /// The runs again, by looking at every position.
    fn runs_of(positions: &BTreeMap<u128, BTreeSet<Port>>) -> BTreeMap<Port, Vec<(u128, u128)>> {
        let mut runs = BTreeMap::<_, Vec<(u128, u128)>>::new();
        let mut before = None;
        for (position, ports) in positions {
            for port in ports {
                let runs = runs.entry(*port).or_default();
                match runs.last_mut() {
                    Some((_, last)) if Some(*last) == before => *last = *position,
                    _ => runs.push((*position, *position)),
                }
            }
            before = Some(*position);
        }
        runs
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_look_at_every_position_would(
            ops in prop::collection::vec(op(), 1..40),
            wanted in prop::collection::vec((1..4_u16).prop_map(tcp), 0..3),
        ) {
            let (mut room, mut model) = (Room::default(), BTreeMap::<_, BTreeSet<_>>::new());
            for op in ops {
                match op {
                    Op::Take(position, ports) => {
                        room.take(position, &ports);
                        model.entry(position).or_default().extend(ports);
                    }
                    Op::Give(position, ports) => {
                        room.give(position, &ports);
                        if let Some(in_use) = model.get_mut(&position) {
                            in_use.retain(|port| !ports.contains(port));
                        }
                    }
                    Op::Remove(position) => {
                        room.remove(position);
                        model.remove(&position);
                    }
                }
                prop_assert_eq!(runs(&room), runs_of(&model));
                let fits = |(_, in_use): &(_, &BTreeSet<_>)| {
                    wanted.iter().all(|port| !in_use.contains(port))
                };
                let first = model.iter().find(fits).map(|(position, _)| *position);
                prop_assert_eq!(room.first(&wanted), first);
            }
        }
    }
}
