//! What a page asks of origins, and what becomes of it.

use super::*;

/// Why an origin was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsent {
    /// The block gives way, at this reader's page or at all.
    GivesWay,
    /// The origin is sick, or on its way back.
    LeftAlone,
}

impl Plant<'_> {
    /// A page is planned: it asks for its blocks.
    pub(super) fn ask_origins(&mut self, place: usize) {
        let page = self.pages.at(place);
        page.planned = self.now;
        let asked = page.asked;
        let (level, number) = (usize::from(page.level.get()), page.reader_number);
        let (key, reader) = (self.pages.key(place), self.readers[number as usize]);
        let mut deadlines: Vec<At> = Vec::new();
        for block in 0..self.blocks.len() {
            if self.blocks[block].step.is_some_and(|step| step < level) {
                continue;
            }
            self.pages.at(place).wanted.add(block);
            self.deciding.meters().used(block);
            let sent = match self.is_asked(block, reader) {
                true => self.send(Some(key), block),
                false => Err(Unsent::GivesWay),
            };
            if sent.is_ok() {
                let deadline = self.waits_until((asked, self.now), block);
                if !deadlines.contains(&deadline) {
                    deadlines.push(deadline);
                }
                continue;
            }
            if sent == Err(Unsent::LeftAlone) {
                self.pages.at(place).sick.add(block);
            }
            self.do_without(place, block);
        }
        for deadline in deadlines {
            self.agenda.plan(deadline, Event::Deadline(key));
        }
        self.assemble_when_ready(place);
    }

    /// Whether the pages of this reader ask for a block.
    fn is_asked(&self, block: usize, reader: Reader) -> bool {
        let block = &self.blocks[block];
        let share = block.limiter.as_ref().map_or(1.0, Limiter::share);
        share >= 1.0 || reader.draw(block.matter) < share
    }

    /// How long a page waits for a block.
    fn deadline_of(&self, block: usize) -> Span {
        let block = &self.blocks[block];
        Span::from_duration(match block.grade {
            Grade::Optional => block.timeout.min(self.optional_time()),
            Grade::Core | Grade::Essential => block.timeout,
        })
    }

    /// Until when a page that came in at `asked` and was planned at `planned` waits for a block.
    fn waits_until(&self, (asked, planned): (At, At), block: usize) -> At {
        let deadline = planned + self.deadline_of(block);
        match self.blocks[block].grade {
            Grade::Optional => {
                let target = asked + Span::from_duration(self.optional_time());
                deadline.min(target).max(planned)
            }
            Grade::Core | Grade::Essential => deadline,
        }
    }

    fn optional_time(&self) -> Duration {
        let degradation = &self.scenario.degradation;
        degradation.target.saturating_sub(degradation.margin)
    }

    /// A page goes on without a block.
    fn do_without(&mut self, place: usize, block: usize) {
        let known = &self.blocks[block];
        let is_kept = known.grade == Grade::Core && known.has_copy;
        let page = self.pages.at(place);
        page.awaited.remove(block);
        page.requests[block] = None;
        if is_kept {
            page.core = Core::Stale;
        }
    }

    /// Asks the origin of a block, for a page or off the page, if it may be asked.
    fn send(&mut self, page: Option<Key>, block: usize) -> Result<(), Unsent> {
        let (now, is_probe) = (self.instant(), page.is_none());
        let timeout = self.deadline_of(block).duration();
        let known = &mut self.blocks[block];
        let (grade, origin) = (known.grade, known.origin);
        let is_limited = known.limiter.is_some() && !is_probe;
        if is_limited && !known.limiter.as_mut().is_none_or(Limiter::admit) {
            return Err(Unsent::GivesWay);
        }
        let guards = &mut self.chance.guards;
        let mut chance = || guards.f64();
        let gate = &mut self.gates[origin];
        let leave = match is_probe && gate.is_open(grade) {
            true => gate.probe(grade, timeout, now, &mut chance),
            false => gate.ask(grade, timeout, now, &mut chance),
        };
        let Some(leave) = leave else {
            if let Some(limiter) = known.limiter.as_mut().filter(|_| is_limited) {
                limiter.settle(Outcome::Abandoned, now);
            }
            return Err(Unsent::LeftAlone);
        };
        self.deciding.meters().fetched(block);
        let request = self.requests.put(Request {
            page,
            block,
            leave: Some(leave),
            sent: self.now,
            is_limited,
            is_probe,
        });
        match page {
            Some(page) => {
                let page = self.pages.at(page.place);
                page.awaited.add(block);
                page.requests[block] = Some(request);
            }
            None => {
                let event = Event::ProbeDeadline(request);
                self.agenda.plan(self.after(timeout), event);
            }
        }
        let station = &mut self.origins[origin].station;
        let served = station.ask(request.place, Mean::Own, &mut self.chance.answers);
        self.serve(served, Event::OwnPart);
        Ok(())
    }

    fn serve(&mut self, served: Option<Served>, event: impl Fn(usize) -> Event) {
        if let Some(Served { request, takes }) = served {
            self.agenda.plan(self.now + takes, event(request));
        }
    }

    pub(super) fn own_part_done(&mut self, request: usize) {
        let origin = self.blocks[self.requests.see(request).block].origin;
        let origin = &mut self.origins[origin];
        if origin.station.is_stuck(request, Mean::Own) {
            return;
        }
        match origin.behind {
            None => self.came(request),
            Some((shared, spread)) => {
                let (station, mean) = (&mut self.shared[shared], Mean::Asked(spread));
                let served = station.ask(request, mean, &mut self.chance.answers);
                self.serve(served, Event::SharedPart);
            }
        }
    }

    pub(super) fn shared_part_done(&mut self, request: usize) {
        let origin = self.blocks[self.requests.see(request).block].origin;
        let Some((shared, spread)) = self.origins[origin].behind else {
            return;
        };
        let station = &mut self.shared[shared];
        if station.is_stuck(request, Mean::Asked(spread)) {
            return;
        }
        let (served, _) = station.next(&mut self.chance.answers, |_| true);
        self.serve(served, Event::SharedPart);
        self.came(request);
    }

    /// An answer has come.
    fn came(&mut self, place: usize) {
        let request = self.requests.take(place);
        let (requests, origin) = (&self.requests, self.blocks[request.block].origin);
        let origin = &mut self.origins[origin];
        let cancels = origin.cancels;
        let is_wanted = |request: usize| !cancels || requests.see(request).leave.is_some();
        let (served, dropped) = origin.station.next(&mut self.chance.answers, is_wanted);
        for dropped in dropped {
            self.requests.take(dropped);
        }
        self.serve(served, Event::OwnPart);
        let Some(leave) = request.leave else {
            if !request.is_probe {
                self.meter.wasted(self.now);
            }
            return;
        };
        let now = self.instant();
        let guards = &mut self.chance.guards;
        let block = &mut self.blocks[request.block];
        self.gates[block.origin].answered(leave, now, &mut || guards.f64());
        if let Some(limiter) = block.limiter.as_mut().filter(|_| request.is_limited) {
            let took = self.now.since(request.sent).duration();
            limiter.settle(Outcome::Answered(took), now);
        }
        if let Some(page) = request.page {
            self.make(page.place, request.block);
            self.dispatch();
        }
    }

    /// A page has the answer for a block: it is made, unless it is too late for that.
    fn make(&mut self, place: usize, block: usize) {
        let is_optional = self.blocks[block].grade == Grade::Optional;
        let cutoff = self.optional_time();
        let page = self.pages.at(place);
        let is_late = self.now.since(page.asked).duration() > cutoff;
        if is_late && is_optional && self.scenario.degradation.has_recheck {
            self.do_without(place, block);
            self.assemble_when_ready(place);
            return;
        }
        page.awaited.remove(block);
        page.requests[block] = None;
        page.raw.add(block);
        let takes = self.chance.work.time(&self.blocks[block].work);
        let job = Job::Render(place, block);
        self.composer.add(job, takes, self.now);
    }

    /// Some blocks of a page have had their time.
    pub(super) fn deadline(&mut self, page: Key) {
        let Some(known) = self.pages.get(page) else {
            return;
        };
        let (awaited, times) = (known.awaited, (known.asked, known.planned));
        let late: Vec<usize> = (0..self.blocks.len())
            .filter(|block| awaited.has(*block) && self.waits_until(times, *block) <= self.now)
            .collect();
        if late.is_empty() {
            return;
        }
        for block in late {
            if let Some(request) = self.pages.see(page.place).requests[block] {
                self.miss(request);
            }
            self.do_without(page.place, block);
        }
        self.assemble_when_ready(page.place);
        self.dispatch();
    }

    pub(super) fn probe_deadline(&mut self, request: Key) {
        if self.requests.get(request).is_some() {
            self.miss(request);
        }
    }

    /// A request has missed its deadline: nobody waits for it any more.
    fn miss(&mut self, request: Key) {
        let now = self.instant();
        let Some(request) = self.requests.get(request) else {
            return;
        };
        request.page = None;
        let Some(leave) = request.leave.take() else {
            return;
        };
        let block = &mut self.blocks[request.block];
        if let Some(limiter) = block.limiter.as_mut().filter(|_| request.is_limited) {
            limiter.settle(Outcome::Missed(leave.timeout()), now);
        }
        let guards = &mut self.chance.guards;
        self.gates[block.origin].missed(leave, now, &mut || guards.f64());
    }

    /// The prober: what is left alone is asked when that is due, and what is given up by everybody
    /// twice a second, so that it is known how it is when it comes back.
    pub(super) fn probe(&mut self, is_within: bool) {
        if !is_within {
            return;
        }
        self.agenda.plan(self.after(PROBE_EVERY), Event::Probe);
        let now = self.instant();
        let mode = self.deciding.mode();
        let given_up = mode.cut.given_up.max(mode.origins_cut.given_up);
        for block in 0..self.blocks.len() {
            let known = &self.blocks[block];
            let gate = &self.gates[known.origin];
            let is_off = known
                .step
                .is_some_and(|step| step < usize::from(given_up.get()));
            let is_due = match gate.is_open(known.grade) {
                true => gate.is_probe_due(known.grade, now),
                false => is_off && self.now.since(known.kept_alive).duration() >= KEEP_ALIVE,
            };
            if is_due {
                self.blocks[block].kept_alive = self.now;
                // there will be another look
                let _ = self.send(None, block);
            }
        }
    }
}
