//! Virtual time: whole microseconds since the run began. Owns the moment, the span, and what happens
//! when, in order; knows nothing of what happens.
//!
//! Invariant: what happens at the same moment happens in the order in which it was planned, so that a
//! run is the same every time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Add;
use std::time::Duration;

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct At(u64);

/// From one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Span(u64);

impl At {
    pub(super) fn from_duration(since: Duration) -> Self {
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The time from `earlier` to this; zero if it is later.
    pub(super) fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Since the run began.
    pub(super) fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// The same in seconds.
    pub(super) fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Span {
    /// Of so many milliseconds, to the microsecond.
    pub(super) fn from_ms(ms: f64) -> Self {
        Self((ms * 1e3).round().clamp(0.0, 1e15) as u64)
    }

    pub(super) fn from_duration(span: Duration) -> Self {
        Self(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn ms(self) -> f64 {
        self.0 as f64 / 1e3
    }

    pub(super) fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl Add<Span> for At {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// What happens, and when.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: At,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// It happens at that moment.
    pub(super) fn plan(&mut self, at: At, event: E) {
        let number = self.planned;
        self.planned += 1;
        self.heap.push(Reverse(Entry { at, number, event }));
    }

    /// What happens next.
    pub(super) fn next(&mut self) -> Option<(At, E)> {
        let Reverse(Entry { at, event, .. }) = self.heap.pop()?;
        Some((at, event))
    }

    /// How much has been planned so far.
    pub(super) fn planned(&self) -> u64 {
        self.planned
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_for_one_moment_keeps_its_order() {
        let mut agenda = Agenda::new();
        let at = |ms| At::default() + Span::from_ms(ms);
        for (when, what) in [(2.0, 'c'), (1.0, 'a'), (2.0, 'd'), (1.5, 'b')] {
            agenda.plan(at(when), what);
        }
        let order: String = std::iter::from_fn(|| agenda.next())
            .map(|(_, e)| e)
            .collect();
        assert_eq!(order, "abcd");
    }
}
