//! Bodies in JSON. Owns that what is to be an object is one: a list would be read as its values, by their place.

use serde::de::{DeserializeOwned, IgnoredAny};

/// What a body holds, or why it cannot be read.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let said = |error: serde_json::Error| error.to_string();
    if body.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(body).map_err(said)?;
        return Err("it is no object, `{…}`".to_owned());
    }
    serde_json::from_slice(body).map_err(said)
}
