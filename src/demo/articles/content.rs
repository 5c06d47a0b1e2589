//! The newspaper's files, embedded in the program.
//!
//! It owns how a file of `content/` is read. It must not know what the file says. Its invariant:
//! what is embedded is well formed, which the tests prove; so reading does not fail.

use bytes::Bytes;
use rust_embed::Embed;
use serde_json::Value;

#[derive(Embed)]
#[folder = "src/demo/content"]
struct Content;

/// The embedded files of `folder` with `extension`: name without either, and content.
pub(super) fn files(folder: &str, extension: &str) -> impl Iterator<Item = (String, Bytes)> {
    Content::iter().filter_map(move |path| {
        let name = path
            .strip_prefix(folder)?
            .strip_suffix(extension)?
            .to_owned();
        let file = Content::get(&path).expect("a listed file is embedded");
        Some((name, Bytes::from(file.data.into_owned())))
    })
}

/// The JSON file at `path`.
pub(super) fn read(path: &str) -> Value {
    parse(
        path,
        &Content::get(path)
            .expect("the edition's files are embedded")
            .data,
    )
}

pub(super) fn parse(name: &str, body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|e| panic!("{name} is not JSON: {e}"))
}

/// The text under `key`.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text at `{key}` in {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_outside_host_is_named() {
        for path in Content::iter() {
            let file = Content::get(&path).unwrap();
            let body = std::str::from_utf8(&file.data).unwrap();
            let body = body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains("://"), "{path} names a host");
        }
    }
}
