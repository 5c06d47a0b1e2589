//! An experiment as it is written, and what it comes to. Owns the keys and what they mean together.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::chaos::Wanted;
use crate::config::diagnose::{FileId, Place};
use crate::config::file::{At, TimeSpan};
use crate::config::{Diagnostic, Diagnostics, document};
use crate::site::name::check_name;

use super::steady::{Measure, Phase, Steady};

/// Steps of one experiment: more than anybody could tell apart.
const STEPS_MAX: usize = 64;

/// How long the site has to be well again where nobody says.
const RECOVERY: Duration = Duration::from_secs(30);

/// How long readers are looked at where there is no traffic of its own, if nobody says.
const WINDOW: Duration = Duration::from_secs(10);

/// How long a command may take, where nobody says.
const COMMAND: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "experiment")]
struct File {
    /// What is tried out, in a line.
    #[schemars(length(min = 1, max = 200))]
    title: At<String>,
    /// What one wants to know, and why.
    #[serde(default)]
    about: String,
    /// Who is responsible for it: the owner of the faults that it sets.
    #[schemars(length(min = 1, max = 64))]
    owner: At<String>,
    /// Readers of its own; without them, those that there are are looked at.
    traffic: Option<OwnTraffic>,
    /// How long readers are looked at before, and after, where there is no traffic of its own.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    window: Option<At<TimeSpan>>,
    /// How long the site has, after all is rolled back, until the steady state holds again.
    #[schemars(extend("x-range" = ["1s", "10m"]))]
    recovers_within: Option<At<TimeSpan>>,
    /// What must hold.
    #[serde(default)]
    steady: Vec<SteadyWritten>,
    /// What is done, in order.
    #[serde(default)]
    steps: Vec<StepWritten>,
    /// What is done in the end, whatever happens, besides ending the faults that were set.
    #[serde(default)]
    rollback: Vec<StepWritten>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OwnTraffic {
    /// What is asked for, one after another.
    #[schemars(length(min = 1))]
    paths: Vec<At<String>>,
    /// How many pages are asked for before, and after.
    #[schemars(range(min = 1, max = 100_000))]
    pages: At<u32>,
    /// How many at the same time; 4 if absent.
    #[schemars(range(min = 1, max = 256))]
    at_once: Option<At<u16>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SteadyWritten {
    /// The share of pages of which it must hold: 1 is all.
    #[schemars(range(min = 0.0, max = 1.0), example = 0.99)]
    share: At<f64>,
    /// They hold their "core", were it from their snapshot, or "all" their blocks.
    complete: Option<At<Complete>>,
    /// They are there within this time.
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    within: Option<At<TimeSpan>>,
    /// They show this block.
    block: Option<At<String>>,
    /// When it must hold; throughout if absent.
    #[serde(default)]
    when: Vec<At<When>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum Complete {
    Core,
    All,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum When {
    Before,
    During,
    After,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct StepWritten {
    /// Begins the fault of this name, which the site declares, unless `set` says what it is.
    fault: Option<At<String>>,
    /// What it is.
    set: Option<Set>,
    /// Ends the fault of this name.
    end: Option<At<String>>,
    /// Waits so long.
    #[schemars(extend("x-range" = ["1ms", "1h"]))]
    wait: Option<At<TimeSpan>>,
    /// Asks for so many pages.
    #[schemars(range(min = 1, max = 100_000))]
    read: Option<At<u32>>,
    /// Makes all copies stale ("soft"), or throws them away ("hard").
    purge: Option<At<Purge>>,
    /// Runs a command of this machine, and waits for it.
    #[schemars(length(min = 1))]
    run: Option<At<Vec<String>>>,
    /// Waits until the server is ready, so long at most.
    #[schemars(extend("x-range" = ["1ms", "10m"]))]
    ready: Option<At<TimeSpan>>,
    /// Of `fault`: for how long. Of `run`: how long it may take.
    #[serde(rename = "for")]
    #[schemars(extend("x-range" = ["1s", "24h"]))]
    lasts: Option<At<TimeSpan>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum Purge {
    Soft,
    Hard,
}

/// What a fault of a step is; who and why come from the experiment.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Set {
    origin: Option<String>,
    fragment: Option<String>,
    store: Option<bool>,
    harm: Option<Kind>,
    latency: Option<TimeSpan>,
    spread: Option<f64>,
    status: Option<u16>,
    every: Option<TimeSpan>,
    over: Option<TimeSpan>,
    rate: Option<f64>,
    share: Option<f64>,
    signed: Option<bool>,
    pages_max: Option<u64>,
    stop_on: Option<Stop>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
struct Kind(#[schemars(with = "String")] crate::site::chaos::HarmKind);

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
struct Stop(#[schemars(with = "String")] crate::site::chaos::StopOn);

/// What is tried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// What, in a line.
    pub title: String,
    /// What one wants to know.
    pub about: String,
    /// Who is responsible.
    pub owner: String,
    /// Readers of its own.
    pub traffic: Option<Traffic>,
    /// How long readers are looked at before and after, where it has none.
    pub window: Duration,
    /// How long the site has to be well again.
    pub recovers_within: Duration,
    /// What must hold.
    pub steady: Vec<Steady>,
    /// What is done.
    pub steps: Vec<Step>,
    /// What is done in the end, whatever happens.
    pub rollback: Vec<Step>,
}

/// Readers of an experiment's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// What they ask for, one after another.
    pub paths: Vec<String>,
    /// Pages before, and after.
    pub pages: u32,
    /// At the same time.
    pub at_once: usize,
}

/// Something that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What.
    pub action: Action,
}

/// What is done in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A fault of this name begins.
    Begin(String, Box<Wanted>),
    /// One ends.
    End(String),
    /// Time passes.
    Wait(Duration),
    /// Pages are asked for.
    Read(u32),
    /// Copies are made stale, or thrown away.
    Purge {
        /// Whether they are thrown away.
        hard: bool,
    },
    /// A command is run, for so long at most.
    Run(Vec<String>, Duration),
    /// The server has to be ready by then.
    Ready(Duration),
}

/// Reads an experiment, or says all that is wrong with it.
pub fn read(shown: &str, text: &str) -> Result<Experiment, Diagnostics> {
    let mut found = Diagnostics::new();
    let read = document::read::<File>(shown, text, &mut found);
    let made = read.and_then(|(file, written)| {
        Reading {
            file,
            found: &mut found,
        }
        .experiment(written)
    });
    found.sort();
    match made {
        Some(experiment) if !found.has_errors() => Ok(experiment),
        _ => Err(found),
    }
}

struct Reading<'r> {
    file: FileId,
    found: &'r mut Diagnostics,
}

impl Reading<'_> {
    fn experiment(&mut self, written: File) -> Option<Experiment> {
        let whole = self.place(&written.title);
        let (title, owner) = (written.title.to_string(), written.owner.to_string());
        if written.steady.is_empty() {
            self.wrong(whole.clone(), "nothing must hold", "no `[[steady]]`");
        }
        if written.steps.is_empty() || written.steps.len() > STEPS_MAX {
            let label = format!("it has {} `[[steps]]`", written.steps.len());
            self.wrong(whole.clone(), "expected 1 to 64 steps", label);
        }
        let steady = written.steady.iter();
        let steady: Vec<Steady> = steady.filter_map(|s| self.steady(s, &whole)).collect();
        let has_readers = written.traffic.is_some();
        let signed = (owner.as_str(), title.as_str());
        let steps = written.steps.iter();
        let steps: Vec<Step> = steps
            .filter_map(|step| self.step(step, signed, has_readers, &whole))
            .collect();
        let rollback = written.rollback.iter();
        let rollback: Vec<Step> = rollback
            .filter_map(|step| self.step(step, signed, has_readers, &whole))
            .collect();
        let begun: BTreeSet<&String> = steps.iter().filter_map(Step::begins).collect();
        for (step, written) in steps.iter().zip(&written.steps) {
            if let (Action::End(name), Some(at)) = (&step.action, &written.end)
                && !begun.contains(name)
            {
                let place = self.place(at);
                self.wrong(place, "no step begins this fault", "nothing to end");
            }
        }
        let span = |at: &Option<At<TimeSpan>>, default| at.as_ref().map_or(default, |s| s.0);
        let traffic = written.traffic.map(|traffic| Traffic {
            paths: traffic.paths.iter().map(ToString::to_string).collect(),
            pages: *traffic.pages,
            at_once: traffic.at_once.map_or(4, |n| usize::from(*n)),
        });
        if let Some(Traffic { paths, .. }) = &traffic
            && paths.iter().any(|path| !path.starts_with('/'))
        {
            self.wrong(
                whole,
                "a path begins with `/`",
                "one of its `paths` does not",
            );
        }
        Some(Experiment {
            title,
            about: written.about,
            owner,
            traffic,
            window: span(&written.window, WINDOW),
            recovers_within: span(&written.recovers_within, RECOVERY),
            steady,
            steps,
            rollback,
        })
    }

    fn steady(&mut self, written: &SteadyWritten, whole: &Place) -> Option<Steady> {
        let complete = written.complete.as_ref().map(|at| match **at {
            Complete::Core => Measure::Core,
            Complete::All => Measure::Full,
        });
        let within = written.within.as_ref().map(|at| Measure::Within(at.0));
        let block = written
            .block
            .as_ref()
            .map(|at| Measure::Block(at.to_string()));
        let said: Vec<Measure> = [complete, within, block].into_iter().flatten().collect();
        let Ok([measure]) = <[Measure; 1]>::try_from(said) else {
            let place = self.place_or(&written.share, whole);
            self.wrong(
                place,
                "what must hold is one thing",
                "expected one of `complete`, `within` and `block`",
            );
            return None;
        };
        let phase = |when: &At<When>| match **when {
            When::Before => Phase::Before,
            When::During => Phase::During,
            When::After => Phase::After,
        };
        let phases: Vec<Phase> = match written.when.is_empty() {
            true => Phase::ALL.to_vec(),
            false => written.when.iter().map(phase).collect(),
        };
        Some(Steady {
            measure,
            share: *written.share,
            phases,
        })
    }

    fn step(
        &mut self,
        written: &StepWritten,
        (owner, reason): (&str, &str),
        has_readers: bool,
        whole: &Place,
    ) -> Option<Step> {
        let lasts = written.lasts.as_ref().map(|at| at.0);
        let mut said: Vec<(Action, Place)> = Vec::new();
        if let Some(name) = &written.fault {
            let mut wanted = written.set.as_ref().map(Set::wanted).unwrap_or_default();
            owner.clone_into(&mut wanted.owner);
            reason
                .chars()
                .take(280)
                .collect::<String>()
                .clone_into(&mut wanted.reason);
            wanted.r#for = lasts.map(crate::fragment::quantity::show_duration);
            let place = self.place(name);
            let fits = match written.set {
                Some(_) => wanted.spec(name, None).map(|_| ()),
                None => check_name("a fault", name),
            };
            if let Err(why) = fits {
                self.wrong(place.clone(), "this fault cannot be set", why);
            }
            said.push((Action::Begin(name.to_string(), Box::new(wanted)), place));
        }
        if let Some(name) = &written.end {
            let place = self.place(name);
            if let Err(why) = check_name("a fault", name) {
                self.wrong(place.clone(), "this fault cannot be ended", why);
            }
            said.push((Action::End(name.to_string()), place));
        }
        if let Some(span) = &written.wait {
            said.push((Action::Wait(span.0), self.place(span)));
        }
        if let Some(pages) = &written.read {
            let place = self.place(pages);
            if !has_readers {
                self.wrong(
                    place.clone(),
                    "there are no readers to ask",
                    "declare `[traffic]`",
                );
            }
            said.push((Action::Read(**pages), place));
        }
        if let Some(purge) = &written.purge {
            let hard = **purge == Purge::Hard;
            said.push((Action::Purge { hard }, self.place(purge)));
        }
        if let Some(run) = &written.run {
            let most = lasts.unwrap_or(COMMAND);
            said.push((Action::Run(run.to_vec(), most), self.place(run)));
        }
        if let Some(span) = &written.ready {
            said.push((Action::Ready(span.0), self.place(span)));
        }
        if said.len() != 1 {
            let place = said.pop().map_or_else(|| whole.clone(), |(_, place)| place);
            self.wrong(
                place,
                "a step is one thing",
                "expected one of `fault`, `end`, `wait`, `read`, `purge`, `run` and `ready`",
            );
            return None;
        }
        said.pop().map(|(action, _)| Step { action })
    }

    fn place<T>(&self, at: &At<T>) -> Place {
        Place {
            file: self.file,
            span: at.span().unwrap_or_default(),
        }
    }

    fn place_or<T>(&self, at: &At<T>, other: &Place) -> Place {
        match at.span() {
            Some(_) => self.place(at),
            None => other.clone(),
        }
    }

    fn wrong(&mut self, place: Place, what: &str, label: impl Into<String>) {
        self.found.push(Diagnostic::error(what).at(place, label));
    }
}

impl Set {
    fn wanted(&self) -> Wanted {
        let shown = |span: &Option<TimeSpan>| {
            span.map(|span| crate::fragment::quantity::show_duration(span.0))
        };
        Wanted {
            origin: self.origin.clone(),
            fragment: self.fragment.clone(),
            store: self.store.unwrap_or_default(),
            harm: self.harm.map(|kind| kind.0),
            latency: shown(&self.latency),
            spread: self.spread,
            status: self.status,
            every: shown(&self.every),
            over: shown(&self.over),
            rate: self.rate,
            share: self.share,
            signed: self.signed.unwrap_or_default(),
            pages_max: self.pages_max,
            stop_on: self.stop_on.map(|stop| stop.0),
            ..Wanted::default()
        }
    }
}

impl Step {
    /// The fault that it begins.
    pub fn begins(&self) -> Option<&String> {
        match &self.action {
            Action::Begin(name, _) => Some(name),
            Action::End(_)
            | Action::Wait(_)
            | Action::Read(_)
            | Action::Purge { .. }
            | Action::Run(..)
            | Action::Ready(_) => None,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use crate::fragment::quantity::show_duration;
        match &self.action {
            Action::Begin(name, _) => write!(f, "fault {name} begins"),
            Action::End(name) => write!(f, "fault {name} ends"),
            Action::Wait(span) => write!(f, "{} pass", show_duration(*span)),
            Action::Read(pages) => write!(f, "{pages} pages are asked for"),
            Action::Purge { hard: true } => f.write_str("all copies are thrown away"),
            Action::Purge { hard: false } => f.write_str("all copies are made stale"),
            Action::Run(command, _) => write!(f, "`{}` is run", command.join(" ")),
            Action::Ready(_) => f.write_str("the server is ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
title = "The media service hangs"
owner = "newsroom-platform"
[traffic]
paths = ["/"]
pages = 20
[[steady]]
share = 1.0
complete = "core"
[[steady]]
share = 0.99
within = "2s"
when = ["during"]
[[steps]]
fault = "media-hangs"
set = { origin = "media", harm = "hang" }
for = "1m"
[[steps]]
read = 20
[[steps]]
end = "media-hangs"
"#;

    #[test]
    fn an_experiment_is_what_it_says() {
        let read = read("e.toml", GOOD).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(read.title, "The media service hangs");
        assert_eq!(
            read.steady[1].measure,
            Measure::Within(Duration::from_secs(2))
        );
        assert_eq!(read.steady[1].phases, [Phase::During]);
        let steps: Vec<String> = read.steps.iter().map(ToString::to_string).collect();
        assert_eq!(
            steps,
            [
                "fault media-hangs begins",
                "20 pages are asked for",
                "fault media-hangs ends"
            ]
        );
        let Action::Begin(_, wanted) = &read.steps[0].action else {
            panic!()
        };
        assert_eq!(
            (wanted.owner.as_str(), wanted.r#for.as_deref()),
            ("newsroom-platform", Some("1m"))
        );
    }

    #[test]
    fn what_is_wrong_with_one_is_said_where_it_is() {
        for (right, wrong, said) in [
            ("complete = \"core\"", "", "what must hold is one thing"),
            ("complete = \"core\"", "complete = \"most\"", "most"),
            (
                "read = 20",
                "read = 20\nwait = \"1s\"",
                "a step is one thing",
            ),
            (
                "harm = \"hang\"",
                "harm = \"hang\", status = 500",
                "`status`",
            ),
            (
                "end = \"media-hangs\"",
                "end = \"other\"",
                "no step begins this fault",
            ),
            ("paths = [\"/\"]", "paths = [\"x\"]", "begins with `/`"),
            ("for = \"1m\"", "", "for how long"),
            (
                "= \"media-hangs\"",
                "= \"../level\"",
                "a fault is called by",
            ),
            (
                "fault = \"media-hangs\"\nset = { origin = \"media\", harm = \"hang\" }",
                "fault = \"../level\"",
                "a fault is called by",
            ),
            ("[traffic]\npaths = [\"/\"]\npages = 20", "", "no readers"),
            ("owner", "woner", "unknown key"),
        ] {
            let text = GOOD.replacen(right, wrong, 1);
            let found = read("e.toml", &text).unwrap_err().to_string();
            assert!(found.contains(said), "{wrong}: {found}");
        }
    }
}
