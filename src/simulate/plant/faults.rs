//! What befalls the plant, and when.

use super::*;

impl Plant<'_> {
    /// Plans what is known before the run begins.
    pub(super) fn plan_what_is_known(&mut self) {
        let scenario = self.scenario;
        let at = At::from_duration;
        for (index, load) in scenario.loads.iter().enumerate() {
            self.agenda.plan(at(load.at), Event::Load(index));
        }
        for fault in &scenario.faults {
            for (when, change) in changes(fault) {
                self.agenda.plan(at(when), Event::Change(change));
            }
        }
        for (when, factor) in &scenario.composer.speed {
            let change = Change::Speed(*factor);
            self.agenda.plan(at(*when), Event::Change(change));
        }
        for (when, block, factor) in &scenario.composer.deploy {
            let change = Change::Deploy(*block, *factor);
            self.agenda.plan(at(*when), Event::Change(change));
        }
        self.agenda.plan(at(scenario.degradation.tick), Event::Tick);
        self.agenda.plan(at(PROBE_EVERY), Event::Probe);
        self.plan_stutter();
    }

    fn plan_stutter(&mut self) {
        if let Some((every, _)) = self.scenario.composer.stutter {
            let pause = pause(&mut self.chance.arrivals, every.as_secs_f64() * 1e3);
            self.agenda.plan(self.now + pause, Event::Stutter);
        }
    }

    pub(super) fn stutter(&mut self) {
        if let Some((_, lasts)) = self.scenario.composer.stutter {
            let span = Span::from_duration(lasts);
            self.composer.stand_still(span, self.now);
            self.plan_stutter();
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Slow(with, factor) => {
                self.stations(with).for_each(|station| station.slow(factor));
            }
            Change::Hang(with) => self.stations(with).for_each(Station::hang),
            Change::Mend(with) => self.mend(with),
            Change::Speed(factor) => self.composer.set_speed(factor),
            Change::Deploy(block, factor) => {
                let declared = self.scenario.blocks[block].cost_ms;
                let cv = self.scenario.composer.cv;
                self.blocks[block].work = Spread::new(declared * factor, cv);
            }
        }
    }

    /// Those that something is wrong with: of the origins, and of what is behind them.
    fn stations(&mut self, with: With) -> impl Iterator<Item = &mut Station> {
        let origins = self.origins.iter_mut().enumerate();
        let origins = origins.filter(move |(place, _)| match with {
            With::Origin(origin) => origin == *place,
            With::Origins => true,
            With::Shared(_) => false,
        });
        let shared = self.shared.iter_mut().enumerate();
        let shared = shared.filter(move |(place, _)| with == With::Shared(*place));
        let shared = shared.map(|(_, station)| station);
        origins.map(|(_, origin)| &mut origin.station).chain(shared)
    }

    fn mend(&mut self, with: With) {
        let answers = &mut self.chance.answers;
        let mut served = Vec::new();
        for (place, origin) in self.origins.iter_mut().enumerate() {
            if with == With::Origins || with == With::Origin(place) {
                let mended = origin.station.mend(answers).into_iter();
                served.extend(mended.map(|s| (s.takes, Event::OwnPart(s.request))));
            }
        }
        if let With::Shared(shared) = with {
            let mended = self.shared[shared].mend(answers).into_iter();
            served.extend(mended.map(|s| (s.takes, Event::SharedPart(s.request))));
        }
        for (takes, event) in served {
            self.agenda.plan(self.now + takes, event);
        }
    }
}

/// What changes, and when, by a fault.
fn changes(fault: &Fault) -> Vec<(Duration, Change)> {
    let (with, at, until) = (fault.with, fault.at, fault.until);
    match fault.kind {
        FaultKind::Slow(factor) => {
            vec![
                (at, Change::Slow(with, factor)),
                (until, Change::Slow(with, 1.0)),
            ]
        }
        FaultKind::Hang => vec![(at, Change::Hang(with)), (until, Change::Mend(with))],
        FaultKind::Flap(every) => {
            let (mut changes, mut when, mut is_well) = (Vec::new(), at, true);
            while when < until {
                let change = match is_well {
                    true => Change::Hang(with),
                    false => Change::Mend(with),
                };
                changes.push((when, change));
                is_well = !is_well;
                when += every;
            }
            if !is_well {
                changes.push((until, Change::Mend(with)));
            }
            changes
        }
    }
}
