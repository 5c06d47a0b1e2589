//! How many pages are being composed at once. Owns the count and its limit.
//!
//! One atomic number: a semaphore takes a lock for each permit that comes back, and every page on
//! every core would wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The pages being composed, and how many may be.
#[derive(Debug)]
pub struct InFlight {
    count: AtomicUsize,
    max: usize,
    shed: [AtomicU64; Shed::ALL],
}

/// Why a page was not composed as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// The law admits no more.
    Admission,
    /// No place was free.
    Full,
    /// Its turn did not come in time.
    Late,
    /// Not even a place for its text was free, and there is no snapshot: it got nothing.
    Refused,
}

impl Shed {
    const ALL: usize = 4;
}

/// The place of one page among them; free again when it is dropped.
#[derive(Debug)]
pub struct PagePlace(Arc<InFlight>);

impl InFlight {
    /// None yet, and at most so many at once.
    pub fn new(max: usize) -> Self {
        let count = AtomicUsize::new(0);
        let shed = Default::default();
        Self { count, max, shed }
    }

    /// A place, if one is free.
    pub fn enter(self: &Arc<Self>) -> Option<PagePlace> {
        self.enter_under(self.max)
    }

    /// A place for a page of which only the text is composed: it takes a fraction of the work, and
    /// there are as many of these places beyond those of all pages as there are of those.
    pub fn enter_as_text(self: &Arc<Self>) -> Option<PagePlace> {
        self.enter_under(self.max.saturating_mul(2))
    }

    /// A page is not composed as it should be.
    pub fn sheds(&self, why: Shed) {
        self.shed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were not, by why.
    pub fn shed(&self) -> [u64; Shed::ALL] {
        std::array::from_fn(|why| self.shed[why].load(Ordering::Relaxed))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn enter_under(self: &Arc<Self>, max: usize) -> Option<PagePlace> {
        // whoever finds it full has counted itself for a moment, at which another may find it full
        // too; that other one came at the limit as well
        if self.count.fetch_add(1, Ordering::Relaxed) >= max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(PagePlace(Arc::clone(self)))
    }
}

impl Drop for PagePlace {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_page_has_ended() {
        let pages = Arc::new(InFlight::new(2));
        let (first, _second) = (pages.enter().unwrap(), pages.enter().unwrap());
        assert!(pages.enter().is_none());
        assert!(pages.enter().is_none(), "whoever is refused takes no place");
        drop(first);
        assert!(pages.enter().is_some());
        pages.sheds(Shed::Late);
        assert_eq!(pages.shed(), [0, 0, 1, 0]);
        let _texts: Vec<_> = (0..3).map(|_| pages.enter_as_text().unwrap()).collect();
        assert!(pages.enter_as_text().is_none());
    }
}
