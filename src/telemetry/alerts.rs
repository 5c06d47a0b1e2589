//! Rules for Prometheus, made of a site. Owns what is worth calling somebody for, and whom: a sick
//! origin calls its own owner, not whoever runs the pages it is missing from. Pure: the text of the
//! rules comes out.
//!
//! Invariant: every name of a metric comes from [`Metric`], and nothing calls that asks for no action.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use crate::fragment::{Fragment, Source};
use crate::plan::explain;
use crate::site::{OriginSpec, Page, Site};

use super::metrics::Metric;

mod slo;

/// How long something has to be so before anybody is called.
const SICK_FOR: &str = "1m";

/// What Prometheus calls the job that scrapes marbre, in `deploy/prometheus/`.
const JOB: &str = "marbre";

/// Percent of an origin's requests that may fail, over five minutes, before its owner is called.
const FAILED_PERCENT: u32 = 5;

/// Percent of a page's readers that may get an error page, over five minutes.
const UNAVAILABLE_PERCENT: u32 = 1;

/// The rules of a site, as YAML; `dashboard` is where whoever is called looks first.
pub fn rules(site: &Site, dashboard: Option<&str>) -> String {
    let mut text = String::from("groups:\n");
    recordings(&mut text);
    if !site.slos.is_empty() {
        slo::recordings(&mut text);
        text += "  - name: marbre-slo\n    rules:\n";
    }
    for alert in site.slos.iter().flat_map(slo::of_slo) {
        write(&mut text, &alert, dashboard);
    }
    text += "  - name: marbre-servers\n    rules:\n";
    for alert in of_the_servers() {
        write(&mut text, &alert, dashboard);
    }
    text += "  - name: marbre-pages\n    rules:\n";
    for page in &site.pages {
        let of = Called {
            name: &page.name,
            route: &page.route,
            core: "its core could not be had, and there is neither a copy nor a snapshot of it",
        };
        write(&mut text, &of.alert(), dashboard);
    }
    for proxy in site.woven() {
        let of = Called {
            name: &proxy.route,
            route: &proxy.route,
            core: "its document could not be had or broke off, and there is no copy of it",
        };
        write(&mut text, &of.alert(), dashboard);
    }
    write(&mut text, &of_the_site(), dashboard);
    if !site.origins.is_empty() {
        text += "  - name: marbre-origins\n    rules:\n";
    }
    for origin in &site.origins {
        write(&mut text, &of_origin(site, origin), dashboard);
    }
    text
}

/// One rule that calls somebody.
struct Alert {
    name: &'static str,
    expression: String,
    lasts: &'static str,
    /// `page` wakes somebody, `ticket` waits for the morning.
    severity: &'static str,
    labels: Vec<(&'static str, String)>,
    summary: String,
    lost: String,
    action: String,
}

/// What dashboards and autoscalers ask for all the time, computed once.
fn recordings(text: &mut String) {
    let page = Metric::PageDuration.name();
    let (failed, requests) = (total(Metric::OriginFailed), total(Metric::OriginRequests));
    let (pages, faults) = (total(Metric::Pages), total(Metric::Faults));
    let each = [
        (
            "marbre:page_duration_seconds:p95_5m",
            format!("histogram_quantile(0.95, sum by (page, le) (rate({page}_bucket[5m])))"),
        ),
        (
            "marbre:page_duration_seconds:mean_1m",
            format!("sum(rate({page}_sum[1m])) / sum(rate({page}_count[1m]))"),
        ),
        (
            "marbre:origin_failed:ratio_5m",
            format!(
                "sum by (origin) (rate({failed}[5m])) / sum by (origin) (rate({requests}[5m]))"
            ),
        ),
        (
            "marbre:pages:rate_1m",
            format!("sum by (page) (rate({pages}[1m]))"),
        ),
        (
            "marbre:faults:rate_5m",
            format!("sum by (harm, target) (rate({faults}[5m]))"),
        ),
    ];
    *text += "  - name: marbre-recordings\n    rules:\n";
    for (name, expression) in each {
        let _ = writeln!(text, "      - record: {name}");
        let _ = writeln!(text, "        expr: {}", quoted(&expression));
    }
}

/// That a server is there is what Prometheus itself knows, as far as it scrapes; where the servers send what
/// they count, it is known of all of them together alone.
fn of_the_servers() -> [Alert; 2] {
    let told = Metric::Build.name();
    let one = Alert {
        name: "MarbreServerGone",
        expression: format!("up{{job=\"{JOB}\"}} == 0"),
        lasts: SICK_FOR,
        severity: "ticket",
        labels: Vec::new(),
        summary: "A server does not answer Prometheus".to_owned(),
        lost: "Nothing, while the others have room for its readers; it is not known how it does.".to_owned(),
        action: "See whether it runs (`marbre ready`, `systemctl status marbre`, `kubectl get pods`) and what it said last. Where it runs, see whether Prometheus reaches the operators' side, and with the read token.".to_owned(),
    };
    let all = Alert {
        name: "MarbreGone",
        expression: format!("absent({told})"),
        lasts: SICK_FOR,
        severity: "page",
        labels: Vec::new(),
        summary: "No server is heard of".to_owned(),
        lost: "Every page, unless it is Prometheus that cannot ask; and no other alert can tell anything meanwhile.".to_owned(),
        action: "Ask for a page as a reader does. Where there is none, start the servers: they have their last good copies on disk. Where there is one, see what Prometheus says of its targets: address, name of the job, read token.".to_owned(),
    };
    [one, all]
}

/// A page, declared or woven.
struct Called<'s> {
    name: &'s str,
    route: &'s str,
    /// Why its readers get the error page.
    core: &'static str,
}

impl Called<'_> {
    fn alert(&self) -> Alert {
        let Self { name, route, core } = self;
        let pages = total(Metric::Pages);
        let label = quoted(name);
        let gone = format!("{pages}{{page={label},completeness=\"unavailable\"}}");
        let all = format!("{pages}{{page={label}}}");
        let limit = f64::from(UNAVAILABLE_PERCENT) / 100.0;
        Alert {
            name: "MarbrePageUnavailable",
            expression: format!("sum(rate({gone}[5m])) / sum(rate({all}[5m])) > {limit}"),
            lasts: SICK_FOR,
            severity: "page",
            labels: vec![("page", (*name).to_owned())],
            summary: format!("More than {UNAVAILABLE_PERCENT} % of the readers of page {name} get the error page"),
            lost: format!("The whole page ({route}): {core}."),
            action: "See which origin of its core is sick, whose owner is called too; until it is back, check that state_dir has not been lost: it holds the copies.".to_owned(),
        }
    }
}

fn of_the_site() -> Alert {
    let (reloads, kept) = (total(Metric::Reloads), "30m");
    Alert {
        name: "MarbreSiteRefused",
        expression: format!(
            "sum(increase({reloads}{{result=\"refused\"}}[{kept}])) > 0 unless sum(increase({reloads}{{result=\"ok\"}}[{kept}])) > 0"
        ),
        lasts: "5m",
        severity: "ticket",
        labels: Vec::new(),
        summary: "A new fragments.toml was refused, and the one before is still served".to_owned(),
        lost: "Nothing yet, but no change of the site takes effect.".to_owned(),
        action: "Run `marbre check` on the file that was deployed, and deploy it right.".to_owned(),
    }
}

fn of_origin(site: &Site, origin: &OriginSpec) -> Alert {
    let name = quoted(&origin.name);
    let breaker = Metric::BreakerState.name();
    let (failed, requests) = (total(Metric::OriginFailed), total(Metric::OriginRequests));
    // no request is made of an origin that is left alone: none can fail, and the breaker says it
    let is_open =
        format!("min(min_over_time({breaker}{{origin={name},state=\"closed\"}}[1m])) == 0");
    let limit = f64::from(FAILED_PERCENT) / 100.0;
    let fails = format!(
        "sum(rate({failed}{{origin={name}}}[5m])) / sum(rate({requests}{{origin={name}}}[5m])) > {limit}"
    );
    let blocks = blocks(site, origin);
    let is_required = blocks.iter().any(|(_, fragment)| fragment.is_required());
    let mut labels = vec![("origin", origin.name.clone())];
    labels.extend(origin.owner.iter().map(|owner| ("owner", owner.clone())));
    let who = origin.owner.as_deref().unwrap_or("nobody is declared");
    Alert {
        name: "MarbreOriginSick",
        expression: format!("({is_open}) or ({fails})"),
        lasts: SICK_FOR,
        severity: if is_required { "page" } else { "ticket" },
        labels,
        summary: format!("Origin {} is sick (owner: {who})", origin.name),
        lost: lost(site, &blocks),
        action: format!(
            "Look at {}: marbre asks again by itself and takes it back step by step.{}",
            origin.name,
            leave_out(&blocks)
        ),
    }
}

/// How to do without what an origin answers for; nothing where that cannot be done.
fn leave_out(blocks: &[(&Page, &Fragment)]) -> String {
    let spared = blocks.iter().filter(|(_, f)| !f.priority.is_core());
    let names: BTreeSet<&str> = spared.map(|(_, fragment)| fragment.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    let commands = names
        .iter()
        .map(|name| format!("`marbre switch off {name} --owner WHO --reason WHY`"));
    let commands = commands.collect::<Vec<_>>().join(", ");
    format!(" If it will not be back soon, switch its blocks off: {commands}.")
}

/// What an origin answers for, with the pages it is on.
fn blocks<'s>(site: &'s Site, origin: &OriginSpec) -> Vec<(&'s Page, &'s Fragment)> {
    let is_its = |fragment: &&Fragment| match &fragment.source {
        Source::Http { origin: id, .. } => site.origin(*id).name == origin.name,
        Source::Push(_) | Source::Ready(_) => false,
    };
    let pages = site.pages.iter();
    let blocks = pages.flat_map(|page| site.members(page).filter(is_its).map(move |f| (page, f)));
    blocks.collect()
}

fn lost(site: &Site, blocks: &[(&Page, &Fragment)]) -> String {
    if blocks.is_empty() {
        return "No block of a page is its own: items of lists, or paths that are passed through."
            .to_owned();
    }
    let said = blocks.iter().map(|(page, fragment)| {
        let chain = explain::chain(site, fragment).join(" > ");
        let (name, page) = (&fragment.name, &page.name);
        format!("{name} on {page} (instead: {chain})")
    });
    format!("{}.", said.collect::<Vec<_>>().join("; "))
}

fn total(metric: Metric) -> String {
    format!("{}_total", metric.name())
}

fn write(text: &mut String, alert: &Alert, dashboard: Option<&str>) {
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("      - alert: {}", alert.name));
    line(format!("        expr: {}", quoted(&alert.expression)));
    line(format!("        for: {}", alert.lasts));
    line("        labels:".to_owned());
    line(format!("          severity: {}", alert.severity));
    for (name, value) in &alert.labels {
        line(format!("          {name}: {}", quoted(&literal(value))));
    }
    line("        annotations:".to_owned());
    let dashboard = dashboard.map(|url| ("dashboard", url));
    let said = [
        ("summary", alert.summary.as_str()),
        ("lost", &alert.lost),
        ("action", &alert.action),
    ];
    for (name, value) in said.into_iter().chain(dashboard) {
        line(format!("          {name}: {}", quoted(&literal(value))));
    }
    line(format!("          on_purpose: {}", quoted(&on_purpose())));
}

/// For whoever is called: whether it may be an experiment. A template of Prometheus, which looks when it
/// calls.
fn on_purpose() -> String {
    let faults = total(Metric::Faults);
    let hit = format!("sum by (harm, target) (increase({faults}[10m])) > 0");
    [
        "{{ with query \"",
        hit.as_str(),
        "\" }}Within 10 minutes, faults on purpose:",
        "{{ range . }} {{ .Labels.harm }} on {{ .Labels.target }};{{ end }}",
        " `marbre chaos list` says whose, `marbre chaos end NAME --owner WHO` ends one.",
        "{{ else }}Within 10 minutes, no fault on purpose.{{ end }}",
    ]
    .concat()
}

/// A string of YAML, and of the query language too: JSON is part of both.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// Text in which Prometheus finds no template of its own.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}
