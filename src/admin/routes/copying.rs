//! What is done with copies from outside. Owns these rows of the table.

use serde_json::Value;

use super::super::copies;
use super::super::openapi::{HTML, JSON, Operation, operation};
use super::{Route, guarded};

const KEY: &str = "The path, without its first slash, and the query that the fragment's source makes. It may \
                   hold slashes, which are not encoded.";

/// Copies.
pub(super) fn copying() -> Vec<Route> {
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
                    .query::<String>("by", "Who wants it, for the journal.")
                    .query::<String>("reason", "Why, for the journal.")
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
