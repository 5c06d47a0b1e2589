//! What happens in the course of a run: who reads, what goes wrong, and of which part the figures are.

use super::*;

impl Reading<'_> {
    pub(super) fn loads(&mut self, layers: &Layers, scale: &Scale) -> Vec<Load> {
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

    pub(super) fn faults(
        &mut self,
        layers: &Layers,
        origins: &[Origin],
        shared: &[Shared],
    ) -> Vec<Fault> {
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
    pub(super) fn event(
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
