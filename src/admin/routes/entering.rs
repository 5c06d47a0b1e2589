//! What answers to whoever comes: whether the server is there, the dashboard, and how a browser signs in. Owns
//! these rows of the table.

use super::super::openapi::{HTML, operation};
use super::super::{api, dashboard, session};
use super::{Route, SIGN_OUT, guarded, open};

/// Who comes, and what with.
pub(super) fn entering() -> Vec<Route> {
    vec![
        open("/healthz").get(
            api::healthz,
            operation("health", "Whether the process runs.").text(200, "It does."),
        ),
        open("/readyz").get(
            api::readyz,
            operation(
                "ready",
                "Whether pages can be served: until the server stops. No service is asked.",
            )
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
                    .answer::<String>(429, HTML, "Too many wrong ones from this address just now."),
            )
            .limited(session::BODY_BYTES_MAX),
        guarded(SIGN_OUT).post(
            session::leave,
            operation(
                "sign_out",
                "Ends the session, wherever its cookie is kept, until the server is started anew.",
            )
            .nothing(303, "To `/login`."),
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
    ]
}

/// What a browser sends to sign in.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is read by hand: see `session`")]
struct Entering {
    /// The token of `[admin]`, or the one for reading.
    token: String,
}
