//! The dials of the demo's origins, as they are described: the demo itself, which is above this, answers. Owns
//! these rows of the table.

use std::collections::BTreeMap;

use super::super::openapi::{HTML, operation};
use super::{Route, guarded};

/// How the origins of the demo are made to misbehave. They are mounted by the demo itself, beside these.
pub(super) fn dials() -> Vec<Route> {
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
            .query::<String>("for", "It ends by itself after so long: `10m`, up to `7d`.")
            .query::<String>("by", "Who turns it: for the journal.")
            .query::<String>("reason", "Why: for the journal.")
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
            .json::<Trouble>(
                422,
                "There is no such dial, it does not go so far, or who turns it cannot be shown.",
            )
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

/// An origin of the demo.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is written by the demo, which is above this")]
struct Dial {
    /// Where it listens.
    address: String,
    /// Its trouble.
    dial: DialState,
    /// In how many seconds that ends by itself, if it does.
    ends_in_s: Option<u64>,
    /// Who has turned it last, if that was said.
    by: Option<String>,
    /// Why.
    reason: Option<String>,
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
