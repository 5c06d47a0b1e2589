//! `/live` and `/history`: how it goes, once a second, and how it went. Owns the second: what was
//! counted in it is remembered, and told to whoever listens, who are of a bounded number.
//!
//! Invariants: one account is made a second, however many listen, and none while nobody does; a
//! listener that is slow misses seconds and holds nobody up.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Instant;
use crate::degradation::Level;
use crate::telemetry::pulse::BlockBeat;
use crate::telemetry::{Beat, History, Pulse};

use super::picture::{self, Counted};
use super::{AdminState, journal, level};

type Shared = State<Arc<AdminState>>;

/// Between two accounts.
const BEAT: Duration = Duration::from_secs(1);

/// Seconds that a block's state is read from: one that fails now and then is not seen to flicker.
const LATELY: usize = 5;

/// Who may listen at once.
const LISTENERS_MAX: usize = 64;

/// What is told, and to whom.
pub struct Live {
    pulse: Arc<Pulse>,
    history: History,
    told: watch::Sender<Arc<str>>,
    listeners: Arc<Semaphore>,
}

impl Live {
    /// Nothing has been counted.
    pub fn new(pulse: Arc<Pulse>) -> Self {
        Self {
            pulse,
            history: History::default(),
            told: watch::Sender::new(Arc::from("")),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
        }
    }
}

/// What is remembered from second to second.
struct Memory {
    then: Instant,
    /// What blocks came to, second by second, the last one last.
    lately: VecDeque<BTreeMap<String, BlockBeat>>,
    /// The last one that was read of what the law has decided, in milliseconds since 1970.
    sample_ms: u64,
    /// Since when origins are not asked as ever: a breaker that tries again and again is one trouble.
    sick: BTreeMap<String, Instant>,
}

/// Counts the seconds, until the server stops.
pub async fn run(state: Arc<AdminState>) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut memory = Memory {
        then: state.composer.clock().now(),
        lately: VecDeque::new(),
        sample_ms: 0,
        sick: BTreeMap::new(),
    };
    ticks.tick().await;
    loop {
        tokio::select! {
            () = state.stop.cancelled() => return,
            _ = ticks.tick() => beat(&state, &mut memory),
        }
    }
}

fn beat(state: &AdminState, memory: &mut Memory) {
    let live = &state.live;
    let clock = state.composer.clock();
    let now = clock.now();
    let at_ms = clock.moment(now).micros() / 1000;
    let span = now.saturating_duration_since(memory.then);
    memory.then = now;
    let (counted, blocks) = live.pulse.turn(at_ms, span);
    let missing = blocks.iter().filter(|(_, block)| {
        let BlockBeat {
            missing,
            given_up,
            instead,
            ..
        } = block;
        missing + given_up + instead > 0
    });
    let beat = Beat {
        missing: missing.map(|(name, _)| name.clone()).collect(),
        sick: picture::sick(state),
        ..decided(state, counted, &mut memory.sample_ms)
    };
    memory.sick.retain(|name, _| beat.sick.contains(name));
    for name in &beat.sick {
        memory.sick.entry(name.clone()).or_insert(now);
    }
    if memory.lately.len() >= LATELY {
        memory.lately.pop_front();
    }
    memory.lately.push_back(blocks);
    live.history.add(beat.clone());
    if live.told.receiver_count() > 0 {
        live.told.send_replace(account(state, beat, memory));
    }
}

/// A second, with the worst of what the law has decided in it.
fn decided(state: &AdminState, counted: Beat, since_ms: &mut u64) -> Beat {
    let ticks = state.samples.since(*since_ms);
    let level = level::present(state).max(match state.mode.load().gives_up() {
        true => ticks
            .last()
            .map_or(Level::FULL, |tick| Level::new(tick.level)),
        false => Level::FULL,
    });
    let beat = Beat {
        level: level.get(),
        ..counted
    };
    let Some(last) = ticks.last() else {
        return beat;
    };
    *since_ms = last.at_ms;
    let round = |number: f64| (number * 1e3).round() / 1e3;
    let worst = |of: fn(&crate::telemetry::samples::Tick) -> f64| {
        round(ticks.iter().map(of).fold(1.0, f64::min))
    };
    Beat {
        queue_delay_ms: round(
            ticks
                .iter()
                .map(|tick| tick.queue_delay_ms)
                .fold(0.0, f64::max),
        ),
        theta: worst(|tick| tick.theta),
        admit: worst(|tick| tick.admit),
        phi: worst(|tick| tick.phi),
        ..beat
    }
}

fn account(state: &AdminState, now: Beat, memory: &Memory) -> Arc<str> {
    let mut blocks: BTreeMap<String, BlockBeat> = BTreeMap::new();
    for (name, later) in memory.lately.iter().flatten() {
        let block = blocks.entry(name.clone()).or_default();
        block.shown += later.shown;
        block.old += later.old;
        block.instead += later.instead;
        block.missing += later.missing;
        block.given_up += later.given_up;
        block.cause = later.cause.clone().or(block.cause.take());
    }
    let lately = state.live.history.last(LATELY);
    let at = state.composer.clock().now();
    let lasts = |since: &Instant| at.saturating_duration_since(*since).as_secs();
    let sick_s = memory
        .sick
        .iter()
        .map(|(name, since)| (name.clone(), lasts(since)));
    let counted = Counted {
        now,
        lately: &lately,
        blocks: &blocks,
        sick_s: &sick_s.collect(),
    };
    let picture = picture::take(state, counted);
    Arc::from(serde_json::to_string(&picture).expect("numbers and words are JSON"))
}

/// Server-sent events: one account a second, until the server stops or the listener leaves.
pub(super) async fn live(State(state): Shared) -> Response {
    let place = Arc::clone(&state.live.listeners).try_acquire_owned();
    let Ok(place) = place.map_err(|_| ()) else {
        return busy("as many listen as may; try again in a moment\n");
    };
    if state.stop.is_cancelled() {
        return busy("stopping\n");
    }
    let stop = state.stop.clone().cancelled_owned();
    let told = told(&state.live, place).take_until(stop);
    Sse::new(told)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

fn told(
    live: &Live,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let told = live.told.subscribe();
    stream::unfold((told, place), |(mut told, place)| async move {
        told.changed().await.ok()?;
        let text = Arc::clone(&told.borrow_and_update());
        Some((Ok(Event::default().data(&*text)), (told, place)))
    })
}

fn busy(text: &'static str) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, [(RETRY_AFTER, "1")], text).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    since: Option<String>,
}

/// How it went: the last hours by tens of seconds, the last minutes by seconds.
pub(super) async fn history(State(state): Shared, Query(query): Query<HistoryQuery>) -> Response {
    match journal::since_ms(query.since.as_deref(), &state) {
        Ok(since_ms) => Json(state.live.history.since(since_ms)).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}
