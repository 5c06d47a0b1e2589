//! The content codings that origins are asked for. Owns their undoing; what comes in another one is left
//! as it is, for the caller to judge.

use std::convert::Infallible;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use tower::{Service as _, service_fn};
use tower_http::decompression::Decompression;

use crate::report::Cause;

use super::{in_pieces, innermost};

/// What is asked for where the caller asks for nothing.
pub(super) const UNDERSTOOD: HeaderValue = HeaderValue::from_static("zstd,gzip,br");

/// The body without its coding; the headers are those of what comes out.
pub(super) fn undone(
    headers: &mut HeaderMap,
    body: Incoming,
) -> BoxStream<'static, Result<Bytes, Cause>> {
    if !headers.contains_key(CONTENT_ENCODING) {
        return in_pieces(body);
    }
    let mut coded = Response::new(body);
    *coded.headers_mut() = std::mem::take(headers);
    // what undoes codings is made to stand around a client: this one has answered already
    let mut coded = Some(coded);
    let answered = service_fn(move |_: Request<()>| {
        let coded = coded.take().expect("it is asked once");
        std::future::ready(Ok::<_, Infallible>(coded))
    });
    let decoded = Decompression::new(answered).call(Request::new(()));
    let Ok(decoded) = decoded.now_or_never().expect("it is at hand");
    let (parts, body) = decoded.into_parts();
    *headers = parts.headers;
    let pieces = BodyDataStream::new(body);
    pieces
        .map_err(|error| Cause::Truncated(innermost(&*error)))
        .boxed()
}
