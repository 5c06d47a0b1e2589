//! `fragments.toml` as it is written: the serde mirror, and through it the JSON schema that editors
//! and `check` read. Owns the keys, their defaults and their ranges; does not know
//! what they mean together.
//!
//! Invariant: the schema is the one description of what is accepted. A value that
//! `check` lets through deserializes.

use std::collections::BTreeMap;

use schemars::JsonSchema;

mod at;
mod chaos;
mod degradation;
mod entries;
mod laws;
mod markup;
mod origins;
mod page_cache;
mod records;
mod schedules;
mod settings;
mod slo;
mod status;
mod telemetry;
mod words;

pub use at::At;
pub use chaos::Fault;
pub use degradation::{Degradation, LadderStep, LawName, Mode};
pub use entries::{Fragment, Page, Proxy, Static};
pub use laws::{Constant, Constants, Tunable};
pub use markup::{Failed, Language, Markup, Undeclared, WhichDocuments, WhichNested};
pub use origins::{Breaker, Health, Origin, Replica, Retry, Role};
pub use page_cache::PageCache;
pub use records::{AccessLog, ClientShown, LineFormat, Log, Recent};
pub use schedules::{Day, Schedule};
pub use settings::{Admin, Certificate, ForCrawlers, Limits, Server, Shared, Site, Tls};
pub use slo::{Complete, Slo, WhenSpent};
pub use status::Status;
pub use telemetry::{Telemetry, Traces};
pub use words::{ByteSize, Name, Priority, Secret, TimeSpan};

/// A site for marbre: where its fragments come from, what replaces them, and the pages they make.
///
/// Durations are written "250ms", "30s", "1h30m"; sizes "512KiB", "2MiB". `${ENV}` and
/// `${ENV:-default}` are replaced in listen addresses, origin URLs, the
/// shared store's and the collector's URL, the admin tokens, the rehearsal token, the secret of debug tokens
/// and the files of secrets only.
#[derive(Debug, Default, JsonSchema)]
#[schemars(default, deny_unknown_fields, title = "fragments.toml")]
pub struct File {
    /// Other files of this site, relative to this one, with `*` in the last component. They may
    /// hold origins, fragments, pages, objectives, schedules, faults, proxies and static folders.
    #[schemars(example = ["sections/*.toml"])]
    pub include: Vec<At<String>>,
    /// Where readers connect, and what they may cost. Taken at start; a reload does not change it.
    pub server: Server,
    /// Where operators connect. Taken at start, but for the tokens: a reload takes those that are declared then.
    pub admin: Admin,
    /// The store that the nodes of one site share. Taken at start; a reload does not change it.
    pub shared: Shared,
    /// What is told to other systems and to whoever looks after the site. Taken at start; a reload
    /// changes nothing but the secret of debug tokens.
    pub telemetry: Telemetry,
    /// The site as a whole.
    pub site: Site,
    /// What is given up when there is too much to do, in which order, and when.
    pub degradation: Degradation,
    /// Limits that hold for the whole site.
    pub limits: Limits,
    /// What documents in a markup language may include.
    pub markup: Markup,
    /// A page for readers that says what works and what is reduced.
    pub status: Status,
    /// Named services that answer for fragments.
    pub origins: BTreeMap<Name, Origin>,
    /// Independently obtained pieces of pages.
    pub fragments: BTreeMap<Name, Fragment>,
    /// Composable pages.
    pub pages: BTreeMap<Name, Page>,
    /// What is promised to readers, and how many pages may miss it.
    pub slo: BTreeMap<Name, Slo>,
    /// Switches that begin and end by the clock, such as for an election night.
    pub schedules: BTreeMap<Name, Schedule>,
    /// Faults that can be set on purpose, to see what comes of them.
    pub chaos: BTreeMap<Name, Fault>,
    /// Paths that are passed through to an origin.
    pub proxy: Vec<Proxy>,
    /// Folders that are served.
    #[schemars(rename = "static")]
    pub statics: Vec<Static>,
}
