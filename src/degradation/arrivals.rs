//! How often something happens, as far as that can be told of events that come by chance. Owns the
//! average: smooth while nothing changes, and at the new rate at once when the rate has changed in a
//! step; pure.

use std::time::Duration;

/// Over how long is averaged, and when a difference is a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Over how long it is averaged to see a step.
    pub fast: Duration,
    /// Over how long it is averaged otherwise, when that long has passed since the last step.
    pub slow: Duration,
    /// By how many standard deviations the two differ when the rate has changed in a step.
    pub step: f64,
}

impl Pace {
    /// What the simulations came to. At three standard deviations chance alone is taken for a step once
    /// or twice a minute, and theta leaps for nothing.
    pub const USUAL: Self = Self {
        fast: Duration::from_millis(300),
        slow: Duration::from_secs(5),
        step: 3.5,
    };
}

/// The longest that one look counts for: after a suspended machine or a stalled process nobody knows how
/// things were meanwhile.
/// From: a bound against a machine that was asleep.
pub const SPAN_MAX: Duration = Duration::from_secs(1);

/// The shortest.
/// From: a bound against dividing by nothing.
pub const SPAN_MIN: Duration = Duration::from_millis(1);

/// How long a step takes to be seen whole, in times of the quick average: 95 % of it.
/// From: arithmetic: 1 - exp(-3).
const STEP_LASTS: f64 = 3.0;

/// Events a second, averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    fast: f64,
    slow: f64,
    /// Seconds since the last step.
    since: f64,
}

impl Arrivals {
    /// The average after a look at which `count` events were seen since the look before, which was
    /// `whole` ago; `before` is `None` at the first.
    #[must_use]
    pub fn after(before: Option<Self>, pace: &Pace, count: f64, whole: Duration) -> Self {
        let span = whole.clamp(SPAN_MIN, SPAN_MAX).as_secs_f64();
        let Some(before) = before else {
            let rate = count / span;
            return Self {
                fast: rate,
                slow: rate,
                since: 0.0,
            };
        };
        let rate = match whole > SPAN_MAX {
            // nobody knows when in that long time they came: as many as before, if not more
            true => before.slow.max(count / whole.as_secs_f64()),
            false => count / span,
        };
        let fast = before.fast + weight(span, pace.fast) * (rate - before.fast);
        // until a step is over the quick average is the better one; then no longer than since it
        let (least, most) = (pace.fast.as_secs_f64(), pace.slow.as_secs_f64());
        let since = before.since + span;
        let memory = (since - STEP_LASTS * least).clamp(least, most.max(least));
        let slow =
            before.slow + weight(span, Duration::from_secs_f64(memory)) * (rate - before.slow);
        // an average over tau of events that come by chance has a variance of rate / (2 tau)
        let deviation = (slow.max(1.0) / (2.0 * pace.fast.as_secs_f64())).sqrt();
        match (fast - slow).abs() > pace.step * deviation {
            true => Self {
                fast,
                slow: fast,
                since: 0.0,
            },
            false => Self { fast, slow, since },
        }
    }

    /// Events a second.
    pub fn rate(self) -> f64 {
        self.slow
    }
}

/// The weight of what is new in an average that forgets: two thirds of it within `tau`, however long a
/// look lasts.
pub fn weight(span_s: f64, tau: Duration) -> f64 {
    1.0 - (-span_s / tau.as_secs_f64().max(1e-9)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn after(mut arrivals: Option<Arrivals>, counts: impl IntoIterator<Item = u32>) -> Arrivals {
        for count in counts {
            arrivals = Some(Arrivals::after(
                arrivals,
                &Pace::USUAL,
                f64::from(count),
                TICK,
            ));
        }
        arrivals.unwrap()
    }

    #[test]
    fn a_step_is_followed_at_once_and_chance_is_not() {
        let chance = (0..200).map(|n| [9, 14, 12, 10, 16, 11][n % 6]);
        let steady = after(None, chance);
        assert!((steady.rate() - 120.0).abs() < 6.0, "{steady:?}");
        let risen = after(Some(steady), [60; 4]);
        assert!(risen.rate() > 350.0, "{risen:?}");
        let fallen = after(Some(after(Some(risen), [60; 30])), [12; 12]);
        assert!(fallen.rate() < 180.0, "{fallen:?}");
    }

    #[test]
    fn what_was_before_a_step_is_forgotten_within_two_seconds() {
        let before = after(None, [12; 100]);
        for (count, rate) in [(60, 600.0), (30, 300.0), (24, 240.0)] {
            let risen = after(Some(before), [count; 20]).rate();
            assert!((risen / rate - 1.0).abs() < 0.04, "{risen} of {rate}");
        }
    }

    #[test]
    fn a_long_look_tells_no_less_than_before() {
        let before = after(None, [40; 50]);
        let hours = Duration::from_secs(7200);
        let behind = Arrivals::after(Some(before), &Pace::USUAL, 30.0, hours);
        assert!((behind.rate() - 400.0).abs() < 1e-6, "{behind:?}");
        let zero = Arrivals::after(Some(before), &Pace::USUAL, 0.0, Duration::ZERO);
        assert!(zero.rate().is_finite());
    }
}
