//! What is counted by the names that a site declares. Owns how a row is found: for every block of every
//! page, so by a hash that is quick with short names. Nobody but the site's author chooses them, so none
//! is chosen to collide; pure.

use std::collections::HashMap;
use std::sync::Arc;

/// Rows by name.
pub(super) type Named<T> = HashMap<String, Arc<T>, foldhash::fast::FixedState>;

/// All rows, by the order of their names.
pub(super) fn sorted<T>(rows: &Named<T>) -> Vec<(&String, &Arc<T>)> {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    sorted
}
