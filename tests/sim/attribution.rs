//! The demo newspaper while each of its origins in turn hangs, is ten times slower, or comes and goes:
//! whatever one of them does, the blocks of the others are there.
//!
//! The governor is at work as it is in a server. Declaration, templates and answers are the demo's own; its copies live for a moment only, so that
//! every page depends on every origin.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::future::{BoxFuture, FutureExt as _};
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use marbre::clock::{Clock, Instant};
use marbre::config;
use marbre::degradation::Reader;
use marbre::demo::Newspaper;
use marbre::fetch::{Origin, OriginRequest, OriginResponse};
use marbre::fragment::Source;
use marbre::plan::Action;
use marbre::report::Cause;
use marbre::site::Site;
use tokio::time::{sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::service::lognormal;
use crate::stage::{Asked, Least, Stage};
use crate::virtual_time;

const PAGES: [&str; 3] = ["/", "/articles/archipel-cable", "/articles/glacier-memoire"];

/// Pages a second.
const RATE: f64 = 25.0;

/// Cores of the machine: with what a page is said to cost a fifth of their time is asked for.
const CORES: usize = 1;

/// What an answer takes typically while its origin is well, and how far the times scatter.
const TYPICAL: Duration = Duration::from_millis(18);
const SIGMA: f64 = 0.5;

/// When the trouble begins, and when it ends.
const SICK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));
const END: Duration = Duration::from_secs(22);

/// The share of the blocks of the other origins that must be there.
const OTHERS_MIN: f64 = 0.97;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    Hangs,
    IsSlow,
    /// Hangs and answers in turn, for two seconds each.
    Flaps,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
}

/// What each origin answers, by its name and what it is asked for.
type Answers = BTreeMap<(String, String), Answer>;

/// The demo's declaration, with copies that live for a second where a page cannot do without, and for
/// no time at all elsewhere.
fn declared() -> Site {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let (mut text, mut is_required) = (String::new(), false);
    for line in include_str!("../../fragments.toml").lines() {
        let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
        match key {
            "priority" => is_required = value.starts_with('"'),
            "templates" => {
                let _ = writeln!(text, "templates = {templates:?}");
                continue;
            }
            "dir" => {
                let _ = writeln!(text, "dir = {:?}", templates.join("assets"));
                continue;
            }
            // a factor of a schedule
            "ttl" if !value.starts_with('"') => {}
            "ttl" if is_required => {
                text += "ttl = \"1s\"\n";
                continue;
            }
            "ttl" | "grace" | "keep" if !is_required => {
                let _ = writeln!(text, "{key} = \"0s\"");
                continue;
            }
            _ => {}
        }
        text += line;
        text += "\n";
    }
    let file = folder.path().join("fragments.toml");
    std::fs::write(&file, text).expect("the temporary folder is writable");
    match config::load(&file, &|_| None) {
        Ok(loaded) => loaded.site,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// What the demo's origins answer to all that its pages ask.
fn answers() -> Answers {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be built").block_on(async {
        let newspaper = Newspaper::start(|_| 0, &TaskTracker::new()).await;
        let newspaper = newspaper.expect("loopback has free ports");
        let addresses: BTreeMap<_, _> = newspaper.addresses().into_iter().collect();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.expect("a plain client can be built");
        let stage = Stage::of(declared(), |_| vec![Arc::new(Nobody) as Arc<dyn Origin>]);
        let site = &stage.edition.site;
        let mut answers = Answers::new();
        for path in PAGES {
            for step in stage.plan(path, 0).steps {
                let fragment = site.fragment(step.fragment);
                let (Action::Serve(serve), Source::Http { origin, .. }) =
                    (&step.action, &fragment.source)
                else {
                    continue;
                };
                let siblings = serve.siblings.iter().map(|sibling| &sibling.request);
                let name = site.origin(*origin).name.clone();
                for request in siblings.chain([serve.request(fragment)]) {
                    let url = format!("http://{}{}", addresses[name.as_str()], request.target);
                    let answer = client.get(url).send().await.expect("the demo answers");
                    let (status, head) = (answer.status(), answer.headers().clone());
                    let answer = Answer {
                        status,
                        content_type: head[header::CONTENT_TYPE].clone(),
                        body: answer.bytes().await.expect("the answer is whole"),
                    };
                    answers.insert((name.clone(), request.target.clone()), answer);
                }
            }
        }
        answers
    })
}

struct Nobody;

impl Origin for Nobody {
    fn send(&self, _: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        std::future::ready(Err(Cause::Connect("nobody".to_owned()))).boxed()
    }
}

/// An origin of the demo, without its socket.
struct Played {
    name: String,
    answers: Arc<Answers>,
    trouble: Option<Trouble>,
    begun: Instant,
    rng: parking_lot::Mutex<Rng>,
}

impl Origin for Played {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let passed = Clock::start().now() - self.begun;
        let is_sick = passed >= SICK.0 && passed < SICK.1;
        let trouble = self.trouble.filter(|_| is_sick);
        let hangs = match trouble {
            Some(Trouble::Hangs) => true,
            Some(Trouble::Flaps) => (passed - SICK.0).as_secs() % 4 < 2,
            Some(Trouble::IsSlow) | None => false,
        };
        let times = if trouble == Some(Trouble::IsSlow) {
            10.0
        } else {
            1.0
        };
        let takes = TYPICAL.mul_f64(times * lognormal(SIGMA, &mut self.rng.lock()));
        let answer = self
            .answers
            .get(&(self.name.clone(), request.target.clone()));
        let answer = answer.cloned();
        let what = format!("{}{}", self.name, request.target);
        async move {
            if hangs {
                std::future::pending().await
            }
            sleep(takes).await;
            let Answer {
                status,
                content_type,
                body,
            } = answer.unwrap_or_else(|| panic!("{what} was not asked of the demo"));
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type);
            Ok(OriginResponse::whole(status, headers, body))
        }
        .boxed()
    }
}

/// How many blocks there were, and how many of them were whole.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: u32,
    whole: u32,
}

/// Of each fragment while the trouble lasts, and of all of them after it.
struct Seen {
    during: BTreeMap<String, Count>,
    after: Count,
    /// Pages without a body.
    broken: usize,
    /// Pages that would have been snapshots.
    snapshots: usize,
    /// The least that the governor has decided.
    least: Least,
}

async fn run(seed: u64, answers: &Arc<Answers>, sick: &str, trouble: Trouble) -> Seen {
    let begun = Clock::start().now();
    let seeds = parking_lot::Mutex::new(Rng::with_seed(seed));
    let stage = Stage::of(declared(), |spec| {
        let played = Played {
            name: spec.name.clone(),
            answers: Arc::clone(answers),
            trouble: (spec.name == sick).then_some(trouble),
            begun,
            rng: parking_lot::Mutex::new(seeds.lock().fork()),
        };
        vec![Arc::new(played) as Arc<dyn Origin>]
    });
    let _governed = stage.governed(CORES);
    let mut rng = seeds.lock().fork();
    let mut seen = Seen {
        during: BTreeMap::new(),
        after: Count::default(),
        broken: 0,
        snapshots: 0,
        least: stage.least(),
    };
    let (mut next, mut number, mut pages) = (begun, 0u32, FuturesUnordered::new());
    loop {
        let is_over = next >= begun + END;
        if is_over && pages.is_empty() {
            seen.least = stage.least();
            return seen;
        }
        tokio::select! {
            biased;
            Some((at, page)) = pages.next(), if !pages.is_empty() => note(&mut seen, at, page),
            () = sleep_until(next), if !is_over => {
                let reader = Reader::new(&rng.u32(..2000).to_le_bytes(), 0);
                let path = format!("{}#{number}", PAGES[number as usize % PAGES.len()]);
                let (stage, at) = (&stage, next - begun);
                pages.push(async move { (at, stage.read_by(reader, &path).await) });
                number += 1;
                next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / RATE);
            }
        }
    }
}

fn note(seen: &mut Seen, at: Duration, page: Option<Asked>) {
    let Some(page) = page else {
        seen.snapshots += 1;
        return;
    };
    seen.broken += usize::from(!page.body.contains("</html>"));
    // a breaker may need until then to let all of them through again
    let is_after = at >= END - Duration::from_secs(1);
    let is_during = at >= SICK.0 && at < SICK.1;
    for fragment in &page.report.fragments {
        let mut counts = Vec::new();
        if is_during {
            counts.push(seen.during.entry(fragment.name.to_string()).or_default());
        }
        if is_after {
            counts.push(&mut seen.after);
        }
        for count in counts {
            count.all += 1;
            count.whole += u32::from(fragment.outcome.is_whole());
        }
    }
}

#[test]
fn whatever_one_origin_of_the_demo_does_the_blocks_of_the_others_are_there() {
    let seed = 11;
    let answers = Arc::new(answers());
    let site = declared();
    let origin_of = |name: &str| {
        let fragment = site.fragments.iter().find(|f| f.name == name);
        match fragment.expect("it is declared").source {
            Source::Http { origin, .. } => site.origin(origin).name.clone(),
            Source::Push(_) | Source::Ready(_) => String::new(),
        }
    };
    let asked: std::collections::BTreeSet<&String> = answers.keys().map(|(o, _)| o).collect();
    assert_eq!(asked.len(), 7, "all but the one of the pictures: {asked:?}");
    for sick in asked {
        for trouble in [Trouble::Hangs, Trouble::IsSlow, Trouble::Flaps] {
            let seen = virtual_time(async {
                fastrand::seed(seed);
                run(seed, &answers, sick, trouble).await
            });
            assert_eq!((seen.broken, seen.snapshots), (0, 0), "{sick} {trouble:?}");
            // the governor was there, and has not held against the page what one origin does
            let least = seen.least;
            assert!(
                least.theta >= 0.95 && least.admit >= 1.0 && least.phi >= 1.0,
                "{sick} {trouble:?}: {least:?} (seed {seed})"
            );
            let mut told = format!("{sick} {trouble:?}:");
            for (name, count) in &seen.during {
                let share = f64::from(count.whole) / f64::from(count.all);
                let is_own = origin_of(name) == *sick;
                let _ = write!(
                    told,
                    " {name} {:.1} %{}",
                    share * 100.0,
                    if is_own { "*" } else { "" }
                );
                let is_missed = is_own
                    && !site
                        .fragments
                        .iter()
                        .any(|f| f.name == *name && f.is_required());
                // a trouble that nobody notices proves nothing
                assert_eq!(
                    share < OTHERS_MIN,
                    is_missed,
                    "{sick} {trouble:?}: {share:.4} of {name} are there (seed {seed})"
                );
            }
            eprintln!("{told}");
            let back = f64::from(seen.after.whole) / f64::from(seen.after.all);
            assert!(
                back > 0.9,
                "{sick} {trouble:?}: {back:.3} are back (seed {seed})"
            );
        }
    }
}
