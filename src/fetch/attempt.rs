//! One attempt: a request becomes a whole, checked answer. Owns the rules by which an answer is
//! usable; the time it may take is the caller's.

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::uri::Uri;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::fragment::Limits;
use crate::report::{Cause, Trail};

use super::inflate;
use super::origin::{BodyStream, Origin, OriginRequest, OriginResponse, Whom};

/// Redirects followed within one attempt; a service that needs more is misconfigured.
const REDIRECTS_MAX: usize = 3;

/// What the caller can use.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'l> {
    /// Size and media types.
    pub limits: &'l Limits,
    /// Whether JSON is expected rather than HTML.
    pub json: bool,
    /// What an answer without content is to the caller.
    pub without_content: WithoutContent,
    /// Whether the caller has a copy and asks only for what differs from it (RFC 9110, 13.1).
    pub conditional: bool,
}

/// What an answer without content is: a redirect, a refusal, "there is no such thing".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutContent {
    /// A verdict on the page: the fragment is its core.
    Verdict,
    /// Nothing to show, which is as good an answer as any: not every story has a slideshow.
    Absence,
    /// A failure: the fragment is required.
    Failure,
    /// Nothing to show if the origin says so expressly (204, 205); a failure otherwise.
    Blank,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Something to show.
    Content(Content),
    /// The reader is to go elsewhere.
    Redirect(StatusCode, HeaderValue, HeaderMap),
    /// There is no page, and the origin is sure of it: 401, 403, 404, 410 or 451.
    Refused(StatusCode, HeaderMap),
    /// There is nothing to show in this place: 204, 404 or 410.
    Absent(HeaderMap),
    /// What the caller has is right still: 304.
    NotModified(HeaderMap),
}

/// A usable body and its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// 200, or another of its class that comes with content.
    pub status: StatusCode,
    /// Headers as received.
    pub headers: HeaderMap,
    /// The whole body, decoded.
    pub body: Bytes,
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Path and query, encoded.
    pub target: &'a str,
    /// The headers of the requests of one attempt, which is a span of the trace.
    pub headers: &'a (dyn Fn(u64) -> HeaderMap + Sync),
    /// Who is told of each attempt.
    pub trail: &'a Trail,
    /// For whom.
    pub whom: Whom<'a>,
}

/// No usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    /// `Retry-After`, where the answer that is of no use has one.
    pub(super) retry_after: Option<HeaderValue>,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            retry_after: None,
        }
    }
}

/// Asks once, following redirects where they may be followed.
pub(super) async fn run(
    origin: &dyn Origin,
    ask: &Ask<'_>,
    expect: &Expect<'_>,
    span_id: u64,
) -> Result<Answer, Refusal> {
    let verdict = expect.without_content == WithoutContent::Verdict;
    let whom = Whom {
        attempt: Some((ask.trail, span_id)),
        ..ask.whom
    };
    let send = |target: String| {
        let request = OriginRequest::get(target, (ask.headers)(span_id));
        origin.send_for(request, whom)
    };
    let mut response = send(ask.target.to_owned()).await?;
    if verdict || !leads_elsewhere(response.status) {
        return check(response, expect).await;
    }
    let mut target = ask.target.to_owned();
    for _ in 0..REDIRECTS_MAX {
        target = same_host_target(&response, &target)?;
        response = send(target.clone()).await?;
        if !leads_elsewhere(response.status) {
            return check(response, expect).await;
        }
    }
    Err(Cause::Redirect(format!("more than {REDIRECTS_MAX}")).into())
}

/// Of the 3xx, 304 leads nowhere.
fn leads_elsewhere(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}

async fn check(mut response: OriginResponse, expect: &Expect<'_>) -> Result<Answer, Refusal> {
    let status = response.status;
    let verdict = expect.without_content == WithoutContent::Verdict;
    let absence = expect.without_content == WithoutContent::Absence;
    match status.as_u16() {
        // what nobody knows by name is what its class says (RFC 9110, 15); 206 and 226 are parts and
        // differences, for which nobody has asked
        200..=203 | 207..=225 | 227..=299 => {}
        204 | 404 | 410 if absence => return Ok(Answer::Absent(response.headers)),
        204 | 205 if expect.without_content == WithoutContent::Blank => {
            return Ok(Answer::Absent(response.headers));
        }
        204 | 205 => return Err(Cause::Empty.into()),
        304 if expect.conditional => return Ok(Answer::NotModified(response.headers)),
        300..=303 | 307 | 308 if verdict => {
            let location = response.headers.get(LOCATION);
            let location = location.ok_or_else(|| Cause::Redirect("without Location".into()))?;
            let location = location.clone();
            return Ok(Answer::Redirect(status, location, response.headers));
        }
        401 | 403 | 404 | 410 | 451 if verdict => {
            return Ok(Answer::Refused(status, response.headers));
        }
        code => {
            return Err(Refusal {
                cause: Cause::Status(code),
                retry_after: response.headers.get(RETRY_AFTER).cloned(),
            });
        }
    }
    if response.headers.contains_key(CONTENT_ENCODING) {
        response.body = inflate::undone(&mut response.headers, response.body);
        check_coding(&response.headers)?;
    }
    check_type(&response.headers, expect)?;
    let size_max = expect.limits.size_max;
    let length = response
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let body = read(response.body, length, size_max).await?;
    Ok(Answer::Content(Content {
        status,
        headers: response.headers,
        body: sound(body, expect.limits)?,
    }))
}

/// A whole body as text, unless there is too little of it.
pub fn sound(body: Bytes, limits: &Limits) -> Result<Bytes, Cause> {
    if limits.take_anything() {
        return Ok(body);
    }
    if body.is_empty() {
        return Err(Cause::Empty);
    }
    if body.len() < limits.size_min {
        return Err(Cause::TooSmall(limits.size_min));
    }
    text(body)
}

/// Refuses a body whose coding was not undone: the client takes the header away when it decodes.
fn check_coding(headers: &HeaderMap) -> Result<(), Cause> {
    let coding = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .find(|value| *value != "identity");
    coding.map_or(Ok(()), |coding| {
        let coding = String::from_utf8_lossy(coding.as_bytes());
        Err(Cause::Unreadable(format!("content coding {coding}")))
    })
}

/// Refuses what is neither an accepted media type nor UTF-8. An answer without a type is taken at
/// its word: small services often send none.
fn check_type(headers: &HeaderMap, expect: &Expect<'_>) -> Result<(), Cause> {
    let Some(value) = headers
        .get(CONTENT_TYPE)
        .filter(|_| !expect.limits.take_anything())
    else {
        return Ok(());
    };
    let wrong = || Cause::ContentType(String::from_utf8_lossy(value.as_bytes()).into_owned());
    let value = value.to_str().map_err(|_| wrong())?.to_ascii_lowercase();
    let mut fields = value.split(';').map(str::trim);
    let media_type = fields.next().unwrap_or_default();
    let accepted = if expect.limits.accept.is_empty() {
        match expect.json {
            true => {
                matches!(media_type, "application/json" | "text/json")
                    || media_type.ends_with("+json")
            }
            false => matches!(media_type, "text/html" | "application/xhtml+xml"),
        }
    } else {
        expect
            .limits
            .accept
            .iter()
            .any(|accept| accept == media_type)
    };
    let charset = fields
        .find_map(|f| f.strip_prefix("charset="))
        .unwrap_or("utf-8");
    let readable = matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii");
    if accepted && readable {
        Ok(())
    } else {
        Err(wrong())
    }
}

async fn read(mut body: BodyStream, length: Option<usize>, max: usize) -> Result<Bytes, Cause> {
    if length.is_some_and(|length| length > max) {
        return Err(Cause::TooLarge(max));
    }
    let Some(first) = body.next().await.transpose()? else {
        return Ok(Bytes::new());
    };
    if first.len() > max {
        return Err(Cause::TooLarge(max));
    }
    let Some(second) = body.next().await.transpose()? else {
        return Ok(first);
    };
    let mut whole =
        BytesMut::with_capacity(length.unwrap_or(2 * (first.len() + second.len())).min(max));
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if whole.len() + chunk.len() > max {
            return Err(Cause::TooLarge(max));
        }
        whole.extend_from_slice(&chunk);
        next = body.next().await.transpose()?;
    }
    Ok(whole.freeze())
}

/// Without a byte order mark, and certainly UTF-8: the page says that it is.
fn text(body: Bytes) -> Result<Bytes, Cause> {
    let text = match simdutf8::basic::from_utf8(&body) {
        Ok(text) => text,
        // where it ends is known to the slower one
        Err(_) => std::str::from_utf8(&body).map_err(|e| Cause::Unreadable(e.to_string()))?,
    };
    match text.starts_with('\u{feff}') {
        true => Ok(body.slice('\u{feff}'.len_utf8()..)),
        false => Ok(body),
    }
}

/// Where a redirect leads, if that is on the same origin: a path, or an absolute URL with the
/// authority that was asked.
fn same_host_target(response: &OriginResponse, asked: &str) -> Result<String, Cause> {
    let location = response.headers.get(LOCATION).and_then(|v| v.to_str().ok());
    let location = location.ok_or_else(|| Cause::Redirect("without Location".into()))?;
    let elsewhere = || Cause::Redirect(format!("to another host, {location}"));
    let target = if location.starts_with("//") {
        return Err(elsewhere());
    } else if location.starts_with('/') {
        location.to_owned()
    } else if location.starts_with('?') {
        format!("{}{location}", asked.split('?').next().unwrap_or(asked))
    } else {
        let uri: Uri = location.parse().map_err(|_| elsewhere())?;
        let same = uri
            .authority()
            .is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(&response.authority));
        if !same {
            return Err(elsewhere());
        }
        uri.path_and_query()
            .map_or_else(|| "/".to_owned(), |pq| pq.as_str().to_owned())
    };
    Ok(target.split('#').next().unwrap_or_default().to_owned())
}
