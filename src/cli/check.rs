//! `marbre check`: is the declaration right, and what does it mean?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::{self, Loaded};
use crate::degradation::Level;
use crate::fragment::{Fragment, FragmentId, Source};
use crate::plan::{self, explain};
use crate::site::{Availability, OriginSpec, Page, Role, Site, availability};
use crate::switchboard::{Planned, shown};

use super::{File, output};

mod objectives;

use objectives::{Objective, objectives};

#[derive(Args)]
pub(super) struct Check {
    /// The site's declaration [default: fragments.toml].
    #[arg(value_name = "FILE", conflicts_with = "file")]
    declaration: Option<PathBuf>,
    #[command(flatten)]
    file: File,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    pages: Vec<PageSummary>,
    /// What is given up, in this order.
    ladder: Vec<StepSummary>,
    /// What is set by the clock, the next first.
    schedules: Vec<Planned>,
    origins: Vec<OriginSummary>,
    /// What readers are promised.
    objectives: Vec<Objective>,
    /// Time series that Prometheus gets at most.
    metrics_series_max: usize,
}

/// A step of the ladder.
#[derive(Serialize)]
struct StepSummary {
    level: usize,
    name: String,
    blocks: Vec<String>,
}

#[derive(Serialize)]
struct OriginSummary {
    origin: String,
    owner: Option<String>,
    /// Where, and what each is for.
    replicas: Vec<ReplicaSummary>,
    max_in_flight: usize,
    /// Of which optional fragments can take none.
    reserved: usize,
    /// Whether it is left alone while it is sick.
    breaker: bool,
    /// Attempts for one request, the first included.
    attempts: u32,
    /// Whether core fragments may be asked of a second replica.
    hedges: bool,
}

#[derive(Serialize)]
struct ReplicaSummary {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
}

#[derive(Serialize)]
struct PageSummary {
    page: String,
    route: String,
    budget_ms: u128,
    /// What it should take at the 95th percentile.
    target_ms: u128,
    /// The longest that the head can take: the slowest core.
    worst_head_ms: u128,
    /// The longest that the body can take: the slowest block.
    worst_page_ms: u128,
    /// From what its origins promise; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    availability: Option<OnPaper>,
    /// Core and essential first, then the most important; the last one is given up first.
    blocks: Vec<Block>,
}

/// A page's availability, as its origins' promises make it.
#[derive(Serialize)]
struct OnPaper {
    all_blocks: f64,
    core: f64,
    /// The origin that costs most.
    weakest: Option<String>,
    /// Origins that promise nothing.
    unsaid: Vec<String>,
}

impl OnPaper {
    fn of(site: &Site, page: &Page) -> Option<Self> {
        let on_paper = Availability::of(site, page)?;
        Some(Self {
            all_blocks: on_paper.all,
            core: on_paper.core,
            weakest: on_paper.weakest.map(|(origin, _)| origin),
            unsaid: on_paper.unsaid,
        })
    }

    fn text(&self) -> String {
        let (all, core) = (promised(self.all_blocks), promised(self.core));
        let mut text = format!("on paper: all blocks {all}; core only {core}, copies aside");
        if let Some(origin) = &self.weakest {
            text += &format!("; {origin} costs most");
        }
        if !self.unsaid.is_empty() {
            text += &format!("; nothing is promised by {}", self.unsaid.join(", "));
        }
        text
    }
}

/// An availability in percent, nines and minutes a month.
fn promised(share: f64) -> String {
    let minutes = availability::minutes_a_month(share);
    let percent = (share * 1e8).round() / 1e6;
    match share < 1.0 {
        true => format!(
            "{percent} % ({:.1} nines, {minutes:.1} min a month without)",
            availability::nines(share)
        ),
        false => "100 %".to_owned(),
    }
}

#[derive(Serialize)]
struct Block {
    fragment: String,
    priority: String,
    shed_at_level: Option<u8>,
    /// The step of the ladder that it is in.
    step: Option<String>,
    /// Whether it comes by being pushed.
    pushed: bool,
    origin: Option<String>,
    owner: Option<String>,
    timeout_ms: u128,
    /// Of a list: what is asked for within that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Items>,
    chain: Vec<String>,
}

#[derive(Serialize)]
struct Items {
    fragment: String,
    origin: Option<String>,
    owner: Option<String>,
    timeout_ms: u128,
    max: usize,
}

impl Block {
    fn given_up(&self) -> String {
        explain::given_up(&self.fragment, self.shed_at_level, self.step.as_deref())
    }
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let file = self.declaration.unwrap_or(self.file.file);
        let loaded = match config::load(&file, &|name| std::env::var(name).ok()) {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                output::message(&diagnostics.render(output::colours()));
                return ExitCode::FAILURE;
            }
        };
        let Loaded {
            site,
            warnings,
            summary: declared,
            ..
        } = loaded;
        if !warnings.is_empty() {
            output::message(&warnings.render(output::colours()));
        }
        let summary = Summary {
            pages: site
                .pages
                .iter()
                .map(|page| page_summary(&site, page))
                .collect(),
            ladder: ladder(&site),
            schedules: {
                let clock = Clock::start();
                shown::declared(&site, clock.moment(clock.now()))
            },
            origins: site.origins.iter().map(origin_summary).collect(),
            objectives: objectives(&site),
            metrics_series_max: crate::telemetry::metrics::series_max(&site),
        };
        if self.json {
            output::json(&summary);
        } else {
            output::result(&text(declared, &summary));
        }
        ExitCode::SUCCESS
    }
}

fn page_summary(site: &Site, page: &Page) -> PageSummary {
    let members = page.members.iter();
    let mut members: Vec<_> = members
        .map(|member| (member.fragment, site.fragment(member.fragment)))
        .collect();
    // what is kept longest comes first; the order of the page decides between equals
    members.sort_by_key(|(id, fragment)| {
        let step = site.ladder.step_of(*id).unwrap_or(usize::MAX);
        (!fragment.priority.is_core(), std::cmp::Reverse(step))
    });
    let worst = |core_only: bool| {
        let waits = members
            .iter()
            .filter(|(_, f)| !core_only || f.priority.is_core())
            .map(|(_, f)| plan::worst_time(site, page, f).as_millis());
        waits.max().unwrap_or(0)
    };
    let block = |(id, fragment): &(FragmentId, &Fragment)| {
        let origin = origin(site, fragment);
        let items = fragment.list.as_ref().map(|list| {
            let item = site.fragment(list.item);
            let origin = self::origin(site, item);
            Items {
                fragment: item.name.clone(),
                origin: origin.map(|o| o.name.clone()),
                owner: origin.and_then(|o| o.owner.clone()),
                timeout_ms: item.timeout.min(fragment.timeout).as_millis(),
                max: list.items_max,
            }
        });
        Block {
            fragment: fragment.name.clone(),
            priority: fragment.priority.to_string(),
            shed_at_level: site.ladder.level_of(*id).map(Level::get),
            step: site.ladder.step(*id).map(|step| step.name.clone()),
            pushed: matches!(fragment.source, Source::Push(_)),
            origin: origin.map(|o| o.name.clone()),
            owner: origin.and_then(|o| o.owner.clone()),
            timeout_ms: plan::slot_time(page, fragment).as_millis(),
            items,
            chain: explain::chain(site, fragment),
        }
    };
    PageSummary {
        page: page.name.clone(),
        route: page.route.clone(),
        budget_ms: page.budget.as_millis(),
        target_ms: page.target.as_millis(),
        worst_head_ms: worst(true),
        worst_page_ms: worst(false),
        availability: OnPaper::of(site, page),
        blocks: members.iter().map(block).collect(),
    }
}

fn ladder(site: &Site) -> Vec<StepSummary> {
    let steps = site.ladder.steps().iter().enumerate();
    let summary = steps.map(|(index, step)| {
        let blocks = step.blocks.iter().map(|id| site.fragment(*id).name.clone());
        StepSummary {
            level: index + 1,
            name: step.name.clone(),
            blocks: blocks.collect(),
        }
    });
    summary.collect()
}

fn origin_summary(origin: &OriginSpec) -> OriginSummary {
    let replicas = origin.replicas.iter().map(|replica| ReplicaSummary {
        url: replica.to_string(),
        role: match replica.role {
            Role::ReadReplica => Some("read-replica".to_owned()),
            Role::Primary => replica
                .is_canary()
                .then(|| format!("canary, {} % of a share", replica.weight)),
        },
    });
    OriginSummary {
        origin: origin.name.clone(),
        owner: origin.owner.clone(),
        replicas: replicas.collect(),
        max_in_flight: origin.max_in_flight,
        reserved: origin.reserved,
        breaker: origin.breaker.enabled,
        attempts: origin.retry.attempts,
        hedges: origin.hedge_percent > 0 && origin.replicas.len() > 1,
    }
}

fn origin<'s>(site: &'s Site, fragment: &Fragment) -> Option<&'s OriginSpec> {
    match &fragment.source {
        Source::Http { origin, .. } => Some(site.origin(*origin)),
        Source::Push(_) | Source::Ready(_) => None,
    }
}

/// Who answers, and who is called when they do not.
fn who(origin: &Option<String>, owner: &Option<String>, pushed: bool) -> String {
    match (origin, owner) {
        (Some(origin), Some(owner)) => format!("{origin} ({owner})"),
        (Some(origin), None) => origin.clone(),
        (None, _) if pushed => "pushed".to_owned(),
        (None, _) => "in place".to_owned(),
    }
}

fn text(declared: config::Summary, summary: &Summary) -> String {
    let mut text = format!("ok: {declared}\n");
    let mut line =
        |line: String| writeln!(text, "{line}").expect("writing to a string cannot fail");
    for page in &summary.pages {
        line(format!("\npage {} ({})", page.page, page.route));
        let target = match page.target_ms < page.budget_ms {
            true => format!(", target {} ms", page.target_ms),
            false => String::new(),
        };
        line(format!(
            "  budget {} ms{target}; at worst the head leaves after {} ms and the last block after {} ms",
            page.budget_ms, page.worst_head_ms, page.worst_page_ms
        ));
        if let Some(on_paper) = &page.availability {
            line(format!("  {}", on_paper.text()));
        }
        let sheds: Vec<String> = page.blocks.iter().map(Block::given_up).collect();
        let longest = |texts: Vec<usize>| texts.into_iter().max().unwrap_or(0);
        let width = longest(
            page.blocks
                .iter()
                .map(|b| b.fragment.chars().count())
                .collect(),
        );
        let shed_width = longest(sheds.iter().map(|shed| shed.chars().count()).collect());
        for (block, shed) in page.blocks.iter().zip(sheds) {
            let mut who = who(&block.origin, &block.owner, block.pushed);
            if let Some(items) = &block.items {
                let (max, name, ms) = (items.max, &items.fragment, items.timeout_ms);
                let of = self::who(&items.origin, &items.owner, false);
                who += &format!(", in that time at most {max} {name} of {of}, {ms} ms each");
            }
            let (name, priority, ms) = (&block.fragment, &block.priority, block.timeout_ms);
            line(format!(
                "  {name:width$}  {priority:<11}  {shed:<shed_width$}  {ms:>5} ms  {who}; then {}",
                block.chain.join(" > ")
            ));
        }
    }
    if !summary.ladder.is_empty() {
        line("\nladder, first given up first".to_owned());
    }
    for step in &summary.ladder {
        line(format!("  {}", of_step(step, summary.ladder.len())));
    }
    if !summary.schedules.is_empty() {
        line("\nschedules, the next first".to_owned());
    }
    for schedule in &summary.schedules {
        line(format!("  {}", of_schedule(schedule)));
    }
    if !summary.origins.is_empty() {
        line("\norigins".to_owned());
    }
    for origin in &summary.origins {
        line(format!("  {}", of_origin(origin)));
    }
    if !summary.objectives.is_empty() {
        line("\nobjectives".to_owned());
    }
    for objective in &summary.objectives {
        line(format!("  {}", objective.text()));
    }
    let series = summary.metrics_series_max;
    line(format!(
        "\nmetrics: at most {series} time series at /metrics"
    ));
    text
}

fn of_step(step: &StepSummary, steps: usize) -> String {
    let blocks = step.blocks.join(", ");
    let blocks = match blocks == step.name {
        true => String::new(),
        false => format!(": {blocks}"),
    };
    let end = if step.level == steps {
        "; text only"
    } else {
        ""
    };
    format!("level {:>2}  {}{blocks}{end}", step.level, step.name)
}

/// `election-night: Tue 3 Nov 2026 20:00 CET to …: the level is at least 1; chief editor: results`
fn of_schedule(schedule: &Planned) -> String {
    let name = schedule.address.trim_start_matches("schedule/");
    let weekly = schedule.weekly.iter();
    let weekly: String = weekly.map(|days| format!("every {days}, next ")).collect();
    let when = match (schedule.state, &schedule.local) {
        ("begun", Some(local)) => format!("now, {local}"),
        (_, Some(local)) => local.clone(),
        (_, None) => "over: it can be removed".to_owned(),
    };
    let says = schedule.says.join(", ");
    let (owner, reason) = (&schedule.owner, &schedule.reason);
    format!("{name}: {weekly}{when}: {says}; {owner}: {reason}")
}

fn of_origin(origin: &OriginSummary) -> String {
    let name = who(&Some(origin.origin.clone()), &origin.owner, false);
    let replicas = origin.replicas.iter().map(|replica| match &replica.role {
        None => replica.url.clone(),
        Some(role) => format!("{} ({role})", replica.url),
    });
    let replicas = replicas.collect::<Vec<_>>().join(", ");
    let mut said = vec![format!("{} in flight", origin.max_in_flight)];
    if origin.reserved > 0 {
        said.push(format!(
            "{} of them for core and essential",
            origin.reserved
        ));
    }
    said.push(match origin.breaker {
        true => "left alone while it is sick".to_owned(),
        false => "asked even while it is sick".to_owned(),
    });
    match origin.attempts {
        1 => {}
        attempts => said.push(format!("up to {attempts} attempts")),
    }
    if origin.hedges {
        said.push("a second replica when the first is slow".to_owned());
    }
    format!("{name}: {replicas}; {}", said.join(", "))
}
