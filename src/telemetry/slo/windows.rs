//! One objective: what was counted of it, by time, and what has been told of it. Owns in which buckets
//! that is; pure: it is told what time it is.
//!
//! Invariant: what was counted is in one bucket of each kind, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::report::SloChange;
use crate::site::SloSpec;
use crate::striped::Striped;

use super::burn::{self, Burn, Standing, WINDOWS};
use super::record::{Buckets, OfSlo};
use super::ring::{Counts, Ring};

/// The span of the buckets from which short windows are read.
const SHORT: Duration = Duration::from_secs(30);

/// How far they reach.
const SHORT_REACH: Duration = Duration::from_secs(6 * 3600);

/// The span of the buckets of the period.
const LONG: Duration = Duration::from_secs(3600);

/// What was counted of an objective since the process began.
#[derive(Default)]
pub(super) struct Counters(Striped<Pages>);

#[derive(Default)]
struct Pages {
    measured: AtomicU64,
    missed: AtomicU64,
    missed_pages: AtomicU64,
}

impl Counters {
    pub(super) fn add(&self, counts: Counts) {
        let pages = self.0.mine();
        let add = |to: &AtomicU64, count| pages.add(to, count);
        add(&pages.measured, counts.measured);
        if counts.missed > 0 {
            add(&pages.missed, counts.missed);
            add(&pages.missed_pages, counts.missed_pages);
        }
    }

    fn counted(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let missed_pages = self.0.sum(|pages| read(&pages.missed_pages));
        let missed = self.0.sum(|pages| read(&pages.missed));
        Counts {
            measured: self.0.sum(|pages| read(&pages.measured)),
            missed,
            missed_pages,
        }
    }
}

/// The counts of one objective by time.
pub(super) struct Windows {
    pub(super) spec: SloSpec,
    /// The names of its pages.
    pub(super) pages: Vec<String>,
    pub(super) counters: Arc<Counters>,
    /// What of them is in the buckets.
    pub(super) seen: Counts,
    minutes: Ring,
    pub(super) hours: Ring,
    pub(super) standing: Standing,
}

fn reach(spec: &SloSpec) -> Duration {
    let longest = WINDOWS.map(|(window, _)| window).into_iter().max();
    // an hour more, as one is not full yet
    spec.period.max(longest.unwrap_or_default()) + LONG
}

impl Windows {
    pub(super) fn new(spec: &SloSpec, now: Moment) -> Self {
        Self {
            pages: spec.pages.clone(),
            counters: Arc::default(),
            seen: Counts::default(),
            minutes: Ring::new(SHORT, SHORT_REACH, now),
            hours: Ring::new(LONG, reach(spec), now),
            standing: Standing::default(),
            spec: spec.clone(),
        }
    }

    /// The same, by what is declared of it now.
    pub(super) fn declared_as(self, spec: &SloSpec) -> Self {
        Self {
            hours: self.hours.reaching(reach(spec)),
            spec: spec.clone(),
            ..self
        }
    }

    /// What is to be known of it after a restart.
    pub(super) fn recorded(&mut self, now: Moment) -> OfSlo {
        self.pass(now);
        OfSlo {
            name: self.spec.name.clone(),
            measures: self.measures(),
            standing: self.standing,
            minutes: Buckets::of(&self.minutes),
            hours: Buckets::of(&self.hours),
        }
    }

    /// `None` if something else was measured, or if it cannot have been so.
    pub(super) fn recalled(spec: &SloSpec, known: OfSlo, at: Moment) -> Option<Self> {
        let empty = Self::new(spec, at);
        if known.measures != empty.measures() || !known.standing.can_be() {
            return None;
        }
        Some(Self {
            minutes: known.minutes.into_ring(empty.minutes)?,
            hours: known.hours.into_ring(empty.hours)?,
            standing: known.standing,
            ..empty
        })
    }

    /// What makes two objectives measure the same.
    pub(super) fn measures(&self) -> String {
        match self.pages.is_empty() {
            true => self.spec.promise.to_string(),
            false => format!("{} ({})", self.spec.promise, self.pages.join(", ")),
        }
    }

    /// Puts what was counted where it belongs in time.
    pub(super) fn pass(&mut self, now: Moment) {
        let counted = self.counters.counted();
        let new = counted.since(&self.seen);
        self.seen = counted;
        for ring in [&mut self.minutes, &mut self.hours] {
            ring.pass(now);
            ring.add(new);
        }
    }

    pub(super) fn turn(&mut self, now: Moment) -> Vec<SloChange> {
        self.pass(now);
        let (burn, left) = (self.burn(), self.left());
        self.standing.turn(&burn, left)
    }

    pub(super) fn burn(&self) -> Burn {
        let counts = WINDOWS.map(|(window, _)| {
            let ring = match window <= SHORT_REACH {
                true => &self.minutes,
                false => &self.hours,
            };
            ring.sum(window)
        });
        Burn::of(counts, self.spec.allowed())
    }

    pub(super) fn left(&self) -> f64 {
        burn::left(self.hours.sum(self.spec.period), self.spec.allowed())
    }
}
