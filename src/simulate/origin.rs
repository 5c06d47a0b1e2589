//! Origins and what they have behind them: so many servers, and a queue before them. Owns who is served
//! when; what is asked and who waits for it is the plant's affair.
//!
//! An origin goes on working on what nobody waits for any more, unless it is declared to notice. While
//! one hangs what it has begun is not done, and is begun anew when it is well again.

use std::collections::VecDeque;

use super::chance::{Normal, Spread};
use super::time::Span;

/// Servers and those who wait for them.
#[derive(Debug)]
pub(super) struct Station {
    servers: usize,
    busy: usize,
    queue: VecDeque<(usize, Mean)>,
    spread: Spread,
    slowness: f64,
    is_hung: bool,
    /// What was begun and is not done, because it hangs.
    stuck: Vec<(usize, Mean)>,
}

/// A request that is being served now, and for how long; `None` where it hangs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Served {
    pub(super) request: usize,
    pub(super) takes: Span,
}

impl Station {
    pub(super) fn new(servers: usize, spread: Spread) -> Self {
        Self {
            servers,
            busy: 0,
            queue: VecDeque::new(),
            spread,
            slowness: 1.0,
            is_hung: false,
            stuck: Vec::new(),
        }
    }

    /// Somebody asks.
    pub(super) fn ask(&mut self, request: usize, mean: Mean, by: &mut Normal) -> Option<Served> {
        if self.busy >= self.servers {
            self.queue.push_back((request, mean));
            return None;
        }
        self.busy += 1;
        self.serve(request, mean, by)
    }

    /// A place has become free: who is next, of those who are `wanted` still.
    pub(super) fn next(
        &mut self,
        by: &mut Normal,
        wanted: impl Fn(usize) -> bool,
    ) -> (Option<Served>, Vec<usize>) {
        self.busy -= 1;
        let mut dropped = Vec::new();
        while let Some((request, mean)) = self.queue.pop_front() {
            if wanted(request) {
                self.busy += 1;
                return (self.serve(request, mean, by), dropped);
            }
            dropped.push(request);
        }
        (None, dropped)
    }

    fn serve(&mut self, request: usize, mean: Mean, by: &mut Normal) -> Option<Served> {
        if self.is_hung {
            self.stuck.push((request, mean));
            return None;
        }
        let spread = match mean {
            Mean::Own => self.spread.times(self.slowness),
            Mean::Asked(spread) => spread.times(self.slowness),
        };
        let takes = by.time(&spread);
        Some(Served { request, takes })
    }

    /// It takes so many times as long from now on.
    pub(super) fn slow(&mut self, factor: f64) {
        self.slowness = factor;
    }

    pub(super) fn hang(&mut self) {
        self.is_hung = true;
    }

    /// It is well again: what it had begun is begun anew.
    pub(super) fn mend(&mut self, by: &mut Normal) -> Vec<Served> {
        self.is_hung = false;
        let stuck = std::mem::take(&mut self.stuck);
        let served = stuck
            .into_iter()
            .filter_map(|(request, mean)| self.serve(request, mean, by));
        served.collect()
    }

    /// What should have been done by now is not, because it hangs since; whether that is so.
    pub(super) fn is_stuck(&mut self, request: usize, mean: Mean) -> bool {
        if self.is_hung {
            self.stuck.push((request, mean));
        }
        self.is_hung
    }
}

/// How long something takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mean {
    /// As usual there.
    Own,
    /// As whoever asks needs it.
    Asked(Spread),
}
