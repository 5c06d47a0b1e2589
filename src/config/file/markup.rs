//! `[markup]` as it is written. Owns its keys, defaults and ranges.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{At, ByteSize, Priority, TimeSpan};
use crate::fragment;

/// What documents in a markup language, that is what a `[[proxy]]` with `markup` answers, may include.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Markup {
    /// Which documents are read: those that say so in `Surrogate-Control` or `Edge-Control`
    /// ("marked"), or all HTML, XML and plain text ("always").
    pub documents: At<WhichDocuments>,
    /// Which included answers are read as markup too: "never", those that say so ("marked"), or all of
    /// such a type ("always"). What readers may write into must not be among them.
    pub nested: At<WhichNested>,
    /// What becomes of an include whose address no fragment declares: it is fetched on the terms of the
    /// keys below ("fetch"), or counts as failed ("refuse").
    pub undeclared: At<Undeclared>,
    /// How much a page wants such an include: "essential", or 1 to 99.
    pub priority: At<Priority>,
    /// The time for fetching one of them.
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub timeout: At<TimeSpan>,
    /// How long such an answer is good; as its own `Cache-Control` says, if absent.
    #[schemars(extend("x-range" = ["0s", "365d"]))]
    pub ttl: Option<At<TimeSpan>>,
    /// Headers of the reader that they are asked with; copies are kept apart by their values.
    #[schemars(example = ["accept-language"])]
    pub forward_headers: Vec<At<String>>,
    /// Whether the reader's cookies go to those of the document's own origin.
    pub forward_cookies: At<bool>,
    /// Other hosts that documents may name in an address, each with its scheme.
    #[schemars(inner(pattern("^https?://[^/]+$")), example = ["https://widgets.example.com"])]
    pub hosts: Vec<At<String>>,
    /// Whether these hosts may have addresses of this machine or of a private network.
    pub private_addresses: At<bool>,
    /// Documents inside one another.
    #[schemars(range(min = 1, max = 16))]
    pub depth: At<u8>,
    /// Includes of one page, all levels together.
    #[schemars(range(min = 1, max = 10_000))]
    pub includes: At<u32>,
    /// Most bytes of all that one page includes; one include may have as many.
    #[schemars(extend("x-range" = ["1KiB", "64MiB"]))]
    pub max_size: At<ByteSize>,
    /// From the start of a page to when its last include is given up.
    #[schemars(extend("x-range" = ["10ms", "60s"]))]
    pub budget: At<TimeSpan>,
    /// What an include that fails leaves where the document says nothing: a gap ("gap"), or no page
    /// ("no-page"), as ESI 1.0 has it.
    pub failed: At<Failed>,
    /// Whether what a reader has sent is written into the page with its `<`, `>` and quotes escaped.
    pub escape: At<bool>,
}

impl Default for Markup {
    fn default() -> Self {
        let seconds = |seconds| At::unwritten(TimeSpan(Duration::from_secs(seconds)));
        let rank = fragment::Rank::new(50).expect("50 is a rank");
        Self {
            documents: At::unwritten(WhichDocuments::Always),
            nested: At::unwritten(WhichNested::Never),
            undeclared: At::unwritten(Undeclared::Fetch),
            priority: At::unwritten(Priority(fragment::Priority::Optional(rank))),
            timeout: seconds(1),
            ttl: None,
            forward_headers: vec![At::unwritten("accept-language".to_owned())],
            forward_cookies: At::unwritten(true),
            hosts: Vec::new(),
            private_addresses: At::unwritten(false),
            depth: At::unwritten(5),
            includes: At::unwritten(256),
            max_size: At::unwritten(ByteSize(8 << 20)),
            budget: seconds(10),
            failed: At::unwritten(Failed::Gap),
            escape: At::unwritten(true),
        }
    }
}

/// Words that stand for a choice.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$means:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
        pub enum $name {
            $($(#[$means])* #[serde(rename = $word)] $variant,)*
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

choice! {
    /// A language that documents can be in.
    Language {
        /// ESI 1.0.
        Esi = "esi",
        /// The server-side includes of nginx.
        Ssi = "ssi",
        /// The templates of Zalando's Tailor.
        Tailor = "tailor",
    }
}

choice! {
    /// Which documents are read.
    WhichDocuments {
        /// Those that say so.
        Marked = "marked",
        /// All that can hold markup.
        Always = "always",
    }
}

choice! {
    /// Which included answers are read.
    WhichNested {
        /// None.
        Never = "never",
        /// Those that say so.
        Marked = "marked",
        /// All that can hold markup.
        Always = "always",
    }
}

choice! {
    /// What becomes of an include that no fragment declares.
    Undeclared {
        /// It is fetched, on terms of its own.
        Fetch = "fetch",
        /// It counts as failed.
        Refuse = "refuse",
    }
}

choice! {
    /// What an include that fails leaves.
    Failed {
        /// Nothing in its place.
        Gap = "gap",
        /// No page.
        NoPage = "no-page",
    }
}
