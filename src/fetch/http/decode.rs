//! The content codings that origins are asked for. Owns their undoing; what comes in another one is left
//! as it is, for the caller to judge.

use std::convert::Infallible;

use futures::FutureExt as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyDataStream, StreamBody};
use tower::{Service as _, service_fn};
use tower_http::decompression::Decompression;

use crate::report::Cause;

use super::{BodyStream, chain, innermost};

/// What is asked for where the caller asks for nothing.
pub(super) const UNDERSTOOD: HeaderValue = HeaderValue::from_static("zstd,gzip,br");

/// The body without its coding; the headers are those of what comes out.
pub(super) fn undone(headers: &mut HeaderMap, body: BodyStream) -> BodyStream {
    if !headers.contains_key(CONTENT_ENCODING) {
        return body;
    }
    let mut coded = Response::new(StreamBody::new(body.map_ok(Frame::data)));
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
        .map_err(|error| {
            // what has become of the body is known better than that it cannot be decoded any more
            let cause = chain(&*error).find_map(|error| error.downcast_ref::<Cause>());
            let undecoded = || Cause::Truncated(innermost(&*error));
            cause.cloned().unwrap_or_else(undecoded)
        })
        .boxed()
}
