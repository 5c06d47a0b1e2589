//! `marbre ready`: whether a running server says that it serves pages, for probes that run commands. Owns the
//! arguments only.

use std::process::ExitCode;

use clap::Args;

use super::operator::{self, Operator};
use super::output;

#[derive(Args)]
pub(super) struct Ready {
    /// Where the server listens to operators. It needs no token for this.
    #[arg(
        long,
        env = "MARBRE_ADMIN",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL"
    )]
    admin: String,
}

impl Ready {
    pub(super) fn run(self) -> ExitCode {
        let server = Operator {
            admin: &self.admin,
            token: None,
        };
        let asking = async {
            let url = operator::url(&self.admin, "/readyz", &[])?;
            server.ask_text(http::Method::GET, url, None).await
        };
        match super::run_async(asking) {
            Ok(answer) => {
                output::result(&answer);
                ExitCode::SUCCESS
            }
            Err(why) => {
                output::message(&format!("error: {why}"));
                ExitCode::FAILURE
            }
        }
    }
}
