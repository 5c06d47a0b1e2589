//! What has happened, counted. Owns the counters that `state()` shows; pure.

use std::sync::atomic::{AtomicU64, Ordering};

use super::link::Failure;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) older: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) messages_in: AtomicU64,
    pub(super) messages_out: AtomicU64,
}

/// Counts `many` more.
pub(super) fn add(counter: &AtomicU64, many: u64) {
    counter.fetch_add(many, Ordering::Relaxed);
}

impl Counts {
    /// Counts a failure as what it is.
    pub(super) fn failed(&self, failure: &Failure) {
        let counter = match failure {
            Failure::Away => &self.skipped,
            Failure::Silent => &self.timeouts,
            Failure::Error(_) => &self.errors,
        };
        add(counter, 1);
    }
}
