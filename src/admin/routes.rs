//! Every address of the admin listener: what answers there, who may ask, and how it is described. Owns the
//! table that the router and the OpenAPI document are both made of, so that neither can have what the
//! other has not.
//!
//! A new address is a new row. `tests/it/openapi.rs` then asks for an example of each answer that it
//! describes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, any};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::plan::explain::Explanation;
use crate::switchboard::{Shown, State as Switches};
use crate::telemetry::Beat;

use super::openapi::{self, Described, HTML, JSON, Operation, TEXT, operation};
use super::{
    AdminState, api, copies, dashboard, journal, level, live, metrics, picture, preview, session,
    slo, switches, trace,
};

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
        self.methods = self.methods.layer(DefaultBodyLimit::max(bytes_max));
        self
    }
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

const NO_SUCH_QUERY: &str = "A field of the query cannot be read.";

fn routes() -> Vec<Route> {
    let mut routes = vec![
        open("/healthz").get(
            api::healthz,
            operation("health", "Whether the process runs.").text(200, "It does."),
        ),
        open("/readyz").get(
            api::readyz,
            operation("ready", "Whether pages can be served.")
                .text(200, "They can.")
                .text(503, "The server is stopping."),
        ),
        open("/assets/{name}").get(
            dashboard::asset,
            operation("asset", "A file of the dashboard.")
                .path("name", "Its name.")
                .header::<String>("if-none-match", "The `ETag` of the one that is known.")
                .answer::<String>(200, "text/css", "The file.")
                .answer::<String>(200, "text/javascript", "The file.")
                .answer::<String>(200, "image/svg+xml", "The file.")
                .text(200, "The file.")
                .nothing(304, "It is the one that is known.")
                .text(400, "The name is no text.")
                .text(404, "There is no such file."),
        ),
        open("/login")
            .get(
                session::form,
                operation("sign_in_form", "The form in which a browser signs in.")
                    .answer::<String>(200, HTML, "The form.")
                    .nothing(303, "It is signed in, or there is no token."),
            )
            .post(
                session::enter,
                operation("sign_in", "Signs a browser in, for twelve hours.")
                    .body::<Entering>("application/x-www-form-urlencoded", "The token.")
                    .nothing(303, "To the dashboard, with the cookie of the session.")
                    .answer::<String>(
                        403,
                        HTML,
                        "It is another token, or a page of another site sent this.",
                    )
                    .text(
                        403,
                        "It is another token, or a page of another site sent this.",
                    )
                    .text(413, "The form is larger than 4 KiB.")
                    .answer::<String>(429, HTML, "Too many wrong ones just now."),
            )
            .limited(session::BODY_BYTES_MAX),
        guarded("/logout").post(
            session::leave,
            operation("sign_out", "Ends the session of a browser.").nothing(303, "To `/login`."),
        ),
        guarded("/").get(
            dashboard::index,
            operation(
                "dashboard",
                "The dashboard for browsers, the addresses in short for others.",
            )
            .header::<String>("accept", "With `text/html` it is a browser.")
            .answer::<String>(200, HTML, "Either.")
            .text(200, "Either."),
        ),
    ];
    routes.extend(looking());
    routes.extend(deciding());
    routes.extend(copying());
    routes
}

/// How it goes and how it went.
fn looking() -> Vec<Route> {
    vec![
        guarded("/state").get(
            api::state,
            operation("state", "What is served and how it goes.").json::<api::StateAnswer>(200, "All of it."),
        ),
        guarded("/live").get(
            live::live,
            operation("live", "How it goes, once a second.")
                .more("Server-sent events, each a JSON object: what the dashboard shows.")
                .events::<picture::Picture>(200, "Events, until the server stops.")
                .text(503, "As many listen as may, or the server is stopping."),
        ),
        guarded("/history").get(
            live::history,
            operation("history", "How it went: hours by tens of seconds, minutes by seconds.")
                .query::<u64>("since", "Only what ended after this many milliseconds since 1970.")
                .json::<Vec<Beat>>(200, "The oldest first.")
                .text(400, NO_SUCH_QUERY),
        ),
        guarded("/samples").get(
            api::samples,
            operation("samples", "What the law was told and has answered, ten times a second.")
                .query::<u64>("since", "Only those after this many milliseconds since 1970.")
                .answer::<crate::telemetry::samples::Tick>(200, "application/jsonl", "One a line, the oldest first.")
                .text(400, NO_SUCH_QUERY),
        ),
        guarded("/journal").get(
            journal::journal,
            operation("journal", "What has happened.")
                .query::<String>("since", "`2h`, `2026-11-26T11:00:00Z`, or milliseconds since 1970.")
                .query::<String>("kinds", "Only entries of these kinds: `level,breaker`.")
                .json::<journal::JournalAnswer<'static>>(200, "The oldest first.")
                .text(400, NO_SUCH_QUERY),
        ),
        guarded("/events").get(
            journal::events,
            operation("events", "What happens, as it happens.")
                .more("Server-sent events: `event` is the kind, `data` the entry as `/journal` has it.")
                .query::<String>("kinds", "Only entries of these kinds: `level,breaker`.")
                .events::<journal::Followed>(200, "Events, until the server stops.")
                .text(400, NO_SUCH_QUERY)
                .text(503, "As many follow as may."),
        ),
        guarded("/slo").get(
            slo::slo,
            operation("slo", "Whether what is promised to readers is kept.")
                .json::<slo::All>(200, "All objectives."),
        ),
        guarded("/trace/{id}").get(
            trace::trace,
            operation("trace", "The latest pages of a trace in full.")
                .path("id", "32 hexadecimal digits, as `Marbre-Trace` says them, or a `traceparent`.")
                .json::<trace::Pages>(200, "What is remembered of it.")
                .text(400, "It is no trace.")
                .text(404, "Nothing is remembered of it, and why."),
        ),
        guarded("/metrics").get(
            metrics::metrics,
            operation("metrics", "What Prometheus scrapes.")
                .header::<String>("accept", "Which of the two formats.")
                .text(200, "The text format 0.0.4, or OpenMetrics with exemplars.")
                .answer::<String>(200, "application/openmetrics-text", "OpenMetrics."),
        ),
        guarded("/explain").get(
            api::explain,
            operation("explain", "What a page would do, without asking anybody.")
                .needed::<String>("path", "The page, with its query: `/articles/some-slug`.")
                .query::<u8>("level", "At this level instead of the present one.")
                .json::<Explanation>(200, "Its plan.")
                .text(400, "There is no such path or level.")
                .text(404, "No page answers to this path."),
        ),
        guarded("/preview").get(
            preview::preview,
            operation("preview", "A page as readers would see it at a level, without its scripts.")
                .query::<String>("path", "The page; `/` if absent.")
                .query::<u8>("level", "At this level instead of the present one.")
                .answer::<String>(200, HTML, "The page.")
                .answer::<String>(400, HTML, "There is no such path or level, or no page to look at.")
                .text(400, NO_SUCH_QUERY)
                .answer::<String>(404, HTML, "No page answers to this path.")
                .answer::<String>(503, HTML, "The article cannot be had."),
        ),
    ]
}

const SUBJECT: &str = "`block/NAME`, `pin`, `floor`, `cap`, `freeze`, `dry-run` or `ttl`, with `@` and the moment \
                       of its beginning where that is later; or `schedule/NAME`, to skip one that the site \
                       declares.";

/// What operators decide.
fn deciding() -> Vec<Route> {
    let pinned = |operation: Operation| {
        operation
            .body::<level::NewLevel>(JSON, "A level, `auto`, or who wants it as well.")
            .body::<String>(TEXT, "A level such as `2`, or `auto`.")
            .json::<level::LevelSet>(200, "What it is now.")
            .text(400, "There is no such level, or it cannot be read.")
            .text(
                409,
                "A floor or a cap is in the way, or there are too many switches.",
            )
            .text(413, "The body is too large.")
    };
    vec![
        guarded("/level")
            .get(
                level::level,
                operation("level", "How many steps of the ladder are given up.")
                    .json::<level::LevelState>(200, "What it is."),
            )
            .put(
                level::set_level,
                pinned(operation("pin_level", "Pins the level for 12 hours.")),
            )
            .post(
                level::set_level,
                pinned(operation("pin_level_by_form", "The same.")),
            )
            .delete(
                level::release,
                operation("release_level", "The level is the law's again.")
                    .json::<level::LevelSet>(200, "What it is now."),
            ),
        guarded("/switches").get(
            switches::all,
            operation("switches", "What operators have decided.")
                .json::<Switches>(200, "All of it."),
        ),
        guarded("/switches/{*subject}")
            .get(
                switches::one,
                operation("switch", "One of these decisions.")
                    .path("subject", SUBJECT)
                    .json::<Shown>(200, "What is set.")
                    .text(400, "The subject is no text.")
                    .text(404, "Nothing is set, or there is no such subject."),
            )
            .put(
                switches::set,
                operation("set_switch", "Decides something over the law's head.")
                    .path("subject", SUBJECT)
                    .body::<switches::Asked>(JSON, "Who, why, for how long, and what.")
                    .json::<switches::Done>(200, "It is in force.")
                    .text(400, "The body cannot be read, or does not fit the subject.")
                    .text(404, "There is no such subject, or no such block.")
                    .text(
                        409,
                        "It contradicts another switch or the site, or there are too many.",
                    )
                    .text(413, "The body is larger than 16 KiB."),
            )
            .delete(
                switches::clear,
                operation("clear_switch", "Takes a decision back.")
                    .path("subject", SUBJECT)
                    .query::<String>("by", "Who does.")
                    .json::<switches::Done>(200, "It is not in force any more.")
                    .text(400, "The subject or the query is no text.")
                    .text(404, "Nothing is set, or there is no such subject."),
            )
            .limited(switches::BODY_BYTES_MAX),
        guarded("/reload").post(
            api::reload,
            operation("reload", "Reads `fragments.toml` again.")
                .json::<api::Reloaded>(200, "What is different.")
                .text(
                    422,
                    "It is wrong, and the site stays as it was: what is to be mended.",
                ),
        ),
    ]
}

const KEY: &str = "The path, without its first slash, and the query that the fragment's source makes. It may \
                   hold slashes, which are not encoded.";

/// Copies.
fn copying() -> Vec<Route> {
    let addressed = |operation: Operation| {
        operation
            .path("fragment", "The fragment's name.")
            .path("key", KEY)
            .text(
                400,
                "Its source makes no such key, it has no copies, or a header cannot be read.",
            )
    };
    let version = "An older version never takes the place of a newer one.";
    vec![
        guarded("/fragments/{*address}")
            .shown("/fragments/{fragment}/{key}")
            .get(
                copies::show,
                addressed(operation("copy", "What is known of a copy."))
                    .json::<copies::Known>(200, "It is there.")
                    .text(404, "There is no such fragment, or no such copy."),
            )
            .put(
                copies::push,
                addressed(operation("push_copy", "Keeps the body as a copy."))
                    .header::<u64>("marbre-version", version)
                    .header::<String>("marbre-ttl", "Fresh for so long: `30s`.")
                    .header::<String>("cache-control", "`max-age=30` for the same.")
                    .header::<String>("surrogate-key", "Tags by which it can be purged.")
                    .body::<String>(HTML, "The fragment.")
                    .body::<Value>(JSON, "What its template turns into the fragment.")
                    .json::<copies::Pushed>(200, "It has taken the place of another one.")
                    .json::<copies::Pushed>(201, "It is the first one.")
                    .text(404, "There is no such fragment.")
                    .text(408, "The body has not come within 30 s.")
                    .json::<copies::Conflict>(409, "A newer version is known.")
                    .text(413, "The body is larger than the fragment's `max_size`.")
                    .text(415, "The body is not of a type that the fragment takes.")
                    .text(422, "The body is not usable as the fragment."),
            )
            .delete(
                copies::withdraw,
                addressed(operation("withdraw_copy", "Takes a copy back."))
                    .header::<u64>("marbre-version", version)
                    .json::<copies::Withdrawn>(200, "It is taken back.")
                    .text(404, "There is no such fragment.")
                    .json::<copies::Conflict>(409, "A newer version is known."),
            ),
        guarded("/purge")
            .any(
                copies::purge,
                operation("purge", "Makes copies stale, or throws them away.")
                    .more("Of `all`, tags and a fragment one is given, in the body or in the query. `PURGE` is answered like `POST`.")
                    .query::<String>("fragment", "The copies of this fragment.")
                    .query::<String>("key", "Of these only this one.")
                    .query::<String>("tag", "The copies with this tag; may be repeated.")
                    .query::<String>("tags", "The same.")
                    .query::<String>("all", "All copies: `true`.")
                    .query::<String>("hard", "Whether they are thrown away: `true` or `false`.")
                    .body::<copies::Wanted>(JSON, "Which.")
                    .or_nothing()
                    .json::<copies::Purged>(200, "It is done.")
                    .text(400, "It cannot be read, or is not one of these.")
                    .text(404, "There is no such fragment.")
                    .text(413, "The body is larger than 64 KiB."),
            )
            .limited(copies::PURGE_BYTES_MAX),
    ]
}

/// How the origins of the demo are made to misbehave. They are mounted by the demo itself, beside these.
fn dials() -> Vec<Route> {
    let turned = |id: &'static str| {
        operation(id, "Turns the dial of one of the demo's origins.")
            .path("origin", "Its name; `all` for all of them.")
            .query::<u64>(
                "latency_ms",
                "Added before each answer, in milliseconds, up to 600000.",
            )
            .query::<f64>("error", "The share of answers that are a 500, from 0 to 1.")
            .query::<u8>("hang", "1: it accepts and never answers.")
            .query::<u8>("cut", "1: it sends half and breaks the connection.")
            .query::<u8>("drip", "1: it sends a byte a second.")
            .query::<u8>("off", "1: it refuses connections.")
            .query::<u8>("reset", "1: back to health first.")
            .body::<String>("application/x-www-form-urlencoded", "The same fields.")
            .or_nothing()
            .json::<BTreeMap<String, Dial>>(200, "Every dial, as it is now.")
            .nothing(303, "A browser is sent back to the page.")
            .text(400, "The body is no text.")
            .json::<Trouble>(404, "There is no such origin.")
            .json::<Trouble>(
                409,
                "An error budget is spent, and no fault is set until some of it is back.",
            )
            .text(413, "The body is larger than 4 KiB.")
            .json::<Trouble>(422, "There is no such dial, or it does not go so far.")
    };
    let described_only = |path: &'static str, operations| Route {
        operations,
        ..guarded(path)
    };
    let page = operation("dials_page", "The dials, for browsers.").answer::<String>(
        200,
        HTML,
        "The page.",
    );
    let all = operation("dials", "The dials of the demo's origins.");
    let all = all.json::<BTreeMap<String, Dial>>(200, "By origin.");
    vec![
        described_only("/dials", vec![("get", page)]),
        described_only("/dials.json", vec![("get", all)]),
        described_only(
            "/dials/{origin}",
            vec![
                ("put", turned("turn_dial")),
                ("post", turned("turn_dial_by_form")),
            ],
        ),
    ]
}

/// What a browser sends to sign in.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is read by hand: see `session`")]
struct Entering {
    /// The token of `[admin]`.
    token: String,
}

/// An origin of the demo.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is written by the demo, which is above this")]
struct Dial {
    /// Where it listens.
    address: String,
    /// Its trouble.
    dial: DialState,
}

/// All at zero: the origin answers at once and in full.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is written by the demo, which is above this")]
#[schemars(deny_unknown_fields)]
struct DialState {
    latency_ms: u64,
    error: f64,
    hang: bool,
    cut: bool,
    drip: bool,
    off: bool,
}

/// What is wrong.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is written by the demo, which is above this")]
struct Trouble {
    /// In a sentence.
    error: String,
}
