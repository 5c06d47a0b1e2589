//! A TOML file of another kind than a site's, read with the same care: unknown keys, wrong types and
//! syntax errors all at once, each at its caret. Owns nothing of its own; what the file means is the
//! affair of whoever declares its type.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::diagnose::{Diagnostic, Diagnostics, FileId, Place};
use super::{check, read, schema_of};

/// Reads a text of which people know as `shown`. `None` if it cannot be examined further; else what is
/// wrong is left out of it, and found.
pub fn read<T: JsonSchema + DeserializeOwned>(
    shown: &str,
    text: &str,
    found: &mut Diagnostics,
) -> Option<(FileId, T)> {
    let file = found.add_file(shown, text);
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if read::syntax::report(text, &errors, file, found) {
        return None;
    }
    check::check(table.get_mut(), &schema_of::<T>(), file, found);
    let value = DeValue::Table(std::mem::take(table.get_mut()));
    let span = table.span();
    let value = serde_spanned::Spanned::new(span, value);
    match T::deserialize(ValueDeserializer::from(value)) {
        Ok(read) => Some((file, read)),
        // what is missing was found already
        Err(_) if found.has_errors() => None,
        // what may be of several kinds is left to whoever reads it
        Err(error) => {
            let finding = Diagnostic::error("a value of the wrong kind");
            let message = error.message().to_owned();
            found.push(match error.span() {
                Some(span) => finding.at(Place { file, span }, message),
                None => finding.help(message),
            });
            None
        }
    }
}
