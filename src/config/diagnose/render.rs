//! Findings as a person sees them: the line, the caret, the label, the help. Owns the layout of this
//! text; `annotate-snippets` draws it.
//!
//! Invariant: no control character of a declaration reaches a terminal, and no span, however wrong,
//! makes the drawing panic.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, FileId, Severity, floor_boundary};

impl Diagnostics {
    /// The findings as a person reads them, one paragraph each and a count at the end.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for diagnostic in &self.found {
            for group in self.groups(diagnostic) {
                text.push_str(&renderer.render(&[group]));
                text.push('\n');
            }
            text.push('\n');
        }
        text.push_str(&self.tally());
        text
    }

    fn groups<'d>(&'d self, diagnostic: &'d Diagnostic) -> Vec<Group<'d>> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(visible(&diagnostic.message)));
        if let Some(place) = &diagnostic.place {
            let main = (place, &diagnostic.label, AnnotationKind::Primary);
            let related = diagnostic
                .related
                .iter()
                .map(|(p, l)| (p, l, AnnotationKind::Context));
            let marks: Vec<_> = std::iter::once(main).chain(related).collect();
            let mut files: Vec<FileId> = Vec::new();
            for (place, ..) in &marks {
                if !files.contains(&place.file) {
                    files.push(place.file);
                }
            }
            for id in files {
                let file = &self.files[id.0];
                let marks = marks.iter().filter(|(place, ..)| place.file == id);
                let annotations = marks.map(|(place, label, kind)| {
                    kind.span(fitted(&file.text, &place.span))
                        .label(visible(label))
                });
                let snippet = Snippet::source(&file.text).path(&file.path);
                group = group.element(snippet.annotations(annotations));
            }
        }
        match &diagnostic.help {
            None => vec![group],
            Some(help) if diagnostic.place.is_some() => {
                vec![group.element(Level::HELP.message(visible(help)))]
            }
            Some(help) => vec![
                group,
                Group::with_title(Level::HELP.secondary_title(visible(help))),
            ],
        }
    }

    fn tally(&self) -> String {
        let part = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let parts = [
            part(self.count(Severity::Error), "error"),
            part(self.count(Severity::Warning), "warning"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Control characters of a declaration must not reach a terminal.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A span that lies within the text, on character boundaries.
fn fitted(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor_boundary(text, span.start);
    start..floor_boundary(text, span.end).max(start)
}
