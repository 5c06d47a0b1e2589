//! The admin API in the words of OpenAPI 3.1. Owns how an operation is described, and how the document is
//! made of all of them; pure. What there is to describe is in [`routes`](super::routes), and the schemas
//! are those of the types that are read and written.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::site::AdminRole;

use super::routes::SIGN_OUT;

/// Media types.
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";
pub(super) const HTML: &str = "text/html";
pub(super) const EVENTS: &str = "text/event-stream";

/// Makes the schema of a type.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// What can be asked for at an address by one method.
pub(super) struct Operation {
    id: &'static str,
    says: &'static str,
    more: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
}

struct Parameter {
    name: &'static str,
    place: &'static str,
    is_required: bool,
    says: &'static str,
    schema: Make,
}

struct Body {
    is_required: bool,
    says: &'static str,
    media: Vec<(&'static str, Make)>,
}

struct Answer {
    status: u16,
    says: &'static str,
    media: Vec<(&'static str, Make)>,
    /// Of a stream of events: what the data of each is.
    event: Option<Make>,
}

/// Describes an operation: the name that programs call it by, and what it does in a line.
pub(super) fn operation(id: &'static str, says: &'static str) -> Operation {
    Operation {
        id,
        says,
        more: "",
        parameters: Vec::new(),
        body: None,
        answers: Vec::new(),
    }
}

impl Operation {
    /// Says more.
    pub(super) fn more(mut self, more: &'static str) -> Self {
        self.more = more;
        self
    }

    /// A part of the path.
    pub(super) fn path(self, name: &'static str, says: &'static str) -> Self {
        self.parameter::<String>(("path", true), name, says)
    }

    /// A field of the query without which there is no answer.
    pub(super) fn needed<T: JsonSchema>(self, name: &'static str, says: &'static str) -> Self {
        self.parameter::<T>(("query", true), name, says)
    }

    /// A field of the query.
    pub(super) fn query<T: JsonSchema>(self, name: &'static str, says: &'static str) -> Self {
        self.parameter::<T>(("query", false), name, says)
    }

    /// A header.
    pub(super) fn header<T: JsonSchema>(self, name: &'static str, says: &'static str) -> Self {
        self.parameter::<T>(("header", false), name, says)
    }

    fn parameter<T: JsonSchema>(
        mut self,
        (place, is_required): (&'static str, bool),
        name: &'static str,
        says: &'static str,
    ) -> Self {
        self.parameters.push(Parameter {
            name,
            place,
            is_required,
            says,
            schema: SchemaGenerator::subschema_for::<T>,
        });
        self
    }

    /// What is sent with it; more than once where it may be in one of several forms.
    pub(super) fn body<T: JsonSchema>(mut self, media: &'static str, says: &'static str) -> Self {
        let body = self.body.get_or_insert_with(|| Body {
            is_required: true,
            says,
            media: Vec::new(),
        });
        body.media
            .push((media, SchemaGenerator::subschema_for::<T>));
        self
    }

    /// What is sent may be nothing.
    pub(super) fn or_nothing(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.is_required = false;
        }
        self
    }

    /// An answer in JSON.
    pub(super) fn json<T: JsonSchema>(self, status: u16, says: &'static str) -> Self {
        self.answer::<T>(status, JSON, says)
    }

    /// An answer in a sentence.
    pub(super) fn text(self, status: u16, says: &'static str) -> Self {
        self.answer::<String>(status, TEXT, says)
    }

    /// An answer of this type; more than once where it may be one of several.
    pub(super) fn answer<T: JsonSchema>(
        mut self,
        status: u16,
        media: &'static str,
        says: &'static str,
    ) -> Self {
        let answer = self.answered(status, says);
        answer
            .media
            .push((media, SchemaGenerator::subschema_for::<T>));
        self
    }

    /// An answer that goes on: server-sent events, each of which holds one of these as JSON.
    pub(super) fn events<T: JsonSchema>(self, status: u16, says: &'static str) -> Self {
        let mut stream = self.answer::<String>(status, EVENTS, says);
        stream.answered(status, says).event = Some(SchemaGenerator::subschema_for::<T>);
        stream
    }

    /// An answer without a body.
    pub(super) fn nothing(mut self, status: u16, says: &'static str) -> Self {
        self.answered(status, says);
        self
    }

    fn answered(&mut self, status: u16, says: &'static str) -> &mut Answer {
        let known = self
            .answers
            .iter()
            .position(|answer| answer.status == status);
        let place = known.unwrap_or_else(|| {
            self.answers.push(Answer {
                status,
                says,
                media: Vec::new(),
                event: None,
            });
            self.answers.len() - 1
        });
        &mut self.answers[place]
    }
}

/// One address with what can be asked for there, by method.
pub(super) struct Described<'r> {
    /// As in the document: `/switches/{subject}`.
    pub(super) path: String,
    /// Whether anybody may ask, without a token.
    pub(super) is_open: bool,
    /// Method in lower case, and what it does.
    pub(super) operations: &'r [(&'static str, Operation)],
}

const ABOUT: &str = "What operators and their programs can ask of a marbre server. Where `[admin]` declares a \
     token, it is presented as `Authorization: Bearer …`, or by the session cookie of `/login`; where it declares \
     `read_token`, that one is good for what needs the role `read`, and a 403 to everything else. Without a token \
     requests must come to an IP address or `localhost`. What changes something is refused to pages of other \
     sites. Errors are a sentence in plain text that says what to do, unless the operation says otherwise. \
     `GET` is answered to `HEAD` as well; any other method is a 405.";

/// The document.
pub(super) fn document<'r>(routes: impl Iterator<Item = Described<'r>>) -> Value {
    let with_path = |settings: SchemaSettings| {
        let settings = settings.with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        settings.into_generator()
    };
    let mut read = with_path(SchemaSettings::draft2020_12().for_deserialize());
    let mut written = with_path(SchemaSettings::draft2020_12().for_serialize());
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let methods = paths.entry(route.path.clone()).or_default();
        for (method, operation) in route.operations {
            let address = (route.path.as_str(), *method);
            let shown = show(operation, address, route.is_open, (&mut read, &mut written));
            methods.insert((*method).to_owned(), shown);
        }
    }
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "marbre admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`token` of `[admin]`, or `read_token` for what needs the role `read`.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "marbre_session",
                    "description": "What `POST /login` gives a browser.",
                },
            },
        },
    })
}

fn show(
    operation: &Operation,
    (path, method): (&str, &str),
    is_open: bool,
    (read, written): (&mut SchemaGenerator, &mut SchemaGenerator),
) -> Value {
    let mut shown = Map::new();
    shown.insert("operationId".to_owned(), operation.id.into());
    shown.insert("summary".to_owned(), operation.says.into());
    if !operation.more.is_empty() {
        shown.insert("description".to_owned(), operation.more.into());
    }
    let parameters = operation.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.says,
            "required": parameter.is_required,
            "schema": (parameter.schema)(read),
        })
    });
    let parameters: Vec<Value> = parameters.collect();
    if !parameters.is_empty() {
        shown.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(body) = &operation.body {
        let body = json!({
            "description": body.says,
            "required": body.is_required,
            "content": content(&body.media, read),
        });
        shown.insert("requestBody".to_owned(), body);
    }
    let role = match method == "get" || path == SIGN_OUT {
        true => AdminRole::Read,
        false => AdminRole::Operate,
    };
    if !is_open {
        shown.insert("x-role".to_owned(), role.name().into());
    }
    let mut answers = BTreeMap::new();
    for answer in &operation.answers {
        let mut shown = show_answer(answer.says, &answer.media, written);
        if let Some(event) = answer.event {
            shown["content"][EVENTS]["x-itemSchema"] = show_event(event(written));
        }
        answers.insert(answer.status, shown);
    }
    let security = match is_open {
        true => json!([]),
        false => {
            let text: [(&str, Make); 1] = [(TEXT, SchemaGenerator::subschema_for::<String>)];
            let mut guarded = |status, says: &str| {
                let answer = show_answer(says, &text, written);
                answers.entry(status).or_insert(answer);
            };
            guarded(401, "The token of `[admin]` is missing or is another one.");
            let why = match role {
                AdminRole::Read => "There is no token and the host is a name.",
                AdminRole::Operate => {
                    "The token may only read; or a page of another site made a browser send this; or there is no token \
                     and the host is a name."
                }
            };
            guarded(403, why);
            guarded(429, "Too many wrong tokens from this address just now.");
            if method == "get" {
                let says = "A browser that has not signed in is sent to `/login`.";
                answers.entry(303).or_insert(json!({ "description": says }));
            }
            // a server without a token asks for none
            json!([{ "token": [] }, { "session": [] }, {}])
        }
    };
    let answers: Map<String, Value> = answers
        .into_iter()
        .map(|(status, answer): (u16, Value)| (status.to_string(), answer))
        .collect();
    shown.insert("responses".to_owned(), answers.into());
    shown.insert("security".to_owned(), security);
    shown.into()
}

fn show_answer(says: &str, media: &[(&'static str, Make)], schemas: &mut SchemaGenerator) -> Value {
    if media.is_empty() {
        return json!({ "description": says });
    }
    json!({ "description": says, "content": content(media, schemas) })
}

/// One event of a stream, in the form that OpenAPI has for it from 3.2 on, under a name that 3.1 allows.
fn show_event(data: Schema) -> Value {
    json!({
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "string",
                "contentMediaType": JSON,
                "contentSchema": data,
            },
        },
    })
}

fn content(media: &[(&'static str, Make)], schemas: &mut SchemaGenerator) -> Value {
    let content = media.iter().map(|(media, make)| {
        let schema = make(schemas);
        ((*media).to_owned(), json!({ "schema": schema }))
    });
    Value::Object(content.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_what_its_events_hold() {
        let operations = [(
            "get",
            operation("hear", "Hears.").events::<u64>(200, "Numbers."),
        )];
        let described = Described {
            path: "/numbers".to_owned(),
            is_open: true,
            operations: &operations,
        };
        let document = document([described].into_iter());
        let stream = &document["paths"]["/numbers"]["get"]["responses"]["200"]["content"][EVENTS];
        assert_eq!(stream["schema"]["type"], "string");
        let data = &stream["x-itemSchema"]["properties"]["data"];
        assert_eq!(data["contentSchema"]["type"], "integer");
    }

    #[test]
    fn an_answer_of_two_types_is_one_answer_and_the_guard_has_its_own() {
        let operations = [(
            "get",
            operation("look", "Looks.")
                .query::<u64>("since", "From when on.")
                .answer::<String>(200, HTML, "It is there.")
                .text(200, "It is there.")
                .text(403, "It is not for you."),
        )];
        let described = [true, false].map(|is_open| Described {
            path: format!("/{is_open}"),
            is_open,
            operations: &operations,
        });
        let document = document(described.into_iter());
        let open = &document["paths"]["/true"]["get"]["responses"];
        let media = open["200"]["content"].as_object().unwrap();
        assert_eq!(media.keys().collect::<Vec<_>>(), [HTML, TEXT]);
        assert!(open.get("401").is_none());
        let guarded = &document["paths"]["/false"]["get"]["responses"];
        assert_eq!(guarded["403"]["description"], "It is not for you.");
        for status in ["303", "401"] {
            assert!(guarded.get(status).is_some(), "{guarded}");
        }
    }
}
