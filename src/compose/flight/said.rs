//! What the headers of an answer say: of itself as a copy, and of the page that it becomes a part of. Owns
//! which headers those are.

use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, LINK,
    LOCATION, PRAGMA, SERVER, SET_COOKIE, VARY, VIA, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName};

use crate::cache::freshness::CacheControl;
use crate::cache::{Head, Validators};
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

/// What an answer says of itself. Read in one pass: its headers are few, and much is looked for in them.
#[derive(Default)]
pub(super) struct Said<'h> {
    /// `Date`, as it stands there.
    pub(super) date: Option<&'h str>,
    /// `Expires`.
    pub(super) expires: Option<&'h str>,
    /// `Age`.
    pub(super) age: Option<&'h str>,
    /// `Cache-Control`, all lines of it.
    pub(super) cache_control: CacheControl,
    /// By what it can be renewed.
    pub(super) validators: Validators,
    /// By what it can be purged.
    pub(super) tags: Tags,
    /// Whether it says that it is for nobody else, otherwise than by `Cache-Control`.
    is_for_one: bool,
}

impl<'h> Said<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let mut said = Self::default();
        let (mut has_cache_control, mut has_tags) = (false, false);
        for (name, value) in headers {
            // the first line counts, where there is to be one
            let first = |known: Option<&'h str>| known.or_else(|| value.to_str().ok());
            if *name == CACHE_CONTROL {
                has_cache_control = true;
            } else if *name == DATE {
                said.date = first(said.date);
            } else if *name == ETAG {
                said.validators.etag.get_or_insert_with(|| value.clone());
            } else if *name == LAST_MODIFIED {
                let known = &mut said.validators.last_modified;
                known.get_or_insert_with(|| value.clone());
            } else if *name == EXPIRES {
                said.expires = first(said.expires);
            } else if *name == AGE {
                said.age = first(said.age);
            } else if *name == VARY {
                // depends on what no cache can know (RFC 9111, 4.1); whatever else it names was not sent, or
                // is part of the key
                said.is_for_one |= value == "*";
            } else if *name == SET_COOKIE {
                said.is_for_one = true;
            } else {
                has_tags |= *name == SURROGATE_KEY || *name == CACHE_TAG;
            }
        }
        if has_cache_control {
            let lines = headers.get_all(CACHE_CONTROL).iter();
            said.cache_control = CacheControl::parse(lines.filter_map(|line| line.to_str().ok()));
        }
        if has_tags {
            said.tags = tags(headers);
        }
        said
    }

    /// Whether it may be given to other readers, where `Cache-Control` comes to this.
    pub(super) fn is_shared(&self, says: &CacheControl) -> bool {
        !says.private && !self.is_for_one
    }
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

/// The lines of these names, in the order in which they came.
pub(super) fn picked(names: &[HeaderName], headers: &HeaderMap) -> Head {
    let lines = headers.iter().filter(|(name, _)| names.contains(name));
    Head {
        headers: lines.map(|(n, v)| (n.clone(), v.clone())).collect(),
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
