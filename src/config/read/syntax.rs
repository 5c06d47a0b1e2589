//! TOML syntax errors as findings. Owns their wording; the parser is `toml`'s.

use std::ops::Range;

use crate::config::diagnose::{Diagnostic, Diagnostics, FileId, Place};

/// Reports the errors of one file, the first of each line, for the others mostly follow from it.
/// Returns whether what was parsed must not be trusted.
pub(in crate::config) fn report(
    text: &str,
    errors: &[toml::de::Error],
    file: FileId,
    found: &mut Diagnostics,
) -> bool {
    let mut sorted: Vec<(Range<usize>, &str)> = errors
        .iter()
        .map(|e| (e.span().unwrap_or(0..0), e.message()))
        .collect();
    sorted.sort_by_key(|(span, _)| span.start);
    let (mut last_line, mut distrust, mut twice) = (None, false, None);
    for (span, message) in sorted {
        let is_duplicate = message == "duplicate key";
        distrust |= !is_duplicate;
        let line = text[..text.floor_char_boundary(span.start)]
            .matches('\n')
            .count();
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let place = Place {
            file,
            span: span.clone(),
        };
        if is_duplicate {
            let header = header_before(text, span.start);
            let is_header = line_at(text, span.start).starts_with('[');
            // all keys of a table that is there twice may be there twice
            if is_header || header != twice {
                found.push(duplicate(text, span, place));
            }
            if is_header {
                twice = header;
            }
            continue;
        }
        if let Some(open) = never_closed(text, &span, message) {
            let place = Place {
                file,
                span: open..open + 1,
            };
            let finding = Diagnostic::error("TOML syntax: this list is never closed");
            found.push(finding.at(place, "expected a `]`"));
            // whatever follows was read as a part of the list
            break;
        }
        let (problem, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let label = match expected {
            "" => String::new(),
            expected => format!("expected {expected}"),
        };
        found.push(Diagnostic::error(format!("TOML syntax: {problem}")).at(place, label));
    }
    distrust
}

/// Where the list begins that an error shows to be open: one that misses a comma at the start of a
/// line.
fn never_closed(text: &str, span: &Range<usize>, message: &str) -> Option<usize> {
    let before = text.get(..span.start)?;
    let is_line_start = before.rsplit('\n').next()?.trim().is_empty();
    if !message.starts_with("missing comma between array elements") || !is_line_start {
        return None;
    }
    let mut depth = 0;
    for (at, c) in before.char_indices().rev() {
        match c {
            ']' => depth += 1,
            '[' if depth == 0 => return Some(at),
            '[' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn line_at(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    text[start..].lines().next().unwrap_or_default().trim()
}

/// The line of the table that a byte belongs to.
fn header_before(text: &str, at: usize) -> Option<usize> {
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    let lines = text[..end].split('\n').enumerate();
    lines
        .filter(|(_, line)| line.trim().starts_with('['))
        .last()
        .map(|(number, _)| number)
}

fn duplicate(text: &str, span: Range<usize>, place: Place) -> Diagnostic {
    let key = text.get(span.clone()).unwrap_or_default();
    let finding = Diagnostic::error(format!("`{key}` is declared twice"))
        .at(place.clone(), "second time")
        .help("keep one of the two");
    match first_time(text, &span, key) {
        Some(first) => finding.also(
            Place {
                file: place.file,
                span: first,
            },
            "first time",
        ),
        None => finding,
    }
}

/// Where the same header, or the same key of the same table, stands before. By lines, since the
/// parser does not say.
fn first_time(text: &str, span: &Range<usize>, key: &str) -> Option<Range<usize>> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |i| i + 1);
    let line = text[line_start..].lines().next()?.trim();
    let mut offset = 0;
    let mut before: Vec<(usize, &str)> = Vec::new();
    for earlier in text[..line_start].split_inclusive('\n') {
        let indent = earlier.len() - earlier.trim_start().len();
        before.push((offset + indent, earlier.trim()));
        offset += earlier.len();
    }
    if line.starts_with('[') {
        let (start, header) = before.into_iter().find(|(_, earlier)| *earlier == line)?;
        let at = start + header.rfind(key)?;
        return Some(at..at + key.len());
    }
    let same_table = before
        .into_iter()
        .rev()
        .take_while(|(_, earlier)| !earlier.starts_with('['));
    let mut same_key = same_table.filter(|(_, earlier)| {
        earlier
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    });
    same_key.next().map(|(start, _)| start..start + key.len())
}
