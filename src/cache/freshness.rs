//! Age arithmetic: what a copy of this age is good for. Owns the three spans and their order; pure.
//!
//! `ttl` is RFC 9111's freshness lifetime; `grace` is the span of RFC 5861's
//! stale-while-revalidate; `keep` what its stale-if-error has beyond that.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::fragment::Freshness;

/// The longest ttl that may be declared is also the longest that one may be stretched to.
const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

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
    /// The lifetime of an answer: what is declared, else what the origin says, else none.
    pub fn new(declared: &Freshness, says: &CacheControl) -> Self {
        let ttl = declared.ttl.or(says.max_age).unwrap_or_default();
        let grace = declared.grace.or(says.while_revalidate());
        let grace = grace.unwrap_or_default();
        // both spans of RFC 5861 begin when the copy goes stale; ours follow one another
        let if_error = says.stale_if_error.unwrap_or_default();
        let unsaid = if_error.saturating_sub(grace).max(declared.keep_unsaid);
        let keep = declared.keep.unwrap_or(unsaid);
        Self { ttl, grace, keep }
    }

    /// The same, going stale earlier by up to `percent` of the ttl: `chance` of 255 parts of that.
    /// What was stored in one moment is then not asked for again in one moment.
    pub fn jittered(mut self, percent: u8, chance: u8) -> Self {
        if percent == 0 || chance == 0 {
            return self;
        }
        // in whole numbers: this is looked at for every block of every page
        let parts = u32::from(percent.min(100)) * u32::from(chance);
        let sooner = self.ttl.checked_mul(parts).unwrap_or(Duration::MAX) / (100 * 255);
        self.ttl = self.ttl.saturating_sub(sooner);
        self
    }

    /// The same, fresh for `factor` times as long. What is for `one_reader` is then not held any longer
    /// than before: it is only fresh for a greater part of its life.
    pub fn stretched(self, factor: f64, one_reader: bool) -> Self {
        if factor == 1.0 {
            return self;
        }
        let longest = match one_reader {
            true => self.whole(),
            false => TTL_MAX.max(self.ttl),
        };
        let seconds = self.ttl.as_secs_f64() * factor.max(0.0);
        let ttl = Duration::try_from_secs_f64(seconds)
            .unwrap_or(longest)
            .min(longest);
        if !one_reader {
            return Self { ttl, ..self };
        }
        let (stale, kept) = (self.ttl.saturating_add(self.grace), self.whole());
        let grace = stale.saturating_sub(ttl);
        let keep = kept.saturating_sub(ttl.max(stale));
        Self { ttl, grace, keep }
    }

    /// From when it was stored to when it is good for nothing.
    pub fn whole(&self) -> Duration {
        self.ttl
            .saturating_add(self.grace)
            .saturating_add(self.keep)
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

/// Whether a copy is renewed now although it is fresh: with a likelihood that grows towards its end
/// and with what a renewal costs, so that of many pages one goes ahead and none waits. `chance` is
/// uniform in (0, 1].
///
/// A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention",
/// PVLDB 8(8), 2015, with beta = 1: renew when `took * -ln(chance)` reaches the end.
pub fn renews_early(remaining: Duration, took: Duration, chance: f64) -> bool {
    let ahead = took.as_secs_f64() * -chance.clamp(f64::MIN_POSITIVE, 1.0).ln();
    ahead >= remaining.as_secs_f64()
}

/// How old an answer was when it arrived (RFC 9111, 4.2.3): the greater of what its `Date` and its
/// `Age` make of it. `took` is the time between the question and the answer, `received` the moment of
/// the answer, both by this machine's clock.
pub fn initial_age(
    date: Option<SystemTime>,
    age: Option<Duration>,
    took: Duration,
    received: SystemTime,
) -> Duration {
    let apparent = date.and_then(|date| received.duration_since(date).ok());
    let corrected = age.map(|age| age.saturating_add(took));
    // without `Age` there was no cache on the way, and a `Date` has whole seconds: less than two of
    // them are not an age
    match (apparent, corrected) {
        (apparent, Some(corrected)) => corrected.max(apparent.unwrap_or_default()),
        (Some(apparent), None) if apparent >= Duration::from_secs(2) => apparent,
        (Some(_) | None, None) => Duration::ZERO,
    }
}

/// What an answer's `Cache-Control` says to a shared cache (RFC 9111, 5.2.2; RFC 5861).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheControl {
    /// `s-maxage`, else `max-age`, else what `Expires` says; zero for `no-cache`.
    pub max_age: Option<Duration>,
    /// `private`: only the reader who asked may have it.
    pub private: bool,
    /// `no-store`: nobody is to keep it. A declared ttl says that the site knows better.
    pub no_store: bool,
    /// `must-revalidate` or `proxy-revalidate`: not to be served stale. A declared grace says that the
    /// site knows better. `s-maxage` alone does not say so here, although RFC 9111, 5.2.2.10 reads
    /// it so: CDNs take it together with `stale-while-revalidate`, and so do their users.
    pub must_revalidate: bool,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error`.
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads the header's values. What is not understood is ignored, as the RFC asks.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let (mut shared, mut own, mut none) = (None, None, false);
        let mut says = Self::default();
        for directive in values.into_iter().flat_map(|value| value.split(',')) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = delta_seconds(argument);
            match name.trim().to_ascii_lowercase().as_str() {
                "s-maxage" => shared = seconds,
                "max-age" => own = seconds,
                "private" => says.private = true,
                "no-store" => says.no_store = true,
                "no-cache" => none = true,
                "must-revalidate" | "proxy-revalidate" => says.must_revalidate = true,
                "stale-while-revalidate" => says.stale_while_revalidate = seconds,
                "stale-if-error" => says.stale_if_error = seconds,
                _ => {}
            }
        }
        says.max_age = match none {
            true => Some(Duration::ZERO),
            false => shared.or(own),
        };
        says
    }

    /// The same where nothing but `Expires` gives a lifetime: from `date`, or from when it was
    /// received (RFC 9111, 4.2.1). A date that cannot be read is in the past (5.3).
    pub fn or_expires(mut self, expires: Option<&str>, date: SystemTime) -> Self {
        let until = |text: &str| parse_date(text)?.duration_since(date).ok();
        let lifetime = expires.map(|text| until(text).unwrap_or_default());
        self.max_age = self.max_age.or(lifetime);
        self
    }

    fn while_revalidate(&self) -> Option<Duration> {
        self.stale_while_revalidate
            .filter(|_| !self.must_revalidate)
    }
}

/// Seconds as `Cache-Control` and `Age` give them (RFC 9111, 1.2.2): what is too large for us is as
/// good as for ever.
pub fn delta_seconds(text: &str) -> Option<Duration> {
    let digits = text.trim().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    const FOR_EVER: u64 = 1 << 31;
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(FOR_EVER).min(FOR_EVER)))
}

/// An HTTP date in the form that is sent today, or one of the two older ones (RFC 9110, 5.6.7).
pub fn parse_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn a_stretched_ttl_moves_what_follows_but_not_for_one_reader() {
        let life = Lifetime {
            ttl: s(30),
            grace: s(60),
            keep: s(600),
        };
        let spans = |life: Lifetime| [life.ttl, life.grace, life.keep].map(|span| span.as_secs());
        assert_eq!(spans(life.stretched(4.0, false)), [120, 60, 600]);
        assert_eq!(spans(life.stretched(0.5, false)), [15, 60, 600]);
        assert_eq!(spans(life.stretched(2.0, true)), [60, 30, 600]);
        assert_eq!(spans(life.stretched(4.0, true)), [120, 0, 570]);
        assert_eq!(spans(life.stretched(100.0, true)), [690, 0, 0]);
        assert_eq!(spans(life.stretched(0.5, true)), [15, 75, 600]);
        assert_eq!(spans(life.stretched(1.0, true)), [30, 60, 600]);
        // what is never fresh stays so
        assert_eq!(
            spans(Lifetime::only_fresh(s(0)).stretched(100.0, false)),
            [0, 0, 0]
        );
    }

    proptest! {
        #[test]
        fn what_is_one_readers_own_lives_no_longer(ttl in 0u64..100_000, grace in 0u64..100_000, keep in 0u64..100_000, factor in 0.1f64..100.0) {
            let life = Lifetime { ttl: s(ttl), grace: s(grace), keep: s(keep) };
            prop_assert_eq!(life.stretched(factor, true).whole(), life.whole());
            let shared = life.stretched(factor, false);
            prop_assert!(factor < 1.0 || shared.whole() >= life.whole());
            prop_assert!((shared.grace, shared.keep) == (life.grace, life.keep));
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
            grace: Some(s(1)),
            keep: Some(s(2)),
            ..Freshness::NONE
        };
        let says = CacheControl::parse(["max-age=10, s-maxage=20"]);
        assert_eq!(Lifetime::new(&declared, &says).ttl, s(20));
        assert_eq!(Lifetime::new(&declared, &CacheControl::default()).ttl, s(0));
        declared.ttl = Some(s(5));
        assert_eq!(Lifetime::new(&declared, &says).ttl, s(5));
    }

    #[test]
    fn cache_control_in_the_wild() {
        let none = CacheControl::default();
        let fresh = |seconds| CacheControl {
            max_age: Some(s(seconds)),
            ..none
        };
        for (value, expected) in [
            ("public, max-age=\"60\"", fresh(60)),
            (
                "no-store",
                CacheControl {
                    no_store: true,
                    ..none
                },
            ),
            ("max-age=60, no-cache=\"x\"", fresh(0)),
            (
                "Private, Max-Age=5",
                CacheControl {
                    private: true,
                    ..fresh(5)
                },
            ),
            ("max-age=never, immutable", none),
            ("max-age=-1", none),
            ("max-age=99999999999999999999", fresh(1 << 31)),
            ("", none),
            (
                "max-age=1, stale-while-revalidate=2, stale-if-error=3, must-revalidate",
                CacheControl {
                    must_revalidate: true,
                    stale_while_revalidate: Some(s(2)),
                    stale_if_error: Some(s(3)),
                    ..fresh(1)
                },
            ),
        ] {
            assert_eq!(CacheControl::parse([value]), expected, "{value}");
        }
    }

    #[test]
    fn what_is_not_declared_is_as_the_origin_says() {
        let says = CacheControl::parse(["max-age=1, stale-while-revalidate=10, stale-if-error=30"]);
        let life = Lifetime::new(&Freshness::NONE, &says);
        assert_eq!((life.ttl, life.grace, life.keep), (s(1), s(10), s(20)));
        assert_eq!(life.whole(), s(31));
        let kept = Freshness {
            keep_unsaid: s(600),
            ..Freshness::NONE
        };
        assert_eq!(Lifetime::new(&kept, &says).keep, s(600));
        let declared = Freshness {
            grace: Some(s(2)),
            keep: Some(s(0)),
            ..kept
        };
        let life = Lifetime::new(&declared, &says);
        assert_eq!((life.ttl, life.grace, life.keep), (s(1), s(2), s(0)));
        let strict = CacheControl::parse(["max-age=1, stale-while-revalidate=10, must-revalidate"]);
        assert_eq!(Lifetime::new(&Freshness::NONE, &strict).grace, s(0));
    }

    #[test]
    fn expires_counts_where_max_age_is_missing() {
        let date = parse_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (cache_control, expires, max_age) in [
            ("", Some("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60)),
            ("", Some("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60)),
            ("", Some("Sun Nov  6 08:50:37 1994"), Some(60)),
            ("", Some("0"), Some(0)),
            ("", Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0)),
            ("max-age=5", Some("Sun, 06 Nov 1994 08:50:37 GMT"), Some(5)),
            ("", None, None),
        ] {
            let says = CacheControl::parse([cache_control]).or_expires(expires, date);
            assert_eq!(says.max_age, max_age.map(s), "{cache_control} {expires:?}");
        }
    }

    #[test]
    fn the_age_of_an_answer_when_it_arrives() {
        let now = SystemTime::UNIX_EPOCH + s(1000);
        let ago = |seconds| Some(now - s(seconds));
        for (date, age, took, expected) in [
            (None, None, 3, 0),
            (ago(0), None, 0, 0),
            (ago(1), None, 0, 0),
            (ago(20), None, 0, 20),
            (ago(1), Some(5), 2, 7),
            (ago(20), Some(5), 2, 20),
            (None, Some(5), 0, 5),
            (Some(now + s(60)), None, 0, 0),
        ] {
            let found = initial_age(date, age.map(s), s(took), now);
            assert_eq!(found, s(expected), "{date:?} {age:?} {took}");
        }
    }

    #[test]
    fn jitter_shortens_by_its_share_at_most() {
        let life = Lifetime::only_fresh(s(100));
        assert_eq!(life.jittered(10, 0).ttl, s(100));
        assert_eq!(life.jittered(10, 255).ttl, s(90));
        assert_eq!(life.jittered(0, 255).ttl, s(100));
        assert_eq!(life.jittered(200, 255).ttl, s(0));
    }

    #[test]
    fn the_nearer_the_end_and_the_dearer_the_renewal_the_likelier_it_is() {
        let share = |remaining, took: u64| {
            let renewed = (1..=1000).filter(|n| {
                let chance = f64::from(*n) / 1000.0;
                renews_early(s(remaining), Duration::from_millis(took), chance)
            });
            renewed.count()
        };
        assert_eq!(share(0, 100), 1000, "what has ended is renewed");
        assert!(share(1, 100) <= 1, "ten times the cost ahead: hardly ever");
        assert!((360..=370).contains(&share(1, 1000)), "1/e of them");
        assert!(share(1, 2000) > share(1, 1000));
        assert!(share(2, 1000) < share(1, 1000));
    }
}
