//! When a store is not worth asking. Owns the rule by which calls stop, and when a probe may ask
//! again; pure: time and chance are arguments. Knows neither what a call is nor who probes.
//!
//! # When it opens
//!
//! On [`RUN`] failures in a row, or [`MANY`] among the last 32 calls: the first is for a store that
//! is gone or frozen, the second for one that is slow half of the time, which would otherwise take
//! its timeout from every second page.
//!
//! # How it closes
//!
//! A probe, made in the background, must succeed. Until [`PROVEN`] calls have succeeded since, the
//! breaker is on probation: one failure opens it again, and the pause goes on doubling. So a store
//! that answers probes and nothing else costs one timeout in [`PAUSE_MAX`], not five each time.
//!
//! Invariant: open, there is always an instant at which a probe is due.

use std::time::Duration;

use crate::clock::Instant;

/// Failures in a row that open it.
const RUN: u32 = 5;

/// Failures among the last 32 calls that open it.
const MANY: u32 = 16;

/// Successes after which a closed breaker is trusted again.
const PROVEN: u32 = 5;

/// Before the first probe.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// Between probes, at most, before chance adds up to a quarter.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether calls are made.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// The pause that the next opening brings.
    pause: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Calls are made. `recent` has one bit a call, the latest lowest, set where it failed.
    Closed { recent: u32, proven: u32 },
    /// Calls are not made.
    Open { probe_at: Instant },
}

impl Breaker {
    /// Open until a first probe, which is due now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Open { probe_at: now },
            pause: PAUSE_FIRST,
        }
    }

    /// When the next probe is due; none while calls are made.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { probe_at } => Some(probe_at),
        }
    }

    /// A call has been answered.
    pub(super) fn succeeded(&mut self) {
        if let State::Closed { recent, proven } = &mut self.state {
            *recent <<= 1;
            *proven = proven.saturating_add(1);
            if *proven == PROVEN {
                self.pause = PAUSE_FIRST;
            }
        }
    }

    /// A call has failed; whether that opens it. `chance` is in 0..1.
    pub(super) fn failed(&mut self, now: Instant, chance: f64) -> bool {
        let State::Closed { recent, proven } = &mut self.state else {
            return false;
        };
        *recent = *recent << 1 | 1;
        let opens =
            *proven < PROVEN || recent.trailing_ones() >= RUN || recent.count_ones() >= MANY;
        if opens {
            self.open(now, chance);
        }
        opens
    }

    /// The connection has ended. A proven one is replaced at once: it may only have been idle for
    /// too long.
    pub(super) fn lost(&mut self, now: Instant, chance: f64) {
        match self.state {
            State::Closed { proven, .. } if proven >= PROVEN => {
                self.state = State::Open { probe_at: now };
            }
            State::Closed { .. } => self.open(now, chance),
            State::Open { .. } => {}
        }
    }

    /// The probe has succeeded: calls are made again, on probation.
    pub(super) fn probe_succeeded(&mut self) {
        self.state = State::Closed {
            recent: 0,
            proven: 0,
        };
    }

    /// The probe has failed. `chance` is in 0..1.
    pub(super) fn probe_failed(&mut self, now: Instant, chance: f64) {
        self.open(now, chance);
    }

    fn open(&mut self, now: Instant, chance: f64) {
        // up to a quarter more, so that the nodes of a fleet do not come back in step
        let probe_at = now + self.pause.mul_f64(1.0 + chance / 4.0);
        self.state = State::Open { probe_at };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn closed(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(now);
        breaker.probe_succeeded();
        breaker
    }

    /// Closed and trusted.
    fn proven(now: Instant) -> Breaker {
        let mut breaker = closed(now);
        (0..PROVEN).for_each(|_| breaker.succeeded());
        breaker
    }

    /// Makes the calls, `x` failing and `.` succeeding; the call that opened it.
    fn opened_by(breaker: &mut Breaker, calls: &str, now: Instant) -> Option<usize> {
        calls.chars().position(|call| match call {
            'x' => breaker.failed(now, 0.0),
            _ => {
                breaker.succeeded();
                false
            }
        })
    }

    #[test]
    fn it_opens_on_a_run_or_on_many() {
        let now = Clock::start().now();
        let cases = [
            ("xxxx.xxxx.", None),
            ("xxxxx", Some(4)),
            ("....xxxxx", Some(8)),
            // every second one: the 16th failure is the 32nd call
            (&".x".repeat(20), Some(31)),
            // one in three: 11 of 32, never enough
            (&"..x".repeat(50), None),
        ];
        for (calls, expected) in cases {
            let opened = opened_by(&mut proven(now), calls, now);
            assert_eq!(opened, expected, "{calls}");
        }
    }

    #[test]
    fn on_probation_one_failure_is_enough() {
        let now = Clock::start().now();
        assert_eq!(opened_by(&mut closed(now), "x", now), Some(0));
        assert_eq!(opened_by(&mut closed(now), "....x", now), Some(4));
        assert_eq!(opened_by(&mut closed(now), ".....x", now), None);
    }

    #[test]
    fn pauses_double_to_ten_seconds_and_a_good_spell_resets_them() {
        let now = Clock::start().now();
        let mut breaker = Breaker::new(now);
        assert_eq!(breaker.probe_at(), Some(now), "the first probe is at once");
        for expected in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            breaker.probe_failed(now, 0.0);
            let pause = breaker.probe_at().unwrap() - now;
            assert_eq!(pause, Duration::from_millis(expected));
        }
        breaker.probe_succeeded();
        assert!(breaker.failed(now, 0.0), "on probation");
        let pause = breaker.probe_at().unwrap() - now;
        assert_eq!(pause, PAUSE_MAX, "an answered probe alone proves nothing");

        breaker.probe_succeeded();
        (0..PROVEN).for_each(|_| breaker.succeeded());
        (0..RUN).for_each(|_| _ = breaker.failed(now, 0.0));
        assert_eq!(breaker.probe_at().unwrap() - now, PAUSE_FIRST);
    }

    #[test]
    fn chance_adds_at_most_a_quarter() {
        let now = Clock::start().now();
        let mut breaker = Breaker::new(now);
        breaker.probe_failed(now, 0.999);
        let pause = breaker.probe_at().unwrap() - now;
        assert!(pause > PAUSE_FIRST && pause <= PAUSE_FIRST.mul_f64(1.25));
    }

    #[test]
    fn a_trusted_connection_is_replaced_at_once_and_another_is_not() {
        let now = Clock::start().now();
        let mut breaker = proven(now);
        breaker.lost(now, 0.0);
        assert_eq!(breaker.probe_at(), Some(now));

        let mut breaker = closed(now);
        breaker.lost(now, 0.0);
        assert_eq!(breaker.probe_at(), Some(now + PAUSE_FIRST));
    }

    #[test]
    fn what_returns_late_to_an_open_breaker_changes_nothing() {
        let now = Clock::start().now();
        let mut breaker = closed(now);
        assert!(breaker.failed(now, 0.0));
        let due = breaker.probe_at();
        breaker.succeeded();
        breaker.lost(now, 0.0);
        assert!(!breaker.failed(now, 0.0), "it is open already");
        assert_eq!(breaker.probe_at(), due);
    }
}
