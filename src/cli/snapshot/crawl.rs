//! From page to page. Owns what is asked for, and in which order; what is made of an answer is the
//! [desk](super::desk)'s.
//!
//! Pages are asked for breadth first; with several under way at once, what they lead to is still
//! taken up in the order in which they were asked for, so that two crawls of the same site are the
//! same. A page that lacks something is asked for a second time when everything else has been: what
//! came too late for it the first time is a copy at hand by then.
//!
//! Invariants: a file is asked for once, whatever the number of paths that lead to it; what is
//! waiting is bounded by the limits on pages and assets.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cli::output;
use crate::site::{Found, Target};

use super::account::{Account, Line};
use super::desk::{Desk, Done, Fate, Job, Turn, asset};
use super::folder::{NoPlace, Place};
use super::links;

/// How often a page may be elsewhere and yet the same file: `/a` → `/a/`.
const HOPS_MAX: u8 = 3;
/// One line of progress in so many pages.
const PROGRESS_PAGES: usize = 50;
/// What browsers ask for although no page says so.
const IMPLIED: [&str; 2] = ["/favicon.ico", "/robots.txt"];

/// A crawl.
pub(super) struct Crawl {
    desk: Arc<Desk>,
    pub(super) account: Account,
    queue: VecDeque<Job>,
    again: Vec<Job>,
    /// Of pages, whether they wait, are under way or done.
    seen: BTreeSet<Place>,
    assets: Vec<(String, Place)>,
    seen_assets: BTreeSet<Place>,
    /// Paths that cannot be files, which are complained about once.
    refused: BTreeSet<String>,
    settled: usize,
}

impl Crawl {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self {
            desk,
            account: Account::default(),
            queue: VecDeque::new(),
            again: Vec::new(),
            seen: BTreeSet::new(),
            assets: Vec::new(),
            seen_assets: BTreeSet::new(),
            refused: BTreeSet::new(),
            settled: 0,
        }
    }

    /// Takes up a page, if this path leads to one; tells whether it does.
    pub(super) fn offer_page(&mut self, path: &str, query: Option<&str>, is_wanted: bool) -> bool {
        let desk = Arc::clone(&self.desk);
        let Found::Match {
            target: Target::Page(id),
            params,
        } = desk.press.site().routes.find(path)
        else {
            return false;
        };
        let mut excluded = desk.rules.exclude.iter();
        if excluded.any(|beginning| path.starts_with(beginning)) {
            return true;
        }
        let uri = match query {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        };
        let (Ok(uri), Ok(place)) = (uri, Place::of_page(path)) else {
            let why = Place::of_page(path).err().unwrap_or(NoPlace::Unsafe);
            self.refuse(path, why);
            return true;
        };
        if self.seen.contains(&place) {
            return true;
        }
        if self.seen.len() >= desk.rules.max_pages {
            self.limit(format!("--max-pages {}", desk.rules.max_pages));
            return true;
        }
        self.seen.insert(place.clone());
        self.queue.push_back(Job {
            path: path.to_owned(),
            uri,
            id,
            params,
            place,
            is_wanted,
            tries: 0,
            hops: 0,
        });
        true
    }

    /// Takes up an asset, if this path is passed through to an origin.
    fn offer_asset(&mut self, path: &str) {
        let desk = Arc::clone(&self.desk);
        let found = desk.press.site().routes.find(path);
        let is_proxied = matches!(
            found,
            Found::Match {
                target: Target::Proxy(_),
                ..
            }
        );
        let mut excluded = desk.rules.exclude.iter();
        if !is_proxied || excluded.any(|beginning| path.starts_with(beginning)) {
            return;
        }
        let place = match Place::of_asset(path) {
            Ok(place) => place,
            Err(why) => return self.refuse(path, why),
        };
        if self.seen_assets.contains(&place) {
            return;
        }
        if self.assets.len() >= desk.rules.max_assets {
            return self.limit(format!("--max-assets {}", desk.rules.max_assets));
        }
        self.seen_assets.insert(place.clone());
        self.assets.push((path.to_owned(), place));
    }

    fn refuse(&mut self, path: &str, why: NoPlace) {
        if self.refused.len() < self.desk.rules.max_pages && self.refused.insert(path.to_owned()) {
            self.account.failed.push(line(path, why.to_string()));
        }
    }

    fn limit(&mut self, limit: String) {
        if !self.account.limits.contains(&limit) {
            self.account.limits.push(limit);
        }
    }

    /// Asks for every page, then for what they show, until `stop`.
    pub(super) async fn run(&mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let pace = Arc::new(self.desk.rules.rate.map(pace));
        let mut under_way = FuturesOrdered::new();
        while self.account.stopped.is_none() {
            if self.queue.is_empty() && under_way.is_empty() {
                self.queue.extend(self.again.drain(..));
            }
            while under_way.len() < self.desk.rules.concurrency
                && let Some(job) = self.queue.pop_front()
            {
                under_way.push_back(page(Arc::clone(&self.desk), Arc::clone(&pace), job));
            }
            tokio::select! {
                biased;
                () = &mut stop => self.account.stopped = Some("it was told to stop".to_owned()),
                done = under_way.next() => match done {
                    Some(done) => self.settle(done),
                    None => break,
                },
            }
        }
        drop(under_way);
        IMPLIED.iter().for_each(|path| self.offer_asset(path));
        let mut waiting = std::mem::take(&mut self.assets).into_iter();
        let mut under_way = FuturesOrdered::new();
        while self.account.stopped.is_none() {
            while under_way.len() < self.desk.rules.concurrency
                && let Some((path, place)) = waiting.next()
            {
                under_way.push_back(asset(Arc::clone(&self.desk), path, place));
            }
            tokio::select! {
                biased;
                () = &mut stop => self.account.stopped = Some("it was told to stop".to_owned()),
                done = under_way.next() => match done {
                    Some((path, fate)) => self.settle_asset(path, fate),
                    None => break,
                },
            }
        }
    }

    fn settle(&mut self, done: Done) {
        let Done {
            mut job,
            turn,
            leads,
        } = done;
        for (kind, path) in &leads {
            match kind {
                links::Kind::Page => _ = self.offer_page(path, None, false),
                links::Kind::Asset => self.offer_asset(path),
            }
        }
        match turn {
            Turn::Again => {
                job.tries += 1;
                return self.again.push(job);
            }
            Turn::Elsewhere(path) => {
                job.hops += 1;
                let found = self.desk.press.site().routes.find(&path);
                match (found, path.parse()) {
                    (
                        Found::Match {
                            target: Target::Page(id),
                            params,
                        },
                        Ok(uri),
                    ) if job.hops <= HOPS_MAX => {
                        (job.id, job.params, job.uri, job.path) = (id, params, uri, path);
                        return self.queue.push_front(job);
                    }
                    _ => {
                        let why = format!("redirects to {path}, which is the same file");
                        self.account.failed.push(line(&job.path, why));
                    }
                }
            }
            Turn::Over(fate) => self.note(&job.path, fate),
        }
        self.settled += 1;
        if self.settled.is_multiple_of(PROGRESS_PAGES) {
            let (settled, waiting) = (self.settled, self.queue.len() + self.again.len());
            output::message(&format!("{settled} pages done, {waiting} known to come"));
        }
    }

    fn note(&mut self, path: &str, fate: Fate) {
        let account = &mut self.account;
        let (list, why) = match fate {
            Fate::Whole { unchanged } => {
                account.pages += 1;
                account.unchanged += usize::from(unchanged);
                return;
            }
            Fate::Redirect => {
                account.redirects += 1;
                return;
            }
            Fate::Incomplete(why) => (&mut account.incomplete, why),
            Fate::Kept(why) => (&mut account.kept, why),
            Fate::Failed(why) => (&mut account.failed, why),
            Fate::Gone(why) => (&mut account.gone, why),
            Fate::Removed(why) => (&mut account.removed, why),
            Fate::Final(why) => {
                account.stopped = Some(format!("{path} {why}"));
                (&mut account.failed, why)
            }
        };
        list.push(line(path, why));
    }

    fn settle_asset(&mut self, path: String, fate: Fate) {
        if let Fate::Whole { .. } = fate {
            self.account.assets += 1;
        } else {
            self.note(&path, fate);
        }
    }
}

fn line(path: &str, why: String) -> Line {
    Line {
        path: path.to_owned(),
        why,
    }
}

type Pace = tokio::sync::Mutex<Interval>;

fn pace(rate: f64) -> Pace {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Pace::new(ticks)
}

async fn page(desk: Arc<Desk>, pace: Arc<Option<Pace>>, job: Job) -> Done {
    if let Some(pace) = &*pace {
        pace.lock().await.tick().await;
    }
    let proof = desk.press.page(job.id, &job.uri, job.params.clone()).await;
    // files are slow, and the deadlines of the other pages under way go on
    let work = tokio::task::spawn_blocking(move || desk.settle(job, proof));
    work.await.expect("writing a page does not panic")
}
