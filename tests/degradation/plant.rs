//! The plant: the eight blocks of the page, what each costs and is worth, and how the two kinds of
//! work are emulated. Owns the numbers; every one of them is doubled where the real time rig wants it.
//!
//! The page is one core and seven optional blocks. A full page costs 20 ms of the composer's two
//! workers, its text alone 5 ms: 100 full pages a second, or 400 of the text.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A block of the page, its first being the core.
pub(crate) struct Block {
    pub(crate) name: &'static str,
    /// What its rendering costs, in milliseconds, before it is doubled.
    pub(crate) render_ms: f64,
    /// What its origin takes by itself, in milliseconds: a mean.
    pub(crate) own_ms: f64,
    /// What the database takes for it, in milliseconds, before it is doubled: a mean.
    pub(crate) database_ms: f64,
    /// Requests that its origin works on at once.
    pub(crate) servers: usize,
    /// What it is worth to be shown.
    pub(crate) value: f64,
}

const fn block(
    name: &'static str,
    render_ms: f64,
    own_ms: f64,
    database_ms: f64,
    servers: usize,
    value: f64,
) -> Block {
    Block {
        name,
        render_ms,
        own_ms,
        database_ms,
        servers,
        value,
    }
}

/// The blocks, most important first.
pub(crate) const BLOCKS: [Block; 8] = [
    block("core", 1.2, 15.0, 3.0, 32, 0.0),
    block("headlines", 0.6, 18.0, 3.0, 13, 20.0),
    block("related", 0.8, 30.0, 6.0, 15, 14.0),
    block("livefeed", 1.2, 28.0, 5.0, 14, 12.0),
    block("comments", 1.0, 40.0, 8.0, 17, 8.0),
    block("agenda", 0.4, 22.0, 2.0, 8, 5.0),
    block("slideshow", 2.2, 36.0, 5.0, 13, 6.0),
    block("ads", 1.3, 45.0, 6.0, 16, 4.0),
];

pub(crate) const CORE: usize = 0;
pub(crate) const HEADLINES: usize = 1;
pub(crate) const RELATED: usize = 2;
pub(crate) const LIVEFEED: usize = 3;
pub(crate) const AGENDA: usize = 5;
pub(crate) const SLIDESHOW: usize = 6;
pub(crate) const ADS: usize = 7;

/// The optional ones.
pub(crate) const OPTIONAL: std::ops::Range<usize> = 1..BLOCKS.len();

const PLAN_MS: f64 = 0.5;
const ASSEMBLE_MS: f64 = 0.8;

/// By how much the composer's costs and the database's times are multiplied, so that the load of the
/// rig is small for the machine.
const DOUBLED: f64 = 2.0;

/// What one job costs where the origins are to be the limit: ten jobs are 2 ms a page.
const CHEAP_JOB_MS: f64 = 0.2;

/// Requests that the shared database works on at once.
pub(crate) const DATABASE_SERVERS: usize = 10;

/// How much more of everything origins can do where the composer is to be the limit.
pub(crate) const AMPLE: usize = 4;

/// The spread of the origins' times: standard deviation over mean.
pub(crate) const ORIGIN_CV: f64 = 0.6;

/// The spread of the composer's jobs.
pub(crate) const JOB_CV: f64 = 0.3;

/// The same when it is noisy.
pub(crate) const NOISY_CV: f64 = 1.0;

/// Workers of the composer.
pub(crate) const WORKERS: usize = 2;

/// Pages a second at x1.
pub(crate) const NORMAL_RATE: f64 = 60.0;

/// What a page should take at the 95th percentile.
pub(crate) const TARGET_MS: f64 = 300.0;

/// How long a page waits for a block.
pub(crate) const DEADLINE: Duration = Duration::from_millis(250);

/// The bit of a block in a set of blocks.
pub(crate) const fn bit(block: usize) -> u8 {
    1 << block
}

/// All optional blocks, as a set.
pub(crate) const ALL_OPTIONAL: u8 = 0b1111_1110;

/// Which block has this name.
pub(crate) fn block_named(name: &str) -> Option<usize> {
    BLOCKS.iter().position(|block| block.name == name)
}

/// What the optional blocks of this set are worth, of what all of them are.
pub(crate) fn value(shown: u8) -> f64 {
    let of = |set: u8| -> f64 {
        let shown = OPTIONAL.filter(|block| set & bit(*block) != 0);
        shown.map(|block| BLOCKS[block].value).sum()
    };
    of(shown) / of(ALL_OPTIONAL)
}

/// Whether no block of this set is less important than an optional one that is not in it.
pub(crate) fn is_prefix(shown: u8) -> bool {
    let shown = (shown & ALL_OPTIONAL) >> 1;
    // ones at the low end only
    shown & (shown + 1) == 0
}

/// What the composer's jobs cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Costs {
    /// As in the table, doubled: the composer is the limit.
    Table,
    /// As in the table: the composer is the limit, at twice the load.
    Simulated,
    /// Hardly anything: the origins are the limit.
    Cheap,
}

/// A job of the composer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    Plan,
    Render(usize),
    Assemble,
}

impl Costs {
    /// The mean of a job, in milliseconds.
    pub(crate) fn mean_ms(self, work: Work) -> f64 {
        let times = match self {
            Self::Cheap => return CHEAP_JOB_MS,
            Self::Table => DOUBLED,
            Self::Simulated => 1.0,
        };
        times
            * match work {
                Work::Plan => PLAN_MS,
                Work::Render(block) => BLOCKS[block].render_ms,
                Work::Assemble => ASSEMBLE_MS,
            }
    }
}

/// The mean time of the database for a block, in milliseconds.
pub(crate) fn database_ms(block: usize) -> f64 {
    BLOCKS[block].database_ms * DOUBLED
}

/// A lognormal number of this mean and this spread.
pub(crate) fn lognormal(rng: &mut fastrand::Rng, mean: f64, cv: f64) -> f64 {
    let variance = (1.0 + cv * cv).ln();
    // Box and Muller
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    mean * (normal * variance.sqrt() - variance / 2.0).exp()
}

/// An exponential number of this mean.
pub(crate) fn exponential(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// So many milliseconds.
pub(crate) fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1000.0)
}
