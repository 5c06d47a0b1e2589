//! The attempts at origins that one page has begun, while they go on. Owns the memory of them, which
//! is bounded; each page has its own, so nobody waits for another page here.

use std::mem;

use parking_lot::Mutex;

use crate::clock::Instant;
use crate::fragment::FragmentId;

use super::Cause;

/// Attempts of one page that are remembered; later ones are made all the same.
const ATTEMPTS_MAX: usize = 128;

/// What a page has asked of origins.
#[derive(Debug)]
pub struct Trail {
    attempts: Mutex<Vec<Attempt>>,
    attempts_max: usize,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            attempts: Mutex::default(),
            attempts_max: ATTEMPTS_MAX,
        }
    }
}

/// One attempt at an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// For which fragment.
    pub fragment: FragmentId,
    /// Which of the origin's replicas was asked.
    pub replica: usize,
    /// Its span, of which the origin was told.
    pub span_id: u64,
    /// When it began.
    pub since: Instant,
    /// When it ended, and what went wrong, if it has ended.
    pub ended: Option<(Instant, Option<Cause>)>,
}

impl Trail {
    /// One that nobody will read.
    pub fn unread() -> Self {
        Self {
            attempts_max: 0,
            ..Self::default()
        }
    }

    /// An attempt begins.
    pub fn begin(&self, fragment: FragmentId, replica: usize, span_id: u64, since: Instant) {
        let mut attempts = self.attempts.lock();
        if attempts.len() < self.attempts_max {
            attempts.push(Attempt {
                fragment,
                replica,
                span_id,
                since,
                ended: None,
            });
        }
    }

    /// It has ended.
    pub fn end(&self, span_id: u64, at: Instant, cause: Option<&Cause>) {
        let mut attempts = self.attempts.lock();
        let attempt = attempts.iter_mut().find(|a| a.span_id == span_id);
        if let Some(attempt) = attempt {
            attempt.ended = Some((at, cause.cloned()));
        }
    }

    /// All of them as they are by now.
    pub fn take(&self) -> Vec<Attempt> {
        mem::take(&mut self.attempts.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn attempts_are_bounded_and_end_once_they_have_begun() {
        let (trail, now) = (Trail::default(), Clock::start().now());
        for span_id in 1..=200 {
            trail.begin(FragmentId(0), 0, span_id, now);
        }
        trail.end(2, now, Some(&Cause::Timeout));
        trail.end(200, now, None);
        let attempts = trail.take();
        assert_eq!(attempts.len(), ATTEMPTS_MAX);
        assert_eq!(attempts[0].ended, None);
        assert_eq!(attempts[1].ended, Some((now, Some(Cause::Timeout))));
        assert!(trail.take().is_empty());
    }
}
