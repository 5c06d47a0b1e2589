//! The desk from which the dials are turned: a page of forms for people, JSON for scripts.
//!
//! It owns the desk's addresses and how each kind of caller is answered. It must not know what a
//! dial does. Its invariant: a refused change turns nothing.

use std::net::SocketAddr;

use askama::Template;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::{Dial, Dials, Order};
use crate::admin::telling_limit;
use crate::report::Signature;
use crate::site::AdminRole;
use crate::telemetry::slo::FaultGate;

/// Every dial in one form is under 100 bytes; this leaves room for clumsy clients.
const FORM_BYTES_MAX: usize = 4096;

/// Stands for every origin in `/dials/all`.
const ALL: &str = "all";

#[derive(Clone)]
struct Desk {
    dials: Dials,
    gate: FaultGate,
    addresses: Vec<(&'static str, SocketAddr)>,
}

/// `GET /dials`, `GET /dials.json`, `PUT` or `POST /dials/{origin}` (or `/dials/all`).
pub(in crate::demo) fn router(
    dials: Dials,
    addresses: Vec<(&'static str, SocketAddr)>,
    gate: FaultGate,
) -> Router {
    Router::new()
        .route("/dials", get(show_page))
        .route("/dials.json", get(show_json))
        .route("/dials/{origin}", post(turn_dial).put(turn_dial))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(map_response(async |answer: Response| {
            telling_limit(answer, FORM_BYTES_MAX)
        }))
        .with_state(Desk {
            dials,
            gate,
            addresses,
        })
}

#[derive(Template)]
#[template(path = "builtin/dials.html")]
struct Page {
    origins: Vec<Line>,
    may_only_read: bool,
}

/// One origin on the page.
struct Line {
    name: &'static str,
    address: SocketAddr,
    dial: Dial,
}

impl Line {
    /// The troubles that are either on or off: name, state, what it does.
    fn switches(&self) -> [(&'static str, bool, &'static str); 4] {
        let Dial {
            hang,
            cut,
            drip,
            off,
            ..
        } = self.dial;
        [
            ("hang", hang, "accepts and never answers"),
            (
                "cut",
                cut,
                "announces the full length, sends half, breaks the connection",
            ),
            ("drip", drip, "sends the head, then a byte a second"),
            ("off", off, "refuses connections"),
        ]
    }
}

async fn show_page(State(desk): State<Desk>, role: Option<Extension<AdminRole>>) -> Response {
    let page = Page {
        origins: desk.lines(),
        may_only_read: role.is_some_and(|Extension(role)| role < AdminRole::Operate),
    };
    Html(page.render().expect("a page of plain values renders")).into_response()
}

async fn show_json(State(desk): State<Desk>) -> Json<Value> {
    Json(desk.to_json())
}

async fn turn_dial(
    State(desk): State<Desk>,
    Path(origin): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    form: String,
) -> Response {
    let wanted = [query.unwrap_or_default(), form].join("&");
    let order = match Order::parse(wanted.trim()) {
        Ok(order) => order,
        Err(refused) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, refused.to_string()),
    };
    if let Some(why) = desk.refusal(&origin, &order) {
        return refuse(StatusCode::CONFLICT, why);
    }
    if !desk.turn(&origin, &order) {
        let names = desk.dials.all().into_iter().map(|(name, _)| name);
        let known = names.collect::<Vec<_>>().join(", ");
        let text = format!("there is no origin `{origin}`: {known}, or {ALL} for all of them");
        return refuse(StatusCode::NOT_FOUND, text);
    }
    // closed meanwhile: whoever ends faults may have been there before this one
    if let Some(why) = desk.refusal(&origin, &order) {
        desk.turn(&origin, &Order::health(Signature::because(&why)));
        return refuse(StatusCode::CONFLICT, why);
    }
    let given = Extension(desk.dials.given(&order));
    if is_browser(&headers) {
        // Relative, so that it holds wherever the desk is mounted.
        let back = [(header::LOCATION, "../dials")];
        return (StatusCode::SEE_OTHER, given, back).into_response();
    }
    (given, Json(desk.to_json())).into_response()
}

impl Desk {
    fn lines(&self) -> Vec<Line> {
        let dials = self.dials.all().into_iter().zip(&self.addresses);
        dials
            .map(|((name, dial), &(_, address))| Line {
                name,
                address,
                dial,
            })
            .collect()
    }

    fn to_json(&self) -> Value {
        let dials = self.dials.turned().into_iter().zip(&self.addresses);
        let told = dials.map(|((name, turned, left), (_, address))| {
            let Signature { by, reason } = turned.signed;
            let told = json!({
                "address": address,
                "dial": turned.dial,
                "ends_in_s": left.map(|left| left.as_secs()),
                "by": by,
                "reason": reason,
            });
            (name.to_owned(), told)
        });
        told.collect::<serde_json::Map<_, _>>().into()
    }

    /// Why this may not be done, if it may not: back to health is always allowed.
    fn refusal(&self, origin: &str, order: &Order) -> Option<String> {
        let why = self.gate.closed()?;
        let meant = |(name, dial): &(&str, Dial)| {
            (origin == ALL || origin == *name) && !dial.turned(&order.change).is_healthy()
        };
        let is_fault = self.dials.all().iter().any(meant);
        is_fault.then(|| why.to_string())
    }

    /// Whether there was something to turn.
    fn turn(&self, origin: &str, order: &Order) -> bool {
        if origin != ALL {
            return self.dials.carry_out(origin, order).is_some();
        }
        for (origin, _) in self.dials.all() {
            self.dials.carry_out(origin, order);
        }
        true
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn ask(dials: &Dials, method: &str, uri: &str, accept: &str, form: &str) -> Response {
        let desk = router(
            dials.clone(),
            vec![("cms", SocketAddr::from(([127, 0, 0, 1], 8101)))],
            FaultGate::default(),
        );
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", accept);
        desk.oneshot(request.body(Body::from(form.to_owned())).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_browser_form_turns_the_dial_and_comes_back_to_the_page() {
        let dials = Dials::new(&["cms"]);
        let form = "latency_ms=250&error=&cut=1";
        let answer = ask(&dials, "POST", "/dials/cms", "text/html", form).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(answer.headers()["location"], "../dials");
        assert_eq!(
            dials.all()[0].1,
            Dial {
                latency_ms: 250,
                cut: true,
                ..Dial::default()
            }
        );
        let page = ask(&dials, "GET", "/dials", "text/html", "").await;
        assert_eq!(page.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_script_gets_json_and_a_refused_change_turns_nothing() {
        let dials = Dials::new(&["cms"]);
        let answer = ask(&dials, "PUT", "/dials/all?off=1", "*/*", "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(dials.all()[0].1.off);
        let refused = ask(&dials, "PUT", "/dials/cms?off=0&error=7", "*/*", "").await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(dials.all()[0].1.off);
        let unknown = ask(&dials, "PUT", "/dials/printer?off=1", "*/*", "").await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    }
}
