//! A file, and the one that it builds upon → a [`Scenario`], or everything that is wrong with it. Owns
//! what the keys mean together; reads no files itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::diagnose::{FileId, Place};
use crate::config::file::{At, Breaker, Constants, TimeSpan, Tunable};
use crate::config::{Diagnostic, Diagnostics, document};
use crate::degradation::Law;
use crate::degradation::law::{aimd, work_rate};
use crate::fragment::{Grade, Priority, Rank};
use crate::site::BreakerPolicy;

use super::file::{self, FaultName, File, LawName};
use super::scenario::{
    Block, Composer, Control, Degradation, Fault, FaultKind, Load, LoadKind, Origin, Scenario,
    Shared, With,
};

/// Blocks that a page can have here: one bit each.
const BLOCKS_MAX: usize = 32;

/// What a text is read as: its name, and the text of another file that it names.
pub(super) type Fetch<'f> = &'f dyn Fn(&str) -> Result<String, String>;

/// Reads a scenario; `fetch` gives the text of the plant that it builds upon.
pub(super) fn read(shown: &str, text: &str, fetch: Fetch<'_>) -> Result<Scenario, Diagnostics> {
    let mut found = Diagnostics::new();
    let scenario = assemble(shown, text, fetch, &mut found);
    found.sort();
    match scenario {
        Some(scenario) if !found.has_errors() => Ok(scenario),
        _ => Err(found),
    }
}

fn assemble(
    shown: &str,
    text: &str,
    fetch: Fetch<'_>,
    found: &mut Diagnostics,
) -> Option<Scenario> {
    let (id, own) = document::read::<File>(shown, text, found)?;
    let below = match &own.plant {
        Some(plant) => Some(below(plant, id, fetch, found)?),
        None => None,
    };
    let layers = Layers {
        own: (id, own),
        below,
    };
    Reading { layers, found }.scenario(shown)
}

fn below(
    plant: &At<String>,
    file: FileId,
    fetch: Fetch<'_>,
    found: &mut Diagnostics,
) -> Option<(FileId, File)> {
    let place = Place {
        file,
        span: plant.span().unwrap_or_default(),
    };
    let text = match fetch(plant) {
        Ok(text) => text,
        Err(why) => {
            let finding = Diagnostic::error(format!("`{}` cannot be read", **plant));
            found.push(finding.at(place, why));
            return None;
        }
    };
    let (id, below) = document::read::<File>(plant, &text, found)?;
    if let Some(further) = &below.plant {
        let place = Place {
            file: id,
            span: further.span().unwrap_or_default(),
        };
        let finding = Diagnostic::error("a plant cannot build upon another one");
        found.push(finding.at(place, "one file below another is enough"));
        return None;
    }
    Some((id, below))
}

/// The scenario's own file, and the one below it.
struct Layers {
    own: (FileId, File),
    below: Option<(FileId, File)>,
}

impl Layers {
    fn all(&self) -> impl Iterator<Item = &(FileId, File)> {
        std::iter::once(&self.own).chain(&self.below)
    }

    /// What the upper one says, or else the lower one.
    fn one<'l, T>(&'l self, of: impl Fn(&'l File) -> Option<T>) -> Option<T> {
        self.all().find_map(|(_, file)| of(file))
    }

    /// The same, with where it is written.
    fn at<'l, T>(
        &'l self,
        of: impl Fn(&'l File) -> Option<&'l At<T>>,
    ) -> Option<(&'l At<T>, Place)> {
        self.all().find_map(|(id, file)| {
            let at = of(file)?;
            Some((at, place(*id, at)))
        })
    }

    /// What both declare under names; of the same name, the upper one's.
    fn named<'l, T>(
        &'l self,
        of: impl Fn(&'l File) -> &'l BTreeMap<String, T>,
    ) -> BTreeMap<&'l str, (FileId, &'l T)> {
        let mut all = BTreeMap::new();
        for (id, file) in self.all() {
            for (name, entry) in of(file) {
                all.entry(name.as_str()).or_insert((*id, entry));
            }
        }
        all
    }
}

fn place<T>(file: FileId, at: &At<T>) -> Place {
    Place {
        file,
        span: at.span().unwrap_or_default(),
    }
}

struct Reading<'r> {
    layers: Layers,
    found: &'r mut Diagnostics,
}

impl Reading<'_> {
    fn scenario(mut self, shown: &str) -> Option<Scenario> {
        let layers = std::mem::replace(
            &mut self.layers,
            Layers {
                own: (self.found.add_file("", ""), File::default()),
                below: None,
            },
        );
        let scale = self.scale(&layers);
        let lasts = layers.one(|file| file.run.lasts.as_ref());
        let lasts = lasts.map_or(Duration::from_secs(180), |lasts| lasts.0);
        let shared = self.shared(&layers, &scale);
        let origins = self.origins(&layers, &scale, &shared);
        let (blocks, steps) = self.blocks(&layers, &scale, &origins);
        let degradation = self.degradation(&layers);
        let composer = self.composer(&layers, &scale, &blocks);
        let loads = self.loads(&layers, &scale);
        let faults = self.faults(&layers, &origins, &shared);
        let event = self.event(&layers, lasts, &loads, &faults, &composer);
        let (_, own) = &layers.own;
        let name = std::path::Path::new(shown).file_stem();
        let name = name.map_or_else(|| shown.to_owned(), |n| n.to_string_lossy().into_owned());
        let spans = |span: &file::Span| (span.at.0, span.lasts.0);
        Some(Scenario {
            name,
            about: own.about.clone(),
            lasts,
            event,
            seed: u64::from(layers.one(|f| f.run.seed.as_ref()).map_or(1, |seed| **seed)),
            readers: layers
                .one(|f| f.run.readers.as_ref())
                .map_or(2000, |readers| **readers),
            learned_rate: layers.one(|f| f.run.learned_rate),
            stalls: own.run.stalls.iter().map(spans).collect(),
            composer,
            shared,
            origins,
            blocks,
            steps,
            degradation: degradation?,
            loads,
            faults,
            expect: own.expect.clone(),
        })
    }

    fn error(&mut self, place: Place, message: impl Into<String>, label: impl Into<String>) {
        self.found.push(Diagnostic::error(message).at(place, label));
    }

    /// A number within bounds, or what it is unless it is said.
    fn number(
        &mut self,
        written: Option<(&At<f64>, Place)>,
        default: f64,
        range: (f64, f64),
    ) -> f64 {
        let Some((at, place)) = written else {
            return default;
        };
        let (min, max) = range;
        if !(min..=max).contains(&**at) {
            self.error(
                place,
                "this number is out of range",
                format!("expected {min} to {max}"),
            );
            return default;
        }
        **at
    }

    fn scale(&mut self, layers: &Layers) -> Scale {
        let mut factor =
            |of: fn(&File) -> Option<&At<f64>>| self.number(layers.at(of), 1.0, (1e-3, 1e3));
        Scale {
            servers: factor(|f| f.scale.servers.as_ref()),
            costs: factor(|f| f.scale.costs.as_ref()),
            latency: factor(|f| f.scale.latency.as_ref()),
            load: factor(|f| f.scale.load.as_ref()),
            cv: layers.one(|f| f.scale.cv.as_ref()).map(|cv| **cv),
        }
    }

    fn shared(&mut self, layers: &Layers, scale: &Scale) -> Vec<Shared> {
        let all = layers.named(|file| &file.shared);
        let shared = all.into_iter().map(|(name, (_, shared))| Shared {
            name: name.to_owned(),
            servers: scale.servers(*shared.servers),
            cv: scale.cv.unwrap_or(shared.cv),
        });
        shared.collect()
    }

    fn origins(&mut self, layers: &Layers, scale: &Scale, shared: &[Shared]) -> Vec<Origin> {
        let has_breakers = layers.one(|f| f.degradation.breakers).unwrap_or(true);
        let mut origins = Vec::new();
        for (name, (id, origin)) in layers.named(|file| &file.origins) {
            let ms = |span: &TimeSpan| span.0.as_secs_f64() * 1e3 * scale.latency;
            let behind = origin.shared.as_ref().and_then(|at| {
                let index = shared.iter().position(|shared| shared.name == **at);
                if index.is_none() {
                    let finding = Diagnostic::error(format!("there is no shared `{}`", **at))
                        .at(place(id, at), "not declared under `[shared]`");
                    let known = shared.iter().map(|shared| shared.name.as_str());
                    self.found.push(finding.did_you_mean(at, known));
                }
                Some((
                    index?,
                    origin.shared_latency.as_ref().map_or(1.0, |at| ms(at)),
                ))
            });
            if let (None, Some(at)) = (&origin.shared, &origin.shared_latency) {
                self.error(
                    place(id, at),
                    "`shared_latency` without `shared`",
                    "of what?",
                );
            }
            let max_in_flight = origin.max_in_flight.as_ref().map_or(256, |max| **max);
            origins.push(Origin {
                name: name.to_owned(),
                servers: scale.servers(*origin.servers),
                own_ms: ms(&origin.latency),
                cv: scale.cv.unwrap_or(origin.cv),
                shared: behind,
                cancels: origin.cancels,
                max_in_flight: scale.servers(max_in_flight).max(max_in_flight as usize),
                breaker: breaker(&origin.breaker, has_breakers),
            });
        }
        if origins.is_empty() {
            let message = "there are no origins: declare some, or name a `plant` that does";
            self.found.push(Diagnostic::error(message));
        }
        origins
    }

    fn blocks(
        &mut self,
        layers: &Layers,
        scale: &Scale,
        origins: &[Origin],
    ) -> (Vec<Block>, usize) {
        let mut blocks = Vec::new();
        for (name, (id, fragment)) in layers.named(|file| &file.fragments) {
            let (wanted, at) = match &fragment.origin {
                Some(at) => (at.as_str(), place(id, at)),
                None => (name, place(id, &fragment.priority)),
            };
            let Some(origin) = origins.iter().position(|origin| origin.name == wanted) else {
                let finding = Diagnostic::error(format!("`{name}` has no origin `{wanted}`"))
                    .at(at, "not declared under `[origins]`");
                let known = origins.iter().map(|origin| origin.name.as_str());
                self.found.push(finding.did_you_mean(wanted, known));
                continue;
            };
            let cost = Some((&fragment.cost_ms, place(id, &fragment.cost_ms)));
            let cost_ms = self.number(cost, 1.0, (0.0, 10_000.0)) * scale.costs;
            let timeout = fragment
                .timeout
                .as_ref()
                .map_or(Duration::from_secs(1), |t| t.0);
            blocks.push(Block {
                name: name.to_owned(),
                priority: fragment.priority.0,
                step: None,
                origin,
                timeout,
                cost_ms,
                value: match fragment.priority.0 {
                    Priority::Optional(_) => fragment.value.max(0.0),
                    Priority::Core | Priority::Essential => 0.0,
                },
            });
        }
        let is_core = |block: &Block| block.priority.is_core();
        if !blocks.iter().any(is_core) && !self.found.has_errors() {
            let message = "there is no core fragment, and so no page";
            let finding = Diagnostic::error(message);
            self.found
                .push(finding.help("give one `priority = \"core\"`"));
        }
        if blocks.len() > BLOCKS_MAX {
            let message = format!(
                "{} fragments are too many: at most {BLOCKS_MAX}",
                blocks.len()
            );
            self.found.push(Diagnostic::error(message));
        }
        let place_of = |block: &Block| match (block.priority.grade(), block.priority.rank()) {
            (Grade::Core, _) => (0, 0),
            (Grade::Essential, _) => (1, 0),
            (Grade::Optional, rank) => (2, u8::MAX - rank.map_or(0, Rank::get)),
        };
        blocks.sort_by_key(place_of);
        let mut ranks: Vec<Rank> = blocks.iter().filter_map(|b| b.priority.rank()).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for block in &mut blocks {
            let rank = block.priority.rank();
            block.step = rank.and_then(|rank| ranks.binary_search(&rank).ok());
        }
        (blocks, ranks.len())
    }

    fn composer(&mut self, layers: &Layers, scale: &Scale, blocks: &[Block]) -> Composer {
        let mut ms = |of: fn(&File) -> Option<&At<f64>>, default: f64| {
            self.number(layers.at(of), default, (0.0, 10_000.0)) * scale.costs
        };
        let plan_ms = ms(|f| f.composer.plan_ms.as_ref(), 0.5);
        let assemble_ms = ms(|f| f.composer.assemble_ms.as_ref(), 0.8);
        let snapshot_ms = ms(|f| f.composer.snapshot_ms.as_ref(), 0.15);
        let cv = self.number(layers.at(|f| f.composer.cv.as_ref()), 0.3, (0.0, 10.0));
        let workers = layers.one(|f| f.degradation.workers.as_ref());
        let stutter = layers.one(|f| f.composer.stutter.as_ref());
        let (id, own) = &layers.own;
        let mut speed = Vec::new();
        for entry in &own.composer.speed {
            let factor = Some((&entry.factor, place(*id, &entry.factor)));
            speed.push((entry.at.0, self.number(factor, 1.0, (0.01, 100.0))));
        }
        let mut deploy = Vec::new();
        for entry in &own.composer.deploy {
            let factor = Some((&entry.factor, place(*id, &entry.factor)));
            let factor = self.number(factor, 1.0, (0.01, 100.0));
            for name in &entry.fragments {
                match blocks.iter().position(|block| block.name == **name) {
                    Some(block) => deploy.push((entry.at.0, block, factor)),
                    None => {
                        let finding =
                            Diagnostic::error(format!("there is no fragment `{}`", **name));
                        let known = blocks.iter().map(|block| block.name.as_str());
                        let finding = finding.at(place(*id, name), "not declared");
                        self.found.push(finding.did_you_mean(name, known));
                    }
                }
            }
            if entry.fragments.is_empty() {
                deploy.extend((0..blocks.len()).map(|block| (entry.at.0, block, factor)));
            }
        }
        Composer {
            workers: workers.map_or(2, |workers| usize::from(**workers)),
            plan_ms,
            assemble_ms,
            snapshot_ms,
            cv,
            is_in_order: layers.one(|f| f.composer.in_order).unwrap_or(false),
            stutter: stutter.map(|stutter| (stutter.every.0, stutter.lasts.0)),
            speed,
            deploy,
        }
    }

    fn degradation(&mut self, layers: &Layers) -> Option<Degradation> {
        let span = |of: fn(&File) -> Option<&At<TimeSpan>>, ms: u64| {
            let written = layers.one(of);
            written.map_or(Duration::from_millis(ms), |at| at.0)
        };
        let workers = layers.one(|f| f.degradation.workers.as_ref());
        let workers = workers.map_or(2, |workers| usize::from(**workers));
        let mut work_rate = work_rate::Constants::for_cores(workers);
        let mut aimd = aimd::Constants::default();
        // the lower one first, so that the upper one's count
        for (id, file) in [layers.below.as_ref(), Some(&layers.own)]
            .into_iter()
            .flatten()
        {
            self.turn(*id, &file.degradation.work_rate, &mut work_rate);
            self.turn(*id, &file.degradation.aimd, &mut aimd);
        }
        let law = layers.one(|f| f.degradation.law.as_ref());
        let control = control(law.map_or(LawName::WorkRate, |law| **law), work_rate, aimd);
        let (target, margin) = (
            span(|f| f.degradation.target.as_ref(), 300),
            span(|f| f.degradation.margin.as_ref(), 50),
        );
        if margin >= target
            && let Some((_, place)) = layers.at(|f| f.degradation.margin.as_ref())
        {
            self.error(
                place,
                "the margin leaves nothing of the target",
                "make it less",
            );
            return None;
        }
        Some(Degradation {
            control,
            target,
            margin,
            wait_max: span(|f| f.degradation.wait_max.as_ref(), 60),
            tick: span(|f| f.degradation.tick.as_ref(), 100),
            has_limiters: layers.one(|f| f.degradation.limiters).unwrap_or(true),
            has_strain: layers.one(|f| f.degradation.strain).unwrap_or(true),
            has_snapshots: layers.one(|f| f.degradation.snapshots).unwrap_or(true),
            has_recheck: layers.one(|f| f.degradation.recheck).unwrap_or(true),
        })
    }

    /// Sets the constants of a law.
    fn turn<L: Tunable>(&mut self, file: FileId, written: &Constants<L>, law: &mut L) {
        for (knob, at) in written.written() {
            if let Err(why) = knob.put(law, at.0) {
                let message = format!("`{}` cannot be set", knob.key);
                self.error(place(file, at), message, why.to_string());
            }
        }
    }

    fn loads(&mut self, layers: &Layers, scale: &Scale) -> Vec<Load> {
        let (id, own) = &layers.own;
        let mut loads: Vec<Load> = Vec::new();
        for entry in &own.load {
            let at = place(*id, &entry.at);
            if loads.last().is_some_and(|last| last.at >= entry.at.0) {
                self.error(at.clone(), "this load is not after the one before", "later");
            }
            let mut number = |written: &Option<At<f64>>| {
                let written = written.as_ref()?;
                Some(self.number(Some((written, place(*id, written))), 1.0, (0.0, 1e6)))
            };
            let (rate, ramp) = (number(&entry.rate), number(&entry.ramp));
            let kind = match (rate, &entry.users) {
                (Some(rate), None) => LoadKind::Open {
                    from: rate * scale.load,
                    to: ramp.unwrap_or(rate) * scale.load,
                },
                (None, Some(users)) => LoadKind::Users {
                    count: (f64::from(**users) * scale.load).round() as u32,
                    think_ms: entry
                        .think
                        .as_ref()
                        .map_or(3000.0, |t| t.0.as_secs_f64() * 1e3),
                },
                (Some(_), Some(_)) | (None, None) => {
                    let message = "a load has a `rate` or it has `users`";
                    self.error(at, message, "one of the two");
                    continue;
                }
            };
            let retries = entry.retries.as_ref().map_or(2, |retries| **retries);
            loads.push(Load {
                at: entry.at.0,
                kind,
                retry: entry.retry_after.as_ref().map(|after| (after.0, retries)),
            });
        }
        if own.load.is_empty() {
            let finding = Diagnostic::error("nobody reads: there is no `[[load]]`");
            self.found
                .push(finding.help("for example `[[load]]`, `at = \"0s\"`, `rate = 120`"));
        }
        loads
    }

    fn faults(&mut self, layers: &Layers, origins: &[Origin], shared: &[Shared]) -> Vec<Fault> {
        let (id, own) = &layers.own;
        let mut faults = Vec::new();
        for entry in &own.fault {
            let find = |name: &At<String>, known: Vec<&str>, found: &mut Diagnostics| {
                let index = known.iter().position(|known| *known == **name);
                if index.is_none() {
                    let finding = Diagnostic::error(format!("there is no `{}`", **name))
                        .at(place(*id, name), "not declared");
                    found.push(finding.did_you_mean(name, known));
                }
                index
            };
            let with = match (&entry.origin, &entry.shared) {
                (Some(name), None) if **name == "*" => Some(With::Origins),
                (Some(name), None) => {
                    let known = origins.iter().map(|origin| origin.name.as_str()).collect();
                    find(name, known, self.found).map(With::Origin)
                }
                (None, Some(name)) => {
                    let known = shared.iter().map(|shared| shared.name.as_str()).collect();
                    find(name, known, self.found).map(With::Shared)
                }
                (Some(_), Some(_)) | (None, None) => {
                    let place = place(*id, &entry.kind);
                    let message = "a fault is with an `origin` or with something `shared`";
                    self.error(place, message, "one of the two");
                    None
                }
            };
            let factor = entry.factor.as_ref().map(|at| (at, place(*id, at)));
            let factor = self.number(factor, 10.0, (0.01, 1000.0));
            let every = entry
                .every
                .as_ref()
                .map_or(Duration::from_secs(5), |every| every.0);
            let kind = match *entry.kind {
                FaultName::Slow => FaultKind::Slow(factor),
                FaultName::Hang => FaultKind::Hang,
                FaultName::Flap => FaultKind::Flap(every.max(Duration::from_millis(10))),
            };
            faults.extend(with.map(|with| Fault {
                with,
                at: entry.at.0,
                until: entry.at.0 + entry.lasts.0,
                kind,
            }));
        }
        faults
    }

    /// What the figures are of.
    fn event(
        &mut self,
        layers: &Layers,
        lasts: Duration,
        loads: &[Load],
        faults: &[Fault],
        composer: &Composer,
    ) -> (Duration, Duration) {
        let (id, own) = &layers.own;
        if let Some(event) = &own.run.event {
            if let [from, to] = &event[..]
                && from.0 < to.0
                && to.0 <= lasts
            {
                return (from.0, to.0);
            }
            let at = event.first().map_or_else(
                || Place {
                    file: *id,
                    span: 0..0,
                },
                |first| place(*id, first),
            );
            self.error(
                at,
                "`event` is two moments of the run, one after the other",
                "here",
            );
        }
        let mut moments: Vec<Duration> = loads.iter().skip(1).map(|load| load.at).collect();
        moments.extend(faults.iter().flat_map(|fault| [fault.at, fault.until]));
        moments.extend(composer.speed.iter().map(|(at, _)| *at));
        moments.extend(composer.deploy.iter().map(|(at, ..)| *at));
        let first = moments.iter().min().copied().unwrap_or_default();
        let last = moments.iter().max().copied().unwrap_or(lasts);
        match first < last.min(lasts) {
            true => (first, last.min(lasts)),
            false => (first.min(lasts), lasts),
        }
    }
}

/// Times as many of a kind.
struct Scale {
    servers: f64,
    costs: f64,
    latency: f64,
    load: f64,
    cv: Option<f64>,
}

impl Scale {
    fn servers(&self, declared: u32) -> usize {
        ((f64::from(declared) * self.servers).round() as usize).max(1)
    }
}

/// What decides, by its name.
pub(super) fn control(
    name: LawName,
    work_rate: work_rate::Constants,
    aimd: aimd::Constants,
) -> Control {
    match name {
        LawName::WorkRate => Control::Law(Law::WorkRate(work_rate)),
        LawName::Aimd => Control::Law(Law::Aimd(aimd)),
        LawName::None => Control::None,
        LawName::LadderP95 => Control::CLASSIC,
        LawName::LadderP95Fast => Control::FAST,
    }
}

fn breaker(written: &Breaker, is_on: bool) -> BreakerPolicy {
    BreakerPolicy {
        enabled: is_on && *written.enabled,
        window: written.window.0,
        requests_min: *written.min_requests,
        failed_percent: *written.failed,
        slow_percent: *written.slow,
        slow_factor: *written.slow_factor,
        run_max: *written.in_a_row,
        open: written.open.0,
        open_max: written.open_max.0,
        step: written.step.0,
    }
}
