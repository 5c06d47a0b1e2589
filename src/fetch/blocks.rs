//! The limiters of a site's optional fragments (shell: they are behind locks). Owns who passes one, and
//! that whatever was let in is accounted for once, also when the work that it was let in for is dropped
//! half-way. What a limiter decides is in [`limiter`](super::limiter).
//!
//! Invariant: core and essential fragments pass none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::{Clock, Instant};
use crate::degradation::{BlockReading, Level, Reader};
use crate::fragment::{Fragment, FragmentId, Source};
use crate::report::Cause;
use crate::site::Site;

use super::limiter::{Limiter, Outcome, tolerance};
use super::state::BlockState;

/// The shortest and the longest answer time that is believed of a file, in milliseconds.
const BASELINE_MS: (f64, f64) = (0.01, 60_000.0);

/// What stands between the pages and one optional fragment, and outlives an edition.
struct Block {
    name: String,
    origin: String,
    /// By which readers are drawn.
    matter: u64,
    limiter: Mutex<Limiter>,
    /// The limiter's, where it can be read without waiting.
    share: AtomicU64,
}

/// A block where a site has it.
struct Placed {
    block: Arc<Block>,
    /// The place of its origin.
    origin: usize,
}

/// The blocks of one site.
pub(super) struct Blocks {
    /// By [`FragmentId`]; `None` for what has no limiter.
    all: Vec<Option<Placed>>,
    clock: Clock,
    /// Whether anybody is refused.
    is_limiting: Arc<AtomicBool>,
}

impl Blocks {
    /// Those of a site. Of those of `previous` what is known is taken over, unless their origin
    /// `is_known` no more.
    pub(super) fn new(
        site: &Site,
        previous: Option<&Self>,
        clock: Clock,
        is_limiting: Arc<AtomicBool>,
        is_known: impl Fn(usize) -> bool,
    ) -> Self {
        let now = clock.now();
        let steps = usize::from(site.ladder.text_only().get());
        let known: BTreeMap<&str, &Arc<Block>> = previous
            .map(|previous| previous.all.iter().flatten())
            .into_iter()
            .flatten()
            .map(|placed| (placed.block.name.as_str(), &placed.block))
            .collect();
        let placed = site.fragments.iter().zip(0..).map(|(fragment, place)| {
            let level = level_of(site, FragmentId(place))?;
            let Source::Http { origin, .. } = fragment.source else {
                return None;
            };
            let origin = origin.index();
            let spec = &site.origins[origin];
            let tolerance = tolerance(usize::from(level.get()).saturating_sub(1), steps);
            let known = known.get(fragment.name.as_str());
            let block = match known.filter(|b| b.origin == spec.name && is_known(origin)) {
                Some(block) => Arc::clone(block),
                None => Arc::new(Block {
                    name: fragment.name.clone(),
                    origin: spec.name.clone(),
                    matter: xxh3_64(fragment.name.as_bytes()),
                    limiter: Mutex::new(Limiter::new(tolerance, None, now)),
                    share: AtomicU64::new(1.0f64.to_bits()),
                }),
            };
            let mut limiter = block.limiter.lock();
            limiter.declare(tolerance);
            limiter.raise_ceiling(spec.max_in_flight);
            drop(limiter);
            Some(Placed { block, origin })
        });
        Self {
            all: placed.collect(),
            clock,
            is_limiting,
        }
    }

    fn block(&self, id: FragmentId) -> Option<&Arc<Block>> {
        let placed = self.all.get(id.index())?.as_ref()?;
        Some(&placed.block)
    }

    /// Those that are asked of an origin, by its place.
    pub(super) fn of_origin(&self, origin: usize) -> impl Iterator<Item = FragmentId> {
        let placed = self.all.iter().enumerate();
        let of_origin = placed.filter(move |(_, placed)| {
            let placed = placed.as_ref();
            placed.is_some_and(|placed| placed.origin == origin)
        });
        of_origin.map(|(index, _)| FragmentId(index))
    }

    /// Whether anybody is refused.
    pub(super) fn is_limiting(&self) -> bool {
        self.is_limiting.load(Ordering::Relaxed)
    }

    /// Lets a request for a fragment in, or not.
    pub(super) fn admit(&self, id: FragmentId) -> Result<Admission, Cause> {
        let Some(block) = self.block(id) else {
            return Ok(Admission(None));
        };
        let mut limiter = block.limiter.lock();
        let is_let_in = match self.is_limiting() {
            true => limiter.admit(),
            false => {
                limiter.let_in();
                true
            }
        };
        drop(limiter);
        match is_let_in {
            true => Ok(Admission(Some(Stay {
                block: Arc::clone(block),
                clock: self.clock,
            }))),
            false => Err(Cause::Limited),
        }
    }

    /// Whether a fragment asks less than everybody wants of it.
    pub(super) fn gives_way(&self, id: FragmentId) -> bool {
        self.block(id).is_some_and(|block| block.share() < 1.0)
    }

    /// Whether this reader is one of those whose pages ask for a fragment.
    pub(super) fn is_asked_by(&self, id: FragmentId, reader: Reader) -> bool {
        let Some(block) = self.block(id).filter(|_| self.is_limiting()) else {
            return true;
        };
        let share = block.share();
        share >= 1.0 || reader.draw(block.matter) < share
    }

    /// What was seen of each since the tick before, which was `span` ago. `is_open` says of an origin,
    /// by its place, whether it is left alone.
    pub(super) fn tick(
        &self,
        span: Duration,
        is_shared: impl Fn(FragmentId) -> bool,
        is_open: impl Fn(usize) -> bool,
    ) -> Vec<(FragmentId, BlockReading)> {
        let placed = self.all.iter().enumerate();
        let placed = placed.filter_map(|(index, placed)| Some((index, placed.as_ref()?)));
        let readings = placed.map(|(index, Placed { block, origin })| {
            let is_shared = is_shared(FragmentId(index));
            let reading = block.limiter.lock().tick(span, is_shared);
            block
                .share
                .store(reading.share.to_bits(), Ordering::Relaxed);
            let is_open = is_open(*origin);
            (FragmentId(index), BlockReading { is_open, ..reading })
        });
        readings.collect()
    }

    /// What an answer takes usually, by the fragment's name, in milliseconds.
    pub(super) fn baselines(&self) -> BTreeMap<String, f64> {
        let known = self.all.iter().flatten().filter_map(|placed| {
            let usual = placed.block.limiter.lock().baseline()?;
            Some((placed.block.name.clone(), usual.as_secs_f64() * 1e3))
        });
        known.collect()
    }

    /// The same from before a restart; what is no time is left out, and so is what is known better.
    pub(super) fn restore(&self, baselines: &BTreeMap<String, f64>, now: Instant) {
        let (least, most) = BASELINE_MS;
        for placed in self.all.iter().flatten() {
            let known = baselines.get(&placed.block.name);
            if let Some(ms) = known.filter(|ms| (least..=most).contains(*ms)) {
                let baseline = Duration::from_secs_f64(ms / 1e3);
                placed.block.limiter.lock().restore(baseline, now);
            }
        }
    }

    /// How each is, by its name.
    pub(super) fn state(&self) -> BTreeMap<String, BlockState> {
        let placed = self.all.iter().flatten();
        let states = placed.map(|Placed { block, .. }| {
            let limiter = block.limiter.lock();
            let state = BlockState {
                origin: block.origin.clone(),
                limit: limiter.limit(),
                in_flight: limiter.in_flight(),
                share: limiter.share(),
                baseline_ms: limiter.baseline().map(super::state::ms),
                refused: limiter.refused_in_all(),
            };
            (block.name.clone(), state)
        });
        states.collect()
    }
}

impl Block {
    fn share(&self) -> f64 {
        f64::from_bits(self.share.load(Ordering::Relaxed))
    }
}

/// A request that a limiter has let in.
struct Stay {
    block: Arc<Block>,
    clock: Clock,
}

/// Leave to ask for a fragment. What becomes of it is said once; dropped before, it says nothing.
pub(super) struct Admission(Option<Stay>);

impl Admission {
    /// The request has missed its deadline, after so long; it keeps its place until it is settled.
    pub(super) fn missed(&self, deadline: Duration) {
        if let Some(Stay { block, clock }) = &self.0 {
            block.limiter.lock().missed(deadline, clock.now());
        }
    }

    /// Says what has become of the request; the first word counts.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        if let Some(Stay { block, clock }) = self.0.take() {
            block.limiter.lock().settle(outcome, clock.now());
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle(Outcome::Abandoned);
    }
}
/// The level at which a fragment is given up; items go with their list.
fn level_of(site: &Site, id: FragmentId) -> Option<Level> {
    site.ladder.level_of(id).or_else(|| {
        let is_of = |list: &Fragment| list.list.as_ref().is_some_and(|list| list.item == id);
        let lists = site
            .fragments
            .iter()
            .zip(0..)
            .filter(|(list, _)| is_of(list));
        // an item of several lists is worth what the last of them to go is
        lists
            .map(|(_, place)| site.ladder.level_of(FragmentId(place)))
            .reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other)))
            .flatten()
    })
}
