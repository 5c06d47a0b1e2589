//! Every address of the admin listener: what answers there, who may ask, and how it is described. Owns the
//! table that the router and the OpenAPI document are both made of, so that neither can have what the
//! other has not.
//!
//! A new address is a new row. `tests/it/openapi.rs` then asks for an example of each answer that it
//! describes.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, any};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::fragment::quantity::show_size;

use super::AdminState;
use super::openapi::{self, Described, JSON, Operation, operation};

mod copying;
mod deciding;
mod dials;
mod entering;
mod looking;

use copying::copying;
use deciding::deciding;
use dials::dials;
use entering::entering;
use looking::looking;

/// What ends a session: whoever may look has one to end.
pub(super) const SIGN_OUT: &str = "/logout";

/// One address.
struct Route {
    /// As the router writes it: `/switches/{*subject}`.
    path: &'static str,
    /// As the document does, where that is another way.
    shown: Option<&'static str>,
    is_open: bool,
    methods: MethodRouter<Arc<AdminState>>,
    operations: Vec<(&'static str, Operation)>,
}

/// An address for everybody.
fn open(path: &'static str) -> Route {
    Route {
        path,
        shown: None,
        is_open: true,
        methods: MethodRouter::new(),
        operations: Vec::new(),
    }
}

/// An address for operators.
fn guarded(path: &'static str) -> Route {
    Route {
        is_open: false,
        ..open(path)
    }
}

impl Route {
    fn shown(self, shown: &'static str) -> Self {
        Self {
            shown: Some(shown),
            ..self
        }
    }

    fn get<H: Handler<T, Arc<AdminState>>, T: 'static>(self, handler: H, says: Operation) -> Self {
        self.on((MethodFilter::GET, "get"), handler, says)
    }

    fn put<H: Handler<T, Arc<AdminState>>, T: 'static>(self, handler: H, says: Operation) -> Self {
        self.on((MethodFilter::PUT, "put"), handler, says)
    }

    fn post<H: Handler<T, Arc<AdminState>>, T: 'static>(self, handler: H, says: Operation) -> Self {
        self.on((MethodFilter::POST, "post"), handler, says)
    }

    fn delete<H: Handler<T, Arc<AdminState>>, T: 'static>(
        self,
        handler: H,
        says: Operation,
    ) -> Self {
        self.on((MethodFilter::DELETE, "delete"), handler, says)
    }

    fn on<H: Handler<T, Arc<AdminState>>, T: 'static>(
        mut self,
        (filter, method): (MethodFilter, &'static str),
        handler: H,
        says: Operation,
    ) -> Self {
        self.methods = self.methods.on(filter, handler);
        self.operations.push((method, says));
        self
    }

    /// A handler that looks at the method itself; it is described as `POST`.
    fn any<H: Handler<T, Arc<AdminState>>, T: 'static>(
        mut self,
        handler: H,
        says: Operation,
    ) -> Self {
        self.methods = any(handler);
        self.operations.push(("post", says));
        self
    }

    /// The largest body.
    fn limited(mut self, bytes_max: usize) -> Self {
        let tell = move |answer: Response| async move { telling_limit(answer, bytes_max) };
        let methods = self.methods.layer(DefaultBodyLimit::max(bytes_max));
        self.methods = methods.layer(map_response(tell));
        self
    }
}

/// The answer to a body that is too large says what would not be; any other stays as it is.
pub fn telling_limit(answer: Response, bytes_max: usize) -> Response {
    if answer.status() != StatusCode::PAYLOAD_TOO_LARGE {
        return answer;
    }
    let max = show_size(u64::try_from(bytes_max).unwrap_or(u64::MAX));
    let text = format!("the body is larger than {max}, the most that is taken here\n");
    (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
}

/// What answers to everybody, and what to operators only.
pub(super) fn routers(has_dials: bool) -> (Router<Arc<AdminState>>, Router<Arc<AdminState>>) {
    let document = Arc::new(OnceLock::new());
    let mut routes = routes();
    routes.push(document_itself(Arc::clone(&document)));
    let dials = if has_dials { dials() } else { Vec::new() };
    let told = openapi::document(routes.iter().chain(&dials).map(described));
    let told = serde_json::to_vec(&told).expect("a document has string keys");
    document.get_or_init(|| Bytes::from(told));
    let (mut to_all, mut to_operators) = (Router::new(), Router::new());
    for route in routes {
        match route.is_open {
            true => to_all = to_all.route(route.path, route.methods),
            false => to_operators = to_operators.route(route.path, route.methods),
        }
    }
    (to_all, to_operators)
}

/// The document describes itself too, so that it is made when all of them are known.
fn document_itself(document: Arc<OnceLock<Bytes>>) -> Route {
    let tell = move || {
        let document = document.get().cloned().unwrap_or_default();
        async move { ([(CONTENT_TYPE, JSON)], document) }
    };
    let says = operation("openapi", "This document.");
    guarded("/openapi.json").get(tell, says.json::<Value>(200, "OpenAPI 3.1."))
}

fn described(route: &Route) -> Described<'_> {
    Described {
        path: route
            .shown
            .map_or_else(|| route.path.replace("{*", "{"), str::to_owned),
        is_open: route.is_open,
        operations: &route.operations,
    }
}

fn routes() -> Vec<Route> {
    let all = [entering(), looking(), deciding(), copying()];
    all.into_iter().flatten().collect()
}
