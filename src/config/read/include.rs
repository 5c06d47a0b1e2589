//! `include = ["sections/*.toml"]` → files. Owns the pattern language: a path with `*` in its last
//! component.

use std::path::{Path, PathBuf};

use crate::config::diagnose::{Diagnostic, Diagnostics, Place};
use crate::config::files::Remembering;

/// The files that one pattern names, in the order of their names, each with the path to show.
pub(super) fn resolve(
    root: &Path,
    pattern: &str,
    place: &Place,
    files: &Remembering<'_>,
    found: &mut Diagnostics,
) -> Vec<(PathBuf, String)> {
    let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    if folder.contains('*') || last.is_empty() {
        found.push(
            Diagnostic::error(format!(
                "`{pattern}` is not a pattern that includes can have"
            ))
            .at(place.clone(), "expected a file, or a folder and a `*.toml`")
            .help("`*` stands in the last component only: `sections/*.toml`"),
        );
        return Vec::new();
    }
    let shown = |name: &str| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    };
    let path = root.join(folder);
    if !last.contains('*') {
        return vec![(path.join(last), shown(last))];
    }
    let Some(names) = files.search(&path) else {
        let finding = Diagnostic::error(format!("there is no folder `{folder}`"));
        found.push(finding.at(place.clone(), "to include files from"));
        return Vec::new();
    };
    let matching: Vec<_> = names
        .iter()
        .filter(|name| !name.starts_with('.') && matches(last, name))
        .map(|name| (path.join(name), shown(name)))
        .collect();
    if matching.is_empty() {
        let finding = Diagnostic::warning(format!("`{pattern}` includes nothing"));
        found.push(finding.at(place.clone(), "no file matches"));
    }
    matching
}

/// Whether a name matches a pattern in which `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("plain", "plain", true),
            ("plain", "plainer", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
