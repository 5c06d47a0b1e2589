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
use super::serve::{refuse, until_stopped};

#[derive(Args, Default)]
pub(super) struct Demo {
    /// Begin at this level of degradation (0 = full page).
    #[arg(long, default_value_t = 0, value_name = "N")]
    level: u8,
    /// Use any free ports, for the pages, the operators and the origins.
    #[arg(long)]
    free_ports: bool,
}

impl Demo {
    pub(super) fn run(self) -> ExitCode {
        super::run_async(async {
            let demo = match demo::start(self.free_ports).await {
                Ok(demo) => demo,
                Err(error) => {
                    output::message(&format!("error: the demo's origins cannot start: {error}"));
                    return ExitCode::FAILURE;
                }
            };
            let variables = demo.variables();
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let gate = FaultGate::default();
            let options = Options {
                level: Level::new(self.level),
                env: Arc::new(move |name| {
                    variables
                        .get(name)
                        .cloned()
                        .or_else(|| std::env::var(name).ok())
                }),
                any_port: true,
                listen: self.free_ports.then_some(any),
                admin_listen: self.free_ports.then_some(any),
                admin_routes: Some(demo.newspaper().desk(gate.clone())),
                faults: gate.clone(),
                ..Options::new(demo.file())
            };
            let app = match App::start(options).await {
                Ok(app) => app,
                Err(error) => return refuse(&error),
            };
            output::result(&greeting(&app, &demo));
            let telling = demo.newspaper().dials().tell(app.teller());
            let ending = demo.newspaper().dials().end_when_closed(gate);
            let code = tokio::select! {
                code = until_stopped(app) => code,
                never = telling => match never {},
                never = ending => match never {},
            };
            drop(demo);
            code
        })
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
