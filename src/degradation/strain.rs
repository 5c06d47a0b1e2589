//! Priority as a promise, where many origins are short of breath at once. Owns phi, the share of the
//! optional requests that they can take, and so how deep the ladder is cut for their sake; pure.
//!
//! # The argument
//!
//! A limiter knows its own block only. Where one thing behind many origins is short (a database, a
//! network), or a crowd is too much for many of them, each refuses some of its requests, and readers see
//! this block on one page and that one on another, the important ones no more often than the others. So
//! when the third origin is strained, the shortage is taken to be shared, and one dimmer takes the place
//! of many: phi is what is left of the *requests*, spent from the most important block on, with one
//! block at most that some readers see and others do not. While that is so limiters refuse what is left
//! over, and no longer each a share of their own.
//!
//! One or two strained origins never move phi from 1: they are the fault of nobody else, and cost their
//! own blocks only. The same holds while phi is at work: a block that stays strained alone, though less
//! and less is asked for, is left to its own limiter.
//!
//! # How it moves
//!
//! What is learned is a *capacity*, in requests a second, as the law learns a rate of work: phi is that
//! over what would be asked for, and when a crowd leaves, phi is 1 at once. It is cut by the share of the
//! requests that are lost, and not again before that can have taken effect. It grows while nobody is
//! strained: quickly where answers take no longer than usual, little where they do, next to not at all
//! near the capacity at which it last went wrong. How long that is so is doubled each time that it goes
//! wrong there again, so that a lasting shortage is felt seldom and its end soon.
//!
//! Where a cut does not help, answers are slow for another reason than that so many are asked for. It is
//! taken back then, and limiters do what they can, each for its own block.
//!
//! A step of which only a few readers would see a block, for seconds, is given up as a whole.
//!
//! The numbers below were found in the simulator: with them nine in ten seeds of a database that is three
//! times as slow, and of a crowd that origins have no room for, keep the order on 99 of 100 degraded pages,
//! and readers get as much as they do where each block fights for itself.

use std::time::Duration;

use super::arrivals::{Arrivals, Pace, SPAN_MAX, SPAN_MIN, weight};
use super::{BlockReading, Cut};

mod seen;

use seen::{Block, NOTABLE, SLOW_LOSS_MAX, Strain};

/// A loss that is none.
/// From: found in the simulator. Differs: the simulation had no such rule.
const NONE: f64 = 0.02;

/// What one cut takes, at least and at most.
/// From: found in the simulator. Differs: the simulation had no such rule.
const CUT: (f64, f64) = (0.05, 0.8);

/// What the requests that are left are to take at most, in times what is usual, where they are cut for
/// that.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SLOW_AIM: f64 = 1.3;

/// Between two cuts, in seconds: until answers tell of the last one.
/// From: found in the simulator. Differs: the simulation had no such rule.
const CUT_PAUSE_S: f64 = 0.3;

/// The same for what only slow answers tell, once it is known that the shortage is shared, and what one
/// cut takes for that at least and at most: a queue that is vanishing is long for a while.
/// From: found in the simulator. Differs: the simulation had no such rule.
const CUT_SLOW_PAUSE_S: f64 = 0.7;
const CUT_SLOW: (f64, f64) = (0.12, 0.25);

/// A loss under this share of what it was two ticks ago is vanishing already.
/// From: found in the simulator. Differs: the simulation had no such rule.
const VANISHING: f64 = 0.9;

/// For how long nobody is strained before it grows, in seconds.
/// From: found in the simulator. Differs: the simulation had no such rule.
const REST_S: f64 = 0.5;

/// Growth, as a share of what is asked for, a second: usually, where answers take no longer than usual,
/// and near the capacity at which it last went wrong.
/// From: found in the simulator. Differs: the simulation had no such rule.
const GROWTH: f64 = 0.06;
const GROWTH_WELL: f64 = 0.4;
const GROWTH_NEAR: f64 = 0.004;

/// Answers take no longer than usual, in times what is usual.
/// From: found in the simulator. Differs: the simulation had no such rule.
const WELL: f64 = 1.25;

/// It grows while answers take less than this share of what is tolerated.
/// From: found in the simulator. Differs: the simulation had no such rule.
const ROOM: f64 = 0.95;

/// Over how long it is averaged how slow answers are at present, and how slow they are while it grows
/// with care; where they are so much quicker than that for so many seconds something has changed for the
/// better, and there is no reason for care any more.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SLOWNESS_TAU: Duration = Duration::from_millis(700);
const CAREFUL_TAU: Duration = Duration::from_secs(30);
const BETTER: f64 = 0.82;
const BETTER_S: f64 = 1.0;

/// How long after a cut it is as it will be, in seconds.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SETTLED_S: f64 = 3.0;

/// By when the first cuts must have helped, in seconds: answers take less than this share of the longest
/// that they took meanwhile.
/// From: found in the simulator. Differs: the simulation had no such rule.
const JUDGED_S: f64 = 3.0;
const HELPED: f64 = 0.75;

/// For how long nothing is cut where that has not helped, at first and at most, in seconds.
/// From: found in the simulator. Differs: the simulation had no such rule.
const HELPLESS_S: (f64, f64) = (10.0, 80.0);

/// Above this share of the capacity at which it last went wrong it grows with care,
/// From: found in the simulator. Differs: the simulation had no such rule.
const NEAR: f64 = 0.85;

/// for so long at first, and for so long at most, in seconds.
/// From: found in the simulator. Differs: the simulation had no such rule.
const PATIENCE_S: (f64, f64) = (5.0, 40.0);

/// It has grown since the last cut, and did not only follow what is asked for.
/// From: found in the simulator. Differs: the simulation had no such rule.
const GROWN: f64 = 1.01;

/// It goes wrong there again above this share of that capacity.
/// From: found in the simulator. Differs: the simulation had no such rule.
const AGAIN: f64 = 0.75;

/// While nothing is given up and nobody is strained what is known grows by this share a second until it is
/// so many times what is asked for, so that chance alone gives nothing up.
/// From: found in the simulator. Differs: the simulation had no such rule.
const HEADROOM_GROWTH: f64 = 0.2;
const HEADROOM: f64 = 1.5;

/// Beyond that it is forgotten by this share a second.
/// From: found in the simulator. Differs: the simulation had no such rule.
const DRIFT: f64 = 0.02;

/// It is forgotten for good when it is so many times what is asked for.
/// From: found in the simulator. Differs: the simulation had no such rule.
const AMPLE: f64 = 4.0;

/// For how long a block is strained alone until it is left to its limiter, and well until it is not
/// any more; in seconds.
/// From: found in the simulator. Differs: the simulation had no such rule.
const ALONE_S: f64 = 2.0;
const TOGETHER_S: f64 = 3.0;

/// A step that fewer readers than this would keep, for so many seconds, is given up as a whole; it is
/// back when so many would.
/// From: simulation, proposed: 20 % for 5 s.
const TINY: f64 = 0.2;
const TINY_S: f64 = 5.0;
/// From: found in the simulator. Differs: the simulation proposed no way back.
const TINY_BACK: f64 = 0.3;

/// What is seen of an optional block in a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strained {
    /// Its place among the fragments of the site.
    pub place: usize,
    /// Its step of the ladder; 0 is given up first.
    pub step: usize,
    /// Which origin it is asked of.
    pub origin: usize,
    /// Requests that a page makes for it, on average over all pages, if it is not given up.
    pub requests: f64,
    /// What its limiter has seen.
    pub reading: BlockReading,
}

/// What is seen of all of them in a tick.
#[derive(Debug, Clone, Copy)]
pub struct Look<'l> {
    /// How long the tick lasted.
    pub span: Duration,
    /// Pages that were composed in it.
    pub pages: f64,
    /// The optional blocks, the same ones in the same order at each tick.
    pub blocks: &'l [Strained],
    /// How many steps the ladder has.
    pub steps: usize,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relief {
    /// The share of the optional requests that origins can take: 1 is all of them.
    pub phi: f64,
    /// Where that cuts the ladder.
    pub cut: Cut,
}

/// What is remembered from tick to tick.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pages: Option<Arrivals>,
    blocks: Vec<Block>,
    /// Requests a second that origins can take; `None` as long as nothing was wrong.
    capacity: Option<f64>,
    /// What the last cut has left of it.
    left: f64,
    /// The capacity at which it last went wrong.
    ceiling: f64,
    /// For how long it grows with care near that, in seconds.
    patience: f64,
    /// Seconds since the last cut.
    since_cut: f64,
    /// Seconds since anybody was strained.
    calm: f64,
    /// How slow answers are at present, and how slow they were while it grew with care, both smoothed;
    /// for how long they are better than that, in seconds.
    slowness: f64,
    careful: Option<f64>,
    better: f64,
    /// How slow they were at least since something is given up for them.
    quickest: f64,
    /// How slow answers were at the first cut of a row, and how long ago that was, in seconds.
    judged: Option<(f64, f64)>,
    /// For how long nothing is cut any more, and for how long it was not the last time, in seconds.
    helpless: (f64, f64),
    /// The mean loss one tick and two ticks ago.
    before: [f64; 2],
    /// For how long few readers would keep the step that is cut in two, in seconds, and which one it is.
    tiny: (usize, f64),
    phi: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            pages: None,
            blocks: Vec::new(),
            capacity: None,
            left: 0.0,
            ceiling: 0.0,
            patience: PATIENCE_S.0,
            since_cut: f64::INFINITY,
            calm: f64::INFINITY,
            slowness: 1.0,
            careful: None,
            better: 0.0,
            quickest: f64::INFINITY,
            judged: None,
            helpless: (0.0, 0.0),
            before: [0.0; 2],
            tiny: (usize::MAX, 0.0),
            phi: 1.0,
        }
    }
}

impl State {
    /// Whether a block is short of breath together with others, so that its limiter need not refuse a
    /// share of its own. `index` is its place in [`Look::blocks`].
    pub fn is_shared(&self, index: usize) -> bool {
        let block = self.blocks.get(index);
        self.is_at_work() && block.is_some_and(|block| !block.is_alone)
    }

    /// What origins can take of what is asked for.
    fn share_of(&self, demand: f64) -> f64 {
        match self.capacity {
            Some(capacity) if capacity < demand => capacity / demand,
            Some(_) | None => 1.0,
        }
    }

    fn is_at_work(&self) -> bool {
        self.phi < 1.0 || self.since_cut < PATIENCE_S.0
    }
}

/// One tick.
pub fn step(mut state: State, look: &Look<'_>) -> (State, Relief) {
    let span = look.span.clamp(SPAN_MIN, SPAN_MAX).as_secs_f64();
    if state.blocks.len() != look.blocks.len() {
        state.blocks = vec![Block::new(); look.blocks.len()];
    }
    let pages = Arrivals::after(state.pages, &Pace::USUAL, look.pages, look.span);
    state.pages = Some(pages);
    for (block, seen) in state.blocks.iter_mut().zip(look.blocks) {
        block.see(&seen.reading, span);
    }
    let demand = pages.rate() * look.requests(|_| true);
    let strain = Strain::of(&state, look);
    state.single_out(&strain, look, span);
    state.since_cut += span;
    state.calm = match strain.refused < NONE && !state.is_short(&strain) {
        true => state.calm + span,
        false => 0.0,
    };
    if demand > 0.0 {
        let phi = state.share_of(demand);
        if phi < 1.0 && state.phi >= 1.0 {
            // a crowd has come, and what is known of origins is a cut: until that has taken effect
            // they are strained for want of it
            state.since_cut = 0.0;
        }
        state.phi = phi;
        state.learn(&strain, demand, span);
    }
    state.phi = state.share_of(demand);
    let cut = state.cut(look, span);
    let phi = state.phi;
    (state, Relief { phi, cut })
}

impl Look<'_> {
    /// Requests that a full page makes for what is not left alone, of these blocks.
    fn requests(&self, of: impl Fn(&Strained) -> bool) -> f64 {
        let asked = self.blocks.iter();
        let asked = asked.filter(|seen| !seen.reading.is_open && of(seen));
        asked.map(|seen| seen.requests.max(0.0)).sum()
    }

    fn share_of_the_last_step(&self) -> f64 {
        let all = self.requests(|_| true);
        let last = self.requests(|seen| seen.step + 1 == self.steps);
        if all > 0.0 { last / all } else { 0.0 }
    }
}

impl State {
    /// Whether many are strained.
    fn is_short(&self, strain: &Strain) -> bool {
        strain.is_shared(self.phi < 1.0, self.careful.unwrap_or(self.quickest))
    }

    /// Finds out which blocks are strained alone.
    fn single_out(&mut self, strain: &Strain, look: &Look<'_>, span: f64) {
        let is_alone = self.is_at_work() && !self.is_short(strain);
        let seen = look.blocks.iter().zip(&strain.notable);
        for (block, (seen, is_notable)) in self.blocks.iter_mut().zip(seen) {
            let is_strained = *is_notable && !seen.reading.is_open;
            block.alone = match is_strained && is_alone {
                true => block.alone + span,
                false => (block.alone - span).max(0.0),
            };
            block.well = if is_strained { 0.0 } else { block.well + span };
            block.is_alone |= block.alone >= ALONE_S;
            block.is_alone &= block.well < TOGETHER_S;
        }
    }

    fn learn(&mut self, strain: &Strain, demand: f64, span: f64) {
        let is_vanishing = strain.mean < VANISHING * self.before[1];
        self.before = [strain.mean, self.before[0]];
        self.helpless.0 = (self.helpless.0 - span).max(0.0);
        if self.helpless.0 > 0.0 {
            return;
        }
        self.judge(strain, span);
        let is_known = self.phi < 1.0;
        let is_shared = self.is_short(strain);
        if is_shared || (is_known && strain.refused >= NOTABLE) {
            let slow = 1.0 - SLOW_AIM / strain.slowness.max(SLOW_AIM);
            let (loss, pause) = match () {
                // what was refused is known at once, and what slow answers will tell is not
                () if strain.refused_mean >= NOTABLE => (strain.refused_mean, CUT_PAUSE_S),
                () if !is_shared => (strain.refused_mean, CUT_PAUSE_S),
                () if is_known => (strain.mean.clamp(CUT_SLOW.0, CUT_SLOW.1), CUT_SLOW_PAUSE_S),
                () => (strain.mean.max(slow.min(SLOW_LOSS_MAX)), CUT_PAUSE_S),
            };
            if self.since_cut >= pause && !is_vanishing {
                self.cut_by(loss, demand);
            }
            return;
        }
        let Some(capacity) = self.capacity else {
            return;
        };
        if capacity >= demand {
            let is_close = capacity < HEADROOM * demand && self.calm >= REST_S;
            let growth = if is_close { HEADROOM_GROWTH } else { DRIFT };
            let capacity = capacity * (1.0 + growth * span);
            self.capacity = Some(capacity).filter(|capacity| *capacity < AMPLE * demand);
            return;
        }
        // of what is less than the most important step nothing is known, and nothing is to be lost
        let is_known = self.ceiling > strain.least * demand;
        let is_near = is_known && capacity > NEAR * self.ceiling && self.since_cut < self.patience;
        if is_near && self.since_cut > SETTLED_S {
            self.look_for_better(span);
        }
        if self.calm < REST_S || strain.nearness > ROOM {
            return;
        }
        let growth = match () {
            () if is_near => GROWTH_NEAR,
            () if strain.slowest <= WELL => GROWTH_WELL,
            () => GROWTH,
        };
        self.capacity = Some(capacity + growth * demand * span);
    }

    /// Notes how slow answers are, and what that says of the first cuts.
    fn judge(&mut self, strain: &Strain, span: f64) {
        let present = strain.slowness.max(1.0);
        self.slowness += weight(span, SLOWNESS_TAU) * (present - self.slowness);
        // before the first cut nothing was relieved, and right behind it nothing is yet
        self.quickest = match self.phi < 1.0 && self.judged.is_none() {
            true => self.quickest.min(self.slowness),
            false => f64::INFINITY,
        };
        let Some((longest, ago)) = &mut self.judged else {
            return;
        };
        *ago += span;
        *longest = longest.max(self.slowness);
        if self.slowness < HELPED * *longest {
            self.judged = None;
        } else if *ago > JUDGED_S {
            self.judged = None;
            let (least, most) = HELPLESS_S;
            let lasts = (2.0 * self.helpless.1).clamp(least, most);
            self.helpless = (lasts, lasts);
            self.capacity = None;
        }
    }

    /// While it grows with care: notes how slow answers are, and whether they are quicker than before,
    /// though no less is asked for.
    fn look_for_better(&mut self, span: f64) {
        let careful = self.careful.get_or_insert(self.slowness);
        let is_better = self.slowness < BETTER * *careful;
        *careful += weight(span, CAREFUL_TAU) * (self.slowness - *careful);
        self.better = if is_better { self.better + span } else { 0.0 };
        if self.better >= BETTER_S {
            (self.ceiling, self.patience, self.careful) = (0.0, PATIENCE_S.0, None);
        }
    }

    fn cut_by(&mut self, loss: f64, demand: f64) {
        let capacity = self.capacity.unwrap_or(f64::INFINITY).min(demand);
        // one cut after another, with no growth between, belong to the same shortage
        if capacity > GROWN * self.left {
            let is_again = (AGAIN * self.ceiling..self.ceiling / AGAIN).contains(&capacity);
            self.patience = match is_again {
                true => (2.0 * self.patience).min(PATIENCE_S.1),
                false => PATIENCE_S.0,
            };
            self.ceiling = capacity;
            self.judged = (self.phi >= 1.0).then_some((self.slowness, 0.0));
        }
        let (least, most) = CUT;
        self.left = capacity * (1.0 - loss.clamp(least, most));
        self.capacity = Some(self.left);
        self.since_cut = 0.0;
    }

    /// Where phi cuts the ladder. A step that hardly anybody would keep is given up as a whole.
    fn cut(&mut self, look: &Look<'_>, span: f64) -> Cut {
        if self.phi >= 1.0 {
            self.tiny = (usize::MAX, 0.0);
            return Cut::NONE;
        }
        let mut costs = vec![0.0; look.steps];
        for seen in look.blocks.iter().filter(|seen| !seen.reading.is_open) {
            if let Some(cost) = costs.get_mut(seen.step) {
                *cost += seen.requests.max(0.0);
            }
        }
        let cut = Cut::at(self.phi, &costs);
        let step = usize::from(cut.given_up.get());
        let (known, lasted) = self.tiny;
        let is_dropped = known == step && lasted >= TINY_S;
        let lasted = match cut.kept < if is_dropped { TINY_BACK } else { TINY } {
            true if known == step => lasted + span,
            true => span,
            false => 0.0,
        };
        self.tiny = (step, lasted);
        match lasted >= TINY_S {
            true => Cut { kept: 0.0, ..cut },
            false => cut,
        }
    }
}

#[cfg(test)]
mod tests;
