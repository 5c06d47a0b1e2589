//! What pages are planned by at present: what the law has decided and what operators have. Owns how the
//! two come together for one reader; pure, and read by every page.

use std::sync::Arc;

use super::{Cut, Decision, Level, Overrides, Reader};

/// The matter of a reader's draw by which a page is composed or answered from its snapshot. No ladder
/// has so many steps.
const ADMISSION: u64 = u64::MAX;

/// What pages are planned by.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    /// What the law says.
    pub decision: Decision,
    /// Where theta cuts the ladder.
    pub cut: Cut,
    /// The share of the requests of optional blocks that origins can take, while several are short of
    /// breath at once; 1 while they are not.
    pub phi: f64,
    /// Where that cuts the ladder.
    pub origins_cut: Cut,
    /// What operators have decided.
    pub overrides: Arc<Overrides>,
    /// What is done with it.
    pub effect: Effect,
}

/// What is done with what the law decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Blocks and pages are given up.
    GivesUp,
    /// Nothing, but it is said what would be.
    DryRun,
    /// Nothing is decided: full pages, but for what operators have decided.
    None,
}

/// What one page is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Composed, at this level.
    Compose(Level),
    /// Its snapshot, if there is one.
    Snapshot,
}

impl Mode {
    /// Full pages, whatever comes.
    pub fn full() -> Self {
        Self {
            decision: Decision::FULL,
            cut: Cut::NONE,
            phi: 1.0,
            origins_cut: Cut::NONE,
            overrides: Arc::default(),
            effect: Effect::None,
        }
    }

    /// What a page of this reader is to be, who asks for so many levels less than the others get.
    pub fn admit(&self, reader: Reader, lower_by: u8) -> Admission {
        if self.gives_up_pages() && reader.draw(ADMISSION) >= self.decision.admit {
            return Admission::Snapshot;
        }
        Admission::Compose(self.level(reader, lower_by))
    }

    /// The level of a page of this reader. Where nothing is given up nobody is lowered either.
    pub fn level(&self, reader: Reader, lower_by: u8) -> Level {
        let level = match self.gives_up() {
            true => self.would_be(reader).get().saturating_add(lower_by),
            false => Level::FULL.get(),
        };
        self.overrides.level(Level::new(level))
    }

    /// The level that everybody's pages have at least, by the law alone.
    pub fn given_up(&self) -> Level {
        self.cut.given_up.max(self.origins_cut.given_up)
    }

    /// What people call the level of a ladder that ends at `text_only`, by the law alone: what everybody
    /// gives up, or one more where pages are answered from snapshots.
    pub fn by_law(&self, text_only: Level) -> Level {
        match self.decision.admit < 1.0 {
            true => Level::new(text_only.get().saturating_add(1)),
            false => self.given_up(),
        }
    }

    /// The level that everybody's pages have at least, by what operators have decided too.
    pub fn level_of_all(&self) -> Level {
        let by_law = match self.gives_up() {
            true => self.given_up(),
            false => Level::FULL,
        };
        self.overrides.level(by_law)
    }

    /// The level of a page of this reader by the law alone.
    pub fn would_be(&self, reader: Reader) -> Level {
        self.cut.level(reader).max(self.origins_cut.level(reader))
    }

    /// Whether what the law decides is done.
    pub fn gives_up(&self) -> bool {
        self.effect == Effect::GivesUp && !self.overrides.is_dry_run
    }

    /// Whether a page that cannot be composed in time is answered from its snapshot: an operator who
    /// holds the level down has said that it is to be composed.
    pub fn gives_up_pages(&self) -> bool {
        self.gives_up() && !self.is_held_down()
    }

    /// Whether operators hold the level below what the law wants: then pages are composed whatever they
    /// cost, and nothing is refused on the way.
    pub fn is_held_down(&self) -> bool {
        self.overrides.holds_down(self.given_up())
    }

    /// Whether there is more to do than can be done, so that nothing is done twice.
    pub fn is_frugal(&self) -> bool {
        let is_short = self.decision.theta < 1.0 || self.decision.admit < 1.0 || self.phi < 1.0;
        is_short && self.gives_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers() -> impl Iterator<Item = Reader> {
        (0..2000u32).map(|n| Reader::new(&n.to_le_bytes(), 20_000))
    }

    fn degraded(theta: f64, admit: f64) -> Mode {
        let decision = Decision {
            theta,
            admit,
            ..Decision::FULL
        };
        Mode {
            decision,
            cut: Cut::at(theta, &[1.0, 1.0, 2.0]),
            effect: Effect::GivesUp,
            ..Mode::full()
        }
    }

    #[test]
    fn as_many_readers_get_a_snapshot_as_cannot_be_served() {
        let mode = degraded(0.0, 0.7);
        let refused = readers().filter(|r| mode.admit(*r, 0) == Admission::Snapshot);
        let refused = refused.count() as f64 / 2000.0;
        assert!((refused - 0.3).abs() < 0.05, "{refused}");
        for reader in readers() {
            if let Admission::Compose(level) = mode.admit(reader, 0) {
                assert_eq!(level, Level::new(3));
            }
        }
    }

    #[test]
    fn the_cut_that_gives_up_more_counts() {
        let origins_cut = Cut::at(0.0, &[1.0, 1.0, 1.0]);
        let mode = Mode {
            origins_cut,
            ..degraded(0.5, 1.0)
        };
        assert!(readers().all(|reader| mode.level(reader, 0) == Level::new(3)));
    }

    #[test]
    fn a_dry_run_gives_nothing_up() {
        let mode = Mode {
            effect: Effect::DryRun,
            ..degraded(0.0, 0.1)
        };
        for reader in readers() {
            assert_eq!(mode.admit(reader, 0), Admission::Compose(Level::FULL));
            assert_eq!(mode.would_be(reader), Level::new(3));
        }
    }

    #[test]
    fn operators_are_above_the_law() {
        let by = |overrides| Mode {
            overrides: Arc::new(overrides),
            ..degraded(0.0, 0.1)
        };
        let cap = by(Overrides {
            cap: Some(Level::new(1)),
            ..Overrides::default()
        });
        let pin = by(Overrides {
            pin: Some(Level::FULL),
            ..Overrides::default()
        });
        for reader in readers() {
            assert_eq!(cap.admit(reader, 0), Admission::Compose(Level::new(1)));
            assert_eq!(pin.admit(reader, 2), Admission::Compose(Level::FULL));
        }
        assert!(cap.is_held_down() && pin.is_held_down());
    }

    #[test]
    fn who_holds_the_level_no_lower_than_the_law_keeps_its_snapshots() {
        let by = |overrides| Mode {
            overrides: Arc::new(overrides),
            ..degraded(0.0, 0.1)
        };
        let text_only = Some(Level::new(3));
        for overrides in [
            Overrides {
                pin: text_only,
                ..Overrides::default()
            },
            Overrides {
                cap: text_only,
                ..Overrides::default()
            },
            Overrides {
                floor: Some(Level::new(1)),
                ..Overrides::default()
            },
        ] {
            let mode = by(overrides);
            assert!(mode.gives_up_pages() && !mode.is_held_down());
            assert!(readers().any(|reader| mode.admit(reader, 0) == Admission::Snapshot));
        }
    }

    #[test]
    fn readers_who_save_data_get_less() {
        let by = |effect, is_dry_run| Mode {
            effect,
            overrides: Arc::new(Overrides {
                is_dry_run,
                ..Overrides::default()
            }),
            ..Mode::full()
        };
        for (effect, is_dry_run, expected) in [
            (Effect::GivesUp, false, 2),
            (Effect::GivesUp, true, 0),
            (Effect::DryRun, false, 0),
            (Effect::None, false, 0),
        ] {
            let mode = by(effect, is_dry_run);
            let level = Level::new(expected);
            assert!(
                readers().all(|reader| mode.level(reader, 2) == level),
                "{effect:?}, dry run by an operator: {is_dry_run}"
            );
        }
    }
}
