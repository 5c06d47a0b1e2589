//! How late this process is at its own work. Owns the measure: shell, for it sleeps; what is made of it
//! is the guards' affair.
//!
//! An overloaded composer finds all its origins slow, because answers wait for its attention; were that
//! held against them, it would give up one healthy origin after another. So what is measured while the
//! process is late says nothing about anybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Instant};

/// Between two looks.
const TICK: Duration = Duration::from_millis(10);

/// What is forgotten of a past lag at each look: half of it in 70 ms.
const KEPT_PERCENT: u64 = 90;

/// A lag that says nothing, however short the time was: a scheduler's turn is a few milliseconds on a
/// busy machine.
const MIN: Duration = Duration::from_millis(20);

/// The share of the time that an origin had beyond which a lag may be why it seems late.
const SHARE: u32 = 4;

/// The present lag.
#[derive(Debug, Default)]
pub struct Lag(AtomicU64);

impl Lag {
    /// Whether what comes late now, of what had so much time, may be late because of this process.
    pub(super) fn is_large_for(&self, timeout: Duration) -> bool {
        let lag = Duration::from_micros(self.0.load(Ordering::Relaxed));
        lag > MIN.max(timeout / SHARE)
    }

    /// Whether a timer that was set for `due`, after `timeout`, and is noticed at `now` was kept waiting.
    pub(super) fn was_kept_waiting(due: Instant, timeout: Duration, now: Instant) -> bool {
        now.saturating_duration_since(due) > MIN.max(timeout / SHARE)
    }

    /// Measures until `stop`.
    pub async fn measure(&self, clock: Clock, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let due = clock.now() + TICK;
            sleep_until(due).await;
            let late = clock.now().saturating_duration_since(due);
            let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            let before = self.0.load(Ordering::Relaxed) * KEPT_PERCENT / 100;
            self.0.store(late.max(before), Ordering::Relaxed);
        }
    }
}
