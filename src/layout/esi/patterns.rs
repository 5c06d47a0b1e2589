//! The regular expressions of `matches`, `matches_i` and `=~`. Owns how they are written, what they may
//! cost and which of a document's are kept compiled.
//!
//! They are linear in the text, so there are no look-arounds and no back-references.

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};

use super::expression::Pattern;

/// How big a compiled expression may get, in bytes.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Expressions that are kept compiled, of one document.
const KEPT_MAX: usize = 32;

/// What has been compiled for a document; `None` is one that is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns(BTreeMap<String, Option<Regex>>);

impl Patterns {
    /// Whether it takes no time to get it.
    pub(super) fn knows(&self, pattern: &str) -> bool {
        self.0.contains_key(pattern)
    }

    /// The match and its groups; `None` if there is none, or if this is no regular expression.
    pub(super) fn search(&mut self, pattern: String, text: &[u8]) -> Option<Vec<Option<String>>> {
        let regex = match self.0.get(&pattern) {
            Some(known) => known.clone(),
            None => {
                let compiled = compile(&pattern);
                if self.0.len() < KEPT_MAX {
                    self.0.insert(pattern, compiled.clone());
                }
                compiled
            }
        }?;
        let found = regex.captures(text)?;
        let groups = found.iter().map(|group| {
            let text = group.map(|group| String::from_utf8_lossy(group.as_bytes()));
            text.map(std::borrow::Cow::into_owned)
        });
        Some(groups.collect())
    }
}

/// The expression as it is compiled; `None` if it is not written as it should be.
pub(super) fn written(pattern: &str, how: Pattern) -> Option<String> {
    match how {
        Pattern::Plain => Some(pattern.to_owned()),
        Pattern::AnyCase => Some(format!("(?i){pattern}")),
        Pattern::Slashes => {
            let (inside, flags) = pattern.strip_prefix('/')?.rsplit_once('/')?;
            let is_known = flags.chars().all(|flag| "imsx".contains(flag));
            match is_known {
                true if flags.is_empty() => Some(inside.to_owned()),
                true => Some(format!("(?{flags}){inside}")),
                false => None,
            }
        }
    }
}

fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(32)
        .build()
        .ok()
}
