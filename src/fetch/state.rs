//! How an origin is, for people and machines. Owns the names under which that is told; measures
//! nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Instant;
use crate::fragment::Grade;
use crate::site::Role;

use super::balance::Condition;
use super::breaker::Breaker;
use super::door::Door;
use super::guards::{Counts, Guards};

/// How an origin is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OriginState {
    /// Whether it is late because of something that it has in common with others, so that this is not
    /// held against it.
    pub shared_fault: bool,
    /// Requests in flight.
    pub in_flight: usize,
    /// How many it may have.
    pub max_in_flight: usize,
    /// Of these, how many no optional fragment can take.
    pub reserved: usize,
    /// Whether it is asked, by the grade of who asks: `core`, `essential`, `optional`.
    pub breaker: BTreeMap<&'static str, BreakerReport>,
    /// Half of its answers take no longer, in milliseconds; `None` before there were enough.
    pub p50_ms: Option<f64>,
    /// 95 of 100 take no longer, in milliseconds.
    pub p95_ms: Option<f64>,
    /// How often what has happened.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its replicas, in the order of the declaration.
    pub replicas: Vec<ReplicaState>,
}

/// How a breaker is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BreakerReport {
    /// `closed`, `open`, `half_open` or `recovering`.
    pub state: &'static str,
    /// Percent of the requests that are let through.
    pub share_percent: u8,
    /// For how long it has been so, in seconds.
    pub since_s: f64,
    /// What opened it last; `None` if nothing ever did.
    pub opened_because: Option<String>,
    /// Times that it has opened without a good spell between.
    pub trips: u32,
    /// When the next request is let through to find out, in milliseconds from now; `None` unless open.
    pub next_probe_ms: Option<u128>,
}

/// How a replica is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReplicaState {
    /// Where it is.
    pub url: String,
    /// `primary`, `canary` or `read_replica`.
    pub role: &'static str,
    /// Percent of an equal share; 0 of a canary that was withdrawn, or is not asked at present.
    pub weight: u8,
    /// Requests in flight.
    pub in_flight: u32,
    /// Times that it was asked.
    pub asked: u64,
    /// Of which it failed, a missed deadline included.
    pub failed: u64,
    /// What a good answer of it typically takes, in milliseconds.
    pub typical_ms: Option<f64>,
    /// Whether its health check is content; `None` if there is none.
    pub healthy: Option<bool>,
    /// Whether it is ejected.
    pub breaker: BreakerReport,
}

/// How an optional fragment is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BlockState {
    /// The origin that is asked for it.
    pub origin: String,
    /// Requests that may be in flight for it at once, at present.
    pub limit: usize,
    /// Requests that are.
    pub in_flight: usize,
    /// The share of the readers whose pages ask for it.
    pub share: f64,
    /// What an answer takes usually, in milliseconds; `None` before there were any.
    pub baseline_ms: Option<f64>,
    /// Requests that were refused because its origin is slower than usual.
    pub refused: u64,
}

pub(super) fn of(door: &Door, shared_fault: bool) -> OriginState {
    let now = door.means.clock.now();
    let guards = door.guards.lock();
    let known = guards.latency.quantiles(now);
    let replicas = door.spec.replicas.iter().zip(guards.balance.conditions());
    let replicas = replicas.map(|(spec, condition)| {
        let Condition {
            breaker,
            in_flight,
            asked,
            failed,
            typical,
            is_healthy,
            is_put_aside,
        } = condition;
        ReplicaState {
            url: spec.to_string(),
            role: match spec.role {
                Role::Primary if spec.is_canary() => "canary",
                Role::Primary => "primary",
                Role::ReadReplica => "read_replica",
            },
            weight: if is_put_aside { 0 } else { spec.weight },
            in_flight,
            asked,
            failed,
            typical_ms: typical.map(ms),
            healthy: door.spec.health.as_ref().map(|_| is_healthy),
            breaker: report(breaker, now),
        }
    });
    OriginState {
        shared_fault,
        in_flight: guards.bulkhead.in_flight(),
        max_in_flight: door.spec.max_in_flight,
        reserved: door.spec.reserved,
        breaker: breakers(&guards, now),
        p50_ms: known.map(|known| ms(known.p50)),
        p95_ms: known.map(|known| ms(known.p95)),
        counts: guards.counts,
        replicas: replicas.collect(),
    }
}

fn breakers(guards: &Guards, now: Instant) -> BTreeMap<&'static str, BreakerReport> {
    let breakers = Grade::ALL.map(|grade| (grade.label(), report(guards.breaker(grade), now)));
    breakers.into_iter().collect()
}

fn report(breaker: &Breaker, now: Instant) -> BreakerReport {
    let (state, why, changed) = breaker.state();
    let (share_percent, next_probe) = breaker.share();
    let until = |at: Instant| at.saturating_duration_since(now).as_millis();
    BreakerReport {
        state: state.label(),
        share_percent,
        since_s: now.saturating_duration_since(changed).as_secs_f64(),
        opened_because: why.map(|why| why.to_string()),
        trips: breaker.trips(),
        next_probe_ms: next_probe.map(until),
    }
}

pub(super) fn ms(span: Duration) -> f64 {
    // a hundredth of a millisecond is more than anybody needs
    (span.as_secs_f64() * 1e5).round() / 1e2
}
