//! A scenario as it is written: the serde mirror, and through it the schema that scenarios are checked
//! against. Owns the keys, in the words of `fragments.toml` where there are such; does not know what
//! they mean together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::file::{At, Breaker, Constants, Name, Priority, TimeSpan};
use crate::degradation::law::{aimd, work_rate};

use super::expect::Expect;

/// A scenario for `marbre simulate`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "scenario")]
pub(super) struct File {
    /// What it shows, in a line.
    #[serde(default)]
    pub(super) about: String,
    /// Another file, relative to this one, that declares what this one does not: a site, most often.
    /// Of an origin, a fragment or a shared resource that both declare, this one's counts.
    #[schemars(length(min = 1), example = &"newsroom.toml")]
    pub(super) plant: Option<At<String>>,
    /// How long it lasts, and what is looked at.
    #[serde(default)]
    pub(super) run: Run,
    /// The composer: its work, and what befalls it.
    #[serde(default)]
    pub(super) composer: Composer,
    /// What several origins have behind them, such as a database.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, Shared>")]
    pub(super) shared: BTreeMap<String, Shared>,
    /// The services that answer for fragments.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, Origin>")]
    pub(super) origins: BTreeMap<String, Origin>,
    /// The pieces of the page.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, Fragment>")]
    pub(super) fragments: BTreeMap<String, Fragment>,
    /// How pages are degraded.
    #[serde(default)]
    pub(super) degradation: Degradation,
    /// Everything of a kind at once.
    #[serde(default)]
    pub(super) scale: Scale,
    /// Who reads: each from its moment until that of the next.
    #[serde(default)]
    pub(super) load: Vec<Load>,
    /// What goes wrong.
    #[serde(default)]
    pub(super) fault: Vec<Fault>,
    /// What must come of it.
    #[serde(default)]
    pub(super) expect: Expect,
}

/// How long it lasts, and what is looked at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Run {
    /// How long it lasts: "3m".
    #[serde(rename = "for")]
    #[schemars(extend("x-range" = ["1s", "1d"]))]
    pub(super) lasts: Option<At<TimeSpan>>,
    /// What the figures are of: from a moment until another. From the first change of the load or the
    /// first fault to the last, if absent; all of it where there is none.
    #[schemars(example = ["60s", "120s"])]
    pub(super) event: Option<Vec<At<TimeSpan>>>,
    /// Where chance begins: 1.
    pub(super) seed: Option<At<u32>>,
    /// How many readers there are: 2000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) readers: Option<At<u32>>,
    /// What the law has learned in a life before: milliseconds of work a second.
    #[schemars(range(min = 0.5, max = 10_000_000.0), example = 1500.0)]
    pub(super) learned_rate: Option<At<f64>>,
    /// The governor does not come to its turn, from a moment on, for so long.
    pub(super) stalls: Vec<Span>,
}

/// A time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    /// When it begins.
    pub(super) at: At<TimeSpan>,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub(super) lasts: At<TimeSpan>,
}

/// The composer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Composer {
    /// Milliseconds to plan a page.
    pub(super) plan_ms: Option<At<f64>>,
    /// Milliseconds to put it together.
    pub(super) assemble_ms: Option<At<f64>>,
    /// Milliseconds to answer with a snapshot.
    pub(super) snapshot_ms: Option<At<f64>>,
    /// How much jobs of a kind differ: deviation over mean.
    pub(super) cv: Option<At<f64>>,
    /// Work in the order in which it came, as a plain server does it; else as the executor has it.
    pub(super) in_order: Option<bool>,
    /// All of it stands still for a moment, as a collector of garbage or a noisy neighbour has it.
    pub(super) stutter: Option<Stutter>,
    /// Its speed, from a moment on.
    pub(super) speed: Vec<Speed>,
    /// What the work of a fragment costs, from a moment on: a new version was deployed.
    pub(super) deploy: Vec<Deploy>,
}

/// All of the composer stands still for a moment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stutter {
    /// From one to the next, on average.
    #[schemars(extend("x-range" = ["10ms", "1h"]))]
    pub(super) every: At<TimeSpan>,
    /// For how long.
    #[serde(rename = "for")]
    #[schemars(extend("x-range" = ["1ms", "10s"]))]
    pub(super) lasts: At<TimeSpan>,
}

/// The composer's speed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Speed {
    /// From when on.
    pub(super) at: At<TimeSpan>,
    /// 1 is the usual speed.
    pub(super) factor: At<f64>,
}

/// What work costs anew.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    /// From when on.
    pub(super) at: At<TimeSpan>,
    /// Of which fragments; of all, if absent.
    #[serde(default)]
    pub(super) fragments: Vec<At<String>>,
    /// Times what was declared.
    pub(super) factor: At<f64>,
}

/// What several origins have behind them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    /// How many it serves at once.
    #[schemars(range(min = 1, max = 100_000), example = 10)]
    pub(super) servers: At<u32>,
    /// How much what is asked of it differs: deviation over mean.
    #[serde(default = "usual_cv")]
    pub(super) cv: f64,
}

/// A service that answers for fragments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    /// How many it serves at once; more wait for their turn.
    #[schemars(range(min = 1, max = 100_000), example = 16)]
    pub(super) servers: At<u32>,
    /// Its own part of the time, on average.
    #[schemars(extend("x-range" = ["1ms", "60s"]), example = &"30ms")]
    pub(super) latency: At<TimeSpan>,
    /// How much that differs: deviation over mean.
    #[serde(default = "usual_cv")]
    pub(super) cv: f64,
    /// What it asks in its turn, while its place is held.
    pub(super) shared: Option<At<String>>,
    /// That one's part of the time, on average.
    pub(super) shared_latency: Option<At<TimeSpan>>,
    /// Whether it stops working on what nobody waits for any more.
    #[serde(default)]
    pub(super) cancels: bool,
    /// Requests in flight; more are refused, not queued.
    #[schemars(range(min = 1, max = 100_000))]
    pub(super) max_in_flight: Option<At<u32>>,
    /// When the origin is not worth asking.
    #[serde(default)]
    pub(super) breaker: Breaker,
}

/// A piece of the page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fragment {
    /// "core", "essential", or a rank: a higher one is kept longer.
    pub(super) priority: At<Priority>,
    /// Where it comes from; the origin of its own name, if absent.
    pub(super) origin: Option<At<String>>,
    /// What its origin has for the answer.
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub(super) timeout: Option<At<TimeSpan>>,
    /// Milliseconds to make it of the answer.
    #[schemars(example = 0.8)]
    pub(super) cost_ms: At<f64>,
    /// What it is worth to a reader, beside the others.
    #[serde(default)]
    pub(super) value: f64,
}

/// How pages are degraded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Degradation {
    /// "work-rate", "aimd"; and to compare with: "none", "ladder-p95", "ladder-p95-fast".
    pub(super) law: Option<At<LawName>>,
    /// What a page should take at the 95th percentile.
    #[schemars(extend("x-range" = ["10ms", "60s"]))]
    pub(super) target: Option<At<TimeSpan>>,
    /// A block's deadline is the target less this.
    #[schemars(extend("x-range" = ["0ms", "10s"]))]
    pub(super) margin: Option<At<TimeSpan>>,
    /// Work at the same time.
    #[schemars(range(min = 1, max = 1024))]
    pub(super) workers: Option<At<u16>>,
    /// A page that has waited longer before it was begun is answered from its snapshot.
    #[schemars(extend("x-range" = ["1ms", "10s"]))]
    pub(super) wait_max: Option<At<TimeSpan>>,
    /// Between two ticks.
    #[schemars(extend("x-range" = ["10ms", "10s"]))]
    pub(super) tick: Option<At<TimeSpan>>,
    /// Whether optional blocks give way at a slow origin.
    pub(super) limiters: Option<bool>,
    /// Whether a sick origin is left alone.
    pub(super) breakers: Option<bool>,
    /// Whether a shortage that many origins share cuts the ladder.
    pub(super) strain: Option<bool>,
    /// Whether there are snapshots to answer with.
    pub(super) snapshots: Option<bool>,
    /// Whether an optional block is not made any more when its page is late already.
    pub(super) recheck: Option<bool>,
    /// The constants of the work-rate law.
    pub(super) work_rate: Constants<work_rate::Constants>,
    /// The constants of AIMD.
    pub(super) aimd: Constants<aimd::Constants>,
}

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LawName {
    /// The work-rate law.
    WorkRate,
    /// AIMD on the queue delay.
    Aimd,
    /// Nobody: pages are full, come what may.
    None,
    /// A classic ladder: p95 of five seconds, fifteen seconds' hold.
    LadderP95,
    /// The same with the p95 of one second and five seconds' hold.
    LadderP95Fast,
}

/// Everything of a kind at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Scale {
    /// Times as many servers at every origin and shared resource.
    pub(super) servers: Option<At<f64>>,
    /// Times as much work for everything.
    pub(super) costs: Option<At<f64>>,
    /// Times as long for everything asked of an origin.
    pub(super) latency: Option<At<f64>>,
    /// Times as many readers.
    pub(super) load: Option<At<f64>>,
    /// Deviation over mean of whatever is asked of an origin.
    pub(super) cv: Option<At<f64>>,
}

/// Who reads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    /// From when on.
    pub(super) at: At<TimeSpan>,
    /// Pages a second, each by chance.
    pub(super) rate: Option<At<f64>>,
    /// It has become this many a second when the next load begins, in a straight line.
    pub(super) ramp: Option<At<f64>>,
    /// Readers who ask for a page, read it, and ask for the next.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) users: Option<At<u32>>,
    /// How long they read, on average: "3s".
    #[schemars(extend("x-range" = ["1ms", "1h"]))]
    pub(super) think: Option<At<TimeSpan>>,
    /// Who has no page after this asks again.
    #[schemars(extend("x-range" = ["10ms", "1h"]))]
    pub(super) retry_after: Option<At<TimeSpan>>,
    /// How often: twice.
    #[schemars(range(min = 0, max = 100))]
    pub(super) retries: Option<At<u8>>,
}

/// What goes wrong.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// With whom: an origin, or "*" for all of them.
    pub(super) origin: Option<At<String>>,
    /// With what several of them have behind them.
    pub(super) shared: Option<At<String>>,
    /// When.
    pub(super) at: At<TimeSpan>,
    /// For how long.
    #[serde(rename = "for")]
    pub(super) lasts: At<TimeSpan>,
    /// What.
    pub(super) kind: At<FaultName>,
    /// Times as slow.
    pub(super) factor: Option<At<f64>>,
    /// Of one that flaps: for how long it hangs, and then for how long it is well.
    pub(super) every: Option<At<TimeSpan>>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FaultName {
    /// It takes longer.
    Slow,
    /// It does not answer at all.
    Hang,
    /// It hangs and is well by turns.
    Flap,
}

fn usual_cv() -> f64 {
    0.6
}
