//! A TOML table against the JSON schema of `fragments.toml`: unknown keys, wrong types, missing keys,
//! numbers out of range, all at once and each at its caret. Owns the wording of these findings;
//! knows nothing of any particular setting.
//!
//! Invariant: what is left of the table afterwards deserializes. Wrong values are taken out of it,
//! so that the rest can still be examined, and what was taken out is told to the caller.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;
use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::site::name::is_name;

use super::diagnose::{Diagnostic, Diagnostics, FileId, Place};

mod expected;
mod leaf;

use expected::{accepts, article, expected, written};

/// What had to be taken out of a table.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Whole entries such as `[fragments.x]`, or keys such as `server.listen`: section, name, and where the name is written.
    pub(super) lost: Vec<(String, String, Range<usize>)>,
    /// Entries that stay but lack something that was written, by section and name.
    pub(super) partial: BTreeSet<(String, String)>,
}

impl Removed {
    /// Whether anything had to be taken out of an entry, or all of it.
    pub(super) fn touches(&self, section: &str, name: &str) -> bool {
        let lost = self.lost.iter();
        let mut names = lost
            .map(|(section, name, _)| (section, name))
            .chain(self.partial.iter().map(|(section, name)| (section, name)));
        names.any(|(s, n)| s == section && n == name)
    }
}

/// Checks a file's table and takes out of it what is wrong.
pub(super) fn check(
    table: &mut DeTable<'_>,
    schema: &Value,
    file: FileId,
    found: &mut Diagnostics,
) -> Removed {
    let removed = Removed::default();
    let mut walk = Walk {
        file,
        found,
        path: Vec::new(),
        env: false,
        removed,
    };
    walk.table(table, schema, 0..0);
    walk.removed
}

struct Walk<'w> {
    file: FileId,
    found: &'w mut Diagnostics,
    /// Keys from the root to the present value.
    path: Vec<String>,
    /// Whether `${ENV}` is expanded here.
    env: bool,
    removed: Removed,
}

impl Walk<'_> {
    /// Returns whether all that is required is there and right.
    fn table(&mut self, table: &mut DeTable<'_>, schema: &Value, owner: Range<usize>) -> bool {
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for key in &required {
            if !table.contains_key(*key) {
                self.missing(key, schema, owner.clone());
            }
        }
        for (key, mut value) in std::mem::take(table) {
            self.path.push(key.get_ref().to_string());
            if self.entry(key.span(), &mut value, schema) {
                table.insert(key, value);
            } else {
                self.note_removal(key.span());
            }
            self.path.pop();
        }
        required.iter().all(|key| table.contains_key(*key))
    }

    fn note_removal(&mut self, key: Range<usize>) {
        if let [section, name] = &self.path[..] {
            self.removed.lost.push((section.clone(), name.clone(), key));
        } else if let [section, name, ..] = &self.path[..] {
            self.removed.partial.insert((section.clone(), name.clone()));
        }
    }

    fn entry(
        &mut self,
        key: Range<usize>,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Value,
    ) -> bool {
        let name = self.path.last().cloned().unwrap_or_default();
        if let Some(known) = schema["properties"].get(&name) {
            return self.value(value, known, key);
        }
        let named = schema["patternProperties"]
            .as_object()
            .and_then(|p| p.values().next());
        if let Some(known) = named {
            if is_name(&name) {
                return self.value(value, known, key);
            }
            let place = self.place(key);
            self.found.push(
                Diagnostic::error(format!("`{name}` cannot be a name"))
                    .at(place, "expected 1 to 64 letters, digits, `-` or `_`")
                    .help("names appear in metrics, in headers and in `source = \"ORIGIN:/…\"`"),
            );
            return false;
        }
        let known: Vec<&str> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, _)| k.as_str())
            .collect();
        let place = self.place(key);
        let context = self.context();
        let finding = Diagnostic::error(format!("unknown key `{name}` {context}"))
            .at(place, "not a key that marbre knows")
            .did_you_mean(&name, known);
        self.found.push(finding);
        false
    }

    fn value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Value,
        key: Range<usize>,
    ) -> bool {
        let outer = self.env;
        self.env |= schema["x-env"] == true;
        if schema["x-one-or-many"] == true && value.get_ref().is_str() {
            let one = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
            let span = value.span();
            *value.get_mut() = DeValue::Array([Spanned::new(span, one)].into_iter().collect());
        }
        let usable = match schema["anyOf"].as_array() {
            None => self.plain(value, schema, schema, key),
            Some(options) => match options.iter().find(|o| accepts(o, value.get_ref())) {
                Some(option) => self.plain(value, option, schema, key),
                None => self.wrong_type(value, schema),
            },
        };
        self.env = outer;
        usable
    }

    /// A value against one alternative of the `whole` that may stand here.
    fn plain(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Value,
        whole: &Value,
        key: Range<usize>,
    ) -> bool {
        if !accepts(schema, value.get_ref()) {
            return self.wrong_type(value, schema);
        }
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                let text = text.to_string();
                self.string(&text, span, schema, whole)
            }
            DeValue::Integer(number) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                self.integer(parsed.unwrap_or(i128::MAX), span, schema, whole)
            }
            DeValue::Array(items) => {
                if items.is_empty() && schema["minItems"] == 1 {
                    return self.wrong(
                        span,
                        "this list is empty",
                        "it needs at least one".to_owned(),
                    );
                }
                // the index is not part of the path: `[[proxy]]` is called by its own name
                let written = items.len();
                for mut item in std::mem::replace(items, DeArray::new()) {
                    let span = item.span();
                    if self.value(&mut item, &schema["items"], span) {
                        items.push(item);
                    }
                }
                if items.len() < written && self.path.len() > 1 {
                    self.note_removal(key);
                }
                true
            }
            DeValue::Table(table) => self.table(table, schema, key),
            DeValue::Float(number) => {
                let parsed = number.as_str().parse();
                self.number(parsed.unwrap_or(f64::NAN), span, schema, whole)
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) => true,
        }
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, schema: &Value) -> bool {
        let message = format!("{} must be {}", self.setting(), expected(schema));
        let label = format!("this is {}", article(value.get_ref()));
        let mut finding = Diagnostic::error(message).at(self.place(value.span()), label);
        finding.help = match (
            value.get_ref(),
            schema["format"].as_str(),
            schema["type"].as_str(),
        ) {
            (DeValue::Integer(n), Some("duration-text"), _) => {
                Some(format!("write the unit: `\"{n}ms\"` or `\"{n}s\"`"))
            }
            (DeValue::Integer(n), Some("size-text"), _) => {
                Some(format!("write the unit: `\"{n}B\"` or `\"{n}KiB\"`"))
            }
            (DeValue::Table(_), _, Some("array")) => Some(format!("write `[[{}]]`", self.last())),
            (DeValue::Table(_), ..) if schema["x-one-or-many"] == true => {
                Some("put it in a list: `[{ … }]`".to_owned())
            }
            (DeValue::String(text), _, Some("array")) => Some(format!("write `[{text:?}]`")),
            (_, _, Some("object")) => self.table_like(schema),
            (DeValue::String(text), ..) => unquoted(text, schema),
            _ => None,
        };
        self.found.push(finding);
        false
    }

    /// The table that is wanted, with one of its keys: one that it must have, if there is such.
    fn table_like(&self, schema: &Value) -> Option<String> {
        let keys = schema["properties"].as_object()?;
        let required = schema["required"][0].as_str();
        let (key, node) =
            keys.get_key_value(required.or(keys.keys().next().map(String::as_str))?)?;
        let value = node.get("default").or(node["examples"].get(0))?;
        Some(format!(
            "for example `{} = {{ {key} = {value} }}`",
            self.last()
        ))
    }

    fn wrong(&mut self, span: Range<usize>, label: &str, help: String) -> bool {
        let message = format!("{} cannot be empty", self.setting());
        let mut finding = Diagnostic::error(message).at(self.place(span), label);
        finding.help = (!help.is_empty()).then_some(help);
        self.found.push(finding);
        false
    }

    fn missing(&mut self, key: &str, schema: &Value, owner: Range<usize>) {
        let wanted = &schema["properties"][key];
        let header = written(&self.path);
        let mut finding = Diagnostic::error(format!("{header} has no `{key}`")).at(
            self.place(owner),
            format!("`{key}` is required: {}", expected(wanted)),
        );
        let example = wanted["examples"].get(0);
        finding.help = example.map(|example| format!("for example `{key} = {example}`"));
        self.found.push(finding);
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place {
            file: self.file,
            span,
        }
    }

    fn last(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    fn setting(&self) -> String {
        format!("`{}`", self.last())
    }

    /// `in [fragments.x]`, for a key of it.
    fn context(&self) -> String {
        match &self.path[..] {
            [] | [_] => "at the top of the file".to_owned(),
            [above @ .., _] => format!("in {}", written(above)),
        }
    }
}

/// What to do about a number that is written as a string.
fn unquoted(text: &str, schema: &Value) -> Option<String> {
    let number = DeValue::Integer(Default::default());
    let is_wanted = text.parse::<u64>().is_ok() && accepts(schema, &number);
    is_wanted.then(|| format!("write it without quotes: `{text}`"))
}
