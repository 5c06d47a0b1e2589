//! How long an origin takes: streaming quantiles of the last minutes. Owns the histogram; pure.
//!
//! Buckets are log-linear, eight to each power of two, so a quantile is right to about 6 % from a
//! microsecond to a minute. Two histograms take turns, so that what is older than two turns is
//! forgotten. Nothing is recorded while an origin is left alone, and what was known is kept for two turns
//! of silence: whoever is ten times slower must not look usual a minute later, and one that is slower for
//! good is an origin of that speed some time later.

use std::time::Duration;

use crate::clock::Instant;

/// How long one of the two histograms is filled.
const TURN: Duration = Duration::from_secs(300);

/// Buckets to each power of two.
const STEPS: u32 = 8;

/// Up to 2^26 microseconds, 67 s.
const BUCKETS: usize = 26 * STEPS as usize;

/// With fewer answers than this nothing is said.
const COUNT_MIN: u32 = 20;

/// How many answers may come before what was reckoned is reckoned anew.
const RECKON_EVERY: u32 = 32;

/// The answer times of an origin.
#[derive(Debug)]
pub(super) struct Latency {
    current: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
    turned: Instant,
    last: Instant,
    count: u32,
    since_reckoned: u32,
    reckoned: Option<Quantiles>,
}

/// What is known of the answer times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantiles {
    /// Half of the answers take no longer.
    pub(super) p50: Duration,
    /// 95 of 100 take no longer.
    pub(super) p95: Duration,
}

impl Latency {
    /// Nothing known.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            current: Box::new([0; BUCKETS]),
            before: Box::new([0; BUCKETS]),
            turned: now,
            last: now,
            count: 0,
            since_reckoned: 0,
            reckoned: None,
        }
    }

    /// An answer took so long.
    pub(super) fn record(&mut self, took: Duration, now: Instant) {
        self.turn(now);
        self.last = self.last.max(now);
        let count = &mut self.current[bucket(took)];
        *count = count.saturating_add(1);
        self.count = self.count.saturating_add(1);
        self.since_reckoned += 1;
        if self.since_reckoned >= RECKON_EVERY || self.reckoned.is_none() {
            self.reckon();
        }
    }

    /// The quantiles, if there were answers enough to say, and not too long ago.
    pub(super) fn quantiles(&self, now: Instant) -> Option<Quantiles> {
        let silence = now.saturating_duration_since(self.last);
        self.reckoned.filter(|_| silence < 2 * TURN)
    }

    fn turn(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.turned);
        if past < TURN {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.before);
        self.current.fill(0);
        if past >= 2 * TURN {
            self.before.fill(0);
        }
        self.turned = now;
        self.count = self.before.iter().sum();
        self.reckon();
    }

    fn reckon(&mut self) {
        self.since_reckoned = 0;
        self.reckoned = (self.count >= COUNT_MIN).then(|| Quantiles {
            p50: self.quantile(50),
            p95: self.quantile(95),
        });
    }

    fn quantile(&self, percent: u32) -> Duration {
        let rank = (u64::from(self.count) * u64::from(percent)).div_ceil(100);
        let mut below = 0;
        let counts = self.current.iter().zip(&*self.before);
        for (bucket, (current, before)) in counts.enumerate() {
            below += u64::from(*current) + u64::from(*before);
            if below >= rank {
                return middle(bucket);
            }
        }
        middle(BUCKETS - 1)
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let power = micros.ilog2();
    // the three bits after the highest one
    let step = match power >= 3 {
        true => (micros >> (power - 3)) & 7,
        false => (micros << (3 - power)) & 7,
    };
    let bucket = usize::try_from(u64::from(power * STEPS) + step);
    bucket.unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn middle(bucket: usize) -> Duration {
    let (power, step) = (bucket / STEPS as usize, bucket % STEPS as usize);
    let lowest = (1u64 << power) as f64 * (1.0 + step as f64 / f64::from(STEPS));
    let width = (1u64 << power) as f64 / f64::from(STEPS);
    Duration::from_secs_f64((lowest + width / 2.0) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_few_answers_say_nothing() {
        let now = Clock::start().now();
        let mut latency = Latency::new(now);
        (1..COUNT_MIN).for_each(|_| latency.record(ms(10), now));
        assert_eq!(latency.quantiles(now), None);
        latency.record(ms(10), now);
        assert!(latency.quantiles(now).is_some());
    }

    #[test]
    fn what_is_old_is_forgotten_when_there_is_news_and_after_a_long_silence() {
        let now = Clock::start().now();
        let mut latency = Latency::new(now);
        let p50 = |latency: &Latency, at| latency.quantiles(at).map(|known| known.p50);
        (0..100).for_each(|_| latency.record(ms(10), now));
        assert!(p50(&latency, now + TURN) < Some(ms(11)));
        (0..100).for_each(|_| latency.record(ms(100), now + 2 * TURN));
        assert!(p50(&latency, now + 2 * TURN) > Some(ms(90)));
        assert!(
            p50(&latency, now + 4 * TURN - ms(1)) > Some(ms(90)),
            "silence"
        );
        assert_eq!(p50(&latency, now + 4 * TURN), None);
        assert!(p50(&latency, now).is_some(), "a clock that steps back");
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_a_sixteenth(
            mut micros in prop::collection::vec(8u64..60_000_000, 32..33)
        ) {
            let now = Clock::start().now();
            let mut latency = Latency::new(now);
            for took in &micros {
                latency.record(Duration::from_micros(*took), now);
            }
            latency.reckon();
            micros.sort_unstable();
            let known = latency.quantiles(now).unwrap();
            for (said, percent) in [(known.p50, 50), (known.p95, 95)] {
                let true_one = micros[(32 * percent as usize).div_ceil(100) - 1] as f64;
                let off = (said.as_secs_f64() * 1e6 / true_one - 1.0).abs();
                prop_assert!(off <= 1.0 / 15.0, "{said:?} for {true_one} µs");
            }
        }
    }
}
