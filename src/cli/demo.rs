//! `marbre demo`: the demo newspaper, with origins of its own and dials to make them misbehave.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::app::{App, Options};
use crate::degradation::Level;
use crate::demo;
use crate::telemetry::slo::FaultGate;

use super::output;
use super::rehearsal::{Incident, Rehearsal};
use super::serve::{asked_to_stop, refuse, until_stopped};

#[derive(Args, Default)]
pub(super) struct Demo {
    /// Begin at this level of degradation (0 = full page).
    #[arg(long, default_value_t = 0, value_name = "N")]
    level: u8,
    /// Use any free ports, for the pages, the operators and the origins.
    #[arg(long)]
    free_ports: bool,
    /// Rehearse an incident: readers of its own come, something goes wrong, and what the journal tells of
    /// it is compared with what the readers saw. Ends by itself, with 0 if the two agree within 1 %.
    #[arg(long, value_enum, value_name = "INCIDENT", conflicts_with = "level")]
    incident: Option<Incident>,
    #[command(flatten)]
    rehearsal: Rehearsal,
}

impl Demo {
    pub(super) fn is_rehearsal(&self) -> bool {
        self.incident.is_some()
    }

    pub(super) fn run(self) -> ExitCode {
        if let Some(incident) = self.incident {
            return super::run_async(self.rehearsal.run(incident, self.free_ports));
        }
        super::run_async(async {
            let demo = match demo::start(self.free_ports).await {
                Ok(demo) => demo,
                Err(error) => {
                    output::message(&format!("error: the demo's origins cannot start: {error}"));
                    return ExitCode::FAILURE;
                }
            };
            let gate = FaultGate::default();
            let options = Options {
                level: Level::new(self.level),
                ..options(&demo, self.free_ports, &gate)
            };
            let app = match App::start(options).await {
                Ok(app) => app,
                Err(error) => return refuse(&error),
            };
            output::result(&greeting(&app, &demo));
            let telling = demo.newspaper().dials().tell(app.teller());
            let ending = demo.newspaper().dials().end_when_closed(gate);
            let timing = demo.newspaper().dials().end_in_time();
            let code = tokio::select! {
                code = until_stopped(app, asked_to_stop()) => code,
                never = telling => match never {},
                never = ending => match never {},
                never = timing => match never {},
            };
            drop(demo);
            code
        })
    }
}

/// To serve the demo's site, from its own origins. Their dials are closed while `gate` is.
pub(super) fn options(demo: &demo::Demo, free_ports: bool, gate: &FaultGate) -> Options {
    let variables = demo.variables();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let known = move |name: &str| variables.get(name).cloned();
    Options {
        env: Arc::new(move |name| known(name).or_else(|| std::env::var(name).ok())),
        any_port: true,
        listen: free_ports.then_some(any),
        admin_listen: free_ports.then_some(any),
        admin_routes: Some(demo.newspaper().desk(gate.clone())),
        faults: gate.clone(),
        ..Options::new(demo.file())
    }
}

fn greeting(app: &App, demo: &demo::Demo) -> String {
    let (pages, admin) = (app.address, app.admin_address);
    format!(
        "Le Marbre, a demo newspaper\n\
         \n\
         \x20 the newspaper   http://{pages}/\n\
         \x20 for operators   http://{admin}/   (dials of the origins: http://{admin}/dials)\n\
         \n\
         The site is declared in {}; edit it, or a template, and reload the page.\n\
         Make the slideshow's origin hang:  curl -X PUT 'http://{admin}/dials/media?hang=1'\n\
         Give up blocks, two steps down:    curl -X PUT -d 2 http://{admin}/level\n\
         Stop with Ctrl-C.\n",
        demo.file().display()
    )
}
