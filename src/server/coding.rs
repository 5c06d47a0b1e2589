//! Content codings of answers. Owns which answers may be coded, and puts right what the coding
//! leaves wrong; the coding itself is the library's, but for pages: their gzip is put together from
//! pieces that were compressed before, whenever their reader likes nothing better.
//!
//! An answer to a request that asks for no coding is not sent through it: the library's body has
//! room for every coder, and moving that about costs more than composing a cached page.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    ETAG, Entry, VARY,
};
use http::{Extensions, HeaderMap, HeaderValue, Request, StatusCode, Version};
use http_body::Body as _;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use crate::compose::{BodyCoding, PageBody};

/// A page of less is sent as it is: what stands around gzip, and around each of its pieces, is no gain.
const SMALL_PAGE_BYTES: u64 = 512;

/// Which codings a reader takes.
pub(super) struct Accepted(HeaderMap);

impl Accepted {
    /// What a request says.
    pub(super) fn of(request: &HeaderMap) -> Self {
        let mut accepted = HeaderMap::new();
        for value in request.get_all(ACCEPT_ENCODING) {
            accepted.append(ACCEPT_ENCODING, value.clone());
        }
        Self(accepted)
    }

    /// Whether the reader likes nothing better than gzip. What browsers like as well is smaller, but has to
    /// be made for each page.
    pub(super) fn takes_gzip_gladly(&self) -> bool {
        let (mut gzip, mut best, mut rest) = (None, 0, None);
        let values = self.0.get_all(ACCEPT_ENCODING).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let (name, q) = item.split_once(';').unwrap_or((item, "q=1"));
            let (name, Some(q)) = (name.trim(), thousandths(q.trim())) else {
                continue;
            };
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                gzip = gzip.max(Some(q));
            } else if name == "*" {
                rest = Some(q);
            } else {
                best = best.max(q);
            }
        }
        gzip.or(rest).is_some_and(|q| q > 0 && q >= best)
    }

    /// The answer in the coding that the reader likes best.
    pub(super) async fn code(self, mut answer: Response) -> Response {
        let body = answer.extensions_mut().remove::<BodyCoding>();
        if let Some(body) = body
            && !self.0.is_empty()
            && may_be_coded().should_compress(&answer)
            && !is_coded_or_part(answer.headers())
            && self.takes_gzip_gladly()
        {
            return stitched(answer, &body);
        }
        if self.0.is_empty() {
            if may_be_coded().should_compress(&answer) && !is_coded_or_part(answer.headers()) {
                add_vary(answer.headers_mut());
            }
            return answer;
        }
        let status = answer.status();
        let had_coding = answer.headers().contains_key(CONTENT_ENCODING);
        let mut asked = Request::new(());
        *asked.headers_mut() = self.0;
        let mut answer = Some(answer);
        let service = service_fn(move |_: Request<()>| {
            let answer = answer.take().expect("it is asked once");
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let coding = CompressionLayer::new().compress_when(may_be_coded());
        let Ok(coded) = coding.layer(service).oneshot(asked).await;
        let mut coded = coded.map(Body::new);
        // a reader who takes no coding at all, not even none, gets the answer as it is: the coding
        // says 406 when the work has been done, and sends the body all the same
        *coded.status_mut() = status;
        if !had_coding && coded.headers().contains_key(CONTENT_ENCODING) {
            weaken(coded.headers_mut());
        }
        coded
    }
}

/// A page that can still be coded as its reader likes. Whoever takes no coding needs nothing of what it
/// takes to agree on one.
pub(super) fn page(mut body: PageBody, request: &HeaderMap) -> Response {
    let coding = request.contains_key(ACCEPT_ENCODING).then(|| body.coding());
    let mut page = Response::new(Body::new(body));
    if let Some(coding) = coding {
        page.extensions_mut().insert(coding);
    }
    page
}

/// A page whose pieces are put together as gzip, unless it is too small to gain.
fn stitched(mut answer: Response, body: &BodyCoding) -> Response {
    let is_small = answer.body().size_hint().exact() < Some(SMALL_PAGE_BYTES);
    let is_known = answer.body().size_hint().exact().is_some();
    add_vary(answer.headers_mut());
    if !(is_known && is_small) && body.gzip() {
        let headers = answer.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.remove(CONTENT_LENGTH);
        headers.remove(ACCEPT_RANGES);
        weaken(headers);
    }
    answer
}

/// Whether an answer is worth coding, has content, and whoever made it lets it be coded
/// (RFC 9110, 7.7).
fn may_be_coded() -> impl Predicate {
    DefaultPredicate::new().and(
        |status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
            let has_content = !status.is_informational()
                && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            let values = headers.get_all(CACHE_CONTROL).iter();
            let mut directives = values.filter_map(|value| value.to_str().ok());
            has_content
                && !directives.any(|value| value.to_ascii_lowercase().contains("no-transform"))
        },
    )
}

fn is_coded_or_part(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_ENCODING) || headers.contains_key(CONTENT_RANGE)
}

/// Another reader might get it coded.
fn add_vary(headers: &mut HeaderMap) {
    const NAME: HeaderValue = HeaderValue::from_static("accept-encoding");
    match headers.entry(VARY) {
        Entry::Vacant(vary) => _ = vary.insert(NAME),
        Entry::Occupied(mut vary) => {
            let names = |value: &HeaderValue| {
                let value = value.as_bytes().to_ascii_lowercase();
                memchr::memmem::find(&value, NAME.as_bytes()).is_some()
            };
            if !vary.iter().any(names) {
                vary.append(NAME);
            }
        }
    }
}

/// A weight in thousandths (RFC 9110, 12.4.2); `None` if it is none.
fn thousandths(q: &str) -> Option<u16> {
    let q = q.strip_prefix("q=").or_else(|| q.strip_prefix("Q="))?;
    let (whole, part) = q.split_once('.').unwrap_or((q, ""));
    let is_digits = part.bytes().all(|digit| digit.is_ascii_digit());
    if !matches!(whole, "0" | "1") || part.len() > 3 || !is_digits {
        return None;
    }
    let digits = format!("{whole}{part:0<3}");
    digits.parse().ok().filter(|q| *q <= 1000)
}

/// The validator of the bytes before a coding is not one of the bytes after it (RFC 9110, 8.8.3.3).
fn weaken(headers: &mut HeaderMap) {
    let weak = headers.get(ETAG).and_then(|tag| {
        let strong = tag.as_bytes().starts_with(b"\"").then_some(tag)?;
        HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat()).ok()
    });
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer that is worth coding, with one more header.
    fn answer(status: u16, name: &'static str, value: &'static str) -> Response {
        Response::builder()
            .status(status)
            .header("content-type", "text/html")
            .header(name, value)
            .body(Body::from("x".repeat(1000)))
            .unwrap()
    }

    #[tokio::test]
    async fn an_answer_varies_alike_whether_its_reader_says_nothing_or_takes_no_coding() {
        for (status, name, value) in [
            (200, "x-other", "x"),
            (200, "vary", "cookie"),
            (200, "vary", "Cookie, Accept-Encoding"),
            (200, "content-encoding", "br"),
            (206, "content-range", "bytes 0-999/2000"),
            (200, "cache-control", "no-transform"),
            (200, "content-type", "image/png"),
            (404, "etag", "\"x\""),
        ] {
            let says_nothing = Accepted::of(&HeaderMap::new());
            let silent = says_nothing.code(answer(status, name, value)).await;
            let mut identity = HeaderMap::new();
            identity.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let asked = Accepted::of(&identity).code(answer(status, name, value));
            let asked = asked.await;
            assert_eq!(silent.status(), asked.status(), "{name}: {value}");
            assert_eq!(silent.headers(), asked.headers(), "{name}: {value}");
        }
    }
}
