//! A set of numbers as ordered, disjoint, inclusive ranges.

use std::collections::BTreeMap;

/// Numbers that are free; every operation is O(log n) in the number of gaps.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct FreeRanges {
    /// First to last, both inclusive; no two touch.
    ranges: BTreeMap<u128, u128>,
}

impl FreeRanges {
    /// The lowest number.
    pub(super) fn first(&self) -> Option<u128> {
        self.ranges.first_key_value().map(|(first, _)| *first)
    }

    /// Adds a whole range that touches no other except, perhaps, the one that ends right before it.
    pub(super) fn append(&mut self, first: u128, last: u128) {
        let start = match self.ranges.last_key_value() {
            Some((start, end)) if end.checked_add(1) == Some(first) => *start,
            Some(_) | None => first,
        };
        self.ranges.insert(start, last);
    }

    /// Takes a number out; false when it was not free.
    pub(super) fn take(&mut self, number: u128) -> bool {
        let Some((first, last)) = self.range_of(number) else {
            return false;
        };
        if first == number {
            self.ranges.remove(&first);
        } else {
            self.ranges.insert(first, number - 1);
        }
        if number < last {
            self.ranges.insert(number + 1, last);
        }
        true
    }

    /// Puts a number back.
    pub(super) fn give(&mut self, number: u128) {
        if self.range_of(number).is_some() {
            return;
        }
        let above = number
            .checked_add(1)
            .and_then(|next| self.ranges.remove(&next));
        let last = above.unwrap_or(number);
        let below = self.ranges.range(..number).next_back();
        let first = match below {
            Some((first, end)) if end.checked_add(1) == Some(number) => *first,
            Some(_) | None => number,
        };
        self.ranges.insert(first, last);
    }

    fn range_of(&self, number: u128) -> Option<(u128, u128)> {
        let (first, last) = self.ranges.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_grow_together_again() {
        let mut free = FreeRanges::default();
        free.append(0, 9);
        for number in [4, 5, 0, 9] {
            assert!(free.take(number));
            assert!(!free.take(number));
        }
        assert_eq!(free.first(), Some(1));
        for number in [9, 5, 0, 4, 4] {
            free.give(number);
        }
        assert_eq!(free.ranges, BTreeMap::from([(0, 9)]));
    }

    #[test]
    fn both_ends_of_all_numbers_work() {
        let mut free = FreeRanges::default();
        free.append(0, u128::MAX);
        assert!(free.take(u128::MAX));
        assert!(free.take(0));
        assert_eq!(free.first(), Some(1));
        free.give(u128::MAX);
        free.give(0);
        assert_eq!(free.ranges, BTreeMap::from([(0, u128::MAX)]));
    }
}
