//! `/journal` and `/events`: what has happened, and what happens. Owns the JSON and the stream of events;
//! what is remembered and for how long is the journal's.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::clock::Moment;
use crate::fragment::quantity::parse_duration;
use crate::telemetry::journal::{Around, Entry, Kind};

use super::AdminState;

type Shared = State<Arc<AdminState>>;

/// Who may follow at once: each costs a connection and some memory.
const FOLLOWERS_MAX: usize = 32;

/// How often a stream says that it is there, so that what is between does not end it.
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    since: Option<String>,
    kinds: Option<String>,
}

/// What has happened.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Journal")]
pub(super) struct JournalAnswer<'a> {
    /// The oldest first.
    entries: Vec<&'a Entry>,
    /// From when on nothing is missing, in milliseconds since 1970; `null` if nothing ever was.
    complete_since_ms: Option<u64>,
    /// When this was asked, in milliseconds since 1970.
    now_ms: u64,
    /// Why it would not survive a restart, if it would not.
    trouble: Option<String>,
}

/// `GET /journal?since=2h&kinds=level,breaker`.
pub(super) async fn journal(State(state): Shared, Query(wanted): Query<Wanted>) -> Response {
    let now = state.now();
    let since = wanted.since.as_deref().map(|since| moment(since, now));
    let kinds = kinds(wanted.kinds.as_deref());
    let (since, kinds) = match (since.transpose(), kinds) {
        (Ok(since), Ok(kinds)) => (since.unwrap_or_default(), kinds),
        (Err(why), _) | (_, Err(why)) => {
            return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response();
        }
    };
    let is_wanted = |entry: &Entry| kinds.is_empty() || kinds.contains(&entry.kind());
    let remembered = state.journal.since(since);
    let entries = remembered.entries.iter().map(|entry| &**entry);
    let mut so_far = None;
    let (edition, mode) = (state.edition.load(), state.mode.load());
    (state.look)(&edition, &mode, &mut |around: &Around| {
        so_far = state.journal.so_far(around);
    });
    let entries = entries.chain(&so_far).filter(|entry| is_wanted(entry));
    let body = JournalAnswer {
        entries: entries.collect(),
        complete_since_ms: remembered.complete_since_ms,
        now_ms: now.micros() / 1000,
        trouble: state.journal.trouble(),
    };
    Json(body).into_response()
}

/// Since when somebody wants to know, in milliseconds since 1970; all of it where they do not say.
pub(super) fn since_ms(text: Option<&str>, state: &AdminState) -> Result<u64, String> {
    let since = text.map(|text| moment(text, state.now())).transpose()?;
    Ok(since.unwrap_or_default().micros() / 1000)
}

/// A moment: so long ago, RFC 3339, or milliseconds since 1970.
fn moment(text: &str, now: Moment) -> Result<Moment, String> {
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(Moment::from_micros(ms.saturating_mul(1000)));
    }
    if let Ok(span) = parse_duration(text) {
        return Ok(now.before(span));
    }
    text.parse()
        .map_err(|_| format!("`since` must be such as 2h, 2026-11-26T11:00:00Z, or milliseconds since 1970, not `{text}`"))
}

fn kinds(text: Option<&str>) -> Result<Vec<Kind>, String> {
    let words = text.unwrap_or_default().split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| word.parse::<Kind>().map_err(|error| error.to_string()))
        .collect()
}

/// What is in an event of `/events`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(
    dead_code,
    reason = "entries are sent as the lines that they are on disk"
)]
pub(super) enum Followed {
    /// Something has happened; the name of the event is its kind.
    Happened(Box<Entry>),
    /// So many entries were not read fast enough; the name of the event is `missed`.
    Missed(u64),
}

/// `GET /events`: entries as they are made, as server-sent events, until the server stops.
pub(super) async fn events(State(state): Shared, Query(wanted): Query<Wanted>) -> Response {
    let kinds = match kinds(wanted.kinds.as_deref()) {
        Ok(kinds) => kinds,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let Some(place) = Place::take(&state.followers) else {
        let text = format!("{FOLLOWERS_MAX} are following already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let following = follow(state.journal.follow(), kinds, place);
    let stop = state.stop.clone();
    let following = following.take_until(async move { stop.cancelled().await });
    Sse::new(following)
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response()
}

fn follow(
    feed: Receiver<Arc<Entry>>,
    kinds: Vec<Kind>,
    place: Place,
) -> impl Stream<Item = Result<Sent, Infallible>> {
    stream::unfold(
        (feed, kinds, place),
        |(mut feed, kinds, place)| async move {
            let sent = loop {
                match feed.recv().await {
                    Ok(entry) if kinds.is_empty() || kinds.contains(&entry.kind()) => {
                        let sent = Sent::default().event(entry.kind().label());
                        let sent = sent.id(entry.at_ms.to_string());
                        break sent.data(String::from_utf8_lossy(entry.line().trim_ascii_end()));
                    }
                    Ok(_) => {}
                    // it was not read fast enough
                    Err(RecvError::Lagged(missed)) => {
                        break Sent::default().event("missed").data(missed.to_string());
                    }
                    Err(RecvError::Closed) => return None,
                }
            };
            Some((Ok(sent), (feed, kinds, place)))
        },
    )
}

/// One of those who follow; it is free again when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(followers: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(followers));
        // counted before it is known whether there is room: dropping it takes that back
        (followers.fetch_add(1, Ordering::Relaxed) < FOLLOWERS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
