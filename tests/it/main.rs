//! Black-box tests over real sockets, one file a property. Each test is a story with three actors:
//! an origin, a newsroom, a reader (see `support`).

#![allow(clippy::unwrap_used, reason = "a test that fails is meant to panic")]

mod support;

mod accounts;
mod admin;
mod blast_radius;
mod bulkhead;
mod cli;
mod coalescing;
mod compression;
mod config_diagnostics;
mod connections;
mod copies;
mod core_always_renders;
mod core_behind_a_breaker;
mod corrupt_state;
mod dashboard;
mod deadlines;
mod degradation;
mod demo;
mod disk_full;
mod empty_over_full;
mod hedging;
mod hostile_origins;
mod hostile_requests;
mod journal;
mod kill_nine;
mod lazy;
mod limits;
mod list_partial;
mod metrics;
mod openapi;
mod page_snapshots;
mod personal_never_shared;
mod proxy;
mod purge;
mod push_versions;
mod real_origins;
mod real_replicas;
mod rehearsal;
mod rehearsed_incident;
mod reload;
mod replicas;
mod restart_with_origins_dead;
mod retries;
mod revalidation;
mod shared_store;
mod simulate;
mod snapshot_command;
mod stale;
mod stampede;
mod stand_ins;
mod static_files;
mod status_from_core;
mod status_page;
mod switches;
mod traces;
mod two_nodes;
mod unread;
mod valkey_gone;
mod whole_or_nothing;
