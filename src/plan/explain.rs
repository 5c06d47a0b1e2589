//! A plan as text and JSON, for the command line and the admin API. Owns this presentation; the
//! plan itself is made elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::degradation::Level;
use crate::fragment::quantity::show_duration;
use crate::fragment::source::TargetTemplate;
use crate::fragment::{Fragment, FragmentId, Rung, RungKind, Source};
use crate::report::OmitReason;
use crate::site::Site;

use super::{Action, Plan, slot_time};

/// A plan in words.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explanation {
    /// The page's name.
    pub page: String,
    /// The pattern that matched.
    pub route: String,
    /// The level it was planned at.
    pub level: u8,
    /// What people call that level.
    pub level_name: String,
    /// The level at which only the text is left.
    pub level_text_only: u8,
    /// The page's budget in milliseconds.
    pub budget_ms: u128,
    /// One entry a fragment, in document order.
    pub steps: Vec<StepExplanation>,
}

/// A step in words.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepExplanation {
    /// The fragment.
    pub fragment: String,
    /// `core`, `essential` or `optional N`.
    pub priority: String,
    /// `serve`; `omit`, as the level says; `stand-in` or `off`, as an operator has switched it off.
    pub action: &'static str,
    /// Where it comes from.
    pub source: String,
    /// How long its slot waits, in milliseconds.
    pub deadline_ms: u128,
    /// What fills the slot in the end, in order.
    pub chain: Vec<String>,
    /// The first level that gives it up.
    pub shed_at_level: Option<u8>,
    /// The step of the ladder that it is in.
    pub step: Option<String>,
}

impl Explanation {
    /// Puts a plan in words.
    pub fn new(site: &Site, plan: &Plan) -> Self {
        let page = site.page(plan.page);
        let step = |step: &super::Step| {
            let fragment = site.fragment(step.fragment);
            let target = match &step.action {
                Action::Serve(serve) => serve.request(fragment).target.as_str(),
                Action::StandIn(_) | Action::Omit(_) => "",
            };
            let time = slot_time(page, fragment);
            StepExplanation::new(site, step.fragment, step.action.word(), target, time)
        };
        Self {
            page: page.name.clone(),
            route: page.route.clone(),
            level: plan.level.get(),
            level_name: site.ladder.called(plan.level).to_owned(),
            level_text_only: site.ladder.text_only().get(),
            budget_ms: page.budget.as_millis(),
            steps: plan.steps.iter().map(step).collect(),
        }
    }

    /// As lines for a terminal.
    pub fn text(&self) -> String {
        let Self {
            page,
            route,
            level,
            level_name,
            level_text_only,
            budget_ms,
            steps,
        } = self;
        let mut text = format!(
            "page {page} ({route}), level {level} of {level_text_only} ({level_name}), budget {budget_ms} ms\n"
        );
        let longest = |texts: Vec<usize>| texts.into_iter().max().unwrap_or(0);
        let width = longest(steps.iter().map(|s| s.fragment.chars().count()).collect());
        let sheds: Vec<String> = steps.iter().map(StepExplanation::given_up).collect();
        let shed_width = longest(sheds.iter().map(|shed| shed.chars().count()).collect());
        for (step, shed) in steps.iter().zip(sheds) {
            let (mark, doing) = match step.action {
                "serve" => (
                    "+",
                    format!("{} within {} ms", step.source, step.deadline_ms),
                ),
                "stand-in" => ("~", "switched off: filled by what stands in".to_owned()),
                "off" => ("-", "switched off".to_owned()),
                _ => ("-", "left out".to_owned()),
            };
            let (name, priority) = (&step.fragment, &step.priority);
            writeln!(
                text,
                "  {mark} {name:width$}  {priority:<11}  {shed:<shed_width$}  {doing}"
            )
            .expect("writing to a string cannot fail");
            if matches!(step.action, "serve" | "stand-in") {
                writeln!(
                    text,
                    "    {:width$}  {:<11}  then: {}",
                    "",
                    "",
                    step.chain.join(" > ")
                )
                .expect("writing to a string cannot fail");
            }
        }
        text
    }
}

impl Action {
    /// It in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Serve(_) => "serve",
            Self::StandIn(_) => "stand-in",
            Self::Omit(OmitReason::Switched) => "off",
            Self::Omit(_) => "omit",
        }
    }
}

impl StepExplanation {
    /// Of a slot that waits for `time`; `target` is what is asked for, empty where that is not told.
    pub fn new(
        site: &Site,
        id: FragmentId,
        action: &'static str,
        target: &str,
        time: Duration,
    ) -> Self {
        let fragment = site.fragment(id);
        Self {
            fragment: fragment.name.clone(),
            priority: fragment.priority.to_string(),
            action,
            source: source(site, fragment, target),
            deadline_ms: time.as_millis(),
            chain: chain(site, fragment),
            shed_at_level: site.ladder.level_of(id).map(Level::get),
            step: site.ladder.step(id).map(|step| step.name.clone()),
        }
    }

    fn given_up(&self) -> String {
        given_up(&self.fragment, self.shed_at_level, self.step.as_deref())
    }
}

/// When a fragment is given up, in words: the step has a name of its own where it is not made of those
/// of its blocks.
pub fn given_up(fragment: &str, level: Option<u8>, step: Option<&str>) -> String {
    match (level, step) {
        (None, _) => "never given up".to_owned(),
        (Some(level), Some(step)) if !step.split(", ").any(|block| block == fragment) => {
            format!("given up at level {level}, {step}")
        }
        (Some(level), _) => format!("given up at level {level}"),
    }
}

fn source(site: &Site, fragment: &Fragment, target: &str) -> String {
    let or_template = |template: &TargetTemplate| match target {
        "" => template.to_string(),
        target => target.to_owned(),
    };
    match &fragment.source {
        Source::Http {
            origin,
            target: template,
        } => {
            let (name, items) = (&site.origin(*origin).name, items(site, fragment));
            format!("{name}:{}{items}", or_template(template))
        }
        Source::Push(template) => format!("pushed as {}", or_template(template)),
        Source::Ready(_) => "declared in place".to_owned(),
    }
}

/// What a list asks for besides itself.
fn items(site: &Site, fragment: &Fragment) -> String {
    let Some(list) = &fragment.list else {
        return String::new();
    };
    let item = site.fragment(list.item);
    format!(
        ", then at most {} {} ({}, {} ms each)",
        list.items_max,
        item.name,
        source(site, item, ""),
        item.timeout.as_millis()
    )
}

/// The rungs below a fresh answer, as declared.
pub fn chain(site: &Site, fragment: &Fragment) -> Vec<String> {
    let mut chain = Vec::new();
    let freshness = fragment.freshness;
    let grace = freshness.grace.unwrap_or_default();
    if !grace.is_zero() {
        chain.push(format!("stale for {}", show_duration(grace)));
    }
    let keep = freshness.keep.unwrap_or(freshness.keep_unsaid);
    if !keep.is_zero() {
        chain.push(format!("kept for {}", show_duration(keep)));
    }
    chain.extend(fragment.fallback.iter().map(|rung| match rung {
        Rung::Sibling(id) => format!("fragment {}", site.fragment(*id).name),
        Rung::Lazy => "lazy".to_owned(),
        Rung::Ready {
            kind: RungKind::Static,
            ..
        } => "static file".to_owned(),
        Rung::Ready {
            kind: RungKind::Inline,
            ..
        } => "inline".to_owned(),
        Rung::Ready {
            kind: RungKind::DefaultData,
            ..
        } => "default data".to_owned(),
    }));
    let last: &[&str] = match fragment.priority.is_core() {
        true => &["snapshot of the page", "error page"],
        false => &["omit"],
    };
    chain.extend(last.iter().map(ToString::to_string));
    chain
}
