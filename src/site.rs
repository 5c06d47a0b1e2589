//! The whole declared site: everything that was validated from `fragments.toml` and its templates.
//! Immutable and swapped whole; a request takes one and keeps it to its end. Owns the lookups;
//! knows nothing of where the declaration was read from or of the requests it will meet.
//!
//! Invariant: a site that exists is right. Every id in it points into it, every page has a core
//! fragment, every template compiles, and no fallback leads back to where it began.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::tz::TimeZone;

use crate::degradation::Ladder;
use crate::degradation::switches::Schedule;
use crate::fragment::source::Variable;
use crate::fragment::{Fragment, FragmentId, OriginId};

mod access;
pub mod availability;
pub mod chaos;
pub mod crawlers;
pub mod debug;
pub mod degradation;
pub mod fit;
pub mod governed;
pub mod markup;
pub mod name;
pub mod origin;
pub mod page;
pub mod peers;
pub mod route;
pub mod slo;
pub mod status;
pub mod telemetry;
pub mod tls;

pub use access::{AdminRole, AdminTokens, SESSION_COOKIE};
pub use availability::Availability;
pub use crawlers::{Crawlers, ForCrawlers};
pub use debug::{DebugRefused, DebugSecret};
pub use degradation::{DegradationSpec, LawSpec, Mode, RehearseToken};
pub use markup::MarkupSpec;
pub use origin::{
    Address, BreakerPolicy, Connections, HealthCheck, OriginSpec, ReplicaSpec, RetryPolicy, Role,
};
pub use page::{Member, Page, PageCache, PageId, Piece, Snapshots};
pub use peers::{Network, TrustedPeers};
pub use route::{Found, Routes, Target};
pub use slo::{Good, Promise, SloSpec, WhenSpent};
pub use status::StatusSpec;
pub use telemetry::{AccessLogSettings, AccessTarget, ClientShown, LineFormat, RecentSettings};
pub use tls::{TlsFiles, TlsSettings};

/// A site, ready to be served.
#[derive(Debug)]
pub struct Site {
    /// The site's own language, a primary subtag such as `fr`.
    pub language: String,
    /// Named services, by [`OriginId`].
    pub origins: Vec<OriginSpec>,
    /// Fragments, by [`FragmentId`].
    pub fragments: Vec<Fragment>,
    /// Pages, by [`PageId`].
    pub pages: Vec<Page>,
    /// Paths that are passed through.
    pub proxies: Vec<Proxy>,
    /// Folders that are served.
    pub statics: Vec<StaticFolder>,
    /// What documents in a markup language may include.
    pub markup: Arc<MarkupSpec>,
    /// The page that tells readers how the site is, if it has one.
    pub status: Option<StatusSpec>,
    /// What readers are promised.
    pub slos: Vec<SloSpec>,
    /// What tokens are signed with by which somebody may see how a page was made; `None`: nobody may.
    pub debug: Option<DebugSecret>,
    /// Path patterns → pages, proxies, folders.
    pub routes: Routes,
    /// What each level gives up.
    pub ladder: Ladder,
    /// What it aims at, by which law, and who may see it.
    pub degradation: DegradationSpec,
    /// What is set by the clock.
    pub schedules: Vec<Schedule>,
    /// Faults that can be set, or are by the clock.
    pub faults: Vec<chaos::FaultSpec>,
    /// Whose clock local times are read by.
    pub zone: TimeZone,
    /// The compiled templates; [`render`](crate::render) runs them.
    pub templates: minijinja::Environment<'static>,
    /// The site's own page for "the article cannot be had"; the built-in one otherwise.
    pub error_page: Option<Bytes>,
    /// The site's own page for "there is no such page"; the built-in one otherwise.
    pub not_found_page: Option<Bytes>,
    /// What the fragments want to know of a request.
    pub wants: Wants,
    /// Limits that hold for the whole site.
    pub limits: SiteLimits,
    /// What the reader of an error page is told to wait before trying again.
    pub retry_after: Duration,
    /// Who is a crawler, and what they get of a degraded page.
    pub crawlers: Crawlers,
}

impl Site {
    /// A fragment.
    pub fn fragment(&self, id: FragmentId) -> &Fragment {
        &self.fragments[id.index()]
    }

    /// The fragment of this name.
    pub fn fragment_named(&self, name: &str) -> Option<FragmentId> {
        let index = self.fragments.iter().position(|f| f.name == name);
        index.map(FragmentId)
    }

    /// A page.
    pub fn page(&self, id: PageId) -> &Page {
        &self.pages[id.index()]
    }

    /// The paths that are passed through whose documents are woven: pages too, which are called by their
    /// routes. No page has such a name, for a route begins with `/`.
    pub fn woven(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter().filter(|proxy| proxy.markup.is_some())
    }

    /// What all pages are called, declared and woven ones.
    pub fn page_names(&self) -> impl Iterator<Item = &str> {
        let declared = self.pages.iter().map(|page| page.name.as_str());
        declared.chain(self.woven().map(|proxy| proxy.route.as_str()))
    }

    /// An origin.
    pub fn origin(&self, id: OriginId) -> &OriginSpec {
        &self.origins[id.index()]
    }

    /// The fragments of a page, in document order, core first where equal.
    pub fn members<'s>(&'s self, page: &'s Page) -> impl Iterator<Item = &'s Fragment> {
        page.members
            .iter()
            .map(|member| self.fragment(member.fragment))
    }
}

/// `[[proxy]]`: a path that is passed through to an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The pattern.
    pub route: String,
    /// Who answers.
    pub origin: OriginId,
    /// The path to ask for, with the route's parameters; `None` passes the request's own path.
    pub path: Option<String>,
    /// Until the response head, from when the origin was last given a part of the request.
    pub timeout: Duration,
    /// Largest silence within the answer, and on a WebSocket.
    pub idle_timeout: Duration,
    /// The language that its documents are in.
    pub markup: Option<markup::Language>,
}

/// `[[static]]`: a folder that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticFolder {
    /// The path prefix, without a trailing slash.
    pub route: String,
    /// The folder.
    pub dir: PathBuf,
    /// `Cache-Control` of its files.
    pub cache_control: Option<HeaderValue>,
}

/// Limits that hold for the whole site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteLimits {
    /// Instructions that one rendering of one template may take.
    pub template_fuel: u64,
    /// Bytes that one rendering may write.
    pub template_output_max: usize,
    /// Flights under way at once; beyond it a fragment takes its chain.
    pub flights_max: usize,
    /// Bytes of copies in memory.
    pub cache_bytes_max: usize,
}

/// The headers, cookies and query parameters that some fragment of the site uses, so that nothing
/// else of a request is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// Lower-case header names.
    pub headers: BTreeSet<String>,
    /// Cookie names.
    pub cookies: BTreeSet<String>,
    /// Query parameter names.
    pub query: BTreeSet<String>,
    /// Whether `{lang}` is used.
    pub lang: bool,
    /// Whether `{device}` is used.
    pub device: bool,
}

impl Wants {
    /// What these fragments use.
    pub fn of(fragments: &[Fragment]) -> Self {
        let mut wants = Self::default();
        for fragment in fragments {
            wants
                .headers
                .extend(fragment.forward_headers.iter().cloned());
            wants
                .cookies
                .extend(fragment.forward_cookies.iter().cloned());
            let Some(target) = fragment.source.target() else {
                continue;
            };
            for variable in target.variables() {
                match variable {
                    Variable::Query(name) => _ = wants.query.insert(name.clone()),
                    Variable::Cookie(name) => _ = wants.cookies.insert(name.clone()),
                    Variable::Header(name) => _ = wants.headers.insert(name.clone()),
                    Variable::Lang => wants.lang = true,
                    Variable::Device => wants.device = true,
                    Variable::Param(_) | Variable::Item(_) => {}
                }
            }
        }
        wants
    }
}

/// What the process itself needs to know to serve a site: taken at start, not reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where readers connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin_listen: SocketAddr,
    /// What operators must present; one is required unless `admin_listen` is loopback.
    pub admin_tokens: AdminTokens,
    /// Where an operator's browser finds the readers' side; `None`: on the host that it asks.
    pub readers_url: Option<String>,
    /// What is shown to readers who connect; `None`: they come without TLS.
    pub tls: Option<TlsSettings>,
    /// Whose word on who reads is believed.
    pub trusted_peers: TrustedPeers,
    /// Whether those begin each connection with the PROXY protocol.
    pub proxy_protocol: bool,
    /// Until the head of a request has arrived, from its first byte.
    pub header_timeout: Duration,
    /// Between two requests on a connection.
    pub idle_timeout: Duration,
    /// Largest silence while a request body arrives.
    pub body_timeout: Duration,
    /// How long a reader may take nothing of what it is being sent.
    pub send_timeout: Duration,
    /// Largest request head, in bytes.
    pub header_bytes_max: usize,
    /// Largest request body, in bytes.
    pub body_bytes_max: u64,
    /// Connections at once; more wait in the listen queue.
    pub connections_max: usize,
    /// Pages being composed at once; more get the error page at once. `None`: as many as the
    /// machine can bring to their end in time.
    pub pages_in_flight_max: Option<usize>,
    /// How long a stopping server waits for pages in flight.
    pub shutdown_grace: Duration,
    /// The folder of what must outlive a restart; `None`: nothing is kept.
    pub state_dir: Option<PathBuf>,
    /// The most that copies in it may take, in bytes.
    pub state_bytes_max: u64,
    /// The most that the journal in it may take, in bytes.
    pub journal_bytes_max: u64,
    /// How long the journal is kept.
    pub journal_keep: Duration,
    /// The store that the nodes share.
    pub shared: Option<SharedSettings>,
    /// Whether anything is counted of pages; if not, what that costs can be measured.
    pub is_observed: bool,
    /// Where traces go; `None`: nowhere.
    pub traces: Option<TraceSettings>,
    /// Where metrics go besides who asks for them; `None`: nowhere.
    pub metrics: Option<MetricSettings>,
    /// How lines of the log look.
    pub log: LineFormat,
    /// Where a record of each request goes; `None`: nowhere.
    pub access_log: Option<AccessLogSettings>,
    /// Which pages are remembered.
    pub recent: RecentSettings,
}

impl ServerSettings {
    /// The tables of the declaration in which these differ from others.
    pub fn tables_unlike(&self, other: &Self) -> Vec<&'static str> {
        let with_admin_of = |from: &Self, to: &Self| Self {
            admin_listen: from.admin_listen,
            admin_tokens: from.admin_tokens.clone(),
            readers_url: from.readers_url.clone(),
            ..to.clone()
        };
        let with_shared_of = |from: &Self, to: &Self| Self {
            shared: from.shared.clone(),
            ..to.clone()
        };
        let with_telemetry_of = |from: &Self, to: &Self| Self {
            is_observed: from.is_observed,
            traces: from.traces.clone(),
            metrics: from.metrics.clone(),
            log: from.log,
            access_log: from.access_log.clone(),
            recent: from.recent.clone(),
            ..to.clone()
        };
        let server = with_admin_of(other, self);
        let server = with_telemetry_of(other, &with_shared_of(other, &server));
        let tables = [
            ("server", server),
            ("admin", with_admin_of(self, other)),
            ("shared", with_shared_of(self, other)),
            ("telemetry", with_telemetry_of(self, other)),
        ];
        let unlike = tables.into_iter().filter(|(_, with)| with != other);
        unlike.map(|(table, _)| table).collect()
    }
}

/// A collector of traces or metrics.
#[derive(Clone, PartialEq, Eq)]
pub struct CollectorSettings {
    /// Where it takes OTLP over HTTP; may hold a password.
    pub endpoint: String,
    /// What is sent with each request: names and values, which may be secrets.
    pub headers: Vec<(String, String)>,
    /// Whether what is sent is packed with gzip.
    pub is_packed: bool,
}

impl fmt::Debug for CollectorSettings {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("CollectorSettings")
            .field("headers", &headers)
            .field("is_packed", &self.is_packed)
            .finish_non_exhaustive()
    }
}

/// `[telemetry.metrics]`: where metrics are sent, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricSettings {
    /// Where.
    pub collector: CollectorSettings,
    /// From one export to the next.
    pub interval: Duration,
}

/// `[telemetry.traces]`: which pages are exported as traces, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// Where.
    pub collector: CollectorSettings,
    /// The share of pages that chance takes.
    pub sample: f64,
    /// A page that took longer is taken in any case.
    pub slow: Duration,
    /// How many a second are taken because they were slow, incomplete or failed.
    pub notable_max: u32,
}

/// The share of pages is a number, not the lack of one.
impl Eq for TraceSettings {}

/// `[shared]`: the store that the nodes of one site share.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSettings {
    /// Where it is, password included.
    pub url: String,
    /// What its keys begin with.
    pub prefix: String,
    /// For one call.
    pub timeout: Duration,
}

impl fmt::Debug for SharedSettings {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSettings")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
