//! `marbre journal`: what has happened, as a timeline, as JSON, or as the draft of a post-mortem. Reads the
//! state folder of a site, whether or not its server runs, or asks a running server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde::Deserialize;

use crate::app::journal;
use crate::clock::{Clock, Moment};
use crate::config;
use crate::fragment::quantity::parse_duration;
use crate::telemetry::journal::{Entry, Kind, folder, postmortem};

use super::operator::{self, Operator};
use super::terms::TokenFile;
use super::{File, output};

/// The most that is printed, the newest: what more would be read by nobody, and held in memory.
const ENTRIES_MAX: usize = 200_000;

#[derive(Args)]
pub(super) struct Journal {
    /// From when on: 2h for the last two hours, 7d, or 2026-11-26T11:00:00Z.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = when)]
    since: When,
    /// Until when; now if absent.
    #[arg(long, value_name = "TIME", value_parser = when)]
    until: Option<When>,
    /// Only entries of this kind: start, stop, level, breaker, origin, switch, reload, purge, act, refusal, push,
    /// fault, certificate, slo, tally, journal; may be repeated.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Print the draft of a post-mortem, in Markdown.
    #[arg(long, conflicts_with_all = ["json", "kinds"])]
    postmortem: bool,
    /// Print JSON, one entry a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: File,
    /// The state folder, where the declaration cannot be read.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "admin"])]
    state_dir: Option<PathBuf>,
    /// Ask the server that listens to operators there, which knows its newest entries.
    #[arg(
        long,
        visible_alias = "url",
        value_name = "URL",
        conflicts_with = "file"
    )]
    admin: Option<String>,
    /// The token of [admin], if it has one.
    #[arg(
        long,
        env = "MARBRE_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    #[command(flatten)]
    token_file: TokenFile,
}

/// A moment, perhaps seen from now.
#[derive(Debug, Clone, Copy)]
enum When {
    Ago(std::time::Duration),
    At(Moment),
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(span) = parse_duration(text) {
        return Ok(When::Ago(span));
    }
    let at = text.parse().map(When::At);
    at.map_err(|_| "write it as 2h, or as 2026-11-26T11:00:00Z".to_owned())
}

impl When {
    fn moment(self, now: Moment) -> Moment {
        match self {
            Self::Ago(span) => now.before(span),
            Self::At(at) => at,
        }
    }
}

/// What was found.
struct Known {
    entries: Vec<Entry>,
    /// What is not known of the time that was asked for.
    note: Option<String>,
}

/// What `/journal` answers.
#[derive(Deserialize)]
struct Answer {
    entries: Vec<Entry>,
    complete_since_ms: Option<u64>,
    trouble: Option<String>,
}

impl Journal {
    pub(super) fn run(self) -> ExitCode {
        let clock = Clock::start();
        let now = clock.moment(clock.now());
        let since = self.since.moment(now);
        let until = self.until.map_or(now, |until| until.moment(now));
        let known = match &self.admin {
            Some(admin) => self.ask(admin, since),
            None => self.read(since),
        };
        let mut known = match known {
            Ok(known) => known,
            Err(why) => {
                output::message(&why);
                return ExitCode::FAILURE;
            }
        };
        let until_ms = until.micros() / 1000;
        let is_wanted = |e: &Entry| {
            e.at_ms <= until_ms && (self.kinds.is_empty() || self.kinds.contains(&e.kind()))
        };
        known.entries.retain(is_wanted);
        if self.postmortem {
            let note = known.note.as_deref();
            output::result(&postmortem::draft(&known.entries, since, until, note));
            return ExitCode::SUCCESS;
        }
        if let Some(note) = &known.note {
            output::message(&format!("note: {note}"));
        }
        for entry in &known.entries {
            match self.json {
                true => output::bytes(&entry.line()),
                false => output::result(&row(entry)),
            }
        }
        if known.entries.is_empty() {
            output::message(&format!(
                "the journal says nothing of the time since {since}"
            ));
        }
        ExitCode::SUCCESS
    }

    fn read(&self, since: Moment) -> Result<Known, String> {
        let folder = match &self.state_dir {
            Some(folder) => journal::within(folder),
            None => self.declared()?,
        };
        let place = folder.display();
        let found = folder::read(&folder, since, ENTRIES_MAX);
        let found = found.map_err(|error| format!("error: {place} cannot be read: {error}"))?;
        let mut notes = Vec::new();
        if found.damaged > 0 {
            notes.push(format!(
                "{} lines in {place} are damaged and passed over",
                found.damaged
            ));
        }
        if found.entries.len() == ENTRIES_MAX {
            notes.push(format!("only the newest {ENTRIES_MAX} entries are read"));
        }
        Ok(Known {
            entries: found.entries.into(),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        })
    }

    fn declared(&self) -> Result<PathBuf, String> {
        let file = &self.file.file;
        let loaded = config::load(file, &|name| std::env::var(name).ok());
        let loaded = loaded.map_err(|diagnostics| {
            let diagnostics = diagnostics.render(output::colours());
            format!("{diagnostics}\n`--state-dir` reads a journal without the declaration")
        })?;
        let settings = journal::settings(&loaded.server);
        let none = || {
            let file = file.display();
            format!("error: {file} declares no `state_dir`: `--admin URL` asks the running server")
        };
        settings.map(|settings| settings.folder).ok_or_else(none)
    }

    fn ask(&self, admin: &str, since: Moment) -> Result<Known, String> {
        let since_ms = (since.micros() / 1000).to_string();
        let asked = operator::url(admin, "/journal", &[("since", &since_ms)]).and_then(|url| {
            let token = self.token_file.or(self.token.as_deref());
            let operator = Operator { admin, token };
            super::run_async(operator.ask(Method::GET, url, None))
        });
        let answer = asked.map_err(|why| format!("error: {why}"))?;
        let answer: Answer = serde_json::from_value(answer)
            .map_err(|_| format!("error: what answers at {admin} has no journal"))?;
        let mut notes = Vec::new();
        if let Some(first) = answer.complete_since_ms
            && first > since.micros() / 1000
        {
            let first = Moment::from_micros(first.saturating_mul(1000));
            notes.push(format!(
                "the server remembers what has happened since {first}; what is older is in its state folder"
            ));
        }
        if let Some(trouble) = answer.trouble {
            notes.push(format!(
                "this would not survive a restart of the server: {trouble}"
            ));
        }
        Ok(Known {
            entries: answer.entries,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        })
    }
}

/// An entry as a line of the timeline; what it says on more lines is set in.
fn row(entry: &Entry) -> String {
    // to a second: finer is in the JSON
    let at = entry.at.split('.').next().unwrap_or_default();
    let at = at.trim_end_matches('Z').replacen('T', " ", 1);
    let says = entry
        .says
        .trim_end()
        .replace('\n', "\n                             ");
    format!("{at}  {:8} {says}\n", entry.kind())
}
