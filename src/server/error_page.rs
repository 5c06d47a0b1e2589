//! Pages for what cannot be shown. Owns their status, headers and bodies; the site's own pages
//! where it has declared them, a plain built-in one otherwise.

use std::any::Any;

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::clock::Instant;
use crate::report::Throttle;
use crate::site::Site;

#[derive(Template)]
#[template(path = "builtin/error.html")]
struct BuiltIn<'t> {
    title: &'t str,
    text: &'t str,
    status: u16,
}

/// The page is not there because its core cannot be had: 503 with `Retry-After`.
pub(crate) fn unavailable(site: &Site) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = match &site.error_page {
        Some(page) => page_of(status, page.clone()),
        None => built_in(
            status,
            "This page cannot be shown at the moment",
            "Please try again in a moment.",
        ),
    };
    let seconds = site.retry_after.as_secs().max(1);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// There is no such page: 404, or 410 if that is what the core said.
pub(crate) fn not_found(site: &Site, status: StatusCode) -> Response {
    match &site.not_found_page {
        Some(page) => page_of(status, page.clone()),
        None => built_in(
            status,
            "There is no such page",
            "The address may be wrong, or the page was withdrawn.",
        ),
    }
}

/// Whatever answered has panicked: 500.
pub(super) fn panicked(panic: &(dyn Any + Send), complaints: &Throttle, now: Instant) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    if let Some(untold) = complaints.due(&format!("panic {text}"), now) {
        let count = untold.0;
        tracing::error!(text, untold = count, "an answer panicked: {text}{untold}");
    }
    let mut response = Response::new(Body::from("Service panicked"));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Anything else, with one sentence that says what is the matter.
pub(super) fn plain(_site: &Site, status: StatusCode, text: &str) -> Response {
    built_in(status, status.canonical_reason().unwrap_or("Error"), text)
}

fn built_in(status: StatusCode, title: &str, text: &str) -> Response {
    let page = BuiltIn {
        title,
        text,
        status: status.as_u16(),
    };
    let html = page
        .render()
        .expect("a template of strings and a number always renders");
    page_of(status, Bytes::from(html))
}

fn page_of(status: StatusCode, html: Bytes) -> Response {
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
