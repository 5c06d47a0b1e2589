//! A new version on trial. Owns the comparison of a canary with the other replicas; pure.
//!
//! The question is whether two shares differ: those of failed (or late) answers among the canary's
//! and among the others'. It is answered by the two-proportion z-test with pooled variance (NIST/SEMATECH
//! e-Handbook of Statistical Methods, 7.3.3), one-sided, at [`Z`]: because it is asked again and again,
//! the bar is higher than for a single question. A difference that is certain but small does not count:
//! [`DIFFERENCE_MIN`].

use super::verdict::Verdict;

/// Answers of either side below which nothing is said.
const COUNT_MIN: u32 = 10;

/// Standard deviations: one chance in 3,000 for each look at a canary that is as good as the others.
const Z: f64 = 3.4;

/// The least difference of two shares that is worth acting on.
const DIFFERENCE_MIN: f64 = 0.1;

/// Bad answers below which nothing is said: of a few the test's approximation holds no longer.
const BAD_MIN: u32 = 3;

/// How often the canary is looked at: once in so many of its answers.
const LOOK_EVERY: u32 = 10;

/// When either side has so many, the counts of both are halved: what happened long ago weighs less, and
/// weighs as little for the one as for the others.
const COUNT_MAX: u32 = 20_000;

/// Answers, and how many of them were bad in which way.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    answers: u32,
    failed: u32,
    late: u32,
}

/// What is known of a canary and of the others since its trial began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trial {
    canary: Count,
    others: Count,
}

/// In what a canary is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worse {
    /// It fails so many percent of the time, the others so many.
    Fails(u32, u32),
    /// It is late so many percent of the time, the others so many.
    IsLate(u32, u32),
}

impl std::fmt::Display for Worse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fails(own, others) => {
                write!(f, "{own} % of its answers fail, {others} % of the others'")
            }
            Self::IsLate(own, others) => {
                write!(
                    f,
                    "{own} % of its answers are late, {others} % of the others'"
                )
            }
        }
    }
}

impl Trial {
    /// One of the others has answered; `is_late` is by the measure that holds for both.
    pub(super) fn other(&mut self, verdict: Verdict, is_late: bool) {
        self.others.add(verdict, is_late);
        self.forget();
    }

    /// The canary has answered; whether it is worse than the others.
    pub(super) fn canary(&mut self, verdict: Verdict, is_late: bool) -> Option<Worse> {
        self.canary.add(verdict, is_late);
        self.forget();
        let (canary, others) = (self.canary, self.others);
        let is_time = canary.answers.is_multiple_of(LOOK_EVERY);
        if !is_time || canary.answers < COUNT_MIN || others.answers < COUNT_MIN {
            return None;
        }
        let differs = |own: u32, others_own: u32| {
            differs((own, canary.answers), (others_own, others.answers))
        };
        if let Some((own, others)) = differs(canary.failed, others.failed) {
            return Some(Worse::Fails(own, others));
        }
        let (own, others) = differs(canary.late, others.late)?;
        Some(Worse::IsLate(own, others))
    }
}

impl Trial {
    fn forget(&mut self) {
        if self.canary.answers >= COUNT_MAX || self.others.answers >= COUNT_MAX {
            self.canary.halve();
            self.others.halve();
        }
    }
}

impl Count {
    fn halve(&mut self) {
        self.answers /= 2;
        self.failed /= 2;
        self.late /= 2;
    }

    fn add(&mut self, verdict: Verdict, is_late: bool) {
        self.answers += 1;
        self.failed += u32::from(verdict == Verdict::Failed);
        self.late += u32::from(is_late);
    }
}

/// The two shares in percent, if the first is significantly larger.
fn differs((own, of): (u32, u32), (other, of_other): (u32, u32)) -> Option<(u32, u32)> {
    let share = |part: u32, of: u32| f64::from(part) / f64::from(of.max(1));
    let (a, b) = (share(own, of), share(other, of_other));
    let pooled = share(own + other, of + of_other);
    let error =
        (pooled * (1.0 - pooled) * (1.0 / f64::from(of) + 1.0 / f64::from(of_other))).sqrt();
    let is_worse = own >= BAD_MIN && a - b >= DIFFERENCE_MIN && (a - b) >= Z * error;
    let percent = |share: f64| (share * 100.0).round() as u32;
    is_worse.then(|| (percent(a), percent(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_differ_or_do_not() {
        for (canary, others, expected) in [
            ((20, 20), (0, 400), Some((100, 0))),
            ((6, 20), (4, 400), Some((30, 1))),
            // certain, but not worth it
            ((100, 2000), (0, 2000), None),
            // large, but no more than chance
            ((3, 20), (20, 400), None),
            ((10, 20), (200, 400), None),
            ((0, 20), (400, 400), None),
            ((0, 20), (0, 400), None),
            ((20, 20), (400, 400), None),
        ] {
            assert_eq!(differs(canary, others), expected, "{canary:?} {others:?}");
        }
    }

    /// `bad` is how often the canary fails; the others fail once in a hundred times.
    fn looks(seed: u64, bad: f64) -> Option<u32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut trial = Trial::default();
        let verdict = |is_bad| {
            if is_bad {
                Verdict::Failed
            } else {
                Verdict::Good
            }
        };
        for answers in 1..=2_000 {
            for _ in 0..19 {
                trial.other(verdict(rng.f64() < 0.01), rng.f64() < 0.05);
            }
            let late = rng.f64() < 0.05;
            if trial.canary(verdict(rng.f64() < bad), late).is_some() {
                return Some(answers);
            }
        }
        None
    }

    #[test]
    fn a_bad_one_is_found_and_a_good_one_is_left_in_peace() {
        for seed in 0..100 {
            let found = looks(seed, 0.5);
            assert!(
                found.is_some_and(|after| after <= 20),
                "seed {seed}: {found:?}"
            );
            let found = looks(seed, 0.2);
            assert!(
                found.is_some_and(|after| after <= 300),
                "seed {seed}: {found:?}"
            );
        }
        let wronged = (0..100).filter(|seed| looks(*seed, 0.01).is_some()).count();
        assert!(
            wronged <= 1,
            "{wronged} of 100 good canaries were withdrawn"
        );
    }

    /// Thirty percent of all answers fail for three minutes, of a canary and of nineteen times as many.
    #[test]
    fn what_befalls_all_is_held_against_nobody() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut trial = Trial::default();
            for n in 0..60_000 {
                let is_sick = (20_000..38_000).contains(&n);
                let fails = rng.f64() < if is_sick { 0.3 } else { 0.002 };
                let verdict = if fails {
                    Verdict::Failed
                } else {
                    Verdict::Good
                };
                if n % 20 > 0 {
                    trial.other(verdict, false);
                    continue;
                }
                let worse = trial.canary(verdict, false);
                assert_eq!(worse, None, "seed {seed}, after {n}");
            }
        }
    }

    #[test]
    fn one_that_is_late_is_worse_too() {
        let mut trial = Trial::default();
        (0..200).for_each(|n| trial.other(Verdict::Good, n % 20 == 0));
        let worse = (0..20).find_map(|n| trial.canary(Verdict::Good, n % 2 == 0));
        assert_eq!(worse, Some(Worse::IsLate(50, 5)));
    }
}
