//! `[pages.….cache]` → for how long others may keep a page, and the `Vary` that goes with it. Owns the
//! rule that what means nothing is said to mean nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderValue;

use super::Context;
use crate::config::diagnose::Diagnostic;
use crate::config::file::{self, At, TimeSpan};
use crate::config::read::Entry;
use crate::config::values::show_duration;
use crate::fragment::source::Variable;
use crate::site::PageCache;

pub(super) fn page_cache(
    entry: &Entry<file::Page>,
    written: &file::PageCache,
    cx: &mut Context<'_>,
) -> PageCache {
    let cache = PageCache {
        shared_max_age: written.shared_max_age.0,
        max_age: written.max_age.0,
        stale_while_revalidate: written.stale_while_revalidate.0,
        stale_if_error: written.stale_if_error.0,
        degraded_max_age: written.degraded_max_age.0,
    };
    // the headers have whole seconds: what is less would silently be nothing
    for (key, span) in [
        ("shared_max_age", &written.shared_max_age),
        ("max_age", &written.max_age),
        ("stale_while_revalidate", &written.stale_while_revalidate),
        ("stale_if_error", &written.stale_if_error),
        ("degraded_max_age", &written.degraded_max_age),
    ] {
        if span.0.subsec_nanos() > 0 {
            cx.report(
                Diagnostic::error(format!("`{key}` must be whole seconds"))
                    .at(entry.at(span), "HTTP tells lifetimes in seconds"),
            );
        }
    }
    let is_longer = |span: &At<TimeSpan>| span.0 > cache.shared_max_age;
    if !cache.shared_max_age.is_zero() && is_longer(&written.max_age) {
        cx.report(
            Diagnostic::error("browsers would keep this page for longer than anybody else")
                .at(entry.at(&written.max_age), "longer than `shared_max_age`")
                .also(
                    entry.at(&written.shared_max_age),
                    show_duration(cache.shared_max_age),
                )
                .help("lower `max_age`, or raise `shared_max_age`"),
        );
    }
    warn_of_no_use(entry, written, cache, cx);
    cache
}

/// Warns of what says how a page that nobody keeps is kept.
fn warn_of_no_use(
    entry: &Entry<file::Page>,
    written: &file::PageCache,
    cache: PageCache,
    cx: &mut Context<'_>,
) {
    let is_kept = !cache.shared_max_age.is_zero();
    let is_kept_degraded = !cache.degraded_max_age.is_zero();
    let none = Duration::ZERO;
    let while_asking = &written.stale_while_revalidate;
    for (key, span, is_of_use) in [
        ("max_age", &written.max_age, is_kept),
        ("stale_while_revalidate", while_asking, is_kept),
        (
            "stale_if_error",
            &written.stale_if_error,
            is_kept || is_kept_degraded,
        ),
    ] {
        if span.0 > none && !is_of_use {
            cx.report(
                Diagnostic::warning(format!("`{key}` is of no use without `shared_max_age`"))
                    .at(entry.at(span), "nobody may keep this page")
                    .help("add `shared_max_age`, such as \"60s\""),
            );
        }
    }
}

/// The request headers by which caches must tell copies of a page apart that varies with these;
/// parameters and queries are in its address.
pub(super) fn vary(varies: &[Variable]) -> Option<HeaderValue> {
    let mut names = BTreeSet::new();
    for variable in varies {
        match variable {
            Variable::Cookie(_) => _ = names.insert("cookie"),
            Variable::Header(name) => _ = names.insert(name),
            Variable::Lang => _ = names.insert("accept-language"),
            Variable::Device => names.extend(["sec-ch-ua-mobile", "user-agent"]),
            Variable::Param(_) | Variable::Query(_) | Variable::Item(_) => {}
        }
    }
    let names: Vec<&str> = names.into_iter().collect();
    let line = (!names.is_empty()).then(|| names.join(", "))?;
    HeaderValue::try_from(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_varies_with_the_headers_that_its_blocks_read() {
        let header = |name: &str| Variable::Header(name.to_owned());
        let of = |varies: &[Variable]| {
            let line = vary(varies);
            line.map(|line| line.to_str().unwrap().to_owned())
        };
        let in_the_address = [Variable::Query("q".into()), Variable::Param("slug".into())];
        assert_eq!(of(&in_the_address), None);
        let two_cookies = [Variable::Cookie("a".into()), Variable::Cookie("b".into())];
        assert_eq!(of(&two_cookies).as_deref(), Some("cookie"));
        let all = [
            Variable::Lang,
            Variable::Device,
            header("x-edition"),
            header("accept-language"),
        ];
        let expected = "accept-language, sec-ch-ua-mobile, user-agent, x-edition";
        assert_eq!(of(&all).as_deref(), Some(expected));
    }
}
