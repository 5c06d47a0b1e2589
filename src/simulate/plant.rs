//! The plant: readers, composer, origins, and what befalls them, in virtual time. Owns the journey of a
//! page through them; what is decided on the way (level, limits, breakers) is decided by the product's
//! own code.
//!
//! A page is planned, asks for its blocks, makes each of them once its answer is there, and is assembled
//! when nothing is awaited any more. A block that misses its deadline is left out, and its origin goes on
//! working for nobody; a core that does is its last good copy.

use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::costs::Charge;
use crate::degradation::governor::Asked;
use crate::degradation::{Admission, BlockReading, Level, Reader};
use crate::fetch::limiter::{Limiter, Outcome, tolerance};
use crate::fetch::rehearsal::{Gate, Witness};
use crate::fragment::Grade;

use super::chance::{Chance, Spread, pause};
use super::composer::{Composer, Job};
use super::governor::Deciding;
use super::meter::Meter;
use super::origin::{Mean, Served, Station};
use super::page::{Core, Key, Page, Request, Shelf};
use super::scenario::{Fault, FaultKind, LoadKind, Scenario, With};
use super::time::{Agenda, At, Span};

mod asking;
mod faults;
mod readers;

/// Between two looks of the prober at what it should ask.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// How often what is given up by everybody is asked for off the page.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// After the last moment of the run nobody comes any more, and whoever waits is served.
const DRAIN: Duration = Duration::from_secs(5);

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A load begins.
    Load(usize),
    /// A page is asked for, if chance has it so; of this load.
    Arrive(usize),
    /// A user has read.
    Click(usize),
    /// A reader has lost patience with this page, and asks again; so often still.
    AskAgain(Key, u8),
    /// A core is done.
    CoreEnds(usize),
    /// A page may not wait any longer before it is begun.
    TooLate(Key),
    /// The deadline of blocks of this page.
    Deadline(Key),
    /// The deadline of a probe.
    ProbeDeadline(Key),
    /// An origin has done its own part.
    OwnPart(usize),
    /// What it has behind it has done its part.
    SharedPart(usize),
    Tick,
    /// The prober looks.
    Probe,
    /// All of the composer stands still.
    Stutter,
    /// Something about the plant changes.
    Change(Change),
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Slow(With, f64),
    Hang(With),
    Mend(With),
    Speed(f64),
    Deploy(usize, f64),
}

/// A block as it is at present.
#[derive(Debug)]
struct Block {
    grade: Grade,
    step: Option<usize>,
    origin: usize,
    timeout: Duration,
    /// How long it takes to make.
    work: Spread,
    /// Of an optional one.
    limiter: Option<Limiter>,
    /// By which readers are drawn whose pages ask for it.
    matter: u64,
    /// When it was last asked for off the page.
    kept_alive: At,
    /// Whether there is a last good copy of it.
    has_copy: bool,
}

/// An origin as it is at present.
#[derive(Debug)]
struct Origin {
    station: Station,
    behind: Option<(usize, Spread)>,
    cancels: bool,
}

/// The plant.
pub(super) struct Plant<'s> {
    scenario: &'s Scenario,
    /// When the run began, for whom that is an instant.
    start: Instant,
    now: At,
    agenda: Agenda<Event>,
    chance: Chance,
    composer: Composer,
    plan_work: Spread,
    assemble_work: Spread,
    snapshot_work: Span,
    gates: Vec<Gate>,
    witness: Witness,
    origins: Vec<Origin>,
    shared: Vec<Station>,
    blocks: Vec<Block>,
    readers: Vec<Reader>,
    /// Whether each user asks for further pages.
    users: Vec<bool>,
    load: Option<usize>,
    pages: Shelf<Page>,
    requests: Shelf<Request>,
    deciding: Deciding,
    meter: Meter,
}

impl<'s> Plant<'s> {
    /// The plant of a scenario, with chance from `seed`; `start` is any instant.
    pub(super) fn new(scenario: &'s Scenario, seed: u64, start: Instant) -> Self {
        let spread = |ms: f64| Spread::new(ms, scenario.composer.cv);
        let gates = scenario.origins.iter().map(|origin| {
            Gate::new(
                &origin.name,
                origin.max_in_flight,
                origin.breaker.clone(),
                start,
            )
        });
        let origins = scenario.origins.iter().map(|origin| {
            let behind = origin
                .shared
                .map(|(shared, ms)| (shared, Spread::new(ms, scenario.shared[shared].cv)));
            Origin {
                station: Station::new(origin.servers, Spread::new(origin.own_ms, origin.cv)),
                behind,
                cancels: origin.cancels,
            }
        });
        let shared = scenario.shared.iter();
        let blocks = scenario.blocks.iter().map(|block| {
            let limiter = block.step.filter(|_| scenario.degradation.has_limiters);
            let limiter = limiter.map(|step| {
                let mut limiter = Limiter::new(tolerance(step, scenario.steps), None, start);
                limiter.raise_ceiling(scenario.origins[block.origin].max_in_flight);
                limiter
            });
            Block {
                grade: block.priority.grade(),
                step: block.step,
                origin: block.origin,
                timeout: block.timeout,
                work: spread(block.cost_ms),
                limiter,
                matter: xxhash_rust::xxh3::xxh3_64(block.name.as_bytes()),
                kept_alive: At::default(),
                has_copy: false,
            }
        });
        Self {
            start,
            now: At::default(),
            agenda: Agenda::new(),
            chance: Chance::new(seed),
            composer: Composer::new(
                scenario.composer.workers,
                scenario.degradation.wait_max,
                scenario.composer.is_in_order,
                start,
            ),
            plan_work: spread(scenario.composer.plan_ms),
            assemble_work: spread(scenario.composer.assemble_ms),
            snapshot_work: Span::from_ms(scenario.composer.snapshot_ms),
            gates: gates.collect(),
            witness: Witness::default(),
            origins: origins.collect(),
            shared: shared
                .map(|shared| Station::new(shared.servers, Spread::new(1.0, shared.cv)))
                .collect(),
            blocks: blocks.collect(),
            readers: (0..scenario.readers)
                .map(|number| Reader::new(&number.to_le_bytes(), 0))
                .collect(),
            users: Vec::new(),
            load: None,
            pages: Shelf::new(),
            requests: Shelf::new(),
            deciding: Deciding::new(scenario),
            meter: Meter::new(scenario),
            scenario,
        }
    }

    /// From the first moment to the last; gives what was seen.
    pub(super) fn run(mut self) -> Meter {
        let end = At::from_duration(self.scenario.lasts);
        self.plan_what_is_known();
        while let Some((at, event)) = self.agenda.next() {
            if at > end + Span::from_duration(DRAIN) {
                break;
            }
            self.now = at;
            if at > end && self.pages.len() == 0 {
                break;
            }
            self.happen(event, at <= end);
        }
        self.meter.finish(self.agenda.planned());
        self.meter
    }

    fn instant(&self) -> Instant {
        self.start + self.now.duration()
    }

    fn after(&self, span: Duration) -> At {
        self.now + Span::from_duration(span)
    }

    fn happen(&mut self, event: Event, is_within: bool) {
        match event {
            Event::Load(load) => self.load_begins(load),
            Event::Arrive(load) if is_within => self.arrive(load),
            Event::Click(user) if is_within => self.click(user),
            Event::AskAgain(page, left) if is_within => self.ask_again(page, left),
            Event::Arrive(_) | Event::Click(_) | Event::AskAgain(..) => {}
            Event::CoreEnds(core) => self.core_ends(core),
            Event::TooLate(page) => self.too_late(page),
            Event::Deadline(page) => self.deadline(page),
            Event::ProbeDeadline(request) => self.probe_deadline(request),
            Event::OwnPart(request) => self.own_part_done(request),
            Event::SharedPart(request) => self.shared_part_done(request),
            Event::Tick => self.tick(is_within),
            Event::Probe => self.probe(is_within),
            Event::Stutter => self.stutter(),
            Event::Change(change) => self.change(change),
        }
    }

    /// One tick of the governor, unless it does not come to its turn.
    fn tick(&mut self, is_within: bool) {
        let tick = self.scenario.degradation.tick;
        self.agenda.plan(self.after(tick), Event::Tick);
        let now = self.now.duration();
        let stalls = &self.scenario.stalls;
        if stalls
            .iter()
            .any(|(at, lasts)| now >= *at && now < *at + *lasts)
        {
            return;
        }
        let instant = self.instant();
        let (blocks, deciding) = (&self.blocks, &self.deciding);
        let is_short = |origin: usize| {
            let blocks = blocks.iter().enumerate();
            let mut of_origin = blocks.filter(|(_, block)| block.origin == origin);
            of_origin.any(|(place, _)| deciding.is_shared(place))
        };
        self.witness.look(&mut self.gates, is_short, instant);
        let readings = self.read_limiters(tick);
        let charges = self.charges();
        let queue_delay = self.composer.take_queue_delay(self.now);
        let asked = match self.scenario.degradation.has_strain {
            true => readings,
            false => Vec::new(),
        };
        let tick = self.deciding.tick(queue_delay, charges, asked, self.now);
        if is_within {
            let moves = self.gates.iter().map(Gate::moves).sum();
            self.meter.tick(tick, moves);
        }
    }

    fn read_limiters(&mut self, span: Duration) -> Vec<Asked> {
        let has_strain = self.scenario.degradation.has_strain;
        let (deciding, gates) = (&self.deciding, &self.gates);
        let blocks = self.blocks.iter_mut().enumerate();
        let readings = blocks.filter_map(|(place, block)| {
            let is_shared = has_strain && deciding.is_shared(place);
            let reading = block.limiter.as_mut()?.tick(span, is_shared);
            let is_open = gates[block.origin].is_open(block.grade);
            Some(Asked {
                place,
                origin: block.origin,
                reading: BlockReading { is_open, ..reading },
            })
        });
        readings.collect()
    }

    /// What costs nothing at present: it is left alone.
    fn charges(&self) -> Vec<Charge> {
        let charge = |block: &Block| match self.gates[block.origin].is_open(block.grade) {
            true => Charge::Nothing,
            false => Charge::Usual,
        };
        self.blocks.iter().map(charge).collect()
    }

    /// Begins the work that there are cores for.
    fn dispatch(&mut self) {
        while let Some(begun) = self.composer.begin(self.now) {
            self.agenda.plan(begun.ends, Event::CoreEnds(begun.core));
        }
    }

    fn core_ends(&mut self, core: usize) {
        match self.composer.end(core, self.now) {
            Err(ends) => self.agenda.plan(ends, Event::CoreEnds(core)),
            Ok(running) => {
                let took = self.now.since(running.began).duration();
                self.done(running.job, took);
                self.dispatch();
            }
        }
    }

    fn done(&mut self, job: Job, took: Duration) {
        match job {
            Job::Plan(page) => {
                self.deciding.meters().composing();
                self.deciding.meters().page_worked(took);
                self.ask_origins(page);
            }
            Job::Render(page, block) => {
                self.deciding.meters().worked(block, took);
                let known = &mut self.blocks[block];
                known.has_copy = true;
                let page_ = self.pages.at(page);
                page_.raw.remove(block);
                page_.shown.add(block);
                if known.grade == Grade::Core {
                    page_.core = Core::Fresh;
                }
                self.assemble_when_ready(page);
            }
            Job::Assemble(page) => {
                self.deciding.meters().page_worked(took);
                self.answer(page);
            }
            Job::Snapshot(page) => self.answer(page),
        }
    }

    fn assemble_when_ready(&mut self, page: usize) {
        let page_ = self.pages.see(page);
        if page_.awaited.is_empty() && page_.raw.is_empty() {
            let takes = self.chance.work.time(&self.assemble_work);
            self.composer.add(Job::Assemble(page), takes, self.now);
        }
    }

    /// A page goes to its reader.
    fn answer(&mut self, place: usize) {
        let page = self.pages.take(place);
        if page.core != Core::Snapshot {
            let took = self.now.since(page.asked).duration();
            let target = self.scenario.degradation.target;
            self.deciding.page_took(took, target, self.now);
        }
        self.meter.answered(&page, self.now);
        if let Some(user) = page.user {
            self.think(user);
        }
    }
}
