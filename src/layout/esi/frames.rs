//! The elements that are open, innermost last. Owns what is to be known of all of them for every token,
//! which is counted as they open and close: there may be many, one inside the other.

use std::ops::{Deref, DerefMut};

use super::Frame;

/// The elements that are open.
#[derive(Default)]
pub(super) struct Frames {
    open: Vec<Frame>,
    /// Of them, those in which variables are read.
    reading: usize,
    /// Of them, branches that are not taken.
    untaken: usize,
}

impl Frames {
    pub(super) fn push(&mut self, frame: Frame) {
        self.reading += usize::from(frame.reads_variables());
        self.untaken += usize::from(frame.is_untaken());
        self.open.push(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.open.pop()?;
        self.reading -= usize::from(frame.reads_variables());
        self.untaken -= usize::from(frame.is_untaken());
        Some(frame)
    }

    /// Whether variables are read in one of them.
    pub(super) fn read_variables(&self) -> bool {
        self.reading > 0
    }

    /// Whether one of them says nothing.
    pub(super) fn are_passed_over(&self) -> bool {
        self.untaken > 0
    }
}

/// Which of them it is does not change while one is open.
impl Deref for Frames {
    type Target = [Frame];

    fn deref(&self) -> &[Frame] {
        &self.open
    }
}

impl DerefMut for Frames {
    fn deref_mut(&mut self) -> &mut [Frame] {
        &mut self.open
    }
}
