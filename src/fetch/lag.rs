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

/// The lag beyond which a late answer says nothing of who gave it. A scheduler's turn is a few
/// milliseconds on a busy machine.
const MAX: Duration = Duration::from_millis(20);

/// The present lag.
#[derive(Debug, Default)]
pub struct Lag(AtomicU64);

impl Lag {
    /// Whether what comes late now may be late because of this process.
    pub(super) fn is_large(&self) -> bool {
        u128::from(self.0.load(Ordering::Relaxed)) > MAX.as_micros()
    }

    /// Whether a timer that was set for `due` and is noticed at `now` was kept waiting.
    pub(super) fn was_kept_waiting(due: Instant, now: Instant) -> bool {
        now.saturating_duration_since(due) > MAX
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
