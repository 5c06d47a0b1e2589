//! `[status]`: the words for readers. Owns what they are where they are not declared, in the site's
//! language, and that they are about blocks that there are.

use super::names::Names;
use super::settings::place;
use super::{Context, body};
use crate::config::file::At;
use crate::config::read::Declared;
use crate::fragment::{FragmentId, Priority};
use crate::site::StatusSpec;

/// The words where none are declared.
struct Words {
    title: &'static str,
    works: &'static str,
    reduced: &'static str,
    block: [&'static str; 2],
}

const ENGLISH: Words = Words {
    title: "How this site is doing",
    works: "Everything works.",
    reduced: "Articles can be read as ever. Some of what stands around them is reduced at the moment.",
    block: ["works", "reduced"],
};

const FRENCH: Words = Words {
    title: "État du site",
    works: "Tout fonctionne.",
    reduced: "Les articles se lisent normalement. Une partie de ce qui les entoure est réduite en ce moment.",
    block: ["fonctionne", "réduit"],
};

pub(super) fn status(
    declared: &Declared,
    fragments: &Names,
    cx: &mut Context<'_>,
) -> Option<StatusSpec> {
    let (status, main) = (&declared.status, declared.main);
    let mut blocks = Vec::new();
    for (name, text) in &status.blocks {
        if let Some(index) = fragments.find(name, place(text, main), cx) {
            blocks.push((FragmentId(index), text.to_string()));
        }
    }
    status.path.as_ref()?;
    if status.blocks.is_empty() {
        blocks = optional(declared);
    }
    let words = match declared.site.language.as_str() {
        "fr" => FRENCH,
        _ => ENGLISH,
    };
    let or = |text: &Option<At<String>>, default: &str| {
        text.as_ref()
            .map_or(default.to_owned(), |text| text.to_string())
    };
    Some(StatusSpec {
        title: or(&status.title, words.title),
        works: or(&status.works, words.works),
        reduced: or(&status.reduced, words.reduced),
        words: words.block.map(str::to_owned),
        blocks,
    })
}

/// Every optional fragment, called by its name.
fn optional(declared: &Declared) -> Vec<(FragmentId, String)> {
    let ids = 0..declared.fragments.len();
    let optional = ids.filter_map(|index| {
        let (entry, fragment) = body(&declared.fragments, index)?;
        let is_optional = matches!(fragment.priority.0, Priority::Optional(_));
        is_optional.then(|| (FragmentId(index), called(&entry.name)))
    });
    optional.collect()
}

/// A name as people would write it.
fn called(name: &str) -> String {
    let text = name.replace(['-', '_'], " ");
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}
