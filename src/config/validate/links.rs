//! Which fragment falls back to which, and is an item of which. Owns the graph and the finding of its cycles; reads rungs as
//! they are spelled, so that cycles are found whatever else is wrong.

use super::names::Names;
use super::{Context, fallbacks};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::read::Entry;

/// The siblings of each fragment and what it lists, by index, with where each is named.
pub(super) struct Links {
    siblings: Vec<Vec<(usize, Place)>>,
}

impl Links {
    pub(super) fn of(entries: &[Entry<file::Fragment>], names: &Names) -> Self {
        let siblings = entries.iter().map(|entry| {
            let Some(fragment) = &entry.body else {
                return Vec::new();
            };
            let named = fragment
                .fallback
                .iter()
                .filter_map(|text| match fallbacks::spell(text)? {
                    fallbacks::Spelled::Fragment(name) => Some((names.get(name)?, entry.at(text))),
                    fallbacks::Spelled::Static(_)
                    | fallbacks::Spelled::Inline(_)
                    | fallbacks::Spelled::Data(_)
                    | fallbacks::Spelled::Lazy
                    | fallbacks::Spelled::Omit => None,
                });
            let item = fragment.item.iter();
            let item = item.filter_map(|name| Some((names.get(name)?, entry.at(name))));
            named.chain(item).collect()
        });
        Self {
            siblings: siblings.collect(),
        }
    }

    /// A fragment and everything that it may fall back to or list.
    pub(super) fn reach(&self, start: usize) -> Vec<usize> {
        let (mut reached, mut next) = (vec![start], 0);
        while let Some(&at) = reached.get(next) {
            for (sibling, _) in self.siblings.get(at).into_iter().flatten() {
                if !reached.contains(sibling) {
                    reached.push(*sibling);
                }
            }
            next += 1;
        }
        reached
    }

    /// Reports each cycle once, where it closes.
    pub(super) fn report_cycles(&self, entries: &[Entry<file::Fragment>], cx: &mut Context<'_>) {
        let mut done = vec![false; self.siblings.len()];
        for start in 0..self.siblings.len() {
            self.walk(&mut vec![start], &mut done, entries, cx);
        }
    }

    fn walk(
        &self,
        path: &mut Vec<usize>,
        done: &mut [bool],
        entries: &[Entry<file::Fragment>],
        cx: &mut Context<'_>,
    ) {
        let Some(&at) = path.last() else { return };
        if done[at] {
            return;
        }
        for (sibling, place) in &self.siblings[at] {
            match path.iter().position(|step| step == sibling) {
                None => {
                    path.push(*sibling);
                    self.walk(path, done, entries, cx);
                    path.pop();
                }
                Some(from) => {
                    let cycle = path[from..].iter().chain([sibling]);
                    let names: Vec<&str> = cycle.map(|i| entries[*i].name.as_str()).collect();
                    let finding = match names.len() {
                        2 => Diagnostic::error(format!("`{}` falls back to itself", names[0])),
                        _ => Diagnostic::error("these fallbacks lead back to where they began"),
                    };
                    cx.report(finding.at(place.clone(), names.join(" → ")).help(
                        "end with something that needs no origin: `static:PATH`, `inline:HTML` or `data:PATH`",
                    ));
                }
            }
        }
        done[at] = true;
    }
}
