//! Pushing, withdrawing and purging copies. Owns how a copy is addressed (`/fragments/NAME/KEY`, the
//! key being the path and query that the fragment's source makes) and what a purge may be asked for;
//! what a copy is worth is not decided here.
//!
//! Invariant: a request that is not understood whole changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::cache::beyond::DISK_TIME;
use crate::cache::freshness::CacheControl;
use crate::cache::{Content, Older, Purge, Selector};
use crate::compose::Edition;
use crate::compose::push::{Brought, PushError};
use crate::config::values::{nearest, parse_duration};
use crate::fragment::tags::{TAG_BYTES_MAX, TAGS_MAX};
use crate::fragment::{Fragment, FragmentId, Source, SourceRequest};
use crate::report::{Event, Given, Signature};
use crate::site::Site;

use super::AdminState;
use super::body;

type Shared = State<Arc<AdminState>>;

/// Longest name and longest reason that is told of a purge, in characters.
const SIGNED_CHARS_MAX: usize = 200;

/// Largest body of a purge: its tags.
pub(super) const PURGE_BYTES_MAX: usize = 64 << 10;

/// A body that has not come by then does not come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A copy that was kept.
#[derive(Serialize, JsonSchema)]
pub(super) struct Pushed {
    /// Of which fragment.
    fragment: String,
    /// Which copy of it.
    key: String,
    /// Its version, where it has one.
    version: Option<u64>,
    /// When, RFC 3339.
    stored_at: String,
    /// Whether there was another one.
    replaced: bool,
}

/// A copy that was taken back.
#[derive(Serialize, JsonSchema)]
pub(super) struct Withdrawn {
    /// Of which fragment.
    fragment: String,
    /// Which copy of it.
    key: String,
    /// The version up to which nothing is kept.
    version: Option<u64>,
    /// When, RFC 3339.
    withdrawn_at: String,
    /// Whether there was one.
    was_there: bool,
}

/// A copy that is older than the one that is known.
#[derive(Serialize, JsonSchema)]
pub(super) struct Conflict {
    /// In a sentence.
    error: String,
    /// Of which fragment.
    fragment: String,
    /// Which copy of it.
    key: String,
    /// The version that was sent.
    version: Option<u64>,
    /// The version that is known.
    known: u64,
}

/// What is known of a copy.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KnownCopy")]
pub(super) struct Known {
    /// Of which fragment.
    fragment: String,
    /// Which copy of it.
    key: String,
    /// `html`, `absent` where there is nothing to show, or `withdrawn`.
    content: &'static str,
    /// `fresh`, `stale`, `kept` or `dead`.
    state: String,
    /// Whether it was purged.
    purged: bool,
    /// Its version, where it has one.
    version: Option<u64>,
    /// Since when it is kept, RFC 3339.
    stored_at: String,
    /// How old it is, in seconds.
    age_s: f64,
    /// For how long it is fresh still, in seconds.
    fresh_for_s: u64,
    /// By what it can be purged.
    tags: Vec<String>,
    /// How large it is.
    bytes: usize,
    /// `memory`, or `beyond memory`: on the disk, or in the store that nodes share.
    #[serde(rename = "where")]
    place: &'static str,
}

/// What was purged.
#[derive(Serialize, JsonSchema)]
pub(super) struct Purged {
    /// Copies in memory.
    purged: usize,
    /// Which, in words.
    what: String,
    /// Whether they were thrown away.
    hard: bool,
    /// When, RFC 3339.
    at: String,
}

/// A request that is refused, and why.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, why) = self;
        (status, format!("{why}\n")).into_response()
    }
}

fn refused(status: StatusCode, why: impl Into<String>) -> Refused {
    Refused(status, why.into())
}

fn bad(why: impl Into<String>) -> Refused {
    refused(StatusCode::BAD_REQUEST, why)
}

/// One copy of one fragment, whether it is there or not.
struct Addressed {
    edition: Arc<Edition>,
    id: FragmentId,
    request: Arc<SourceRequest>,
    params: Vec<(String, String)>,
}

impl Addressed {
    fn find(state: &AdminState, uri: &Uri, headers: &HeaderMap) -> Result<Self, Refused> {
        let edition = state.edition.load_full();
        let address = uri.path().trim_start_matches("/fragments/");
        let (name, key) = match address.find('/') {
            Some(slash) => address.split_at(slash),
            None => (address, "/"),
        };
        let key = match uri.query() {
            Some(query) => format!("{key}?{query}"),
            None => key.to_owned(),
        };
        let site = &edition.site;
        let index = site.fragments.iter().position(|f| f.name == name);
        let names = site.fragments.iter().map(|f| f.name.as_str());
        let id = FragmentId(index.ok_or_else(|| unknown(name, names))?);
        let fragment = site.fragment(id);
        check_pushable(fragment)?;
        let forwarded = fragment.forward_headers.iter().filter_map(|name| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.clone(), value.to_owned()))
        });
        let forwarded: BTreeMap<String, String> = forwarded.collect();
        let (request, params) = SourceRequest::resolved(fragment, &key, forwarded)
            .ok_or_else(|| bad(no_such_key(fragment, &key)))?;
        Ok(Self {
            edition,
            id,
            request: Arc::new(request),
            params,
        })
    }

    fn fragment(&self) -> &Fragment {
        self.edition.site.fragment(self.id)
    }
}

fn unknown<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Refused {
    let meant = match nearest(name, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    let why = format!("there is no fragment `{name}`{meant}");
    refused(StatusCode::NOT_FOUND, why)
}

fn check_pushable(fragment: &Fragment) -> Result<(), Refused> {
    let name = &fragment.name;
    if let Source::Ready(_) = fragment.source {
        let why = format!("fragment `{name}` is declared in place: there are no copies of it");
        return Err(bad(why));
    }
    if fragment.list.is_some() {
        let why = format!("fragment `{name}` is a list, made of its items: push these");
        return Err(bad(why));
    }
    if fragment.is_personal() {
        let why =
            format!("fragment `{name}` is for one reader at a time: copies are for everybody");
        return Err(bad(why));
    }
    Ok(())
}

fn no_such_key(fragment: &Fragment, key: &str) -> String {
    let template = fragment.source.target().map(ToString::to_string);
    format!(
        "the source of fragment `{}` never makes `{key}`: it makes `{}`, with everything in a value \
         percent-encoded but A-Z a-z 0-9 - . _ ~",
        fragment.name,
        template.unwrap_or_default(),
    )
}

/// Keeps the body as a copy.
pub(super) async fn push(State(state): Shared, request: Request) -> Response {
    match pushed(&state, request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn pushed(state: &AdminState, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    let addressed = Addressed::find(state, &head.uri, &headers)?;
    let fragment = addressed.fragment();
    let json = is_json(fragment, &headers)?;
    let version = version(&headers)?;
    let says = says(&headers)?;
    let body = read(body, &headers, fragment.limits.size_max).await?;
    let brought = Brought {
        body,
        json,
        headers,
        says,
        version,
        params: addressed.params.clone(),
    };
    let (edition, key) = (&addressed.edition, Arc::clone(&addressed.request));
    let kept = state.composer.push(edition, addressed.id, key, brought);
    match kept.await {
        Ok(pushed) => {
            state.tell(&Event::Pushed);
            let status = match pushed.replaced {
                true => StatusCode::OK,
                false => StatusCode::CREATED,
            };
            let body = Pushed {
                fragment: fragment.name.clone(),
                key: addressed.request.target.clone(),
                version: pushed.entry.version,
                stored_at: pushed.entry.stored_at.to_string(),
                replaced: pushed.replaced,
            };
            Ok((status, Json(body)).into_response())
        }
        Err(PushError::Older(older)) => Ok(conflict(&addressed, version, older)),
        Err(error @ (PushError::Unusable(_) | PushError::Nothing | PushError::Useless)) => {
            let why = format!("not kept as a copy of `{}`: {error}", fragment.name);
            Err(refused(StatusCode::UNPROCESSABLE_ENTITY, why))
        }
    }
}

fn conflict(addressed: &Addressed, version: Option<u64>, older: Older) -> Response {
    let body = Conflict {
        error: older.to_string(),
        fragment: addressed.fragment().name.clone(),
        key: addressed.request.target.clone(),
        version,
        known: older.known,
    };
    (StatusCode::CONFLICT, Json(body)).into_response()
}

/// Takes a copy back.
pub(super) async fn withdraw(State(state): Shared, uri: Uri, headers: HeaderMap) -> Response {
    let found = Addressed::find(&state, &uri, &headers)
        .and_then(|addressed| Ok((addressed, version(&headers)?)));
    let (addressed, version) = match found {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let (fragment, key) = (addressed.fragment(), Arc::clone(&addressed.request));
    match state.composer.withdraw(fragment, key, version).await {
        Ok(withdrawn) => {
            state.tell(&Event::Pushed);
            let body = Withdrawn {
                fragment: fragment.name.clone(),
                key: addressed.request.target.clone(),
                version: withdrawn.entry.version,
                withdrawn_at: withdrawn.entry.stored_at.to_string(),
                was_there: withdrawn.replaced,
            };
            Json(body).into_response()
        }
        Err(older) => conflict(&addressed, version, older),
    }
}

/// What is known of a copy.
pub(super) async fn show(State(state): Shared, uri: Uri, headers: HeaderMap) -> Response {
    let addressed = match Addressed::find(&state, &uri, &headers) {
        Ok(addressed) => addressed,
        Err(refused) => return refused.into_response(),
    };
    let (fragment, key) = (addressed.fragment(), &addressed.request);
    let (cache, clock) = (state.composer.cache(), state.composer.clock());
    let mut found = cache.peek(key).map(|entry| ("memory", entry));
    if found.is_none() {
        cache.recall(key, fragment.reach, DISK_TIME).await;
        found = cache.peek(key).map(|entry| ("beyond memory", entry));
    }
    let Some((place, entry)) = found else {
        let (name, key) = (&fragment.name, &key.target);
        let why = format!("there is no copy of `{name}` for `{key}`");
        return refused(StatusCode::NOT_FOUND, why).into_response();
    };
    let now = clock.moment(clock.now());
    let (content, bytes) = match &entry.content {
        Content::Html(parts) => ("html", parts.len()),
        Content::Absent => ("absent", 0),
        Content::Withdrawn => ("withdrawn", 0),
    };
    let (freshness, ttl_factor) = (&fragment.freshness, cache.ttl_factor());
    let state = entry.state(freshness, ttl_factor, now);
    let body = Known {
        fragment: fragment.name.clone(),
        key: key.target.clone(),
        content,
        state: format!("{state:?}").to_lowercase(),
        purged: entry.purged,
        version: entry.version,
        stored_at: entry.stored_at.to_string(),
        age_s: entry.age(now).as_secs_f64(),
        fresh_for_s: entry.remains_fresh(freshness, ttl_factor, now).as_secs(),
        tags: entry.tags.iter().map(ToString::to_string).collect(),
        bytes,
        place,
    };
    Json(body).into_response()
}

/// Whether the body is for the template: as its type says, else as the fragment is declared.
fn is_json(fragment: &Fragment, headers: &HeaderMap) -> Result<bool, Refused> {
    let has_template = fragment.template.is_some();
    if let Some(coding) = headers.get(CONTENT_ENCODING).filter(|c| *c != "identity") {
        let why = format!("a body with the coding {coding:?} is not read: send it plain");
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(has_template);
    };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut fields = text.split(';').map(str::trim);
    let media_type = fields.next().unwrap_or_default();
    let charset = fields
        .find_map(|field| field.strip_prefix("charset="))
        .map_or("utf-8", |charset| charset.trim_matches('"'));
    let is_readable = matches!(charset, "utf-8" | "utf8" | "us-ascii");
    let is_accepted = fragment.limits.accept.iter().any(|a| a == media_type);
    let found = match media_type {
        // what `curl --data-binary` says of everything
        "application/x-www-form-urlencoded" => Some(has_template),
        "text/html" | "application/xhtml+xml" => Some(false),
        "application/json" | "text/json" if has_template => Some(true),
        other if has_template && other.ends_with("+json") => Some(true),
        _ if is_accepted => Some(has_template),
        _ => None,
    };
    found.filter(|_| is_readable).ok_or_else(|| {
        let wanted = match has_template {
            true => "JSON for its template, or HTML,",
            false => "HTML",
        };
        let why = format!(
            "fragment `{}` takes {wanted} in UTF-8, and this is {value:?}",
            fragment.name
        );
        refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)
    })
}

fn version(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get("marbre-version") else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let why = || {
        bad(format!(
            "`Marbre-Version` is a number from 0 to {}",
            u64::MAX
        ))
    };
    number.map(Some).ok_or_else(why)
}

/// What a request's own headers say of the copy's lifetime. `no-cache` and `no-store` in a request
/// are about the request (RFC 9111, 5.2.1), and many clients send them with everything.
fn says(headers: &HeaderMap) -> Result<CacheControl, Refused> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let directives = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let spans = directives.filter(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        let of_copies = [
            "max-age",
            "s-maxage",
            "stale-while-revalidate",
            "stale-if-error",
        ];
        of_copies
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    });
    let mut says = CacheControl::parse(spans);
    if let Some(ttl) = headers.get("marbre-ttl") {
        let ttl = ttl.to_str().unwrap_or_default().trim();
        let ttl = parse_duration(ttl).map_err(|why| bad(format!("`Marbre-Ttl`: {why}")))?;
        says.max_age = Some(ttl);
    }
    Ok(says)
}

async fn read(body: Body, headers: &HeaderMap, max: usize) -> Result<Bytes, Refused> {
    let too_large = || {
        let why = format!("larger than the fragment's `max_size` of {max} bytes");
        refused(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, max).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(bad("the body has not come whole")),
        Err(_) => {
            let why = format!("the body has not come within {} s", BODY_TIMEOUT.as_secs());
            Err(refused(StatusCode::REQUEST_TIMEOUT, why))
        }
    }
}

/// What a purge can be asked for: one of `all`, tags, or a fragment with or without a key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PurgeWanted")]
pub(super) struct Wanted {
    /// The copies of this fragment.
    fragment: Option<String>,
    /// Of these only this one.
    key: Option<String>,
    /// The copies with this tag.
    tag: Option<String>,
    /// The copies with any of these tags.
    tags: Vec<String>,
    /// All copies.
    all: bool,
    /// Whether they are thrown away.
    hard: bool,
    /// Who wants it: for the journal.
    by: Option<String>,
    /// Why: for the journal.
    reason: Option<String>,
}

impl Wanted {
    /// Who wants it and why, as the end of what is told of it; nothing where nobody says.
    fn signed(&self) -> Signed {
        let short = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default().trim();
            let shown = text.chars().filter(|c| !c.is_control());
            shown.take(SIGNED_CHARS_MAX).collect::<String>()
        };
        let said = |text: &Option<String>| Some(short(text)).filter(|text| !text.is_empty());
        let (by, reason) = (said(&self.by), said(&self.reason));
        let told = match (&by, &reason) {
            (None, None) => String::new(),
            (Some(by), None) => format!(", by {by}"),
            (None, Some(reason)) => format!(", because {reason}"),
            (Some(by), Some(reason)) => format!(", by {by} because {reason}"),
        };
        Signed {
            told,
            signed: Signature { by, reason },
        }
    }
}

/// Who wants a purge.
struct Signed {
    /// The end of what is told of it.
    told: String,
    signed: Signature,
}

/// Makes copies stale, or throws them away.
pub(super) async fn purge(
    State(state): Shared,
    method: Method,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Response {
    if method != Method::POST && method.as_str() != "PURGE" {
        let why = "a purge is asked for by POST or PURGE\n";
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            [(ALLOW, "POST, PURGE")],
            why,
        )
            .into_response();
    }
    let edition = state.edition.load_full();
    let asked = wanted(query, &body).and_then(|wanted| {
        let selectors = selectors(&edition.site, &wanted)?;
        Ok((selectors, wanted.hard, wanted.signed()))
    });
    let (selectors, hard, Signed { told, signed }) = match asked {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let (composer, what) = (&state.composer, shown(&selectors));
    let at = composer.clock().moment(composer.clock().now());
    let purges = selectors
        .into_iter()
        .map(|selector| Purge { selector, at, hard });
    let (purges, work) = (purges.collect::<Vec<_>>(), Arc::clone(composer));
    // it looks at every copy in memory: not on a thread that pages wait for
    let copies = tokio::task::spawn_blocking(move || work.cache().purge(&purges)).await;
    let copies = copies.expect("looking at copies does not panic");
    let event = Event::Purged {
        what: format!("{what}{told}"),
        hard,
        copies,
    };
    state.tell(&event);
    let body = Purged {
        purged: copies,
        what,
        hard,
        at: at.to_string(),
    };
    (Extension(Given::by(signed)), Json(body)).into_response()
}

fn shown(selectors: &[Selector]) -> String {
    let texts: Vec<String> = selectors.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// What the body or the query asks for.
fn wanted(query: Vec<(String, String)>, body: &[u8]) -> Result<Wanted, Refused> {
    let fields = match (query.is_empty(), body.is_empty()) {
        (false, false) => {
            return Err(bad(
                "say what to purge in the query or in the body, not in both",
            ));
        }
        (true, true) => return Ok(Wanted::default()),
        (true, false) => body::object(body)
            .map_err(|error| bad(format!("the body must be JSON, {EXAMPLE}: {error}")))?,
        (false, true) => as_fields(query)?,
    };
    Wanted::deserialize(fields).map_err(|error| bad(format!("{error}; {EXAMPLE}")))
}

const EXAMPLE: &str = "such as {\"tag\": \"story-12\"}, {\"fragment\": \"article\", \"key\": \"/api/articles/foo\"} \
                       or {\"all\": true}, with \"hard\": true to throw copies away";

fn as_fields(query: Vec<(String, String)>) -> Result<Value, Refused> {
    let mut fields = serde_json::Map::new();
    let mut tags = Vec::new();
    for (name, value) in query {
        let value = match (name.as_str(), value.as_str()) {
            ("tag" | "tags", _) => {
                tags.push(Value::from(value));
                continue;
            }
            ("all" | "hard", "" | "true" | "1") => Value::from(true),
            ("all" | "hard", "false" | "0") => Value::from(false),
            ("all" | "hard", _) => return Err(bad(format!("`{name}` is true or false"))),
            _ => Value::from(value),
        };
        if fields.insert(name.clone(), value).is_some() {
            return Err(bad(format!("`{name}` is said twice")));
        }
    }
    if !tags.is_empty() {
        fields.insert("tags".to_owned(), Value::from(tags));
    }
    Ok(fields.into())
}

fn selectors(site: &Site, wanted: &Wanted) -> Result<Vec<Selector>, Refused> {
    let tags: Vec<&String> = wanted.tag.iter().chain(&wanted.tags).collect();
    let kinds = [wanted.all, !tags.is_empty(), wanted.fragment.is_some()];
    match kinds.iter().filter(|asked| **asked).count() {
        1 => {}
        0 if wanted.key.is_some() => return Err(bad("a `key` is one of a `fragment`: say which")),
        0 => return Err(bad(format!("say what to purge, {EXAMPLE}"))),
        _ => return Err(bad("purge by one of `all`, `tag` or `fragment` at a time")),
    }
    match (&wanted.fragment, &wanted.key) {
        (None, Some(_)) => Err(bad("a `key` is one of a `fragment`: say which")),
        (None, None) if wanted.all => Ok(vec![Selector::All]),
        (None, None) => by_tags(&tags),
        (Some(name), key) => Ok(vec![by_fragment(site, name, key.as_deref())?]),
    }
}

fn by_tags(tags: &[&String]) -> Result<Vec<Selector>, Refused> {
    if tags.len() > TAGS_MAX {
        return Err(bad(format!("at most {TAGS_MAX} tags at once")));
    }
    let is_good = |tag: &str| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX;
    if tags.iter().any(|tag| !is_good(tag)) {
        return Err(bad(format!("a tag has 1 to {TAG_BYTES_MAX} bytes")));
    }
    Ok(tags
        .iter()
        .map(|tag| Selector::Tag((*tag).clone()))
        .collect())
}

fn by_fragment(site: &Site, name: &str, key: Option<&str>) -> Result<Selector, Refused> {
    let snapshots: Vec<String> = site
        .pages
        .iter()
        .map(|p| format!("page:{}", p.name))
        .collect();
    let is_snapshots = snapshots.iter().any(|known| known == name);
    let fragment = site.fragments.iter().find(|f| f.name == name);
    match (fragment, key) {
        (None, _) if !is_snapshots => {
            let names = site.fragments.iter().map(|f| &f.name).chain(&snapshots);
            Err(unknown(name, names.map(String::as_str)))
        }
        (Some(_) | None, None) => Ok(Selector::Fragment(name.to_owned())),
        (None, Some(_)) => Err(bad(
            "the snapshots of a page have no keys: purge them all, or by a fragment that they show",
        )),
        (Some(fragment), Some(key)) => {
            let target = fragment.source.target();
            if target.is_none_or(|target| target.params_of(key).is_none()) {
                return Err(bad(no_such_key(fragment, key)));
            }
            Ok(Selector::Key {
                fragment: name.to_owned(),
                target: key.to_owned(),
            })
        }
    }
}
