//! What was declared → the site that runs, or everything that is wrong with it. Owns the order in
//! which the parts are made and the rule that nothing is dropped silently; the parts own their own
//! mistakes. Pure: files come through a seam.
//!
//! Invariant: a site is built only if no error was found, and then nothing in it can fail later for
//! a reason that could have been known now.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use minijinja::Environment;

use super::diagnose::{Diagnostic, Diagnostics, Place};
use super::files::Remembering;
use super::read::{Declared, Entry};
use crate::degradation::{Ladder, Step};
use crate::fragment::{Fragment, SourceRequest};
use crate::site::{
    DebugSecret, DegradationSpec, MarkupSpec, OriginSpec, Page, ServerSettings, Site, SloSpec,
    StatusSpec, Wants,
};

mod assets;
mod chaos;
mod declared;
mod degradation;
mod fallbacks;
mod forwards;
mod fragments;
mod ladder;
mod links;
mod lists;
mod markup;
mod names;
mod origins;
mod page_cache;
mod pages;
mod patterns;
mod readers;
mod routes;
mod schedules;
mod secrets;
mod settings;
mod slo;
mod sources;
mod status;
mod telemetry;
mod templates;
mod usage;

use names::Names;
use templates::Templates;

/// What every part of the validation works with.
pub(super) struct Context<'c> {
    pub(super) files: &'c Remembering<'c>,
    pub(super) env: &'c dyn Fn(&str) -> Option<String>,
    /// The main file's folder: what its paths are relative to.
    pub(super) root: PathBuf,
    /// The templates folder.
    pub(super) templates: PathBuf,
    pub(super) found: &'c mut Diagnostics,
}

impl Context<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// The place of a part of a string.
    fn within(&self, place: &Place, needle: &str) -> Place {
        self.found.within(place, needle)
    }
}

/// Makes the site; `None` if an error was found.
pub(super) fn validate(
    declared: &Declared,
    cx: &mut Context<'_>,
) -> Option<(Site, ServerSettings)> {
    check_serves(declared, cx);
    let server = settings::server(declared, cx);
    let site = settings::site(declared, cx);
    let degradation = degradation::degradation(declared, cx);
    let origin_names = Names::new("origin", &declared.origins, cx);
    let fragment_names = Names::new("fragment", &declared.fragments, cx);
    let page_names = Names::new("page", &declared.pages, cx);
    Names::new("slo", &declared.slos, cx);

    let mut origins = origins::origins(&declared.origins, &origin_names, cx);
    let limits = settings::limits(&declared.limits);
    let engine = crate::render::engine(limits.template_fuel);
    let templates = Templates::load(&declared.fragments, engine, cx);
    let may_name = declared::Declared {
        origins: &declared.origins,
        origin_names: &origin_names,
        fragments: &declared.fragments,
        fragment_names: &fragment_names,
        templates: &templates,
        output_max: limits.template_output_max,
    };
    let mut fragments = fragments::fragments(&declared.fragments, &may_name, cx);
    let links = links::Links::of(&declared.fragments, &fragment_names);
    links.report_cycles(&declared.fragments, cx);
    lists::check_uses(&declared.fragments, &fragment_names, &fragments, cx);
    lists::take_over_from_items(&declared.fragments, &mut fragments, &links, cx);
    origins::reserve(&declared.origins, &fragments, &mut origins, cx);
    let mut pages = pages::pages(declared, &fragment_names, cx);
    usage::check_params(declared, &pages, &fragments, &links, cx);
    usage::check_lazy(declared, &pages, &links, cx);
    usage::note_what_pages_vary_with(&mut pages, &fragments, &links);
    let routes = routes::routes(declared, &origin_names, cx);
    let markup = markup::markup(declared, &origin_names, &mut origins, &mut fragments, cx);
    let status = status::status(declared, &fragment_names, cx);
    let ladder = ladder::declared(declared, &fragment_names, cx);
    let slos = slo::slos(declared, &page_names, cx);
    let debug = telemetry::debug(declared, cx);
    let zone = schedules::site_zone(declared, cx);
    Names::new("schedule", &declared.schedules, cx);
    let schedules = schedules::schedules(declared, &zone, cx);
    Names::new("fault", &declared.faults, cx);
    let faults = chaos::faults(declared, &zone, cx);

    if cx.found.has_errors() {
        return None;
    }
    usage::warn_unused(declared, &pages, &fragments, &links, cx);
    usage::warn_of_room(declared, &origins, &pages, &fragments, cx);
    degradation::warn_cut(declared, &pages, &fragments, cx);
    let site = Built {
        origins,
        fragments,
        pages,
        engine: templates.engine,
        routes,
        site,
        ladder,
        degradation,
        markup,
        status,
        slos,
        debug: debug.flatten(),
        zone,
    };
    let mut made = site.finish(limits).zip(server);
    if let Some((site, server)) = &mut made {
        schedules::settle(schedules, site, cx);
        chaos::settle(faults, server.shared.is_some(), site, cx);
    }
    if made.is_none() {
        let message = "marbre lost a part of the site without saying why";
        cx.report(Diagnostic::error(message).help("please report this"));
    }
    made
}

/// A file that is read while it is being written is empty: that must not replace a site.
fn check_serves(declared: &Declared, cx: &mut Context<'_>) {
    if declared.pages.is_empty() && declared.proxies.is_empty() && declared.statics.is_empty() {
        let place = Place {
            file: declared.main,
            span: 0..0,
        };
        cx.report(
            Diagnostic::error("nothing is served")
                .at(place, "no page, no proxy and no static folder is declared")
                .help("declare a page: `[pages.NAME]` with a `route` and a `layout`"),
        );
    }
}

/// The parts of a site; each that is missing was reported as an error.
struct Built {
    origins: Vec<Option<OriginSpec>>,
    fragments: Vec<Option<Fragment>>,
    pages: Vec<Option<Page>>,
    engine: Environment<'static>,
    routes: routes::Routing,
    site: settings::SiteSettings,
    /// As it is declared.
    ladder: Option<Vec<Step>>,
    degradation: Option<DegradationSpec>,
    markup: MarkupSpec,
    status: Option<StatusSpec>,
    slos: Vec<Option<SloSpec>>,
    debug: Option<DebugSecret>,
    zone: TimeZone,
}

impl Built {
    fn finish(self, limits: crate::site::SiteLimits) -> Option<Site> {
        let mut fragments = self.fragments.into_iter().collect::<Option<Vec<_>>>()?;
        // now that each is what it will be: a list takes over much from its items
        for fragment in &mut fragments {
            fragment.freshness.is_personal = fragment.is_personal();
            fragment.same_request = SourceRequest::same_for_all(fragment).map(Arc::new);
        }
        Some(Site {
            language: self.site.language,
            origins: self.origins.into_iter().collect::<Option<Vec<_>>>()?,
            pages: self.pages.into_iter().collect::<Option<Vec<_>>>()?,
            proxies: self
                .routes
                .proxies
                .into_iter()
                .collect::<Option<Vec<_>>>()?,
            statics: self
                .routes
                .statics
                .into_iter()
                .collect::<Option<Vec<_>>>()?,
            markup: Arc::new(self.markup),
            status: self.status,
            slos: self.slos.into_iter().collect::<Option<Vec<_>>>()?,
            debug: self.debug,
            routes: self.routes.routes,
            ladder: match self.ladder {
                Some(steps) => Ladder::new(steps),
                None => ladder::by_priority(&fragments),
            },
            degradation: self.degradation?,
            schedules: Vec::new(),
            faults: Vec::new(),
            zone: self.zone,
            templates: self.engine,
            error_page: self.site.error_page,
            not_found_page: self.site.not_found_page,
            wants: Wants::of(&fragments),
            fragments,
            limits,
            retry_after: self.site.retry_after,
            crawlers: self.site.crawlers,
        })
    }
}

/// The entry that a name stands for, if it is known and can be examined.
fn body<T>(entries: &[Entry<T>], index: usize) -> Option<(&Entry<T>, &T)> {
    let entry = entries.get(index)?;
    Some((entry, entry.body.as_ref()?))
}
