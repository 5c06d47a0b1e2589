//! Layouts: the fixed part of a page, parsed once into literal bytes and slots. Owns the segment
//! form that every markup dialect is parsed into; knows nothing of sites, requests or content.
//!
//! Invariant: concatenating the literals and the slots' default contents gives back the layout
//! without its slot tags, byte for byte.

use bytes::Bytes;

pub mod deferral;
pub mod error;
pub mod esi;
pub mod html;
pub mod markup;
pub mod parts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
pub mod ssi;
pub mod tailor;

pub use deferral::Deferral;
pub use error::LayoutError;

/// A parsed layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What is written, in document order.
    pub segments: Vec<Segment>,
}

impl Layout {
    /// The slots, in document order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Slot(slot) => Some(slot),
        })
    }
}

/// A piece of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Written as it is.
    Literal(Bytes),
    /// A hole for a fragment.
    Slot(Slot),
}

/// A hole in a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The fragment that fills it.
    pub fragment: String,
    /// Which named part of the fragment; `None` for what is outside all parts.
    pub part: Option<String>,
    /// Whether it may come late, after what follows it.
    pub defer: bool,
    /// Written when the fragment is left out.
    pub default: Bytes,
    /// Where the slot's tag begins in the layout, for messages.
    pub offset: usize,
}
