//! `[[proxy]]` paths, passed through to an origin and streamed both ways. Owns which headers cross,
//! the limits on either body, and connections that leave HTTP (WebSockets).
//!
//! Invariants: hop-by-hop headers (RFC 9110, 7.6.1) stay on the hop they belong to; a request for
//! one path never reaches another; what has left HTTP keeps its place among the connections of the
//! listener and among the streams of the origin; what could go on for ever ends when the server
//! stops.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use crate::cache::State;
use crate::compose::Edition;
use crate::compose::weave::document::Wanted;
use crate::fetch::origin::{BodyStream, Duplex, OriginRequest, OriginResponse};
use crate::fetch::{hop, inflate};
use crate::fragment::quantity::show_size;
use crate::report::Cause;
use crate::site::Proxy;
use crate::site::markup::Language;

use super::accept::Who;
use super::answered::Asked as Answered;
use super::reader::REHEARSE;
use super::token;
use super::woven::{Weaving, is_woven};
use super::{ServerState, error_page};

/// A stopping server waits no longer for an answer that has fallen silent and that may have no end.
const SILENCE_AT_STOP: Duration = Duration::from_secs(1);
const EVENT_STREAM: &[u8] = b"text/event-stream";
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

pub(super) async fn answer(
    state: &ServerState,
    who: &Arc<Who>,
    edition: Arc<Edition>,
    index: usize,
    params: &[(String, String)],
    mut request: Request<Body>,
    answered: Option<&Arc<Answered>>,
) -> Response {
    let proxy = &edition.site.proxies[index];
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > state.body_bytes_max) {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let text = too_large(state.body_bytes_max);
        return error_page::plain(&edition.site, status, &text);
    }
    let protocol = upgrade(request.headers());
    let reader = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let fault = Arc::new(OnceLock::new());
    let (turn, turns) = watch::channel(Turn::Origin);
    let upload = Upload {
        fault: Arc::clone(&fault),
        turn,
    };
    let (head, body) = request.into_parts();
    let mut sent = forward(
        state,
        who,
        proxy,
        params,
        (head.clone(), body),
        protocol.as_ref(),
        upload,
    );
    let weaving = match protocol {
        None => Weaving::of(state, (who, answered), &edition, proxy, &head, &mut sent),
        Some(_) => None,
    };
    let copy = weaving.as_ref().and_then(|weaving| weaving.copy(false));
    let mut weaving = match (weaving, copy) {
        (Some(weaving), Some(copy)) => {
            if copy.state == State::Stale
                && let Some(renewal) = weaving.renewal(proxy.timeout)
            {
                renew(state, &edition, index, renewal, &sent);
            }
            return weaving.of_copy(copy).await;
        }
        (Some(mut weaving), None) => {
            // as long again is left to ask after all
            if let Some(copy) = weaving.shared(proxy.timeout / 2).await {
                return weaving.of_copy(copy).await;
            }
            weaving.ask_about_copy(&mut sent);
            Some(weaving)
        }
        (None, _) => None,
    };
    let answered = tokio::select! {
        answered = edition.fetcher.pass(proxy.origin, sent) => answered,
        () = origin_overdue(turns, proxy.timeout) => Err(Cause::Timeout),
    };
    let mut answered = match answered {
        Ok(answered) => answered,
        // the origin is not to blame for a request that it could not be given
        Err(_) if let Some((status, text)) = fault.get() => {
            let refused = error_page::plain(&edition.site, *status, text);
            return without_page(weaving, refused).await;
        }
        Err(cause) => {
            if let Some(weaving) = &mut weaving {
                weaving.brings_nothing(cause.clone());
            }
            let copy = weaving.as_ref().and_then(|weaving| weaving.copy(true));
            return match (weaving, copy) {
                (Some(weaving), Some(copy)) => weaving.of_copy(copy).await,
                (weaving, _) => without_page(weaving, failed(state, &edition, proxy, &cause)).await,
            };
        }
    };
    if answered.status == StatusCode::NOT_MODIFIED
        && let Some(asking) = &mut weaving
    {
        hop::strip(&mut answered.headers);
        let renewed = asking.renewed(&answered.headers);
        if let Some(copy) = renewed
            && let Some(weaving) = weaving.take()
        {
            return weaving.of_copy(copy).await;
        }
    }
    if answered.status == StatusCode::SWITCHING_PROTOCOLS && reader.is_none() {
        let cause = Cause::Transport("it changed the protocol unasked".to_owned());
        return without_page(weaving, failed(state, &edition, proxy, &cause)).await;
    }
    if let (Some(reader), Some(origin)) = (reader, answered.upgrade.take()) {
        let (stop, idle) = (state.stop.clone(), proxy.idle_timeout);
        let tunnel = async move {
            if let (Ok(reader), Ok(origin)) = (reader.await, origin.await) {
                tunnel(TokioIo::new(reader), origin, idle).await;
            }
        };
        // whoever takes the connection over from HTTP holds its place too
        let who = Arc::clone(who);
        state.tasks.spawn(async move {
            let _who = who;
            // nobody knows when such a connection would end by itself
            tokio::select! {
                () = stop.cancelled() => {}
                () = tunnel => {}
            }
        });
    }
    let Some(mut weaving) = weaving else {
        return back(answered, protocol, proxy.idle_timeout, &state.stop);
    };
    answered.body = inflate::undone(&mut answered.headers, answered.body);
    let status = answered.status;
    if !weaving.takes(status, &answered.headers) {
        weaving.let_pass();
        return back(answered, protocol, proxy.idle_timeout, &state.stop);
    }
    if status.is_server_error() {
        weaving.brings_nothing(Cause::Status(status.as_u16()));
        if let Some(copy) = weaving.copy(true) {
            return weaving.of_copy(copy).await;
        }
    }
    let patience = patience_at_stop(&answered.headers);
    let mut headers = answered.headers;
    hop::strip(&mut headers);
    let body = idle_bounded(answered.body, proxy.idle_timeout).boxed();
    let body = match patience {
        Some(patience) => until_stop(body, state.stop.clone(), patience).boxed(),
        None => body,
    };
    weaving.answer(status, headers, body).await
}

/// The answer where there will be no page, if one was asked for.
async fn without_page(weaving: Option<Weaving<'_>>, answer: Response) -> Response {
    match weaving {
        Some(weaving) => weaving.fails(answer).await,
        None => answer,
    }
}

/// Renews the copy of a document behind the back of the reader who has been shown it: for nobody in
/// particular, so nothing that tells who has asked goes with it.
fn renew(
    state: &ServerState,
    edition: &Arc<Edition>,
    index: usize,
    mut renewal: Wanted,
    sent: &OriginRequest,
) {
    let (composer, edition) = (Arc::clone(&state.composer), Arc::clone(edition));
    let mut asked = OriginRequest::get(sent.target.clone(), sent.headers.clone());
    asked.headers.remove(COOKIE);
    renewal.ask_about_copy(&composer, &mut asked.headers);
    state.tasks.spawn(async move {
        let proxy = &edition.site.proxies[index];
        let answered = edition.fetcher.pass(proxy.origin, asked);
        let Ok(Ok(mut answered)) = timeout(proxy.timeout, answered).await else {
            return;
        };
        if let Some(Some(block)) = edition.site.markup.blocks.get(proxy.origin.index()) {
            edition.meters.fetched(block.index());
        }
        hop::strip(&mut answered.headers);
        let status = answered.status;
        if status == StatusCode::NOT_MODIFIED {
            renewal.renewed(&composer, &answered.headers);
            return;
        }
        let body = inflate::undone(&mut answered.headers, answered.body);
        let language = proxy.markup.unwrap_or(Language::Esi);
        if is_woven(&edition.site, language, status, &answered.headers) {
            let body = idle_bounded(body, proxy.idle_timeout).boxed();
            // it is read to its end where it is to be kept, whoever reads it
            drop(renewal.keep(&composer, status, &answered.headers, body));
        }
    });
}

/// Passes everything both ways until either side ends it, or both have been silent for so long.
/// Both are then closed.
async fn tunnel(reader: impl Duplex, origin: impl Duplex, idle: Duration) {
    let heard = Notify::new();
    let mut reader = InspectReader::new(reader, |_: &[u8]| heard.notify_one());
    let mut origin = InspectReader::new(origin, |_: &[u8]| heard.notify_one());
    let silence = async { while timeout(idle, heard.notified()).await.is_ok() {} };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut reader, &mut origin) => {}
        () = silence => {}
    }
}

/// Who is waited for before the head of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// For more of the request's body, which has a limit of its own.
    Reader,
    /// To take what it is sent, or to answer.
    Origin,
}

/// Returns when the origin has been waited for so long at a stretch.
async fn origin_overdue(mut turns: watch::Receiver<Turn>, limit: Duration) {
    loop {
        let turn = *turns.borrow_and_update();
        let changed = turns.changed();
        let body_goes_on = match turn {
            Turn::Reader => changed.await,
            Turn::Origin => match timeout(limit, changed).await {
                Ok(changed) => changed,
                Err(_) => return,
            },
        };
        if body_goes_on.is_err() {
            return sleep(limit).await;
        }
    }
}

fn failed(state: &ServerState, edition: &Edition, proxy: &Proxy, cause: &Cause) -> Response {
    let (origin, route) = (&edition.site.origin(proxy.origin).name, &proxy.route);
    let about = format!("{route} {}", cause.label());
    if let Some(untold) = state.complaints.due(&about, state.composer.clock().now()) {
        tracing::warn!(
            route,
            origin,
            %cause,
            untold = untold.0,
            "requests passed through to {origin} fail: {cause}{untold}"
        );
    }
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
    who: &Who,
    proxy: &Proxy,
    params: &[(String, String)],
    (parts, body): (Parts, Body),
    protocol: Option<&HeaderValue>,
    upload: Upload,
) -> OriginRequest {
    let mut headers = parts.headers;
    hop::strip(&mut headers);
    // HTTP/2 may send each cookie by itself, HTTP/1.1 may not (RFC 9113, 8.2.3)
    join(&mut headers, COOKIE, b"; ");
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    let host = headers
        .remove(HOST)
        .or_else(|| HeaderValue::try_from(parts.uri.authority()?.as_str()).ok());
    // a token is for this server
    headers.remove(&token::DEBUG.header);
    headers.remove(REHEARSE);
    headers.remove(&token::CHAOS.header);
    // HTTP/1.0 may leave the host out: what a reader claims does not take its place
    headers.remove(FORWARDED_HOST);
    headers.extend(host.map(|host| (FORWARDED_HOST, host)));
    who.client(&headers).tell(&mut headers);
    let mut target = match &proxy.path {
        None => parts.uri.path().to_owned(),
        Some(template) => fill(template, params),
    };
    if let Some(query) = parts.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let has_body = !http_body::Body::is_end_stream(&body);
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        // unless told so, the HTTP library leaves the body of a GET out without a word
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let body = has_body.then(|| bounded(body, state.body_bytes_max, state.body_timeout, upload));
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

fn back(
    answered: OriginResponse,
    protocol: Option<HeaderValue>,
    idle: Duration,
    stop: &CancellationToken,
) -> Response {
    let patience = patience_at_stop(&answered.headers);
    let body = idle_bounded(answered.body, idle);
    let body = match patience {
        Some(patience) => Body::from_stream(until_stop(body.boxed(), stop.clone(), patience)),
        None => Body::from_stream(body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answered.status;
    *response.headers_mut() = answered.headers;
    hop::strip(response.headers_mut());
    if answered.status == StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
    }
    response
}

/// How long a silence in such an answer is borne when the server is stopping; `None` if it is
/// given the whole grace, because it tells where it ends.
fn patience_at_stop(headers: &HeaderMap) -> Option<Duration> {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_endless = media_type.is_some_and(|name| {
        name.get(..EVENT_STREAM.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
    });
    if is_endless {
        Some(Duration::ZERO)
    } else if headers.contains_key(CONTENT_LENGTH) {
        None
    } else {
        Some(SILENCE_AT_STOP)
    }
}

/// A body that ends with an error when the server stops, and then no more comes for so long. The
/// reader must not take what there was for the whole.
fn until_stop(
    body: BodyStream,
    stop: CancellationToken,
    patience: Duration,
) -> impl Stream<Item = Result<Bytes, Cause>> {
    stream::unfold(Some(body), move |body| {
        let stop = stop.clone();
        async move {
            let mut body = body?;
            let impatience = async {
                stop.cancelled().await;
                if !patience.is_zero() {
                    sleep(patience).await;
                }
            };
            let chunk = tokio::select! {
                // without patience it ends also if it never falls silent
                biased;
                () = impatience => {
                    let cut = Cause::Transport("the server is stopping".to_owned());
                    return Some((Err(cut), None));
                }
                chunk = body.next() => chunk?,
            };
            Some((chunk, Some(body)))
        }
    })
    // content codings look again after the end
    .fuse()
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
type Fault = Arc<OnceLock<(StatusCode, Cow<'static, str>)>>;

/// What is told of a request's body while it is being passed on.
struct Upload {
    fault: Fault,
    turn: watch::Sender<Turn>,
}

/// A request body that may be neither larger nor more silent than this.
fn bounded(body: Body, bytes_max: u64, silence_max: Duration, upload: Upload) -> BodyStream {
    let Upload { fault, turn } = upload;
    let chunks = body
        .into_data_stream()
        .map(|chunk| chunk.map_err(|error| Cause::Transport(error.to_string())))
        .boxed();
    let mut seen = 0;
    let chunks = idle_bounded(chunks, silence_max).boxed();
    stream::unfold((chunks, turn), |(mut chunks, turn)| async move {
        turn.send_replace(Turn::Reader);
        let chunk = chunks.next().await?;
        turn.send_replace(Turn::Origin);
        Some((chunk, (chunks, turn)))
    })
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

fn blame(cause: &Cause) -> (StatusCode, Cow<'static, str>) {
    if let Cause::TooLarge(bytes_max) = cause {
        let bytes_max = u64::try_from(*bytes_max).unwrap_or(u64::MAX);
        (StatusCode::PAYLOAD_TOO_LARGE, too_large(bytes_max).into())
    } else if *cause == Cause::Timeout {
        let text = "the request's body did not come in time";
        (StatusCode::REQUEST_TIMEOUT, text.into())
    } else {
        let text = "the request's body is broken";
        (StatusCode::BAD_REQUEST, text.into())
    }
}

fn too_large(bytes_max: u64) -> String {
    let max = show_size(bytes_max);
    format!("the request's body is larger than {max}, the most that is taken here")
}
