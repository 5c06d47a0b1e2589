//! Age arithmetic: what a copy of this age is good for. Owns the three spans and their order; pure.
//!
//! `ttl` is RFC 9111's freshness lifetime; `grace` is the span of RFC 5861's
//! stale-while-revalidate; `keep` that of its stale-if-error.

use std::time::Duration;

use crate::fragment::Freshness;

/// What a copy is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As good as a new answer.
    Fresh,
    /// Good enough if a new answer does not come at once.
    Stale,
    /// Good enough if no new answer can be had.
    Kept,
    /// Good for nothing.
    Dead,
}

/// The spans of one copy, as they are declared now: a ttl that an editor shortens counts for the
/// copies that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Fresh for so long after it was stored.
    pub ttl: Duration,
    /// Then stale for so long.
    pub grace: Duration,
    /// Then kept for so long.
    pub keep: Duration,
}

impl Lifetime {
    /// The lifetime of an answer: the declared ttl, else what the origin says, else none.
    pub fn new(declared: &Freshness, cache_control: &CacheControl) -> Self {
        let ttl = declared.ttl.or(cache_control.max_age).unwrap_or_default();
        Self {
            ttl,
            grace: declared.grace,
            keep: declared.keep,
        }
    }

    /// What a copy of this age is good for.
    pub fn state(&self, age: Duration) -> State {
        let fresh = self.ttl;
        let stale = fresh.saturating_add(self.grace);
        let kept = stale.saturating_add(self.keep);
        match age {
            age if age < fresh => State::Fresh,
            age if age < stale => State::Stale,
            age if age < kept => State::Kept,
            _ => State::Dead,
        }
    }

    /// A lifetime without an afterlife.
    pub fn only_fresh(ttl: Duration) -> Self {
        let (grace, keep) = (Duration::ZERO, Duration::ZERO);
        Self { ttl, grace, keep }
    }

    /// Whether a copy with this lifetime is ever good for anything.
    pub fn is_worth_storing(&self) -> bool {
        self.state(Duration::ZERO) != State::Dead
    }
}

/// What an answer's `Cache-Control` says to a shared cache (RFC 9111, 5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheControl {
    /// `s-maxage`, else `max-age`; zero for `no-cache`.
    pub max_age: Option<Duration>,
    /// `private`: only the reader who asked may have it.
    pub private: bool,
    /// `no-store`: nobody is to keep it. A declared ttl says that the site knows better.
    pub no_store: bool,
}

impl CacheControl {
    /// Reads the header's values. What is not understood is ignored, as the RFC asks.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let (mut shared, mut own) = (None, None);
        let (mut private, mut none, mut no_store) = (false, false, false);
        for directive in values.into_iter().flat_map(|value| value.split(',')) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = argument
                .trim()
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs);
            match name.trim().to_ascii_lowercase().as_str() {
                "s-maxage" => shared = seconds,
                "max-age" => own = seconds,
                "private" => private = true,
                "no-store" => no_store = true,
                "no-cache" => none = true,
                _ => {}
            }
        }
        let max_age = if none {
            Some(Duration::ZERO)
        } else {
            shared.or(own)
        };
        Self {
            max_age,
            private,
            no_store,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_spans_follow_one_another() {
        let life = Lifetime {
            ttl: s(30),
            grace: s(60),
            keep: s(600),
        };
        for (age, state) in [
            (0, State::Fresh),
            (29, State::Fresh),
            (30, State::Stale),
            (89, State::Stale),
            (90, State::Kept),
            (689, State::Kept),
            (690, State::Dead),
        ] {
            assert_eq!(life.state(s(age)), state, "at {age} s");
        }
    }

    #[test]
    fn uncacheable_is_dead_at_once() {
        let life = Lifetime {
            ttl: s(0),
            grace: s(0),
            keep: s(0),
        };
        assert!(!life.is_worth_storing());
    }

    #[test]
    fn the_declared_ttl_beats_the_origin_which_beats_nothing() {
        let mut declared = Freshness {
            ttl: None,
            grace: s(1),
            keep: s(2),
            patience: s(0),
        };
        let says = CacheControl::parse(["max-age=10, s-maxage=20"]);
        assert_eq!(Lifetime::new(&declared, &says).ttl, s(20));
        assert_eq!(Lifetime::new(&declared, &CacheControl::default()).ttl, s(0));
        declared.ttl = Some(s(5));
        assert_eq!(Lifetime::new(&declared, &says).ttl, s(5));
    }

    #[test]
    fn cache_control_in_the_wild() {
        for (value, max_age, private, no_store) in [
            ("public, max-age=\"60\"", Some(60), false, false),
            ("no-store", None, false, true),
            ("max-age=60, no-cache=\"x\"", Some(0), false, false),
            ("Private, Max-Age=5", Some(5), true, false),
            ("max-age=never, immutable", None, false, false),
            ("max-age=99999999999999999999", None, false, false),
            ("", None, false, false),
        ] {
            let max_age = max_age.map(s);
            let expected = CacheControl {
                max_age,
                private,
                no_store,
            };
            assert_eq!(CacheControl::parse([value]), expected, "{value}");
        }
    }
}
