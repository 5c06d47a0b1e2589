//! `[status]`: what readers are told of how the site is. Owns its keys and what they mean.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, Name};

/// A page for readers that says what works and what is reduced. Without a path there is none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Status {
    /// Where it is; the same as JSON is at this and `.json`.
    #[schemars(example = &"/status")]
    pub path: Option<At<String>>,
    /// Its title.
    #[schemars(length(min = 1, max = 200))]
    pub title: Option<At<String>>,
    /// The sentence when nothing is reduced.
    #[schemars(length(min = 1, max = 400))]
    pub works: Option<At<String>>,
    /// The sentence when something is.
    #[schemars(length(min = 1, max = 400))]
    pub reduced: Option<At<String>>,
    /// What readers call a block, by the fragment's name. Unless any is given, every optional block is
    /// told of, by its own name; else those that are.
    #[schemars(with = "BTreeMap<Name, At<String>>")]
    pub blocks: BTreeMap<String, At<String>>,
}
