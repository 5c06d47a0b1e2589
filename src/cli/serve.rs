//! `marbre serve`: serves until SIGINT or SIGTERM.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::app::{App, Options, StartError, Supervisor};
use crate::degradation::Level;

use super::{File, output};

#[derive(Args)]
pub(super) struct Serve {
    /// The site's declaration [default: fragments.toml].
    #[arg(value_name = "FILE", conflicts_with = "file")]
    declaration: Option<PathBuf>,
    #[command(flatten)]
    file: File,
    /// Begin at this level of degradation (0 = full page).
    #[arg(long, default_value_t = 0, value_name = "N")]
    level: u8,
    /// Listen here instead of at server.listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Listen for operators here instead of at admin.listen.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let options = Options {
            level: Level::new(self.level),
            listen: self.listen,
            admin_listen: self.admin_listen,
            supervisor: supervisor(),
            ..Options::new(self.declaration.unwrap_or(self.file.file))
        };
        super::run_async(async {
            // before whoever waits is told that it serves: what is asked from then on is heard
            let stopping = asked_to_stop();
            let app = match App::start(options).await {
                Ok(app) => app,
                Err(error) => return refuse(&error),
            };
            output::message(&format!("pages      {}://{}/", app.scheme(), app.address));
            output::message(&format!("operators  http://{}/", app.admin_address));
            until_stopped(app, stopping).await
        })
    }
}

/// Whoever has started this process and waits for its word. One that cannot be told is no reason not to
/// serve.
fn supervisor() -> Option<Arc<Supervisor>> {
    match Supervisor::of(&|name| std::env::var(name).ok()) {
        Ok(supervisor) => supervisor.map(Arc::new),
        Err(error) => {
            output::message(&format!(
                "warning: whoever waits for this server cannot be told of it: NOTIFY_SOCKET: {error}"
            ));
            None
        }
    }
}

pub(super) fn refuse(error: &StartError) -> ExitCode {
    match error {
        StartError::Config(diagnostics) => output::message(&diagnostics.render(output::colours())),
        StartError::Listen { .. }
        | StartError::Level(_)
        | StartError::Shared(_)
        | StartError::Tls(_)
        | StartError::Traces(_)
        | StartError::Metrics(_)
        | StartError::Thread(_)
        | StartError::NoSuchOrigin(_)
        | StartError::Origin(_) => {
            output::message(&format!("error: {error}"));
        }
    }
    ExitCode::FAILURE
}

/// Serves until the process is asked to stop; a second request ends it at once.
pub(super) async fn until_stopped(app: App, stopping: impl Future<Output = ()>) -> ExitCode {
    stopping.await;
    tokio::select! {
        // the log says how that goes
        _ = app.stop() => ExitCode::SUCCESS,
        () = asked_to_stop() => ExitCode::FAILURE,
    }
}

/// Ends when the process is asked to stop, from now on. Must be called within a runtime.
pub(super) fn asked_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
