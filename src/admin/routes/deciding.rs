//! What operators decide. Owns these rows of the table.

use crate::chaos::shown::{Shown as Fault, State as Faults};
use crate::switchboard::{Shown, State as Switches};

use super::super::openapi::{JSON, Operation, TEXT, operation};
use super::super::{api, chaos, level, switches};
use super::{Route, guarded};

const SUBJECT: &str = "`block/NAME`, `pin`, `floor`, `cap`, `freeze`, `dry-run` or `ttl`, with `@` and the moment \
                       of its beginning where that is later; or `schedule/NAME`, to skip one that the site \
                       declares.";

/// What operators decide.
pub(super) fn deciding() -> Vec<Route> {
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
            .text(413, "The body is larger than 4 KiB.")
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
            )
            .limited(level::BODY_BYTES_MAX),
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
                    .text(400, "The subject or the query is no text, or `by` is too long or cannot be shown.")
                    .text(404, "Nothing is set, or there is no such subject."),
            )
            .limited(switches::BODY_BYTES_MAX),
        guarded("/chaos").get(
            chaos::all,
            operation("faults", "What goes wrong on purpose.").json::<Faults>(200, "All of it."),
        ),
        guarded("/chaos/{name}")
            .get(
                chaos::one,
                operation("fault", "One fault that is in force.")
                    .path("name", "Its name.")
                    .json::<Fault>(200, "What goes wrong.")
                    .text(400, "The name is no text.")
                    .text(404, "None of this name is in force."),
            )
            .put(
                chaos::set,
                operation("set_fault", "Makes something go wrong on purpose, for a while.")
                    .more(
                        "Of a fault that the site declares the body says only who, why and for how long. \
                         What is in force is forgotten by a restart.",
                    )
                    .path("name", "Its name; one of the same name ends.")
                    .query::<bool>("preview", "`true`: only says what it would hit.")
                    .body::<crate::chaos::Wanted>(JSON, "What, on what, for whom, who, why and for how long.")
                    .json::<chaos::Done>(200, "It is in force; or what it would hit.")
                    .text(400, "It cannot be read, or does not go together.")
                    .text(404, "The site has no such origin, fragment or store.")
                    .text(
                        409,
                        "What is promised to readers leaves no room for it, or there are too many.",
                    )
                    .text(413, "The body is larger than 16 KiB."),
            )
            .delete(
                chaos::end,
                operation("end_fault", "Ends a fault.")
                    .path("name", "Its name.")
                    .query::<String>("by", "Who does: for the journal.")
                    .query::<String>("reason", "Why: for the journal.")
                    .json::<chaos::Done>(200, "It is over.")
                    .text(400, "The query is no text, or holds what is too long or cannot be shown.")
                    .text(404, "None of this name is in force."),
            )
            .limited(chaos::BODY_BYTES_MAX),
        guarded("/reload").post(
            api::reload,
            operation("reload", "Reads `fragments.toml` again.")
                .query::<String>("by", "Who wants it: for the journal.")
                .query::<String>("reason", "Why: for the journal.")
                .json::<api::Reloaded>(200, "What is different.")
                .text(400, "The query is no text, or holds what is too long or cannot be shown.")
                .text(
                    422,
                    "It is wrong, and the site stays as it was: what is to be mended.",
                ),
        ),
    ]
}
