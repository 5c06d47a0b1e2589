//! Whether what is promised to readers is kept: of each objective how much was measured and missed, how
//! fast its error budget is used, and how much of that is left. Owns the counts and their windows; whether
//! a page is a good one is in `judge`, the arithmetic in [`burn`].
//!
//! Counts are kept in buckets of half a minute for the last six hours and of an hour for the period. A
//! restart goes on with what was [written](SloFile) down.
//!
//! Invariants: a page adds to counters and waits for no lock; what was counted is in one bucket of each
//! kind, once; memory has its bound by the number of objectives and their longest period.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::clock::Moment;
use crate::report::{Event, Observer, PageReport};
use crate::site::chaos::FaultRoom;
use crate::site::{Promise, Site, WhenSpent};
use crate::telemetry::named::Named;

pub mod burn;
mod file;
mod gate;
mod judge;
mod record;
mod ring;
mod state;
mod windows;

pub use file::SloFile;
pub use gate::FaultGate;
pub use record::Counted;
pub use state::SloState;

use burn::Standing;
use record::OfSlo;
use windows::{Counters, Windows};

/// All objectives of a site.
pub struct Slos {
    table: ArcSwap<Table>,
    windows: Mutex<Vec<Windows>>,
    gate: FaultGate,
    stops_canaries: AtomicBool,
}

/// What each page is counted by, by its name.
type Table = Named<Vec<(Promise, Arc<Counters>)>>;

impl Slos {
    /// Those of a site, going on with what was `counted` before a restart.
    pub fn new(site: &Site, counted: Counted, now: Moment, gate: FaultGate) -> Self {
        let slos = Self {
            table: ArcSwap::default(),
            windows: Mutex::default(),
            gate,
            stops_canaries: AtomicBool::new(false),
        };
        let Counted { at, slos: known } = counted;
        let known = known.into_iter().map(|known| (known.name.clone(), known));
        let mut known: BTreeMap<String, OfSlo> = known.collect();
        let recalled = site.slos.iter().map(|spec| {
            let new = || Windows::new(spec, now);
            let known = known.remove(&spec.name);
            let mut windows = known
                .and_then(|known| Windows::recalled(spec, known, at))
                .unwrap_or_else(new);
            windows.pass(now);
            windows
        });
        *slos.windows.lock() = slos.serve(site, recalled.collect());
        slos
    }

    /// Another site is served: what measures the same goes on, what is not there any more is forgotten.
    pub fn declare(&self, site: &Site, now: Moment) {
        let mut serving = self.windows.lock();
        let before = std::mem::take(&mut *serving).into_iter();
        let before = before.map(|w| (w.spec.name.clone(), w));
        let mut before: BTreeMap<String, Windows> = before.collect();
        let windows = site.slos.iter().map(|spec| {
            let new = Windows::new(spec, now);
            let known = before.remove(&spec.name);
            match known.filter(|known| known.measures() == new.measures()) {
                Some(known) => known.declared_as(spec),
                None => new,
            }
        });
        *serving = self.serve(site, windows.collect());
    }

    fn serve(&self, site: &Site, windows: Vec<Windows>) -> Vec<Windows> {
        let pages = site.page_names().map(|name| {
            let about = windows.iter().filter(|w| w.spec.is_about(name));
            let by = about.map(|w| (w.spec.promise, Arc::clone(&w.counters)));
            (name.to_owned(), Arc::new(by.collect()))
        });
        self.table.store(Arc::new(pages.collect()));
        self.rule_faults(&windows);
        windows
    }

    /// Puts what was counted where it belongs in time, and tells what has changed.
    pub fn turn(&self, now: Moment, mut tell: impl FnMut(&Event)) {
        let mut windows = self.windows.lock();
        let mut changes = Vec::new();
        for of_one in windows.iter_mut() {
            for change in of_one.turn(now) {
                changes.push((of_one.spec.name.clone(), change));
            }
        }
        let is_news = !changes.is_empty();
        for (objective, change) in changes {
            tell(&Event::Slo { objective, change });
        }
        if is_news {
            // after the reason, so that it is told first
            self.rule_faults(&windows);
        }
    }

    /// How each of them is, by the last turn.
    pub fn states(&self) -> Vec<SloState> {
        self.windows.lock().iter().map(Windows::state).collect()
    }

    /// What is to be known after a restart.
    pub fn counted(&self, now: Moment) -> Counted {
        let mut windows = self.windows.lock();
        let slos = windows.iter_mut().map(|windows| windows.recorded(now));
        Counted {
            at: now,
            slos: slos.collect(),
        }
    }

    /// Whether faults may be set on purpose.
    pub fn gate(&self) -> &FaultGate {
        &self.gate
    }

    /// Whether a spent budget leaves no room for canaries.
    pub fn stops_canaries(&self) -> bool {
        self.stops_canaries.load(Ordering::Relaxed)
    }

    fn rule_faults(&self, windows: &[Windows]) {
        let spent = windows.iter().filter(|w| w.standing.is_spent);
        let stops_canaries = spent
            .clone()
            .any(|w| w.spec.when_spent == WhenSpent::StopExperiments);
        self.stops_canaries.store(stops_canaries, Ordering::Relaxed);
        let stopping = spent.filter(|w| w.spec.when_spent != WhenSpent::Tell);
        let first = stopping
            .map(|w| (&w.spec.name, w.spec.when_spent.label()))
            .next();
        let closed = first.map(|(name, when_spent)| {
            let why = format!(
                "no fault may be set: the error budget of the objective {name} is spent, and \
                 [slo.{name}] says when_spent = \"{when_spent}\"; when a tenth of it is back, faults \
                 may be set again"
            );
            Arc::from(why)
        });
        let named = |is: fn(&Standing) -> bool| {
            let found = windows.iter().find(|w| is(&w.standing));
            found.map(|w| Arc::from(w.spec.name.as_str()))
        };
        self.gate.set(FaultRoom {
            closed,
            burning: named(|standing| standing.burns_by.is_some()),
            spent: named(|standing| standing.is_spent),
        });
    }
}

impl Observer for Slos {
    fn page(&self, report: &PageReport<'_>) {
        let table = self.table.load();
        // a page of the site before may end after a reload that has taken its name away
        let Some(slos) = table.at(report.place, &report.page) else {
            return;
        };
        for (promise, counters) in slos.iter() {
            if let Some(counts) = judge::judge(*promise, report) {
                counters.add(counts);
            }
        }
    }

    fn event(&self, _: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{SloChange, example};
    use crate::site::chaos::StopOn;

    /// A site that promises this of its page.
    fn site(slo: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fragments.toml");
        let text = format!(
            "[fragments.a]\npriority = \"core\"\nsource = \"inline:a\"\n\
             [pages.front]\nroute = \"/\"\nlayout = \"front.html\"\n{slo}"
        );
        std::fs::write(&file, text).unwrap();
        std::fs::create_dir(folder.path().join("templates")).unwrap();
        let layout = "<fragment name=\"a\"></fragment>";
        std::fs::write(folder.path().join("templates/front.html"), layout).unwrap();
        crate::config::load(&file, &|_| None).unwrap().site
    }

    const CORE: &str = "[slo.core]\nobjective = 0.999\ncomplete = \"core\"\n";
    const STOPS: &str =
        "[slo.core]\nobjective = 0.999\ncomplete = \"core\"\nwhen_spent = \"stop-faults\"\n";

    const START: u64 = 1_700_000_000;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros((START + seconds) * 1_000_000)
    }

    fn begun(slo: &str) -> Slos {
        Slos::new(&site(slo), Counted::default(), at(0), FaultGate::default())
    }

    fn pages(slos: &Slos, count: usize, status: u16) {
        for _ in 0..count {
            slos.page(&PageReport {
                page: "front".into(),
                ..example::page(status, &[], 0)
            });
        }
    }

    fn changes(slos: &Slos, now: Moment) -> Vec<SloChange> {
        let mut changes = Vec::new();
        slos.turn(now, |event| {
            let Event::Slo { change, .. } = event else {
                panic!("{event}");
            };
            changes.push(*change);
        });
        changes
    }

    fn missed(slos: &Slos) -> (u64, u64) {
        let states = slos.states();
        (states[0].measured, states[0].missed)
    }

    #[test]
    fn a_burn_is_told_spends_the_budget_and_stops_faults_until_some_of_it_is_back() {
        let slos = begun(STOPS);
        pages(&slos, 990, 200);
        assert_eq!(changes(&slos, at(1)), []);
        pages(&slos, 10, 503);
        let told = changes(&slos, at(2));
        assert!(
            matches!(told[..], [SloChange::Burning { .. }, SloChange::Spent]),
            "{told:?}"
        );
        assert_eq!(missed(&slos), (1000, 10));
        let why = slos.gate().closed().unwrap();
        assert!(why.contains("objective core is spent"), "{why}");
        assert!(!slos.stops_canaries());
        // six hours later nothing burns any more, but the budget is that of thirty days
        assert_eq!(changes(&slos, at(6 * 3600)), [SloChange::Recovered]);
        assert!(slos.gate().closed().is_some());
        assert_eq!(
            changes(&slos, at(30 * 86_400 + 7200)),
            [SloChange::Restored]
        );
        assert_eq!(slos.gate().closed(), None);
        assert_eq!(slos.gate().room(), FaultRoom::default());
    }

    #[test]
    fn what_burns_or_is_spent_leaves_no_room_as_long_as_it_is_so_and_declared() {
        let slos = begun(CORE);
        pages(&slos, 990, 200);
        pages(&slos, 10, 503);
        changes(&slos, at(2));
        let room = slos.gate().room();
        assert_eq!(room.closed, None, "it is only told");
        for stop_on in [StopOn::Burning, StopOn::Spent] {
            let why = room.refuses(stop_on).unwrap();
            assert!(why.contains("objective core"), "{why}");
            assert!(!why.contains("would bear with"), "{why}");
        }
        // it is known to whoever goes on, and nobody has been told of it again
        let counted = slos.counted(at(3));
        let gate = FaultGate::default();
        let again = Slos::new(&site(CORE), counted, at(4), gate.clone());
        assert_eq!(gate.room(), room);
        again.declare(&site(&CORE.replace("core\"", "all\"")), at(5));
        assert_eq!(gate.room(), FaultRoom::default());
        // spent for long, and well since: what burns can be told apart
        changes(&slos, at(6 * 3600));
        let room = slos.gate().room();
        assert_eq!(room.refuses(StopOn::Burning), None);
        let why = room.refuses(StopOn::Spent).unwrap();
        assert!(why.contains("stop_on = \"burning\""), "{why}");
        slos.declare(&site(""), at(6 * 3600));
        assert_eq!(slos.gate().room(), FaultRoom::default());
    }

    #[test]
    fn what_burns_and_is_not_spent_has_room_for_faults_that_end_when_it_is() {
        let slos = begun("[slo.core]\nobjective = 0.99\ncomplete = \"core\"\n");
        // a month of good pages, and a bad hour
        pages(&slos, 10_000, 200);
        changes(&slos, at(1));
        let later = 4 * 86_400;
        pages(&slos, 20, 503);
        let told = changes(&slos, at(later));
        assert!(matches!(told[..], [SloChange::Burning { .. }]), "{told:?}");
        let room = slos.gate().room();
        let why = room.refuses(StopOn::Burning).unwrap();
        assert!(why.contains("would bear with"), "{why}");
        assert_eq!(room.refuses(StopOn::Spent), None);
    }

    #[test]
    fn a_restart_goes_on_and_a_clock_that_was_put_back_changes_nothing() {
        let first = begun(STOPS);
        pages(&first, 990, 200);
        pages(&first, 10, 503);
        changes(&first, at(5));
        let counted = first.counted(at(6));
        for now in [at(7), at(0), Moment::from_micros(1_000_000)] {
            let gate = FaultGate::default();
            let second = Slos::new(&site(STOPS), counted.clone(), now, gate.clone());
            assert!(gate.closed().is_some(), "before anybody asks");
            assert_eq!(missed(&second), (1000, 10));
            assert_eq!(second.states()[0].burn, first.states()[0].burn);
            assert_eq!(changes(&second, now), [], "it has been told");
            pages(&second, 1, 200);
            changes(&second, now);
            assert_eq!(missed(&second), (1001, 10));
        }
        // what was not counted while nobody counted was long ago
        let later = Slos::new(&site(CORE), counted, at(40 * 86_400), FaultGate::default());
        assert_eq!(missed(&later), (0, 0));
    }

    #[test]
    fn another_promise_begins_anew_and_another_objective_does_not() {
        let slos = begun(CORE);
        pages(&slos, 10, 200);
        changes(&slos, at(1));
        let stricter = CORE.replace("0.999", "0.99") + "period = \"7d\"\n";
        slos.declare(&site(&stricter), at(2));
        assert_eq!(missed(&slos), (10, 0));
        pages(&slos, 1, 200);
        changes(&slos, at(3));
        assert_eq!(missed(&slos), (11, 0));
        let counted = slos.counted(at(4));
        let other = CORE.replace("core\"", "all\"");
        slos.declare(&site(&other), at(4));
        assert_eq!(missed(&slos), (0, 0));
        let recalled = Slos::new(&site(&other), counted, at(5), FaultGate::default());
        assert_eq!(missed(&recalled), (0, 0));
        pages(&slos, 10, 503);
        changes(&slos, at(5));
        assert_eq!(slos.gate().closed(), None, "it is only told");
        // the policy is another, and the budget as spent as it was
        let policy = other + "when_spent = \"stop-experiments\"\n";
        slos.declare(&site(&policy), at(6));
        assert!(slos.stops_canaries() && slos.gate().closed().is_some());
        slos.declare(&site(""), at(6));
        assert!(!slos.stops_canaries() && slos.gate().closed().is_none());
        assert_eq!(slos.states(), []);
        pages(&slos, 1, 200);
    }
}
