//! A composable page: its route, its layout cut into pieces that point at fragments, and its time
//! budget. Owns the compiled form; does not compose.
//!
//! Invariant: `members` holds each fragment of the layout once, in the order of its first slot, at
//! least one of them is core, and every slot's index points into it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::fragment::FragmentId;
use crate::fragment::source::Variable;
use crate::layout::Deferral;

/// A page's place in its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub(crate) usize);

impl PageId {
    /// The index in declaration order.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A page, compiled.
#[derive(Debug)]
pub struct Page {
    /// The name in `fragments.toml`.
    pub name: String,
    /// The pattern that leads to it.
    pub route: String,
    /// The layout's path, for messages.
    pub layout: String,
    /// From the request to the last byte of the page.
    pub budget: Duration,
    /// What it should take at the 95th percentile: its budget, where nothing less is declared.
    pub target: Duration,
    /// How long optional blocks are waited for at most, whatever their own timeouts; `None` where no
    /// target is declared.
    pub optional_time: Option<Duration>,
    /// Its fragments, each once, in the order of their first slots.
    pub members: Vec<Member>,
    /// What is written, in document order.
    pub pieces: Vec<Piece>,
    /// A hash of all that is written as it is.
    pub literals: u128,
    /// Which of these may come late, where any may.
    pub deferral: Option<Deferral>,
    /// When its snapshots are taken and how long they are good.
    pub snapshots: Snapshots,
    /// For how long others may keep it, at most.
    pub cache: PageCache,
    /// The request headers that it varies with, as `Vary` names them.
    pub vary: Option<HeaderValue>,
}

/// For how long others may keep a page, at most. Nothing is declared where all of it is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageCache {
    /// Shared caches.
    pub shared_max_age: Duration,
    /// Browsers, within that.
    pub max_age: Duration,
    /// Then shared caches, while they ask for a new one.
    pub stale_while_revalidate: Duration,
    /// Then shared caches, while nobody answers.
    pub stale_if_error: Duration,
    /// Shared caches, where something is given up or could not be had.
    pub degraded_max_age: Duration,
}

/// When a page's snapshots are taken and how long they are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    /// Not more often than this.
    pub every: Duration,
    /// Not older than this; zero for no snapshots.
    pub keep: Duration,
    /// What the page varies with besides the parameters of its route.
    pub varies: Vec<Variable>,
    /// Part of the key of its snapshots. It outlives an edit of a template: an article in
    /// yesterday's layout is better than none.
    pub fingerprint: u64,
}

/// A fragment in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which fragment.
    pub fragment: FragmentId,
    /// Whether the page's status depends on it.
    pub is_core: bool,
}

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Written as it is.
    Literal(Bytes),
    /// Filled by a member.
    Slot {
        /// Index into [`Page::members`].
        member: usize,
        /// Which part of it.
        part: Option<String>,
        /// Written when the fragment is left out.
        default: Bytes,
    },
}
