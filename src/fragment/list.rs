//! Lists: fragments whose source answers with a JSON list, each item of which is fetched apart as
//! another fragment. Owns what is declared of one; knows nothing of how items are obtained.
//!
//! Invariant: the item fragment is no list, is in no layout and no other fragment's fallback, so
//! that its `{item}` always stands for something.

use super::FragmentId;
use super::source::Variable;

/// What makes a fragment a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What each item is.
    pub item: FragmentId,
    /// The keys that lead to the list within the JSON; none if it is the whole answer.
    pub at: Vec<String>,
    /// Items that are looked at; the rest of the list is as if it were not there.
    pub items_max: usize,
    /// With fewer items of their own content than this the list is a failure.
    pub items_min: usize,
    /// What the items vary with besides what is in the list: part of the key of the list's copies.
    pub varies: Vec<Variable>,
}
