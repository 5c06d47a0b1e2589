//! What reading a document costs: a count of bytes, by which tests hold readers of tokens to work that
//! is linear in their document. Owns the count; in a server it is nothing at all.

/// Bytes that were looked at, or copied, to find where tokens end.
#[derive(Debug, Default)]
pub(in crate::layout) struct Work {
    #[cfg(any(test, feature = "fuzzing"))]
    bytes: std::cell::Cell<usize>,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Work {
    pub(in crate::layout) fn looks_at(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// How many bytes it was so far.
    pub(in crate::layout) fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

#[cfg(not(any(test, feature = "fuzzing")))]
impl Work {
    pub(in crate::layout) fn looks_at(&self, _: usize) {}
}
