//! The command line. Owns arguments, exit codes and what is printed where: results on standard
//! output, everything else on standard error.
//!
//! Exit codes: 0 it worked; 1 it did not (a wrong declaration, a page without its core); 2 the
//! command itself was wrong. For `snapshot` 1 says that the folder can be used although something
//! is not as it should be, and 2 that there is nothing to use: a nightly job publishes or does not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::telemetry::{self, LogFormat};

mod alerts;
mod chaos;
mod check;
mod demo;
mod explain;
mod journal;
mod manual;
mod operator;
mod output;
mod ready;
mod rehearsal;
mod render;
mod serve;
mod simulate;
mod snapshot;
mod switch;
mod terms;
mod token;

/// A page-fragment composition server for news sites: the article always, the rest as time allows.
#[derive(Parser)]
#[command(name = "marbre", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How log lines look, instead of as [telemetry.log] says [default: auto].
    #[arg(long, global = true, value_enum, env = "MARBRE_LOG")]
    log: Option<LogFormat>,
    /// Log more.
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a site.
    Serve(serve::Serve),
    /// Check a declaration, and print what it means: blocks in drop order and worst-case times.
    Check(check::Check),
    /// Print alerting and recording rules for Prometheus: who is called when which origin is sick.
    Alerts(alerts::Alerts),
    /// Print what a page would do, and why; or what a recent one did, by its trace.
    Explain(explain::Explain),
    /// Compose one page and print it; its report goes to standard error.
    Render(render::Render),
    /// Switch blocks off and on, hold the level, stretch ttls, on a running server.
    Switch(switch::Switch),
    /// Make things go wrong on purpose on a running server, and see what comes of it.
    Chaos(chaos::Chaos),
    /// Print a token that somebody may be given for a while.
    Token(token::Token),
    /// Print what has happened to a site, or the draft of a post-mortem.
    Journal(journal::Journal),
    /// Play a scenario of readers, origins and faults in virtual time, or a trace that was recorded, and
    /// show what is given up and when it comes back.
    Simulate(simulate::Simulate),
    /// Write the site into a folder that any web server can serve.
    Snapshot(snapshot::Snapshot),
    /// Ask a running server whether it serves pages; the exit code says it too.
    Ready(ready::Ready),
    /// Print the JSON schema of fragments.toml, for editors.
    Schema,
    /// Print this as a manual page.
    Man(manual::Man),
    /// Print what a shell needs to complete commands and options.
    Completions(manual::Completions),
    /// Serve the demo newspaper with its own origins (the default).
    Demo(demo::Demo),
}

/// The declaration that a command is about.
#[derive(clap::Args)]
struct File {
    /// The site's declaration.
    #[arg(
        long = "file",
        short = 'f',
        default_value = "fragments.toml",
        value_name = "FILE"
    )]
    file: PathBuf,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command;
    let command = command.unwrap_or(Command::Demo(demo::Demo::default()));
    // a rehearsal tells what happens itself
    let is_told = matches!(&command, Command::Demo(demo) if demo.is_rehearsal());
    let is_logged = !is_told || arguments.verbose;
    let _log = is_logged.then(|| telemetry::init_log(arguments.log, arguments.verbose));
    match command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Alerts(alerts) => alerts.run(),
        Command::Explain(explain) => explain.run(),
        Command::Render(render) => render.run(),
        Command::Switch(switch) => switch.run(),
        Command::Chaos(chaos) => chaos.run(),
        Command::Token(token) => token.run(),
        Command::Journal(journal) => journal.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Snapshot(snapshot) => snapshot.run(),
        Command::Ready(ready) => ready.run(),
        Command::Man(man) => man.run(Arguments::command()),
        Command::Completions(completions) => completions.run(Arguments::command()),
        Command::Schema => {
            output::json(&crate::config::schema());
            ExitCode::SUCCESS
        }
        Command::Demo(demo) => demo.run(),
    }
}

/// Does work on a runtime of its own. What nobody waits for any more does not hold the process: the
/// system's resolver may hold a thread for as long as a network is gone.
fn run_async<T>(work: impl Future<Output = T>) -> T {
    let runtime = runtime();
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// A runtime that fits the machine: with one core, work stealing would only cost.
fn runtime() -> tokio::runtime::Runtime {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = if cores == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder
        .enable_all()
        .build()
        .expect("a runtime needs only threads and an epoll instance")
}
