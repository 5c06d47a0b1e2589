//! How strained blocks are, and all of them together. Owns what counts as a loss, and what says that it is
//! no single one's; pure.

use std::time::Duration;

use super::{Look, State};
use crate::degradation::BlockReading;
use crate::degradation::arrivals::weight;

/// A loss that is notable, as a share of a block's requests.
/// From: found in the simulator. Differs: the simulation had no such rule.
pub(super) const NOTABLE: f64 = 0.1;

/// Which origin says that it is no single one's fault, the worst first.
/// From: simulation, the third worst.
pub(super) const WITNESS: usize = 3;

/// Over how long refusals are averaged: as limiters do.
/// From: as limiters do.
const LOSS_TAU: Duration = Duration::from_millis(300);

/// Requests of a block within that time with which its losses say something.
/// From: found in the simulator. Differs: the simulation had no such rule.
const REQUESTS_MIN: f64 = 1.0;

/// How long it is believed how slow a block was, in seconds: a limiter judges once a second at least.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SLOWNESS_S: f64 = 1.2;

/// What slow answers tell of the requests that will be refused, at most: a limiter halves its limit.
/// From: found in the simulator. Differs: the simulation had no such rule.
pub(super) const SLOW_LOSS_MAX: f64 = 0.5;

/// Answers of the witness that take so many times what is usual say the same before anybody is refused.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SLOW: f64 = 2.0;

/// Once a shortage is known, that and so many times what answers take usually meanwhile say that a queue
/// grows again.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SLOW_AGAIN: f64 = 2.3;
const SLOWER: f64 = 1.5;

/// Over how long it is averaged how slow answers of a block are.
/// From: found in the simulator. Differs: the simulation had no such rule.
const SMOOTH_TAU: Duration = Duration::from_millis(700);

/// What is remembered of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Block {
    pub(super) asked: f64,
    pub(super) refused: f64,
    /// How slow it was, and how long ago that was judged, in seconds.
    pub(super) slowness: Option<(f64, f64)>,
    /// The same, smoothed.
    pub(super) smooth: f64,
    /// For how long it is strained alone, or well, in seconds.
    pub(super) alone: f64,
    pub(super) well: f64,
    pub(super) is_alone: bool,
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            asked: 0.0,
            refused: 0.0,
            slowness: None,
            smooth: 1.0,
            alone: 0.0,
            well: 0.0,
            is_alone: false,
        }
    }

    pub(super) fn see(&mut self, reading: &BlockReading, span: f64) {
        let kept = 1.0 - weight(span, LOSS_TAU);
        self.asked = self.asked * kept + f64::from(reading.asked);
        self.refused = self.refused * kept + f64::from(reading.refused);
        self.slowness = match (reading.slowness, self.slowness) {
            (Some(slowness), _) => Some((slowness, 0.0)),
            (None, Some((slowness, ago))) if ago + span < SLOWNESS_S => {
                Some((slowness, ago + span))
            }
            (None, _) => None,
        };
        let present = self.slowness.map_or(1.0, |(slowness, _)| slowness);
        self.smooth += weight(span, SMOOTH_TAU) * (present - self.smooth);
    }

    /// The share of its requests that is refused.
    pub(super) fn refused(&self) -> f64 {
        match self.asked < REQUESTS_MIN {
            true => 0.0,
            false => self.refused / self.asked,
        }
    }

    /// The share of its requests that is lost, or will be if answers stay as slow.
    pub(super) fn loss(&self, tolerance: f64) -> f64 {
        if self.asked < REQUESTS_MIN {
            return 0.0;
        }
        let slowness = self.slowness.map_or(0.0, |(slowness, _)| slowness);
        let slow = 1.0 - tolerance / slowness.max(1e-9);
        self.refused().max(slow.clamp(0.0, SLOW_LOSS_MAX))
    }
}

/// How strained all are that are asked together.
#[derive(Debug)]
pub(super) struct Strain {
    /// Whether each block loses a notable share of its requests.
    pub(super) notable: Vec<bool>,
    /// The loss of all requests.
    pub(super) mean: f64,
    /// What is refused of one block, at worst, and of all requests.
    pub(super) refused: f64,
    pub(super) refused_mean: f64,
    /// How many origins are strained, of how many that are asked.
    pub(super) origins: usize,
    pub(super) asked: usize,
    /// How long answers of the witness take over what is usual; 0 if there are not enough of them.
    pub(super) slowness: f64,
    /// How long answers take at worst over what is tolerated, smoothed.
    pub(super) nearness: f64,
    /// How long they take over what is usual, smoothed: what the witness says, if there is one.
    pub(super) slowest: f64,
    /// The share of the most important step in the requests of a full page.
    pub(super) least: f64,
}

impl Strain {
    pub(super) fn of(state: &State, look: &Look<'_>) -> Self {
        let mut strain = Self {
            notable: Vec::with_capacity(look.blocks.len()),
            mean: 0.0,
            refused: 0.0,
            refused_mean: 0.0,
            origins: 0,
            asked: 0,
            slowness: 0.0,
            nearness: 0.0,
            slowest: 0.0,
            least: look.share_of_the_last_step(),
        };
        let (mut asked, mut lost, mut refused) = (0.0, 0.0, 0.0);
        // the slowest and the most strained block of each origin
        let mut origins: Vec<(usize, f64, f64)> = Vec::new();
        let mut smooth = Vec::new();
        for (block, seen) in state.blocks.iter().zip(look.blocks) {
            let loss = match seen.reading.is_open {
                true => 0.0,
                false => block.loss(seen.reading.tolerance),
            };
            strain.notable.push(loss >= NOTABLE);
            if block.is_alone || seen.reading.is_open || block.asked < REQUESTS_MIN {
                continue;
            }
            asked += block.asked;
            lost += block.asked * loss;
            refused += block.refused;
            strain.refused = strain.refused.max(block.refused());
            let slowness = block.slowness.map_or(0.0, |(slowness, _)| slowness);
            let nearness = block.smooth / seen.reading.tolerance.max(1e-9);
            strain.nearness = strain.nearness.max(nearness);
            smooth.push(block.smooth);
            match origins
                .iter_mut()
                .find(|(origin, ..)| *origin == seen.origin)
            {
                Some((_, most, slowest)) => {
                    (*most, *slowest) = (most.max(loss), slowest.max(slowness));
                }
                None => origins.push((seen.origin, loss, slowness)),
            }
        }
        if asked > 0.0 {
            (strain.mean, strain.refused_mean) = (lost / asked, refused / asked);
        }
        strain.origins = origins
            .iter()
            .filter(|(_, loss, _)| *loss >= NOTABLE)
            .count();
        origins.sort_by(|(.., one), (.., other)| other.total_cmp(one));
        // where fewer are asked than there must be witnesses, the last of them is one
        let witness = origins.get(WITNESS - 1).or(origins.last());
        strain.slowness = witness.map_or(0.0, |(.., slowness)| *slowness);
        strain.asked = origins.len();
        // one that is slow by chance says nothing, and of few each may be the one that is short
        smooth.sort_by(|one: &f64, other| other.total_cmp(one));
        let place = if smooth.len() > WITNESS {
            WITNESS - 1
        } else {
            0
        };
        strain.slowest = smooth.get(place).copied().unwrap_or(0.0);
        strain
    }

    /// Whether so many are strained that it is no single one's fault. Where that is known already the
    /// last of those that are left says it, and how slow answers are `usually` while it is so.
    pub(super) fn is_shared(&self, is_known: bool, usually: f64) -> bool {
        if !is_known {
            let is_slow = self.asked >= WITNESS && self.slowness >= SLOW;
            return self.origins >= WITNESS || is_slow;
        }
        let is_strained = self.origins > 0 && self.origins >= WITNESS.min(self.asked);
        is_strained || self.slowness > SLOW_AGAIN.max(SLOWER * usually)
    }
}
