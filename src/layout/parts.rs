//! Parts of a fragment: `<!--part head-->…<!--/part-->` in its HTML goes to the slots that ask for
//! `part="head"`, the rest to the slots that ask for none. Owns this marker syntax.
//!
//! Invariant: splitting never loses a byte of content: what is not a well-formed part is left in
//! the main part as it is.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

const OPEN: &[u8] = b"<!--part ";
const CLOSE: &[u8] = b"<!--/part-->";

/// Looks for the first one: every answer is searched for it.
static OPENING: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(OPEN));

/// A fragment's HTML, split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// What is outside all named parts.
    pub main: Bytes,
    /// Named parts in document order; a name that is used twice keeps its first content.
    pub named: Vec<(String, Bytes)>,
}

impl Parts {
    /// Splits `html`; without markers nothing is copied.
    pub fn split(html: Bytes) -> Self {
        if OPENING.find(&html).is_none() {
            return Self {
                main: html,
                named: Vec::new(),
            };
        }
        let (mut main, mut named) = (BytesMut::with_capacity(html.len()), Vec::new());
        let mut at = 0;
        while let Some((from, name, content, end)) = next_part(&html, at) {
            main.extend_from_slice(&html[at..from]);
            named.push((name, html.slice(content)));
            at = end;
        }
        main.extend_from_slice(&html[at..]);
        Self {
            main: main.freeze(),
            named,
        }
    }

    /// The content for a slot.
    pub fn part(&self, name: Option<&str>) -> Bytes {
        match name {
            None => self.main.clone(),
            Some(name) => self
                .named
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, content)| content.clone())
                .unwrap_or_default(),
        }
    }

    /// Gives each part bytes of its own, no more than it needs.
    pub fn compact(&mut self) {
        self.main = Bytes::copy_from_slice(&self.main);
        for (_, content) in &mut self.named {
            *content = Bytes::copy_from_slice(content);
        }
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.main.len()
            + self
                .named
                .iter()
                .map(|(n, c)| n.len() + c.len())
                .sum::<usize>()
    }

    /// Whether there is nothing to show in any part.
    pub fn is_empty(&self) -> bool {
        let blank = |b: &Bytes| b.iter().all(u8::is_ascii_whitespace);
        blank(&self.main) && self.named.iter().all(|(_, c)| blank(c))
    }
}

type Found = (usize, String, std::ops::Range<usize>, usize);

fn next_part(html: &[u8], at: usize) -> Option<Found> {
    let from = at + memmem::find(&html[at..], OPEN)?;
    let name_from = from + OPEN.len();
    let name_len = memmem::find(&html[name_from..], b"-->")?;
    let name = std::str::from_utf8(&html[name_from..name_from + name_len])
        .ok()?
        .trim();
    let content_from = name_from + name_len + 3;
    let content_len = memmem::find(&html[content_from..], CLOSE)?;
    let content = content_from..content_from + content_len;
    Some((
        from,
        name.to_owned(),
        content,
        content_from + content_len + CLOSE.len(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(html: &str) -> Parts {
        Parts::split(Bytes::from(html.to_owned()))
    }

    #[test]
    fn parts_leave_the_main_content() {
        let parts =
            split("a<!--part head--><title>t</title><!--/part-->b<!--part x-->c<!--/part-->");
        assert_eq!(parts.main, "ab");
        assert_eq!(parts.part(Some("head")), "<title>t</title>");
        assert_eq!(parts.part(Some("x")), "c");
        assert_eq!(parts.part(Some("none")), "");
    }

    #[test]
    fn broken_markers_stay_in_the_main_part() {
        for html in [
            "<!--part head-->never closed",
            "<!--part head",
            "x<!--/part-->",
        ] {
            assert_eq!(split(html).main, html);
        }
    }
}
