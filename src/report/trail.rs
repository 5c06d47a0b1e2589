//! The attempts at origins that one page has begun, while they go on, and the rungs that it has tried
//! where they failed. Owns the memory of them, which
//! is bounded; each page has its own, so nobody waits for another page here.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Instant;
use crate::fragment::FragmentId;

use super::Cause;

/// Attempts of one page that are remembered; later ones are made all the same.
const ATTEMPTS_MAX: usize = 128;

/// Rungs of one page that are remembered.
const RUNGS_MAX: usize = 128;

/// What a page has asked of origins, and what it has tried instead.
#[derive(Debug)]
pub struct Trail {
    attempts: Mutex<Vec<Attempt>>,
    rungs: Mutex<Vec<TriedRung>>,
    attempts_max: usize,
    rungs_max: usize,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            attempts: Mutex::default(),
            rungs: Mutex::default(),
            attempts_max: ATTEMPTS_MAX,
            rungs_max: RUNGS_MAX,
        }
    }
}

/// One step of the chain of a fragment that was tried, and did or did not fill its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedRung {
    /// Of which fragment.
    pub fragment: FragmentId,
    /// What was tried.
    pub rung: Rung,
    /// Why it did not fill the slot; `None` where it did.
    pub why_not: Option<String>,
}

/// What can be tried to fill a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rung {
    /// Its own source.
    Source,
    /// A copy of it that is not fresh any more.
    Copy,
    /// Another fragment.
    Sibling(FragmentId),
    /// A static file of the site.
    Static,
    /// Inline HTML.
    Inline,
    /// Default data.
    DefaultData,
    /// A tag by which the browser asks once more.
    Lazy,
}

impl Rung {
    /// In words, where the fragments are called like this.
    pub fn told<'n>(&self, name: impl Fn(FragmentId) -> &'n str) -> String {
        match self {
            Self::Source => "its source".to_owned(),
            Self::Copy => "a stale copy".to_owned(),
            Self::Sibling(id) => format!("fragment {}", name(*id)),
            Self::Static => "static file".to_owned(),
            Self::Inline => "inline".to_owned(),
            Self::DefaultData => "default data".to_owned(),
            Self::Lazy => "lazy tag".to_owned(),
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
    /// The fault that was set on purpose and has hit it, the first of them.
    pub fault: Option<Arc<str>>,
}

impl Trail {
    /// One that nobody will read.
    pub fn unread() -> Self {
        Self {
            attempts_max: 0,
            rungs_max: 0,
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
                fault: None,
            });
        }
    }

    /// A fault that was set on purpose has hit it, whatever comes of that.
    pub fn hit(&self, span_id: u64, fault: &str) {
        let mut attempts = self.attempts.lock();
        let attempt = attempts.iter_mut().find(|a| a.span_id == span_id);
        if let Some(attempt) = attempt {
            attempt.fault.get_or_insert_with(|| Arc::from(fault));
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

    /// A rung of a chain was tried.
    pub fn tried(&self, fragment: FragmentId, rung: Rung, why_not: Option<String>) {
        let mut rungs = self.rungs.lock();
        if rungs.len() < self.rungs_max {
            rungs.push(TriedRung {
                fragment,
                rung,
                why_not,
            });
        }
    }

    /// The rungs that were tried so far.
    pub fn rungs(&self) -> Vec<TriedRung> {
        self.rungs.lock().clone()
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
        trail.hit(2, "cold");
        trail.hit(2, "another");
        trail.hit(200, "cold");
        let attempts = trail.take();
        assert_eq!(attempts.len(), ATTEMPTS_MAX);
        assert_eq!(attempts[0].ended, None);
        assert_eq!(attempts[1].ended, Some((now, Some(Cause::Timeout))));
        assert_eq!(attempts[0].fault, None);
        assert_eq!(attempts[1].fault.as_deref(), Some("cold"));
        assert!(trail.take().is_empty());
    }
}
