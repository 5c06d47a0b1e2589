//! What the first screen shows: how readers are, what is given up and why, who must act, and the state
//! of every block and origin. Owns how that is put together from what the rest of the server knows;
//! the sentences are in `words`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::chaos::State as Faults;
use crate::degradation::law::Reason;
use crate::degradation::{Level, Mode};
use crate::fetch::state::{BlockState, BreakerReport, OriginState};
use crate::fragment::{Fragment, FragmentId, OriginId};
use crate::site::{self, Site};
use crate::switchboard::State as Switches;
use crate::telemetry::Beat;
use crate::telemetry::pulse::BlockBeat;

use super::AdminState;
use super::level::{self, LevelState};
use super::slo;
use super::words::{self, Lately, Readers, Set};

/// All of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Picture {
    /// Of the program.
    version: &'static str,
    /// For how long the server has been running.
    uptime_s: u64,
    /// Whether it is about to stop.
    stopping: bool,
    /// Whether what the law decides is done: `on`, `dry-run` or `off`.
    mode: &'static str,
    /// How readers are.
    readers: Readers,
    /// The same in a sentence.
    says: String,
    /// The level.
    level: LevelState,
    /// Why it is what it is.
    why: String,
    /// The last second.
    now: Beat,
    /// Who must act, the worst first.
    act: Vec<Act>,
    /// Every block.
    blocks: Vec<Block>,
    /// Every origin.
    origins: Vec<Origin>,
    /// What operators have decided.
    switches: Switches,
    /// What goes wrong on purpose.
    chaos: Faults,
    /// Whether what is promised to readers is kept.
    slo: slo::All,
}

/// Somebody must act.
#[derive(Clone, Serialize, JsonSchema)]
struct Act {
    /// What is sick.
    origin: String,
    /// Who is called.
    owner: Option<String>,
    /// What is wrong with it.
    what: String,
    /// Which blocks are asked of it.
    blocks: Vec<String>,
    /// For how long, in seconds.
    since_s: u64,
}

/// A block, as readers have it.
#[derive(Serialize, JsonSchema)]
struct Block {
    /// Its name.
    name: String,
    /// Its priority, in words.
    priority: String,
    /// What it is asked of.
    origin: Option<String>,
    /// Who is called when that is sick.
    owner: Option<String>,
    /// The level that gives it up.
    level: Option<u8>,
    /// How it is: `shown`, `held`, `old`, `thinned`, `partly`, `recovering`, `stand_in`, `shed`, `off`,
    /// `missing` or `open`.
    state: &'static str,
    /// Why, where there is something to say.
    cause: String,
    /// Whether readers do without it.
    absent: bool,
}

/// An origin, as it answers.
#[derive(Serialize, JsonSchema)]
struct Origin {
    /// Its name.
    name: String,
    /// Who is called when it is sick.
    owner: Option<String>,
    /// The worst that any of its breakers is: `closed`, `recovering`, `half_open` or `open`.
    state: &'static str,
    /// What opened it, where it is not closed.
    cause: Option<String>,
    /// For how long it has not been asked as ever, in seconds.
    since_s: u64,
    /// Requests in flight.
    in_flight: usize,
    /// How many there may be.
    max_in_flight: usize,
    /// Half of its answers took no longer, in milliseconds.
    p50_ms: Option<f64>,
    /// Ninety-five of a hundred took no longer, in milliseconds.
    p95_ms: Option<f64>,
    /// Whether it is late because of something that it has in common with others.
    shared_fault: bool,
    /// Its replicas that are not asked as ever.
    replicas: Vec<String>,
}

/// What was counted lately.
pub(super) struct Counted<'a> {
    /// The last second.
    pub(super) now: Beat,
    /// The last seconds.
    pub(super) lately: &'a [Beat],
    /// What blocks came to in them.
    pub(super) blocks: &'a BTreeMap<String, BlockBeat>,
    /// For how long origins have not been asked as ever, in seconds.
    pub(super) sick_s: &'a BTreeMap<String, u64>,
}

/// Origins that are not asked as ever.
pub(super) fn sick(state: &AdminState) -> Vec<String> {
    let edition = state.edition.load();
    let origins = edition.site.origins.iter().enumerate();
    let sick = origins.filter(|(index, _)| {
        let origin = edition.fetcher.state(OriginId(*index));
        worst(&origin).is_some_and(|breaker| breaker.state != "closed")
    });
    sick.map(|(_, origin)| origin.name.clone()).collect()
}

/// What is there at this moment.
pub(super) fn take(state: &AdminState, counted: Counted<'_>) -> Picture {
    let (edition, mode) = (state.edition.load_full(), state.mode.load_full());
    let site = &edition.site;
    let states: Vec<OriginState> = (0..site.origins.len())
        .map(|index| edition.fetcher.state(OriginId(index)))
        .collect();
    let switches = state.switches.state(site);
    let level = level::present(state);
    let why_without = |absent| why(&mode, site, &switches, level, &counted.now, absent, state);
    let of_levels = why_without(0);
    let look = Look {
        site,
        mode: &mode,
        level,
        why: &of_levels,
        states: &states,
        limits: &edition.fetcher.block_states(),
        switches: &switches,
        counted: counted.blocks,
        sick_s: counted.sick_s,
    };
    let ids = (0..site.fragments.len()).map(FragmentId);
    let blocks: Vec<Block> = ids.map(|id| look.block(id)).collect();
    let origins: Vec<Origin> = (0..states.len()).map(|index| look.origin(index)).collect();
    let absent = blocks.iter().filter(|block| block.absent).count();
    let is_core_old = |(block, fragment): (&Block, &Fragment)| {
        fragment.priority.is_core() && matches!(block.state, "open" | "old" | "stand_in")
    };
    let (readers, says) = words::readers(&Lately {
        beats: counted.lately,
        absent,
        core_is_old: blocks.iter().zip(&site.fragments).any(is_core_old),
    });
    let clock = state.composer.clock();
    Picture {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: clock.uptime(clock.now()).as_secs(),
        stopping: state.stop.is_cancelled(),
        mode: match (site.degradation.mode, mode.overrides.is_dry_run) {
            (site::Mode::Off, _) => "off",
            (site::Mode::DryRun, _) | (site::Mode::On, true) => "dry-run",
            (site::Mode::On, false) => "on",
        },
        readers,
        says,
        level: level::level_state(state),
        why: why_without(absent),
        now: counted.now,
        act: acts(&origins, &blocks),
        blocks,
        origins,
        switches,
        chaos: state.chaos.state(),
        slo: slo::All::of(state),
    }
}

fn why(
    mode: &Mode,
    site: &Site,
    switches: &Switches,
    level: Level,
    now: &Beat,
    absent: usize,
    state: &AdminState,
) -> String {
    let holds = |subject: &str| matches!(subject, "pin" | "floor" | "cap");
    let mut counting = switches.switches.iter().filter(|s| s.counts);
    let held = counting.find(|s| holds(&s.subject));
    let held = held.map(|s| format!("{}, {} ({})", s.says, s.owner, s.reason));
    let is_partly = mode.cut.kept < 1.0 || mode.origins_cut.kept < 1.0;
    words::why(&Set {
        level,
        by_law: mode.given_up().min(site.ladder.text_only()),
        reason: state
            .samples
            .last()
            .map_or(Reason::Ample, |tick| tick.reason),
        queue_delay_ms: now.queue_delay_ms,
        phi: mode.phi,
        is_partly,
        absent,
        gives_up: mode.gives_up(),
        held: held.as_deref(),
    })
}

/// What a look at one block needs.
struct Look<'a> {
    site: &'a Site,
    mode: &'a Mode,
    level: Level,
    why: &'a str,
    states: &'a [OriginState],
    limits: &'a BTreeMap<String, BlockState>,
    switches: &'a Switches,
    counted: &'a BTreeMap<String, BlockBeat>,
    sick_s: &'a BTreeMap<String, u64>,
}

impl Look<'_> {
    fn block(&self, id: FragmentId) -> Block {
        let fragment = self.site.fragment(id);
        let origin = fragment.source.origin();
        let declared = origin.map(|origin| self.site.origin(origin));
        let (state, cause) = self.condition(id, fragment, origin);
        Block {
            name: fragment.name.clone(),
            priority: fragment.priority.to_string(),
            origin: declared.map(|origin| origin.name.clone()),
            owner: declared.and_then(|origin| origin.owner.clone()),
            level: self.site.ladder.level_of(id).map(Level::get),
            state,
            cause,
            absent: self.is_absent(fragment, state),
        }
    }

    fn is_absent(&self, fragment: &Fragment, state: &str) -> bool {
        let lately = self
            .counted
            .get(&fragment.name)
            .cloned()
            .unwrap_or_default();
        match state {
            "off" | "shed" | "missing" => true,
            // a copy may be shown all the same
            "open" if fragment.is_required() => lately.missing > 0,
            "open" => lately.shown + lately.old == 0,
            _ => false,
        }
    }

    /// How a block is, in a word, and why.
    fn condition(
        &self,
        id: FragmentId,
        fragment: &Fragment,
        origin: Option<OriginId>,
    ) -> (&'static str, String) {
        let overrides = &self.mode.overrides;
        let is_on = overrides.is_on(&fragment.name);
        if overrides.is_off(&fragment.name) {
            return ("off", self.decided(&fragment.name));
        }
        if self.site.ladder.sheds(self.level, id) && !is_on {
            return ("shed", self.why.to_owned());
        }
        if let Some(kept) = self.kept(id).filter(|_| !is_on) {
            let text = format!("{:.0} % of readers keep it. {}", kept * 100.0, self.why);
            return ("partly", text);
        }
        let breaker = origin.map(|origin| {
            let grade = fragment.priority.grade().label();
            (
                &self.states[origin.index()].breaker[grade],
                self.site.origin(origin),
            )
        });
        if let Some((breaker, origin)) = breaker
            && breaker.state != "closed"
        {
            let because = breaker.opened_because.as_deref().unwrap_or("it failed");
            return match breaker.state {
                "recovering" => (
                    "recovering",
                    format!("{} answers again, and is asked step by step", origin.name),
                ),
                _ => ("open", format!("{} is left alone: {because}", origin.name)),
            };
        }
        self.outcome(&fragment.name)
    }

    /// The share of readers that keep it, where not everybody does.
    fn kept(&self, id: FragmentId) -> Option<f64> {
        let level = self.site.ladder.level_of(id)?;
        let next = |cut: crate::degradation::Cut| {
            (cut.kept < 1.0 && level.get() == cut.given_up.get() + 1).then_some(cut.kept)
        };
        if !self.mode.gives_up() {
            return None;
        }
        let (one, other) = (next(self.mode.cut), next(self.mode.origins_cut));
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What pages made of it lately.
    fn outcome(&self, name: &str) -> (&'static str, String) {
        let lately = self.counted.get(name).cloned().unwrap_or_default();
        let cause = || {
            lately
                .cause
                .clone()
                .unwrap_or_else(|| "no answer".to_owned())
        };
        if lately.missing > 0 {
            return ("missing", cause());
        }
        if lately.instead > 0 {
            return (
                "stand_in",
                format!("something stands in for it: {}", cause()),
            );
        }
        let share = self.limits.get(name).map_or(1.0, |limits| limits.share);
        if share < 0.995 {
            let text = format!(
                "its origin is slower than usual: {:.0} % of readers ask for it",
                share * 100.0
            );
            return ("thinned", text);
        }
        if lately.old > lately.shown {
            return ("old", format!("its last good copy is shown: {}", cause()));
        }
        match self.mode.overrides.is_on(name) {
            true => ("held", self.decided(name)),
            false => ("shown", String::new()),
        }
    }

    fn decided(&self, name: &str) -> String {
        let subject = format!("block/{name}");
        let mut switches = self.switches.switches.iter().filter(|s| s.counts);
        let found = switches.find(|switch| switch.subject == subject);
        found.map_or_else(String::new, |switch| {
            format!("{}, {}: {}", switch.says, switch.owner, switch.reason)
        })
    }

    fn origin(&self, index: usize) -> Origin {
        let (declared, state) = (&self.site.origins[index], &self.states[index]);
        let worst = worst(state);
        let sick = state
            .replicas
            .iter()
            .filter(|replica| replica.breaker.state != "closed" || replica.healthy == Some(false));
        Origin {
            name: declared.name.clone(),
            owner: declared.owner.clone(),
            state: worst.map_or("closed", |breaker| breaker.state),
            cause: worst
                .filter(|breaker| breaker.state != "closed")
                .and_then(|breaker| breaker.opened_because.clone()),
            since_s: self.sick_s.get(&declared.name).copied().unwrap_or_default(),
            in_flight: state.in_flight,
            max_in_flight: state.max_in_flight,
            p50_ms: state.p50_ms,
            p95_ms: state.p95_ms,
            shared_fault: state.shared_fault,
            replicas: match state.replicas.len() {
                0 | 1 => Vec::new(),
                _ => sick.map(|replica| replica.url.clone()).collect(),
            },
        }
    }
}

/// The breaker of an origin that lets the least through.
fn worst(state: &OriginState) -> Option<&BreakerReport> {
    let rank = |breaker: &BreakerReport| match breaker.state {
        "open" => 3,
        "half_open" => 2,
        "recovering" => 1,
        _ => 0,
    };
    state.breaker.values().max_by_key(|breaker| rank(breaker))
}

fn acts(origins: &[Origin], blocks: &[Block]) -> Vec<Act> {
    let of = |origin: &Origin| {
        let of_it = blocks
            .iter()
            .filter(|block| block.origin.as_ref() == Some(&origin.name));
        of_it.map(|block| block.name.clone()).collect()
    };
    let sick = origins
        .iter()
        .filter(|origin| matches!(origin.state, "open" | "half_open"));
    let mut acts: Vec<Act> = sick
        .map(|origin| Act {
            origin: origin.name.clone(),
            owner: origin.owner.clone(),
            what: origin
                .cause
                .clone()
                .unwrap_or_else(|| "it fails".to_owned()),
            blocks: of(origin),
            since_s: origin.since_s,
        })
        .collect();
    let ailing = origins
        .iter()
        .filter(|origin| !origin.replicas.is_empty() && origin.state == "closed");
    acts.extend(ailing.map(|origin| Act {
        origin: origin.name.clone(),
        owner: origin.owner.clone(),
        what: format!(
            "the others do its work, but it is not well: {}",
            origin.replicas.join(", ")
        ),
        blocks: of(origin),
        since_s: origin.since_s,
    }));
    acts
}
