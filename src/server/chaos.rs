//! `Marbre-Chaos: TOKEN`: a page that has the faults which are set for whoever has a token; and what such a
//! page says of itself. Owns the header. Invariant: a token that is not good changes nothing.

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Moment;
use crate::fetch::origin::Drawn;
use crate::site::{Site, debug};

/// The request header that holds a token, and the answer's that names the faults that the page has and
/// others have not.
pub(super) const CHAOS: HeaderName = HeaderName::from_static("marbre-chaos");

/// A page that others are not to see.
const NOT_TO_BE_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

/// Whether a request carries a token that is good.
pub(super) fn is_signed(site: &Site, headers: &HeaderMap, now: Moment) -> bool {
    let Some(secret) = &site.debug else {
        return false;
    };
    let mut values = headers.get_all(CHAOS).iter();
    let value = values.next().filter(|_| values.next().is_none());
    let token = value.and_then(|value| value.to_str().ok());
    token.is_some_and(|token| secret.check_for(debug::CHAOS, token.trim(), now).is_ok())
}

/// What a page that was drawn for faults says of them.
pub(super) fn mark(headers: &mut HeaderMap, drawn: &Arc<Drawn>) {
    headers.insert(CACHE_CONTROL, NOT_TO_BE_KEPT);
    if let Ok(names) = HeaderValue::try_from(drawn.faults.join(" ")) {
        headers.insert(CHAOS, names);
    }
}
