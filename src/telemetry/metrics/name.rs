//! The names of all metrics and their labels, the only place where they are written. Owns what each
//! means and how many series it may have; measures nothing.
//!
//! Invariant: the values of a label come from the site's declarations or from words of this program,
//! never from a request, so a site has at most [`series_max`] series, whatever readers ask for.

use crate::fragment::Grade;
use crate::report::{BreakerState, Cause, Outcome};
use crate::site::Site;

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
    /// A page of the site.
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
    /// An origin of the site.
    Origin,
    /// One of [`REFUSALS`].
    Refusal,
    /// One of [`Grade::ALL`].
    Grade,
    /// One of [`BreakerState::ALL`].
    State,
    /// One of [`RESULTS`].
    Result,
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
            Self::Cause | Self::Refusal => "cause",
            Self::Origin => "origin",
            Self::Grade => "grade",
            Self::State => "state",
            Self::Result => "result",
            Self::Version => "version",
        }
    }

    /// How many values it has at most.
    fn values_max(self, site: &Site) -> usize {
        match self {
            Self::Page => site.pages.len(),
            Self::Level => levels(site),
            Self::Completeness => COMPLETENESS.len(),
            Self::Fragment => site.fragments.len(),
            Self::Outcome => Outcome::LABELS.len(),
            Self::Cause => Cause::LABELS.len(),
            Self::Origin => site.origins.len(),
            Self::Refusal => REFUSALS.len(),
            Self::Grade => Grade::ALL.len(),
            Self::State => BreakerState::ALL.len(),
            Self::Result => RESULTS.len(),
            Self::Version => 1,
        }
    }
}

/// Levels that a page may have been planned at: 0, one for each step, and one for snapshots.
pub fn levels(site: &Site) -> usize {
    site.ladder.steps().len() + 2
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
    FragmentShed Counter "marbre_fragment_shed" [Fragment] "Slots that the level gave up."
    BlockLimited Counter "marbre_block_limited" [Fragment] "Requests not made because the block's origin is slower than usual."
    BlockShare Gauge "marbre_block_share_ratio" [Fragment] "The share of the readers whose pages ask for an optional block."
    AttemptDuration Histogram "marbre_origin_attempt_duration_seconds" [Origin] "One try at an origin, from its start to the last byte or the failure."
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
    Level Gauge "marbre_level" [] "The level that everybody's pages have at least; 0 is the full page."
    LevelByLaw Gauge "marbre_level_by_law" [] "What the law alone has decided."
    Theta Gauge "marbre_theta_ratio" [] "The share of the optional work of a page that can be afforded."
    Admission Gauge "marbre_admission_ratio" [] "The share of pages that are composed; the others are their snapshots."
    Phi Gauge "marbre_phi_ratio" [] "The share of optional requests that origins can take."
    WorkRate Gauge "marbre_work_rate_seconds" [] "Work that is known to get done, in seconds of work a second."
    QueueDelay Gauge "marbre_queue_delay_seconds" [] "How long work waits for its turn: the law's signal."
    Lag Gauge "marbre_runtime_lag_seconds" [] "How late the runtime's timers are at present."
    PagesInFlight Gauge "marbre_pages_in_flight" [] "Pages being composed."
    Flights Gauge "marbre_flights" [] "Flights under way."
    CacheEntries Gauge "marbre_cache_entries" [] "Copies in memory."
    CacheBytes Gauge "marbre_cache_bytes" [] "Bytes of copies in memory."
    CacheBytesMax Gauge "marbre_cache_max_bytes" [] "Bytes that copies in memory may take."
    Pushed Counter "marbre_pushed" [] "Copies that were pushed or withdrawn."
    Reloads Counter "marbre_reloads" [Result] "Times that the site was read again."
    AccessLogLost Counter "marbre_access_log_lost" [] "Records of the access log that could not be written."
    Purges Counter "marbre_purges" [] "Times that copies were purged."
}

/// Series that a site has at most.
pub fn series_max(site: &Site) -> usize {
    let of = |metric: &Metric| {
        let labels = metric.labels().iter();
        let series: usize = labels.map(|label| label.values_max(site)).product();
        match metric.kind() {
            Kind::Counter | Kind::Gauge => series,
            // the buckets, the one that has no end, the sum and the count
            Kind::Histogram => series * (BUCKETS.len() + 3),
        }
    };
    Metric::ALL.iter().map(of).sum()
}
