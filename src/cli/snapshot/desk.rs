//! What is made of an answer (shell: files): a file, a word for the account, and where it leads. Owns
//! what may be written, and over what.
//!
//! Invariant: a file is only ever replaced by something that is no worse: a whole page that is
//! everybody's, a page that has moved for good, or, over an incomplete page, one that lacks no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, Uri};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::site::PageId;

use super::folder::{Folder, Place, StoreError, Stored};
use super::links::{self, references, resolve};
use super::manifest::{Entry, Kind, Manifest, redirect_page};
use super::press::{Press, Proof, is_html};

/// Largest asset that is saved, in bytes: a video for a page fits, an archive does not.
const ASSET_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// An asset that has not come whole by then is given up: streams that never end look like assets.
const ASSET_TIME_MAX: Duration = Duration::from_secs(120);
/// How often a page is asked for until it is whole.
const TRIES_MAX: u8 = 2;

/// How to crawl.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) max_pages: usize,
    pub(super) max_assets: usize,
    pub(super) concurrency: usize,
    /// Pages a second.
    pub(super) rate: Option<f64>,
    /// Beginnings of paths that are left out.
    pub(super) exclude: Vec<String>,
    /// The site's authority, if it is known.
    pub(super) home: Option<String>,
    /// Whether a file goes when its page is gone.
    pub(super) recheck: bool,
}

/// What the pages under way share.
pub(super) struct Desk {
    pub(super) press: Press,
    pub(super) folder: Folder,
    pub(super) manifest: Mutex<Manifest>,
    pub(super) rules: Rules,
}

/// A page to be asked for.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) path: String,
    pub(super) uri: Uri,
    pub(super) id: PageId,
    pub(super) params: Vec<(String, String)>,
    pub(super) place: Place,
    /// Whether somebody wants this very page, and not whatever a link leads to.
    pub(super) is_wanted: bool,
    pub(super) tries: u8,
    pub(super) hops: u8,
}

/// What became of it.
pub(super) enum Fate {
    Whole {
        unchanged: bool,
    },
    Redirect,
    Incomplete(String),
    Kept(String),
    Failed(String),
    Gone(String),
    Removed(String),
    /// Nothing more can be written.
    Final(String),
}

/// Whether it is done.
pub(super) enum Turn {
    Over(Fate),
    /// It is to be asked for again.
    Again,
    /// It is to be asked for at this path, which is the same file.
    Elsewhere(String),
}

pub(super) struct Done {
    pub(super) job: Job,
    pub(super) turn: Turn,
    pub(super) leads: Vec<(links::Kind, String)>,
}

impl Desk {
    /// Makes of an answer what can be made of it.
    pub(super) fn settle(&self, job: Job, proof: Proof) -> Done {
        let is_last = job.tries + 1 >= TRIES_MAX;
        let mut leads = Vec::new();
        let turn = match proof {
            Proof::Page { html, missing } => {
                leads = self.leads(&job.path, &String::from_utf8_lossy(&html));
                if missing.is_empty() || is_last {
                    Turn::Over(self.page(&job, &html, &missing))
                } else {
                    Turn::Again
                }
            }
            Proof::Redirect(status, location) => self.redirect(&job, status, &location, &mut leads),
            Proof::Unavailable(_) if !is_last => Turn::Again,
            Proof::Unavailable(why) => Turn::Over(self.nothing(&job.place, why)),
            Proof::Personal => {
                Turn::Over(self.nothing(&job.place, "it is one reader's own".to_owned()))
            }
            Proof::Refused(status) => Turn::Over(self.refused(&job, status)),
        };
        Done { job, turn, leads }
    }

    fn page(&self, job: &Job, html: &[u8], missing: &[(String, String)]) -> Fate {
        let is_no_worse = missing.is_empty() || !self.folder.holds(&job.place) || {
            let manifest = self.manifest.lock();
            manifest.may_be_replaced(&job.place, missing.len())
        };
        if is_no_worse {
            self.write(job, Kind::Page, StatusCode::OK, html, missing, None)
        } else {
            Fate::Kept(described(missing))
        }
    }

    fn refused(&self, job: &Job, status: StatusCode) -> Fate {
        let why = format!("status {}", status.as_u16());
        let is_gone = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        match self.folder.holds(&job.place) {
            true if is_gone && self.rules.recheck => self.remove(job, why),
            true => Fate::Kept(why),
            // a link that leads nowhere is no fault of the snapshot's
            false if is_gone && !job.is_wanted => Fate::Gone(why),
            false => Fate::Failed(why),
        }
    }

    /// Where a page leads on this site, each path once.
    fn leads(&self, path: &str, html: &str) -> Vec<(links::Kind, String)> {
        let home = self.rules.home.as_deref();
        let references = references(html);
        let base = references.base.map(|base| resolve(path, &base, home));
        let base = match &base {
            None => path,
            Some(Some(base)) => base,
            // what is relative is relative to another site
            Some(None) => return Vec::new(),
        };
        let mut seen = BTreeSet::new();
        let leads = references.found.into_iter().filter_map(|reference| {
            let path = resolve(base, &reference.target, home)?;
            let lead = (reference.kind, path);
            seen.insert(lead.clone()).then_some(lead)
        });
        leads.collect()
    }

    /// There is nothing to write: what is there stays.
    fn nothing(&self, place: &Place, why: String) -> Fate {
        if self.folder.holds(place) {
            Fate::Kept(why)
        } else {
            Fate::Failed(why)
        }
    }

    fn redirect(
        &self,
        job: &Job,
        status: StatusCode,
        location: &HeaderValue,
        leads: &mut Vec<(links::Kind, String)>,
    ) -> Turn {
        let shown = String::from_utf8_lossy(location.as_bytes()).into_owned();
        let says = |what: &str| format!("{what} (status {} to {shown})", status.as_u16());
        let home = self.rules.home.as_deref();
        let here = resolve(&job.path, &shown, home);
        leads.extend(here.clone().map(|path| (links::Kind::Page, path)));
        if let Some(path) = here.filter(|path| Place::of_page(path).as_ref() == Ok(&job.place)) {
            return Turn::Elsewhere(path);
        }
        let is_permanent = matches!(
            status,
            StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT
        );
        if !is_permanent {
            let why = says("redirects for the time being");
            return Turn::Over(self.nothing(&job.place, why));
        }
        Turn::Over(match permanent_target(&job.path, &shown) {
            Some(target) => {
                let page = redirect_page(&self.press.site().language, &target);
                let page = page.as_bytes();
                self.write(job, Kind::Redirect, status, page, &[], Some(target))
            }
            None => self.nothing(&job.place, says("redirects to nowhere")),
        })
    }

    fn write(
        &self,
        job: &Job,
        kind: Kind,
        status: StatusCode,
        content: &[u8],
        missing: &[(String, String)],
        location: Option<String>,
    ) -> Fate {
        let stored = match self.folder.store(&job.place, content) {
            Ok(stored) => stored,
            Err(error) => return failed(&error),
        };
        let unchanged = stored.unchanged;
        let mut entry = self.entry(&job.place, kind, stored);
        entry.status = status.as_u16();
        entry.complete = missing.is_empty();
        entry.missing = missing.iter().map(|(name, _)| name.clone()).collect();
        entry.location = location;
        self.manifest.lock().insert(job.path.clone(), entry);
        if kind == Kind::Redirect {
            Fate::Redirect
        } else if missing.is_empty() {
            Fate::Whole { unchanged }
        } else {
            Fate::Incomplete(described(missing))
        }
    }

    /// The account of a file that has just been written whole.
    pub(super) fn entry(&self, place: &Place, kind: Kind, stored: Stored) -> Entry {
        Entry {
            file: place.as_str().to_owned(),
            kind,
            sha256: stored.sha256,
            bytes: stored.bytes,
            status: 200,
            complete: true,
            missing: Vec::new(),
            location: None,
            taken_at: self.taken_at(),
        }
    }

    /// The present, as RFC 3339 says it, in UTC and to the second.
    pub(super) fn taken_at(&self) -> String {
        let clock = self.press.clock;
        let now = jiff::Timestamp::try_from(clock.wall(clock.now()));
        now.map_or_else(|_| String::new(), |now| format!("{now:.0}"))
    }

    fn remove(&self, job: &Job, why: String) -> Fate {
        match self.folder.remove(&job.place) {
            Ok(()) => {
                self.manifest.lock().remove(&job.place);
                Fate::Removed(why)
            }
            Err(error) => Fate::Kept(format!("{why}, and {error}")),
        }
    }
}

/// Where a reader is sent for good: an address of the web or a path of this site.
fn permanent_target(path: &str, location: &str) -> Option<String> {
    if let Some((scheme, rest)) = links::scheme(location) {
        let web = ["http", "https"]
            .iter()
            .any(|s| s.eq_ignore_ascii_case(scheme));
        return (web && rest.starts_with("//")).then(|| location.to_owned());
    }
    if location.starts_with("//") {
        return Some(location.to_owned());
    }
    let at = location.find(['?', '#']).unwrap_or(location.len());
    let (_, rest) = location.split_at(at);
    Some(resolve(path, location, None)? + rest)
}

fn described(missing: &[(String, String)]) -> String {
    let blocks = missing.iter().map(|(name, why)| format!("{name} {why}"));
    blocks.collect::<Vec<_>>().join(", ")
}

fn failed(error: &StoreError) -> Fate {
    if error.is_final() {
        Fate::Final(error.to_string())
    } else {
        Fate::Failed(error.to_string())
    }
}

/// Asks for an asset and saves it.
pub(super) async fn asset(desk: Arc<Desk>, path: String, place: Place) -> (String, Fate) {
    let fetched = timeout(ASSET_TIME_MAX, fetch_asset(&desk, &path, &place)).await;
    let late = || {
        let seconds = ASSET_TIME_MAX.as_secs();
        desk.nothing(&place, format!("not whole after {seconds} s"))
    };
    let fate = fetched.unwrap_or_else(|_| late());
    (path, fate)
}

async fn fetch_asset(desk: &Arc<Desk>, path: &str, place: &Place) -> Fate {
    let response = match desk.press.fetch(path).await {
        Ok(response) => response,
        Err(why) => {
            let is_gone = matches!(why.as_str(), "status 404" | "status 410");
            return if is_gone && !desk.folder.holds(place) {
                Fate::Gone(why)
            } else {
                desk.nothing(place, why)
            };
        }
    };
    if is_html(response.headers()) && !place.as_str().ends_with("html") {
        // an error page that says 200
        return desk.nothing(place, "it is an HTML page".to_owned());
    }
    let mut body = response.into_body();
    let mut draft = match desk.folder.draft() {
        Ok(draft) => draft,
        Err(error) => return failed(&error.into()),
    };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return desk.nothing(place, "its origin broke off".to_owned());
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if draft.bytes() + piece.len() as u64 > ASSET_BYTES_MAX {
            return desk.nothing(place, format!("larger than {ASSET_BYTES_MAX} bytes"));
        }
        if let Err(error) = draft.append(&piece) {
            return failed(&error.into());
        }
    }
    if draft.bytes() == 0 && desk.folder.holds(place) {
        return Fate::Kept("it is empty now".to_owned());
    }
    let (desk, path, place) = (Arc::clone(desk), path.to_owned(), place.clone());
    let work = tokio::task::spawn_blocking(move || match desk.folder.publish(draft, &place) {
        Ok(stored) => {
            let unchanged = stored.unchanged;
            let entry = desk.entry(&place, Kind::Asset, stored);
            desk.manifest.lock().insert(path, entry);
            Fate::Whole { unchanged }
        }
        Err(error) => failed(&error),
    });
    work.await.expect("writing a file does not panic")
}
