//! Whether a page's body is coded. Owns what passes between the body and whoever answers: the reader's
//! wish is known to the one, how it is done to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
const GZIP: u8 = 1;
const BEGUN: u8 = 2;

/// By which a body can be told to be gzip, as long as it has not begun.
#[derive(Debug, Clone, Default)]
pub struct BodyCoding(Arc<AtomicU8>);

impl BodyCoding {
    /// Has the body be gzip. `false` if it cannot be any more: it has begun, or is gone.
    pub fn gzip(&self) -> bool {
        let is_there = Arc::strong_count(&self.0) > 1;
        let (now, then) = (Ordering::AcqRel, Ordering::Acquire);
        is_there && self.0.compare_exchange(OPEN, GZIP, now, then).is_ok()
    }

    /// Whether the body is to be gzip.
    pub(super) fn is_gzip(&self) -> bool {
        self.0.load(Ordering::Acquire) == GZIP
    }

    /// The body begins; whether it is to be gzip.
    pub(super) fn begin(&self) -> bool {
        self.0.swap(BEGUN, Ordering::AcqRel) == GZIP
    }
}
