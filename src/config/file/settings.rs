//! The tables of `fragments.toml` that there is one of: `[server]`, `[admin]`, `[shared]`, `[site]`,
//! `[limits]`. Owns their keys, defaults and ranges.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{At, ByteSize, Secret, TimeSpan};

/// Where readers connect, and what they may cost. Taken at start; a reload does not change it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port for readers; may hold `${ENV}`.
    #[schemars(example = &"127.0.0.1:8080", extend("x-env" = true))]
    pub listen: At<String>,
    /// What readers who connect are shown; without it they come without TLS, by way of somebody who
    /// speaks it for them.
    pub tls: Option<Tls>,
    /// Balancers and CDNs whose word on who reads is believed: what they say in `Forwarded`,
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, or by the PROXY protocol. Addresses and networks. What
    /// anybody else says is dropped.
    #[schemars(example = ["10.0.0.0/8"])]
    pub trusted_peers: Vec<At<String>>,
    /// Whether each connection of a trusted peer begins with a header of the PROXY protocol, version 1 or
    /// 2. One that does not is refused.
    pub proxy_protocol: At<bool>,
    /// Until the head of a request has arrived, from its first byte; of the first one, from when the
    /// reader has connected.
    #[schemars(extend("x-range" = ["100ms", "10m"]))]
    pub header_timeout: At<TimeSpan>,
    /// How long a connection may be without a request.
    #[schemars(extend("x-range" = ["100ms", "1h"]))]
    pub idle_timeout: At<TimeSpan>,
    /// Largest silence while a request body arrives.
    #[schemars(extend("x-range" = ["100ms", "10m"]))]
    pub body_timeout: At<TimeSpan>,
    /// How long a reader may take nothing of what it is being sent; then the answer is given up.
    #[schemars(extend("x-range" = ["100ms", "1h"]))]
    pub send_timeout: At<TimeSpan>,
    /// Largest request head.
    #[schemars(extend("x-range" = ["8KiB", "1MiB"]))]
    pub max_header_size: At<ByteSize>,
    /// Largest request body.
    #[schemars(extend("x-range" = ["0B", "16GiB"]))]
    pub max_body_size: At<ByteSize>,
    /// Connections at once; more wait in the listen queue.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: At<u32>,
    /// Pages being composed at once; more get the error page at once. Unless it is given, 128 for
    /// each core: beyond that, pages would miss their deadlines by waiting for one another.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_pages_in_flight: Option<At<u32>>,
    /// How long a stopping server waits for pages in flight.
    #[schemars(extend("x-range" = ["0s", "10m"]))]
    pub shutdown_grace: At<TimeSpan>,
    /// The folder of what must outlive a restart, relative to this file: last good copies, pages,
    /// purges. Empty: nothing is kept.
    #[schemars(example = &"/var/lib/marbre")]
    pub state_dir: At<String>,
    /// The most that the copies in it may take.
    #[schemars(extend("x-range" = ["8MiB", "64GiB"]))]
    pub state_size: At<ByteSize>,
    /// The most that the journal in it may take: what has happened, and what readers got meanwhile.
    #[schemars(extend("x-range" = ["1MiB", "1GiB"]))]
    pub journal_size: At<ByteSize>,
    /// How long the journal knows what has happened.
    #[schemars(extend("x-range" = ["1h", "365d"]))]
    pub journal_keep: At<TimeSpan>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: At::unwritten("127.0.0.1:8080".to_owned()),
            tls: None,
            trusted_peers: Vec::new(),
            proxy_protocol: At::unwritten(false),
            header_timeout: seconds(10),
            idle_timeout: seconds(60),
            body_timeout: seconds(30),
            send_timeout: seconds(60),
            max_header_size: At::unwritten(ByteSize(32 << 10)),
            max_body_size: At::unwritten(ByteSize(10 << 20)),
            max_connections: At::unwritten(10_000),
            max_pages_in_flight: None,
            shutdown_grace: seconds(10),
            state_dir: At::unwritten("var".to_owned()),
            state_size: At::unwritten(ByteSize(1 << 30)),
            journal_size: At::unwritten(ByteSize(64 << 20)),
            journal_keep: seconds(90 * 24 * 3600),
        }
    }
}

/// What readers who connect are shown. The files are looked at every two seconds, and shown anew when
/// they have changed; what cannot be shown changes nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, followed by those that vouch for it: a file in PEM, relative to this file.
    #[schemars(length(min = 1), example = &"/etc/letsencrypt/live/www.example.org/fullchain.pem")]
    pub certificate: At<String>,
    /// Its key: a file in PEM, relative to this file.
    #[schemars(length(min = 1), example = &"/etc/letsencrypt/live/www.example.org/privkey.pem")]
    pub key: At<String>,
    /// Those of other names: a reader who asks for one of them is shown it.
    #[serde(default)]
    pub others: Vec<Certificate>,
}

/// A certificate for other names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, followed by those that vouch for it: a file in PEM, relative to this file.
    #[schemars(length(min = 1), example = &"certs/example.net.pem")]
    pub certificate: At<String>,
    /// Its key: a file in PEM, relative to this file.
    #[schemars(length(min = 1), example = &"certs/example.net.key")]
    pub key: At<String>,
}

/// Where operators connect. Taken at start, but for the tokens: a reload takes those that are declared then.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port for operators; may hold `${ENV}`. Any address but loopback needs a token.
    #[schemars(example = &"127.0.0.1:8081", extend("x-env" = true))]
    pub listen: At<String>,
    /// What operators must present, best kept out of the file: `${MARBRE_ADMIN_TOKEN}`.
    #[schemars(example = &"${MARBRE_ADMIN_TOKEN}", extend("x-env" = true))]
    pub token: Option<At<Secret>>,
    /// The file that holds it instead, relative to this file, on one line of 16 or more characters; may hold
    /// `${ENV}`. When it changes, what it holds then is the token, without a restart.
    #[schemars(length(min = 1), example = &"${CREDENTIALS_DIRECTORY}/admin-token", extend("x-env" = true))]
    pub token_file: Option<At<String>>,
    /// What those present who may only look: all that `GET` answers, and no act. Needs `token` beside it, and
    /// must differ from it.
    #[schemars(example = &"${MARBRE_READ_TOKEN}", extend("x-env" = true))]
    pub read_token: Option<At<Secret>>,
    /// The file that holds it instead, as `token_file`.
    #[schemars(length(min = 1), example = &"${CREDENTIALS_DIRECTORY}/read-token", extend("x-env" = true))]
    pub read_token_file: Option<At<String>>,
    /// Where an operator's browser finds the readers' side, if that is not the host it asks: the
    /// dashboard shows pages from there.
    #[schemars(example = &"https://www.example.org", extend("x-env" = true))]
    pub readers_url: Option<At<String>>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: At::unwritten("127.0.0.1:8081".to_owned()),
            token: None,
            token_file: None,
            read_token: None,
            read_token_file: None,
            readers_url: None,
        }
    }
}

/// The store that the nodes of one site share; one machine needs none. Taken at start; a reload does
/// not change it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shared {
    /// Where Valkey or Redis is; may hold `${ENV}`.
    #[schemars(example = &"redis://127.0.0.1:6379", extend("x-env" = true))]
    pub valkey: Option<At<Secret>>,
    /// The file that holds its password, relative to this file, on one line; may hold `${ENV}`. The address
    /// then has none, or a user alone: `redis://marbre@127.0.0.1:6379`.
    #[schemars(length(min = 1), example = &"${CREDENTIALS_DIRECTORY}/valkey-password", extend("x-env" = true))]
    pub password_file: Option<At<String>>,
    /// What its keys begin with: sites that share a store need different ones.
    #[schemars(pattern("^[A-Za-z0-9_.-]{1,64}$"))]
    pub prefix: At<String>,
    /// For one call; a store that is slower is done without.
    #[schemars(extend("x-range" = ["1ms", "1s"]))]
    pub timeout: At<TimeSpan>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            valkey: None,
            password_file: None,
            prefix: At::unwritten("marbre".to_owned()),
            timeout: At::unwritten(TimeSpan::from_millis(10)),
        }
    }
}

/// The site as a whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// The folder of layouts, templates and stand-ins, relative to this file.
    #[schemars(length(min = 1))]
    pub templates: At<String>,
    /// The site's own language, a primary subtag.
    #[schemars(pattern("^[a-z]{2,8}$"), example = &"fr")]
    pub language: At<String>,
    /// The time zone of the site, by its name in the IANA database: the clocks by which schedules and
    /// `marbre switch --from` are read where they do not say another.
    #[schemars(length(min = 1), example = &"Europe/Paris")]
    pub zone: At<String>,
    /// The page for "the article cannot be had", in the templates folder; one is built in.
    #[schemars(example = &"errors/503.html")]
    pub error_page: Option<At<String>>,
    /// The page for "there is no such page", in the templates folder; one is built in.
    #[schemars(example = &"errors/404.html")]
    pub not_found_page: Option<At<String>>,
    /// What the reader of an error page is told to wait before trying again.
    #[schemars(extend("x-range" = ["1s", "1d"]))]
    pub retry_after: At<TimeSpan>,
    /// Who reads for a search engine or an archive, by a word of the `User-Agent`: what they read is kept
    /// for days. The known ones if absent.
    #[schemars(example = ["Googlebot", "bingbot"])]
    pub crawlers: Vec<At<String>>,
    /// What crawlers get of a page of which something is given up. "snapshot": its last complete copy, or
    /// the page as it is where there is none. "503": the same copy, or `Retry-After` where there is none.
    /// "serve": what everybody gets.
    pub degraded_for_crawlers: At<ForCrawlers>,
}

/// What a crawler gets of a degraded page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForCrawlers {
    /// Its last complete copy, or the page as it is.
    Snapshot,
    /// What everybody gets.
    Serve,
    /// Its last complete copy, or nothing for now.
    #[serde(rename = "503")]
    Refuse,
}

impl JsonSchema for ForCrawlers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ForCrawlers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["snapshot", "serve", "503"] })
    }
}

/// Those who say of themselves that they index or archive the web.
const CRAWLERS: [&str; 14] = [
    "Applebot",
    "archive.org_bot",
    "Baiduspider",
    "bingbot",
    "BingPreview",
    "DuckDuckBot",
    "Google-InspectionTool",
    "Googlebot",
    "GoogleOther",
    "PetalBot",
    "Qwantbot",
    "SeznamBot",
    "YandexBot",
    "Yeti",
];

impl Default for Site {
    fn default() -> Self {
        Self {
            templates: At::unwritten("templates".to_owned()),
            language: At::unwritten("en".to_owned()),
            zone: At::unwritten("UTC".to_owned()),
            error_page: None,
            not_found_page: None,
            retry_after: seconds(10),
            crawlers: CRAWLERS.map(|name| At::unwritten(name.to_owned())).into(),
            degraded_for_crawlers: At::unwritten(ForCrawlers::Snapshot),
        }
    }
}

/// Limits that hold for the whole site.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Instructions that one rendering of one template may take.
    #[schemars(range(min = 1000, max = 1_000_000_000))]
    pub template_fuel: At<u64>,
    /// What one rendering may write.
    #[schemars(extend("x-range" = ["1KiB", "256MiB"]))]
    pub template_output: At<ByteSize>,
    /// Fetches under way at once; beyond it a fragment takes its fallbacks.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub flights: At<u32>,
    /// Copies of fragments kept in memory.
    #[schemars(extend("x-range" = ["1MiB", "1024GiB"]))]
    pub cache_size: At<ByteSize>,
    /// Largest layout.
    #[schemars(extend("x-range" = ["1KiB", "16MiB"]))]
    pub layout_size: At<ByteSize>,
    /// Most slots in one layout.
    #[schemars(range(min = 1, max = 4096))]
    pub page_slots: At<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            template_fuel: At::unwritten(100_000),
            template_output: At::unwritten(ByteSize(2 << 20)),
            flights: At::unwritten(4096),
            cache_size: At::unwritten(ByteSize(256 << 20)),
            layout_size: At::unwritten(ByteSize(1 << 20)),
            page_slots: At::unwritten(64),
        }
    }
}

fn seconds(n: u64) -> At<TimeSpan> {
    At::unwritten(TimeSpan::from_millis(n * 1000))
}
