//! What a reader sees: whether a page is whole, which of its blocks are missing, and for which something
//! else stands in, told from the answer alone. Owns how the demo's own pages are looked at, and the
//! readers' count; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use memchr::memmem;

/// A block of the demo's pages, and what it is told by.
struct Block {
    name: &'static str,
    /// What is in a page that has it.
    shown: &'static str,
    /// What is in a page where something stands in for it.
    stand_in: Option<&'static str>,
    on: fn(&str) -> bool,
}

const fn block(
    name: &'static str,
    shown: &'static str,
    stand_in: Option<&'static str>,
    on: fn(&str) -> bool,
) -> Block {
    Block {
        name,
        shown,
        stand_in,
        on,
    }
}

/// What the site that is rehearsed on has at the end of its stand-in footer, which is else the same.
pub(in crate::demo) const STAND_IN_FOOTER: &str = "<!-- stands in -->";

const BOOKSHOP: Option<&str> = Some("class=\"ad ad-books\"");

const BLOCKS: [Block; 10] = [
    block(
        "header",
        "class=\"masthead-edition\">Lundi",
        Some("Édition en continu"),
        all,
    ),
    block(
        "navigation",
        "class=\"nav-live\"",
        Some("class=\"sections\""),
        all,
    ),
    block("footer", "class=\"colophon\"", Some(STAND_IN_FOOTER), all),
    block("related", "class=\"related\"", None, is_story),
    block(
        "live",
        "class=\"live\"",
        Some("class=\"live live-quiet\""),
        has_live,
    ),
    block("most-read", ">Les plus lus<", Some(">À lire aussi<"), all),
    block("slideshow", "class=\"slideshow\"", None, is_story),
    block("weather", "class=\"weather\"", None, has_weather),
    block("ad", "class=\"ad ad-podcast\"", BOOKSHOP, has_weather),
    block(
        "ad-article",
        "class=\"ad ad-subscribe\"",
        BOOKSHOP,
        is_story,
    ),
];

fn all(_: &str) -> bool {
    true
}

fn is_story(path: &str) -> bool {
    path.starts_with("/articles/")
}

fn has_weather(path: &str) -> bool {
    !is_story(path)
}

fn has_live(path: &str) -> bool {
    path == "/" || is_story(path)
}

/// What became of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It came, to its last byte.
    Whole {
        /// Its status.
        status: u16,
        /// What it says of its level.
        head: &'a HeaderMap,
        /// The page.
        body: &'a [u8],
    },
    /// It broke off, or nothing came.
    Broken,
}

/// What readers got, by their own count.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Seen {
    /// Pages that they asked for.
    pub pages: u64,
    /// With all that belongs on them.
    pub full: u64,
    /// On which something is missing, or replaced.
    pub degraded: u64,
    /// From before.
    pub snapshots: u64,
    /// Error pages: 503.
    pub unavailable: u64,
    /// Any other 5xx, which there should not be.
    pub failed: u64,
    /// Redirects, and pages that there are not.
    pub other: u64,
    /// Those that broke off, or never came.
    pub broken: u64,
    /// Blocks for which something else stood in.
    pub stand_ins: u64,
    /// Blocks that were not there, by name.
    pub lost: BTreeMap<String, u64>,
    /// How long those took that came.
    took: Vec<Duration>,
}

impl Seen {
    /// Counts one page.
    pub fn add(&mut self, path: &str, answer: &Answer<'_>, took: Duration) {
        self.pages += 1;
        let Answer::Whole { status, head, body } = answer else {
            self.broken += 1;
            return;
        };
        self.took.push(took);
        match status {
            200 if is_snapshot(head) => self.snapshots += 1,
            200 => self.look(path, body),
            503 => self.unavailable += 1,
            500.. => self.failed += 1,
            _ => self.other += 1,
        }
    }

    fn look(&mut self, path: &str, body: &[u8]) {
        let holds = |mark: &str| memmem::find(body, mark.as_bytes()).is_some();
        let mut is_full = true;
        for block in BLOCKS.iter().filter(|block| (block.on)(path)) {
            if holds(block.shown) && !(block.name == "footer" && holds(STAND_IN_FOOTER)) {
                continue;
            }
            is_full = false;
            if block.stand_in.is_some_and(holds) {
                self.stand_ins += 1;
            } else {
                *self.lost.entry(block.name.to_owned()).or_default() += 1;
            }
        }
        let count = if is_full {
            &mut self.full
        } else {
            &mut self.degraded
        };
        *count += 1;
    }

    /// This share of the pages that came took no longer.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut took = self.took.clone();
        took.sort_unstable();
        let last = took.len().checked_sub(1)?;
        // there are far fewer than 2^53
        took.get((last as f64 * share).round() as usize).copied()
    }
}

/// `Marbre-Level: 7;theta=0.000;snapshot`.
fn is_snapshot(head: &HeaderMap) -> bool {
    let level = head
        .get("marbre-level")
        .and_then(|level| level.to_str().ok());
    level.is_some_and(|level| level.split(';').any(|part| part.trim() == "snapshot"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const STORY: &str = "/articles/x";

    fn seen(path: &str, status: u16, level: &'static str, body: &str) -> Seen {
        let mut head = HeaderMap::new();
        head.insert("marbre-level", HeaderValue::from_static(level));
        let body = body.as_bytes();
        let answer = Answer::Whole {
            status,
            head: &head,
            body,
        };
        let mut seen = Seen::default();
        seen.add(path, &answer, Duration::from_millis(5));
        seen
    }

    fn page(without: &str) -> String {
        let blocks = BLOCKS.iter().filter(|b| (b.on)(STORY));
        blocks
            .filter(|b| b.name != without)
            .map(|b| format!("<i {}</i>\n", b.shown))
            .collect()
    }

    #[test]
    fn a_page_is_what_is_seen_of_it() {
        let full = seen(STORY, 200, "0", &page(""));
        assert_eq!((full.full, full.degraded), (1, 0), "{full:?}");
        let without = seen(STORY, 200, "0", &page("related"));
        assert_eq!((without.degraded, without.lost["related"]), (1, 1));
        let quiet = page("live") + "<i class=\"live live-quiet\"></i>";
        let replaced = seen(STORY, 200, "2;theta=0.5", &quiet);
        assert_eq!((replaced.degraded, replaced.stand_ins), (1, 1));
        assert!(replaced.lost.is_empty());
        let snapshot = seen(STORY, 200, "7;theta=0.000;snapshot", "");
        assert_eq!((snapshot.snapshots, snapshot.degraded), (1, 0));
        assert_eq!(seen(STORY, 503, "0", "").unavailable, 1);
        assert_eq!(seen(STORY, 500, "0", "").failed, 1);
        assert_eq!(seen(STORY, 301, "0", "").other, 1);
        let mut broken = Seen::default();
        broken.add(STORY, &Answer::Broken, Duration::ZERO);
        assert_eq!((broken.pages, broken.broken), (1, 1));
        assert_eq!(broken.quantile(0.5), None);
    }
}
