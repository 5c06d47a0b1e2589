//! What a fault does to a request. Owns the decision; pure: seed, number and time are arguments, and the
//! same ones give the same answer.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Instant;
use crate::degradation::Reader;
use crate::site::chaos::{DELAY_MAX, FaultSpec, Harm, Target};

/// A fault that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'f> {
    /// What was declared.
    pub spec: &'f FaultSpec,
    /// Where its chance begins.
    pub seed: u64,
    /// When it began.
    pub since: Instant,
}

/// What is asked, as far as faults look at it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Of which origin.
    pub origin: &'a str,
    /// For which fragment, if it is for one.
    pub fragment: Option<&'a str>,
    /// The faults that its page was drawn for.
    pub drawn: &'a [std::sync::Arc<str>],
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// It is made so much later.
    Late(Duration),
    /// It is not made, and has this status.
    Status(u16),
    /// It is not made: nobody can be reached.
    Unreachable,
    /// It is not made: its connection is reset.
    Reset,
    /// It is not made, and has no end.
    Hang,
    /// Its answer ends half-way.
    Cut,
    /// Its answer comes a byte at a time.
    Drip(Duration),
    /// Its answer holds something else.
    Garbage,
}

impl Rule<'_> {
    /// What becomes of the `number`th request that could be hit, at `now`; `None`: nothing.
    pub fn decide(&self, asked: &Asked<'_>, number: u64, now: Instant) -> Option<Effect> {
        if !self.is_about(asked) || !self.strikes(number) {
            return None;
        }
        self.effect(number, now)
    }

    /// What becomes of the `number`th call of the shared store.
    pub fn of_call(&self, number: u64, now: Instant) -> Option<Effect> {
        let is_about = self.spec.target == Target::Store && self.strikes(number);
        is_about.then(|| self.effect(number, now)).flatten()
    }

    /// Whether it could hit this.
    pub fn is_about(&self, asked: &Asked<'_>) -> bool {
        let is_here = match &self.spec.target {
            Target::Origin(name) => name == asked.origin,
            Target::Fragment(name) => asked.fragment == Some(name),
            Target::Store => false,
        };
        let is_drawn = || asked.drawn.iter().any(|name| **name == *self.spec.name);
        is_here && (self.spec.reach.is_all() || is_drawn())
    }

    /// Whether the page at a path has it, for a reader whose request carries a good token or not. The same
    /// reader has it again at the same path.
    pub fn is_for(&self, reader: Reader, path: &str, is_signed: bool) -> bool {
        let reach = self.spec.reach;
        let is_drawn =
            || reach.share >= 1.0 || reader.draw(hash(path.as_bytes(), self.seed)) < reach.share;
        (!reach.signed || is_signed) && is_drawn()
    }

    fn strikes(&self, number: u64) -> bool {
        self.spec.rate >= 1.0 || self.chance(number, 0) < self.spec.rate
    }

    fn effect(&self, number: u64, now: Instant) -> Option<Effect> {
        Some(match self.spec.harm {
            Harm::Latency { by, spread } if spread > 0.0 => {
                let times = (spread * self.normal(number)).exp();
                let most = DELAY_MAX.as_secs_f64();
                Effect::Late(Duration::from_secs_f64(
                    (by.as_secs_f64() * times).min(most),
                ))
            }
            Harm::Latency { by, .. } => Effect::Late(by),
            Harm::SlowStart { by, over } => {
                let passed = now.saturating_duration_since(self.since);
                let left = over.saturating_sub(passed).as_secs_f64() / over.as_secs_f64();
                if left <= 0.0 {
                    return None;
                }
                Effect::Late(by.mul_f64(left))
            }
            Harm::Error { status } => Effect::Status(status),
            Harm::Refuse => Effect::Unreachable,
            Harm::Reset => Effect::Reset,
            Harm::Hang => Effect::Hang,
            Harm::Cut => Effect::Cut,
            Harm::Drip { every } => Effect::Drip(every),
            Harm::Garbage => Effect::Garbage,
            // that is where names are looked up: connections that there are go on
            Harm::Dns => return None,
        })
    }

    /// Uniform in 0 to 1.
    fn chance(&self, number: u64, matter: u64) -> f64 {
        let hash = hash(&number.to_le_bytes(), self.seed.wrapping_add(matter));
        // the 53 bits that a float has room for
        (hash >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed, by Box and Muller.
    fn normal(&self, number: u64) -> f64 {
        let (a, b) = (self.chance(number, 1), self.chance(number, 2));
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

fn hash(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// Where the chance of a fault begins: the same for the same name, so that it can be had again.
pub fn seed_of(name: &str) -> u64 {
    hash(name.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;
    use crate::site::chaos::{PAGES, Reach, StopOn};

    fn spec(target: Target, harm: Harm) -> FaultSpec {
        FaultSpec {
            name: "f".to_owned(),
            target,
            harm,
            rate: 1.0,
            reach: Reach::ALL,
            owner: "desk".to_owned(),
            reason: "a test".to_owned(),
            lasts: Duration::from_secs(60),
            window: None,
            pages_max: PAGES,
            stop_on: StopOn::Burning,
        }
    }

    fn rule(spec: &FaultSpec) -> Rule<'_> {
        Rule {
            spec,
            seed: seed_of(&spec.name),
            since: Clock::start().now(),
        }
    }

    fn asked<'a>(fragment: Option<&'a str>, drawn: &'a [Arc<str>]) -> Asked<'a> {
        Asked {
            origin: "media",
            fragment,
            drawn,
        }
    }

    #[test]
    fn it_hits_what_it_is_on_and_nothing_else() {
        let origin = |name: &str| Target::Origin(name.to_owned());
        let fragment = |name: &str| Target::Fragment(name.to_owned());
        for (target, of_fragment, hit) in [
            (origin("media"), Some("slideshow"), true),
            (origin("media"), None, true),
            (origin("cms"), Some("slideshow"), false),
            (fragment("slideshow"), Some("slideshow"), true),
            (fragment("slideshow"), Some("article"), false),
            (fragment("slideshow"), None, false),
            (Target::Store, Some("slideshow"), false),
        ] {
            let spec = spec(target, Harm::Hang);
            let rule = rule(&spec);
            let found = rule.decide(&asked(of_fragment, &[]), 0, rule.since);
            assert_eq!(found.is_some(), hit, "{spec:?} {of_fragment:?}");
        }
        let mut some = spec(origin("media"), Harm::Cut);
        some.reach.share = 0.5;
        let rule = rule(&some);
        let named = [Arc::from("f")];
        assert_eq!(rule.decide(&asked(None, &[]), 0, rule.since), None);
        let hit = rule.decide(&asked(None, &named), 0, rule.since);
        assert_eq!(hit, Some(Effect::Cut));
    }

    #[test]
    fn a_slow_start_ends_by_itself_and_a_look_up_is_no_request() {
        let harm = Harm::SlowStart {
            by: Duration::from_millis(800),
            over: Duration::from_secs(8),
        };
        let cold = spec(Target::Origin("media".to_owned()), harm);
        let cold = rule(&cold);
        let late = |seconds| {
            cold.decide(
                &asked(None, &[]),
                0,
                cold.since + Duration::from_secs(seconds),
            )
        };
        let ms = |ms| Some(Effect::Late(Duration::from_millis(ms)));
        assert_eq!([late(0), late(2), late(4)], [ms(800), ms(600), ms(400)]);
        assert_eq!([late(8), late(80)], [None, None]);
        let names = spec(Target::Origin("media".to_owned()), Harm::Dns);
        let names = rule(&names);
        assert_eq!(names.decide(&asked(None, &[]), 0, names.since), None);
    }

    #[test]
    fn shares_are_what_was_asked_for_and_stay_with_whoever_has_them() {
        let mut half = spec(Target::Origin("media".to_owned()), Harm::Hang);
        half.rate = 0.3;
        half.reach.share = 0.1;
        let rule = rule(&half);
        let hits = (0..10_000).filter(|n| rule.strikes(*n)).count();
        assert!((2800..3200).contains(&hits), "{hits}");
        let readers = (0..10_000u32).map(|n| Reader::new(&n.to_le_bytes(), 7));
        let drawn: Vec<bool> = readers.map(|r| rule.is_for(r, "/a", false)).collect();
        let count = drawn.iter().filter(|is| **is).count();
        assert!((850..1150).contains(&count), "{count}");
        let again = Reader::new(&3u32.to_le_bytes(), 7);
        assert_eq!(rule.is_for(again, "/a", false), drawn[3]);
        half.reach = Reach {
            share: 1.0,
            signed: true,
        };
        let rule = self::rule(&half);
        assert!(!rule.is_for(again, "/a", false) && rule.is_for(again, "/a", true));
    }

    proptest! {
        #[test]
        fn a_lognormal_delay_is_a_delay(ms in 1u64..600_000, spread in 0.0..3.0f64, number: u64) {
            let by = Duration::from_millis(ms);
            let spec = spec(Target::Store, Harm::Latency { by, spread });
            let rule = rule(&spec);
            let Some(Effect::Late(late)) = rule.of_call(number, rule.since) else { panic!() };
            prop_assert!(late <= DELAY_MAX);
            prop_assert_eq!(rule.of_call(number, rule.since), Some(Effect::Late(late)));
        }

        #[test]
        fn half_of_the_delays_are_above_the_median(seed: u32) {
            let harm = Harm::Latency { by: Duration::from_millis(100), spread: 0.8 };
            let spec = spec(Target::Store, harm);
            let rule = Rule { seed: u64::from(seed), ..rule(&spec) };
            let above = (0..1000).filter(|n| {
                matches!(rule.of_call(*n, rule.since), Some(Effect::Late(l)) if l > Duration::from_millis(100))
            });
            let above = above.count();
            prop_assert!((400..600).contains(&above), "{}", above);
        }
    }
}
