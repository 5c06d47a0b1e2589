//! Which fragments each level gives up. Owns the order, least important first.
//!
//! Invariants: levels are nested (what level n drops, n + 1 drops too), and what has no rank (core
//! and essential fragments) is dropped by no level.

use crate::fragment::{Priority, Rank};

use super::Level;

/// The ladder of a site: one step for each rank that its optional fragments use, lowest first.
///
/// Fragments of equal rank go together: that is how an editor says that two blocks are one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ladder {
    steps: Vec<Rank>,
}

/// A level that a ladder does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("level {asked} does not exist: this site has 0 (full page) to {text_only} (text only)")]
pub struct NoSuchLevel {
    asked: Level,
    text_only: Level,
}

impl Ladder {
    /// The ladder of these fragments.
    pub fn new(priorities: impl IntoIterator<Item = Priority>) -> Self {
        let mut steps: Vec<Rank> = priorities.into_iter().filter_map(Priority::rank).collect();
        steps.sort_unstable();
        steps.dedup();
        Self { steps }
    }

    /// The highest level: every optional fragment is given up, only the text is left.
    pub fn text_only(&self) -> Level {
        Level::new(u8::try_from(self.steps.len()).expect("there are at most 99 ranks"))
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

    /// The ranks in the order in which they are given up; the first is gone at level 1.
    pub fn steps(&self) -> &[Rank] {
        &self.steps
    }

    /// Whether a page at `level` gives up a fragment of this priority.
    pub fn sheds(&self, level: Level, priority: Priority) -> bool {
        let Some(rank) = priority.rank() else {
            return false;
        };
        let given_up = usize::from(level.get()).min(self.steps.len());
        self.steps[..given_up].binary_search(&rank).is_ok()
    }

    /// The first level that gives up a fragment of this priority.
    pub fn level_of(&self, priority: Priority) -> Option<Level> {
        let step = self.steps.binary_search(&priority.rank()?).ok()?;
        u8::try_from(step + 1).ok().map(Level::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn optional(rank: u8) -> Priority {
        Priority::Optional(Rank::new(rank).unwrap())
    }

    #[test]
    fn lowest_rank_goes_first_and_equals_go_together() {
        let ladder = Ladder::new([optional(70), Priority::Core, optional(10), optional(10)]);
        assert_eq!(ladder.text_only(), Level::new(2));
        assert!(ladder.sheds(Level::new(1), optional(10)));
        assert!(!ladder.sheds(Level::new(1), optional(70)));
        assert!(ladder.sheds(Level::new(200), optional(70)));
        assert_eq!(ladder.level_of(optional(70)), Some(Level::new(2)));
    }

    proptest! {
        #[test]
        fn levels_are_nested_and_spare_the_text(ranks in prop::collection::vec(1u8..=99, 0..30), level in 0u8..120) {
            let ladder = Ladder::new(ranks.iter().map(|&r| optional(r)));
            for &rank in &ranks {
                let (now, next) = (Level::new(level), Level::new(level + 1));
                prop_assert!(!ladder.sheds(now, optional(rank)) || ladder.sheds(next, optional(rank)));
                prop_assert!(!ladder.sheds(Level::FULL, optional(rank)));
                prop_assert!(ladder.sheds(ladder.text_only(), optional(rank)));
            }
            prop_assert!(!ladder.sheds(Level::new(level), Priority::Core));
            prop_assert!(!ladder.sheds(Level::new(level), Priority::Essential));
        }
    }
}
