//! The names of all metrics and their labels, the only place where they are written. Owns what each
//! means and how many series it may have; measures nothing.
//!
//! Invariant: the values of a label come from the site's declarations or from words of this program,
//! never from a request, so a site has at most [`series_max`] series, whatever readers ask for.

use crate::fragment::Grade;
use crate::report::{BreakerState, Cause, Found, Loss, Outcome, Tier};
use crate::site::chaos::HarmKind;
use crate::site::{OriginSpec, Site};
use crate::telemetry::slo::burn::WINDOWS;

/// Upper ends of the buckets of all durations, in seconds.
pub const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 2.5, 10.0,
];

/// What became of a page, by the place of its word.
pub const COMPLETENESS: [&str; 6] = [
    "complete",
    "incomplete",
    "snapshot",
    "unavailable",
    "other_status",
    "left",
];

/// Why an origin's door did not let a request in.
pub const REFUSALS: [&str; 2] = ["open", "busy"];

/// Why a block was given up before anybody was asked for it: by the level, by an operator, because its
/// origin is slower than usual, because it is left alone, because it is at its limit.
pub const SHED: [&str; 5] = ["level", "switched", "limited", "open", "busy"];

/// Why a page was not composed as it should be: by the law, because there was no place, because its turn
/// came too late; and, besides, that not even its text could be composed then.
pub const PAGES_SHED: [&str; 4] = ["admission", "full", "late", "refused"];

/// What the shared store does with a question.
pub const CALLS: [&str; 5] = ["hit", "miss", "skipped", "timeout", "error"];

/// What becomes of what is sent to a collector: it is taken, or does not arrive, or the collector says that
/// it has not taken it, or not all of it.
pub const DELIVERIES: [&str; 3] = ["sent", "lost", "refused"];

/// How reloads end.
pub const RESULTS: [&str; 2] = ["ok", "refused"];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is.
    Gauge,
    /// Durations in seconds, in [`BUCKETS`].
    Histogram,
}

impl Kind {
    /// Its word in the text formats.
    pub fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// By what the series of a metric are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A page of the site, or the route of a proxy whose documents are woven.
    Page,
    /// A level of the site's ladder.
    Level,
    /// One of [`COMPLETENESS`].
    Completeness,
    /// A fragment of the site.
    Fragment,
    /// One of [`Outcome::LABELS`].
    Outcome,
    /// One of [`Cause::LABELS`].
    Cause,
    /// One of [`Loss::LABELS`].
    Loss,
    /// One of [`SHED`].
    Shed,
    /// One of [`PAGES_SHED`].
    PageShed,
    /// One of [`Tier::ALL`].
    Tier,
    /// One of [`Found::ALL`].
    Found,
    /// One of [`CALLS`].
    Call,
    /// One of [`DELIVERIES`].
    Delivery,
    /// An origin of the site.
    Origin,
    /// A replica of an origin that has several, as it is declared.
    Replica,
    /// One of [`REFUSALS`].
    Refusal,
    /// One of [`Grade::ALL`].
    Grade,
    /// One of [`BreakerState::ALL`].
    State,
    /// One of [`RESULTS`].
    Result,
    /// One of [`HarmKind::ALL`].
    Harm,
    /// What a fault can be on: an origin or a fragment of the site, or the shared store.
    FaultOn,
    /// An objective of the site.
    Slo,
    /// One of [`WINDOWS`].
    Window,
    /// The version of this program.
    Version,
}

impl Label {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Level => "level",
            Self::Completeness => "completeness",
            Self::Fragment => "fragment",
            Self::Outcome => "outcome",
            Self::Cause | Self::Refusal | Self::Loss | Self::Shed | Self::PageShed => "cause",
            Self::Tier => "tier",
            Self::Found | Self::Call | Self::Delivery => "result",
            Self::Origin => "origin",
            Self::Replica => "replica",
            Self::Grade => "grade",
            Self::State => "state",
            Self::Result => "result",
            Self::Harm => "harm",
            Self::FaultOn => "target",
            Self::Slo => "slo",
            Self::Window => "window",
            Self::Version => "version",
        }
    }

    /// How many values it has at most.
    fn values_max(self, site: &Site) -> usize {
        match self {
            Self::Page => site.page_names().count(),
            Self::Level => levels(site),
            Self::Completeness => COMPLETENESS.len(),
            Self::Fragment => site.fragments.len(),
            Self::Outcome => Outcome::LABELS.len(),
            Self::Cause => Cause::LABELS.len(),
            Self::Loss => Loss::LABELS.len(),
            Self::Shed => SHED.len(),
            Self::PageShed => PAGES_SHED.len(),
            Self::Tier => Tier::ALL.len(),
            Self::Found => Found::ALL.len(),
            Self::Call => CALLS.len(),
            Self::Delivery => DELIVERIES.len(),
            Self::Origin => site.origins.len(),
            Self::Replica => site.origins.iter().map(replicas).sum(),
            Self::Refusal => REFUSALS.len(),
            Self::Grade => Grade::ALL.len(),
            Self::State => BreakerState::ALL.len(),
            Self::Result => RESULTS.len(),
            Self::Harm => HarmKind::ALL.len(),
            Self::FaultOn => site.origins.len() + site.fragments.len() + 1,
            Self::Slo => site.slos.len(),
            Self::Window => WINDOWS.len(),
            Self::Version => 1,
        }
    }
}

/// Levels that a page may have been planned at: 0, one for each step, and one for snapshots.
pub fn levels(site: &Site) -> usize {
    site.ladder.steps().len() + 2
}

/// Replicas of an origin that are told apart: where there is one, it is the origin.
fn replicas(origin: &OriginSpec) -> usize {
    match origin.replicas.len() {
        1 => 0,
        several => several,
    }
}

macro_rules! metrics {
    ($($name:ident $kind:ident $text:literal [$($label:ident),*] $help:literal)*) => {
        /// A metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Metric {
            $(#[doc = $help] $name,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, without the suffixes that the formats add.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it is.
            pub fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What its series are told apart by, in the order in which values are given.
            pub fn labels(self) -> &'static [Label] {
                match self { $(Self::$name => &[$(Label::$label),*],)* }
            }

            /// What it says.
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

metrics! {
    Build Gauge "marbre_build_info" [Version] "Always 1; which version this is."
    Uptime Gauge "marbre_uptime_seconds" [] "Since the start of the process."
    Pages Counter "marbre_pages" [Page, Level, Completeness] "Pages that have ended."
    PageDuration Histogram "marbre_page_duration_seconds" [Page] "From the request to the last byte of the page, or to the reader's leaving."
    PageHead Histogram "marbre_page_head_seconds" [Page] "From the request to the response head: the reader's first byte."
    FragmentOutcomes Counter "marbre_fragment_outcomes" [Fragment, Outcome] "How the slots of a fragment were filled, or that they were not."
    FragmentDuration Histogram "marbre_fragment_duration_seconds" [Fragment] "From the start of the page to the moment when the slot was settled."
    FragmentTroubles Counter "marbre_fragment_troubles" [Fragment, Cause] "Slots that something stood in the way of, whatever filled them then, by what it was."
    FragmentShed Counter "marbre_fragment_shed" [Fragment, Shed] "Slots whose block was given up before anybody was asked for it, whatever filled them then, by why."
    ValueServed Counter "marbre_value_served" [Page] "What the blocks that readers got were worth, by their declared values."
    ValueLost Counter "marbre_value_lost" [Page, Loss] "What the blocks were worth that readers did not get, by why; an error page loses all of its blocks."
    PagesShed Counter "marbre_pages_shed" [PageShed] "Pages that got their snapshot or their text alone because composing them was too much; refused is what got nothing then, and is counted by what came first as well."
    BlockLimited Counter "marbre_block_limited" [Fragment] "Requests not made because the block's origin is slower than usual."
    BlockShare Gauge "marbre_block_share_ratio" [Fragment] "The share of the readers whose pages ask for an optional block."
    AttemptDuration Histogram "marbre_origin_attempt_duration_seconds" [Origin] "One try at an origin, from its start to the last byte or the failure; of what is passed through, to the head of the answer."
    OriginRequests Counter "marbre_origin_requests" [Origin] "Requests that fragments have asked an origin for."
    OriginFailed Counter "marbre_origin_failed" [Origin] "Requests that failed, a missed deadline included."
    OriginSlow Counter "marbre_origin_slow" [Origin] "Requests that were answered, but slowly."
    OriginRefused Counter "marbre_origin_refused" [Origin, Refusal] "Requests that were not made, as the breaker was open or the origin at its limit."
    OriginAttempts Counter "marbre_origin_attempts" [Origin] "Attempts in all."
    OriginRetries Counter "marbre_origin_retries" [Origin] "Attempts that were made again after a failure."
    OriginFailovers Counter "marbre_origin_failovers" [Origin] "Attempts at another replica because one could not be reached."
    OriginHedges Counter "marbre_origin_hedges" [Origin] "Attempts at a second replica because the first was slow."
    OriginHedgesWon Counter "marbre_origin_hedges_won" [Origin] "Hedges that were faster than the first attempt."
    OriginInFlight Gauge "marbre_origin_in_flight" [Origin] "Requests in flight."
    OriginInFlightMax Gauge "marbre_origin_in_flight_max" [Origin] "Requests that may be in flight."
    BreakerState Gauge "marbre_origin_breaker_state" [Origin, Grade, State] "1 for the state in which the breaker is, 0 for the others; closed is healthy."
    ReplicaAttempts Counter "marbre_replica_attempts" [Origin, Replica] "Attempts at one of several replicas."
    ReplicaFailed Counter "marbre_replica_failed" [Origin, Replica] "Attempts at it that failed, a missed deadline included."
    ReplicaInFlight Gauge "marbre_replica_in_flight" [Origin, Replica] "Requests in flight at it."
    ReplicaWeight Gauge "marbre_replica_weight_ratio" [Origin, Replica] "Its share of an equal share; 0 of a canary that was withdrawn."
    ReplicaTypical Gauge "marbre_replica_typical_seconds" [Origin, Replica] "What a good answer of it typically takes."
    ReplicaHealthy Gauge "marbre_replica_healthy" [Origin, Replica] "1 where its health check is content, 0 where it is not."
    ReplicaState Gauge "marbre_replica_breaker_state" [Origin, Replica, State] "1 for the state in which its breaker is, 0 for the others; open is ejected."
    Level Gauge "marbre_level" [] "The level that everybody's pages have at least; 0 is the full page."
    LevelByLaw Gauge "marbre_level_by_law" [] "What the law alone has decided."
    Theta Gauge "marbre_theta_ratio" [] "The share of the optional work of a page that can be afforded."
    Admission Gauge "marbre_admission_ratio" [] "The share of pages that are composed; the others are their snapshots."
    Phi Gauge "marbre_phi_ratio" [] "The share of optional requests that origins can take."
    WorkRate Gauge "marbre_work_rate_seconds" [] "Work that is known to get done, in seconds of work a second."
    QueueDelay Gauge "marbre_queue_delay_seconds" [] "How long work waits for its turn: the law's signal."
    Lag Gauge "marbre_runtime_lag_seconds" [] "How late the runtime's timers are at present."
    Tasks Gauge "marbre_tasks" [] "Tasks of the runtime that have not ended: connections, flights, and what goes on all the time."
    PagesInFlight Gauge "marbre_pages_in_flight" [] "Pages being composed."
    Flights Gauge "marbre_flights" [] "Flights under way."
    FlightsLaunched Counter "marbre_flights_launched" [] "Flights that were begun."
    FlightsJoined Counter "marbre_flights_joined" [] "Slots that waited for a flight which was under way for another: requests that were not made."
    CacheLookups Counter "marbre_cache_lookups" [Fragment, Tier, Found] "Slots that looked for a copy, by where they looked and what was there."
    CacheEntries Gauge "marbre_cache_entries" [Tier] "Copies in memory, and on this disk."
    CacheBytes Gauge "marbre_cache_bytes" [Tier] "Bytes of copies."
    CacheBytesMax Gauge "marbre_cache_max_bytes" [Tier] "Bytes that copies may take."
    CacheEvicted Counter "marbre_cache_evicted" [Tier] "Copies that went to make room for others."
    CacheWritten Counter "marbre_cache_written" [Tier] "Copies that were written to this disk, and to the shared store."
    CacheDropped Counter "marbre_cache_dropped" [Tier] "Copies that were not written: no room in the queue, too large, or trouble."
    SharedCalls Counter "marbre_cache_shared_calls" [Call] "Questions to the shared store, by what came of them."
    TraceSpans Counter "marbre_trace_spans" [Delivery] "Spans for the collector of traces, by what became of them."
    MetricExports Counter "marbre_metric_exports" [Delivery] "Exports of all metrics to a collector, by what became of them."
    Pushed Counter "marbre_pushed" [] "Copies that were pushed or withdrawn."
    Faults Counter "marbre_faults" [Harm, FaultOn] "Requests that a fault on purpose has hit, by what was done and on what; those of the shared store are its calls."
    Reloads Counter "marbre_reloads" [Result] "Times that the site was read again."
    AccessLogLost Counter "marbre_access_log_lost" [] "Records of the access log that could not be written."
    Purges Counter "marbre_purges" [] "Times that copies were purged."
    SloMeasured Counter "marbre_slo_measured" [Slo] "What an objective has measured: pages, or thousandths of what their blocks are worth."
    SloMissed Counter "marbre_slo_missed" [Slo] "Of what was measured, what readers did not get."
    SloMissedPages Counter "marbre_slo_missed_pages" [Slo] "Pages on which something was missed."
    SloObjective Gauge "marbre_slo_objective_ratio" [Slo] "The share that is to keep the promise."
    SloBudgetLeft Gauge "marbre_slo_budget_left_ratio" [Slo] "How much of the error budget is left over the period, on this server; below 0, more was missed than may be."
    SloBurn Gauge "marbre_slo_burn_ratio" [Slo, Window] "How many times as fast as it may be the error budget is used, on this server."
}

/// Series that a site has at most.
pub fn series_max(site: &Site) -> usize {
    let of = |metric: &Metric| {
        // a replica has its origin
        let is_of_replica = metric.labels().contains(&Label::Replica);
        let labels = metric.labels().iter();
        let labels = labels.filter(|label| !(is_of_replica && **label == Label::Origin));
        let series: usize = labels.map(|label| label.values_max(site)).product();
        match metric.kind() {
            Kind::Counter | Kind::Gauge => series,
            // the buckets, the one that has no end, the sum and the count
            Kind::Histogram => series * (BUCKETS.len() + 3),
        }
    };
    Metric::ALL.iter().map(of).sum()
}
