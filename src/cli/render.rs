//! `marbre render`: composes one page from the real origins, as a reader would get it.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::app::{self, World};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::compose::{self, Composer, Verdict};
use crate::plan::{self, request};
use crate::report::{Event, Observer, PageReport};

use super::explain::{Asked, level, load};
use super::{File, output};

#[derive(Args)]
pub(super) struct Render {
    /// The page's path, such as /articles/some-slug; the host of a URL is ignored.
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    file: File,
    /// Render at this level of degradation (0 = full page).
    #[arg(long, default_value_t = 0, value_name = "N")]
    level: u8,
    /// A request header, as `Name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
}

#[derive(Default)]
struct Keep(Mutex<Option<PageReport<'static>>>);

impl Observer for Keep {
    fn page(&self, report: &PageReport<'_>) {
        *self.0.lock() = Some(report.clone().into_owned());
    }

    fn event(&self, _: &Event) {}
}

impl Render {
    pub(super) fn run(self) -> ExitCode {
        let site = match load(&self.file) {
            Ok(site) => site,
            Err(code) => return code,
        };
        let level = match level(&site, self.level) {
            Ok(level) => level,
            Err(code) => return code,
        };
        let (asked, id) = match Asked::new(&site, &self.url, &self.headers) {
            Ok(asked) => asked,
            Err(why) => {
                output::message(&format!("error: {why}"));
                return ExitCode::FAILURE;
            }
        };
        super::run_async(async {
            let clock = Clock::start();
            let edition = match app::edition(site, None, &World::new(clock, Vec::new())) {
                Ok(edition) => Arc::new(edition),
                Err(cause) => {
                    output::message(&format!("error: {cause}"));
                    return ExitCode::FAILURE;
                }
            };
            let kept = Arc::new(Keep::default());
            let observers = vec![Arc::clone(&kept) as Arc<dyn Observer>];
            let cache = Cache::new(edition.site.limits.cache_bytes_max);
            let composer = Arc::new(Composer::new(cache, clock, TaskTracker::new(), observers));
            let site = &edition.site;
            let (uri, chance) = (asked.uri, fastrand::u128(..));
            let facts = request::facts(site, &uri, &asked.headers, asked.params, chance);
            let turn = composer.executor().go_on().await;
            let plan = plan::plan(site, id, &facts, level, &Arc::default(), clock.now());
            let page = compose::compose(
                &composer,
                Arc::clone(&edition),
                plan,
                uri.path(),
                facts,
                (turn, ()),
            )
            .await;
            let verdict = page.head.verdict.clone();
            let Ok(body) = page.body.collect().await;
            output::bytes(&body.to_bytes());
            if let Some(report) = kept.0.lock().take() {
                let called = edition.site.ladder.called(report.level);
                output::message(&account(&report, called, &verdict));
            }
            if verdict == Verdict::Page {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        })
    }
}

/// The report as lines for a terminal.
fn account(report: &PageReport<'_>, called: &str, verdict: &Verdict) -> String {
    let PageReport {
        page,
        status,
        level,
        duration,
        ..
    } = report;
    let mut text = format!(
        "page {page}: status {status}, level {level} ({called}), {:.1} ms",
        duration.as_secs_f64() * 1e3
    );
    if let Verdict::Redirect(_, location) = verdict {
        text += &format!(", to {}", String::from_utf8_lossy(location.as_bytes()));
    }
    let width = report
        .fragments
        .iter()
        .map(|f| f.name.chars().count())
        .max()
        .unwrap_or(0);
    for fragment in &report.fragments {
        let (name, ms) = (&fragment.name, fragment.duration.as_secs_f64() * 1e3);
        text += &format!("\n  {name:width$}  {ms:>8.1} ms  {}", fragment.outcome);
    }
    text
}
