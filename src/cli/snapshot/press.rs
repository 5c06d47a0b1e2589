//! Pages and assets as a reader without cookies would get them, made in this process. Owns the parts
//! of the server that this takes; there is no listener. Knows nothing of files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::app::{self, World};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::compose::{self, Composer, Edition, Verdict};
use crate::degradation::{Level, Mode};
use crate::plan::{self, request};
use crate::report::{Event, Observer, PageReport, Throttle};
use crate::server::{self, InFlight, ServerState, error_page};
use crate::site::{PageId, ServerSettings, Site};

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("marbre-snapshot/", env!("CARGO_PKG_VERSION")));

/// The latest reports, by trace; each is taken out by whoever has asked for the page.
#[derive(Default)]
struct Reports(Mutex<BTreeMap<u128, PageReport<'static>>>);

impl Observer for Reports {
    fn page(&self, report: &PageReport<'_>) {
        self.0
            .lock()
            .insert(report.trace_id, report.clone().into_owned());
    }

    fn event(&self, _: &Event) {}
}

/// What came of asking for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The page, and the blocks that it lacks, each with the reason.
    Page {
        html: Bytes,
        missing: Vec<(String, String)>,
    },
    /// It is elsewhere.
    Redirect(StatusCode, HeaderValue),
    /// There is no such page, or it is not for everybody.
    Refused(StatusCode),
    /// It is one reader's own.
    Personal,
    /// Its core cannot be had; says why.
    Unavailable(String),
}

/// Composes the pages of one edition.
pub(super) struct Press {
    pub(super) edition: Arc<Edition>,
    pub(super) clock: Clock,
    composer: Arc<Composer>,
    router: Router,
    reports: Arc<Reports>,
    headers: HeaderMap,
}

/// How long a shared store is waited for at the start, and how often one looks.
const CONNECTING_TIME: Duration = Duration::from_secs(2);
const CONNECTING_LOOK: Duration = Duration::from_millis(10);

impl Press {
    /// `host` is what the origins are told that the site is called.
    ///
    /// Of the copies that there are it has those of the store that the nodes share; the disk belongs
    /// to the server that is running.
    pub(super) async fn new(
        site: Site,
        settings: &ServerSettings,
        host: &str,
    ) -> Result<Self, String> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (clock, reports) = (Clock::start(), Arc::new(Reports::default()));
        let world = World::new(clock, Vec::new());
        let edition = app::edition(site, None, &world);
        let edition = Arc::new(edition.map_err(|cause| cause.to_string())?);
        let mut cache = Cache::new(edition.site.limits.cache_bytes_max);
        if let Some(shared) = &settings.shared {
            let store = app::connect_shared(shared, clock, &tasks, &stop, None);
            let store = store.map_err(|error| format!("[shared]: {error}"))?;
            // without it the first pages would lack what only it has
            let connected = async {
                while !store.state().reading {
                    sleep(CONNECTING_LOOK).await;
                }
            };
            let _ = timeout(CONNECTING_TIME, connected).await;
            cache = cache.with_shared(store);
        }
        let composer = Composer::new(
            cache,
            clock,
            tasks,
            vec![Arc::clone(&reports) as Arc<dyn Observer>],
        );
        let composer = Arc::new(composer.for_files());
        let router = server::router(Arc::new(ServerState {
            access: None,
            noticed: server::Noticed::default(),
            composer: Arc::clone(&composer),
            edition: Arc::new(ArcSwap::new(Arc::clone(&edition))),
            mode: Arc::new(ArcSwap::from_pointee(Mode::full())),
            tasks: TaskTracker::new(),
            stop,
            complaints: Throttle::default(),
            chaos: world.chaos,
            // pages are composed beside the router
            pages: Arc::new(InFlight::new(1)),
            header_bytes_max: settings.header_bytes_max,
            body_bytes_max: settings.body_bytes_max,
            body_timeout: settings.body_timeout,
        }));
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, AGENT);
        if let Ok(host) = HeaderValue::try_from(host) {
            headers.insert(HOST, host);
        }
        Ok(Self {
            edition,
            clock,
            composer,
            router,
            reports,
            headers,
        })
    }

    pub(super) fn site(&self) -> &Site {
        &self.edition.site
    }

    /// Composes a page in full.
    pub(super) async fn page(&self, id: PageId, uri: &Uri, params: Vec<(String, String)>) -> Proof {
        let (site, now) = (self.site(), self.clock.now());
        let facts = request::facts(site, uri, &self.headers, params, fastrand::u128(..));
        let trace = facts.trace.trace_id;
        let turn = self.composer.executor().go_on().await;
        let plan = plan::plan(site, id, &facts, Level::FULL, &Arc::default(), now);
        let edition = Arc::clone(&self.edition);
        let composed =
            compose::compose(&self.composer, edition, plan, uri.path(), facts, (turn, ())).await;
        let Ok(body) = composed.body.collect().await;
        let report = self.reports.0.lock().remove(&trace);
        if composed.head.private && composed.head.verdict != Verdict::Unavailable {
            return Proof::Personal;
        }
        match composed.head.verdict {
            Verdict::Page => match report {
                Some(report) if report.finished => Proof::Page {
                    html: body.to_bytes(),
                    missing: missing(&report),
                },
                _ => Proof::Unavailable("the page was cut".to_owned()),
            },
            Verdict::Redirect(status, location) => Proof::Redirect(status, location),
            Verdict::Refused(status) => Proof::Refused(status),
            Verdict::Unavailable => Proof::Unavailable(causes(report.as_ref())),
        }
    }

    /// Asks for anything else that the site serves.
    pub(super) async fn fetch(&self, target: &str) -> Result<Response, String> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target
            .parse()
            .map_err(|_| "the address cannot be asked for".to_owned())?;
        *request.headers_mut() = self.headers.clone();
        let Ok(response) = self.router.clone().oneshot(request).await;
        let headers = response.headers();
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()));
        }
        if headers.contains_key(SET_COOKIE) || is_private(headers) {
            return Err("it is one reader's own (Set-Cookie or private)".to_owned());
        }
        if headers.contains_key(CONTENT_ENCODING) {
            return Err("its origin sends it coded, unasked".to_owned());
        }
        Ok(response)
    }

    /// The site's pages for "there is no such page" and "cannot be shown".
    pub(super) async fn error_pages(&self) -> [Bytes; 2] {
        let pages = [
            error_page::not_found(self.site(), StatusCode::NOT_FOUND),
            error_page::unavailable(self.site()),
        ];
        let [not_found, unavailable] = pages.map(|page| page.into_body().collect());
        let whole = "an error page is in memory";
        [
            not_found.await.expect(whole).to_bytes(),
            unavailable.await.expect(whole).to_bytes(),
        ]
    }
}

fn is_private(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CACHE_CONTROL).iter();
    values.any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value
            .split(|b| matches!(b, b',' | b'=' | b' '))
            .any(|word| word == b"private")
    })
}

/// Whether an answer says that it is an HTML page.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.starts_with(b"text/html") || value.starts_with(b"application/xhtml")
    })
}

fn missing(report: &PageReport<'_>) -> Vec<(String, String)> {
    let blocks = report
        .fragments
        .iter()
        .filter(|fragment| !fragment.outcome.is_whole() && !fragment.outcome.is_unneeded());
    blocks
        .map(|fragment| (fragment.name.to_string(), fragment.outcome.to_string()))
        .collect()
}

/// Why there is no page.
fn causes(report: Option<&PageReport<'_>>) -> String {
    let blocks = report.map(missing).unwrap_or_default();
    let lines = blocks.iter().map(|(name, why)| format!("{name} {why}"));
    let text = lines.collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        return "its core cannot be had".to_owned();
    }
    text
}
