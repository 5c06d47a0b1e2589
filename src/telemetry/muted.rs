//! Whoever reads reports, told of events alone. Owns nothing but the silence: with it the cost of
//! everything that is counted for each page can be measured.

use std::sync::Arc;

use crate::report::{Event, Observer, PageReport};

/// Somebody who is not told of pages and attempts.
pub struct Muted(pub Arc<dyn Observer>);

impl Observer for Muted {
    fn page(&self, _: &PageReport<'_>) {}

    fn event(&self, event: &Event) {
        self.0.event(event);
    }

    fn reads_pages(&self) -> bool {
        false
    }
}
