//! `marbre explain --trace`: how a recent page came to be what it was, asked of the server that made it.
//! Owns what is printed of its answer.

use std::process::ExitCode;

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::operator::{self, Operator};
use crate::cli::output;
use crate::report::Story;

/// What the server answers.
#[derive(Deserialize)]
struct Answer {
    pages: Vec<Story>,
}

/// Prints the pages of a trace.
pub(super) fn run(id: &str, admin: &str, token: Option<&str>, json: bool) -> ExitCode {
    let answer = path(id.trim()).and_then(|path| operator::url(admin, &path, &[]));
    let answer = answer.and_then(|url| {
        let operator = Operator { admin, token };
        crate::cli::run_async(operator.ask(Method::GET, url, None))
    });
    let printed = answer.and_then(|answer| print(answer, json));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            output::message(&format!("error: {}", why.trim_end()));
            ExitCode::FAILURE
        }
    }
}

/// Where a trace is; the server says whether it knows it.
fn path(id: &str) -> Result<String, String> {
    let is_fit = |b: u8| b.is_ascii_hexdigit() || b == b'-';
    match !id.is_empty() && id.bytes().all(is_fit) {
        true => Ok(format!("/trace/{id}")),
        false => Err(format!(
            "`{id}` is no trace: it has 32 hexadecimal digits, as `Marbre-Trace` of an answer says them, or \
             is a `traceparent`"
        )),
    }
}

fn print(answer: Value, json: bool) -> Result<(), String> {
    if json {
        output::json(&answer);
        return Ok(());
    }
    let answer: Answer = serde_json::from_value(answer)
        .map_err(|error| format!("the server is of another version: {error}; use `--json`"))?;
    let pages = answer.pages.iter().map(Story::text);
    output::result(&pages.collect::<Vec<_>>().join("\n"));
    Ok(())
}
