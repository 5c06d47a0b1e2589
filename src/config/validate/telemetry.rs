//! What is written down of each request, and who may see how a page was made. Owns where records may go,
//! and what a secret must be.

use super::Context;
use super::settings::{bytes, expand, place};
use crate::config::diagnose::{Diagnostic, FileId};
use crate::config::file::{self, At};
use crate::config::read::Declared;
use crate::site::{
    AccessLogSettings, AccessTarget, ClientShown, DebugSecret, LineFormat, RecentSettings,
};

/// A secret that is shorter can be guessed.
const SECRET_LENGTH_MIN: usize = 16;

/// How lines of the log look.
pub(super) fn log(declared: &Declared) -> LineFormat {
    format(*declared.telemetry.log.format)
}

fn format(written: file::LineFormat) -> LineFormat {
    match written {
        file::LineFormat::Auto => LineFormat::Auto,
        file::LineFormat::Human => LineFormat::Human,
        file::LineFormat::Json => LineFormat::Json,
    }
}

/// `None` within for a place that was reported, and where there is to be no access log.
pub(super) fn access_log(
    declared: &Declared,
    cx: &mut Context<'_>,
) -> Option<Option<AccessLogSettings>> {
    let (log, main) = (&declared.telemetry.access_log, declared.main);
    let to = match log.to.as_str() {
        "off" => return Some(None),
        "stdout" => AccessTarget::Stdout,
        text => match text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            Some(path) => AccessTarget::File(cx.root.join(path)),
            None => {
                let help = match text.contains(['/', '.']) {
                    true => format!("write `file:{}`", text.trim_start_matches("file:")),
                    false => "write \"off\", \"stdout\" or \"file:access.log\"".to_owned(),
                };
                cx.report(
                    Diagnostic::error("the access log cannot go there")
                        .at(place(&log.to, main), "neither `off`, `stdout` nor a file")
                        .help(help),
                );
                return None;
            }
        },
    };
    Some(Some(AccessLogSettings {
        to,
        format: format(*log.format),
        sample: *log.sample,
        slow: log.slow.0,
        query: *log.query,
        client: match *log.client {
            file::ClientShown::Off => ClientShown::Off,
            file::ClientShown::Truncated => ClientShown::Truncated,
            file::ClientShown::Full => ClientShown::Full,
        },
    }))
}

pub(super) fn recent(declared: &Declared) -> RecentSettings {
    let recent = &declared.telemetry.recent;
    RecentSettings {
        bytes_max: bytes(&recent.size),
        sample: *recent.sample,
        slow: recent.slow.0,
        notable_max: *recent.notable_max,
    }
}

/// `None` within for a secret that was reported.
pub(super) fn debug(declared: &Declared, cx: &mut Context<'_>) -> Option<Option<DebugSecret>> {
    let written = declared.telemetry.debug_secret.as_ref();
    written.map(|secret| debug_secret(secret, declared.main, cx))
}

fn debug_secret(secret: &At<String>, main: FileId, cx: &mut Context<'_>) -> Option<DebugSecret> {
    let place = place(secret, main);
    let text = expand(secret, &place, cx)?;
    if text.len() < SECRET_LENGTH_MIN {
        // whoever has one token can try all short secrets at leisure
        cx.report(
            Diagnostic::error("`debug_secret` cannot be used")
                .at(
                    place,
                    format!("it has fewer than {SECRET_LENGTH_MIN} characters, and can be guessed"),
                )
                .help("for example what `openssl rand -hex 32` prints"),
        );
        return None;
    }
    Some(DebugSecret::new(text))
}
