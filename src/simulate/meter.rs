//! What was seen in a run: every page and every tick. Owns the record; what it comes to is the
//! [summary's](super::summary) affair.

use super::governor::Tick;
use super::page::{Core, Page, Set};
use super::scenario::Scenario;
use super::time::{At, Span};

/// A page that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) asked: At,
    pub(super) took: Span,
    pub(super) core: Core,
    /// Blocks that the level leaves.
    pub(super) wanted: Set,
    /// Blocks that the page does without because their origin is left alone.
    pub(super) sick: Set,
    /// Blocks that the reader sees.
    pub(super) shown: Set,
    /// In how many blocks it differs from the last page of this reader.
    pub(super) flips: u32,
}

/// A tick and what was seen at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticked {
    pub(super) tick: Tick,
    /// Changes of breakers so far.
    pub(super) moves: u64,
}

/// All that was seen.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) asked: u64,
    pub(super) pages: Vec<Answered>,
    pub(super) ticks: Vec<Ticked>,
    /// When answers came that nobody waited for any more.
    pub(super) wasted: Vec<At>,
    /// How much has happened.
    pub(super) events: u64,
    /// What each reader saw last.
    last: Vec<Option<Set>>,
}

impl Meter {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            asked: 0,
            pages: Vec::new(),
            ticks: Vec::new(),
            wasted: Vec::new(),
            events: 0,
            last: vec![None; scenario.readers as usize],
        }
    }

    pub(super) fn asked(&mut self) {
        self.asked += 1;
    }

    pub(super) fn answered(&mut self, page: &Page, now: At) {
        let mut flips = 0;
        if page.core != Core::Snapshot {
            let last = &mut self.last[page.reader_number as usize];
            flips = last.map_or(0, |last| last.differences(page.shown));
            *last = Some(page.shown);
        }
        self.pages.push(Answered {
            asked: page.asked,
            took: now.since(page.asked),
            core: page.core,
            wanted: page.wanted,
            sick: page.sick,
            shown: page.shown,
            flips,
        });
    }

    /// An answer came too late, and was not to find out how its origin is.
    pub(super) fn wasted(&mut self, now: At) {
        self.wasted.push(now);
    }

    pub(super) fn tick(&mut self, tick: Tick, moves: u64) {
        self.ticks.push(Ticked { tick, moves });
    }

    pub(super) fn finish(&mut self, events: u64) {
        self.events = events;
    }
}
