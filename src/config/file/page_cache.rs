//! `[pages.….cache]` as it is written. Owns its keys, defaults and ranges.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, TimeSpan};

/// For how long others may keep a page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PageCache {
    /// What a CDN or another shared cache may keep it for, at most: less where a block on it goes stale
    /// earlier, and not at all where one is a reader's own or comes only after the page has begun.
    #[schemars(extend("x-range" = ["0s", "365d"]), example = &"60s")]
    pub shared_max_age: At<TimeSpan>,
    /// What a browser may keep it for, at most, of the time that a shared cache may.
    #[schemars(extend("x-range" = ["0s", "365d"]))]
    pub max_age: At<TimeSpan>,
    /// For how long after that a shared cache may show it while it asks for a new one.
    #[schemars(extend("x-range" = ["0s", "365d"]), example = &"30s")]
    pub stale_while_revalidate: At<TimeSpan>,
    /// For how long after that a shared cache may show it where this server does not answer.
    #[schemars(extend("x-range" = ["0s", "365d"]), example = &"1d")]
    pub stale_if_error: At<TimeSpan>,
    /// What a shared cache may keep it for where something is given up or could not be had; "0s": such
    /// a page is not kept. A crowd of readers then costs one page in so long, and all of them get what
    /// the first was given.
    #[schemars(extend("x-range" = ["0s", "1m"]), example = &"2s")]
    pub degraded_max_age: At<TimeSpan>,
}

impl Default for PageCache {
    fn default() -> Self {
        let none = || At::unwritten(TimeSpan::from_millis(0));
        Self {
            shared_max_age: none(),
            max_age: none(),
            stale_while_revalidate: none(),
            stale_if_error: none(),
            degraded_max_age: none(),
        }
    }
}
