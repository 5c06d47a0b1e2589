//! JSON + template → HTML, with escaping on and limits on work and output. Owns the engine's
//! settings and the context that a template sees; pure: no clock, no I/O.
//!
//! A template sees `data` (the JSON), `params` (the route's parameters) and `fragment` (its name);
//! that of a list `items` and `missing` instead of `data`.
//! A field that is missing prints nothing, however deep it was looked for: an origin that stops
//! sending an optional field must not cost the block. Some origins answer 200 to everything and say
//! "no such story" in the JSON: for them a template calls `not_found()`, and that is what a 404 of
//! the origin would have been. Invariant: for the same template, JSON and
//! parameters the result is the same, on any machine at any time.

use std::io::{self, Write};

use bytes::Bytes;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
};
use serde::Deserialize as _;
use serde::de::IgnoredAny;

pub mod error;
mod filters;

use error::NothingToShow;
pub use error::RenderError;

/// Depth of includes and macro calls; a page fragment needs a handful.
const RECURSION_MAX: usize = 50;

/// An engine without templates, with this site's filters and limits.
pub fn engine(fuel: u64) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_fuel(Some(fuel));
    engine.set_recursion_limit(RECURSION_MAX);
    engine.set_undefined_behavior(UndefinedBehavior::Chainable);
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    engine.set_formatter(write_value);
    engine.add_function("not_found", not_found);
    filters::add(&mut engine);
    engine
}

fn not_found() -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "nothing to show").with_source(NothingToShow))
}

/// Runs a template on JSON.
pub fn html(
    engine: &Environment<'static>,
    template: &str,
    json: &[u8],
    params: &[(String, String)],
    fragment: &str,
    output_max: usize,
) -> Result<Bytes, RenderError> {
    let json = without_mark(json);
    let data: Value = serde_json::from_slice(json).map_err(|e| RenderError::Json(e.to_string()))?;
    let context = Value::from_pairs([
        ("data", data),
        ("params", named(params)),
        ("fragment", Value::from(fragment)),
    ]);
    run(engine, template, context, json.len(), output_max)
}

/// Whether this is JSON at all; else why not.
pub fn check_json(json: &[u8]) -> Result<(), String> {
    let read = serde_json::from_slice::<IgnoredAny>(without_mark(json));
    read.map(drop).map_err(|error| error.to_string())
}

/// Some origins put a byte order mark before their JSON.
fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// An item of a list that is shown.
pub struct ListItem<'i> {
    /// What the list says of it.
    pub value: &'i serde_json::Value,
    /// What is shown.
    pub html: Bytes,
}

/// Runs a list's template. It sees `items`, each with its `html` and the fields that the list has of
/// it (what is no object is its `value`), and the number of those that are `missing`.
pub fn list(
    engine: &Environment<'static>,
    template: &str,
    items: &[ListItem<'_>],
    missing: usize,
    params: &[(String, String)],
    fragment: &str,
    output_max: usize,
) -> Result<Bytes, RenderError> {
    let item = |item: &ListItem<'_>| {
        let html = String::from_utf8_lossy(&item.html).into_owned();
        let html = ("html", Value::from_safe_string(html));
        let fields = item.value.as_object();
        let scalar = fields.is_none().then(|| ("value", value(item.value)));
        let fields = fields.into_iter().flatten();
        let fields = fields.map(|(name, json)| (name.as_str(), value(json)));
        Value::from_pairs(fields.chain(scalar).chain([html]))
    };
    let size = items.iter().map(|item| item.html.len()).sum();
    let context = Value::from_pairs([
        ("items", Value::from_iter(items.iter().map(item))),
        ("missing", Value::from(missing)),
        ("params", named(params)),
        ("fragment", Value::from(fragment)),
    ]);
    run(engine, template, context, size, output_max)
}

fn value(json: &serde_json::Value) -> Value {
    Value::deserialize(json).unwrap_or(Value::UNDEFINED)
}

fn named(params: &[(String, String)]) -> Value {
    Value::from_pairs(params.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

fn run(
    engine: &Environment<'static>,
    template: &str,
    context: Value,
    capacity: usize,
    output_max: usize,
) -> Result<Bytes, RenderError> {
    let template = engine
        .get_template(template)
        .map_err(|e| RenderError::template(&e))?;
    let mut output = Bounded {
        bytes: Vec::with_capacity(capacity.min(output_max)),
        max: output_max,
        over: false,
    };
    let result = template.render_captured_to(context, &mut output).map(drop);
    if output.over {
        return Err(RenderError::TooLarge(output_max));
    }
    result.map_err(|e| RenderError::template(&e))?;
    Ok(Bytes::from(output.bytes))
}

/// Escapes the five characters that matter in HTML text and quoted attributes. The engine's own
/// formatter also escapes `/`, which makes every URL in a page longer and protects nothing.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    let plain = *state.auto_escape() == AutoEscape::Html && !value.is_safe();
    match value.as_str().filter(|_| plain) {
        Some(text) => Ok(write_escaped(out, text)?),
        None => minijinja::escape_formatter(out, state, value),
    }
}

fn write_escaped(out: &mut Output<'_>, text: &str) -> std::fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
        out.write_str(&rest[..at])?;
        out.write_str(match rest.as_bytes()[at] {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            b'"' => "&quot;",
            _ => "&#39;",
        })?;
        rest = &rest[at + 1..];
    }
    out.write_str(rest)
}

/// Memory that refuses to grow beyond its limit.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.max {
            self.over = true;
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str, json: &str) -> Result<String, RenderError> {
        let mut engine = engine(10_000);
        engine
            .add_template_owned("t.html", template.to_owned())
            .unwrap();
        let params = [("slug".to_owned(), "a&b".to_owned())];
        html(&engine, "t.html", json.as_bytes(), &params, "article", 1000)
            .map(|b| String::from_utf8(b.to_vec()).unwrap())
    }

    #[test]
    fn a_template_sees_data_params_and_its_fragment() {
        let html = run(
            "{{ data.t }} {{ params.slug }} {{ fragment }}",
            r#"{"t": "<b>'/\""}"#,
        );
        assert_eq!(html.unwrap(), "&lt;b&gt;&#39;/&quot; a&amp;b article");
    }

    #[test]
    fn safe_html_and_missing_fields() {
        let html = run(
            "{{ data.h|safe }}[{{ data.a.b.c }}]{{ data.n }}",
            r#"{"h": "<i>", "n": 3}"#,
        );
        assert_eq!(html.unwrap(), "<i>[]3");
    }

    #[test]
    fn a_template_can_say_that_there_is_nothing_to_show() {
        let by_itself = "{% if not data %}{{ not_found() }}{% endif %}{{ data[0].t }}";
        assert_eq!(run(by_itself, "[]"), Err(RenderError::NotFound));
        assert_eq!(run(by_itself, r#"[{"t": "x"}]"#).unwrap(), "x");
        let within = "{% macro story(s) %}{% if not s %}{{ not_found() }}{% endif %}{% endmacro %}";
        assert_eq!(
            run(&(within.to_owned() + "{{ story(data[0]) }}"), "[]"),
            Err(RenderError::NotFound)
        );
        let mut engine = engine(10_000);
        engine.add_template("inner.html", by_itself).unwrap();
        engine
            .add_template("outer.html", "<p>{% include 'inner.html' %}</p>")
            .unwrap();
        let included = html(&engine, "outer.html", b"[]", &[], "article", 1000);
        assert_eq!(included, Err(RenderError::NotFound));
    }

    #[test]
    fn the_template_of_a_list_sees_what_is_there_and_how_much_is_not() {
        let mut engine = engine(10_000);
        let text = "{% for item in items %}[{{ item.t }}{{ item.value }}|{{ item.html }}]{% endfor %}{{ missing }}";
        engine.add_template("t.html", text).unwrap();
        let values = [serde_json::json!({"t": "a<", "html": "no"}), 7.into()];
        let items = values.each_ref().map(|value| ListItem {
            value,
            html: Bytes::from_static(b"<i>"),
        });
        let html = list(&engine, "t.html", &items, 2, &[], "latest", 1000);
        assert_eq!(html.unwrap(), "[a&lt;|<i>][7|<i>]2");
        let html = list(&engine, "t.html", &items, 2, &[], "latest", 10);
        assert_eq!(html, Err(RenderError::TooLarge(10)));
    }

    #[test]
    fn what_cannot_be_rendered_is_an_error() {
        assert!(matches!(run("x", "{"), Err(RenderError::Json(_))));
        assert!(matches!(
            run("x", "{\"a\": \"\u{1}\"}"),
            Err(RenderError::Json(_))
        ));
        assert!(matches!(
            run("{{ data|nofilter }}", "1"),
            Err(RenderError::Template { .. })
        ));
        let endless =
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
        assert!(matches!(
            run(endless, "1"),
            Err(RenderError::Template { .. })
        ));
        let big = "{% for i in range(200) %}0123456789{% endfor %}";
        assert!(matches!(run(big, "1"), Err(RenderError::TooLarge(1000))));
    }
}
