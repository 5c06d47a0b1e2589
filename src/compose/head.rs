//! The page's status and headers, from its core fragments and nothing else. Owns the rule by which
//! several cores agree; pure.

use std::time::Duration;

use http::header::{LINK, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::clock::Moment;
use crate::degradation::Level;
use crate::fragment::{Fragment, Rung};
use crate::report::{Cause, OmitReason, Outcome};
use crate::site::Site;

use super::account::Account;
use super::flight::NoPage;
use super::hints;
use super::reuse::Reuse;
use super::slot::Fill;

/// What the page will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The page itself.
    Page,
    /// The reader is to go elsewhere.
    Redirect(StatusCode, HeaderValue),
    /// There is no such page, or it is not for this reader.
    Refused(StatusCode),
    /// The core cannot be had: the error page.
    Unavailable,
}

impl Verdict {
    /// The status that the reader gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Page => StatusCode::OK,
            Self::Redirect(status, _) | Self::Refused(status) => *status,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The head of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageHead {
    /// What the page will be.
    pub verdict: Verdict,
    /// Headers that the core gave.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the page is one reader's own: a cookie goes into it, or comes with it.
    pub personal: bool,
    /// Whether the core itself says so: its answer is `private`, or comes with a cookie.
    pub private: bool,
    /// Who else may see it, as far as its blocks say.
    pub reuse: Reuse,
    /// The level the page was planned at.
    pub level: Level,
    /// What was given up of it, as far as is known by now: by the level, by a switch, or because an
    /// origin is slower than usual; by name.
    pub off: Vec<String>,
    /// `Server-Timing` of what is known by now.
    pub server_timing: String,
    /// The trace that the page belongs to.
    pub trace_id: u128,
}

/// The verdict, once it can be known: when every core has content, or one has said that there will
/// be no page. The first core in document order that says so wins.
pub(super) fn decide(account: &Account) -> Option<Verdict> {
    let page = account.declared();
    let mut undecided = false;
    for (index, _) in page
        .members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.is_core)
    {
        match account.settled(index).map(|settled| &settled.content) {
            None => undecided = true,
            Some(Fill::Entry(_) | Fill::Ready(_)) => {}
            Some(Fill::NoPage(NoPage::Redirect(status, location), _)) => {
                return Some(Verdict::Redirect(*status, location.clone()));
            }
            Some(Fill::NoPage(NoPage::Refused(status), _)) => {
                return Some(Verdict::Refused(*status));
            }
            Some(Fill::Nothing) => return Some(Verdict::Unavailable),
        }
    }
    (!undecided).then_some(Verdict::Page)
}

/// The head that goes with a verdict, from the cores that gave it: of a page from all of them, of a
/// redirect or a refusal from the first that said so.
pub(super) fn head(account: &Account, verdict: Verdict, now: Moment) -> PageHead {
    let (page, site) = (account.declared(), &account.order().edition.site);
    let is_page = verdict == Verdict::Page;
    let mut headers = Vec::new();
    let declared = site
        .members(page)
        .any(|fragment| may_be_personal(site, fragment));
    let mut private = false;
    let mut links = hints::Links::default();
    for (index, _) in page
        .members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.is_core)
    {
        match account.settled(index).map(|settled| &settled.content) {
            Some(Fill::Entry(entry)) if is_page => {
                private |= entry.says.private;
                for (name, value) in &entry.head.headers {
                    match *name == LINK {
                        true => links.add_core(value),
                        false => headers.push((name.clone(), value.clone())),
                    }
                }
            }
            Some(Fill::NoPage(_, head)) if verdict != Verdict::Unavailable => {
                headers.clone_from(&head.headers);
                break;
            }
            Some(Fill::Entry(_) | Fill::Ready(_) | Fill::Nothing | Fill::NoPage(..)) | None => {}
        }
    }
    private |= headers.iter().any(|(name, _)| name == SET_COOKIE);
    if is_page {
        gather_hints(account, &mut links);
        headers.extend(links.headers());
    }
    PageHead {
        verdict,
        headers,
        personal: declared || private,
        private,
        reuse: Reuse::of(account, now),
        level: account.level(),
        off: off(account.known()),
        server_timing: server_timing(account.known()),
        trace_id: account.order().trace.trace_id,
    }
}

/// Whether something of the page is given up, as far as is known by now.
pub(super) fn is_reduced(account: &Account) -> bool {
    account.level() != Level::FULL || !off(account.known()).is_empty()
}

/// What the other blocks that have come by now want the browser to fetch early.
fn gather_hints(account: &Account, links: &mut hints::Links) {
    for (fragment, settled) in account.members() {
        let Some(Fill::Entry(entry)) = settled.map(|settled| &settled.content) else {
            continue;
        };
        if fragment.priority.is_core() {
            continue;
        }
        for (name, value) in &entry.head.headers {
            if *name == LINK {
                links.add_hints(value);
            }
        }
    }
}

/// What is given up of what is known: name, outcome and duration of each.
pub(super) fn off<'k>(
    known: impl Iterator<Item = (&'k str, &'k Outcome, Duration)>,
) -> Vec<String> {
    let off = known.filter(|(_, outcome, _)| {
        let is_given_up = matches!(
            outcome,
            Outcome::Omitted(OmitReason::Shed(_) | OmitReason::Switched)
        );
        is_given_up || matches!(outcome.cause(), Some(Cause::Limited | Cause::Switched))
    });
    off.map(|(name, ..)| name.to_owned()).collect()
}

/// Whether a slot of this fragment may show what is for one reader only, also when another fragment
/// stands in for it.
pub(super) fn may_be_personal(site: &Site, fragment: &Fragment) -> bool {
    fragment.is_personal()
        || fragment.fallback.iter().any(|rung| match rung {
            Rung::Sibling(id) => may_be_personal(site, site.fragment(*id)),
            Rung::Ready { .. } | Rung::Lazy => false,
        })
}

/// One entry a fragment (<https://www.w3.org/TR/server-timing/>): its duration in milliseconds and
/// its outcome. What is still under way when the head leaves is not in it.
pub(super) fn server_timing<'k>(
    known: impl Iterator<Item = (&'k str, &'k Outcome, Duration)>,
) -> String {
    let mut value = String::with_capacity(512);
    for (name, outcome, duration) in known {
        if matches!(outcome, Outcome::Omitted(OmitReason::Unneeded)) {
            continue;
        }
        if !value.is_empty() {
            value.push_str(", ");
        }
        value.push_str(name);
        value.push_str(";dur=");
        push_ms(&mut value, duration);
        value.push_str(";desc=");
        value.push_str(outcome.label());
    }
    value
}

/// Milliseconds with one decimal. A page has many of these: the formatting of the standard library
/// would cost it more than its copies.
pub(super) fn push_ms(text: &mut String, duration: Duration) {
    let tenths = (duration.as_micros() + 50) / 100;
    let tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
    push_digits(text, tenths / 10);
    text.push('.');
    push_digits(text, tenths % 10);
}

fn push_digits(text: &mut String, number: u64) {
    if number > 9 {
        push_digits(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_one_decimal() {
        for (micros, text) in [
            (0, "0.0"),
            (49, "0.0"),
            (50, "0.1"),
            (1_949, "1.9"),
            (1_950, "2.0"),
            (12_345_678, "12345.7"),
        ] {
            let mut written = String::new();
            push_ms(&mut written, Duration::from_micros(micros));
            assert_eq!(written, text, "{micros} us");
        }
    }
}
