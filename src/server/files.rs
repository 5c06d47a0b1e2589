//! `[[static]]` folders. Owns which paths lead to files; ranges, validators and precompressed
//! variants are `tower-http`'s.
//!
//! Invariant: no path leads out of the folder, and none with a hidden segment is served. Links
//! inside the folder are followed: what they point at is the site's own choice.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderValue, Request, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use crate::compose::Edition;

use super::error_page;

pub(super) async fn answer(
    edition: &Edition,
    index: usize,
    params: &[(String, String)],
    mut request: Request<Body>,
) -> Response {
    let folder = &edition.site.statics[index];
    let path = params
        .first()
        .map(|(_, path)| path.as_str())
        .unwrap_or_default();
    let Some(uri) = uri_within(path) else {
        return error_page::not_found(&edition.site, StatusCode::NOT_FOUND);
    };
    *request.uri_mut() = uri;
    let files = ServeDir::new(&folder.dir)
        .append_index_html_on_directories(true)
        // where a folder without its slash redirects to
        .redirect_path_prefix(folder.route.as_str())
        .precompressed_br()
        .precompressed_gzip()
        .precompressed_zstd();
    let Ok(served) = files.oneshot(request).await;
    let mut response = served.into_response();
    if response.status() == StatusCode::NOT_FOUND {
        return error_page::not_found(&edition.site, StatusCode::NOT_FOUND);
    }
    let is_unchanged = response.status() == StatusCode::NOT_MODIFIED;
    if let Some(value) = folder
        .cache_control
        .as_ref()
        .filter(|_| response.status().is_success() || is_unchanged)
    {
        response.headers_mut().insert(CACHE_CONTROL, value.clone());
    }
    if is_unchanged {
        // whoever keeps the file replaces what is said of it with this (RFC 9110, 15.4.5)
        let vary = HeaderValue::from_static("accept-encoding");
        response.headers_mut().insert(VARY, vary);
    }
    response
}

/// The path below the folder, unless a segment of it is hidden (`.git`, `.env`; `.well-known` is
/// meant to be seen).
fn uri_within(path: &str) -> Option<Uri> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let hidden = |segment: &str| segment.starts_with('.') && segment != ".well-known";
    if decoded.split(['/', '\\']).any(hidden) || decoded.contains('\0') {
        return None;
    }
    format!("/{path}").parse().ok()
}
