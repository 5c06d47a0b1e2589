//! What is counted in a recording. Owns the meaning of every measure; pure.
//!
//! A page belongs to the second in which it was due. One that never came is late.

use std::collections::BTreeMap;

use super::origins::AllCounts;
use super::page::{Core, Page};
use super::plant::{self, ALL_OPTIONAL, OPTIONAL, TARGET_MS};
use super::script::{Phases, Window};
use super::watch::{Seen, Tick};

/// All that was seen of a run.
pub(crate) struct Recording {
    pub(crate) phases: Phases,
    /// By when they were due.
    pub(crate) pages: Vec<Page>,
    pub(crate) seen: Seen,
    /// What the origins had counted when it began to happen, and when it was over.
    pub(crate) counts: [AllCounts; 2],
}

/// A level of theta that has been left by this much is a swing.
pub(crate) const SWING: f64 = 0.1;

/// What counts as having the value back, of what there was in the calm.
const BACK: f64 = 0.9;

/// For so many seconds on end.
const BACK_FOR_S: usize = 3;

impl Recording {
    /// The pages that were due in a window.
    pub(crate) fn within(&self, window: &Window) -> &[Page] {
        let from = self.pages.partition_point(|page| page.due < window.start);
        let to = self.pages.partition_point(|page| page.due < window.end);
        &self.pages[from..to.max(from)]
    }

    /// The pages of each whole second of a window.
    pub(crate) fn seconds(&self, window: &Window) -> impl Iterator<Item = &[Page]> + use<'_> {
        let seconds = (window.end - window.start).floor() as u32;
        let start = window.start;
        (0..seconds).map(move |second| {
            let at = start + f64::from(second);
            self.within(&(at..at + 1.0))
        })
    }

    /// The share of the pages of a window for which something holds; NaN without pages.
    pub(crate) fn share(&self, window: &Window, holds: impl Fn(&Page) -> bool) -> f64 {
        share(self.within(window), holds)
    }

    /// The time in which so many of the pages of a window came, in milliseconds.
    pub(crate) fn quantile(&self, window: &Window, q: f64) -> f64 {
        quantile(self.within(window), q)
    }

    /// Seconds of a window in which more than one of twenty pages was late.
    pub(crate) fn bad_seconds(&self, window: &Window) -> usize {
        let is_bad = |pages: &&[Page]| !pages.is_empty() && quantile(pages, 0.95) > TARGET_MS;
        self.seconds(window).filter(is_bad).count()
    }

    /// What readers got of the optional blocks in a window, by value, of all there could be.
    pub(crate) fn value(&self, window: &Window) -> f64 {
        value(self.within(window))
    }

    /// The share of the pages of a window that had a block, those of a snapshot not counted.
    pub(crate) fn shown(&self, window: &Window, block: usize) -> f64 {
        self.share(window, |page| {
            page.is_composed() && page.shown & plant::bit(block) != 0
        })
    }

    /// The share of optional blocks that were missing on the pages of a window.
    pub(crate) fn skipped(&self, window: &Window) -> f64 {
        let shares = OPTIONAL.map(|block| 1.0 - self.shown(window, block));
        mean(shares)
    }

    /// The worst-off of the optional blocks but these, by share of the pages of a window.
    pub(crate) fn least_of_others(&self, window: &Window, but: &[usize]) -> f64 {
        let others = OPTIONAL.filter(|block| !but.contains(block));
        let shown = others.map(|block| self.shown(window, block));
        shown.fold(f64::INFINITY, f64::min)
    }

    /// Seconds from a moment until readers have their blocks back, and for good: `good` says how a
    /// second is, as a share of how it should be. Infinite where they do not get them back.
    pub(crate) fn back_after(&self, at: f64, good: impl Fn(&[Page]) -> f64) -> f64 {
        let seconds = self.seconds(&(at..self.phases.end()));
        let good: Vec<bool> = seconds.map(|pages| good(pages) >= BACK).collect();
        let first = good
            .windows(BACK_FOR_S)
            .position(|run| run.iter().all(|g| *g));
        first.map_or(f64::INFINITY, |first| first as f64)
    }

    /// The same by value, beside that of the calm.
    pub(crate) fn value_back_after(&self, at: f64) -> f64 {
        let calm = self.value(&self.phases.calm());
        self.back_after(at, |pages| value(pages) / calm)
    }

    /// The same of one block.
    pub(crate) fn block_back_after(&self, at: f64, block: usize) -> f64 {
        self.back_after(at, |pages| {
            share(pages, |page| page.shown & plant::bit(block) != 0)
        })
    }

    /// The ticks of a window: the server's own, or, of one that does not give them, what its pages say.
    pub(crate) fn ticks(&self, window: &Window) -> Vec<Tick> {
        let within = |tick: &&Tick| window.contains(&tick.at);
        if !self.seen.ticks.is_empty() {
            return self.seen.ticks.iter().filter(within).copied().collect();
        }
        let said = self.within(window).iter();
        let said = said.filter(|page| !page.level.theta.is_nan());
        said.map(|page| Tick {
            at: page.due,
            theta: page.level.theta,
            admit: f64::NAN,
            rate: f64::NAN,
            queue_delay_ms: f64::NAN,
        })
        .collect()
    }

    /// The least theta of a window, or NaN where it is not known.
    pub(crate) fn least_theta(&self, window: &Window) -> f64 {
        let ticks = self.ticks(window);
        ticks.iter().map(|tick| tick.theta).fold(f64::NAN, f64::min)
    }

    /// Seconds from a moment until theta is not above a bound; infinite if it never is.
    pub(crate) fn theta_falls_after(&self, at: f64, bound: f64) -> f64 {
        let ticks = self.ticks(&(at..self.phases.end()));
        let first = ticks.iter().find(|tick| tick.theta <= bound);
        first.map_or(f64::INFINITY, |tick| tick.at - at)
    }

    /// Turning points of theta in a window, with a swing of [`SWING`] at least before each, a minute.
    pub(crate) fn swings_a_minute(&self, window: &Window) -> f64 {
        let ticks = self.ticks(window);
        let swings = turning_points(ticks.iter().map(|tick| tick.theta));
        swings as f64 * 60.0 / (window.end - window.start)
    }

    /// Seconds from a moment until the breaker of a block opens; infinite if it does not.
    pub(crate) fn opens_after(&self, at: f64, block: usize) -> f64 {
        let mut turns = self.seen.turns.iter();
        let opened = turns.find(|turn| turn.at >= at && turn.block == block && turn.is_open);
        opened.map_or(f64::INFINITY, |turn| turn.at - at)
    }

    /// Breakers that opened or closed in a window.
    pub(crate) fn turns(&self, window: &Window) -> usize {
        let turns = self.seen.turns.iter();
        turns.filter(|turn| window.contains(&turn.at)).count()
    }

    /// Answers of origins that nobody could use while it happened, for each page that was due then.
    pub(crate) fn late_answers_a_page(&self) -> f64 {
        let late = |counts: &AllCounts| counts.blocks.iter().map(|c| c.late).sum::<u64>();
        let late = late(&self.counts[1]).saturating_sub(late(&self.counts[0]));
        late as f64 / self.within(&self.phases.event()).len() as f64
    }

    /// Blocks that have come or gone between two pages of the same session that follow one another.
    /// `of` says which blocks a page has.
    pub(crate) fn flips(&self, window: &Window, of: impl Fn(&Page) -> u8) -> Flips {
        let mut flips = Flips::default();
        self.pairs(window, |before, page| {
            flips.pairs += 1;
            flips.flips += ((of(before) ^ of(page)) & ALL_OPTIONAL).count_ones();
        });
        flips
    }

    /// Blocks that a session was not given at a higher theta and was given at a lower one, in pages that
    /// follow one another.
    pub(crate) fn against_theta(&self, window: &Window, same: f64) -> Flips {
        let mut flips = Flips::default();
        self.pairs(window, |before, page| {
            let (low, high) = match page.level.theta - before.level.theta {
                rise if rise > same => (before, page),
                rise if rise < -same => (page, before),
                _ => return,
            };
            flips.pairs += 1;
            flips.flips += (high.level.off & !low.level.off).count_ones();
        });
        flips
    }

    fn pairs(&self, window: &Window, mut look: impl FnMut(&Page, &Page)) {
        let mut last: BTreeMap<u32, &Page> = BTreeMap::new();
        for page in self.within(window).iter().filter(|page| page.is_composed()) {
            if let Some(before) = last.insert(page.session, page) {
                look(before, page);
            }
        }
    }

    /// The share of the machine that the rig took: on average while the load was there, and in the
    /// busiest second.
    pub(crate) fn busy(&self) -> (f64, f64) {
        let rig = || self.seen.busy.iter().map(|busy| busy.rig);
        (mean(rig()), rig().fold(0.0, f64::max))
    }
}

/// Blocks that came or went, and pairs of pages that were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flips {
    pub(crate) flips: u32,
    pub(crate) pairs: u32,
}

impl Flips {
    pub(crate) fn a_view(self) -> f64 {
        f64::from(self.flips) / f64::from(self.pairs)
    }
}

/// The share of pages for which something holds; NaN without pages.
pub(crate) fn share(pages: &[Page], holds: impl Fn(&Page) -> bool) -> f64 {
    pages.iter().filter(|page| holds(page)).count() as f64 / pages.len() as f64
}

/// The mean value of pages; NaN without pages.
pub(crate) fn value(pages: &[Page]) -> f64 {
    mean(pages.iter().map(Page::value))
}

/// The time in which so many of these pages came, in milliseconds; NaN without pages.
pub(crate) fn quantile(pages: &[Page], q: f64) -> f64 {
    let mut took: Vec<f64> = pages.iter().map(|page| page.took_ms).collect();
    took.sort_by(f64::total_cmp);
    let rank = (q * took.len() as f64).ceil() as usize;
    took.get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// NaN of nothing.
pub(crate) fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for number in numbers {
        sum += number;
        count += 1.0;
    }
    sum / count
}

/// How often a line turns, not counting what is smaller than a [`SWING`].
fn turning_points(mut line: impl Iterator<Item = f64>) -> usize {
    let Some(first) = line.next() else { return 0 };
    let (mut high, mut low) = (first, first);
    let mut is_rising = None;
    let mut turns = 0;
    for now in line {
        high = high.max(now);
        low = low.min(now);
        let falls = high - now >= SWING && is_rising != Some(false);
        let rises = now - low >= SWING && is_rising != Some(true);
        if falls || rises {
            turns += usize::from(is_rising.is_some());
            is_rising = Some(rises);
            (high, low) = (now, now);
        }
    }
    turns
}

/// Whether the core of a page was made for it.
pub(crate) fn has_fresh_core(page: &Page) -> bool {
    page.is_composed() && page.core == Core::Fresh
}
