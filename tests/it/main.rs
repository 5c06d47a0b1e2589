//! Black-box tests over real sockets, one file a property. Each test is a story with three actors:
//! an origin, a newsroom, a reader (see `support`).

#![allow(clippy::unwrap_used, reason = "a test that fails is meant to panic")]

mod support;

mod coalescing;
mod config_diagnostics;
mod core_always_renders;
mod deadlines;
mod demo;
mod hostile_origins;
mod real_origins;
mod stale;
mod status_from_core;
mod whole_or_nothing;
