//! Names in a router's configuration: made of the objects' names, short enough, and each used once.

use std::collections::BTreeSet;

/// The names in use.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// A new name that reads like these words. Letters, digits and underscores are allowed everywhere.
    pub(super) fn take(&mut self, words: &[&str]) -> String {
        let mut name = "ferrolb".to_owned();
        for word in words {
            name.push('_');
            name.extend(word.chars().map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' => c,
                _ => '_',
            }));
        }
        name.truncate(LONGEST);
        if self.0.insert(name.clone()) {
            return name;
        }
        let mut numbered = (2..).map(|number: usize| format!("{name}_{number}"));
        let free = numbered.find(|name| self.0.insert(name.clone()));
        free.unwrap_or(name)
    }
}

/// BIRD takes 63 characters, and a number may follow, and one for each dynamic session.
const LONGEST: usize = 45;
