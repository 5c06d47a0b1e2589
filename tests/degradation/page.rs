//! What a reader got: one answer of the server, and what can be told from its head and its body. Owns
//! how the page's own marks and the server's headers are read.

use http::HeaderMap;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::plant::{self, BLOCKS, CORE, TARGET_MS};

/// How the core of a page was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Core {
    /// Not there at all.
    Absent,
    /// From before the page was asked for.
    Old,
    /// Its origin has made it for this page.
    Fresh,
}

/// One page as its reader got it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Page {
    /// When it was to be asked for, in seconds since the load began.
    pub(crate) due: f64,
    /// From then to its last byte, in milliseconds; infinite if that never came.
    pub(crate) took_ms: f64,
    /// 0 without an answer.
    pub(crate) status: u16,
    /// The blocks that are in it, as a set.
    pub(crate) shown: u8,
    pub(crate) core: Core,
    /// Whether it is the page as it was at another time.
    pub(crate) is_snapshot: bool,
    /// Whether the server says that its core is old.
    pub(crate) says_old: bool,
    /// What the server says of its state.
    pub(crate) level: Level,
    pub(crate) session: u32,
    /// How often this reader has asked before and not waited.
    pub(crate) retry: u8,
}

/// What `Marbre-Level` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    pub(crate) number: u8,
    /// NaN where it is not said.
    pub(crate) theta: f64,
    /// The blocks that this reader is not given, as a set.
    pub(crate) off: u8,
    pub(crate) is_snapshot: bool,
}

impl Level {
    pub(crate) const UNSAID: Self = Self {
        number: 0,
        theta: f64::NAN,
        off: 0,
        is_snapshot: false,
    };

    /// `2;theta=0.631;off="ads slideshow"`, with `;snapshot` where it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut level = Self {
            number: parts.next()?.parse().ok()?,
            ..Self::UNSAID
        };
        for part in parts {
            match part.split_once('=') {
                None => level.is_snapshot |= part == "snapshot",
                Some(("theta", theta)) => level.theta = theta.parse().ok()?,
                Some(("off", names)) => {
                    let names = names.trim_matches('"').split_whitespace();
                    let blocks = names.filter_map(plant::block_named);
                    level.off = blocks.fold(0, |off, block| off | plant::bit(block));
                }
                Some(_) => {}
            }
        }
        Some(level)
    }
}

impl Page {
    /// A page that never came.
    pub(crate) fn missing(due: f64, session: u32, retry: u8) -> Self {
        Self {
            due,
            took_ms: f64::INFINITY,
            status: 0,
            shown: 0,
            core: Core::Absent,
            is_snapshot: false,
            says_old: false,
            level: Level::UNSAID,
            session,
            retry,
        }
    }

    /// Adds what an answer says; `asked_at` is when it was asked for, in microseconds since 1970.
    pub(crate) fn read(&mut self, head: &HeaderMap, body: &[u8], asked_at: u64) {
        let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
        let level = text("marbre-level").and_then(Level::parse);
        self.level = level.unwrap_or(Level::UNSAID);
        let timing = text("server-timing").unwrap_or_default();
        self.is_snapshot = self.level.is_snapshot || timing.starts_with("page;desc=snapshot");
        self.says_old = timing
            .split(", ")
            .any(|entry| entry.starts_with("core;") && entry.ends_with("desc=stale"));
        for (block, plan) in BLOCKS.iter().enumerate() {
            let mark = format!("<!--b:{}-->", plan.name);
            let Some(at) = memmem::find(body, mark.as_bytes()) else {
                continue;
            };
            self.shown |= plant::bit(block);
            if block == CORE {
                let made_at = made_at(&body[at + mark.len()..]);
                self.core = match made_at {
                    Some(made_at) if made_at >= asked_at => Core::Fresh,
                    Some(_) | None => Core::Old,
                };
            }
        }
    }

    /// Whether it came in time.
    pub(crate) fn is_in_time(&self) -> bool {
        self.status == 200 && self.took_ms <= TARGET_MS
    }

    /// Whether it was composed for this reader.
    pub(crate) fn is_composed(&self) -> bool {
        self.status == 200 && !self.is_snapshot
    }

    /// What its optional blocks are worth, of all that could be there. A page that is late is worth
    /// nothing, nor are the old blocks of a snapshot.
    pub(crate) fn value(&self) -> f64 {
        if self.is_in_time() && self.is_composed() {
            plant::value(self.shown)
        } else {
            0.0
        }
    }
}

/// `<!--at:1700000000000000-->`, microseconds since 1970.
fn made_at(html: &[u8]) -> Option<u64> {
    let rest = html.strip_prefix(b"<!--at:")?;
    let end = memmem::find(rest, b"-->")?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}
