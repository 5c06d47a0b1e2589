//! How late this process is at its own work. Owns the measure: shell, for it sleeps; what is made of it
//! is the affair of the law, and of the guards of origins.
//!
//! An overloaded composer finds all its origins slow, because answers wait for its attention; were that
//! held against them, it would give up one healthy origin after another. So what is measured while the
//! process is late says nothing about anybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Instant};

/// Between two looks.
/// From: simulation, a ticker of 10 ms.
const TICK: Duration = Duration::from_millis(10);

/// What is forgotten of a past lag at each look: half of it in 70 ms.
/// From: found by hand.
const KEPT_PERCENT: u64 = 90;

/// A lag that says nothing, however short the time was: a scheduler's turn is a few milliseconds on a
/// busy machine.
/// From: found by hand.
const MIN: Duration = Duration::from_millis(20);

/// The share of the time that an origin had beyond which a lag may be why it seems late.
/// From: found by hand.
const SHARE: u32 = 4;

/// A lag by which one can tell that work has to wait: more than a timer's own coarseness.
/// From: found by hand.
const NOTABLE: Duration = Duration::from_millis(5);

/// How often an answer waits for this process: its head, its body, and the end of that.
/// From: how an answer is read.
const WAITS: u32 = 3;

/// What a look is late by on an idle machine at most: a timer's own coarseness.
/// From: the resolution of timers.
const COARSE: Duration = Duration::from_millis(2);

/// The present lag.
#[derive(Debug, Default)]
pub struct Lag {
    /// The greatest of late, in microseconds.
    present: AtomicU64,
    /// The mean of late, in microseconds.
    mean: AtomicU64,
    /// Of all looks since the last one who asked: their lags and their number.
    sum: AtomicU64,
    looks: AtomicU64,
    /// When the look that has not come yet is due.
    due: Mutex<Option<Instant>>,
}

impl Lag {
    /// Whether what comes late now, of what had so much time, may be late because of this process.
    pub(crate) fn is_large_for(&self, timeout: Duration) -> bool {
        self.present() > MIN.max(timeout / SHARE)
    }

    /// Whether what is ready to be done has to wait at present.
    pub(crate) fn is_notable(&self) -> bool {
        self.present() > NOTABLE
    }

    /// How much of the time that an answer seems to have taken may be this process's own.
    pub(crate) fn own_time(&self) -> Duration {
        let mean = Duration::from_micros(self.mean.load(Ordering::Relaxed));
        mean.saturating_sub(COARSE) * WAITS
    }

    /// The greatest of late.
    pub fn present(&self) -> Duration {
        Duration::from_micros(self.present.load(Ordering::Relaxed))
    }

    /// The mean of the lags that were seen since this was asked last, or what the look that has not come
    /// yet is late by at `now`, where that is more: who is stuck sees nothing, and that is no idleness.
    pub fn take_mean(&self, now: Instant) -> Duration {
        let looks = self.looks.swap(0, Ordering::Relaxed);
        let sum = self.sum.swap(0, Ordering::Relaxed);
        let mean = Duration::from_micros(sum.checked_div(looks).unwrap_or(0));
        let due = *self.due.lock();
        let overdue = due.map(|due| now.saturating_duration_since(due));
        mean.max(overdue.unwrap_or_default())
    }

    /// Whether a timer that was set for `due`, after `timeout`, and is noticed at `now` was kept waiting.
    pub(crate) fn was_kept_waiting(due: Instant, timeout: Duration, now: Instant) -> bool {
        now.saturating_duration_since(due) > MIN.max(timeout / SHARE)
    }

    /// Measures until `stop`.
    pub async fn measure(&self, clock: Clock, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let due = clock.now() + TICK;
            *self.due.lock() = Some(due);
            sleep_until(due).await;
            let late = clock.now().saturating_duration_since(due);
            let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            let before = self.present.load(Ordering::Relaxed) * KEPT_PERCENT / 100;
            self.present.store(late.max(before), Ordering::Relaxed);
            let mean = self.mean.load(Ordering::Relaxed) * KEPT_PERCENT;
            let mean = (mean + late * (100 - KEPT_PERCENT)) / 100;
            self.mean.store(mean, Ordering::Relaxed);
            self.sum.fetch_add(late, Ordering::Relaxed);
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        *self.due.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_come_is_a_lag_and_not_idleness() {
        let (lag, clock, stop) = (Lag::default(), Clock::start(), CancellationToken::new());
        let began = clock.now();
        let mut measuring = pin!(lag.measure(clock, stop.clone()));
        assert!(poll!(measuring.as_mut()).is_pending());
        assert_eq!(lag.take_mean(began), Duration::ZERO);
        let stuck = Duration::from_millis(300);
        tokio::time::advance(stuck).await;
        assert_eq!(lag.take_mean(clock.now()), stuck - TICK);
        // it has come, and is one of those that were seen; the next one is not late
        assert!(poll!(measuring.as_mut()).is_pending());
        assert!(lag.take_mean(clock.now()) >= stuck - TICK);
        assert_eq!(lag.take_mean(clock.now()), Duration::ZERO);
        stop.cancel();
        tokio::time::advance(TICK * 2).await;
        assert!(poll!(measuring.as_mut()).is_ready());
        tokio::time::advance(stuck).await;
        lag.take_mean(clock.now());
        assert_eq!(
            lag.take_mean(clock.now()),
            Duration::ZERO,
            "nobody looks any more"
        );
    }
}
