//! `[[proxy]]` paths, passed through to an origin and streamed both ways. Owns which headers cross,
//! the limits on either body, and the hand-over of connections that leave HTTP (WebSockets).
//!
//! Invariant: hop-by-hop headers (RFC 9110, 7.6.1) stay on the hop they belong to, and a request
//! for one path never reaches another.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::compose::Edition;
use crate::fetch::origin::{BodyStream, OriginRequest, OriginResponse};
use crate::report::Cause;
use crate::site::Proxy;

use super::{Peer, ServerState, error_page};

static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

pub(super) async fn answer(
    state: &ServerState,
    edition: Arc<Edition>,
    index: usize,
    params: &[(String, String)],
    mut request: Request<Body>,
) -> Response {
    let proxy = &edition.site.proxies[index];
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > state.body_bytes_max) {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return error_page::plain(&edition.site, status, "the request's body is too large");
    }
    let protocol = upgrade(request.headers());
    let reader = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let fault = Arc::new(OnceLock::new());
    let sent = forward(state, proxy, params, request, protocol.as_ref(), &fault);
    let answered = timeout(proxy.timeout, edition.fetcher.pass(proxy.origin, sent)).await;
    let mut answered = match answered.unwrap_or(Err(Cause::Timeout)) {
        Ok(answered) => answered,
        // the origin is not to blame for a request that it could not be given
        Err(_) if let Some((status, text)) = fault.get() => {
            return error_page::plain(&edition.site, *status, text);
        }
        Err(cause) => return failed(&edition, proxy, &cause),
    };
    if answered.status == StatusCode::SWITCHING_PROTOCOLS && reader.is_none() {
        let cause = Cause::Transport("it changed the protocol unasked".to_owned());
        return failed(&edition, proxy, &cause);
    }
    if let (Some(reader), Some(origin)) = (reader, answered.upgrade.take()) {
        state.tasks.spawn(async move {
            if let (Ok(reader), Ok(mut origin)) = (reader.await, origin.await) {
                // either side may end it; both are then closed
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(reader), &mut origin).await;
            }
        });
    }
    back(answered, protocol, proxy.idle_timeout)
}

fn failed(edition: &Edition, proxy: &Proxy, cause: &Cause) -> Response {
    let origin = &edition.site.origin(proxy.origin).name;
    tracing::warn!(route = proxy.route, origin, %cause, "proxied request failed at {origin}: {cause}");
    if *cause == Cause::Busy {
        return error_page::unavailable(&edition.site);
    }
    let timed_out = *cause == Cause::Timeout;
    let status = if timed_out {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::BAD_GATEWAY
    };
    error_page::plain(
        &edition.site,
        status,
        "the service behind this address did not answer",
    )
}

fn forward(
    state: &ServerState,
    proxy: &Proxy,
    params: &[(String, String)],
    request: Request<Body>,
    protocol: Option<&HeaderValue>,
    fault: &Fault,
) -> OriginRequest {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    strip_hop_by_hop(&mut headers);
    // HTTP/2 may send each cookie by itself, HTTP/1.1 may not (RFC 9113, 8.2.3)
    join(&mut headers, COOKIE, b"; ");
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    let host = headers
        .remove(HOST)
        .or_else(|| HeaderValue::try_from(parts.uri.authority()?.as_str()).ok());
    if let Some(host) = host {
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
    }
    headers.insert(
        HeaderName::from_static("x-forwarded-proto"),
        HeaderValue::from_static("http"),
    );
    if let Some(Peer(peer)) = parts.extensions.get::<Peer>() {
        add_forwarded_for(&mut headers, &peer.ip().to_string());
    }
    let mut target = match &proxy.path {
        None => parts.uri.path().to_owned(),
        Some(template) => fill(template, params),
    };
    if let Some(query) = parts.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let bodiless = http_body::Body::is_end_stream(&body)
        || matches!(parts.method, Method::GET | Method::HEAD if !headers.contains_key(CONTENT_LENGTH));
    let body = (!bodiless).then(|| {
        bounded(
            body,
            state.body_bytes_max,
            state.body_timeout,
            Arc::clone(fault),
        )
    });
    OriginRequest {
        method: parts.method,
        target,
        headers,
        body,
        raw: true,
    }
}

/// Puts the route's parameters, as they were written, into the declared path. What looks like a
/// parameter in a value is not one.
fn fill(template: &str, params: &[(String, String)]) -> String {
    let mut path = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{')
        && let Some((name, after)) = after.split_once('}')
    {
        path.push_str(before);
        let name = name.trim_start_matches('*');
        let value = params.iter().find(|(param, _)| param == name);
        path.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    path + rest
}

fn add_forwarded_for(headers: &mut HeaderMap, address: &str) {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    if let Ok(address) = HeaderValue::try_from(address) {
        headers.append(FORWARDED_FOR, address);
    }
    join(headers, FORWARDED_FOR, b", ");
}

/// Makes one line of a header that has several.
fn join(headers: &mut HeaderMap, name: HeaderName, separator: &[u8]) {
    let lines: Vec<&[u8]> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&lines.join(separator))
    {
        headers.insert(name, line);
    }
}

/// The protocol that the reader wants to change to, if it does. No other than WebSocket: whoever
/// changes to `h2c` could ask the origin for paths that are not passed through.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE).filter(|_| asks)?;
    protocol
        .as_bytes()
        .eq_ignore_ascii_case(b"websocket")
        .then(|| protocol.clone())
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn back(answered: OriginResponse, protocol: Option<HeaderValue>, idle: Duration) -> Response {
    let mut response = Response::new(Body::from_stream(idle_bounded(answered.body, idle)));
    *response.status_mut() = answered.status;
    *response.headers_mut() = answered.headers;
    strip_hop_by_hop(response.headers_mut());
    if answered.status == StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
    }
    response
}

/// A body that ends with an error after a silence.
fn idle_bounded(body: BodyStream, idle: Duration) -> impl Stream<Item = Result<Bytes, Cause>> {
    stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match timeout(idle, body.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(body))),
            Ok(Some(Err(cause))) => Some((Err(cause), None)),
            Ok(None) => None,
            Err(_) => Some((Err(Cause::Timeout), None)),
        }
    })
    // content codings look again after the end
    .fuse()
}

/// What the reader did wrong while its request's body was being passed on, if it did.
type Fault = Arc<OnceLock<(StatusCode, &'static str)>>;

/// A request body that may be neither larger nor more silent than this.
fn bounded(body: Body, bytes_max: u64, silence_max: Duration, fault: Fault) -> BodyStream {
    let chunks = body
        .into_data_stream()
        .map(|chunk| chunk.map_err(|error| Cause::Transport(error.to_string())))
        .boxed();
    let mut seen = 0;
    idle_bounded(chunks, silence_max)
        .map(move |chunk| {
            let chunk = chunk.and_then(|chunk| {
                seen += chunk.len() as u64;
                let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
                if seen > bytes_max {
                    Err(Cause::TooLarge(max))
                } else {
                    Ok(chunk)
                }
            });
            if let Err(cause) = &chunk {
                let _ = fault.set(blame(cause));
            }
            chunk
        })
        .boxed()
}

fn blame(cause: &Cause) -> (StatusCode, &'static str) {
    if matches!(cause, Cause::TooLarge(_)) {
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request's body is too large",
        )
    } else if *cause == Cause::Timeout {
        (
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not come in time",
        )
    } else {
        (StatusCode::BAD_REQUEST, "the request's body is broken")
    }
}
