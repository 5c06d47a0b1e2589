//! The lazy rung: a tag by which the browser asks once more for a block that could not be had, and
//! what it is answered with. Owns the tag, the script that reads it, and the composing of one block
//! alone; knows nothing of HTTP.
//!
//! # Why a tag names its page
//!
//! A block is obtained by what its page knows: the parameters of the route and of the query. The tag
//! gives them back as the page's address, written anew from what was read of it: nothing that no
//! fragment has declared is repeated.
//!
//! Invariant: a block that is asked for this way has no lazy rung, so a browser asks once and not
//! again; and however many browsers there are, together they ask at a bounded rate.

use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cache::Content;
use crate::degradation::Level;
use crate::fragment::facts::Facts;
use crate::fragment::{FragmentId, Rung};
use crate::layout::parts::Parts;
use crate::plan::{Action, Plan};
use crate::site::{Page, Site};

use super::slot::{self, Fill};
use super::{Composer, Edition, Order, head};

pub(super) mod pace;

/// Where a block is asked for; below [`OWN`](crate::site::route::OWN).
pub const BLOCK_PATH: &str = "/.marbre/block";

/// Where the script is.
pub const SCRIPT_PATH: &str = "/.marbre/lazy.js";

/// What turns tags into blocks.
pub const SCRIPT: &str = include_str!("../../templates/builtin/lazy.js");

/// Changes whenever the script does, and is the same on every node.
pub const SCRIPT_VERSION: u64 = fnv1a(SCRIPT.as_bytes());

/// Longest address of a page, in bytes, that a block is asked for with. It comes back encoded a
/// second time, which makes it at most three times as long: that fits into any request line.
pub const PAGE_BYTES_MAX: usize = 2048;

/// What stands for itself in one segment of a path, and in a query (RFC 3986, 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same with the slashes of a path, which a query may hold (RFC 3986, 3.4).
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// FNV-1a of 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
const fn fnv1a(bytes: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// What fills the slot of a fragment until the browser has asked once more. `None` where it is not
/// to ask: on a degraded page, which has asked too much already, where nobody would answer, and where too
/// many are to ask before it.
pub(super) fn tag(order: &Order, id: FragmentId) -> Option<Bytes> {
    if order.level != Level::FULL {
        return None;
    }
    let (site, page) = (&order.edition.site, order.lazy_on?);
    let page = address(site.page(page), &order.facts)?;
    let page = utf8_percent_encode(&page, UNRESERVED_AND_SLASH);
    let name = utf8_percent_encode(&site.fragment(id).name, UNRESERVED);
    let composer = &order.composer;
    let now = composer.clock.moment(composer.clock.now());
    let after = match composer.asking_again.place(now)?.as_millis() {
        0 => String::new(),
        after_ms => format!(" data-marbre-lazy-after=\"{after_ms}\""),
    };
    Some(Bytes::from(format!(
        "<div data-marbre-lazy=\"{BLOCK_PATH}?page={page}&amp;block={name}\"{after} hidden></div>\
         <script src=\"{SCRIPT_PATH}?{SCRIPT_VERSION:016x}\" async></script>"
    )))
}

/// Path and query by which this page is found with these facts.
fn address(page: &Page, facts: &Facts) -> Option<String> {
    let mut address = String::new();
    for segment in page.route.split('/').skip(1) {
        address.push('/');
        let param = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
        match param {
            None => address += segment,
            Some(name) => address.extend(utf8_percent_encode(facts.param(name)?, UNRESERVED)),
        }
    }
    for (at, (name, value)) in facts.query.iter().enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        address.extend(utf8_percent_encode(name, UNRESERVED));
        address.push('=');
        address.extend(utf8_percent_encode(value, UNRESERVED));
    }
    (address.len() <= PAGE_BYTES_MAX).then_some(address)
}

/// A block alone.
pub struct Block {
    /// Its main part; `None` when there is nothing to show.
    pub html: Option<Bytes>,
    /// Whether it is one reader's own.
    pub personal: bool,
}

/// The place in its page of a block that a tag may ask for. A core fragment has none.
pub fn member(site: &Site, page: &Page, name: &str) -> Option<usize> {
    page.members.iter().position(|member| {
        let fragment = site.fragment(member.fragment);
        let is_lazy = fragment.fallback.iter().any(|r| matches!(r, Rung::Lazy));
        !member.is_core && is_lazy && fragment.name == name
    })
}

/// Composes one member of a page; `facts` are those of the plan. It takes what the page may take.
pub async fn block(
    composer: &Arc<Composer>,
    edition: Arc<Edition>,
    mut plan: Plan,
    member: usize,
    facts: Facts,
) -> Block {
    let step = plan.steps.swap_remove(member);
    let site = &edition.site;
    let declared = head::may_be_personal(site, site.fragment(step.fragment));
    let Action::Serve(serve) = step.action else {
        return Block {
            html: None,
            personal: declared,
        };
    };
    edition.meters.used(step.fragment.index());
    let order = Order::new(composer, &edition, &plan, facts);
    let order = Arc::new(Order {
        lazy_on: None,
        ..order
    });
    let now = composer.clock.moment(plan.started);
    let settled = match slot::at_hand(&order, step.fragment, &serve, plan.started, now) {
        Some(settled) => settled,
        None => slot::fill(order, step.fragment, serve, plan.started).await,
    };
    let (html, private) = match settled.content {
        Fill::Entry(entry) => match &entry.content {
            Content::Html(parts) => (Some(parts.part(None)), entry.says.private),
            Content::Absent | Content::Withdrawn => (None, false),
        },
        Fill::Ready(body) => (Some(Parts::split(body).main), false),
        Fill::Nothing | Fill::NoPage(..) => (None, false),
    };
    Block {
        html: html.filter(|html| !html.is_empty()),
        personal: declared || private || !settled.is_shareable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::site::{PageCache, Snapshots};

    fn page(route: &str) -> Page {
        Page {
            name: "page".to_owned(),
            route: route.to_owned(),
            layout: String::new(),
            budget: Duration::ZERO,
            target: Duration::ZERO,
            optional_time: None,
            members: Vec::new(),
            pieces: Vec::new(),
            literals: 0,
            deferral: None,
            snapshots: Snapshots {
                every: Duration::ZERO,
                keep: Duration::ZERO,
                varies: Vec::new(),
                fingerprint: 0,
            },
            cache: PageCache::default(),
            vary: None,
        }
    }

    #[test]
    fn an_address_is_written_anew_from_what_was_read_of_it() {
        let mut facts = Facts {
            params: vec![("slug".into(), "l'été\"<".into())],
            ..Facts::default()
        };
        assert_eq!(address(&page("/"), &facts).as_deref(), Some("/"));
        let route = page("/a/{slug}/");
        let written = address(&route, &facts);
        assert_eq!(written.as_deref(), Some("/a/l%27%C3%A9t%C3%A9%22%3C/"));
        assert_eq!(address(&page("/{other}"), &facts), None);
        facts.query.insert("q".into(), "a&b=+c d".into());
        facts.query.insert("r".into(), String::new());
        let written = address(&page("/"), &facts);
        assert_eq!(written.as_deref(), Some("/?q=a%26b%3D%2Bc%20d&r="));
        facts.query.insert("q".into(), "x".repeat(PAGE_BYTES_MAX));
        assert_eq!(address(&page("/"), &facts), None);
    }

    #[test]
    fn the_version_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
