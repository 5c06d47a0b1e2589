//! A site, its fake origins and its readers, in virtual time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use fastrand::Rng;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, Uri};
use http_body_util::BodyExt as _;
use marbre::cache::Cache;
use marbre::clock::{Clock, Instant};
use marbre::compose::{self, Composed, Composer, Edition, Verdict, probe};
use marbre::config;
use marbre::degradation::governor::Seen as Sensed;
use marbre::degradation::{Admission, Governor, Level, Mode, Overrides, Reader};
use marbre::fetch::state::OriginState;
use marbre::fetch::{Fetcher, Means, Origin};
use marbre::fragment::facts::Facts;
use marbre::fragment::{OriginId, Source};
use marbre::plan::{self, Action, Plan, request};
use marbre::report::{Event, Observer, OriginChange, PageReport};
use marbre::site::{Found, OriginSpec, Site, Target, governed};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::origin::{FakeOrigin, Fault};
use crate::promises::{self, Seen};

/// A site with one page `/p/{id}` whose fragments, in order, are `(name, priority)`. Each has an
/// origin of its own name, a timeout of 300 ms and no copies; the page's budget is 500 ms.
pub(crate) fn declaration(fragments: &[(&str, &str)]) -> String {
    let mut toml = String::from(
        "[pages.p]\nroute = \"/p/{id}\"\nlayout = \"layout.html\"\nbudget = \"500ms\"\n",
    );
    for (name, priority) in fragments {
        let _ = write!(
            toml,
            "[origins.{name}]\nurls = [\"http://{name}.invalid\"]\ntimeout = \"2s\"\n\
             [fragments.{name}]\npriority = {priority}\nsource = \"{name}:/{name}\"\ntimeout = \"300ms\"\n"
        );
    }
    toml
}

/// A composed page and its account.
pub(crate) struct Asked {
    pub(crate) body: String,
    pub(crate) verdict: Verdict,
    pub(crate) report: PageReport<'static>,
}

impl Asked {
    /// Outcome and cause of a fragment.
    pub(crate) fn outcome(&self, name: &str) -> String {
        let fragment = self.report.fragments.iter().find(|f| f.name == name);
        fragment.map_or_else(|| "not in the page".to_owned(), |f| f.outcome.to_string())
    }
}

#[derive(Default)]
struct Reports {
    pages: Mutex<BTreeMap<String, PageReport<'static>>>,
    /// What has happened to origins, and when.
    changes: Mutex<Vec<(Instant, String, OriginChange)>>,
}

impl Observer for Reports {
    fn page(&self, report: &PageReport<'_>) {
        let again = self
            .pages
            .lock()
            .insert(report.path.to_string(), report.clone().into_owned());
        assert!(again.is_none(), "two reports for one page: {again:?}");
    }

    fn event(&self, event: &Event) {
        if let Event::Origin {
            origin,
            replica: None,
            change,
            ..
        } = event
        {
            let change = (Clock::start().now(), origin.clone(), change.clone());
            self.changes.lock().push(change);
        }
    }
}

/// The least that there was of what the governor decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Least {
    pub(crate) theta: f64,
    pub(crate) admit: f64,
    pub(crate) phi: f64,
}

/// What making each fragment of a page, planning the page and putting it together is said to cost: virtual
/// time does not pass while work is done.
const WORK: Duration = Duration::from_millis(1);

pub(crate) struct Stage {
    pub(crate) edition: Arc<Edition>,
    pub(crate) origins: BTreeMap<String, FakeOrigin>,
    pub(crate) composer: Arc<Composer>,
    /// What pages are planned by that ask for no level of their own.
    mode: Arc<ArcSwap<Mode>>,
    least: Arc<Mutex<Least>>,
    is_limiting: Arc<AtomicBool>,
    reports: Arc<Reports>,
    asked: Mutex<usize>,
}

/// Between two ticks, as in a server.
const TICK: Duration = Duration::from_millis(100);

impl Stage {
    /// Builds a site whose layout has a slot for each of `names`.
    pub(crate) fn build(toml: &str, names: &[&str], origin: impl Fn(&str) -> FakeOrigin) -> Self {
        let mut origins = BTreeMap::new();
        let mut stage = Self::with_replicas(toml, names, |spec| {
            let fake = origin(&spec.name);
            origins.insert(spec.name.clone(), fake.clone());
            vec![Arc::new(fake) as Arc<dyn Origin>]
        });
        stage.origins = origins;
        stage
    }

    /// The same with these replicas of each origin.
    pub(crate) fn with_replicas(
        toml: &str,
        names: &[&str],
        replicas: impl FnMut(&OriginSpec) -> Vec<Arc<dyn Origin>>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let file = folder.path().join("fragments.toml");
        std::fs::create_dir(folder.path().join("templates")).expect("a new folder");
        let slots = names
            .iter()
            .map(|name| format!("<fragment name=\"{name}\"></fragment>"));
        let layout = folder.path().join("templates/layout.html");
        std::fs::write(layout, slots.collect::<String>()).expect("a new file");
        std::fs::write(&file, toml).expect("a new file");
        let site = match config::load(&file, &|_| None) {
            Ok(loaded) => loaded.site,
            Err(diagnostics) => panic!("{diagnostics}\n{toml}"),
        };
        Self::of(site, replicas)
    }

    /// A site, and these replicas of each of its origins.
    pub(crate) fn of(
        site: Site,
        mut replicas: impl FnMut(&OriginSpec) -> Vec<Arc<dyn Origin>>,
    ) -> Self {
        let reports = Arc::new(Reports::default());
        let observers = vec![Arc::clone(&reports) as Arc<dyn Observer>];
        let means = Means::new(Clock::start(), observers.clone());
        let fetcher = Fetcher::new(&site, None, &means, |spec| Ok(replicas(spec)));
        let fetcher = fetcher.expect("fake origins can always be connected");
        let cache = Cache::new(site.limits.cache_bytes_max);
        let composer = Composer::new(cache, means.clock, TaskTracker::new(), observers);
        Self {
            edition: Arc::new(Edition::new(site, fetcher)),
            origins: BTreeMap::new(),
            composer: Arc::new(composer),
            mode: Arc::new(ArcSwap::from_pointee(Mode::full())),
            least: Arc::new(Mutex::new(Least {
                theta: 1.0,
                admit: 1.0,
                phi: 1.0,
            })),
            is_limiting: means.is_limiting,
            reports,
            asked: Mutex::new(0),
        }
    }

    /// Lets blocks give way to a slow origin, and asks off the page, as a server does. Ends when what is
    /// given back is dropped.
    pub(crate) fn guarded(&self) -> DropGuard {
        self.guarded_without(&[])
    }

    /// The same while nobody's page shows these fragments.
    pub(crate) fn guarded_without(&self, off: &'static [&'static str]) -> DropGuard {
        self.is_limiting.store(true, Ordering::Relaxed);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let edition = Arc::clone(&self.edition);
        let ticking = async move {
            loop {
                sleep(TICK).await;
                edition.fetcher.tick(TICK, |_| false);
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(ticking));
        let composer = Arc::clone(&self.composer);
        let edition = Arc::new(ArcSwap::new(Arc::clone(&self.edition)));
        let is_off = |site: &Site, id| off.contains(&site.fragment(id).name.as_str());
        tasks.spawn(probe::run(composer, edition, is_off, stop.clone()));
        stop.drop_guard()
    }

    /// The same with the governor at work, for [`Self::read_by`], as in a server of so many cores.
    pub(crate) fn governed(&self, cores: usize) -> DropGuard {
        self.is_limiting.store(true, Ordering::Relaxed);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (edition, composer) = (Arc::clone(&self.edition), Arc::clone(&self.composer));
        let (mode, least) = (Arc::clone(&self.mode), Arc::clone(&self.least));
        let law = edition.site.degradation.law.for_cores(cores);
        let mut governor = Governor::new(law, governed::shape(&edition.site), None);
        let ticking = async move {
            let site = &edition.site;
            let mut before = edition.meters.counted();
            loop {
                sleep(TICK).await;
                let readings = edition
                    .fetcher
                    .tick(TICK, |id| governor.is_shared(id.index()));
                let counted = edition.meters.counted();
                let overrides = Arc::<Overrides>::default();
                let turned = governor.tick(Sensed {
                    span: TICK,
                    counted: counted.since(&before),
                    queue_delay: composer.executor().take_queue_delay(),
                    lateness: edition.meters.times.turn(),
                    // it is real, and time is not
                    cpu: None,
                    charges: governed::charges(site, &overrides, &readings),
                    asked: governed::asked(site, &readings),
                    effect: governed::effect(site.degradation.mode),
                    overrides,
                });
                before = counted;
                let decision = turned.mode.decision;
                let mut least = least.lock();
                *least = Least {
                    theta: least.theta.min(decision.theta),
                    admit: least.admit.min(decision.admit),
                    phi: least.phi.min(turned.mode.phi),
                };
                mode.store(Arc::new(turned.mode));
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(ticking));
        let (mode, composer) = (Arc::clone(&self.mode), Arc::clone(&self.composer));
        let edition = Arc::new(ArcSwap::new(Arc::clone(&self.edition)));
        let is_off = move |site: &Site, id| governed::is_given_up(&mode.load(), site, id);
        tasks.spawn(probe::run(composer, edition, is_off, stop.clone()));
        stop.drop_guard()
    }

    /// The least that there was of what the governor has decided.
    pub(crate) fn least(&self) -> Least {
        *self.least.lock()
    }

    /// What has happened to origins, and when.
    pub(crate) fn changes(&self) -> Vec<(Instant, String, OriginChange)> {
        self.reports.changes.lock().clone()
    }

    /// How the origin of this name is.
    pub(crate) fn origin_state(&self, name: &str) -> OriginState {
        self.edition.fetcher.state(self.origin_id(name))
    }

    /// Plans the page that this path leads to.
    pub(crate) fn plan(&self, path: &str, level: u8) -> Plan {
        self.planned(path, level, &Arc::default()).0
    }

    /// The same under what operators have decided.
    pub(crate) fn plan_under(&self, path: &str, level: u8, overrides: &Arc<Overrides>) -> Plan {
        self.planned(path, level, overrides).0
    }

    /// The same with what the request has told it.
    fn planned(&self, path: &str, level: u8, overrides: &Arc<Overrides>) -> (Plan, Facts) {
        let uri: Uri = path.parse().expect("a path");
        let site = &self.edition.site;
        let Found::Match {
            target: Target::Page(id),
            params,
        } = site.routes.find(uri.path())
        else {
            panic!("the page has a route");
        };
        let facts = request::facts(site, &uri, &HeaderMap::new(), params, 7);
        let (level, now) = (Level::new(level), self.composer.clock().now());
        (plan::plan(site, id, &facts, level, overrides, now), facts)
    }

    /// The head of the page, and a body that nobody has read; the guard is held while slots are
    /// being filled.
    pub(crate) async fn begin<G: Send + 'static>(&self, path: &str, guard: G) -> Composed {
        let ((plan, facts), edition) = (
            self.planned(path, 0, &Arc::default()),
            Arc::clone(&self.edition),
        );
        let turn = self.composer.executor().go_on().await;
        compose::compose(&self.composer, edition, plan, path, facts, (turn, guard)).await
    }

    /// Requests in flight at the origin of this name.
    pub(crate) fn in_flight(&self, origin: &str) -> usize {
        self.origin_state(origin).in_flight
    }

    /// The origin of the fragment that has its name.
    pub(crate) fn origin_id(&self, name: &str) -> OriginId {
        let site = &self.edition.site;
        let fragment = site.fragments.iter().find(|f| f.name == name);
        let Source::Http { origin, .. } = &fragment.expect("it is declared").source else {
            panic!("every fragment here is fetched");
        };
        *origin
    }

    /// Composes the page, at a level, as one reader would get it.
    pub(crate) async fn ask(&self, level: u8) -> Asked {
        let number = {
            let mut asked = self.asked.lock();
            *asked += 1;
            *asked
        };
        self.read(&format!("/p/{number}"), level).await
    }

    /// The same for the page of this path; one reader at a time.
    pub(crate) async fn read(&self, path: &str, level: u8) -> Asked {
        self.read_as(Reader::NOBODY, path, level).await
    }

    /// The page of this path for this reader, at the level that the governor has it at; `None` where a
    /// server would answer with a snapshot.
    pub(crate) async fn read_by(&self, reader: Reader, path: &str) -> Option<Asked> {
        let asked = path.split('#').next().unwrap_or_default();
        let (site, meters) = (&self.edition.site, &self.edition.meters);
        let plan = self.plan(asked, 0);
        meters.arrived(plan.page.index());
        let Admission::Compose(level) = self.mode.load().admit(reader, 0) else {
            return None;
        };
        let level = level.min(site.ladder.text_only());
        meters.page_worked(WORK);
        for step in self.plan(asked, level.get()).steps {
            if matches!(step.action, Action::Serve(_)) {
                meters.worked(step.fragment.index(), WORK);
            }
        }
        Some(self.read_as(reader, path, level.get()).await)
    }

    /// The same for this reader. What comes after a `#` in the path only tells one page from another.
    pub(crate) async fn read_as(&self, reader: Reader, path: &str, level: u8) -> Asked {
        let asked = path.split('#').next().unwrap_or_default();
        let (plan, facts) = self.planned(asked, level, &Arc::default());
        let plan = Plan { reader, ..plan };
        let edition = Arc::clone(&self.edition);
        let turn = self.composer.executor().go_on().await;
        let page = compose::compose(&self.composer, edition, plan, path, facts, (turn, ())).await;
        let verdict = page.head.verdict.clone();
        let Ok(body) = page.body.collect().await;
        let report = self.reports.pages.lock().remove(path);
        Asked {
            body: String::from_utf8(body.to_bytes().to_vec()).expect("pages are UTF-8"),
            verdict,
            report: report.expect("every page is reported when its body has ended"),
        }
    }
}

/// A random weather: how likely an origin's answers are to be bad, and in which way.
pub(crate) fn weather(rng: &mut Rng) -> impl Fn() -> Fault + Send + Sync + use<> {
    let badness = [0.0, 0.1, 0.5, 1.0][rng.usize(..4)];
    let own = Mutex::new(rng.fork());
    move || {
        let mut rng = own.lock();
        if rng.f64() >= badness {
            return match rng.u8(..4) {
                0 => Fault::Slow(Duration::from_millis(rng.u64(1..200))),
                _ => Fault::None,
            };
        }
        match rng.u8(..13) {
            0 | 1 => Fault::Slow(Duration::from_millis(rng.u64(100..3_000))),
            2 => Fault::Hang,
            3 => Fault::Drip,
            4 => Fault::Cut(rng.usize(..4)),
            5 => Fault::Refused,
            6 => Fault::Status([500, 503, 302, 418, 206][rng.usize(..5)]),
            12 => Fault::Status([204, 404][rng.usize(..2)]),
            7 => Fault::Huge,
            8 => Fault::WrongType,
            9 => Fault::NotText,
            10 => Fault::Empty,
            _ => Fault::Panic,
        }
    }
}

/// A random site: one or two cores, perhaps a required block, some optional ones, copies or none.
pub(crate) fn random_site(rng: &mut Rng) -> (String, Vec<&'static str>) {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let count = rng.usize(2..=names.len());
    let cores = rng.usize(1..=2.min(count));
    let essentials = rng.usize(..=1.min(count - cores));
    let mut toml = format!(
        "[pages.p]\nroute = \"/p/{{id}}\"\nlayout = \"layout.html\"\nbudget = \"{}ms\"\n",
        rng.u64(20..1_000)
    );
    for (index, name) in names[..count].iter().enumerate() {
        let priority = match index {
            i if i < cores => "\"core\"".to_owned(),
            i if i < cores + essentials => "\"essential\"".to_owned(),
            _ => rng.u8(1..=99).to_string(),
        };
        let freshness = match rng.u8(..3) {
            0 => "ttl = \"0s\"".to_owned(),
            1 => format!(
                "ttl = \"{}ms\"\ngrace = \"{}s\"\nkeep = \"1h\"",
                rng.u64(1..5_000),
                rng.u64(..20)
            ),
            _ => format!(
                "ttl = \"{}s\"\npatience = \"{}ms\"\ngrace = \"30s\"",
                rng.u64(1..10),
                rng.u64(1..100)
            ),
        };
        let fallback = match rng.u8(..4) {
            0 if index >= cores => format!("fallback = [\"inline:<{name}>reserve</{name}>\"]"),
            1 if index > cores + essentials => {
                format!("fallback = [\"fragment:{}\"]", names[cores + essentials])
            }
            _ => String::new(),
        };
        let _ = write!(
            toml,
            "[origins.{name}]\nurls = [\"http://{name}.invalid\"]\ntimeout = \"{}ms\"\n\
             [fragments.{name}]\npriority = {priority}\nsource = \"{name}:/{name}\"\n\
             timeout = \"{}ms\"\n{freshness}\n{fallback}\n",
            rng.u64(800..3_000),
            rng.u64(10..800),
        );
    }
    (toml, names[..count].to_vec())
}

/// Plays one seed: pages in bursts and alone, over minutes, at changing levels.
pub(crate) async fn run(seed: u64, pages: usize) -> Seen {
    let mut rng = Rng::with_seed(seed);
    let (toml, names) = random_site(&mut rng);
    let weathers = Mutex::new(rng.fork());
    let stage = Stage::build(&toml, &names, |_| {
        FakeOrigin::new(weather(&mut weathers.lock()))
    });
    let top = stage.edition.site.ladder.text_only().get();
    let mut seen = Seen::default();
    let mut left = pages;
    while left > 0 {
        let burst = rng.usize(1..=6.min(left));
        left -= burst;
        let level = if rng.bool() { 0 } else { rng.u8(..=top) };
        stage
            .origins
            .values()
            .for_each(|origin| drop(origin.asked()));
        let mut readers: FuturesUnordered<_> = (0..burst).map(|_| stage.ask(level)).collect();
        while let Some(page) = readers.next().await {
            promises::check(&stage, level, &page, &mut seen);
        }
        promises::check_fetches(&stage, level);
        let pause = [1, 50, 700, 4_000, 40_000][rng.usize(..5)];
        sleep(Duration::from_millis(rng.u64(1..=pause))).await;
    }
    seen.panics = stage.origins.values().map(FakeOrigin::panics).sum();
    seen
}
