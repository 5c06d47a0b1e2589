//! `[origins.…]`. Owns what a base URL may be and the words that no origin may be called.

use super::{Context, settings};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::read::Entry;
use crate::site::OriginSpec;

/// The first words of sources and fallbacks that are not origins, and of URLs; kept free.
const RESERVED: [&str; 10] = [
    "data", "file", "fragment", "http", "https", "inline", "list", "omit", "push", "static",
];

pub(super) fn origins(
    entries: &[Entry<file::Origin>],
    cx: &mut Context<'_>,
) -> Vec<Option<OriginSpec>> {
    entries
        .iter()
        .map(|entry| origin(entry, entry.body.as_ref()?, cx))
        .collect()
}

fn origin(
    entry: &Entry<file::Origin>,
    origin: &file::Origin,
    cx: &mut Context<'_>,
) -> Option<OriginSpec> {
    if RESERVED.contains(&entry.name.as_str()) {
        cx.report(
            Diagnostic::error(format!("an origin cannot be called `{}`", entry.name))
                .at(
                    entry.place.clone(),
                    "this word means something else in a source",
                )
                .help("choose the name of the service, such as `cms`"),
        );
    }
    let timeout = origin.timeout.0;
    let connect_timeout = match &origin.connect_timeout {
        None => timeout.min(std::time::Duration::from_secs(1)),
        Some(connect) => {
            if connect.0 > timeout {
                cx.report(
                    Diagnostic::error("`connect_timeout` is longer than the origin's `timeout`")
                        .at(entry.at(connect), "would never be reached")
                        .also(entry.at(&origin.timeout), "the whole fetch ends here")
                        .help("the connection is part of the fetch: make it shorter"),
                );
            }
            connect.0
        }
    };
    let mut urls = Vec::new();
    for written in origin.urls.0.iter() {
        let place = entry.at(written);
        let url = settings::expand(written, &place, cx)
            .and_then(|text| base_url(&text, written.contains("${"), &place, cx));
        if let Some(url) = &url
            && urls.contains(&Some(url.clone()))
        {
            let message = "this replica is declared twice";
            cx.report(Diagnostic::error(message).at(place, "the same URL stands before"));
        }
        urls.push(url);
    }
    Some(OriginSpec {
        name: entry.name.clone(),
        urls: urls.into_iter().collect::<Option<Vec<_>>>()?,
        owner: origin.owner.as_ref().map(|owner| owner.to_string()),
        timeout,
        connect_timeout,
        max_in_flight: usize::try_from(*origin.max_in_flight).ok()?,
    })
}

/// Scheme and authority, without a trailing slash.
fn base_url(text: &str, is_expanded: bool, place: &Place, cx: &mut Context<'_>) -> Option<String> {
    let problem = match problem_of(text) {
        Ok(url) => return Some(url),
        Err(problem) => problem,
    };
    let suffix = if is_expanded { ", once expanded" } else { "" };
    let finding = Diagnostic::error("an origin's URL is a scheme and a host")
        .at(place.clone(), format!("{}{suffix}", problem.label));
    cx.report(finding.help(problem.help));
    None
}

struct Problem {
    label: &'static str,
    help: &'static str,
}

fn problem_of(text: &str) -> Result<String, Problem> {
    let problem = |label, help| Err(Problem { label, help });
    let example = "for example `http://cms:8000`";
    if !text.contains("://") {
        return problem("it has no `http://` or `https://`", example);
    }
    if text.contains('#') {
        return problem("it has a fragment", "paths belong in `source`");
    }
    let Ok(uri) = text.parse::<http::Uri>() else {
        return problem("it cannot be read as a URL", example);
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return problem("only `http` and `https` are spoken", example);
    }
    let Some(authority) = uri.authority().filter(|a| !a.host().is_empty()) else {
        return problem("it has no host", example);
    };
    if authority.as_str().contains('@') {
        let help = "send credentials in a header from a proxy next to the origin";
        return problem("user names and passwords do not belong in a URL", help);
    }
    let after_host = authority.as_str().rsplit(']').next().unwrap_or_default();
    if after_host.contains(':') && authority.port_u16().is_none() {
        return problem("its port is missing, or not a port", example);
    }
    if uri.query().is_some() {
        return problem("it has a query", "paths and queries belong in `source`");
    }
    if !matches!(uri.path(), "" | "/") {
        return problem(
            "it has a path",
            "paths belong in `source`, as in `cms:/api/{slug}`",
        );
    }
    let scheme = uri.scheme_str().unwrap_or("http");
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        assert_eq!(
            problem_of("http://cms:8000/").ok().unwrap(),
            "http://cms:8000"
        );
        assert_eq!(
            problem_of("https://[::1]:1").ok().unwrap(),
            "https://[::1]:1"
        );
        for bad in [
            "",
            "cms",
            "cms:80",
            "ftp://cms",
            "http://",
            "http:///x",
            "http://a/b",
            "http://a?b",
            "http://a#b",
            "http://u:p@a",
            "http://a b",
            "http://a:",
            "http://a:99999",
        ] {
            assert!(problem_of(bad).is_err(), "{bad}");
        }
    }
}
