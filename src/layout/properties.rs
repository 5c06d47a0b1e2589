//! What holds of every layout, whatever is in it. Owns no rule of any dialect.

use std::ops::Range;

use bytes::Bytes;

use super::error::LayoutError;
use super::parts::Parts;
use super::{Layout, Segment, deferral, esi, html};

/// Bytes that may be looked at for each byte of a layout.
const LOOKS_MAX: usize = 32;

/// What holds of every layout.
pub(crate) fn hold(input: &[u8]) {
    let text = Bytes::copy_from_slice(input);
    let (parsed, looked_at) = html::parse_counted(&text);
    assert!(
        looked_at <= LOOKS_MAX * (text.len() + 1),
        "{looked_at} bytes looked at of {}",
        text.len()
    );
    match parsed {
        Err(errors) => point_inside(&errors, &text),
        Ok(layout) => {
            adds_up(&layout, &text);
            nothing_is_cut_away(layout.clone());
            includes_become_slots(&text, layout);
        }
    }
    parts_add_up(text);
}

fn point_inside(errors: &[LayoutError], text: &Bytes) {
    assert!(!errors.is_empty(), "it fails for a reason");
    for error in errors {
        let end = error.offset.checked_add(error.len);
        assert!(end.is_some_and(|end| end <= text.len()), "{error:?}");
        assert!(!error.to_string().is_empty() && !error.problem.hint().is_empty());
    }
}

/// Where in the text a slice of it is.
fn place(slice: &Bytes, text: &Bytes) -> Range<usize> {
    let from = (slice.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
    let from = from.expect("what is written is a slice of the layout");
    from..from + slice.len()
}

/// Literals and default contents are the layout in its order, and between them are tags of slots.
fn adds_up(layout: &Layout, text: &Bytes) {
    let mut at = 0;
    for segment in &layout.segments {
        let written = match segment {
            Segment::Literal(literal) => literal,
            Segment::Slot(slot) => {
                assert!(
                    at <= slot.offset && starts_as_tag(&text[slot.offset..]),
                    "{slot:?}"
                );
                assert!(!slot.fragment.is_empty(), "{slot:?}");
                &slot.default
            }
        };
        // an empty one may be anywhere
        if written.is_empty() {
            continue;
        }
        let Range { start, end } = place(written, text);
        assert!(
            at <= start && end <= text.len(),
            "in the order of the layout"
        );
        is_tags(&text[at..start]);
        at = end;
    }
    is_tags(&text[at..]);
}

fn starts_as_tag(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"</").or(text.strip_prefix(b"<"));
    let name = text.and_then(|text| text.get(.."fragment".len()));
    name.is_some_and(|name| name.eq_ignore_ascii_case(b"fragment"))
}

fn is_tags(gap: &[u8]) {
    assert!(
        gap.is_empty() || starts_as_tag(gap),
        "{}",
        gap.escape_ascii()
    );
}

/// What is written for a layout where each slot is one byte.
fn outline(layout: &Layout) -> Vec<u8> {
    let segments = layout.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => &text[..],
        Segment::Slot(_) => b"\0",
    });
    segments.collect::<Vec<_>>().concat()
}

fn nothing_is_cut_away(mut layout: Layout) {
    let before = outline(&layout);
    let (deferral, unfit) = deferral::arrange(&mut layout);
    assert_eq!(outline(&layout), before);
    let late = layout.slots().filter(|slot| slot.defer).count();
    let Some(deferral) = deferral else {
        assert_eq!(unfit.len(), late, "a late slot that is not told of");
        return;
    };
    assert_eq!(unfit.len() + deferral.slots.len(), late);
    assert!(deferral.opens < deferral.closes && deferral.closes <= deferral.ends);
    assert!(deferral.ends <= layout.segments.len());
    for slot in deferral.slots {
        assert!((deferral.opens..deferral.closes).contains(&slot));
        assert!(matches!(&layout.segments[slot], Segment::Slot(slot) if slot.defer));
    }
}

/// The slots that were there are there still, and every new one is where an include was.
fn includes_become_slots(text: &Bytes, layout: Layout) {
    let named = |src: &str| (src.len() < 8).then(|| src.to_owned());
    let before = layout.slots().count();
    match esi::fixed::with_includes(text, layout, &named) {
        Err(errors) => point_inside(&errors, text),
        Ok(layout) => {
            let slots = layout.slots().count();
            let mut includes = 0;
            let mut last = None;
            for slot in layout.slots() {
                assert!(
                    last < Some(slot.offset),
                    "slots are in the order of the layout"
                );
                last = Some(slot.offset);
                includes += usize::from(text[slot.offset..].starts_with(b"<esi:include"));
            }
            assert_eq!(slots, before + includes);
            if !esi::fixed::is_in(text) {
                assert_eq!(includes, 0);
            }
        }
    }
}

/// No content of a fragment is lost, and what is taken out are markers.
fn parts_add_up(html: Bytes) {
    const MARKERS: usize = "<!--part -->".len() + "<!--/part-->".len();
    let parts = Parts::split(html.clone());
    let content: usize = parts.named.iter().map(|(_, content)| content.len()).sum();
    let names: usize = parts.named.iter().map(|(name, _)| name.len()).sum();
    let markers = parts.named.len() * MARKERS;
    assert!(parts.main.len() + content + names + markers <= html.len());
    if parts.named.is_empty() {
        assert_eq!(parts.main, html);
    }
}
