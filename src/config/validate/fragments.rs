//! `[fragments.…]` → fragments. Owns timeouts, accepted types and the fingerprint; sources,
//! fallbacks and forwarded headers are their own declared.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use super::declared::Declared;
use super::templates::Templates;
use super::{Context, fallbacks, forwards, lists, settings, sources};
use crate::config::diagnose::Diagnostic;
use crate::config::file;
use crate::config::read::Entry;
use crate::config::values::show_duration;
use crate::fragment::{Fragment, Freshness, Limits, Reach, Source};

/// The time for one fetch where nothing says otherwise.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn fragments(
    entries: &[Entry<file::Fragment>],
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Vec<Option<Fragment>> {
    entries
        .iter()
        .map(|entry| fragment(entry, entry.body.as_ref()?, declared, cx))
        .collect()
}

fn fragment(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Option<Fragment> {
    let source = sources::source(entry, written, declared, cx);
    let list = lists::list(entry, written, declared, cx);
    let fallback = fallbacks::fallback(entry, written, declared, cx);
    let timeout = timeout(entry, written, declared, cx);
    let forward_headers = forwards::headers(entry, &written.forward_headers, cx);
    let forward_cookies = forwards::cookies(entry, &written.forward_cookies, cx);
    let accept = accept(entry, written, cx);
    let must_contain = must_contain(entry, written, cx);
    check_sizes(entry, written, cx);
    let source = source?;
    let fingerprint = fingerprint(
        &entry.name,
        written,
        &source,
        &forward_headers,
        &forward_cookies,
        declared.templates,
    );
    let (timeout, freshness) = match source {
        Source::Push(_) => (RECALL_TIMEOUT, pushed_freshness(written)),
        Source::Http { .. } | Source::Ready(_) => (timeout, freshness(written)),
    };
    let mut fragment = Fragment {
        name: entry.name.clone(),
        priority: written.priority.0,
        value: written
            .value
            .as_ref()
            .map_or_else(|| written.priority.0.worth(), |value| **value),
        source,
        template: written
            .template
            .as_ref()
            .map(|template| template.to_string()),
        list,
        timeout,
        hedge: written
            .hedge
            .as_ref()
            .map_or_else(|| is_required(written), |hedge| **hedge),
        freshness,
        reach: Reach::default(),
        fallback,
        limits: Limits {
            size_max: settings::bytes(&written.max_size),
            accept,
            size_min: settings::bytes(&written.min_size),
            must_contain,
        },
        forward_headers,
        forward_cookies,
        fingerprint,
        same_request: None,
    };
    fragment.reach = reach(entry, written, &fragment, cx);
    Some(fragment)
}

/// What is kept of an article whose declaration says nothing of the day its origin is dead.
const KEEP_UNSAID: Duration = Duration::from_secs(7 * 24 * 3600);

/// What was pushed is shown until something else is pushed: for as long as may be declared.
const KEEP_PUSHED: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a slot whose fragment is pushed looks for the copy beyond memory. Each store has a
/// shorter limit of its own; this is for what is wrong with both.
const RECALL_TIMEOUT: Duration = Duration::from_millis(250);

fn freshness(written: &file::Fragment) -> Freshness {
    let span = |at: &Option<file::At<file::TimeSpan>>| at.as_ref().map(|span| span.0);
    let ttl = span(&written.ttl);
    Freshness {
        ttl,
        grace: span(&written.grace),
        keep: span(&written.keep),
        keep_unsaid: match is_required(written) && ttl != Some(Duration::ZERO) {
            true => KEEP_UNSAID,
            false => Duration::ZERO,
        },
        patience: written.patience.0,
        jitter: *written.jitter,
        early: *written.early_refresh,
        // known when the whole fragment is
        is_personal: false,
    }
}

fn is_required(written: &file::Fragment) -> bool {
    written.priority.0.rank().is_none()
}

/// No jitter: nobody is spared a question by it.
fn pushed_freshness(written: &file::Fragment) -> Freshness {
    Freshness {
        keep_unsaid: KEEP_PUSHED,
        jitter: 0,
        early: false,
        ..freshness(written)
    }
}

pub(super) fn reach(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    fragment: &Fragment,
    cx: &mut Context<'_>,
) -> Reach {
    let is_required = match fragment.source {
        Source::Http { .. } => fragment.is_required(),
        // there is nobody to ask for it again
        Source::Push(_) => true,
        Source::Ready(_) => return Reach::default(),
    };
    if fragment.is_personal() {
        if let Some(durable) = written.durable.as_ref().filter(|durable| ***durable) {
            cx.report(
                Diagnostic::error("what is for one reader only is not kept on disk")
                    .at(
                        entry.at(durable),
                        "this fragment depends on a cookie or on `authorization`",
                    )
                    .help(
                        "take `durable` out, and let a fragment without cookies stand in: \
                         `fallback = [\"fragment:NAME\"]`",
                    ),
            );
        }
        return Reach::default();
    }
    Reach {
        disk: written.durable.as_ref().map_or(is_required, |on| **on),
        shared: true,
        pinned: matches!(fragment.source, Source::Push(_)),
    }
}

fn must_contain(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    cx: &mut Context<'_>,
) -> Vec<String> {
    for text in written.must_contain.iter().filter(|text| text.is_empty()) {
        cx.report(
            Diagnostic::error("`must_contain` holds an empty text")
                .at(entry.at(text), "every answer contains this")
                .help("write what only a whole answer has, such as `</article>`"),
        );
    }
    let texts = written.must_contain.iter();
    texts.map(ToString::to_string).collect()
}

fn check_sizes(entry: &Entry<file::Fragment>, written: &file::Fragment, cx: &mut Context<'_>) {
    if written.min_size.0 <= written.max_size.0 {
        return;
    }
    cx.report(
        Diagnostic::error("`min_size` is larger than `max_size`")
            .at(entry.at(&written.min_size), "no answer satisfies both")
            .also(entry.at(&written.max_size), "the most that is accepted"),
    );
}

fn timeout(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Duration {
    let origin = sources::origin_timeout(declared, &written.source);
    let Some(timeout) = &written.timeout else {
        return origin.map_or(TIMEOUT, |(_, limit)| limit.min(TIMEOUT));
    };
    if let Some((limit_place, limit)) = origin
        && timeout.0 > limit
    {
        let limit = show_duration(limit);
        cx.report(
            Diagnostic::error("`timeout` is longer than that of the origin")
                .at(entry.at(timeout), "would never be reached")
                .also(limit_place, format!("the origin gives up after {limit}"))
                .help(format!("at most {limit}, or raise the origin's `timeout`")),
        );
    }
    timeout.0
}

fn accept(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    cx: &mut Context<'_>,
) -> Vec<String> {
    let mut accepted = Vec::new();
    for media_type in &written.accept {
        let name = media_type.trim().to_ascii_lowercase();
        let is_word = |s: &str| {
            !s.is_empty()
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let well_formed = name
            .split_once('/')
            .is_some_and(|(a, b)| is_word(a) && is_word(b));
        if !well_formed {
            let help = match name.split_once(';') {
                Some((bare, _)) => format!("without parameters: `{}`", bare.trim()),
                None => "for example `text/html` or `application/json`".to_owned(),
            };
            cx.report(
                Diagnostic::error(format!("`{}` is not a media type", **media_type))
                    .at(
                        entry.at(media_type),
                        "expected a type and a subtype, without wildcards",
                    )
                    .help(help),
            );
        }
        accepted.push(name);
    }
    accepted
}

/// Changes whenever the result of asking would. Every template counts, not only this fragment's own:
/// that costs a fetch after an edit and cannot miss an include. The name and the priority count
/// because a template sees the one, and what a 404 means depends on the other.
fn fingerprint(
    name: &str,
    written: &file::Fragment,
    source: &Source,
    headers: &[String],
    cookies: &[String],
    templates: &Templates,
) -> u64 {
    // the same site has the same fingerprints in every build: copies on disk are found by them
    let mut hasher = Xxh3::new();
    name.hash(&mut hasher);
    if let Source::Push(_) = source {
        // no edit may lose what nobody can be asked for again; its key says the rest
        return hasher.finish();
    }
    // the values alone: where they stand in the file makes no difference to the answer
    let texts = |texts: &[file::At<String>]| -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    };
    let (accept, must_contain) = (texts(&written.accept), texts(&written.must_contain));
    let sizes = (&*written.min_size, &*written.max_size);
    format!("{:?}", (&*written.priority, accept, must_contain, sizes)).hash(&mut hasher);
    written.source.as_str().hash(&mut hasher);
    if let Source::Ready(content) = source {
        content.hash(&mut hasher);
    }
    if let Some(template) = &written.template {
        template.as_str().hash(&mut hasher);
        templates.hash_texts(&mut hasher);
    }
    headers.hash(&mut hasher);
    cookies.hash(&mut hasher);
    hasher.finish()
}
