//! ESI in a layout from a file → slots. Owns which elements a layout may hold: those whose meaning is
//! known when the site is loaded. Includes become slots of the fragments that declare their addresses;
//! what depends on a request is refused, for layouts are parsed once for all readers.

use bytes::Bytes;

use super::super::error::{LayoutError, Problem};
use super::super::{Layout, Segment, Slot};
use super::tokens::{Lexer, Tag, Token};

/// Longest tag.
const TAG_MAX: usize = 64 * 1024;

/// Whether there may be any ESI in a text.
pub fn is_in(text: &[u8]) -> bool {
    ["<esi:", "</esi:", "<!--esi"]
        .iter()
        .any(|mark| memchr::memmem::find(text, mark.as_bytes()).is_some())
}

/// The same layout with slots for the includes in its literals; `named` gives the fragment of an
/// address.
pub fn with_includes(
    text: &Bytes,
    layout: Layout,
    named: &dyn Fn(&str) -> Option<String>,
) -> Result<Layout, Vec<LayoutError>> {
    let mut reading = Reading {
        named,
        segments: Vec::new(),
        errors: Vec::new(),
    };
    for segment in layout.segments {
        match segment {
            Segment::Literal(literal) if is_in(&literal) => {
                let from = literal.as_ptr() as usize - text.as_ptr() as usize;
                reading.literal(literal, from);
            }
            segment @ (Segment::Literal(_) | Segment::Slot(_)) => reading.segments.push(segment),
        }
    }
    match reading.errors.is_empty() {
        true => Ok(Layout {
            segments: reading.segments,
        }),
        false => Err(reading.errors),
    }
}

struct Reading<'n> {
    named: &'n dyn Fn(&str) -> Option<String>,
    segments: Vec<Segment>,
    errors: Vec<LayoutError>,
}

impl Reading<'_> {
    fn literal(&mut self, literal: Bytes, from: usize) {
        let mut lexer = Lexer::whole(literal, TAG_MAX);
        // where `<esi:remove>` began, and how many are open
        let mut removed: Option<(usize, usize)> = None;
        loop {
            match lexer.next(false) {
                Token::More | Token::End => break,
                Token::Text(text) | Token::Variable(text) => {
                    if removed.is_none() {
                        self.segments.push(Segment::Literal(text));
                    }
                }
                Token::Open(tag) if tag.name == "remove" && !tag.is_empty => {
                    let at = from + offset(&tag);
                    removed = match removed {
                        Some((at, depth)) => Some((at, depth + 1)),
                        None => Some((at, 1)),
                    };
                }
                Token::Open(tag) if removed.is_none() => self.element(&tag, from + offset(&tag)),
                Token::Close { name, .. } if name == "remove" => {
                    removed = removed.and_then(|(at, depth)| (depth > 1).then(|| (at, depth - 1)));
                }
                Token::Open(_) | Token::Close { .. } => {}
            }
        }
        if let Some((at, _)) = removed {
            self.error(Problem::UnclosedRemove, at, "<esi:remove>".len());
        }
    }

    fn element(&mut self, tag: &Tag, at: usize) {
        match &*tag.name {
            "include" => self.include(tag, at),
            "comment" | "remove" => {}
            name => self.error(Problem::NotFixed(name.to_owned()), at, tag.raw.len()),
        }
    }

    fn include(&mut self, tag: &Tag, at: usize) {
        let Some(src) = tag.attribute("src").filter(|src| !src.is_empty()) else {
            return self.error(Problem::NoSource, at, tag.raw.len());
        };
        if tag.attribute("alt").is_some() {
            return self.error(Problem::Alternative, at, tag.raw.len());
        }
        if src.contains("$(") {
            let what = format!("include src=\"{src}\"");
            return self.error(Problem::NotFixed(what), at, tag.raw.len());
        }
        match (self.named)(src) {
            Some(fragment) => self.segments.push(Segment::Slot(Slot {
                fragment,
                part: None,
                default: Bytes::new(),
                defer: false,
                offset: at,
            })),
            None => self.error(Problem::NobodyDeclares(src.to_owned()), at, tag.raw.len()),
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

fn offset(tag: &Tag) -> usize {
    usize::try_from(tag.offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::html;

    fn parsed(text: &str) -> Result<Vec<String>, Vec<(usize, Problem)>> {
        let text = Bytes::from(text.to_owned());
        let layout = html::parse(&text).unwrap();
        let named = |src: &str| (src == "/menu" || src == "/a/{slug}").then(|| src[1..].to_owned());
        let layout = with_includes(&text, layout, &named);
        let layout = layout.map_err(|errors| {
            let errors = errors.into_iter().map(|e| (e.offset, e.problem));
            errors.collect::<Vec<_>>()
        })?;
        let shape = layout.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => String::from_utf8_lossy(text).into_owned(),
            Segment::Slot(slot) => format!("[{}@{}]", slot.fragment, slot.offset),
        });
        Ok(shape.collect())
    }

    #[test]
    fn includes_become_slots() {
        assert_eq!(
            parsed(
                "<p><fragment name='x'/><esi:include src=\"/menu\" onerror=\"continue\"/>é<esi:include src='/a/{slug}'/><esi:remove><b><esi:include src=\"/menu\"/></b></esi:remove><!--esi <i>--><esi:comment text=\"\"/>."
            ),
            Ok([
                "<p>",
                "[x@3]",
                "[menu@23]",
                "é",
                "[a/{slug}@70]",
                " <i>",
                "."
            ]
            .map(str::to_owned)
            .to_vec())
        );
    }

    #[test]
    fn what_depends_on_a_request_is_refused_where_it_is() {
        use Problem::*;
        assert_eq!(
            parsed(
                "ab<esi:vars>$(x)</esi:vars><esi:include/><esi:include src=\"/none\"/><esi:include src=\"/menu\" alt=\"/x\"/>"
            ),
            Err(vec![
                (2, NotFixed("vars".to_owned())),
                (27, NoSource),
                (41, NobodyDeclares("/none".to_owned())),
                (67, Alternative),
            ])
        );
        assert_eq!(parsed("<esi:remove>x"), Err(vec![(0, UnclosedRemove)]));
    }
}
