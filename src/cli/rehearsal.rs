//! `marbre demo --incident`: a rehearsed incident, from the first reader to the draft of its post-mortem.
//! Owns the order of things and what is told of them; the script, its readers and the comparison are the
//! demo's, the draft is the journal's.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Options, journal};
use crate::clock::{Clock, Moment};
use crate::demo::incident::compare::{self, Row};
use crate::demo::incident::readers::{Play, Played};
use crate::demo::incident::{FLASH_CROWD, Script, stage};
use crate::demo::{self, Corpus};
use crate::telemetry::journal::{Entry, Kind, folder, postmortem};
use crate::telemetry::slo::FaultGate;

use super::demo::options;
use super::output;
use super::serve::{asked_to_stop, refuse};

/// The most entries that are read: an incident of ten minutes has some hundreds.
const ENTRIES_MAX: usize = 20_000;

/// What can be rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Incident {
    /// A crowd comes for one story, and the service behind the live feed does not bear it.
    FlashCrowd,
}

impl Incident {
    fn script(self) -> Script {
        match self {
            Self::FlashCrowd => FLASH_CROWD,
        }
    }
}

#[derive(Args)]
pub(super) struct Rehearsal {
    /// How long the incident lasts.
    #[arg(
        long,
        default_value_t = 60,
        value_name = "N",
        requires = "incident",
        value_parser = clap::value_parser!(u64).range(10..=600)
    )]
    seconds: u64,
    /// Which readers come when: the same ones for the same number.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "incident")]
    seed: u64,
    /// Print the numbers and the draft as JSON.
    #[arg(long, requires = "incident")]
    json: bool,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self {
            seconds: 60,
            seed: 1,
            json: false,
        }
    }
}

impl Rehearsal {
    pub(super) async fn run(self, incident: Incident, free_ports: bool) -> ExitCode {
        let stage = match demo::stage(free_ports).await {
            Ok(stage) => stage,
            Err(error) => {
                output::message(&format!("error: the demo cannot start: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let options = Options {
            emulated_work: Some(Arc::new(stage::work)),
            ..options(&stage, free_ports, &FaultGate::default())
        };
        let app = match App::start(options).await {
            Ok(app) => app,
            Err(error) => return refuse(&error),
        };
        let clock = Clock::start();
        let since = clock.moment(clock.now());
        let played = match self.play(incident.script(), &app, &stage, clock).await {
            Ok(played) => played,
            Err(why) => {
                output::message(&why);
                app.stop().await;
                return ExitCode::FAILURE;
            }
        };
        // only then is the last thing that readers got in the journal
        app.stop().await;
        let until = clock.moment(clock.now());
        match read(stage.file(), since) {
            Ok(entries) => self.conclude(incident.script(), &entries, &played, (since, until)),
            Err(why) => {
                output::message(&format!("error: the journal cannot be read: {why}"));
                ExitCode::FAILURE
            }
        }
    }

    /// Plays the script to its end, and tells what happens meanwhile.
    async fn play(
        &self,
        script: Script,
        app: &App,
        stage: &demo::Demo,
        clock: Clock,
    ) -> Result<Played, String> {
        let length = Duration::from_secs(self.seconds);
        output::message(&format!(
            "rehearsal of {}: {}\n  the newspaper   http://{}/\n  for operators   http://{}/\n  \
             for {} s, on a machine that composes some 35 full pages a second; the same readers again \
             with --seed {}",
            script.name, script.about, app.address, app.admin_address, self.seconds, self.seed,
        ));
        let corpus = Corpus::gather();
        let play = Play {
            script,
            length,
            visits: script.visits(length, self.seed, &corpus),
            before: corpus.pages,
            pages: app.address,
            dials: stage.newspaper().dials(),
            clock,
        };
        let stop = CancellationToken::new();
        // whichever way this ends, the readers leave
        let leaving = stop.clone().drop_guard();
        let began = clock.now();
        let say = move |what: &str| {
            let at = clock.now().saturating_duration_since(began).as_secs_f64();
            output::message(&format!("{at:6.1} s  {what}"));
        };
        let tell = move |number: usize| {
            if let Some(phase) = script.phases.get(number) {
                let rate = phase.pages_per_second;
                say(&format!("-- {}: {rate} pages a second", phase.tells));
            }
        };
        let following = follow(app.journal().follow(), say);
        let telling = stage.newspaper().dials().tell(app.teller());
        let playing = spawn_blocking(move || play.run(tell, stop));
        let played = tokio::select! {
            played = playing => played.map_err(|error| format!("error: the readers are gone: {error}"))?,
            never = telling => match never {},
            () = following => return Err("error: the journal has ended".to_owned()),
            () = asked_to_stop() => return Err("stopped before its end".to_owned()),
        };
        drop(leaving);
        played.map_err(|error| format!("error: the readers cannot begin: {error}"))
    }

    /// Prints the draft, with the table beside it.
    fn conclude(
        &self,
        script: Script,
        entries: &[Entry],
        played: &Played,
        (since, until): (Moment, Moment),
    ) -> ExitCode {
        let draft = postmortem::draft(entries, since, until, None);
        let rows = compare::rows(entries, played, demo::worth());
        let off: Vec<&Row> = rows.iter().filter(|row| !row.agrees).collect();
        let agrees = off.is_empty() && played.seen.pages > 0;
        if self.json {
            let ms = |share| {
                played
                    .seen
                    .quantile(share)
                    .map(|took| took.as_secs_f64() * 1e3)
            };
            output::json(&json!({
                "incident": script.name,
                "seconds": self.seconds,
                "seed": self.seed,
                "agrees": agrees,
                "rows": rows,
                "readers": {
                    "p50_ms": ms(0.5),
                    "p95_ms": ms(0.95),
                    "unasked": played.unasked,
                },
                "entries": entries,
                "draft": draft,
            }));
        } else {
            output::result(&format!("{draft}\n{}", compare::table(&rows, played)));
        }
        if agrees {
            output::message("the journal and the readers agree within 1 %");
            return ExitCode::SUCCESS;
        }
        let off: Vec<&str> = off.iter().map(|row| row.what.as_str()).collect();
        output::message(&format!(
            "error: the journal and the readers do not agree within 1 %: {}",
            off.join(", ")
        ));
        ExitCode::FAILURE
    }
}

/// Tells what the journal tells, as it happens; of what readers got only while not all is well.
async fn follow(mut entries: Receiver<Arc<Entry>>, say: impl Fn(&str)) {
    loop {
        match entries.recv().await {
            Ok(entry) => {
                if entry.kind() != Kind::Start {
                    say(&format!("{:8} {}", entry.kind(), entry.says));
                }
            }
            Err(RecvError::Lagged(missed)) => {
                say(&format!("{missed} entries were not read in time"))
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// What the journal of the site beside this file says, as `marbre journal` would find it.
fn read(declaration: &Path, since: Moment) -> Result<Vec<Entry>, String> {
    let loaded = crate::config::load(declaration, &|name| std::env::var(name).ok());
    let loaded = loaded.map_err(|diagnostics| diagnostics.to_string())?;
    let settings = journal::settings(&loaded.server).ok_or("the site keeps none")?;
    let found = folder::read(&settings.folder, since, ENTRIES_MAX);
    let found = found.map_err(|error| error.to_string())?;
    match found.damaged {
        0 => Ok(found.entries.into()),
        damaged => Err(format!("{damaged} lines are damaged")),
    }
}
