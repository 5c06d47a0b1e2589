//! *Mode dégradé* in real time: the acceptance table of the controller on loopback, 18 rows, each with
//! what it is held to. Run by `tests/run degradation`; takes about an hour, and ends by itself.
//!
//! Three processes: the server, whole, but that its jobs sleep as long as they are told to, so that a
//! machine of two cores is never really busy; the origins; and this one, which asks for pages as a
//! crowd does and judges what it gets. Rows name their plant, their load and what happens in `rows`;
//! what they measure is in `measure`.

#![allow(
    clippy::unwrap_used,
    reason = "a rig that cannot run is meant to panic"
)]
#![allow(clippy::print_stdout, reason = "it prints what it has found")]
#![allow(
    clippy::print_stderr,
    reason = "it says what is wrong with its arguments"
)]

use std::process::ExitCode;

mod composer;
mod judge;
mod load;
mod measure;
mod newsroom;
mod orders;
mod origins;
mod page;
mod plant;
mod plot;
mod report;
mod results;
mod rows;
mod run;
mod script;
mod site;
mod sleep;
mod table;
mod watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["role", "origins"] => origins::run(),
        ["role", "composer"] => composer::run(),
        ["role", "newsroom"] => newsroom::run(),
        _ => return table::run(&words),
    }
    ExitCode::SUCCESS
}
