//! What is told in words on the first screen: how readers are, why the level is what it is, what has
//! become of a block. Owns the sentences; pure, so that each of them can be tried.

use crate::degradation::Level;
use crate::degradation::law::Reason;
use crate::telemetry::Beat;

/// How readers are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum Readers {
    /// Everybody gets full pages, or nobody asks for any.
    Fine,
    /// Everybody gets what they came for, and not all that is around it.
    Reduced,
    /// Somebody does not get what they came for.
    Hurt,
}

/// What is known of them.
pub(super) struct Lately<'a> {
    /// The last seconds.
    pub(super) beats: &'a [Beat],
    /// Blocks that are given up, switched off, or left out at present.
    pub(super) absent: usize,
    /// Whether a core is shown from its last good copies.
    pub(super) core_is_old: bool,
}

/// How readers are, and the sentence that says so.
pub(super) fn readers(lately: &Lately<'_>) -> (Readers, String) {
    let sum = |of: fn(&Beat) -> u64| lately.beats.iter().map(of).sum::<u64>();
    let pages = sum(|beat| beat.pages);
    let (lost, snapshots) = (sum(|beat| beat.unavailable), sum(|beat| beat.snapshots));
    if lost > 0 {
        let text = format!(
            "{lost} of the last {pages} pages could not be shown at all: their article is nowhere to be had."
        );
        return (Readers::Hurt, text);
    }
    if snapshots > 0 {
        let text = format!(
            "Nobody goes without: {snapshots} of the last {pages} pages were shown as they were before."
        );
        return (Readers::Reduced, text);
    }
    let blocks = match lately.absent {
        0 => None,
        1 => Some("one block is missing around it".to_owned()),
        n => Some(format!("{n} blocks are missing around it")),
    };
    match (lately.core_is_old, blocks) {
        (true, None) => (
            Readers::Reduced,
            "Every reader gets the article, from its last good copy.".to_owned(),
        ),
        (true, Some(blocks)) => (
            Readers::Reduced,
            format!("Every reader gets the article, from its last good copy; {blocks}."),
        ),
        (false, Some(blocks)) => (
            Readers::Reduced,
            format!("Every reader gets the article; {blocks}."),
        ),
        (false, None) if pages == 0 => (
            Readers::Fine,
            "Nothing is wrong. No page was asked for in the last seconds.".to_owned(),
        ),
        (false, None) => (Readers::Fine, "Every reader gets the full page.".to_owned()),
    }
}

/// What has set the level.
pub(super) struct Set<'a> {
    /// What everybody's pages have at least.
    pub(super) level: Level,
    /// What the law alone has decided.
    pub(super) by_law: Level,
    /// Why it has.
    pub(super) reason: Reason,
    /// How long work waits, in milliseconds.
    pub(super) queue_delay_ms: f64,
    /// The share of optional requests that origins can take.
    pub(super) phi: f64,
    /// Whether some readers do not get the next step.
    pub(super) is_partly: bool,
    /// How many blocks readers do without, for whatever cause.
    pub(super) absent: usize,
    /// Whether anything that the law decides is done.
    pub(super) gives_up: bool,
    /// A pin, a floor or a cap by which the level is another than the law's, and what it says.
    pub(super) held: Option<&'a str>,
}

/// Why the level is what it is.
pub(super) fn why(set: &Set<'_>) -> String {
    if let Some(says) = set.held
        && (!set.gives_up || set.level != set.by_law)
    {
        return format!("By decision of an operator: {says}.");
    }
    if !set.gives_up {
        return match set.by_law > Level::FULL || set.is_partly {
            true => format!(
                "The law would give up level {}, but only says so.",
                set.by_law
            ),
            false => {
                "Nothing is given up by itself at present: the law only says what it would do."
                    .to_owned()
            }
        };
    }
    if set.level == Level::FULL && !set.is_partly {
        return match set.absent {
            0 => "Nothing is given up.".to_owned(),
            // an operator's switch, an origin that is left alone: it is said beside each of them
            _ => "The level gives nothing up. What is missing has causes of its own:".to_owned(),
        };
    }
    if set.phi < 1.0 {
        return format!(
            "Several origins are slow at once: they can take {:.0} % of what is asked of them.",
            set.phi * 100.0
        );
    }
    match set.reason {
        Reason::Ample => "There is no pressure any more; blocks come back.".to_owned(),
        Reason::Demand => {
            "More pages are asked for than this machine can compose in full.".to_owned()
        }
        Reason::QueueDelay => {
            format!(
                "Work has to wait {:.0} ms for its turn.",
                set.queue_delay_ms
            )
        }
        Reason::PageTime => "Pages take longer than their target.".to_owned(),
        Reason::Recovering => "The pressure is over; blocks come back step by step.".to_owned(),
        Reason::Origins => "Several origins at once are short of breath.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lately(beats: &[Beat]) -> Lately<'_> {
        Lately {
            beats,
            absent: 0,
            core_is_old: false,
        }
    }

    fn beat(unavailable: u64, snapshots: u64) -> Beat {
        Beat {
            pages: 9,
            unavailable,
            snapshots,
            ..Beat::quiet(1, 1.0)
        }
    }

    #[test]
    fn the_worst_that_readers_get_is_what_is_told() {
        for (beat, expected) in [
            (beat(0, 0), Readers::Fine),
            (beat(0, 1), Readers::Reduced),
            (beat(1, 1), Readers::Hurt),
        ] {
            let (readers, says) = readers(&lately(&[beat]));
            assert_eq!(readers, expected, "{says}");
        }
        assert_eq!(readers(&lately(&[])).0, Readers::Fine);
        let (state, says) = readers(&Lately {
            absent: 2,
            core_is_old: true,
            ..lately(&[beat(0, 0)])
        });
        assert_eq!(state, Readers::Reduced);
        assert!(
            says.contains("last good copy") && says.contains("2 blocks"),
            "{says}"
        );
    }

    #[test]
    fn a_level_has_one_cause() {
        let set = Set {
            level: Level::new(2),
            by_law: Level::new(2),
            reason: Reason::QueueDelay,
            queue_delay_ms: 31.6,
            phi: 1.0,
            is_partly: false,
            absent: 0,
            gives_up: true,
            held: None,
        };
        assert_eq!(why(&set), "Work has to wait 32 ms for its turn.");
        let pinned = Set {
            by_law: Level::FULL,
            held: Some("the level is 2"),
            ..set
        };
        assert_eq!(why(&pinned), "By decision of an operator: the level is 2.");
        let dry = Set {
            gives_up: false,
            held: None,
            level: Level::FULL,
            by_law: Level::new(1),
            ..pinned
        };
        assert!(why(&dry).contains("only says so"), "{}", why(&dry));
        let full = Set {
            level: Level::FULL,
            by_law: Level::FULL,
            gives_up: true,
            ..dry
        };
        assert_eq!(why(&full), "Nothing is given up.");
        let otherwise = why(&Set { absent: 1, ..full });
        assert!(
            otherwise.starts_with("The level gives nothing up."),
            "{otherwise}"
        );
    }
}
