//! Which fragments each level gives up. Owns the steps, first given up first, and their names; whether
//! they were declared or follow the priorities is the same to everybody else.
//!
//! Invariants: levels are nested (what level n drops, n + 1 drops too), no fragment is in two steps, and
//! what is in no step (core and essential fragments, the items of lists) is dropped by no level.

use std::collections::BTreeMap;

use crate::fragment::{FragmentId, Priority, Rank};

use super::Level;

/// The ladder of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ladder {
    steps: Vec<Step>,
    /// The level that gives a fragment up, by the fragment's index; 0 for what no level gives up.
    given_up_at: Vec<u8>,
}

/// Fragments that go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What people call it: as it was declared, else the names of its blocks.
    pub name: String,
    /// Its fragments, in the order in which they were declared.
    pub blocks: Vec<FragmentId>,
}

/// A level that a ladder does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("level {asked} does not exist: this site has 0 (full page) to {text_only} (text only)")]
pub struct NoSuchLevel {
    asked: Level,
    text_only: Level,
}

impl Ladder {
    /// The most steps that a ladder may have: as many as there are ranks.
    pub const STEPS_MAX: usize = Rank::MAX as usize;

    /// The ladder of these steps, first given up first. Of more than [`STEPS_MAX`](Self::STEPS_MAX)
    /// the last ones are one, and a fragment that is named again stays where it was first.
    pub fn new(declared: impl IntoIterator<Item = Step>) -> Self {
        let mut ladder = Self::default();
        for Step { name, blocks } in declared {
            if ladder.steps.len() < Self::STEPS_MAX {
                let blocks = Vec::new();
                ladder.steps.push(Step { name, blocks });
            }
            for block in blocks {
                ladder.add_to_last(block);
            }
        }
        ladder
    }

    fn add_to_last(&mut self, block: FragmentId) {
        let (level, index) = (self.text_only().get(), block.index());
        let Some(last) = self.steps.last_mut() else {
            return;
        };
        if self.given_up_at.len() <= index {
            self.given_up_at.resize(index + 1, 0);
        }
        if self.given_up_at[index] == 0 {
            self.given_up_at[index] = level;
            last.blocks.push(block);
        }
    }

    /// The ladder that these fragments' priorities make: one step for each rank that is used, lowest
    /// first. Fragments of equal rank go together: that is how an editor says that two blocks are one.
    pub fn by_priority<'f>(
        fragments: impl IntoIterator<Item = (FragmentId, &'f str, Priority)>,
    ) -> Self {
        let mut ranks: BTreeMap<Rank, (Vec<&str>, Vec<FragmentId>)> = BTreeMap::new();
        for (id, name, priority) in fragments {
            if let Some(rank) = priority.rank() {
                let (names, blocks) = ranks.entry(rank).or_default();
                names.push(name);
                blocks.push(id);
            }
        }
        Self::new(ranks.into_values().map(|(names, blocks)| Step {
            name: names.join(", "),
            blocks,
        }))
    }

    /// The highest level: every optional fragment is given up, only the text is left.
    pub fn text_only(&self) -> Level {
        Level::new(u8::try_from(self.steps.len()).expect("there are at most 99 steps"))
    }

    /// What people call the level beyond: the page as it was when it could be composed last.
    pub fn snapshot(&self) -> Level {
        Level::new(self.text_only().get().saturating_add(1))
    }

    /// The level of this number, if this ladder has it.
    pub fn level(&self, number: u8) -> Result<Level, NoSuchLevel> {
        let (asked, text_only) = (Level::new(number), self.text_only());
        if asked > text_only {
            return Err(NoSuchLevel { asked, text_only });
        }
        Ok(asked)
    }

    /// The steps in the order in which they are given up; the first is gone at level 1.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether a page at `level` gives up a fragment.
    pub fn sheds(&self, level: Level, fragment: FragmentId) -> bool {
        self.level_of(fragment).is_some_and(|gone| gone <= level)
    }

    /// The first level that gives up a fragment; `None` if none does.
    pub fn level_of(&self, fragment: FragmentId) -> Option<Level> {
        let level = self.given_up_at.get(fragment.index()).copied();
        level.filter(|level| *level > 0).map(Level::new)
    }

    /// The step that a fragment is in, as an index into [`steps`](Self::steps).
    pub fn step_of(&self, fragment: FragmentId) -> Option<usize> {
        let level = self.level_of(fragment)?;
        usize::from(level.get()).checked_sub(1)
    }

    /// The step that a fragment is in.
    pub fn step(&self, fragment: FragmentId) -> Option<&Step> {
        self.steps.get(self.step_of(fragment)?)
    }

    /// What people call a level: the step that it gives up last, "full page" for none of them, "text
    /// only" for all of them, and "snapshot" for what is beyond that.
    pub fn called(&self, level: Level) -> &str {
        if level == Level::FULL {
            return "full page";
        }
        if level >= self.text_only() {
            return match level == self.text_only() {
                true => "text only",
                false => "snapshot",
            };
        }
        &self.steps[usize::from(level.get()) - 1].name
    }
}

#[cfg(test)]
mod tests;
