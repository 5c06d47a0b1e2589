//! `marbre token`: tokens that somebody may be given for a while. Owns the arguments, and for how long a
//! token may be good.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::clock::Clock;
use crate::fragment::quantity::{parse_duration, show_duration};
use crate::site::debug::{self, LIFE_MAX};

use super::{File, explain, output};

#[derive(Args)]
pub(super) struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print a token by which pages say how they were made: send it as the header `Marbre-Debug`.
    Debug {
        #[command(flatten)]
        file: File,
        /// How long it is good for, 7 days at most.
        #[arg(long = "for", default_value = "1h", value_name = "TIME")]
        life: String,
    },
    /// Print a token by which pages have the faults that are set for whoever has one: send it as the
    /// header `Marbre-Chaos`.
    Chaos {
        #[command(flatten)]
        file: File,
        /// How long it is good for, 7 days at most.
        #[arg(long = "for", default_value = "1h", value_name = "TIME")]
        life: String,
    },
}

impl Token {
    pub(super) fn run(self) -> ExitCode {
        let (file, life, is_debug) = match self.what {
            What::Debug { file, life } => (file, life, true),
            What::Chaos { file, life } => (file, life, false),
        };
        let life = match self::life(&life) {
            Ok(life) => life,
            Err(why) => {
                output::message(&format!("error: {why}"));
                return ExitCode::FAILURE;
            }
        };
        let site = match explain::load(&file) {
            Ok(site) => site,
            Err(code) => return code,
        };
        let Some(secret) = &site.debug else {
            output::message(
                "error: the site declares no secret to sign tokens with; add `debug_secret = \
                 \"${MARBRE_DEBUG_SECRET}\"` to [telemetry], with what `openssl rand -hex 32` prints in \
                 that variable, here and where the site is served",
            );
            return ExitCode::FAILURE;
        };
        let clock = Clock::start();
        let end = clock.moment(clock.now()).after(life);
        let lasts = show_duration(life);
        if !is_debug {
            output::result(&format!("{}\n", secret.token_for(debug::CHAOS, end)));
            output::message(&format!(
                "good for {lasts}; send it as `Marbre-Chaos: TOKEN`"
            ));
            return ExitCode::SUCCESS;
        }
        output::result(&format!("{}\n", secret.token(end)));
        output::message(&format!(
            "good for {}; send it as `Marbre-Debug: TOKEN`, with `Accept: application/json` for JSON in \
             the page's place",
            lasts
        ));
        ExitCode::SUCCESS
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = parse_duration(text).map_err(|why| format!("`--for {text}`: {why}"))?;
    match life {
        life if life < Duration::from_secs(1) => {
            Err(format!("`--for {text}`: a second is the least"))
        }
        life if life > LIFE_MAX => {
            let most = show_duration(LIFE_MAX);
            Err(format!(
                "`--for {text}`: a token is good for {most} at most"
            ))
        }
        life => Ok(life),
    }
}
