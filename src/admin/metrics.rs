//! `/metrics`: what Prometheus scrapes. Owns where each number is read; their names and the text are in
//! [`metrics`](crate::telemetry::metrics).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use tokio::runtime::Handle;

use crate::fragment::OriginId;
use crate::telemetry::metrics::{Format, Reading};

use super::{AdminState, level};

/// What `/metrics` tells.
pub(super) async fn metrics(State(state): State<Arc<AdminState>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let text = state.metrics.text(&reading(&state), format);
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

/// How it is now.
pub fn reading(state: &AdminState) -> Reading {
    let edition = state.edition.load_full();
    let (clock, cache) = (state.composer.clock(), state.composer.cache());
    let flights = state.composer.flights();
    let origins = edition.site.origins.iter().enumerate();
    let origins = origins.map(|(index, origin)| {
        let state = edition.fetcher.state(OriginId(index));
        (origin.name.clone(), state)
    });
    let faults = state.chaos.counted().into_iter();
    let faults = faults.map(|counted| (counted.harm, counted.on, counted.requests));
    Reading {
        uptime: clock.uptime(clock.now()),
        level: level::present(state),
        by_law: state.mode.load().given_up(),
        tick: state.samples.last(),
        lag: state.lag.present(),
        tasks: Handle::current().metrics().num_alive_tasks(),
        pages_in_flight: (state.pages_in_flight)(),
        pages_shed: (state.pages_shed)(),
        flights: flights.under_way,
        flights_launched: flights.launched,
        flights_joined: flights.joined,
        cache: cache.stats(),
        disk: cache.disk().map(|disk| disk.state()),
        shared: cache.shared().map(|shared| shared.state()),
        pushed: state.tally.state().pushed,
        origins: origins.collect(),
        blocks: edition.fetcher.block_states(),
        faults: faults.collect(),
        slos: state.slos.states(),
    }
}
