//! Who else may see a page, and for how long: what its blocks say of that, taken together. Owns the
//! rules by which they add up; pure.
//!
//! # When the head leaves before a block has come
//!
//! A head that has left cannot be taken back. A block that is still under way may turn out to be one
//! reader's own, or to be good for no time at all, whatever is known of it: its origin decides that
//! with each answer. So a page with a block under way is nobody else's. It costs little: where copies
//! are at hand, as they are for all but the first reader, no block is under way.
//!
//! Invariant: a page is said to be for others only if every block of it is.

use std::time::Duration;

use crate::cache::Entry;
use crate::clock::Moment;
use crate::fragment::{Fragment, Source};
use crate::report::Outcome;

use super::account::Account;
use super::slot::{Fill, Settled};

/// What may become of a page when its reader has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Whether other readers may get it.
    pub is_shareable: bool,
    /// Whether it is as its editors mean it, and as its origins have it now.
    pub is_whole: bool,
    /// How long all that it is made of goes on being fresh, where the page may be kept for a while.
    pub fresh: Duration,
}

impl Reuse {
    /// Of a page as it was when it was complete, which stands in for itself.
    pub(super) const SNAPSHOT: Self = Self {
        is_shareable: true,
        is_whole: false,
        fresh: Duration::ZERO,
    };

    /// Of what is one reader's own.
    const OWN: Self = Self {
        is_shareable: false,
        is_whole: false,
        fresh: Duration::ZERO,
    };

    /// What all blocks of a page come to, as far as they have come.
    pub(super) fn of(account: &Account, now: Moment) -> Self {
        let all = Self {
            is_shareable: true,
            is_whole: true,
            fresh: Duration::MAX,
        };
        // how long it stays fresh is asked only where others may keep it for a while
        let is_kept = !account.declared().cache.shared_max_age.is_zero();
        account.members().fold(all, |all, (fragment, settled)| {
            all.and(settled.map_or(Self::OWN, |settled| {
                of_block(account, fragment, settled, is_kept.then_some(now))
            }))
        })
    }

    fn and(self, other: Self) -> Self {
        Self {
            is_shareable: self.is_shareable && other.is_shareable,
            is_whole: self.is_whole && other.is_whole,
            fresh: self.fresh.min(other.fresh),
        }
    }
}

/// `now`, where it matters how long it stays fresh.
fn of_block(
    account: &Account,
    fragment: &Fragment,
    settled: &Settled,
    now: Option<Moment>,
) -> Reuse {
    let entry = match &settled.content {
        Fill::Entry(entry) => Some(entry),
        Fill::Ready(_) | Fill::Nothing | Fill::NoPage(..) => settled.nothing.as_ref(),
    };
    let is_own = entry.is_some_and(|entry| entry.says.private);
    Reuse {
        is_shareable: settled.is_shareable && !is_own,
        is_whole: settled.outcome.is_whole() && !matches!(settled.outcome, Outcome::Stale(_)),
        fresh: entry.zip(now).map_or(Duration::MAX, |(entry, now)| {
            remains_fresh(account, fragment, entry, now)
        }),
    }
}

/// How long a copy goes on being fresh: by what is declared of the fragment that it is a copy of, which
/// may be another than that of the slot.
pub(super) fn remains_fresh(
    account: &Account,
    slot: &Fragment,
    entry: &Entry,
    now: Moment,
) -> Duration {
    let site = &account.order().edition.site;
    let other = (*entry.fragment != *slot.name).then(|| site.fragment_named(&entry.fragment));
    let fragment = other
        .flatten()
        .map_or(slot, |sibling| site.fragment(sibling));
    // what was pushed is good until something else is
    let is_for_good = matches!(fragment.source, Source::Push(_))
        && fragment.freshness.ttl.is_none()
        && entry.says.max_age.is_none();
    match (entry.purged, is_for_good) {
        (true, _) => Duration::ZERO,
        (false, true) => Duration::MAX,
        (false, false) => {
            let factor = account.order().composer.cache.ttl_factor();
            entry.remains_fresh(&fragment.freshness, factor, now)
        }
    }
}
