//! What is remembered of flights that brought nothing to share: for how long nobody asks again after
//! a failure, and that pages need not wait for one another where answers turn out to be personal.
//! Owns these spans; pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::fragment::SourceRequest;
use crate::report::Cause;

use super::Landed;

/// After a first failure nobody asks again for about so long.
const PAUSE: Duration = Duration::from_millis(50);

/// However often it fails, it is asked again after this.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// After so long without being asked, failures are forgotten.
const MEMORY: Duration = Duration::from_secs(10);

/// For how long pages do not wait for one another's answers after one was personal. Varnish calls
/// this hit-for-miss.
const PASS: Duration = Duration::from_secs(10);

/// A list that lacks an item is worth showing for longer than a failure: so many doublings.
const PARTIAL_STEPS: u32 = 4;

/// Requests that are remembered. Beyond it new ones are not, and are asked again at once.
const NOTES_MAX: usize = 4096;

/// Why a page does not launch a flight that others could join.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// The last one failed a moment ago, and so would this.
    Failed(Cause),
    /// The answer is for one reader only.
    Personal,
    /// A list lacks some of its items, and would lack them again: what there is of it.
    Partial(Landed),
}

/// The notes, by request.
#[derive(Debug, Default)]
pub(super) struct Notes {
    by_request: HashMap<Arc<SourceRequest>, Noted>,
}

#[derive(Debug)]
struct Noted {
    note: Note,
    until: Instant,
    failures: u32,
}

impl Notes {
    /// What holds for this request now.
    pub(super) fn get(&self, request: &SourceRequest, now: Instant) -> Option<&Note> {
        let noted = self.by_request.get(request)?;
        (now < noted.until).then_some(&noted.note)
    }

    /// A flight failed. `chance` is uniform in 0..1.
    pub(super) fn failed(
        &mut self,
        request: &Arc<SourceRequest>,
        cause: Cause,
        chance: f64,
        now: Instant,
    ) {
        let failures = self.failures(request, now);
        let until = now + pause(failures, chance);
        let note = Note::Failed(cause);
        self.note(request, note, until, failures, now);
    }

    /// A flight brought what is for one reader only.
    pub(super) fn personal(&mut self, request: &Arc<SourceRequest>, now: Instant) {
        self.note(request, Note::Personal, now + PASS, 0, now);
    }

    /// A flight brought a list that lacks some of its items. `chance` is uniform in 0..1.
    pub(super) fn partial(
        &mut self,
        request: &Arc<SourceRequest>,
        landed: Landed,
        chance: f64,
        now: Instant,
    ) {
        let failures = self.failures(request, now);
        let until = now + pause(failures + PARTIAL_STEPS, chance);
        self.note(request, Note::Partial(landed), until, failures, now);
    }

    /// A flight brought what it was launched for.
    pub(super) fn landed(&mut self, request: &SourceRequest) {
        if !self.by_request.is_empty() {
            self.by_request.remove(request);
        }
    }

    /// How many there were in a row, with this one.
    fn failures(&self, request: &SourceRequest, now: Instant) -> u32 {
        let known = self.by_request.get(request);
        let known = known.filter(|noted| now < noted.until + MEMORY);
        1 + known.map_or(0, |noted| noted.failures)
    }

    fn note(
        &mut self,
        request: &Arc<SourceRequest>,
        note: Note,
        until: Instant,
        failures: u32,
        now: Instant,
    ) {
        if self.by_request.len() >= NOTES_MAX && !self.by_request.contains_key(request) {
            self.by_request.retain(|_, noted| now < noted.until);
            if self.by_request.len() >= NOTES_MAX {
                return;
            }
        }
        let noted = Noted {
            note,
            until,
            failures,
        };
        self.by_request.insert(Arc::clone(request), noted);
    }
}

/// Twice as long after each failure in a row, and at random between half of that and all of it, so
/// that what failed together is not asked again together.
fn pause(failures: u32, chance: f64) -> Duration {
    let doubled = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(PAUSE_MAX)
        .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn request(target: String) -> Arc<SourceRequest> {
        Arc::new(SourceRequest {
            fingerprint: 1,
            target,
            headers: Vec::new(),
            params: Vec::new(),
        })
    }

    #[test]
    fn pauses_double_and_end_somewhere() {
        let ms = Duration::from_millis;
        assert_eq!(pause(1, 0.0), ms(25));
        assert_eq!(pause(1, 1.0), ms(50));
        assert_eq!(pause(2, 1.0), ms(100));
        assert_eq!(pause(6, 1.0), ms(1600));
        assert_eq!(pause(7, 1.0), ms(2000));
        assert_eq!(pause(u32::MAX, 1.0), ms(2000));
    }

    #[test]
    fn failures_in_a_row_count_and_a_success_ends_them() {
        let now = Clock::start().now();
        let (mut notes, request) = (Notes::default(), request("/a".to_owned()));
        let fail = |notes: &mut Notes, now| notes.failed(&request, Cause::Status(500), 1.0, now);
        fail(&mut notes, now);
        let note = notes.get(&request, now);
        assert!(matches!(note, Some(Note::Failed(Cause::Status(500)))));
        assert!(notes.get(&request, now + PAUSE).is_none());
        fail(&mut notes, now + PAUSE);
        assert!(notes.get(&request, now + 2 * PAUSE).is_some(), "longer now");
        assert!(notes.get(&request, now + 3 * PAUSE).is_none());
        notes.landed(&request);
        fail(&mut notes, now + 3 * PAUSE);
        assert!(
            notes.get(&request, now + 4 * PAUSE).is_none(),
            "from the start"
        );
    }

    #[test]
    fn there_are_not_too_many() {
        let now = Clock::start().now();
        let mut notes = Notes::default();
        for n in 0..2 * NOTES_MAX {
            notes.personal(&request(format!("/{n}")), now);
        }
        assert_eq!(notes.by_request.len(), NOTES_MAX);
        notes.personal(&request("/last".to_owned()), now + PASS);
        assert_eq!(notes.by_request.len(), 1, "what was over is gone");
    }
}
