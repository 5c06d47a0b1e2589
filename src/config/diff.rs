//! What changed between two sites, in words. Owns the comparison; who reads it (log, journal,
//! dashboard) is not its business.
//!
//! Invariant: a site compared with itself gives nothing, and the order of lines depends on the sites
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use super::values::{show_duration, show_size};
use crate::degradation::switches::schedule::{Schedule, When};
use crate::fragment::{Fragment, Rung, RungKind, Source};
use crate::site::chaos::FaultSpec;
use crate::site::markup::Language;
use crate::site::{
    BreakerPolicy, OriginSpec, Page, Proxy, RetryPolicy, Role, Site, SloSpec, StaticFolder,
};

mod degradation;

/// One line for each difference, such as `fragment slideshow: timeout 250ms → 400ms`.
pub fn diff(old: &Site, new: &Site) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    site(old, new, &mut lines);
    degradation::degradation(old, new, &mut lines);
    let by_name = |o: &OriginSpec| o.name.clone();
    lines.each("origin", &old.origins, &new.origins, by_name, origin);
    let by_name = |f: &Fragment| f.name.clone();
    lines.each(
        "fragment",
        &old.fragments,
        &new.fragments,
        by_name,
        |a, b, out| {
            fragment((old, a), (new, b), out);
        },
    );
    let by_name = |s: &Schedule| s.name.clone();
    lines.each(
        "schedule",
        &old.schedules,
        &new.schedules,
        by_name,
        schedule,
    );
    let by_name = |f: &FaultSpec| f.name.clone();
    lines.each("fault", &old.faults, &new.faults, by_name, fault);
    let by_name = |p: &Page| p.name.clone();
    lines.each("page", &old.pages, &new.pages, by_name, |a, b, out| {
        page((old, a), (new, b), out)
    });
    let by_name = |s: &SloSpec| s.name.clone();
    lines.each("objective", &old.slos, &new.slos, by_name, |a, b, out| {
        slo(a, b, out);
    });
    let by_route = |p: &Proxy| p.route.clone();
    lines.each(
        "proxy",
        &old.proxies,
        &new.proxies,
        by_route,
        |a, b, out| {
            proxy((old, a), (new, b), out);
        },
    );
    let by_route = |s: &StaticFolder| format!("{}/", s.route);
    lines.each(
        "static",
        &old.statics,
        &new.statics,
        by_route,
        |a, b, out| {
            out.value("folder", a.dir.display(), b.dir.display());
            out.flag("cache_control", &a.cache_control, &b.cache_control);
        },
    );
    lines.0
}

fn fault(old: &FaultSpec, new: &FaultSpec, out: &mut Changes) {
    let from = |fault: &FaultSpec| fault.window.map(|window| window.from.to_string());
    let from = |fault: &FaultSpec| from(fault).unwrap_or_else(|| "by hand".to_owned());
    out.value("does", old.says(), new.says());
    out.value("begins", from(old), from(new));
    out.time("for", old.lasts, new.lasts);
    out.value("pages_max", old.pages_max, new.pages_max);
    out.flag("stop_on", &old.stop_on, &new.stop_on);
    out.value("owner", &old.owner, &new.owner);
    out.value("reason", &old.reason, &new.reason);
}

fn schedule(old: &Schedule, new: &Schedule, out: &mut Changes) {
    let acts = |schedule: &Schedule| {
        let acts = schedule.acts.iter().map(ToString::to_string);
        acts.collect::<Vec<_>>().join(", ")
    };
    let when = |schedule: &Schedule| match &schedule.when {
        When::Once(window) => format!("{} to {}", window.from, window.until),
        When::Weekly { days, from, until } => format!("{days:?} {from} to {until}"),
    };
    let zone = |schedule: &Schedule| schedule.zone.iana_name().unwrap_or("UTC").to_owned();
    out.value("sets", acts(old), acts(new));
    out.value("when", when(old), when(new));
    out.value("zone", zone(old), zone(new));
    out.value("owner", &old.owner, &new.owner);
    out.value("reason", &old.reason, &new.reason);
}

struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, what: &str, changes: Changes) {
        let changes = changes.0.into_iter();
        self.0
            .extend(changes.map(|change| format!("{what}: {change}")));
    }

    /// Compares two lists by name.
    fn each<T>(
        &mut self,
        kind: &str,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> String,
        compare: impl Fn(&T, &T, &mut Changes),
    ) {
        let index = |list: &'_ [T]| -> BTreeMap<String, usize> {
            list.iter()
                .enumerate()
                .map(|(i, item)| (name(item), i))
                .collect()
        };
        let (before, after) = (index(old), index(new));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let what = format!("{kind} {name}");
            match (before.get(name), after.get(name)) {
                (Some(_), None) => self.0.push(format!("{what}: removed")),
                (None, Some(_)) => self.0.push(format!("{what}: added")),
                (Some(&a), Some(&b)) => {
                    let mut changes = Changes(Vec::new());
                    compare(&old[a], &new[b], &mut changes);
                    self.add(&what, changes);
                }
                (None, None) => {}
            }
        }
    }
}

/// The changes of one thing.
struct Changes(Vec<String>);

impl Changes {
    fn value(&mut self, what: &str, old: impl ToString, new: impl ToString) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.0.push(format!("{what} {old} → {new}"));
        }
    }

    fn time(&mut self, what: &str, old: Duration, new: Duration) {
        self.value(what, show_duration(old), show_duration(new));
    }

    /// For what is too long to be shown.
    fn flag<T: PartialEq>(&mut self, what: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(format!("{what} changed"));
        }
    }
}

fn site(old: &Site, new: &Site, lines: &mut Lines) {
    let mut changes = Changes(Vec::new());
    changes.value("language", &old.language, &new.language);
    let zone = |site: &Site| site.zone.iana_name().unwrap_or("UTC").to_owned();
    changes.value("zone", zone(old), zone(new));
    changes.time("retry_after", old.retry_after, new.retry_after);
    let (a, b) = (&old.crawlers, &new.crawlers);
    changes.flag("crawlers", &a.names, &b.names);
    changes.value("degraded_for_crawlers", a.policy.word(), b.policy.word());
    changes.flag("error_page", &old.error_page, &new.error_page);
    changes.flag("not_found_page", &old.not_found_page, &new.not_found_page);
    changes.flag("status page", &old.status, &new.status);
    changes.flag("debug_secret", &old.debug, &new.debug);
    let terms = |site: &Site| {
        // not by which origins these hosts are found: those have lines of their own
        let markup = &site.markup;
        let (documents, nested) = (markup.documents, markup.nested);
        let limits = (markup.depth, markup.includes_max, markup.bytes_max);
        let given = (markup.forward_headers.clone(), markup.forwards_cookies);
        let failing = (markup.budget, markup.fails_page, markup.is_escaping);
        let declared = markup.declared.clone();
        (documents, nested, limits, given, failing, declared)
    };
    changes.flag("markup", &terms(old), &terms(new));
    let (a, b) = (&old.limits, &new.limits);
    changes.value("template_fuel", a.template_fuel, b.template_fuel);
    let size = |bytes: usize| show_size(bytes as u64);
    changes.value(
        "template_output",
        size(a.template_output_max),
        size(b.template_output_max),
    );
    changes.value("flights", a.flights_max, b.flights_max);
    changes.value(
        "cache_size",
        size(a.cache_bytes_max),
        size(b.cache_bytes_max),
    );
    lines.add("site", changes);
}

fn origin(old: &OriginSpec, new: &OriginSpec, out: &mut Changes) {
    let replicas = |spec: &OriginSpec| {
        let each = spec.replicas.iter().map(|replica| match replica.role {
            Role::ReadReplica => format!("{replica} (read-replica)"),
            Role::Primary if replica.is_canary() => format!("{replica} ({} %)", replica.weight),
            Role::Primary => replica.to_string(),
        });
        each.collect::<Vec<_>>().join(", ")
    };
    out.value("urls", replicas(old), replicas(new));
    let owner = |spec: &OriginSpec| spec.owner.clone().unwrap_or_else(|| "nobody".to_owned());
    out.value("owner", owner(old), owner(new));
    let promise = |spec: &OriginSpec| {
        let promise = spec.availability.map(|promise| promise.to_string());
        promise.unwrap_or_else(|| "not said".to_owned())
    };
    out.value("availability", promise(old), promise(new));
    let needs = |spec: &OriginSpec| spec.depends_on.join(", ");
    out.value("depends_on", needs(old), needs(new));
    out.time("timeout", old.timeout, new.timeout);
    out.time("connect_timeout", old.connect_timeout, new.connect_timeout);
    out.value("max_in_flight", old.max_in_flight, new.max_in_flight);
    out.value("reserved", old.reserved, new.reserved);
    out.value("hedge_budget", old.hedge_percent, new.hedge_percent);
    let (a, b) = (&old.connections, &new.connections);
    out.value("idle_connections", a.idle_max, b.idle_max);
    out.time("idle_timeout", a.idle_timeout, b.idle_timeout);
    out.value("http2", a.http2, b.http2);
    out.flag("ca", &a.ca, &b.ca);
    out.time("dns_ttl", a.dns_ttl, b.dns_ttl);
    breaker(&old.breaker, &new.breaker, out);
    let (a, b) = (&old.retry, &new.retry);
    out.value("retry.attempts", a.attempts, b.attempts);
    out.value("retry.budget", a.budget_percent, b.budget_percent);
    out.time("retry.backoff", a.backoff, b.backoff);
    let statuses = |retry: &RetryPolicy| {
        let statuses: Vec<String> = retry.statuses.iter().map(u16::to_string).collect();
        listed(&statuses)
    };
    out.value("retry.statuses", statuses(a), statuses(b));
    let health = |spec: &OriginSpec| match &spec.health {
        None => "none".to_owned(),
        Some(health) => format!("{} every {}", health.path, show_duration(health.interval)),
    };
    out.value("health", health(old), health(new));
    let timeout = |spec: &OriginSpec| spec.health.as_ref().map(|health| health.timeout);
    out.flag("health.timeout", &timeout(old), &timeout(new));
}

fn breaker(old: &BreakerPolicy, new: &BreakerPolicy, out: &mut Changes) {
    out.value("breaker.enabled", old.enabled, new.enabled);
    out.time("breaker.window", old.window, new.window);
    out.value("breaker.min_requests", old.requests_min, new.requests_min);
    out.value("breaker.failed", old.failed_percent, new.failed_percent);
    out.value("breaker.slow", old.slow_percent, new.slow_percent);
    out.value("breaker.slow_factor", old.slow_factor, new.slow_factor);
    out.value("breaker.in_a_row", old.run_max, new.run_max);
    out.time("breaker.open", old.open, new.open);
    out.time("breaker.open_max", old.open_max, new.open_max);
    out.time("breaker.step", old.step, new.step);
}

fn fragment(
    (old_site, old): (&Site, &Fragment),
    (new_site, new): (&Site, &Fragment),
    out: &mut Changes,
) {
    let before = out.0.len();
    out.value("priority", old.priority, new.priority);
    let value = |f: &Fragment| match f.value == f.priority.worth() {
        true => "by priority".to_owned(),
        false => f.value.to_string(),
    };
    out.value("value", value(old), value(new));
    out.value("source", source(old_site, old), source(new_site, new));
    let template = |f: &Fragment| f.template.clone().unwrap_or_else(|| "none".to_owned());
    out.value("template", template(old), template(new));
    out.time("timeout", old.timeout, new.timeout);
    out.value("hedge", old.hedge, new.hedge);
    let (a, b) = (&old.freshness, &new.freshness);
    let span = |span: Option<Duration>| {
        span.map_or_else(|| "as the origin says".to_owned(), show_duration)
    };
    out.value("ttl", span(a.ttl), span(b.ttl));
    out.value("grace", span(a.grace), span(b.grace));
    out.value("keep", span(a.keep), span(b.keep));
    out.time("patience", a.patience, b.patience);
    out.value("jitter", a.jitter, b.jitter);
    out.value("early_refresh", a.early, b.early);
    out.value("durable", old.reach.disk, new.reach.disk);
    let size = |f: &Fragment| show_size(f.limits.size_max as u64);
    out.value("max_size", size(old), size(new));
    let size_min = |f: &Fragment| show_size(f.limits.size_min as u64);
    out.value("min_size", size_min(old), size_min(new));
    out.value(
        "must_contain",
        listed(&old.limits.must_contain),
        listed(&new.limits.must_contain),
    );
    out.value(
        "accept",
        listed(&old.limits.accept),
        listed(&new.limits.accept),
    );
    out.value(
        "forward_headers",
        listed(&old.forward_headers),
        listed(&new.forward_headers),
    );
    out.value(
        "forward_cookies",
        listed(&old.forward_cookies),
        listed(&new.forward_cookies),
    );
    out.value("list", list(old_site, old), list(new_site, new));
    let (a, b) = (rungs(old_site, old), rungs(new_site, new));
    if a == b {
        out.flag("content of fallback", &ready(old), &ready(new));
    } else {
        out.value("fallback", listed(&a), listed(&b));
    }
    if out.0.len() == before {
        out.flag("template or content", &old.fingerprint, &new.fingerprint);
    }
}

fn source(site: &Site, fragment: &Fragment) -> String {
    match &fragment.source {
        Source::Http { origin, target } => format!("{}:{target}", site.origin(*origin).name),
        Source::Push(target) => format!("push:{target}"),
        Source::Ready(content) => format!("{} of the site", show_size(content.len() as u64)),
    }
}

fn list(site: &Site, fragment: &Fragment) -> String {
    let Some(list) = &fragment.list else {
        return "none".to_owned();
    };
    let (min, max) = (list.items_min, list.items_max);
    let name = &site.fragment(list.item).name;
    let at = list.at.join(".");
    let at = if at.is_empty() {
        at
    } else {
        format!(" at {at}")
    };
    format!("of {min} to {max} {name}{at}")
}

fn rungs(site: &Site, fragment: &Fragment) -> Vec<String> {
    let rungs = fragment.fallback.iter().map(|rung| match rung {
        Rung::Sibling(id) => format!("fragment:{}", site.fragment(*id).name),
        Rung::Lazy => "lazy".to_owned(),
        Rung::Ready { kind, .. } => match kind {
            RungKind::Static => "static".to_owned(),
            RungKind::Inline => "inline".to_owned(),
            RungKind::DefaultData => "data".to_owned(),
        },
    });
    rungs.collect()
}

fn ready(fragment: &Fragment) -> Vec<&[u8]> {
    let bodies = fragment.fallback.iter().filter_map(|rung| match rung {
        Rung::Ready { body, .. } => Some(body.as_ref()),
        Rung::Sibling(_) | Rung::Lazy => None,
    });
    bodies.collect()
}

fn listed(words: &[impl Debug + AsRef<str>]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ")
}

fn page((old_site, old): (&Site, &Page), (new_site, new): (&Site, &Page), out: &mut Changes) {
    out.value("route", &old.route, &new.route);
    out.time("budget", old.budget, new.budget);
    out.time("target", old.target, new.target);
    let cut = |page: &Page| page.optional_time.map_or("never".to_owned(), show_duration);
    out.value("blocks cut after", cut(old), cut(new));
    out.value("layout", &old.layout, &new.layout);
    out.time("snapshot_every", old.snapshots.every, new.snapshots.every);
    out.time("snapshot_keep", old.snapshots.keep, new.snapshots.keep);
    let (a, b) = (&old.cache, &new.cache);
    out.time("shared_max_age", a.shared_max_age, b.shared_max_age);
    out.time("max_age", a.max_age, b.max_age);
    out.time(
        "stale_while_revalidate",
        a.stale_while_revalidate,
        b.stale_while_revalidate,
    );
    out.time("stale_if_error", a.stale_if_error, b.stale_if_error);
    out.time("degraded_max_age", a.degraded_max_age, b.degraded_max_age);
    let names = |site: &Site, page: &Page| {
        site.members(page)
            .map(|fragment| fragment.name.clone())
            .collect::<Vec<_>>()
    };
    let (a, b) = (names(old_site, old), names(new_site, new));
    if a != b {
        out.value("fragments", listed(&a), listed(&b));
    } else if old.layout == new.layout {
        let written = |page: &Page| (page.pieces.clone(), page.deferral.clone());
        out.flag("layout", &written(old), &written(new));
    }
}

fn slo(old: &SloSpec, new: &SloSpec, out: &mut Changes) {
    out.value("objective", old.objective, new.objective);
    out.value("promise", old.promise, new.promise);
    out.time("period", old.period, new.period);
    let when_spent = |slo: &SloSpec| slo.when_spent.label();
    out.value("when_spent", when_spent(old), when_spent(new));
    let pages = |slo: &SloSpec| match slo.pages.is_empty() {
        true => "all".to_owned(),
        false => slo.pages.join(", "),
    };
    out.value("pages", pages(old), pages(new));
}

fn proxy((old_site, old): (&Site, &Proxy), (new_site, new): (&Site, &Proxy), out: &mut Changes) {
    out.value(
        "origin",
        &old_site.origin(old.origin).name,
        &new_site.origin(new.origin).name,
    );
    let path = |proxy: &Proxy| proxy.path.clone().unwrap_or_else(|| "as asked".to_owned());
    out.value("path", path(old), path(new));
    out.time("timeout", old.timeout, new.timeout);
    out.time("idle_timeout", old.idle_timeout, new.idle_timeout);
    let markup = |proxy: &Proxy| proxy.markup.map_or("none", Language::name);
    out.value("markup", markup(old), markup(new));
}
