//! What is counted by the names that a site declares. Owns how a row is found: for every block of every
//! page, so by its place in the declaration where that has led to it before, and else by a hash that is
//! quick with short names. Nobody but the site's author chooses them, so none is chosen to collide; pure.
//!
//! Invariant: what is found has the name that was asked for, whatever the place says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows by name.
#[derive(Debug)]
pub(super) struct Named<T> {
    rows: Vec<(String, Arc<T>)>,
    /// Name → index into `rows`.
    by_name: HashMap<String, usize, foldhash::fast::FixedState>,
    /// Place in a declaration → index into `rows`: only a guess, for another site may be declared by now.
    by_place: Vec<AtomicUsize>,
}

impl<T> Named<T> {
    /// The row of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.by_name.get(name).map(|index| &self.rows[*index].1)
    }

    /// The same for a name that is declared at `place`.
    pub(super) fn at(&self, place: usize, name: &str) -> Option<&Arc<T>> {
        let Some(guess) = self.by_place.get(place) else {
            return self.get(name);
        };
        match self.rows.get(guess.load(Ordering::Relaxed)) {
            Some((known, row)) if known == name => Some(row),
            _ => {
                let index = *self.by_name.get(name)?;
                guess.store(index, Ordering::Relaxed);
                Some(&self.rows[index].1)
            }
        }
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.rows.iter().map(|(name, row)| (name, row))
    }

    /// All rows, by the order of their names.
    pub(super) fn sorted(&self) -> Vec<(&String, &Arc<T>)> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        sorted
    }

    /// The same and one row more, unless the name has one.
    pub(super) fn with(&self, name: &str) -> Self
    where
        T: Default,
    {
        let more = (name.to_owned(), Arc::default());
        let known = self
            .iter()
            .map(|(name, row)| (name.clone(), Arc::clone(row)));
        match self.get(name) {
            Some(_) => known.collect(),
            None => known.chain([more]).collect(),
        }
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl<T> FromIterator<(String, Arc<T>)> for Named<T> {
    /// In the order of the declaration, where the places are to be right at once.
    fn from_iter<I: IntoIterator<Item = (String, Arc<T>)>>(rows: I) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        let names = rows.iter().enumerate();
        Self {
            by_name: names
                .map(|(index, (name, _))| (name.clone(), index))
                .collect(),
            by_place: (0..rows.len()).map(AtomicUsize::new).collect(),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_whatever_the_place_says() {
        let rows = ["a", "b", "c"].map(|name| (name.to_owned(), Arc::new(name.to_owned())));
        let named = Named::from_iter(rows);
        for _ in 0..2 {
            for (place, name) in [(0, "a"), (0, "c"), (2, "b"), (7, "b"), (1, "a")] {
                let found = named.at(place, name).map(|row| row.as_str());
                assert_eq!(found, Some(name), "at {place}");
            }
        }
        assert_eq!(named.at(1, "d"), None);
        assert_eq!(named.at(9, "d"), None);
        assert_eq!(named.at(1, "b").map(|row| row.as_str()), Some("b"));
    }

    #[test]
    fn a_row_more_keeps_those_that_are_there() {
        let first = Named::<AtomicUsize>::default().with("x");
        first.get("x").unwrap().store(5, Ordering::Relaxed);
        let second = first.with("a").with("x");
        let counts = second.sorted().into_iter();
        let counts: Vec<_> = counts
            .map(|(n, r)| (n.as_str(), r.load(Ordering::Relaxed)))
            .collect();
        assert_eq!(counts, [("a", 0), ("x", 5)]);
    }
}
