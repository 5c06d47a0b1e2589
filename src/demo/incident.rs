//! Incidents that are rehearsed: what readers do and what happens to origins meanwhile, second by second.
//! Owns the scripts; pure, chance is an argument. Who plays them is [`readers`], on which site is
//! [`stage`], and whether the journal tells of it what the readers saw is [`compare`].

use std::time::Duration;

use super::articles::Corpus;

pub mod compare;
pub mod readers;
pub mod seen;
pub mod stage;

/// An incident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Script {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// One after another.
    pub phases: &'static [Phase],
}

/// A part of an incident in which the load stays as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// What happens, for whoever watches.
    pub tells: &'static str,
    /// The part of the whole time.
    pub share: f64,
    /// How many pages are asked for, on average.
    pub pages_per_second: f64,
    /// The share of these that are the one story everybody came for.
    pub on_the_story: f64,
    /// A dial that is turned as it begins: the origin, and the change.
    pub turn: Option<(&'static str, &'static str)>,
}

/// A crowd comes for one story, at four times what the machine can compose in full, and the live feed
/// that it came for does not bear it.
pub const FLASH_CROWD: Script = Script {
    name: "flash-crowd",
    about: "a crowd comes for one story, and the service behind the live feed does not bear it",
    phases: &[
        Phase {
            tells: "an ordinary evening",
            share: 0.25,
            pages_per_second: 6.0,
            on_the_story: 0.1,
            turn: None,
        },
        Phase {
            tells: "the crowd comes, and the live feed's service takes seconds to answer",
            share: 0.33,
            pages_per_second: 130.0,
            on_the_story: 0.6,
            turn: Some(("live", "latency_ms=2000")),
        },
        Phase {
            tells: "most of the crowd has left; the live feed's service is still slow",
            share: 0.17,
            pages_per_second: 25.0,
            on_the_story: 0.5,
            turn: None,
        },
        Phase {
            tells: "the live feed's service is well again, and so are readers",
            share: 0.25,
            pages_per_second: 6.0,
            on_the_story: 0.1,
            turn: Some(("live", "reset=1")),
        },
    ],
};

/// How many readers there are: each keeps the same blocks from page to page.
const READERS: u32 = 300;

/// The share of readers who follow an old link, and of those who follow a wrong one.
const ASTRAY: f64 = 0.01;

/// One page that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// When, since the beginning.
    pub at: Duration,
    /// Which page.
    pub path: String,
    /// By whom.
    pub reader: u32,
}

impl Script {
    /// When each phase begins, of an incident that lasts so long.
    pub fn begins(&self, length: Duration) -> Vec<Duration> {
        let mut at = 0.0;
        let phases = self.phases.iter();
        phases
            .map(|phase| {
                let begins = length.mul_f64(at);
                at += phase.share;
                begins
            })
            .collect()
    }

    /// Who asks for what, and when: independent readers, so that they come at random. The same seed
    /// gives the same ones.
    pub fn visits(&self, length: Duration, seed: u64, corpus: &Corpus) -> Vec<Visit> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut pages = corpus.pages.clone();
        rng.shuffle(&mut pages);
        let mut others = pages.iter().cycle();
        let mut visits = Vec::new();
        for (phase, begins) in self.phases.iter().zip(self.begins(length)) {
            let ends = begins + length.mul_f64(phase.share);
            let mut at = begins;
            loop {
                let pause = -(1.0 - rng.f64()).ln() / phase.pages_per_second;
                at += Duration::from_secs_f64(pause);
                if at >= ends {
                    break;
                }
                let chance = rng.f64();
                let path = match chance {
                    _ if chance < ASTRAY => &corpus.moved,
                    _ if chance < 2.0 * ASTRAY => &corpus.unknown,
                    _ if rng.f64() < phase.on_the_story => &corpus.story,
                    // in turn, so that each is read before anything happens
                    _ => others.next().unwrap_or(&corpus.story),
                };
                visits.push(Visit {
                    at,
                    path: path.clone(),
                    reader: rng.u32(..READERS),
                });
            }
        }
        visits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_phases_fill_the_time_and_each_has_its_load() {
        let script = FLASH_CROWD;
        let whole: f64 = script.phases.iter().map(|phase| phase.share).sum();
        assert!((whole - 1.0).abs() < 1e-9, "{whole}");
        let visits = script.visits(MINUTE, 7, &Corpus::gather());
        let begins = script.begins(MINUTE);
        for (number, phase) in script.phases.iter().enumerate() {
            let ends = begins.get(number + 1).copied().unwrap_or(MINUTE);
            let within = visits
                .iter()
                .filter(|v| v.at >= begins[number] && v.at < ends)
                .count() as f64;
            let expected = phase.pages_per_second * 60.0 * phase.share;
            // four standard deviations of so many independent readers
            assert!(
                (within - expected).abs() < 4.0 * expected.sqrt(),
                "{}: {within}, not {expected}",
                phase.tells
            );
        }
        assert!(visits.is_sorted_by_key(|visit| visit.at));
    }

    #[test]
    fn every_page_is_read_before_the_crowd_comes_and_chance_is_the_seeds() {
        let corpus = Corpus::gather();
        let visits = FLASH_CROWD.visits(MINUTE, 7, &corpus);
        let calm = FLASH_CROWD.begins(MINUTE)[1];
        for page in &corpus.pages {
            let is_read = visits.iter().any(|v| v.at < calm && v.path == *page);
            assert!(is_read, "{page}");
        }
        assert_eq!(visits, FLASH_CROWD.visits(MINUTE, 7, &corpus));
        assert_ne!(visits, FLASH_CROWD.visits(MINUTE, 8, &corpus));
    }
}
