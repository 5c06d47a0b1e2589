//! `marbre chaos` (shell): what goes wrong on purpose, from a terminal, and experiments with it. Owns what
//! can be asked and how; the running server decides whether it can be.
//!
//! Exit codes of `run` and `monkey`: 0 the steady state held, or there was nothing to do; 1 it did not, or
//! the experiment was broken off; 2 the experiment or the command is wrong, or the steady state did not hold
//! before, so that nothing was begun; 3 the steady state held, but a fault has hit nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::Value;

use crate::chaos::Wanted;
use crate::site::chaos::{HarmKind, StopOn};
use crate::site::name::check_name;

use super::operator;
use super::output;
use super::terms::{Server, Terms};

mod client;
mod monkey;
mod run;

/// Make things go wrong on purpose on a running server, and see what comes of it.
#[derive(Args)]
pub(super) struct Chaos {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum What {
    /// Print which faults are in force, which the site declares, and which are over.
    List,
    /// Begin a fault: one that the site declares, or another.
    Set(Box<Set>),
    /// End a fault.
    End {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        /// Who does so.
        #[arg(long, env = "MARBRE_OWNER", value_name = "WHO")]
        owner: Option<String>,
        /// Why.
        #[arg(long, value_name = "WHY")]
        reason: Option<String>,
    },
    /// Carry out an experiment, and print its report: whether the steady state held, and what readers lost.
    Run(Run),
    /// Carry out one experiment of a folder, drawn by chance, if it is within working hours.
    Monkey(Monkey),
}

#[derive(Args)]
struct Set {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// The origin that is made sick.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["fragment", "store"])]
    origin: Option<String>,
    /// Or the fragment.
    #[arg(long, value_name = "NAME", conflicts_with = "store")]
    fragment: Option<String>,
    /// Or the store that nodes share.
    #[arg(long)]
    store: bool,
    /// What goes wrong.
    #[arg(long, value_enum, value_name = "HARM")]
    harm: Option<HarmName>,
    /// Of latency and slow-start: how much later answers come, 800ms.
    #[arg(long, value_name = "TIME")]
    latency: Option<String>,
    /// Of latency: the deviation of its logarithm.
    #[arg(long, value_name = "N")]
    spread: Option<f64>,
    /// Of error: 500 to 599 [default: 503].
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// Of drip: between two bytes [default: 1s].
    #[arg(long, value_name = "TIME")]
    every: Option<String>,
    /// Of slow-start: after this it is as ever [default: 30s].
    #[arg(long, value_name = "TIME")]
    over: Option<String>,
    /// The share of requests that are hit, above 0 to 1 [default: 1].
    #[arg(long, value_name = "SHARE")]
    rate: Option<f64>,
    /// The share of pages that have it, above 0 to 1 [default: 1].
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,
    /// Only pages have it that are asked for with a token: see `marbre token chaos`.
    #[arg(long)]
    signed: bool,
    /// After so many pages it ends [default: 10000].
    #[arg(long, value_name = "N")]
    pages_max: Option<u64>,
    /// What ends it before its time: an error budget that is used too fast, or is spent.
    #[arg(long, value_enum, value_name = "WHEN")]
    stop_on: Option<StopName>,
    #[command(flatten)]
    terms: Terms,
    /// Only say what it would hit.
    #[arg(long)]
    preview: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum HarmName {
    Latency,
    Error,
    Refuse,
    Reset,
    Hang,
    Cut,
    Drip,
    Garbage,
    SlowStart,
    Dns,
}

#[derive(Clone, Copy, ValueEnum)]
enum StopName {
    Burning,
    Spent,
}

/// Where readers are, and where the report goes.
#[derive(Args)]
struct Reading {
    /// Where the server listens to readers.
    #[arg(
        long,
        env = "MARBRE_SITE",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    site: String,
    /// Write the report there instead of printing it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Args)]
struct Run {
    /// The experiment.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args)]
struct Monkey {
    /// A folder of experiments, `*.toml`; its `monkey.toml` says when one may be carried out.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// When somebody is there: `mon-thu 09:30-16:30` [default: what `monkey.toml` in the folder says].
    #[arg(long, value_name = "HOURS")]
    hours: Option<String>,
    /// The zone of these hours [default: that of `monkey.toml`, or UTC].
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Where chance begins; printed, so that a run can be had again.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only say which one it would be.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Chaos {
    pub(super) fn run(self) -> ExitCode {
        let Self { what, server } = self;
        match what {
            What::List => server.asked(Method::GET, Ok("/chaos".to_owned()), &[], None, list),
            What::Set(set) => {
                let path = path_of(&set.name);
                let query: &[(&str, &str)] = match set.preview {
                    true => &[("preview", "true")],
                    false => &[],
                };
                let body = serde_json::to_value(set.wanted()).expect("it has string keys");
                server.asked(Method::PUT, path, query, Some(&body), done)
            }
            What::End {
                name,
                owner,
                reason,
            } => {
                let said = [("by", owner), ("reason", reason)];
                let said = said.iter().filter_map(|(k, v)| Some((*k, v.as_deref()?)));
                let query: Vec<(&str, &str)> = said.collect();
                server.asked(Method::DELETE, path_of(&name), &query, None, done)
            }
            What::Run(run) => run::carry_out(&run.file, &run.reading, &server),
            What::Monkey(monkey) => monkey::run(&monkey, &server),
        }
    }
}

/// Where the fault is that has this name.
fn path_of(name: &str) -> Result<String, String> {
    check_name("a fault", name).map(|()| format!("/chaos/{name}"))
}

impl Server {
    /// Asks, and prints what is answered.
    fn asked(
        &self,
        method: Method,
        path: Result<String, String>,
        query: &[(&str, &str)],
        body: Option<&Value>,
        words: fn(&Value) -> String,
    ) -> ExitCode {
        let answered = super::run_async(async {
            let url = operator::url(&self.admin, &path?, query)?;
            self.operator().ask(method, url, body).await
        });
        match answered {
            Ok(answer) if self.json => {
                output::json(&answer);
                ExitCode::SUCCESS
            }
            Ok(answer) => {
                output::result(&words(&answer));
                ExitCode::SUCCESS
            }
            Err(why) => {
                output::message(&format!("error: {why}"));
                ExitCode::FAILURE
            }
        }
    }
}

impl Set {
    fn wanted(&self) -> Wanted {
        let harm = self.harm.map(|harm| match harm {
            HarmName::Latency => HarmKind::Latency,
            HarmName::Error => HarmKind::Error,
            HarmName::Refuse => HarmKind::Refuse,
            HarmName::Reset => HarmKind::Reset,
            HarmName::Hang => HarmKind::Hang,
            HarmName::Cut => HarmKind::Cut,
            HarmName::Drip => HarmKind::Drip,
            HarmName::Garbage => HarmKind::Garbage,
            HarmName::SlowStart => HarmKind::SlowStart,
            HarmName::Dns => HarmKind::Dns,
        });
        let stop_on = self.stop_on.map(|stop| match stop {
            StopName::Burning => StopOn::Burning,
            StopName::Spent => StopOn::Spent,
        });
        Wanted {
            origin: self.origin.clone(),
            fragment: self.fragment.clone(),
            store: self.store,
            harm,
            latency: self.latency.clone(),
            spread: self.spread,
            status: self.status,
            every: self.every.clone(),
            over: self.over.clone(),
            rate: self.rate,
            share: self.share,
            signed: self.signed,
            owner: self.terms.signed.owner.clone(),
            reason: self.terms.signed.reason.clone(),
            r#for: self.terms.span.clone(),
            pages_max: self.pages_max,
            stop_on,
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn rows(value: &Value, key: &str) -> Vec<Value> {
    value[key].as_array().cloned().unwrap_or_default()
}

fn line(fault: &Value) -> String {
    let wanted = &fault["fault"];
    format!(
        "{}: {}; until {}, {} pages and {} requests so far; by {}: {}",
        text(fault, "name"),
        text(fault, "says"),
        text(fault, "until"),
        fault["pages"],
        fault["requests"],
        text(wanted, "owner"),
        text(wanted, "reason"),
    )
}

fn list(answer: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(why) = answer["forbidden"].as_str() {
        lines.push(why.to_owned());
    }
    let (faults, declared, past) = (
        rows(answer, "faults"),
        rows(answer, "declared"),
        rows(answer, "past"),
    );
    match faults.is_empty() {
        true => lines.push("no fault is in force".to_owned()),
        false => lines.extend(faults.iter().map(line)),
    }
    if !declared.is_empty() {
        lines.push("\ndeclared".to_owned());
    }
    for one in &declared {
        let begins = match one["from"].as_str() {
            Some(from) => format!("begins {from}"),
            None => "begun by `marbre chaos set`".to_owned(),
        };
        let (name, says, lasts) = (text(one, "name"), text(one, "says"), text(one, "lasts"));
        lines.push(format!("{name}: {says}; {begins}, for {lasts}"));
    }
    if !past.is_empty() {
        lines.push("\nover".to_owned());
    }
    for one in &past {
        let (name, says, how) = (text(one, "name"), text(one, "says"), text(one, "how"));
        let (ended, pages, why) = (text(one, "ended"), &one["pages"], text(one, "why"));
        lines.push(format!(
            "{name}: {says}; {how} {ended}, {pages} pages had it: {why}"
        ));
    }
    lines.join("\n") + "\n"
}

fn done(answer: &Value) -> String {
    if let Some(preview) = answer.get("preview") {
        return previewed(preview);
    }
    let mut lines = Vec::new();
    for (key, word) in [
        ("set", "set"),
        ("ended", "ended"),
        ("replaced", "instead of"),
    ] {
        if let Some(fault) = answer.get(key) {
            lines.push(format!("{word} {}", line(fault)));
        }
    }
    lines.join("\n") + "\n"
}

fn previewed(preview: &Value) -> String {
    let mut lines = vec![format!(
        "{}, for {}",
        text(preview, "says"),
        text(preview, "lasts")
    )];
    for block in rows(preview, "blocks") {
        let (name, priority) = (text(&block, "block"), text(&block, "priority"));
        lines.push(format!(
            "  {name} ({priority}): {}",
            text(&block, "instead")
        ));
    }
    let of = |key| {
        let all = rows(preview, key);
        all.iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    lines.push(format!("  on the pages: {}", of("pages").join(", ")));
    lines.extend(of("notes").iter().map(|note| format!("  {note}")));
    lines.join("\n") + "\n"
}
