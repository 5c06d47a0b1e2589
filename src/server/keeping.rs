//! What a page says of who may keep it and for how long: `Cache-Control`, `Surrogate-Control` and whether
//! there is a validator. Owns the words; what a page's blocks allow is added up elsewhere. Pure.
//!
//! | the page | says |
//! |---|---|
//! | one reader's own, or a block is still under way | `private, no-cache` |
//! | something is given up | `no-store`, or a short shared lifetime where one is declared |
//! | something could not be had, or is stale | `no-cache`, or the same |
//! | whole, of blocks that are fresh for a while | what is declared, cut to that while; else `no-cache` |
//!
//! Invariant: a lifetime in shared caches is announced only of what every block lets others see, and
//! never a longer one than the site has declared.

use std::time::Duration;

use http::HeaderValue;

use crate::compose::PageHead;
use crate::degradation::Level;
use crate::site::PageCache;

/// A page is made for each request; whoever keeps it must ask again.
pub(super) const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// The same for a page that is one reader's own.
pub(super) const PERSONAL: HeaderValue = HeaderValue::from_static("private, no-cache");
/// A page of which something was given up: whoever kept it would show it as the page.
const NOT_TO_BE_KEPT: HeaderValue = HeaderValue::from_static("no-store");

/// Who may keep a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Nobody.
    Nobody,
    /// Its reader, who asks each time whether it is still right.
    Reader,
    /// Everybody who asks each time whether it is still right.
    Revalidated,
    /// Everybody, for so many seconds.
    Shared(Seconds),
}

/// As HTTP tells lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds {
    shared: u64,
    browser: u64,
    while_revalidate: u64,
    if_error: u64,
}

impl Keeping {
    /// Who may keep a page with this head.
    pub(super) fn of(cache: &PageCache, head: &PageHead) -> Self {
        let is_reduced = head.level != Level::FULL || !head.off.is_empty();
        let is_one_readers = head.personal || !head.reuse.is_shareable;
        let for_a_moment = match is_one_readers {
            true => None,
            false => for_a_moment(cache),
        };
        match (is_reduced, is_one_readers, head.reuse.is_whole) {
            (true, ..) => for_a_moment.map_or(Self::Nobody, Self::Shared),
            (false, true, _) => Self::Reader,
            (false, false, false) => for_a_moment.map_or(Self::Revalidated, Self::Shared),
            (false, false, true) => {
                let shared = cache.shared_max_age.min(head.reuse.fresh).as_secs();
                match shared {
                    0 => Self::Revalidated,
                    shared => Self::Shared(Seconds {
                        shared,
                        browser: cache.max_age.as_secs().min(shared),
                        while_revalidate: cache.stale_while_revalidate.as_secs(),
                        if_error: cache.stale_if_error.as_secs(),
                    }),
                }
            }
        }
    }

    /// `Cache-Control` (RFC 9111, 5.2.2; RFC 5861).
    pub(super) fn cache_control(self) -> HeaderValue {
        let seconds = match self {
            Self::Nobody => return NOT_TO_BE_KEPT,
            Self::Reader => return PERSONAL,
            Self::Revalidated => return REVALIDATE,
            Self::Shared(seconds) => seconds,
        };
        let mut text = format!("max-age={}, s-maxage={}", seconds.browser, seconds.shared);
        for (name, value) in [
            ("stale-while-revalidate", seconds.while_revalidate),
            ("stale-if-error", seconds.if_error),
        ] {
            if value > 0 {
                text += &format!(", {name}={value}");
            }
        }
        HeaderValue::try_from(text).expect("words and digits make a header")
    }

    /// `Surrogate-Control` (Edge Architecture Specification 1.0): what holds for a surrogate, which
    /// drops it before it hands the page on.
    pub(super) fn surrogate_control(self) -> HeaderValue {
        let Self::Shared(seconds) = self else {
            return NOT_TO_BE_KEPT;
        };
        let text = match seconds.while_revalidate {
            0 => format!("max-age={}", seconds.shared),
            stale => format!("max-age={}+{stale}", seconds.shared),
        };
        HeaderValue::try_from(text).expect("words and digits make a header")
    }

    /// Whether it may be given to others for a while.
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Whether somebody may have it who asks whether it is still right.
    pub(super) fn is_kept(self) -> bool {
        self != Self::Nobody
    }
}

/// What is declared of a page that is not what it should be. It is not shown while a better one is asked
/// for, but it is better than nothing.
fn for_a_moment(cache: &PageCache) -> Option<Seconds> {
    let shared = cache.degraded_max_age.as_secs();
    (cache.degraded_max_age > Duration::ZERO).then_some(Seconds {
        shared,
        browser: 0,
        while_revalidate: 0,
        if_error: cache.stale_if_error.as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{Reuse, Verdict};

    const SECOND: Duration = Duration::from_secs(1);

    fn cache() -> PageCache {
        PageCache {
            shared_max_age: 60 * SECOND,
            max_age: 10 * SECOND,
            stale_while_revalidate: 30 * SECOND,
            stale_if_error: 600 * SECOND,
            degraded_max_age: Duration::ZERO,
        }
    }

    /// A whole page for everybody, of blocks that are fresh for so long.
    fn head(fresh: Duration) -> PageHead {
        PageHead {
            verdict: Verdict::Page,
            headers: Vec::new(),
            personal: false,
            private: false,
            reuse: Reuse {
                is_shareable: true,
                is_whole: true,
                fresh,
            },
            level: Level::FULL,
            off: Vec::new(),
            server_timing: String::new(),
            trace_id: 1,
        }
    }

    fn control(cache: &PageCache, head: &PageHead) -> String {
        let control = Keeping::of(cache, head).cache_control();
        control.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_block_that_goes_stale_first_and_the_declaration_bound_the_lifetime() {
        let rest = "stale-while-revalidate=30, stale-if-error=600";
        for (fresh, expected) in [
            (Duration::MAX, format!("max-age=10, s-maxage=60, {rest}")),
            (25 * SECOND, format!("max-age=10, s-maxage=25, {rest}")),
            (7 * SECOND, format!("max-age=7, s-maxage=7, {rest}")),
            (SECOND - Duration::from_millis(1), "no-cache".to_owned()),
            (Duration::ZERO, "no-cache".to_owned()),
        ] {
            assert_eq!(control(&cache(), &head(fresh)), expected, "{fresh:?}");
        }
        let undeclared = PageCache::default();
        assert_eq!(control(&undeclared, &head(Duration::MAX)), "no-cache");
    }

    #[test]
    fn nobody_else_keeps_what_is_one_readers_own() {
        let declared = PageCache {
            degraded_max_age: 5 * SECOND,
            ..cache()
        };
        let personal = PageHead {
            personal: true,
            ..head(Duration::MAX)
        };
        let mut private = head(Duration::MAX);
        private.reuse.is_shareable = false;
        for page in [personal, private] {
            assert_eq!(control(&declared, &page), "private, no-cache");
            let mut short = page.clone();
            short.reuse.is_whole = false;
            assert_eq!(control(&declared, &short), "private, no-cache");
            let reduced = PageHead {
                level: Level::new(1),
                ..page
            };
            assert_eq!(control(&declared, &reduced), "no-store");
        }
    }

    #[test]
    fn a_degraded_page_is_kept_only_where_that_is_declared() {
        let short = |head: PageHead| PageHead {
            reuse: Reuse {
                is_whole: false,
                ..head.reuse
            },
            ..head
        };
        let reduced = PageHead {
            level: Level::new(2),
            ..head(Duration::MAX)
        };
        let off = PageHead {
            off: vec!["teaser".to_owned()],
            ..head(Duration::MAX)
        };
        let stale = short(head(Duration::ZERO));
        let declared = PageCache {
            degraded_max_age: 2 * SECOND,
            ..cache()
        };
        for (page, without) in [
            (reduced, "no-store"),
            (off, "no-store"),
            (stale, "no-cache"),
        ] {
            assert_eq!(control(&cache(), &page), without);
            let with = "max-age=0, s-maxage=2, stale-if-error=600";
            assert_eq!(control(&declared, &page), with);
        }
        // a block that is asked for anew each time is not made to last by it
        assert_eq!(control(&declared, &head(Duration::ZERO)), "no-cache");
    }

    #[test]
    fn surrogates_are_told_in_their_own_words() {
        let told = |head: &PageHead| {
            let control = Keeping::of(&cache(), head).surrogate_control();
            control.to_str().unwrap().to_owned()
        };
        assert_eq!(told(&head(Duration::MAX)), "max-age=60+30");
        assert_eq!(told(&head(Duration::ZERO)), "no-store");
    }
}
