//! What the headers of an answer say: of itself as a copy, and of the page that it becomes a part of. Owns
//! which headers those are.

use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, LINK,
    LOCATION, PRAGMA, SERVER, SET_COOKIE, VARY, VIA, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName};

use crate::cache::Head;
use crate::cache::freshness::CacheControl;
use crate::compose::hints;
use crate::fetch::hop;
use crate::fragment::{Fragment, Tags};

/// Response headers of a core fragment that become the page's. An answer with `Set-Cookie` is
/// personal, so a cookie never comes from a copy.
static CORE_HEADERS: [HeaderName; 4] = [
    CONTENT_LANGUAGE,
    LINK,
    HeaderName::from_static("x-robots-tag"),
    SET_COOKIE,
];

/// The same where there is no page: a redirect may set the cookie that ends it, and a refusal says
/// what would be accepted.
pub(super) static VERDICT_HEADERS: [HeaderName; 2] = [SET_COOKIE, WWW_AUTHENTICATE];

/// What an answer says of the markup in it, for whoever includes it.
static MARKS: [HeaderName; 2] = [
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("edge-control"),
];

static SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
static CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The same where the core is JSON: `Link` and `X-Robots-Tag` are then about the JSON. WordPress
/// sends `noindex` with every answer of its REST interface.
static JSON_CORE_HEADERS: [HeaderName; 2] = [CONTENT_LANGUAGE, SET_COOKIE];

pub(super) fn cache_control(headers: &HeaderMap) -> CacheControl {
    CacheControl::parse(
        headers
            .get_all(CACHE_CONTROL)
            .iter()
            .filter_map(|v| v.to_str().ok()),
    )
}

pub(in crate::compose) fn head(fragment: &Fragment, headers: &HeaderMap) -> Head {
    if !fragment.priority.is_core() {
        // what is said of JSON says nothing of the page
        return match fragment.takes_json() {
            true => Head::default(),
            false => {
                let mut said = picked(&MARKS, headers);
                said.headers.extend(hints::only(headers));
                said
            }
        };
    }
    if fragment.limits.take_anything() {
        return returned(headers);
    }
    let says_of_page: &[HeaderName] = if fragment.takes_json() {
        &JSON_CORE_HEADERS
    } else {
        &CORE_HEADERS
    };
    picked(says_of_page, headers)
}

/// Whether the page has this header of each of its cores.
pub(in crate::compose) fn core_gives(name: &HeaderName) -> bool {
    CORE_HEADERS.contains(name)
}

/// What a document may not let the include that decides about it give the page, besides what belongs to
/// one connection: what is about the exchange, the content or how long that is good is not about the page.
static NOT_OF_THE_PAGE: [HeaderName; 27] = [
    VIA,
    DATE,
    SERVER,
    LOCATION,
    HeaderName::from_static("alt-svc"),
    CACHE_CONTROL,
    PRAGMA,
    EXPIRES,
    AGE,
    VARY,
    ETAG,
    LAST_MODIFIED,
    WARNING,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("edge-control"),
    ACCEPT_RANGES,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_LOCATION,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

fn returned(headers: &HeaderMap) -> Head {
    let mut headers = headers.clone();
    hop::strip(&mut headers);
    let is_of_page = |name: &HeaderName| {
        !NOT_OF_THE_PAGE.contains(name) && !name.as_str().starts_with("marbre-")
    };
    let lines = headers.iter().filter(|(name, _)| is_of_page(name));
    Head {
        headers: lines.map(|(n, v)| (n.clone(), v.clone())).collect(),
        ..Head::default()
    }
}

pub(super) fn picked(names: &[HeaderName], headers: &HeaderMap) -> Head {
    let mut found = Vec::new();
    for name in names {
        let lines = headers.get_all(name).iter();
        found.extend(lines.map(|value| (name.clone(), value.clone())));
    }
    Head {
        headers: found,
        ..Head::default()
    }
}

pub(in crate::compose) fn tags(headers: &HeaderMap) -> Tags {
    let lines = |name: &HeaderName| {
        let lines = headers.get_all(name).iter();
        lines.filter_map(|value| value.to_str().ok())
    };
    Tags::parse(lines(&SURROGATE_KEY), lines(&CACHE_TAG))
}

/// `Vary: *` says that the answer depends on what no cache can know (RFC 9111, 4.1). Whatever else
/// `Vary` names was not sent, or is part of the key.
pub(super) fn is_shared(headers: &HeaderMap, says: &CacheControl) -> bool {
    let varies_with_all = headers.get_all(VARY).iter().any(|value| value == "*");
    !says.private && !varies_with_all && !headers.contains_key(SET_COOKIE)
}
