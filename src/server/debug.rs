//! `Marbre-Debug: TOKEN`: a page that says how it was made, for whoever has a token. Owns the header, and
//! how the story of the page is put into its answer: as a comment at its end, or in its place as JSON.
//!
//! Invariants: a token that is not good changes nothing of the page, and the answer says that it is not;
//! what is shown by a token that is good is never kept by anybody.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;

use crate::clock::Moment;
use crate::report::story;
use crate::site::Site;

use super::ServerState;
use super::answered::Asked;
use super::token::{DEBUG, Refused};

/// An answer that is for whoever has the token, and only now.
const NOT_TO_BE_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

const SHOWN: HeaderValue = HeaderValue::from_static("shown");

/// A document may be of a type in which a comment would be a fault.
const NOT_HTML: HeaderValue = HeaderValue::from_static("refused; cause=not-html");

/// What is said where no page was begun.
const NOTHING: &str = "no page was begun: there was too much to do, and no snapshot of it";

/// Whether a request has the header, whatever it says.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(&DEBUG.header)
}

/// What came of the header.
pub(super) enum Debugging {
    /// It is not there.
    Unasked,
    /// It holds no token that is good.
    Refused(Refused),
    /// How the page is made is shown.
    Shown {
        /// As JSON in the page's place.
        as_json: bool,
    },
}

impl Debugging {
    /// What a request says, and whether it may.
    pub(super) fn of(site: &Site, headers: &HeaderMap, now: Moment) -> Self {
        match DEBUG.check(site, headers, now) {
            None => Self::Unasked,
            Some(Ok(())) => Self::Shown {
                as_json: accepts_json(headers),
            },
            Some(Err(refused)) => Self::Refused(refused),
        }
    }

    /// Says in the log that somebody has come with a token that is not good.
    pub(super) fn tell(&self, state: &ServerState) {
        if let Self::Refused(refused) = self {
            DEBUG.complain(*refused, state);
        }
    }

    /// The answer with the story of its page, or with why there is none.
    pub(super) async fn put_into(
        &self,
        mut answer: Response,
        asked: Option<&Arc<Asked>>,
        method: &Method,
    ) -> Response {
        let as_json = match self {
            Self::Unasked => return answer,
            Self::Refused(refused) => {
                answer.headers_mut().insert(&DEBUG.header, refused.header());
                return answer;
            }
            Self::Shown { as_json } => *as_json,
        };
        let headers = answer.headers_mut();
        let is_shown = as_json || holds_comments(headers);
        headers.insert(&DEBUG.header, if is_shown { SHOWN } else { NOT_HTML });
        headers.insert(CACHE_CONTROL, NOT_TO_BE_KEPT);
        headers.remove(ETAG);
        let Some(asked) = asked.filter(|_| is_shown && method != Method::HEAD) else {
            return answer;
        };
        headers.remove(CONTENT_LENGTH);
        match as_json {
            true => as_json_instead(answer, asked).await,
            false => {
                let asked = Arc::clone(asked);
                answer.map(|body| Body::new(Commented::new(body, asked)))
            }
        }
    }
}

/// Whether what follows such a page may be a comment.
fn holds_comments(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        kind.starts_with(b"text/html") || kind.starts_with(b"application/xhtml+xml")
    })
}

/// Whether JSON is asked for by its name, and not just anything.
fn accepts_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter();
    let mut kinds = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| kind.eq_ignore_ascii_case("application/json"))
}

async fn as_json_instead(answer: Response, asked: &Asked) -> Response {
    let (mut head, body) = answer.into_parts();
    // the page is made to its end, within its budget, and nobody reads it
    drop(body.collect().await);
    let text = match asked.story() {
        Some(story) => serde_json::to_string_pretty(story),
        None => serde_json::to_string_pretty(&serde_json::json!({ "error": NOTHING })),
    };
    let text = text.expect("what is told has string keys") + "\n";
    head.status = StatusCode::OK;
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(CONTENT_TYPE, json);
    Response::from_parts(head, Body::from(text))
}

/// A page, and after it the comment that says how it was made.
struct Commented {
    page: Body,
    asked: Arc<Asked>,
    is_over: bool,
}

impl Commented {
    fn new(page: Body, asked: Arc<Asked>) -> Self {
        Self {
            page,
            asked,
            is_over: false,
        }
    }
}

impl http_body::Body for Commented {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.page).poll_frame(cx);
        if !matches!(polled, Poll::Ready(None)) {
            return polled;
        }
        self.is_over = true;
        let text = self.asked.story().map(|story| story.text());
        let comment = story::comment(text.as_deref().unwrap_or(NOTHING));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(comment)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
