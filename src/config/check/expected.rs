//! JSON schema in words: "a duration such as `"250ms"`". Owns the phrases and the reading of schema
//! nodes; reports nothing.

use serde_json::Value;
use toml::de::DeValue;

/// Whether a value is of the type that a schema node asks for.
pub(super) fn accepts(schema: &Value, value: &DeValue<'_>) -> bool {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().any(|option| accepts(option, value));
    }
    match schema["type"].as_str() {
        Some("string") => value.is_str(),
        Some("integer") => value.is_integer(),
        Some("number") => value.is_integer() || value.is_float(),
        Some("boolean") => value.is_bool(),
        Some("array") => value.is_array(),
        Some("object") => value.is_table(),
        _ => true,
    }
}

/// What a schema node asks for.
pub(super) fn expected(schema: &Value) -> String {
    if let Some(options) = schema["anyOf"].as_array() {
        return options
            .iter()
            .map(expected)
            .collect::<Vec<_>>()
            .join(", or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(" or ");
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (_, Some("duration-text")) => "a duration such as `\"250ms\"`".to_owned(),
        (_, Some("size-text")) => "a size such as `\"512KiB\"`".to_owned(),
        (Some("string"), _) => "a string".to_owned(),
        (Some("integer"), _) => match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            (Some(low), Some(high)) => format!("a whole number from {low} to {high}"),
            _ => "a whole number".to_owned(),
        },
        (Some("number"), _) => match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (Some(low), Some(high)) => format!("a number from {low} to {high}"),
            _ => "a number".to_owned(),
        },
        (Some("boolean"), _) => "`true` or `false`".to_owned(),
        (Some("array"), _) => match schema["items"]["type"].as_str() {
            Some("string") => "a list of strings".to_owned(),
            Some("integer") => "a list of whole numbers".to_owned(),
            None if schema["items"]["anyOf"].is_array() => {
                "a list of strings and tables".to_owned()
            }
            _ => "a list of tables".to_owned(),
        },
        _ => "a table".to_owned(),
    }
}

/// What a value is.
pub(super) fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A table's header as it is written in the file.
pub(super) fn written(path: &[String]) -> String {
    match path {
        [only] if only == "proxy" || only == "static" => format!("this `[[{only}]]`"),
        path => format!("`[{}]`", path.join(".")),
    }
}
