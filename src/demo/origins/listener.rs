//! One origin on its port: it accepts, answers from the edition, and obeys its dial.
//!
//! It owns the listener and the connections. It must not know what the answers say. Its
//! invariant: while the dial says `off` neither the port nor any connection is open.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::articles::{Answer, Edition};
use super::super::dials::{Dial, Turned};
use super::body::Body;

/// More than a composition server opens to one origin; beyond it, connections wait their turn.
const CONNECTIONS_MAX: usize = 1024;

/// Between two attempts to accept, or to take the port again.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// One origin: what it needs to serve.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) dial: watch::Receiver<Turned>,
    pub(super) edition: Arc<Edition>,
    pub(super) tasks: TaskTracker,
}

/// What becomes of one request.
#[derive(Debug, PartialEq)]
enum Trouble {
    Hang,
    Fail,
    Cut,
    Drip,
    Nothing,
}

impl Origin {
    /// Serves until `stop`, closing the port whenever the dial says `off`.
    pub(super) async fn run(mut self, listener: TcpListener, stop: CancellationToken) {
        let mut listener = Some(listener);
        while !stop.is_cancelled() {
            let open = match listener.take() {
                Some(listener) => listener,
                None => match TcpListener::bind(self.address).await {
                    Ok(listener) => listener,
                    Err(_) => {
                        sleep(RETRY_DELAY).await;
                        continue;
                    }
                },
            };
            let connections = stop.child_token();
            let closing = connections.clone().drop_guard();
            let serving = self.clone().accept(open, connections);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.turned(true) => {}
                () = serving => {}
            }
            drop(closing);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.turned(false) => {}
            }
        }
    }

    /// Waits until the dial says `off`, or no longer does.
    async fn turned(&mut self, off: bool) {
        if self
            .dial
            .wait_for(|turned| turned.dial.off == off)
            .await
            .is_err()
        {
            // Nobody holds the dial any more: it stays as it is.
            std::future::pending().await
        }
    }

    async fn accept(self, listener: TcpListener, connections: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            let Ok((stream, _)) = listener.accept().await else {
                sleep(RETRY_DELAY).await;
                continue;
            };
            let (origin, closing) = (self.clone(), connections.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = origin.serve(stream) => {}
                }
                drop(place);
            });
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let origin = self.clone();
            async move {
                let answer = origin.answer(request.method(), request.uri().path()).await;
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        // A connection ends badly when the reader leaves or the dial cuts it: both are expected.
        connection.await.ok();
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        let dial = self.dial.borrow().dial;
        sleep(Duration::from_millis(dial.latency_ms)).await;
        if *method != Method::GET && *method != Method::HEAD {
            return bare(StatusCode::METHOD_NOT_ALLOWED);
        }
        let answer = self.edition.answer(self.name, path);
        match trouble(&dial, fastrand::f64()) {
            Trouble::Hang => std::future::pending().await,
            Trouble::Fail => bare(StatusCode::INTERNAL_SERVER_ERROR),
            Trouble::Cut => respond(answer, Body::cut(answer.body.clone())),
            Trouble::Drip => respond(answer, Body::dripping(answer.body.clone())),
            Trouble::Nothing => respond(answer, Body::whole(answer.body.clone())),
        }
    }
}

/// The worst trouble the dial holds for a request that drew `chance` (0 to 1, 1 excluded).
fn trouble(dial: &Dial, chance: f64) -> Trouble {
    match dial {
        Dial { hang: true, .. } => Trouble::Hang,
        Dial { error, .. } if chance < *error => Trouble::Fail,
        Dial { cut: true, .. } => Trouble::Cut,
        Dial { drip: true, .. } => Trouble::Drip,
        Dial { .. } => Trouble::Nothing,
    }
}

fn respond(answer: &Answer, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(answer.content_type),
    );
    if let Some(location) = &answer.location {
        let location = HeaderValue::from_str(location).expect("a slug is plain ASCII");
        headers.insert(header::LOCATION, location);
    }
    response
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_trouble_wins() {
        let error = |error| Dial {
            error,
            cut: true,
            drip: true,
            ..Dial::default()
        };
        let hang = Dial {
            hang: true,
            ..error(1.0)
        };
        let drip = Dial {
            drip: true,
            ..Dial::default()
        };
        let cases = [
            (hang, 0.0, Trouble::Hang),
            (error(0.5), 0.49, Trouble::Fail),
            (error(0.5), 0.5, Trouble::Cut),
            (error(1.0), 0.999, Trouble::Fail),
            (drip, 0.0, Trouble::Drip),
            (Dial::default(), 0.0, Trouble::Nothing),
        ];
        for (dial, chance, expected) in cases {
            assert_eq!(trouble(&dial, chance), expected, "{dial:?} at {chance}");
        }
    }
}
