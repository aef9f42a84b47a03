//! Values by key, and how they differ from when that was asked last.

use std::collections::BTreeMap;

/// Values with a memory of what they were.
#[derive(Debug)]
pub(super) struct Ledger<K, V> {
    values: BTreeMap<K, V>,
    /// Of the keys that were touched: the value before.
    before: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Ledger<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Ledger<K, V> {
    /// The value at present.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Every key at present.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.values.keys()
    }

    /// Everything at present.
    pub(super) fn entries(&self) -> impl Iterator<Item = (K, V)> {
        let values = self.values.iter();
        values.map(|(key, value)| (key.clone(), value.clone()))
    }

    /// The value is this, or there is none.
    pub(super) fn set(&mut self, key: K, value: Option<V>) {
        if self.values.get(&key) == value.as_ref() {
            return;
        }
        let was = match value {
            Some(value) => self.values.insert(key.clone(), value),
            None => self.values.remove(&key),
        };
        self.before.entry(key).or_insert(was);
    }

    /// Changes a value in place, from the default if there is none.
    pub(super) fn edit(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        let value = self.values.get(&key);
        self.before
            .entry(key.clone())
            .or_insert_with(|| value.cloned());
        change(self.values.entry(key).or_default());
    }

    /// Every value that is different from when this was asked last.
    pub(super) fn differences(&mut self) -> impl Iterator<Item = (K, Option<V>)> {
        let before = std::mem::take(&mut self.before);
        before.into_iter().filter_map(|(key, before)| {
            let now = self.values.get(&key);
            (now != before.as_ref()).then(|| (key, now.cloned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_in_the_end_is_told() {
        let mut ledger = Ledger::default();
        ledger.set("a", Some(1));
        ledger.set("b", Some(1));
        ledger.set("b", None);
        assert_eq!(ledger.differences().collect::<Vec<_>>(), [("a", Some(1))]);
        ledger.set("a", Some(2));
        ledger.set("a", Some(1));
        assert_eq!(ledger.differences().count(), 0);
        ledger.edit("a", |value| *value += 1);
        assert_eq!(ledger.differences().collect::<Vec<_>>(), [("a", Some(2))]);
        ledger.set("a", None);
        assert_eq!(ledger.differences().collect::<Vec<_>>(), [("a", None)]);
    }
}
