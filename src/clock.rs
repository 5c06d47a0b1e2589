//! Time. Owns the only calls to `now()`; everything else takes an [`Instant`] or a [`Clock`].
//!
//! The instant is tokio's, so that a test may pause it, and the wall time is derived from it, so
//! that a paused test freezes both. Invariant: two readings of one clock never disagree about how
//! much time passed between them, whatever the operating system does to the wall clock meanwhile.

use std::time::{Duration, SystemTime};

pub use tokio::time::Instant;

/// Reads the time. Cheap to copy; all copies of one clock share their starting point.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_wall: SystemTime,
}

impl Clock {
    /// Starts a clock at the present moment of the machine.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            started_wall: SystemTime::now(),
        }
    }

    /// The present instant.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall time at `at`, by this clock's own count since its start.
    pub fn wall(&self, at: Instant) -> SystemTime {
        self.started_wall + at.saturating_duration_since(self.started)
    }

    /// How long this clock has been running at `now`.
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}
