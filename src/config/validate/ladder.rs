//! `degradation.ladder` → the ladder. Owns the rule that it holds each optional fragment once and
//! nothing else; without it the ladder follows the priorities.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use super::settings::place;
use super::{Context, body, lists};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file::{At, LadderStep};
use crate::config::read::Declared;
use crate::degradation::{Ladder, Step};
use crate::fragment::{Fragment, FragmentId, Rank};
use crate::site::name::is_name;

/// The declared ladder; `None` where there is none.
pub(super) fn declared(
    declared: &Declared,
    names: &Names,
    cx: &mut Context<'_>,
) -> Option<Vec<Step>> {
    let written = declared.degradation.ladder.as_ref()?;
    let mut reading = Reading {
        declared,
        names,
        steps: BTreeMap::new(),
        blocks: BTreeMap::new(),
    };
    let steps: Vec<Step> = written.iter().map(|step| reading.step(step, cx)).collect();
    reading.check_length(written, cx);
    reading.check_missing(cx);
    reading.warn_order(&steps, cx);
    Some(steps)
}

/// The ladder that the priorities make. An item goes with its list.
pub(super) fn by_priority(fragments: &[Fragment]) -> Ladder {
    let lists = fragments.iter().filter_map(|f| f.list.as_ref());
    let items: BTreeSet<usize> = lists.map(|list| list.item.index()).collect();
    let fragments = fragments.iter().enumerate();
    Ladder::by_priority(
        fragments
            .filter(|(index, _)| !items.contains(index))
            .map(|(index, f)| (FragmentId(index), f.name.as_str(), f.priority)),
    )
}

struct Reading<'d> {
    declared: &'d Declared,
    names: &'d Names,
    /// Where each step is, by name.
    steps: BTreeMap<String, Place>,
    /// Where each fragment is in the ladder, by index.
    blocks: BTreeMap<usize, Place>,
}

impl Reading<'_> {
    fn step(&mut self, step: &At<LadderStep>, cx: &mut Context<'_>) -> Step {
        let main = self.declared.main;
        match &**step {
            LadderStep::One(name) => {
                let place = place(step, main);
                self.name(name, place.clone(), cx);
                Step {
                    name: name.clone(),
                    blocks: self.block(name, place, cx).into_iter().collect(),
                }
            }
            LadderStep::Several { name, blocks } => {
                let at = place(name, main);
                if !is_name(name) {
                    let finding = Diagnostic::error(format!("`{}` cannot be a name", **name));
                    let label = "expected 1 to 64 letters, digits, `-` or `_`";
                    cx.report(finding.at(at.clone(), label));
                }
                self.name(name, at, cx);
                let blocks = blocks.iter().filter_map(|block| {
                    let place = place(block, main);
                    self.block(block, place, cx)
                });
                let blocks = blocks.collect();
                Step {
                    name: name.to_string(),
                    blocks,
                }
            }
        }
    }

    fn name(&mut self, name: &str, place: Place, cx: &mut Context<'_>) {
        if let Some(first) = self.steps.get(name) {
            // a fragment that is named twice is told as that
            if self
                .names
                .get(name)
                .is_none_or(|i| !self.blocks.contains_key(&i))
            {
                cx.report(
                    Diagnostic::error(format!("two steps of the ladder are called `{name}`"))
                        .at(place, "second time")
                        .also(first.clone(), "first time")
                        .help("rename one of the two"),
                );
            }
            return;
        }
        self.steps.insert(name.to_owned(), place);
    }

    /// A fragment that may be given up.
    fn block(&mut self, name: &str, place: Place, cx: &mut Context<'_>) -> Option<FragmentId> {
        let index = self.names.find(name, place.clone(), cx)?;
        if let Some(first) = self.blocks.get(&index) {
            cx.report(
                Diagnostic::error(format!("`{name}` is in the ladder twice"))
                    .at(place, "second time")
                    .also(first.clone(), "first time")
                    .help("it is given up once: take one of the two out"),
            );
            return None;
        }
        self.blocks.insert(index, place.clone());
        if let Some((list, of)) = lists::list_of(&self.declared.fragments, name) {
            let finding = Diagnostic::error(format!("`{name}` is not given up by itself"));
            let finding = finding
                .at(place, "an item goes with its list")
                .also(of, format!("it is an item of `{}`", list.name));
            cx.report(finding.help(format!("write `{}` instead", list.name)));
            return None;
        }
        // what cannot be examined is reported elsewhere
        if let Some((entry, fragment)) = body(&self.declared.fragments, index)
            && fragment.priority.0.rank().is_none()
        {
            let priority = fragment.priority.0;
            let finding = Diagnostic::error(format!("`{name}` is never given up"));
            let finding = finding
                .at(place, format!("it is {priority}"))
                .also(entry.at(&fragment.priority), "declared here");
            cx.report(
                finding.help("take it out of the ladder, or give it a priority from 1 to 99"),
            );
            return None;
        }
        Some(FragmentId(index))
    }

    fn check_length(&self, written: &[At<LadderStep>], cx: &mut Context<'_>) {
        if let Some(first) = written.get(Ladder::STEPS_MAX) {
            let max = Ladder::STEPS_MAX;
            let finding = Diagnostic::error("the ladder has too many steps");
            let label = format!("this is one more than {max}");
            let finding = finding.at(place(first, self.declared.main), label);
            cx.report(finding.help("put blocks together: `{ name = \"…\", blocks = [\"…\"] }`"));
        }
    }

    fn check_missing(&self, cx: &mut Context<'_>) {
        if !self.declared.ladder_is_whole {
            return;
        }
        for (index, entry) in self.declared.fragments.iter().enumerate() {
            let Some(fragment) = &entry.body else {
                continue;
            };
            let is_optional = fragment.priority.0.rank().is_some();
            let is_item = lists::list_of(&self.declared.fragments, &entry.name).is_some();
            // of a name that is declared twice the first counts
            let is_known = self.names.get(&entry.name) != Some(index);
            if self.blocks.contains_key(&index) || !is_optional || is_item || is_known {
                continue;
            }
            let name = &entry.name;
            let finding = Diagnostic::error(format!("the ladder does not hold `{name}`"));
            let finding = finding.at(
                entry.at(&fragment.priority),
                "optional, so it is given up at some level",
            );
            let help =
                format!("add `\"{name}\"` to `ladder` in `[degradation]`, or to one of its steps");
            cx.report(finding.help(help));
        }
    }

    /// Who reads one of the two should not be told the opposite by the other.
    fn warn_order(&self, steps: &[Step], cx: &mut Context<'_>) {
        let rank = |id: &FragmentId| -> Option<Rank> {
            let (_, fragment) = body(&self.declared.fragments, id.index())?;
            fragment.priority.0.rank()
        };
        let mut highest: Option<(Rank, FragmentId)> = None;
        for step in steps {
            let ranks = || step.blocks.iter().filter_map(|id| Some((rank(id)?, *id)));
            if let (Some((low, later)), Some((high, sooner))) = (ranks().min(), highest)
                && low < high
                && let Some(place) = self.blocks.get(&sooner.index())
            {
                let name = |id: FragmentId| &self.declared.fragments[id.index()].name;
                let (sooner, later) = (name(sooner), name(later));
                let finding = Diagnostic::warning("the ladder contradicts the priorities");
                let label = format!(
                    "`{sooner}` (priority {}) goes before `{later}` (priority {})",
                    high.get(),
                    low.get()
                );
                let finding = finding.at(place.clone(), label);
                cx.report(finding.help(
                    "the ladder decides: give the priorities the same order, so that nobody is misled",
                ));
                return;
            }
            highest = highest.max(ranks().max());
        }
    }
}
