//! The guards of an origin without its requests, for virtual time. Owns nothing but the order in which
//! a request without retries asks and tells them, which is that of an [exchange](super::exchange); the
//! guards are those that stand before every origin. Pure: time and chance are arguments.

use std::time::Duration;

use crate::clock::Instant;
use crate::fragment::Grade;
use crate::report::BreakerState;
use crate::site::{
    Address, BreakerPolicy, Connections, OriginSpec, ReplicaSpec, RetryPolicy, Role,
};

use super::breaker::Need;
use super::guards::{Asker, Guards, Permit, Ticket, Tidings};
use super::shared_fault::SharedFault;
use super::verdict::Verdict;

/// Uniform in 0..1, as often as it is asked.
pub(crate) type Chance<'c> = &'c mut dyn FnMut() -> f64;

/// Looks at all origins at a tick, as [`Fetcher::tick`](super::Fetcher::tick) does: whether they are late
/// for a common reason.
#[derive(Debug, Default)]
pub(crate) struct Witness(SharedFault);

impl Witness {
    /// What comes late from now on is held against the origins, or is not. `is_short` says of one, by its
    /// place, that less is asked of it already because many are short.
    pub(crate) fn look(
        &mut self,
        gates: &mut [Gate],
        is_short: impl Fn(usize) -> bool,
        now: Instant,
    ) {
        let late: Vec<_> = gates
            .iter_mut()
            .map(|gate| gate.guards.lately(now))
            .collect();
        let is_shared = self.0.look(late, now);
        for (place, gate) in gates.iter_mut().enumerate() {
            gate.guards.inhibit(is_shared || is_short(place));
        }
    }
}

/// What stands before an origin of one replica.
#[derive(Debug)]
pub(crate) struct Gate {
    guards: Guards,
    /// How often its breakers have shut or opened it to those who ask.
    moves: u64,
}

/// Leave to make one request; to be given back with what became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    permit: Permit,
    ticket: Ticket,
    since: Instant,
    /// How long it may take.
    timeout: Duration,
}

impl Leave {
    /// How long the request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Gate {
    /// Before an origin that may be asked so many requests at once.
    pub(crate) fn new(
        name: &str,
        max_in_flight: usize,
        breaker: BreakerPolicy,
        now: Instant,
    ) -> Self {
        let spec = OriginSpec {
            name: name.to_owned(),
            replicas: vec![ReplicaSpec {
                address: Address::Url("http://origin".to_owned()),
                weight: 100,
                role: Role::Primary,
            }],
            owner: None,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            max_in_flight,
            reserved: 0,
            connections: Connections {
                idle_max: max_in_flight,
                idle_timeout: Duration::from_secs(50),
                http2: false,
                ca: None,
                dns_ttl: Duration::from_secs(30),
                public_only: false,
            },
            breaker,
            retry: RetryPolicy {
                attempts: 1,
                budget_percent: 0,
                backoff: Duration::ZERO,
                statuses: Vec::new(),
            },
            hedge_percent: 0,
            health: None,
            availability: None,
            depends_on: Vec::new(),
        };
        Self {
            guards: Guards::new(&spec, now),
            moves: 0,
        }
    }

    /// Leave for a page's request, which has something to show instead; `None` where it does without.
    /// While the breaker is open a page's request is none: probes are made off the page.
    pub(crate) fn ask(
        &mut self,
        grade: Grade,
        timeout: Duration,
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<Leave> {
        match self.is_open(grade) {
            true => None,
            false => self.enter(grade, Need::Wanted, timeout, now, chance),
        }
    }

    /// Leave for a probe, if one is due.
    pub(crate) fn probe(
        &mut self,
        grade: Grade,
        timeout: Duration,
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<Leave> {
        self.guards.breaker(grade).probe_due(now)?;
        self.enter(grade, Need::Probe, timeout, now, chance)
    }

    fn enter(
        &mut self,
        grade: Grade,
        need: Need,
        timeout: Duration,
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<Leave> {
        let asker = Asker { grade, need };
        let mut news = Tidings::default();
        let entered = self.guards.enter(asker, now, chance, &mut news);
        self.note(&news);
        let (permit, ticket) = entered.ok()?;
        Some(Leave {
            permit,
            ticket,
            since: now,
            timeout,
        })
    }

    /// It was answered in time.
    pub(crate) fn answered(&mut self, leave: Leave, now: Instant, chance: Chance<'_>) {
        let Leave {
            permit,
            ticket,
            since,
            timeout,
        } = leave;
        let mut news = Tidings::default();
        let took = now.saturating_duration_since(since);
        let verdict = match self.guards.is_slow(took, timeout, now) {
            true => Verdict::Slow,
            false => Verdict::Good,
        };
        self.guards
            .attempted(ticket, Verdict::Good, now, chance(), &mut news);
        self.guards.answered(Some(permit), ticket, took, None, now);
        self.guards
            .settled(permit, verdict, now, chance(), &mut news);
        self.note(&news);
    }

    /// It has missed its deadline, and nobody waits for it any more.
    pub(crate) fn missed(&mut self, leave: Leave, now: Instant, chance: Chance<'_>) {
        let Leave { permit, ticket, .. } = leave;
        let mut news = Tidings::default();
        self.guards
            .settled(permit, Verdict::Missed, now, chance(), &mut news);
        self.guards.failed(ticket, now, chance(), &mut news);
        self.guards.abandoned(ticket);
        self.note(&news);
    }

    /// Whether nothing is asked for a grade, but for what finds out whether it should be.
    pub(crate) fn is_open(&self, grade: Grade) -> bool {
        self.guards.breaker(grade).is_open()
    }

    /// Whether it is to be found out now how the origin is.
    pub(crate) fn is_probe_due(&self, grade: Grade, now: Instant) -> bool {
        self.guards.breaker(grade).probe_due(now).is_some()
    }

    /// How often its breakers have shut or opened it to those who ask.
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    /// Counts what matters to those who ask: that they may not any more, and that they may again. What
    /// it takes to find that out is not counted.
    fn note(&mut self, news: &Tidings) {
        let moves = news.origin.iter().filter(|(_, moved)| {
            let was_asked = matches!(moved.from, BreakerState::Closed | BreakerState::Recovering);
            let is_shut = moved.to == BreakerState::Open && was_asked;
            is_shut || moved.to == BreakerState::Closed
        });
        self.moves += moves.count() as u64;
    }
}
