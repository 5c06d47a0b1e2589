//! What the plant consists of: origins, blocks, composer, and how pages are degraded.

use super::*;

impl Reading<'_> {
    pub(super) fn shared(&mut self, layers: &Layers, scale: &Scale) -> Vec<Shared> {
        let all = layers.named(|file| &file.shared);
        let shared = all.into_iter().map(|(name, (_, shared))| Shared {
            name: name.to_owned(),
            servers: scale.servers(*shared.servers),
            cv: scale.cv.unwrap_or(shared.cv),
        });
        shared.collect()
    }

    pub(super) fn origins(
        &mut self,
        layers: &Layers,
        scale: &Scale,
        shared: &[Shared],
    ) -> Vec<Origin> {
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

    pub(super) fn blocks(
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

    pub(super) fn composer(
        &mut self,
        layers: &Layers,
        scale: &Scale,
        blocks: &[Block],
    ) -> Composer {
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

    pub(super) fn degradation(&mut self, layers: &Layers) -> Option<Degradation> {
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
    pub(super) fn turn<L: Tunable>(&mut self, file: FileId, written: &Constants<L>, law: &mut L) {
        for (knob, at) in written.written() {
            if let Err(why) = knob.put(law, at.0) {
                let message = format!("`{}` cannot be set", knob.key);
                self.error(place(file, at), message, why.to_string());
            }
        }
    }
}

/// What decides, by its name.
fn control(name: LawName, work_rate: work_rate::Constants, aimd: aimd::Constants) -> Control {
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
