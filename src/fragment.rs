//! Fragments: independently obtained pieces of a page. Owns what a block *is* once its declaration
//! has been found valid; knows nothing of pages, HTTP or how a block is obtained.
//!
//! Invariants: a [`Priority::Core`] fragment has no way to be shed ([`Priority::rank`] is `None`
//! for it), and a list of [`Rung`]s holds only what can fill a slot; leaving a slot empty is not a
//! rung but what happens when there is none left.

use std::fmt;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

pub mod facts;
pub mod fallback;
pub mod list;
pub mod policy;
pub mod quantity;
pub mod source;
pub mod tags;
pub mod trace;

pub use fallback::{Rung, RungKind};
pub use list::List;
pub use policy::{Freshness, Limits, Reach};
pub use source::{OriginId, Source, SourceRequest};
pub use tags::Tags;
pub use trace::Trace;

/// A fragment's place in its [`Site`](crate::site::Site): an index that cannot dangle, because ids
/// are made only while a site is built and a site never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentId(pub(crate) usize);

impl FragmentId {
    /// The index in declaration order.
    pub fn index(self) -> usize {
        self.0
    }
}

/// How much a page wants a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// The article: decides status, redirects and headers, and is always rendered.
    Core,
    /// Required but not primary, such as header and footer: never shed, a failure is filled from
    /// the chain.
    Essential,
    /// Given up when it must be; a higher rank is kept longer.
    Optional(Rank),
}

impl Priority {
    /// The rank by which a degraded page sheds this fragment; `None` if it never does.
    pub fn rank(self) -> Option<Rank> {
        match self {
            Self::Core | Self::Essential => None,
            Self::Optional(rank) => Some(rank),
        }
    }

    /// What one view of it is worth where the site does not say: its rank, and more than any rank
    /// for what is never given up.
    pub fn worth(self) -> f64 {
        self.rank()
            .map_or(REQUIRED_WORTH, |rank| f64::from(rank.get()))
    }

    /// Whether the page's status depends on this fragment.
    pub fn is_core(self) -> bool {
        self == Self::Core
    }
}

/// What one view of a block is worth that is never given up.
const REQUIRED_WORTH: f64 = 100.0;

/// A priority without its rank: who shares the fate of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// See [`Priority::Core`].
    Core,
    /// See [`Priority::Essential`].
    Essential,
    /// See [`Priority::Optional`].
    Optional,
}

impl Grade {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Core, Self::Essential, Self::Optional];

    /// One word for labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Essential => "essential",
            Self::Optional => "optional",
        }
    }
}

impl Priority {
    /// The same without the rank.
    pub fn grade(self) -> Grade {
        match self {
            Self::Core => Grade::Core,
            Self::Essential => Grade::Essential,
            Self::Optional(_) => Grade::Optional,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core => f.write_str("core"),
            Self::Essential => f.write_str("essential"),
            Self::Optional(rank) => write!(f, "optional {}", rank.get()),
        }
    }
}

/// The priority of an optional fragment, 1 to 99; higher is kept longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(NonZeroU8);

impl Rank {
    /// The highest rank.
    pub const MAX: u8 = 99;

    /// A rank, if `value` is in 1..=99.
    pub fn new(value: u8) -> Option<Self> {
        NonZeroU8::new(value)
            .filter(|v| v.get() <= Self::MAX)
            .map(Self)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

/// A fragment, valid and complete.
#[derive(Debug)]
pub struct Fragment {
    /// The name in `fragments.toml`.
    pub name: String,
    /// How much a page wants it.
    pub priority: Priority,
    /// What one view of it is worth, in the site's own unit.
    pub value: f64,
    /// Where its content comes from.
    pub source: Source,
    /// The template that makes HTML of its JSON; `None` when the source gives HTML.
    pub template: Option<String>,
    /// Its items, when its source answers with a list of what is fetched apart.
    pub list: Option<List>,
    /// Total time for one fetch, from its start to the last byte of the body.
    pub timeout: Duration,
    /// Whether another replica is asked when the first is slow.
    pub hedge: bool,
    /// For how long a copy is good, and for what.
    pub freshness: Freshness,
    /// Where its copies are kept besides memory.
    pub reach: Reach,
    /// What fills the slot when there is neither an answer nor a copy, in order.
    pub fallback: Vec<Rung>,
    /// What an answer must satisfy.
    pub limits: Limits,
    /// Request headers that are sent on to the origin, lower case.
    pub forward_headers: Vec<String>,
    /// Cookies that are sent on to the origin.
    pub forward_cookies: Vec<String>,
    /// Changes whenever the rendered result would: part of the cache key.
    pub fingerprint: u64,
    /// What its source is asked for, if that is the same for every page.
    pub same_request: Option<Arc<SourceRequest>>,
}

impl Fragment {
    /// Whether a page cannot do without it.
    pub fn is_required(&self) -> bool {
        self.priority.rank().is_none()
    }

    /// Whether its source answers in JSON rather than HTML.
    pub fn takes_json(&self) -> bool {
        self.template.is_some() || self.list.is_some()
    }

    /// Whether what is asked for depends on who asks. A list also asks for its items.
    pub fn is_personal(&self) -> bool {
        let mut variables = self
            .source
            .target()
            .into_iter()
            .flat_map(source::TargetTemplate::variables);
        let from_reader = variables.any(source::Variable::is_personal);
        let items = self.list.iter().flat_map(|list| &list.varies);
        from_reader
            || items.into_iter().any(source::Variable::is_personal)
            || !self.forward_cookies.is_empty()
            || self
                .forward_headers
                .iter()
                .any(|name| name == "authorization")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_1_to_99() {
        assert_eq!(Rank::new(0), None);
        assert_eq!(Rank::new(100), None);
        assert_eq!(Rank::new(99).map(Rank::get), Some(99));
    }

    #[test]
    fn core_and_essential_cannot_be_shed() {
        assert_eq!(Priority::Core.rank(), None);
        assert_eq!(Priority::Essential.rank(), None);
    }

    #[test]
    fn what_is_kept_longer_is_worth_more_unless_the_site_says_otherwise() {
        let optional = |rank| Priority::Optional(Rank::new(rank).unwrap()).worth();
        assert!(optional(1) < optional(99) && optional(99) < Priority::Essential.worth());
        assert_eq!((optional(40), Priority::Core.worth()), (40.0, 100.0));
    }
}
