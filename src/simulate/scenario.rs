//! A scenario, ready to be run. Owns what it consists of; [`read`](super::read) makes it of a file, and
//! once there is one it is right.

use std::time::Duration;

use crate::degradation::Law;
use crate::degradation::law::aimd;
use crate::fragment::Priority;
use crate::site::BreakerPolicy;

use super::expect::Expect;

/// Everything that is known before a run begins.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Of its file, without the ending.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// How long it lasts.
    pub lasts: Duration,
    /// What the figures are of.
    pub event: (Duration, Duration),
    /// Where chance begins.
    pub seed: u64,
    /// How many readers there are.
    pub readers: u32,
    /// What the law has learned in a life before.
    pub learned_rate: Option<f64>,
    /// When the governor does not come to its turn, and for how long.
    pub stalls: Vec<(Duration, Duration)>,
    /// The composer.
    pub composer: Composer,
    /// What several origins have behind them.
    pub shared: Vec<Shared>,
    /// The origins.
    pub origins: Vec<Origin>,
    /// The blocks: core, essential, and then the optional ones, the most important first.
    pub blocks: Vec<Block>,
    /// How many steps the ladder has.
    pub steps: usize,
    /// How pages are degraded.
    pub degradation: Degradation,
    /// Who reads, in order.
    pub loads: Vec<Load>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What must come of it.
    pub expect: Expect,
}

/// The composer: its work, and what befalls it.
#[derive(Debug, Clone)]
pub struct Composer {
    /// Jobs at the same time.
    pub workers: usize,
    /// Milliseconds to plan a page.
    pub plan_ms: f64,
    /// Milliseconds to put it together.
    pub assemble_ms: f64,
    /// Milliseconds to answer with a snapshot.
    pub snapshot_ms: f64,
    /// Deviation of what jobs take, over its mean.
    pub cv: f64,
    /// Whether work is done in the order in which it came, as a plain server does it; else as the
    /// executor has it.
    pub is_in_order: bool,
    /// How often it stands still, on average, and for how long.
    pub stutter: Option<(Duration, Duration)>,
    /// From when on it has which speed.
    pub speed: Vec<(Duration, f64)>,
    /// From when on the work for which block costs how many times what was declared.
    pub deploy: Vec<(Duration, usize, f64)>,
}

/// What several origins have behind them.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Its name.
    pub name: String,
    /// How many it serves at once.
    pub servers: usize,
    /// Deviation of what is asked of it, over its mean.
    pub cv: f64,
}

/// A service that answers for blocks.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// How many it serves at once.
    pub servers: usize,
    /// Its own part of the time, milliseconds on average.
    pub own_ms: f64,
    /// Deviation over mean of that.
    pub cv: f64,
    /// What it asks in its turn, and that one's part of the time, milliseconds on average.
    pub shared: Option<(usize, f64)>,
    /// Whether it stops working on what nobody waits for any more.
    pub cancels: bool,
    /// Requests in flight; more are refused.
    pub max_in_flight: usize,
    /// When it is not worth asking.
    pub breaker: BreakerPolicy,
}

/// A piece of the page.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// How much pages want it.
    pub priority: Priority,
    /// Of an optional one, the step of the ladder at which it goes; 0 goes first.
    pub step: Option<usize>,
    /// Where it comes from.
    pub origin: usize,
    /// What its origin has for the answer.
    pub timeout: Duration,
    /// Milliseconds to make it of the answer.
    pub cost_ms: f64,
    /// What it is worth to a reader.
    pub value: f64,
}

/// How pages are degraded.
#[derive(Debug, Clone)]
pub struct Degradation {
    /// What decides.
    pub control: Control,
    /// What a page should take at the 95th percentile.
    pub target: Duration,
    /// A block's deadline is the target less this.
    pub margin: Duration,
    /// A page that has waited longer is answered from its snapshot.
    pub wait_max: Duration,
    /// Between two ticks.
    pub tick: Duration,
    /// Whether optional blocks give way at a slow origin.
    pub has_limiters: bool,
    /// Whether a shortage that many origins share cuts the ladder.
    pub has_strain: bool,
    /// Whether there are snapshots to answer with.
    pub has_snapshots: bool,
    /// Whether an optional block is not made any more when its page is late already.
    pub has_recheck: bool,
}

/// What decides.
#[expect(clippy::large_enum_variant, reason = "there is one in a scenario")]
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// A law of the product.
    Law(Law),
    /// Nobody: pages are full, come what may.
    None,
    /// A ladder on the p95 of page times, to compare with.
    Ladder {
        /// What the p95 is of.
        window: Duration,
        /// How long it waits after a step down before the next.
        down: Duration,
        /// How long all must have been well before a step up.
        hold: Duration,
    },
}

impl Control {
    /// The classic ladder: the p95 of five seconds, and fifteen seconds' hold.
    pub const CLASSIC: Self = Self::Ladder {
        window: Duration::from_secs(5),
        down: Duration::from_secs(2),
        hold: Duration::from_secs(15),
    };

    /// The same, as quick as one dares: the p95 of one second, and five seconds' hold.
    pub const FAST: Self = Self::Ladder {
        window: Duration::from_secs(1),
        down: Duration::from_millis(500),
        hold: Duration::from_secs(5),
    };

    /// What is called so, on so many cores, with the constants that are usual.
    pub fn called(name: &str, cores: usize) -> Option<Self> {
        let known = [
            Self::Law(Law::for_cores(cores)),
            Self::Law(Law::Aimd(aimd::Constants::default())),
            Self::None,
            Self::CLASSIC,
            Self::FAST,
        ];
        known.into_iter().find(|known| known.name() == name)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Law(law) => law.name(),
            Self::None => "none",
            Self::Ladder { hold, .. } if hold.as_secs() > 10 => "ladder-p95",
            Self::Ladder { .. } => "ladder-p95-fast",
        }
    }
}

/// Who reads, from a moment on.
#[derive(Debug, Clone)]
pub struct Load {
    /// The moment.
    pub at: Duration,
    /// How they ask.
    pub kind: LoadKind,
    /// After how long without a page they ask again, and how often.
    pub retry: Option<(Duration, u8)>,
}

/// How pages are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadKind {
    /// By chance, so many a second, and so many when the next load begins.
    Open {
        /// Pages a second.
        from: f64,
        /// Pages a second when the next load begins.
        to: f64,
    },
    /// By so many who read each page for a while, milliseconds on average, before the next.
    Users {
        /// How many.
        count: u32,
        /// How long they read.
        think_ms: f64,
    },
}

/// Something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// With whom.
    pub with: With,
    /// When.
    pub at: Duration,
    /// Until when.
    pub until: Duration,
    /// What.
    pub kind: FaultKind,
}

/// With whom something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// An origin.
    Origin(usize),
    /// All of them.
    Origins,
    /// What several origins have behind them.
    Shared(usize),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// It takes so many times as long.
    Slow(f64),
    /// It does not answer.
    Hang,
    /// It does not answer, for so long, and is well for as long, by turns.
    Flap(Duration),
}

impl Scenario {
    /// Pages a second that are asked for at a moment; of users, as many as there were if all were well.
    pub fn rate(&self, at: Duration) -> f64 {
        let Some(index) = self.loads.iter().rposition(|load| load.at <= at) else {
            return 0.0;
        };
        let load = &self.loads[index];
        match load.kind {
            LoadKind::Open { from, to } if from == to => from,
            LoadKind::Open { from, to } => {
                let end = self.loads.get(index + 1).map_or(self.lasts, |next| next.at);
                let whole = end.saturating_sub(load.at).as_secs_f64().max(1e-6);
                let gone = at.saturating_sub(load.at).as_secs_f64();
                from + (to - from) * (gone / whole).min(1.0)
            }
            LoadKind::Users { count, think_ms } => f64::from(count) * 1e3 / think_ms,
        }
    }

    /// Whether something is wrong with the origin of a block by itself at some time in the event.
    pub fn is_faulty(&self, block: usize) -> bool {
        let origin = self.blocks[block].origin;
        self.faults
            .iter()
            .any(|fault| fault.with == With::Origin(origin))
    }

    /// The same with nothing but deadlines and what decides: no limiters, no breakers, no
    /// snapshots, and work in the order in which it comes.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.degradation.has_limiters = false;
        self.degradation.has_strain = false;
        self.degradation.has_snapshots = false;
        self.degradation.has_recheck = false;
        self.composer.is_in_order = true;
        for origin in &mut self.origins {
            origin.breaker.enabled = false;
        }
        self
    }

    /// What all optional blocks are worth.
    pub fn value(&self) -> f64 {
        self.blocks.iter().map(|block| block.value).sum()
    }
}
