//! What a run comes to, in figures. Owns their definitions; measures nothing itself.
//!
//! Figures are of the pages that were asked for in the scenario's event, unless they say otherwise; a
//! page that was never answered is late.

use serde::Serialize;

use super::meter::{Answered, Meter, Ticked};
use super::page::{Core, Set};
use super::scenario::Scenario;
use super::time::{At, Span};

/// A swing of theta that counts.
const SWING: f64 = 0.1;

/// Theta that is as good as nothing.
const LOW: f64 = 0.15;

/// The share of the value that must be back, and for how many seconds.
const BACK: f64 = 0.9;
const BACK_FOR: usize = 3;

/// What readers are worth: a snapshot, and a page whose article is stale or fresh, with none of the
/// optional blocks; all of them are worth the rest of 1.
const SNAPSHOT: f64 = 0.3;
const STALE: f64 = 0.5;
const FRESH: f64 = 0.6;
const BLOCKS: f64 = 0.4;

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Pages that were asked for in the whole run.
    pub pages: f64,
    /// Pages of the whole run that were never answered.
    pub unanswered: f64,
    /// Pages of the whole run that were answered without an article: neither its origin nor a copy nor a
    /// snapshot had one.
    pub without_core: f64,
    /// Seconds of the whole run whose 95th percentile is over the target.
    pub bad_seconds: f64,
    /// The slowest page of the whole run, in milliseconds.
    pub slowest_ms: f64,
    /// The worst 99th percentile of a second of the whole run, in milliseconds.
    pub worst_second_p99_ms: f64,
    /// The median page, in milliseconds.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// Percent of the pages within the target.
    pub in_target: f64,
    /// Percent of the pages with an article that its origin has just given.
    pub fresh_core: f64,
    /// Percent of the pages that were answered with a snapshot.
    pub snapshots: f64,
    /// Percent of the value of optional blocks that readers have got.
    pub value: f64,
    /// The same, on pages within the target.
    pub goodput: f64,
    /// The mean utility of a page, 0 to 1.
    pub utility: f64,
    /// Percent of the value of blocks with nothing wrong at their own origin; `None` where all or none
    /// of them are such.
    pub kept: Option<f64>,
    /// Percent of degraded pages whose blocks are the most important ones, those of origins that are
    /// left alone aside; `None` where no page was degraded.
    pub prefix: Option<f64>,
    /// Percent of the optional blocks that were not asked for because of the level.
    pub skipped: f64,
    /// Percent of the pages that show each optional block, the most important first.
    pub shares: Vec<(String, f64)>,
    /// Answers that came too late, for each page.
    pub wasted: f64,
    /// Blocks that appear or disappear between two pages of one reader, for each page.
    pub flips: f64,
    /// Turns of theta by a tenth or more, a minute.
    pub swings: f64,
    /// How often breakers have shut an origin or opened it again.
    pub breaker_moves: f64,
    /// Theta at its least.
    pub theta_least: f64,
    /// Admission at its least.
    pub admit_least: f64,
    /// Phi, the share of optional requests that origins can take, at its least.
    pub phi_least: f64,
    /// Seconds from the beginning of the event until theta was next to nothing, if it ever was.
    pub descends_s: Option<f64>,
    /// Seconds from the end of the event until nine tenths of the value were back for three seconds.
    pub recovers_s: Option<f64>,
    /// Whether all pages of the last second of the run were full.
    pub is_full_at_end: bool,
}

impl Summary {
    /// What was seen comes to this.
    pub(super) fn of(scenario: &Scenario, meter: &Meter) -> Self {
        let (from, to) = scenario.event;
        let (from, to) = (At::from_duration(from), At::from_duration(to));
        let pages: Vec<&Answered> = meter
            .pages
            .iter()
            .filter(|page| from <= page.asked && page.asked < to)
            .collect();
        let ticks: Vec<&Ticked> = meter
            .ticks
            .iter()
            .filter(|tick| from <= tick.tick.at && tick.tick.at <= to)
            .collect();
        let worth = Worth::of(scenario);
        let target = Span::from_duration(scenario.degradation.target);
        let count = pages.len().max(1) as f64;
        let percent = |is: &dyn Fn(&Answered) -> bool| {
            100.0 * pages.iter().filter(|page| is(page)).count() as f64 / count
        };
        let mean = |of: &dyn Fn(&Answered) -> f64| pages.iter().map(|p| of(p)).sum::<f64>() / count;
        let mut times: Vec<Span> = pages.iter().map(|page| page.took).collect();
        times.sort_unstable();
        let seconds = Seconds::of(scenario, meter);
        let minutes = to.since(from).ms() / 60_000.0;
        let moves = |edge: Option<&&Ticked>| edge.map_or(0, |tick| tick.moves);
        let theta = |tick: &&Ticked| tick.tick.mode.decision.theta;
        let is_late = |page: &Answered| page.took > target;
        let low = ticks.iter().find(|tick| theta(tick) <= LOW);
        let wasted = meter.wasted.iter().filter(|at| from <= **at && **at < to);
        Self {
            pages: meter.asked as f64,
            unanswered: meter.asked as f64 - meter.pages.len() as f64,
            without_core: meter
                .pages
                .iter()
                .filter(|page| page.core == Core::Missing)
                .count() as f64,
            bad_seconds: seconds.bad(target),
            slowest_ms: meter.pages.iter().map(|p| p.took.ms()).fold(0.0, f64::max),
            worst_second_p99_ms: seconds.worst_p99(),
            p50_ms: quantile(&times, 0.50),
            p95_ms: quantile(&times, 0.95),
            p99_ms: quantile(&times, 0.99),
            in_target: percent(&|page| !is_late(page)),
            fresh_core: percent(&|page| page.core == Core::Fresh),
            snapshots: percent(&|page| page.core == Core::Snapshot),
            value: 100.0 * mean(&|page| worth.share(page)),
            goodput: 100.0
                * mean(&|page| {
                    if is_late(page) {
                        0.0
                    } else {
                        worth.share(page)
                    }
                }),
            utility: mean(&|page| {
                if is_late(page) {
                    0.0
                } else {
                    worth.utility(page)
                }
            }),
            kept: worth.kept(&pages),
            prefix: worth.prefix(&pages),
            skipped: 100.0 * worth.skipped(&pages),
            shares: worth.shares(scenario, &pages),
            wasted: wasted.count() as f64 / count,
            flips: mean(&|page| f64::from(page.flips)),
            swings: swings(ticks.iter().map(theta)) / minutes.max(1e-6),
            breaker_moves: (moves(ticks.last()) - moves(ticks.first())) as f64,
            theta_least: ticks.iter().map(theta).fold(1.0, f64::min),
            admit_least: ticks
                .iter()
                .map(|tick| tick.tick.mode.decision.admit)
                .fold(1.0, f64::min),
            phi_least: ticks
                .iter()
                .map(|tick| tick.tick.mode.phi)
                .fold(1.0, f64::min),
            descends_s: low.map(|tick| tick.tick.at.since(from).ms() / 1e3),
            recovers_s: seconds.recovers(to),
            is_full_at_end: seconds.is_full_at_end(),
        }
    }
}

/// What blocks are worth, by their places.
struct Worth {
    values: Vec<f64>,
    all: f64,
    /// Optional blocks, the most important first, and their ranks in the ladder.
    optional: Vec<(usize, usize)>,
    faulty: Vec<bool>,
}

impl Worth {
    fn of(scenario: &Scenario) -> Self {
        let blocks = scenario.blocks.iter().enumerate();
        Self {
            values: scenario.blocks.iter().map(|block| block.value).collect(),
            all: scenario.value(),
            optional: blocks
                .filter_map(|(place, block)| Some((place, block.step?)))
                .collect(),
            faulty: (0..scenario.blocks.len())
                .map(|block| scenario.is_faulty(block))
                .collect(),
        }
    }

    /// What a reader has got of the value of all optional blocks.
    fn share(&self, page: &Answered) -> f64 {
        if self.all <= 0.0 {
            return 1.0;
        }
        self.sum(page.shown, |_| true) / self.all
    }

    fn sum(&self, shown: Set, counts: impl Fn(usize) -> bool) -> f64 {
        let optional = self.optional.iter().map(|(place, _)| *place);
        let shown = optional.filter(|place| shown.has(*place) && counts(*place));
        shown.map(|place| self.values[place]).sum()
    }

    fn utility(&self, page: &Answered) -> f64 {
        match page.core {
            Core::Missing => 0.0,
            Core::Snapshot => SNAPSHOT,
            Core::Stale => STALE + BLOCKS * self.share(page),
            Core::Fresh => FRESH + BLOCKS * self.share(page),
        }
    }

    fn kept(&self, pages: &[&Answered]) -> Option<f64> {
        let is_well = |place: usize| !self.faulty[place];
        let optional = self.optional.iter().map(|(place, _)| *place);
        let well: f64 = optional
            .filter(|place| is_well(*place))
            .map(|place| self.values[place])
            .sum();
        if !self.faulty.contains(&true) || well <= 0.0 || pages.is_empty() {
            return None;
        }
        let got: f64 = pages.iter().map(|page| self.sum(page.shown, is_well)).sum();
        Some(100.0 * got / well / pages.len() as f64)
    }

    /// Of the pages that lack a block whose origin is asked, those that have all that are more
    /// important.
    fn prefix(&self, pages: &[&Answered]) -> Option<f64> {
        let (mut degraded, mut kept) = (0u32, 0u32);
        for page in pages.iter().filter(|page| page.core != Core::Snapshot) {
            let here = self.optional.iter();
            let mut here = here.filter(|(place, _)| !page.sick.has(*place));
            let missing = here.clone().filter(|(place, _)| !page.shown.has(*place));
            // blocks of one step go together, and one of them may be missing alone
            let Some(highest) = missing.map(|(_, step)| *step).max() else {
                continue;
            };
            degraded += 1;
            let is_below =
                |(place, step): &(usize, usize)| *step < highest && page.shown.has(*place);
            kept += u32::from(!here.any(is_below));
        }
        (degraded > 0).then(|| 100.0 * f64::from(kept) / f64::from(degraded))
    }

    fn skipped(&self, pages: &[&Answered]) -> f64 {
        let composed = pages.iter().filter(|page| page.core != Core::Snapshot);
        let (mut all, mut skipped) = (0u64, 0u64);
        for page in composed {
            for (place, _) in &self.optional {
                all += 1;
                skipped += u64::from(!page.wanted.has(*place));
            }
        }
        skipped as f64 / all.max(1) as f64
    }

    fn shares(&self, scenario: &Scenario, pages: &[&Answered]) -> Vec<(String, f64)> {
        let share = |place: usize| {
            let shown = pages.iter().filter(|page| page.shown.has(place)).count();
            100.0 * shown as f64 / pages.len().max(1) as f64
        };
        let optional = self.optional.iter().map(|(place, _)| *place);
        optional
            .map(|place| (scenario.blocks[place].name.clone(), share(place)))
            .collect()
    }
}

/// The pages of each second.
struct Seconds {
    times: Vec<Vec<Span>>,
    values: Vec<(f64, f64)>,
    /// Of each tenth of a second after the event, the value and the number of pages.
    full: (u64, u64),
}

impl Seconds {
    fn of(scenario: &Scenario, meter: &Meter) -> Self {
        let worth = Worth::of(scenario);
        let count = scenario.lasts.as_secs_f64().ceil() as usize;
        let end = scenario.lasts.as_secs_f64();
        let mut seconds = Self {
            times: vec![Vec::new(); count],
            values: vec![(0.0, 0.0); count],
            full: (0, 0),
        };
        for page in &meter.pages {
            let asked = page.asked.seconds();
            let second = (asked as usize).min(count - 1);
            seconds.times[second].push(page.took);
            let (value, pages) = &mut seconds.values[second];
            *value += worth.share(page);
            *pages += 1.0;
            if asked >= end - 1.0 {
                let is_full = page.core == Core::Fresh && worth.share(page) >= 1.0;
                seconds.full.0 += u64::from(is_full);
                seconds.full.1 += 1;
            }
        }
        for times in &mut seconds.times {
            times.sort_unstable();
        }
        seconds
    }

    fn bad(&self, target: Span) -> f64 {
        let is_bad = |times: &&Vec<Span>| quantile(times, 0.95) > target.ms();
        self.times.iter().filter(is_bad).count() as f64
    }

    fn worst_p99(&self) -> f64 {
        let p99 = self.times.iter().map(|times| quantile(times, 0.99));
        p99.fold(0.0, f64::max)
    }

    /// Seconds from a moment until nine tenths of the value are back and stay for three seconds.
    fn recovers(&self, from: At) -> Option<f64> {
        let first = from.seconds().ceil() as usize;
        let is_back = |second: &usize| {
            let span = self.values.get(*second..*second + BACK_FOR)?;
            let well = |(value, pages): &(f64, f64)| *pages == 0.0 || value / pages >= BACK;
            span.iter().all(well).then_some(())
        };
        let back = (first..self.values.len()).find(|second| is_back(second).is_some())?;
        Some(back as f64 - from.seconds().min(back as f64))
    }

    /// Nine pages of ten, and not all: one late answer is no degradation.
    fn is_full_at_end(&self) -> bool {
        let (full, pages) = self.full;
        full * 10 >= pages * 9
    }
}

/// The quantile of sorted times, in milliseconds; 0 of none.
pub(super) fn quantile(sorted: &[Span], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1].ms()
}

/// Turning points of a line that has moved by a tenth at least on either side of them.
fn swings(line: impl Iterator<Item = f64>) -> f64 {
    let (mut turns, mut edge, mut rising) = (0.0, None::<f64>, None::<bool>);
    for value in line {
        let Some(last) = edge else {
            edge = Some(value);
            continue;
        };
        match rising {
            Some(true) if value >= last => edge = Some(value),
            Some(false) if value <= last => edge = Some(value),
            _ if (value - last).abs() >= SWING => {
                turns += f64::from(u8::from(rising.is_some()));
                rising = Some(value > last);
                edge = Some(value);
            }
            _ => {}
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swing_is_a_turn_of_a_tenth_and_more() {
        for (line, expected) in [
            (vec![1.0, 1.0, 1.0], 0.0),
            (vec![1.0, 0.5, 0.2], 0.0),
            (vec![1.0, 0.2, 0.5], 1.0),
            (vec![1.0, 0.2, 0.25, 0.2, 0.29, 0.22], 0.0),
            (vec![0.5, 0.7, 0.5, 0.7, 0.5], 3.0),
        ] {
            assert_eq!(swings(line.clone().into_iter()), expected, "{line:?}");
        }
    }

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let times: Vec<Span> = (1..=100).map(|ms| Span::from_ms(f64::from(ms))).collect();
        assert_eq!(quantile(&times, 0.5), 50.0);
        assert_eq!(quantile(&times, 0.95), 95.0);
        assert_eq!(quantile(&times[..1], 0.99), 1.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
