//! Names and what they stand for. Owns lookups with "did you mean" and the refusal of a name that is
//! declared twice in different files.

use std::collections::BTreeMap;

use super::Context;
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::read::Entry;

/// Names of one kind, with the index of what they stand for.
#[derive(Debug)]
pub(super) struct Names {
    kind: &'static str,
    index: BTreeMap<String, usize>,
}

impl Names {
    pub(super) fn new<T>(kind: &'static str, entries: &[Entry<T>], cx: &mut Context<'_>) -> Self {
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        for (i, entry) in entries.iter().enumerate() {
            let Some(first) = index.get(&entry.name) else {
                index.insert(entry.name.clone(), i);
                continue;
            };
            cx.report(
                Diagnostic::error(format!("{kind} `{}` is declared twice", entry.name))
                    .at(entry.place.clone(), "second time")
                    .also(entries[*first].place.clone(), "first time")
                    .help("rename one of the two"),
            );
        }
        Self { kind, index }
    }

    /// The index of a name.
    pub(super) fn get(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The index of a name that is mentioned at `place`; an unknown name is reported.
    pub(super) fn find(&self, name: &str, place: Place, cx: &mut Context<'_>) -> Option<usize> {
        let known = self.get(name);
        if known.is_none() {
            let kind = self.kind;
            let finding = Diagnostic::error(format!("unknown {kind} `{name}`"))
                .at(place, format!("there is no `[{kind}s.{name}]`"))
                .did_you_mean(name, self.index.keys().map(String::as_str));
            cx.report(finding);
        }
        known
    }
}
