//! `Marbre-Chaos: TOKEN`: a page that has the faults which are set for whoever has a token; and what such a
//! page says of itself. Owns the header.
//!
//! Invariant: a token that is not good changes nothing of the page, and the answer says that it is not.

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

use crate::clock::Moment;
use crate::fetch::origin::Drawn;
use crate::site::Site;

use super::ServerState;
use super::token::{CHAOS, Refused};

/// A page that others are not to see.
const NOT_TO_BE_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

/// What came of the header.
pub(super) struct Signed(Option<Result<(), Refused>>);

impl Signed {
    /// What a request says.
    pub(super) fn of(site: &Site, headers: &HeaderMap, now: Moment) -> Self {
        Self(CHAOS.check(site, headers, now))
    }

    /// Whether it has the faults that are for whoever has a token.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.0, Some(Ok(())))
    }

    /// Says in the log that somebody has come with a token that is not good.
    pub(super) fn tell(&self, state: &ServerState) {
        if let Some(Err(refused)) = self.0 {
            CHAOS.complain(refused, state);
        }
    }

    /// The same in the answer. One that names faults that it has has them without a token.
    pub(super) fn put_into(&self, headers: &mut HeaderMap) {
        if let Some(Err(refused)) = self.0 {
            headers.entry(&CHAOS.header).or_insert(refused.header());
        }
    }
}

/// What a page that was drawn for faults says of them.
pub(super) fn mark(headers: &mut HeaderMap, drawn: &Arc<Drawn>) {
    headers.insert(CACHE_CONTROL, NOT_TO_BE_KEPT);
    if let Ok(names) = HeaderValue::try_from(drawn.faults.join(" ")) {
        headers.insert(&CHAOS.header, names);
    }
}
