//! HTML with `<fragment name="…">default content</fragment>` → segments. Owns this dialect's
//! syntax; everything that is not a slot passes untouched, whatever it is.
//!
//! Tags inside HTML comments and inside `<script>`, `<style>` and `<textarea>` are text, as they are
//! for a browser.

use bytes::Bytes;
use memchr::memmem;

use super::error::{LayoutError, Problem};
use super::markup::work::Work;
use super::{Layout, Segment, Slot};

/// Elements whose content is text, so that no tag inside them is a slot.
pub(super) const RAW_TEXT: [&[u8]; 3] = [b"script", b"style", b"textarea"];

/// Parses a layout; reports every problem rather than the first.
pub fn parse(text: &Bytes) -> Result<Layout, Vec<LayoutError>> {
    let mut parser = Parser::of(text);
    parser.run();
    parser.found()
}

/// The same, and how many bytes were looked at.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn parse_counted(text: &Bytes) -> (Result<Layout, Vec<LayoutError>>, usize) {
    let mut parser = Parser::of(text);
    parser.run();
    let looked_at = parser.work.bytes();
    (parser.found(), looked_at)
}

struct Parser<'t> {
    text: &'t Bytes,
    at: usize,
    literal_from: usize,
    /// The slot whose default content is being read, and where that content begins.
    open: Option<(Slot, usize)>,
    layout: Vec<Segment>,
    errors: Vec<LayoutError>,
    /// Whether there is no `</fragment` any more.
    is_past_last_end: bool,
    work: Work,
}

impl<'t> Parser<'t> {
    fn of(text: &'t Bytes) -> Self {
        Self {
            text,
            at: 0,
            literal_from: 0,
            open: None,
            layout: Vec::new(),
            errors: Vec::new(),
            is_past_last_end: false,
            work: Work::default(),
        }
    }

    fn found(self) -> Result<Layout, Vec<LayoutError>> {
        match self.errors.is_empty() {
            true => Ok(Layout {
                segments: self.layout,
            }),
            false => Err(self.errors),
        }
    }

    fn run(&mut self) {
        while let Some(angle) = memchr::memchr(b'<', &self.text[self.at..]) {
            let before = self.at;
            let at = self.at + angle;
            let rest = &self.text[at..];
            if rest.starts_with(b"<!--") {
                self.at = end_of(self.text, at + 4, b"-->");
            } else if let Some(name) = RAW_TEXT.iter().find(|n| is_tag(rest, b"<", n)) {
                self.at = end_of_element(self.text, at + 1, name);
            } else if is_tag(rest, b"<", b"fragment") {
                self.start_tag(at);
            } else if is_tag(rest, b"</", b"fragment") {
                self.end_tag(at);
            } else {
                self.at = at + 1;
            }
            self.work.looks_at(self.at - before);
        }
        if let Some((slot, _)) = self.open.take() {
            self.error(Problem::MissingEnd, slot.offset, "<fragment".len());
        }
        self.push_literal(self.text.len());
    }

    fn start_tag(&mut self, at: usize) {
        let Some(len) = tag_len(&self.text[at..]) else {
            self.error(Problem::UnclosedTag, at, "<fragment".len());
            self.at = self.text.len();
            return;
        };
        self.at = at + len;
        if self.open.is_some() {
            self.error(Problem::Nested, at, len);
            return;
        }
        let inside = &self.text[at + "<fragment".len()..at + len - 1];
        let empty = inside.last() == Some(&b'/');
        let inside = inside.strip_suffix(b"/").unwrap_or(inside);
        match attributes(inside) {
            Err(problem) => self.error(problem, at, len),
            Ok(Attributes { name, part, defer }) => {
                let slot = Slot {
                    fragment: name,
                    part,
                    defer,
                    default: Bytes::new(),
                    offset: at,
                };
                self.push_literal(at);
                self.literal_from = self.at;
                if empty {
                    self.layout.push(Segment::Slot(slot));
                } else {
                    self.open = Some((slot, self.at));
                }
                return;
            }
        }
        // the tag was wrong: skip to its end so that `</fragment>` is not reported as well
        if !empty && !self.is_past_last_end {
            self.skip_to_end();
        }
    }

    fn skip_to_end(&mut self) {
        let rest = &self.text[self.at..];
        match memmem::find(rest, b"</fragment") {
            Some(end) => {
                let tag = &rest[end..];
                let len = tag_len(tag);
                self.work.looks_at(len.unwrap_or(tag.len()));
                self.at += end + len.unwrap_or(2);
            }
            // looked for once: a layout of nothing but wrong tags would be searched to its end by each
            None => {
                self.work.looks_at(rest.len());
                self.is_past_last_end = true;
            }
        }
    }

    fn end_tag(&mut self, at: usize) {
        let len = tag_len(&self.text[at..]).unwrap_or(self.text.len() - at);
        self.at = at + len;
        match self.open.take() {
            None => self.error(Problem::StrayEnd, at, len),
            Some((mut slot, from)) => {
                slot.default = self.text.slice(from..at);
                self.layout.push(Segment::Slot(slot));
                self.literal_from = self.at;
            }
        }
    }

    fn push_literal(&mut self, to: usize) {
        if to > self.literal_from {
            self.layout
                .push(Segment::Literal(self.text.slice(self.literal_from..to)));
        }
    }

    fn error(&mut self, problem: Problem, offset: usize, len: usize) {
        self.errors.push(LayoutError {
            problem,
            offset,
            len,
        });
    }
}

/// Whether `rest` begins with this tag, in any case, and not with a longer name.
pub(super) fn is_tag(rest: &[u8], open: &[u8], name: &[u8]) -> bool {
    let end = open.len() + name.len();
    rest.starts_with(open)
        && rest
            .get(open.len()..end)
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
        && rest
            .get(end)
            .is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))
}

/// The length of the tag at the start of `rest`, with its `>`; quoted values may hold a `>`.
pub(super) fn tag_len(rest: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (i, &b) in rest.iter().enumerate() {
        match (quote, b) {
            (None, b'>') => return Some(i + 1),
            (None, b'"' | b'\'') => quote = Some(b),
            (Some(q), b) if q == b => quote = None,
            _ => {}
        }
    }
    None
}

pub(super) fn end_of(text: &[u8], from: usize, mark: &[u8]) -> usize {
    memmem::find(&text[from..], mark).map_or(text.len(), |i| from + i + mark.len())
}

pub(super) fn end_of_element(text: &[u8], from: usize, name: &[u8]) -> usize {
    let mut at = from;
    while let Some(i) = memmem::find(&text[at..], b"</") {
        at += i;
        if is_tag(&text[at..], b"</", name) {
            return at + 2;
        }
        at += 2;
    }
    text.len()
}

struct Attributes {
    name: String,
    part: Option<String>,
    defer: bool,
}

fn attributes(inside: &[u8]) -> Result<Attributes, Problem> {
    let (mut name, mut part, mut defer) = (None, None, false);
    let text = String::from_utf8_lossy(inside);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(rest.len());
        let key = rest[..end].to_ascii_lowercase();
        let after = rest[end..].trim_start();
        let bad = || Problem::BadValue(key.clone());
        // a flag, as in HTML: it has no value
        if key == "defer" && !after.starts_with('=') {
            if std::mem::replace(&mut defer, true) {
                return Err(Problem::DuplicateAttribute(key));
            }
            rest = after;
            continue;
        }
        let value = after
            .strip_prefix('=')
            .map(str::trim_start)
            .ok_or_else(bad)?;
        let quote = value
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\''))
            .ok_or_else(bad)?;
        let (value, tail) = value[1..].split_once(quote).ok_or_else(bad)?;
        rest = tail.trim_start();
        let place = match key.as_str() {
            "name" => &mut name,
            "part" => &mut part,
            "defer" => return Err(bad()),
            _ => return Err(Problem::UnknownAttribute(key)),
        };
        if value.is_empty() {
            return Err(bad());
        }
        if place.replace(value.to_owned()).is_some() {
            return Err(Problem::DuplicateAttribute(key));
        }
    }
    let name = name.ok_or(Problem::NoName)?;
    Ok(Attributes { name, part, defer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::properties;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Layout {
        parse(&Bytes::from(text.to_owned())).unwrap()
    }

    fn shape(layout: &Layout) -> Vec<String> {
        layout
            .segments
            .iter()
            .map(|s| match s {
                Segment::Literal(b) => format!("{:?}", String::from_utf8_lossy(b)),
                Segment::Slot(s) => format!(
                    "{}{}[{}]",
                    s.fragment,
                    s.part.as_ref().map(|p| format!("#{p}")).unwrap_or_default(),
                    String::from_utf8_lossy(&s.default)
                ),
            })
            .collect()
    }

    #[test]
    fn slots_in_any_dress() {
        assert_eq!(
            shape(&parsed(
                "<a><fragment name=\"x\">d<b></fragment>é<FRAGMENT part='head' name='y'/><fragment\n name = \"z\" ></fragment >."
            )),
            ["\"<a>\"", "x[d<b>]", "\"é\"", "y#head[]", "z[]", "\".\""]
        );
    }

    #[test]
    fn a_slot_may_be_late() {
        for (text, defer) in [
            ("<fragment name='x'/>", false),
            ("<fragment name='x' defer/>", true),
            ("<fragment DEFER name='x' part='y'></fragment>", true),
            ("<fragment defer name='x'>d</fragment>", true),
        ] {
            let found: Vec<bool> = parsed(text).slots().map(|slot| slot.defer).collect();
            assert_eq!(found, [defer], "{text}");
        }
    }

    #[test]
    fn what_is_text_for_a_browser_is_text_here() {
        for text in [
            "<!-- <fragment name=\"x\"> -->",
            "<script>'<fragment name=\"x\">'</script>",
            "<STYLE>/*<fragment>*/</style>",
            "<textarea></fragment></textarea>",
            "<fragmentary name=\"x\">",
            "<!-- never closed <fragment>",
            "<",
            "",
        ] {
            let layout = parsed(text);
            assert_eq!(layout.slots().count(), 0, "{text}");
        }
    }

    #[test]
    fn every_problem_is_reported_where_it_is() {
        let found = |text: &str| {
            parse(&Bytes::from(text.to_owned()))
                .unwrap_err()
                .into_iter()
                .map(|e| (e.offset, e.problem))
                .collect::<Vec<_>>()
        };
        use Problem::*;
        assert_eq!(found("ab<fragment name=\"x\">"), [(2, MissingEnd)]);
        assert_eq!(found("ab<fragment name=\"x\""), [(2, UnclosedTag)]);
        assert_eq!(found("</fragment>"), [(0, StrayEnd)]);
        assert_eq!(found("<fragment></fragment>"), [(0, NoName)]);
        assert_eq!(
            found("<fragment nme=\"x\"/>"),
            [(0, UnknownAttribute("nme".into()))]
        );
        assert_eq!(found("<fragment name=x/>"), [(0, BadValue("name".into()))]);
        assert_eq!(
            found("<fragment name=\"\"/>"),
            [(0, BadValue("name".into()))]
        );
        assert_eq!(
            found("<fragment name='a' defer=\"defer\"/>"),
            [(0, BadValue("defer".into()))]
        );
        assert_eq!(
            found("<fragment defer name='a' defer/>"),
            [(0, DuplicateAttribute("defer".into()))]
        );
        assert_eq!(
            found("<fragment name='a' name='b'/>"),
            [(0, DuplicateAttribute("name".into()))]
        );
        assert_eq!(
            found("<fragment name='a'><fragment name='b'></fragment></fragment><fragment/>"),
            [(19, Nested), (49, StrayEnd), (60, NoName)]
        );
    }

    #[test]
    fn a_layout_of_wrong_tags_costs_what_its_length_may() {
        for unit in [
            "<fragment x>",
            "<fragment",
            "<fragment name='a'>",
            "</fragment",
            "</fragment '",
            "<fragment x></fragment \"",
            "<script>",
            "<script></",
            "<!--",
            "<",
        ] {
            properties::hold(unit.repeat((1 << 18) / unit.len()).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_holds_of_every_layout(pieces in prop::collection::vec(prop::sample::select(vec![
            "<fragment name=\"a\">", "</fragment>", "<fragment", " name='b'", " defer", "/>", ">", "<!--", "-->",
            "<script>", "</script>", "é", "\"", "'", "<", "text", "<body>", "</body>", "<div>", "</div>",
            "<esi:include src='/a'/>", "<!--esi", "<esi:remove>", "</esi:remove>", "<!--part x-->", "<!--/part-->",
        ]), 0..20)) {
            properties::hold(pieces.concat().as_bytes());
        }
    }
}
