//! `marbre chaos run` (shell): carries an experiment out. Owns the order of things, and that whatever was
//! done is rolled back: at the end, when it is broken off, on Ctrl-C, and when its terminal is closed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Instant};
use crate::experiment::{
    self, Action, Experiment, Outcome, Own, Phase, Phases, Seen, Step, Told, Tried, Verdict, judge,
    markdown, remarks,
};
use crate::report::FaultEnd;
use crate::telemetry::journal::Readers;

use super::client::Crowd;
use super::{Reading, Server};
use crate::cli::operator::{self, Failed};
use crate::cli::output;
use crate::cli::serve::asked_to_stop;

/// Between two looks at what readers got: what a process that is killed has counted since is lost.
const LOOK: Duration = Duration::from_millis(100);

/// How long the server is given to count the last pages that readers have read.
const COUNTING: Duration = Duration::from_secs(5);

/// Between two looks at whether something is so by now.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the server is given to answer whether a fault is set, once somebody has asked for the experiment
/// to stop.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why it was broken off, if somebody has done so.
const ASKED_TO_STOP: &str = "Somebody has asked for it to stop.";

/// Carries out the experiment of a file.
pub(super) fn carry_out(file: &Path, reading: &Reading, server: &Server) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(why) => {
            output::message(&format!("error: {} cannot be read: {why}", file.display()));
            return ExitCode::from(2);
        }
    };
    let experiment = match experiment::read(&file.display().to_string(), &text) {
        Ok(experiment) => experiment,
        Err(found) => {
            output::message(&found.render(output::colours()));
            return ExitCode::from(2);
        }
    };
    let told = crate::cli::run_async(Running::whole(&experiment, reading, server));
    let told = match told {
        Ok(told) => told,
        Err(why) => {
            output::message(&format!("error: {why}"));
            return ExitCode::from(2);
        }
    };
    let verdict = judge(&experiment, &told);
    let report = markdown(&experiment, &told);
    if let Some(path) = &reading.report
        && let Err(why) = std::fs::write(path, &report)
    {
        output::message(&format!(
            "error: {} cannot be written: {why}",
            path.display()
        ));
        output::result(&report);
        return ExitCode::FAILURE;
    }
    match (server.json, &reading.report) {
        (true, _) => output::json(&as_json(&experiment, &told, verdict)),
        (false, None) => output::result(&report),
        (false, Some(_)) => {
            let lines = [verdict.says().to_owned()]
                .into_iter()
                .chain(remarks(&told));
            output::result(&(lines.collect::<Vec<_>>().join("\n") + "\n"));
        }
    }
    match verdict {
        Verdict::Holds => ExitCode::SUCCESS,
        Verdict::Fails | Verdict::Aborted => ExitCode::FAILURE,
        Verdict::Unsteady => ExitCode::from(2),
        Verdict::Untried => ExitCode::from(3),
    }
}

fn as_json(experiment: &Experiment, told: &Told, verdict: Verdict) -> Value {
    let phases = told.phases.iter().map(|(phase, seen)| {
        let steady = experiment
            .steady
            .iter()
            .filter(|s| s.phases.contains(phase));
        let steady = steady.map(|steady| {
            json!({
                "must": steady.to_string(),
                "share": steady.measured(seen),
                "holds": steady.holds(seen),
            })
        });
        json!({
            "phase": phase,
            "steady": steady.collect::<Vec<_>>(),
            "pages": seen.asked(),
            "without_core": seen.without_core(),
            "unanswered": seen.own.unanswered,
            "statuses": seen.own.answered,
            "readers": seen.readers,
        })
    });
    json!({
        "title": experiment.title,
        "verdict": verdict,
        "aborted": match &told.outcome {
            Outcome::Aborted(why) => Some(why),
            Outcome::Done | Outcome::Unsteady => None,
        },
        "phases": phases.collect::<Vec<_>>(),
        "faults": told.faults,
        "recovered_s": told.recovered.map(|took| took.as_secs_f64()),
        "left_behind": told.left_behind,
        "timeline": told.timeline.iter().map(|(at, what)| json!([at.as_secs_f64(), what])).collect::<Vec<_>>(),
    })
}

/// What the server has counted, through its restarts.
#[derive(Default)]
struct Counted {
    last: Option<Readers>,
    sum: Readers,
}

impl Counted {
    fn look(&mut self, now: Readers) {
        if let Some(last) = &self.last {
            self.sum.add(&now.since(last));
        }
        self.last = Some(now);
    }
}

/// An experiment that is under way.
struct Running<'e> {
    experiment: &'e Experiment,
    server: &'e Server,
    crowd: Option<Crowd<'e>>,
    clock: Clock,
    began: Instant,
    timeline: Vec<(Duration, String)>,
    /// Faults that it has set and not ended, and those of which nobody has said whether they are set.
    set: BTreeSet<String>,
    /// The latter.
    unanswered: BTreeSet<String>,
    /// What is known of the faults that its steps have begun.
    tried: Vec<Tried>,
}

impl<'e> Running<'e> {
    /// All of it.
    async fn whole(
        experiment: &'e Experiment,
        reading: &Reading,
        server: &'e Server,
    ) -> Result<Told, String> {
        let asked_to_stop = broken_off();
        let clock = Clock::start();
        let crowd = experiment.traffic.as_ref();
        let crowd = crowd.map(|traffic| Crowd::new(&reading.site, traffic, clock));
        let mut running = Self {
            experiment,
            server,
            crowd: crowd.transpose()?,
            clock,
            began: clock.now(),
            timeline: Vec::new(),
            set: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            tried: Vec::new(),
        };
        // whether anybody answers at all
        running.ask(Method::GET, "/readers", &[], None).await?;
        let since = clock.moment(clock.now()).micros() / 1000;
        let mut phases = Phases::new();
        let stop = CancellationToken::new();
        let stopping = async {
            asked_to_stop.await;
            stop.cancel();
            std::future::pending::<Infallible>().await
        };
        let outcome = tokio::select! {
            outcome = running.method(&mut phases, &stop) => outcome,
            never = stopping => match never {},
        };
        let left_behind = running.roll_back().await;
        running.look_at_faults().await;
        let faults = std::mem::take(&mut running.tried);
        let recovered = match outcome {
            Outcome::Unsteady => None,
            Outcome::Done | Outcome::Aborted(_) => tokio::select! {
                recovered = running.recover(&mut phases) => recovered,
                () = broken_off() => None,
            },
        };
        running.take_journal(since).await;
        let mut timeline = running.timeline;
        timeline.sort_by_key(|(at, _)| *at);
        Ok(Told {
            outcome,
            phases,
            faults,
            recovered,
            timeline,
            left_behind,
        })
    }

    /// Looks whether all is well, and does what is to be done, until `stop`.
    async fn method(&mut self, phases: &mut Phases, stop: &CancellationToken) -> Outcome {
        let Some(before) = stop.run_until_cancelled(self.look_on()).await else {
            return Outcome::Aborted(ASKED_TO_STOP.to_owned());
        };
        phases.insert(Phase::Before, before);
        if !experiment::holds(self.experiment, Phase::Before, phases) {
            return Outcome::Unsteady;
        }
        let counted = Mutex::new(Counted::default());
        self.count(&counted).await;
        let mut own = Own::default();
        let mut outcome = Outcome::Done;
        for step in &self.experiment.steps {
            self.note(step.to_string());
            if let Err(why) = self.act_until(stop, step, &counted, &mut own).await {
                outcome = Outcome::Aborted(why);
                break;
            }
            if let Some(why) = self.look_at_faults().await {
                outcome = Outcome::Aborted(why);
                break;
            }
        }
        phases.insert(Phase::During, self.settled(counted, own).await);
        outcome
    }

    /// Waits until the steady state holds again, and says how long that took.
    async fn recover(&mut self, phases: &mut Phases) -> Option<Duration> {
        let began = self.clock.now();
        loop {
            let after = self.look_on().await;
            phases.insert(Phase::After, after);
            let took = self.clock.now().saturating_duration_since(began);
            if experiment::holds(self.experiment, Phase::After, phases) {
                return Some(took);
            }
            if took >= self.experiment.recovers_within {
                return None;
            }
            sleep(LOOK).await;
        }
    }

    /// What readers get while nothing is done.
    async fn look_on(&mut self) -> Seen {
        let counted = Mutex::new(Counted::default());
        self.count(&counted).await;
        let mut own = Own::default();
        match (&self.crowd, &self.experiment.traffic) {
            (Some(crowd), Some(traffic)) => own = crowd.read(traffic.pages).await,
            (None, _) | (_, None) => sleep(self.experiment.window).await,
        }
        self.settled(counted, own).await
    }

    /// What was counted, once the server has counted all that readers have read.
    async fn settled(&self, counted: Mutex<Counted>, own: Own) -> Seen {
        self.settle(&counted, &own).await;
        Seen {
            readers: counted.into_inner().sum,
            own,
        }
    }

    /// A page is counted a moment after its last byte.
    async fn settle(&self, counted: &Mutex<Counted>, own: &Own) {
        let counting = async {
            loop {
                self.count(counted).await;
                if counted.lock().await.sum.pages >= own.answered() {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(COUNTING, counting).await;
    }

    async fn count(&self, counted: &Mutex<Counted>) {
        let Ok(answer) = self.ask(Method::GET, "/readers", &[], None).await else {
            return;
        };
        if let Ok(now) = serde_json::from_value(answer) {
            counted.lock().await.look(now);
        }
    }

    /// Acts, unless it is to stop. Of a fault that is being set it waits to hear whether it is.
    async fn act_until(
        &mut self,
        stop: &CancellationToken,
        step: &Step,
        counted: &Mutex<Counted>,
        own: &mut Own,
    ) -> Result<(), String> {
        let is_awaited = step.begins().is_some();
        let stopping = async {
            stop.cancelled().await;
            if is_awaited {
                sleep(LAST_WORD).await;
            }
        };
        let done = tokio::select! {
            done = self.act(step, counted, own) => done,
            () = stopping => Ok(()),
        };
        match stop.is_cancelled() {
            true => Err(ASKED_TO_STOP.to_owned()),
            false => done,
        }
    }

    async fn act(
        &mut self,
        step: &Step,
        counted: &Mutex<Counted>,
        own: &mut Own,
    ) -> Result<(), String> {
        match &step.action {
            Action::Begin(name, wanted) => {
                let body = serde_json::to_value(wanted).expect("it has string keys");
                self.begin(name, &body).await?;
            }
            Action::End(name) => {
                self.end(name).await?;
                self.set.remove(name);
            }
            Action::Wait(span) => self.meanwhile(counted, sleep(*span)).await,
            Action::Read(pages) => {
                if let Some(crowd) = &self.crowd {
                    own.add(self.meanwhile(counted, crowd.read(*pages)).await);
                    // before the next step, which may be the server's end
                    self.settle(counted, own).await;
                }
            }
            Action::Purge { hard } => {
                let body = json!({ "all": true, "hard": hard, "by": self.experiment.owner });
                self.ask(Method::POST, "/purge", &[], Some(&body)).await?;
            }
            Action::Run(command, most) => {
                self.meanwhile(counted, run(command, *most)).await?;
            }
            Action::Ready(most) => {
                let is_ready = async {
                    while self.ask_text("/readyz").await.is_err() {
                        sleep(PAUSE).await;
                    }
                };
                let ready = timeout(*most, is_ready).await;
                ready.map_err(|_| "The server was not ready in time.".to_owned())?;
            }
        }
        Ok(())
    }

    /// Does something, and looks meanwhile at what readers get.
    async fn meanwhile<T>(&self, counted: &Mutex<Counted>, work: impl Future<Output = T>) -> T {
        let looking = async {
            loop {
                self.count(counted).await;
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            done = work => done,
            never = looking => match never {},
        }
    }

    /// Sets a fault. From the moment that it is asked for it is one that may have to be ended: an answer may
    /// be lost, and nobody may wait for it.
    async fn begin(&mut self, name: &str, body: &Value) -> Result<(), String> {
        let is_first = self.set.insert(name.to_owned());
        self.unanswered.insert(name.to_owned());
        let asked = match self.url(&format!("/chaos/{name}"), &[]) {
            Ok(url) => {
                let operator = self.server.operator();
                operator.try_ask(Method::PUT, url, Some(body)).await
            }
            Err(why) => Err(Failed::Refused(why)),
        };
        match asked {
            Ok(_) => {
                self.unanswered.remove(name);
                for before in self.tried.iter_mut().filter(|tried| tried.name == name) {
                    let how = || FaultEnd::Replaced.label().to_owned();
                    before.how.get_or_insert_with(how);
                }
                self.tried.push(Tried {
                    name: name.to_owned(),
                    ..Tried::default()
                });
                Ok(())
            }
            Err(Failed::Refused(why)) => {
                self.unanswered.remove(name);
                if is_first {
                    // one of this name is somebody else's
                    self.set.remove(name);
                }
                Err(why)
            }
            Err(Failed::Unanswered(why)) => Err(why),
        }
    }

    /// Looks at what the faults have hit so far; why the server has ended one of them, if it has.
    async fn look_at_faults(&mut self) -> Option<String> {
        let answer = self.ask(Method::GET, "/chaos", &[], None).await.ok()?;
        let named = |key: &str, name: &str| {
            let all = answer[key].as_array()?;
            all.iter().find(|fault| fault["name"] == *name)
        };
        for tried in self.tried.iter_mut().filter(|tried| tried.how.is_none()) {
            let there = named("faults", &tried.name);
            let Some(found) = there.or_else(|| named("past", &tried.name)) else {
                continue;
            };
            let count = |key: &str| found[key].as_u64().unwrap_or_default();
            (tried.pages, tried.requests) = (count("pages"), count("requests"));
            tried.how = found["how"].as_str().map(str::to_owned);
        }
        let is_there = |name: &String| {
            let faults = answer["faults"].as_array();
            faults.is_some_and(|all| all.iter().any(|fault| fault["name"] == **name))
        };
        let gone = self.set.iter().find(|name| !is_there(name))?;
        let past = answer["past"].as_array()?;
        let over = past.iter().find(|fault| fault["name"] == **gone)?;
        let why = over["why"].as_str().unwrap_or_default();
        // one whose time is over was meant to end
        (over["how"] == "aborted" || over["how"] == "ended")
            .then(|| format!("The fault {gone} was ended: {why}."))
    }

    /// Ends a fault; whether there was one.
    async fn end(&self, name: &str) -> Result<bool, String> {
        let query = [("by", self.experiment.owner.as_str())];
        let path = format!("/chaos/{name}");
        match self.ask(Method::DELETE, &path, &query, None).await {
            // it has ended by itself, or with a restart
            Err(why) if why.contains("no fault of the name") => Ok(false),
            Ok(_) => Ok(true),
            Err(why) => Err(why),
        }
    }

    /// Ends what was begun, whatever happens; what could not be is told.
    async fn roll_back(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for step in &self.experiment.rollback {
            self.note(format!("rolled back: {step}"));
            let counted = Mutex::new(Counted::default());
            if let Err(why) = self.act(step, &counted, &mut Own::default()).await {
                left.push(format!("{step}: {why}"));
            }
        }
        for name in std::mem::take(&mut self.set) {
            match self.end(&name).await {
                Ok(false) if self.unanswered.contains(&name) => left.push(format!(
                    "fault {name}: nobody has answered whether it is set, and it may begin yet; it ends by itself"
                )),
                Ok(_) => self.note(format!("rolled back: fault {name} ends")),
                Err(why) => left.push(format!("fault {name}, which ends by itself: {why}")),
            }
        }
        left
    }

    /// What the server says has happened meanwhile.
    async fn take_journal(&mut self, since_ms: u64) {
        let since = since_ms.to_string();
        let query = [("since", since.as_str())];
        let Ok(answer) = self.ask(Method::GET, "/journal", &query, None).await else {
            return;
        };
        let entries = answer["entries"].as_array().cloned().unwrap_or_default();
        let told = entries.iter().filter(|entry| entry["kind"] != "tally");
        for entry in told {
            let at = entry["at_ms"].as_u64().unwrap_or(since_ms);
            let says = entry["says"].as_str().unwrap_or_default();
            let after = Duration::from_millis(at.saturating_sub(since_ms));
            self.timeline.push((after, format!("the server: {says}")));
        }
    }

    fn note(&mut self, what: String) {
        let at = self.clock.now().saturating_duration_since(self.began);
        self.timeline.push((at, what));
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let url = self.url(path, query)?;
        self.server.operator().ask(method, url, body).await
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<operator::Url, String> {
        operator::url(&self.server.admin, path, query)
    }

    /// The same of what is no JSON.
    async fn ask_text(&self, path: &str) -> Result<(), String> {
        let url = self.url(path, &[])?;
        self.server.operator().is_well(url).await
    }
}

/// Comes back when somebody asks for it to stop, or has gone away: a terminal that is closed hangs up. Who has
/// said before (`nohup`) that nobody stays wants it to go on.
fn broken_off() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let hang_up =
        (!ignores_hang_up()).then(|| signal(SignalKind::hangup()).expect("SIGHUP can be handled"));
    let asked = asked_to_stop();
    let hung_up = async {
        match hang_up {
            Some(mut hang_up) => _ = hang_up.recv().await,
            None => std::future::pending().await,
        }
    };
    async {
        tokio::select! {
            () = asked => {}
            () = hung_up => {}
        }
    }
}

/// Whether this process was begun so that it ignores SIGHUP, as Linux tells it.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // the lowest bit is signal 1
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Runs a command of this machine.
async fn run(command: &[String], most: Duration) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("there is no command")?;
    let mut child = Command::new(program);
    child
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let done = timeout(most, child.output()).await;
    let told = command.join(" ");
    match done {
        Err(_) => Err(format!("`{told}` was not done in time.")),
        Ok(Err(why)) => Err(format!("`{told}` cannot be run: {why}.")),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(format!("`{told}` has failed ({}): {last}.", output.status))
        }
    }
}
