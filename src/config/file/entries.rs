//! The tables of `fragments.toml` that there may be many of: fragments, pages, proxies and static
//! folders; origins have a file of their own. Owns their keys, defaults and ranges.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, ByteSize, Language, Priority, TimeSpan};

/// An independently obtained piece of pages.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// "core" (always rendered, decides the status), "essential" (never shed), or 1 to 99 (higher
    /// is kept longer).
    pub priority: At<Priority>,
    /// What one view of it is worth, in the site's own unit, such as what an impression earns: what
    /// readers get and lose is told in it. The priority's number if absent, 100 for "core" and
    /// "essential". It changes nothing of what is given up.
    #[schemars(range(min = 0.0, max = 1_000_000_000.0), example = &0.004)]
    pub value: Option<At<f64>>,
    /// `ORIGIN:/path` with `{param}`, `{query.x}`, `{cookie.x}`, `{header.x}`, `{lang}`, `{device}`,
    /// and `{item}`, `{item.x}` in what is an item of a list; or `push:/path` (what was pushed there, and nobody is asked), `file:PATH`, `inline:HTML`,
    /// `data:PATH` (JSON for the template).
    #[schemars(pattern("^([A-Za-z0-9_-]+:|push$)"), example = &"cms:/api/articles/{slug}")]
    pub source: At<String>,
    /// The template that makes HTML of JSON, in the templates folder; none for HTML.
    #[schemars(example = &"fragments/article.html")]
    pub template: Option<At<String>>,
    /// The source answers with a JSON list, and each of its items is this fragment, fetched apart
    /// with a deadline of its own: what is missing is left out. Its source takes `{item}` where the
    /// list has words or numbers, `{item.x}` where it has objects.
    #[schemars(example = &"card")]
    pub item: Option<At<String>>,
    /// Where in the JSON the list is, keys with a dot between them; the whole answer if absent.
    #[schemars(length(min = 1), example = &"data.stories")]
    pub items_at: Option<At<String>>,
    /// Items of the list that are shown, 20 if absent; the rest is not asked for.
    #[schemars(range(min = 1, max = 100))]
    pub max_items: Option<At<u32>>,
    /// With fewer items than this the list is a failure, 1 if absent.
    #[schemars(range(min = 1, max = 100))]
    pub min_items: Option<At<u32>>,
    /// For one fetch, body included; of a list, for all its items too: "1s", or the origin's timeout if that is less.
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub timeout: Option<At<TimeSpan>>,
    /// Whether another replica is asked when the first is slow; core and essential fragments do, if
    /// absent.
    pub hedge: Option<At<bool>>,
    /// A copy is served without asking the origin; as the origin's max-age says if absent.
    #[schemars(extend("x-range" = ["0s", "365d"]))]
    pub ttl: Option<At<TimeSpan>>,
    /// After `ttl`: the copy is served if the origin does not answer within `patience`; as the
    /// origin's stale-while-revalidate says if absent.
    #[schemars(extend("x-range" = ["0s", "365d"]))]
    pub grace: Option<At<TimeSpan>>,
    /// After `grace`: the copy is served only if the origin fails; as the origin's stale-if-error
    /// says if absent, but at least "7d" for core and essential fragments whose `ttl` is not "0s".
    #[schemars(extend("x-range" = ["0s", "365d"]))]
    pub keep: Option<At<TimeSpan>>,
    /// How long a page that holds a stale copy waits for a fresh one.
    #[serde(default = "fifty_ms")]
    #[schemars(extend("x-range" = ["0s", "60s"]))]
    pub patience: At<TimeSpan>,
    /// Percent of `ttl` by which copies are made to go stale at different times.
    #[serde(default = "ten_percent")]
    #[schemars(range(min = 0, max = 50))]
    pub jitter: At<u8>,
    /// Whether a copy that is asked for often is renewed a little before it goes stale.
    #[serde(default = "no")]
    pub early_refresh: At<bool>,
    /// Whether the last good copy is kept on disk too; core, essential and pushed ones are, if
    /// absent. What is for one reader only never is.
    pub durable: Option<At<bool>>,
    /// What fills the slot when there is neither an answer nor a copy, in order: `fragment:NAME`,
    /// `static:PATH`, `inline:HTML`, `data:PATH`, `lazy` (the browser asks once more), `omit`.
    #[serde(default)]
    #[schemars(inner(pattern("^(fragment:|static:|inline:|data:|lazy$|omit$)")), example = ["fragment:teaser", "static:fallbacks/slideshow.html"])]
    pub fallback: Vec<At<String>>,
    /// Largest answer, decompressed.
    #[serde(default = "default_max_size")]
    #[schemars(extend("x-range" = ["1B", "64MiB"]))]
    pub max_size: At<ByteSize>,
    /// Smallest answer, decompressed: a shorter one is a failure.
    #[serde(default = "one_byte")]
    #[schemars(extend("x-range" = ["1B", "64MiB"]))]
    pub min_size: At<ByteSize>,
    /// Texts that the HTML must hold, all of them: without them it is a failure.
    #[serde(default)]
    #[schemars(example = ["</article>"])]
    pub must_contain: Vec<At<String>>,
    /// Media types that are accepted; JSON with a template and HTML without, if absent.
    #[serde(default)]
    #[schemars(inner(pattern("^[^/;\\s]+/[^/;\\s]+$")), example = ["text/html"])]
    pub accept: Vec<At<String>>,
    /// Request headers that are sent on to the origin; copies are kept apart by their values.
    #[serde(default)]
    #[schemars(example = ["x-edition"])]
    pub forward_headers: Vec<At<String>>,
    /// Cookies that are sent on to the origin; copies are kept apart by their values.
    #[serde(default)]
    #[schemars(example = ["session"])]
    pub forward_cookies: Vec<At<String>>,
    /// The path and query by which documents in a markup language include it, with `{name}` for what its
    /// source takes from them; those of its source if absent.
    #[schemars(pattern("^/"), example = &"/esi/slideshow/{slug}")]
    pub include: Option<At<String>>,
}

/// A composable page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The paths it answers to: literal segments and `{name}` for one segment.
    #[schemars(pattern("^/"), example = &"/articles/{slug}")]
    pub route: At<String>,
    /// The HTML with its slots, in the templates folder.
    #[schemars(length(min = 1), example = &"layouts/article.html")]
    pub layout: At<String>,
    /// From the request to the last byte of the page.
    #[serde(default = "one_second")]
    #[schemars(extend("x-range" = ["10ms", "60s"]))]
    pub budget: At<TimeSpan>,
    /// What it should take at the 95th percentile: as `[degradation]` says if absent.
    #[schemars(extend("x-range" = ["20ms", "60s"]), example = &"500ms")]
    pub target: Option<At<TimeSpan>>,
    /// How often the last complete page is taken as a snapshot, at most: what the reader gets when
    /// the core has nothing else.
    #[serde(default = "one_minute")]
    #[schemars(extend("x-range" = ["1s", "1d"]))]
    pub snapshot_every: At<TimeSpan>,
    /// How old a snapshot may be; "0s" for none.
    #[serde(default = "seven_days")]
    #[schemars(extend("x-range" = ["0s", "365d"]))]
    pub snapshot_keep: At<TimeSpan>,
    /// For how long others may keep it. Unless it is said here, whoever keeps a page must ask again
    /// each time (`no-cache`), which costs no more than a 304 where nothing has changed.
    #[serde(default)]
    pub cache: super::PageCache,
}

/// A path that is passed through to an origin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The paths: literal segments, `{name}` for one segment, `{*rest}` for all that follow.
    #[schemars(pattern("^/"), example = &"/api/{*rest}")]
    pub route: At<String>,
    /// Who answers, a name from `[origins.…]`.
    #[schemars(example = &"cms")]
    pub origin: At<String>,
    /// The path to ask for, with the route's parameters; the request's own path if absent.
    #[schemars(pattern("^/"), example = &"/v2/{*rest}")]
    pub path: Option<At<String>>,
    /// Until the head of the answer, from when the origin was last given a part of the request.
    #[serde(default = "thirty_seconds")]
    #[schemars(extend("x-range" = ["1ms", "1h"]))]
    pub timeout: At<TimeSpan>,
    /// Largest silence within the answer, and on a WebSocket.
    #[serde(default = "one_minute")]
    #[schemars(extend("x-range" = ["1ms", "1d"]))]
    pub idle_timeout: At<TimeSpan>,
    /// The markup language that its HTML is in: includes are put in on the way.
    pub markup: Option<At<Language>>,
}

/// A folder that is served.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Static {
    /// The path prefix, without parameters.
    #[schemars(pattern("^/[^{}]*$"), example = &"/assets")]
    pub route: At<String>,
    /// The folder, relative to this file.
    #[schemars(length(min = 1), example = &"public/assets")]
    pub dir: At<String>,
    /// `Cache-Control` of its files.
    #[schemars(example = &"public, max-age=3600")]
    pub cache_control: Option<At<String>>,
}

fn seconds(n: u64) -> At<TimeSpan> {
    At::unwritten(TimeSpan::from_millis(n * 1000))
}

fn seven_days() -> At<TimeSpan> {
    seconds(7 * 24 * 3600)
}

fn ten_percent() -> At<u8> {
    At::unwritten(10)
}

fn no() -> At<bool> {
    At::unwritten(false)
}

fn one_byte() -> At<ByteSize> {
    At::unwritten(ByteSize(1))
}

fn fifty_ms() -> At<TimeSpan> {
    At::unwritten(TimeSpan::from_millis(50))
}

fn one_second() -> At<TimeSpan> {
    seconds(1)
}

fn thirty_seconds() -> At<TimeSpan> {
    seconds(30)
}

fn one_minute() -> At<TimeSpan> {
    seconds(60)
}

fn default_max_size() -> At<ByteSize> {
    At::unwritten(ByteSize(512 << 10))
}
