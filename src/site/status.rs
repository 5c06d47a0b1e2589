//! What readers are told of how the site is. Owns the words; how it is, others know.

use crate::fragment::FragmentId;

/// The page that tells readers what works and what is reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSpec {
    /// Its title.
    pub title: String,
    /// What is said when nothing is reduced.
    pub works: String,
    /// What is said when something is.
    pub reduced: String,
    /// What is said of a block that is not reduced, and of one that is.
    pub words: [String; 2],
    /// The blocks that are told of, and what readers call them.
    pub blocks: Vec<(FragmentId, String)>,
}
