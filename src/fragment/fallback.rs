//! Fallback rungs as declared, made ready when the site is loaded. Owns the list of stand-ins that
//! a fragment may have; does not choose among them.
//!
//! Invariant: a rung's content is in memory before the first request, so that using it cannot fail.

use bytes::Bytes;

use super::FragmentId;

/// One stand-in for a fragment that could not be had.
#[derive(Debug, Clone)]
pub enum Rung {
    /// Content that is at hand.
    Ready {
        /// Where the content was declared.
        kind: RungKind,
        /// Finished HTML.
        body: Bytes,
    },
    /// Another fragment of the site takes the slot.
    Sibling(FragmentId),
    /// A tag by which the browser asks once more for the slot's own fragment.
    Lazy,
}

/// Where the content of a ready rung comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RungKind {
    /// `static:PATH`, a file of the site.
    Static,
    /// `inline:HTML`, in the declaration itself.
    Inline,
    /// `data:PATH`, JSON through the fragment's own template.
    DefaultData,
}
