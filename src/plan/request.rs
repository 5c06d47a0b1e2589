//! A request's head → [`Facts`]. Owns what is read of a request on behalf of the site; pure, and
//! looks at nothing that no fragment has declared.

use http::header::{ACCEPT_LANGUAGE, COOKIE, USER_AGENT};
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

use crate::fragment::Trace;
use crate::fragment::facts::{Device, Facts};
use crate::site::Site;

/// The facts of a request whose path has matched a route. `chance` makes the trace of a request
/// that does not belong to one yet.
pub fn facts(
    site: &Site,
    uri: &Uri,
    headers: &HeaderMap,
    params: Vec<(String, String)>,
    chance: u128,
) -> Facts {
    let wants = &site.wants;
    let mut facts = Facts {
        params,
        trace: trace(headers, chance),
        ..Facts::default()
    };
    for name in &wants.headers {
        if let Some(value) = text(headers, name) {
            facts.headers.insert(name.clone(), value.to_owned());
        }
    }
    if !wants.cookies.is_empty() {
        for (name, value) in cookies(headers) {
            if wants.cookies.contains(name) {
                facts
                    .cookies
                    .entry(name.to_owned())
                    .or_insert_with(|| value.to_owned());
            }
        }
    }
    if !wants.query.is_empty() {
        for (name, value) in query(uri) {
            if wants.query.contains(&name) {
                facts.query.entry(name).or_insert(value);
            }
        }
    }
    if wants.lang {
        facts.lang = language(headers).unwrap_or_else(|| site.language.clone());
    }
    if wants.device {
        facts.device = device(headers);
    }
    facts
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Names and values of the cookies, as they are.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// Names and values of a query, decoded.
pub(crate) fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced)
            .decode_utf8()
            .ok()
            .map(|text| text.into_owned())
    };
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
}

/// The primary subtag that the reader likes best (RFC 9110, 12.5.4).
fn language(headers: &HeaderMap) -> Option<String> {
    let mut best: Option<(f32, &str)> = None;
    for range in text(headers, ACCEPT_LANGUAGE.as_str())?.split(',') {
        let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
        let weight = weight
            .trim()
            .strip_prefix("q=")
            .map_or(Some(1.0), |q| q.parse().ok());
        let primary = tag.trim().split('-').next().unwrap_or_default();
        let readable =
            (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        if let Some(weight) = weight.filter(|w| readable && *w > best.map_or(0.0, |(w, _)| w)) {
            best = Some((weight, primary));
        }
    }
    best.map(|(_, primary)| primary.to_ascii_lowercase())
}

fn device(headers: &HeaderMap) -> Device {
    if text(headers, "sec-ch-ua-mobile") == Some("?1") {
        return Device::Phone;
    }
    let agent = text(headers, USER_AGENT.as_str()).unwrap_or_default();
    let tablet = agent.contains("iPad")
        || agent.contains("Tablet")
        || (agent.contains("Android") && !agent.contains("Mobile"));
    match () {
        () if tablet => Device::Tablet,
        () if agent.contains("Mobi") => Device::Phone,
        () => Device::Desktop,
    }
}

fn trace(headers: &HeaderMap, chance: u128) -> Trace {
    // a line that is no text is one that is not valid
    let lines = |name: &'static str| {
        let lines = headers.get_all(name).iter();
        lines.map(|value| value.to_str().unwrap_or_default())
    };
    Trace::received(lines("traceparent"), lines("tracestate"), chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn the_best_liked_language_wins() {
        for (value, expected) in [
            ("fr-CH, fr;q=0.9, en;q=0.8", Some("fr")),
            ("en;q=0.3, DE;q=0.9", Some("de")),
            ("*", None),
            ("../../x", None),
            ("fr;q=x", None),
        ] {
            let found = language(&headers(&[("accept-language", value)]));
            assert_eq!(found.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn devices() {
        let of = |agent: &'static str| device(&headers(&[("user-agent", agent)]));
        assert_eq!(of("Mozilla/5.0 (iPhone) Mobile/15E148"), Device::Phone);
        assert_eq!(of("Mozilla/5.0 (Linux; Android 14) Chrome"), Device::Tablet);
        assert_eq!(of("curl/8"), Device::Desktop);
        assert_eq!(
            device(&headers(&[("sec-ch-ua-mobile", "?1")])),
            Device::Phone
        );
    }

    #[test]
    fn cookies_and_query() {
        let headers = headers(&[("cookie", "a=1; b=\"2\"; broken; a=3")]);
        assert_eq!(
            cookies(&headers).collect::<Vec<_>>(),
            [("a", "1"), ("b", "\"2\""), ("a", "3")]
        );
        let uri = Uri::from_static("/x?q=l%27%C3%A9t%C3%A9+2026&bad=%ff&flag");
        let pairs: Vec<_> = query(&uri).collect();
        assert_eq!(
            pairs,
            [
                ("q".into(), "l'été 2026".into()),
                ("flag".into(), String::new())
            ]
        );
    }
}
