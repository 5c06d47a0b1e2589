//! Where a layout has room for slots that come late. Owns which part of it becomes a shadow tree, and
//! which slots cannot be late where they are.
//!
//! # Which part
//!
//! Styles of the document and its scripts do not reach into a shadow tree, so it is to be small: from the
//! child of `<body>` that holds the first such slot to the end of the one that holds the last. Everything
//! before and after stays as it is. The style sheets of the layout's own head are named again in it.
//!
//! What counts are the layout's own tags: a fragment is a whole by itself.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem;

use super::html::{RAW_TEXT, end_of, end_of_element, is_tag, tag_len};
use super::{Layout, Segment};

/// The element that lasts to the end of the body, and its shadow tree. It takes no room of its own, where
/// the page's security policy lets it say so.
const OPENING: &[u8] =
    b"<div data-marbre-late style=\"display:contents\"><template shadowrootmode=\"open\">";

/// Where slots that come late are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// Before this segment the shadow tree begins.
    pub opens: usize,
    /// Before this one it ends.
    pub closes: usize,
    /// Before this one there is what has come late.
    pub ends: usize,
    /// The slots that may be late, as segments.
    pub slots: Vec<usize>,
    /// What begins the shadow tree.
    pub opening: Bytes,
}

/// Why a slot cannot be late.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// What comes late is shown in the body only.
    #[error("it is not between `<body>` and `</body>` of this layout")]
    OutsideBody,
    /// A browser would move the slot elsewhere, or not see it.
    #[error("a slot that comes late cannot stand in `<{0}>`")]
    Inside(String),
}

/// Elements that have no end (HTML, 13.1.2).
const VOID: [&str; 13] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
];

/// Parents from which a browser moves a slot away, or in which only other elements may stand.
const UNFIT_PARENTS: [&str; 13] = [
    "table", "thead", "tbody", "tfoot", "tr", "colgroup", "ul", "ol", "menu", "dl", "picture",
    "video", "audio",
];

/// What holds no slots at all, however deep.
const UNFIT_ANCESTORS: [&str; 8] = [
    "svg", "math", "template", "noscript", "select", "iframe", "object", "datalist",
];

/// What ends a paragraph that has no end tag (HTML, 13.1.2.4).
const ENDS_PARAGRAPH: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "details",
    "dialog",
    "div",
    "dl",
    "fieldset",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "header",
    "hr",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "section",
    "table",
    "ul",
];

/// A place in a layout: a segment, and bytes of it that are before the place.
type At = (usize, usize);

/// Cuts a layout where its late slots want it; tells which slots cannot be late, by their offset.
pub fn arrange(layout: &mut Layout) -> (Option<Deferral>, Vec<(usize, Unfit)>) {
    if !layout.slots().any(|slot| slot.defer) {
        return (None, Vec::new());
    }
    let mut survey = Survey::default();
    for (index, segment) in layout.segments.iter().enumerate() {
        match segment {
            Segment::Literal(text) => survey.literal(index, text),
            Segment::Slot(slot) if slot.defer => survey.late_slot(index, slot.offset),
            Segment::Slot(_) => {}
        }
    }
    let end = (layout.segments.len(), 0);
    survey.end_body(end);
    let found = survey.found(end);
    let deferral = found.map(|(cuts, slots)| cut(layout, cuts, &slots, survey.styles));
    (deferral, survey.unfit)
}

/// What is known of a layout up to some place in it.
#[derive(Default)]
struct Survey {
    /// Open elements within the body; `None` before and after it.
    open: Option<Open>,
    /// Where the child of the body begins that is open.
    child: At,
    /// Whether that holds a late slot.
    holds_late: bool,
    opens: Option<At>,
    closes: At,
    ends: Option<At>,
    slots: Vec<usize>,
    styles: Vec<Bytes>,
    unfit: Vec<(usize, Unfit)>,
}

impl Survey {
    fn found(&self, end: At) -> Option<([At; 3], Vec<usize>)> {
        let cuts = [self.opens?, self.closes, self.ends.unwrap_or(end)];
        Some((cuts, self.slots.clone()))
    }

    fn literal(&mut self, index: usize, text: &Bytes) {
        let mut at = 0;
        while let Some(angle) = memchr::memchr(b'<', &text[at..]) {
            let from = at + angle;
            let rest = &text[from..];
            if rest.starts_with(b"<!--") {
                at = end_of(text, from + 4, b"-->");
                continue;
            }
            let Some((name, is_end)) = tag_name(rest) else {
                at = from + 1;
                continue;
            };
            let tag = from..from + tag_len(rest).unwrap_or(rest.len());
            at = tag.end;
            let raw = RAW_TEXT.contains(&name.as_bytes()) || name == "title";
            if raw && !is_end {
                at = end_tag_of(text, tag.end, &name);
            }
            match is_end {
                true => self.end_tag(&name, (index, tag.start), (index, tag.end)),
                false => self.start_tag(&name, text, (index, &tag), at),
            }
        }
    }

    /// `to` is where the element ends whose content is text.
    fn start_tag(
        &mut self,
        name: &str,
        text: &Bytes,
        (index, tag): (usize, &Range<usize>),
        to: usize,
    ) {
        let from = (index, tag.start);
        let is_raw = to > tag.end;
        let Some(open) = &mut self.open else {
            match name {
                "body" if self.ends.is_none() => self.open = Some(Open::default()),
                "style" => self.styles.push(text.slice(tag.start..to)),
                "link" if is_style_sheet(&text[tag.clone()]) => {
                    self.styles.push(text.slice(tag.clone()));
                }
                _ => {}
            }
            return;
        };
        if open.last() == Some("p") && ENDS_PARAGRAPH.contains(&name) {
            open.close("p");
            if open.is_empty() {
                self.end_child(from);
            }
        }
        let Some(open) = &mut self.open else { return };
        if open.is_empty() {
            self.child = from;
        }
        if !is_raw && !VOID.contains(&name) && !is_empty(open, &text[tag.clone()]) {
            open.push(name.to_owned());
        }
    }

    fn end_tag(&mut self, name: &str, from: At, to: At) {
        if matches!(name, "body" | "html") {
            return self.end_body(from);
        }
        let Some(open) = &mut self.open else { return };
        if open.close(name) && open.is_empty() {
            self.end_child(to);
        }
    }

    fn end_child(&mut self, at: At) {
        if std::mem::take(&mut self.holds_late) {
            self.closes = at;
        }
    }

    fn end_body(&mut self, at: At) {
        if self.open.take().is_some() {
            self.end_child(at);
            self.ends = Some(at);
        }
    }

    fn late_slot(&mut self, index: usize, offset: usize) {
        let Some(open) = &self.open else {
            self.unfit.push((offset, Unfit::OutsideBody));
            return;
        };
        let parent = open.last().filter(|name| UNFIT_PARENTS.contains(name));
        let ancestor = UNFIT_ANCESTORS.into_iter().find(|name| open.holds(name));
        if let Some(name) = parent.or(ancestor) {
            self.unfit.push((offset, Unfit::Inside(name.to_owned())));
            return;
        }
        match open.is_empty() {
            true => {
                self.opens.get_or_insert((index, 0));
                self.closes = (index + 1, 0);
            }
            false => {
                self.opens.get_or_insert(self.child);
                self.holds_late = true;
            }
        }
        self.slots.push(index);
    }
}

/// Open elements, the innermost last. Whether one of a name is open is not looked for among all of them:
/// in a layout of nothing but nested tags each tag would be compared with each.
#[derive(Default)]
struct Open {
    names: Vec<String>,
    counts: BTreeMap<String, usize>,
}

impl Open {
    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn last(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    fn holds(&self, name: &str) -> bool {
        self.counts.contains_key(name)
    }

    fn push(&mut self, name: String) {
        *self.counts.entry(name.clone()).or_default() += 1;
        self.names.push(name);
    }

    /// Closes the innermost element of this name with all that is in it; `false` if none is open.
    fn close(&mut self, name: &str) -> bool {
        if !self.holds(name) {
            return false;
        }
        while let Some(innermost) = self.names.pop() {
            if let Some(count) = self.counts.get_mut(&innermost) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&innermost);
                }
            }
            if innermost == name {
                break;
            }
        }
        true
    }
}

/// Cuts literals so that each place is between two segments.
fn cut(layout: &mut Layout, cuts: [At; 3], slots: &[usize], styles: Vec<Bytes>) -> Deferral {
    let (mut segments, mut places, mut late) = (Vec::new(), [None; 3], Vec::new());
    for (index, segment) in std::mem::take(&mut layout.segments).into_iter().enumerate() {
        match segment {
            Segment::Slot(slot) => {
                place(&mut places, &cuts, segments.len(), |at| at == (index, 0));
                if slots.binary_search(&index).is_ok() {
                    late.push(segments.len());
                }
                segments.push(Segment::Slot(slot));
            }
            Segment::Literal(text) => {
                let mut from = 0;
                for (_, to) in cuts.iter().filter(|(segment, _)| *segment == index) {
                    if *to > from {
                        segments.push(Segment::Literal(text.slice(from..*to)));
                        from = *to;
                    }
                    place(&mut places, &cuts, segments.len(), |at| at == (index, *to));
                }
                if from < text.len() {
                    segments.push(Segment::Literal(text.slice(from..)));
                }
            }
        }
    }
    let count = segments.len();
    layout.segments = segments;
    let [opens, closes, ends] = places.map(|place| place.unwrap_or(count));
    let mut opening = BytesMut::from(OPENING);
    styles.iter().for_each(|style| opening.put_slice(style));
    Deferral {
        opens,
        closes,
        ends,
        slots: late,
        opening: opening.freeze(),
    }
}

fn place(places: &mut [Option<usize>; 3], cuts: &[At; 3], index: usize, is: impl Fn(At) -> bool) {
    for (place, cut) in places.iter_mut().zip(cuts) {
        if is(*cut) {
            place.get_or_insert(index);
        }
    }
}

/// The name of the tag that begins here, in small letters, and whether it is an end tag.
fn tag_name(rest: &[u8]) -> Option<(String, bool)> {
    let is_end = rest.get(1) == Some(&b'/');
    let name = &rest[if is_end { 2 } else { 1 }..];
    let len = name
        .iter()
        .position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))
        .unwrap_or(name.len());
    let name = std::str::from_utf8(&name[..len]).ok()?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
    is_name.then(|| (name.to_ascii_lowercase(), is_end))
}

/// Where the element ends whose text begins here.
fn end_tag_of(text: &[u8], from: usize, name: &str) -> usize {
    let close = end_of_element(text, from, name.as_bytes()).saturating_sub(2);
    let rest = &text[close..];
    match tag_len(rest) {
        Some(len) if is_tag(rest, b"</", name.as_bytes()) => close + len,
        Some(_) | None => text.len(),
    }
}

/// Whether a tag is an element by itself, as in XML. In HTML that means nothing.
fn is_empty(open: &Open, tag: &[u8]) -> bool {
    let is_foreign = open.holds("svg") || open.holds("math");
    is_foreign && tag.ends_with(b"/>")
}

fn is_style_sheet(tag: &[u8]) -> bool {
    is_tag(tag, b"<", b"link") && memmem::find(&tag.to_ascii_lowercase(), b"stylesheet").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::html;
    use proptest::prelude::*;

    const LATE: &str = "<fragment name=\"x\" defer>d</fragment>";

    fn arranged(text: &str) -> (Layout, Option<Deferral>, Vec<Unfit>) {
        let mut layout = html::parse(&Bytes::from(text.to_owned())).unwrap();
        let (deferral, unfit) = arrange(&mut layout);
        let unfit = unfit.into_iter().map(|(_, unfit)| unfit).collect();
        (layout, deferral, unfit)
    }

    /// The layout with `{` and `}` around what becomes a shadow tree, `|` where late slots are put, and
    /// `@` for these.
    fn shape(text: &str) -> String {
        let (layout, deferral, _) = arranged(text);
        let Some(deferral) = deferral else {
            return "in order".to_owned();
        };
        let mut shape = String::new();
        for index in 0..=layout.segments.len() {
            let marks = [
                (deferral.opens, '{'),
                (deferral.closes, '}'),
                (deferral.ends, '|'),
            ];
            shape.extend(
                marks
                    .iter()
                    .filter(|(at, _)| *at == index)
                    .map(|(_, mark)| mark),
            );
            match layout.segments.get(index) {
                Some(Segment::Literal(text)) => shape += std::str::from_utf8(text).unwrap(),
                Some(Segment::Slot(_)) => {
                    shape.push(if deferral.slots.contains(&index) {
                        '@'
                    } else {
                        '#'
                    });
                }
                None => {}
            }
        }
        shape
    }

    #[test]
    fn the_shadow_tree_is_the_child_of_the_body_that_holds_the_slot() {
        for (text, expected) in [
            (
                "<body><p>a</p>@<p>b</p></body>",
                "<body><p>a</p>{@}<p>b</p>|</body>",
            ),
            (
                "<html><body class=x><header>#</header><main><aside>@</aside></main><footer>f</footer></body></html>",
                "<html><body class=x><header>#</header>{<main><aside>@</aside></main>}<footer>f</footer>|</body></html>",
            ),
            (
                "<body><div><p>@<br></div>#",
                "<body>{<div><p>@<br></div>}#|",
            ),
            ("<body><div>@", "<body>{<div>@}|"),
            ("<body>@", "<body>{@}|"),
            (
                "<body><i></i><nav>@</nav><b>#</b><p>@</p><i></i></html>",
                "<body><i></i>{<nav>@</nav><b>#</b><p>@</p>}<i></i>|</html>",
            ),
            ("<body><p>a<div>@</div>b", "<body><p>a{<div>@</div>}b|"),
            (
                "<body><!-- <div> --><script>'<div>'</script>@x",
                "<body><!-- <div> --><script>'<div>'</script>{@}x|",
            ),
            (
                "<BODY><svg><path/></svg><DIV>@</div>c",
                "<BODY><svg><path/></svg>{<DIV>@</div>}c|",
            ),
            ("<body></div>@</main>", "<body></div>{@}</main>|"),
            ("<body># and no more", "in order"),
            ("<p>@</p>", "in order"),
        ] {
            let text = text
                .replace('@', LATE)
                .replace('#', "<fragment name=\"y\"/>");
            assert_eq!(shape(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_slot_that_cannot_be_late_is_told_of() {
        for (text, expected) in [
            ("<head>@</head><body>", Unfit::OutsideBody),
            ("@", Unfit::OutsideBody),
            ("<body></body>@", Unfit::OutsideBody),
            ("<body><table>@</table>", Unfit::Inside("table".into())),
            ("<body><ul>@</ul>", Unfit::Inside("ul".into())),
            ("<body><svg><g>@</g></svg>", Unfit::Inside("svg".into())),
        ] {
            let (_, deferral, unfit) = arranged(&text.replace('@', LATE));
            assert_eq!((deferral, unfit), (None, vec![expected]), "{text}");
        }
        let (_, deferral, unfit) =
            arranged(&"<body><table><tr><td>@</table><ol>@</ol>".replace('@', LATE));
        assert_eq!(unfit, [Unfit::Inside("ol".into())]);
        assert_eq!(deferral.unwrap().slots.len(), 1);
    }

    #[test]
    fn style_sheets_of_the_head_are_named_again() {
        let head = "<head><link rel=\"icon\" href=\"i\"><link rel=\"stylesheet\" href=\"a.css\">\
                    <style>p { color: red }</style><script>1 < 2</script></head>";
        let (_, deferral, _) = arranged(&format!("{head}<body><link rel=stylesheet href=b>{LATE}"));
        let opening = deferral.unwrap().opening;
        let styles = opening.strip_prefix(OPENING).unwrap();
        assert_eq!(
            std::str::from_utf8(styles).unwrap(),
            "<link rel=\"stylesheet\" href=\"a.css\"><style>p { color: red }</style>"
        );
    }

    proptest! {
        #[test]
        fn cutting_loses_nothing(pieces in prop::collection::vec(prop::sample::select(vec![
            "<body>", "</body>", "<div>", "</div>", "<p>", "<table>", "</table>", "<fragment name='a' defer/>",
            "<fragment name='b'>d</fragment>", "<!--", "-->", "<style>", "</style>", "é", "<", "text", "</html>",
        ]), 0..20)) {
            let text = Bytes::from(pieces.concat());
            let Ok(before) = html::parse(&text) else { return Ok(()) };
            let mut after = before.clone();
            let (deferral, _) = arrange(&mut after);
            let bytes = |layout: &Layout| layout.segments.iter().map(|segment| match segment {
                Segment::Literal(text) => text.clone(),
                Segment::Slot(_) => Bytes::from_static(b"\0"),
            }).collect::<Vec<_>>().concat();
            prop_assert_eq!(bytes(&before), bytes(&after));
            if let Some(deferral) = deferral {
                let (opens, closes, ends) = (deferral.opens, deferral.closes, deferral.ends);
                prop_assert!(opens < closes && closes <= ends && ends <= after.segments.len());
                for slot in deferral.slots {
                    prop_assert!((opens..closes).contains(&slot));
                    let is_late = matches!(&after.segments[slot], Segment::Slot(slot) if slot.defer);
                    prop_assert!(is_late);
                }
            }
        }
    }
}
