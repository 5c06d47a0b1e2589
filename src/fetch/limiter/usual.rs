//! What an answer takes usually. Owns how that is learned; pure: time is an argument.

use std::time::Duration;

use crate::clock::Instant;

use super::{SAMPLE_TIME, ms, weight};

/// For how long what is usual is learned quickly, and how quickly.
/// From: simulation, 20 s.
const LEARNING: Duration = Duration::from_secs(20);
/// From: simulation, 4 s.
const LEARNING_TAU: Duration = Duration::from_secs(4);

/// How quickly what is usual follows later.
/// From: simulation, 120 s.
const USUAL_TAU: Duration = Duration::from_secs(120);

/// Times what is usual, up to which an answer time looks usual.
/// From: simulation, 1.25.
const USUAL_MAX: f64 = 1.25;

/// What an answer takes usually.
#[derive(Debug)]
pub(super) struct Usual {
    /// In milliseconds; `None` before there was an answer.
    pub(super) ms: Option<f64>,
    /// For how long it is learned quickly still.
    learning: Duration,
    learned: Instant,
}

impl Usual {
    /// Nothing known but what was before a restart.
    pub(super) fn new(baseline: Option<Duration>, now: Instant) -> Self {
        Self {
            ms: baseline.map(ms),
            learning: match baseline {
                Some(_) => Duration::ZERO,
                None => LEARNING,
            },
            learned: now,
        }
    }

    /// So much was the mean of a few answers, in milliseconds; `is_free` where everybody has asked.
    pub(super) fn learn(&mut self, mean: f64, is_free: bool, now: Instant) {
        // few answers far apart do not say more than many
        let since = now.saturating_duration_since(self.learned).min(SAMPLE_TIME);
        self.learned = now;
        let Some(usual) = &mut self.ms else {
            self.ms = Some(mean);
            return;
        };
        let tau = match self.learning.is_zero() {
            false => LEARNING_TAU,
            true if is_free && mean < *usual * USUAL_MAX => USUAL_TAU,
            true => return,
        };
        self.learning = self.learning.saturating_sub(since);
        *usual += (mean - *usual) * weight(since.as_secs_f64(), tau);
    }

    /// It is another one by now, to be learned quickly.
    pub(super) fn forget(&mut self) {
        self.ms = None;
        self.learning = LEARNING;
    }
}
