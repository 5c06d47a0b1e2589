//! Tokens that requests carry. Owns whether one is good, and what is said of one that is not: in the answer,
//! and in the log, where the token itself never is.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Moment;
use crate::site::{DebugRefused, Site, debug};

use super::ServerState;

/// What a token is for.
pub(super) struct Purpose {
    /// The request header that holds one.
    pub(super) header: HeaderName,
    /// The same as it is written.
    named: &'static str,
    /// What one begins with.
    form: &'static str,
    /// What makes one.
    command: &'static str,
}

/// To be shown how a page was made.
pub(super) static DEBUG: Purpose = Purpose {
    header: HeaderName::from_static("marbre-debug"),
    named: "Marbre-Debug",
    form: debug::FORM,
    command: "marbre token debug",
};

/// To have the faults that are set for whoever has a token.
pub(super) static CHAOS: Purpose = Purpose {
    header: HeaderName::from_static("marbre-chaos"),
    named: "Marbre-Chaos",
    form: debug::CHAOS,
    command: "marbre token chaos",
};

/// Why a token is not good, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(&'static str);

impl Purpose {
    /// Whether a request carries a token that is good; `None` if it carries none.
    pub(super) fn check(
        &self,
        site: &Site,
        headers: &HeaderMap,
        now: Moment,
    ) -> Option<Result<(), Refused>> {
        let mut values = headers.get_all(&self.header).iter();
        let value = values.next()?;
        let Some(secret) = &site.debug else {
            return Some(Err(Refused("off")));
        };
        let value = values.next().is_none().then_some(value);
        let token = value.and_then(|value| value.to_str().ok());
        let checked = token.map(|token| secret.check_for(self.form, token.trim(), now));
        Some(match checked {
            Some(Ok(_)) => Ok(()),
            Some(Err(DebugRefused::Expired)) => Err(Refused("expired")),
            Some(Err(DebugRefused::Wrong)) | None => Err(Refused("wrong")),
        })
    }

    /// Says in the log that somebody has come with a token that is not good.
    pub(super) fn complain(&self, refused: Refused, state: &ServerState) {
        let Refused(cause) = refused;
        let about = format!("{} {cause}", self.named);
        let now = state.composer.clock().now();
        if let Some(untold) = state.complaints.due(&about, now) {
            let why = match cause {
                "off" => "the site declares no debug_secret in [telemetry]".to_owned(),
                "expired" => format!("its time is over; `{}` makes another", self.command),
                _ => "it was not made with the debug_secret of this site".to_owned(),
            };
            let (count, named) = (untold.0, self.named);
            tracing::warn!(
                cause,
                untold = count,
                "a {named} token is refused: {why}{untold}"
            );
        }
    }
}

impl Refused {
    /// What an answer says of it.
    pub(super) fn header(self) -> HeaderValue {
        let says = format!("refused; cause={}", self.0);
        HeaderValue::try_from(says).expect("a cause is one word")
    }
}
