//! One include (shell): which fragment it is, and what its slot comes to. Owns the order in which that
//! is found out; the chain is the [slot's](crate::compose::slot).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, LINK};
use http::{Method, StatusCode};

use crate::cache::surrogate::Surrogate;
use crate::cache::{Content, Head};
use crate::compose::flight::NoPage;
use crate::compose::flight::said::core_gives;
use crate::compose::hints;
use crate::compose::slot::{self, Fill, Settled};
use crate::fetch::hop;
use crate::fragment::facts::Facts;
use crate::fragment::source::TargetTemplate;
use crate::fragment::{Fragment, FragmentId, SourceRequest};
use crate::layout::markup::{HeadChange, HeaderEdit, Include, Machine, Missing};
use crate::plan::{self, Action};
use crate::site::markup::{Language, Marked};

use super::account::planned;
use super::address::{self, Address, Base};
use super::jobs::weave_nested;
use super::{Loom, Rope, missing};

/// What an include has brought.
struct Obtained {
    content: Bytes,
    /// The stylesheets that it needs, where those are written before it.
    styles: Option<Bytes>,
    /// Whether it says that it is markup.
    is_marked: bool,
    /// Where it is from, for what it includes itself.
    base: Base,
}

/// What an include comes to: its address, or else the other one.
pub(super) async fn obtain(
    loom: &Arc<Loom>,
    base: &Base,
    include: &Include,
    machine: Option<Box<dyn Machine>>,
    depth: usize,
) -> Result<Rope, Missing> {
    if depth >= loom.spec.depth {
        return Err(missing("it is deeper than includes may be"));
    }
    if include.method.as_ref().is_some_and(|m| *m != Method::GET) || include.body.is_some() {
        return Err(missing("includes are asked for with GET"));
    }
    let first = ask(loom, base, &include.src, include).await;
    let obtained = match (first, &include.alt) {
        (Err(_), Some(alt)) => ask(loom, base, alt, include).await?,
        (first, _) => first?,
    };
    if obtained.content.is_empty() && include.empty_fails {
        return Err(missing("it is empty"));
    }
    let Some(machine) = machine.filter(|_| reads(loom, include, &obtained)) else {
        return Ok(obtained
            .styles
            .into_iter()
            .chain([obtained.content])
            .collect());
    };
    weave_nested(loom, obtained.base, machine, obtained.content, depth + 1).await
}

/// Whether the content is read as markup.
fn reads(loom: &Loom, include: &Include, obtained: &Obtained) -> bool {
    match loom.spec.nested {
        Marked::Never => false,
        Marked::Marked => obtained.is_marked || include.is_markup == Some(true),
        Marked::Always => true,
    }
}

async fn ask(
    loom: &Arc<Loom>,
    base: &Base,
    src: &str,
    include: &Include,
) -> Result<Obtained, Missing> {
    loom.may_include()?;
    let address = address::resolve(&loom.spec, base, src).map_err(missing)?;
    let (id, request, facts) = identify(loom, &address, include)
        .ok_or_else(|| missing("no fragment declares its address"))?;
    let order = &loom.order;
    let now = order.composer.clock.now();
    let site = &order.edition.site;
    let mut until = loom.until;
    if let Some(max_wait) = include.max_wait {
        until = until.min(now + max_wait);
    }
    if now >= until {
        return Err(missing("no time was left"));
    }
    let terms = (order.level, &*order.overrides);
    let action = plan::include(site, id, Arc::new(request), &facts, terms, now, until);
    order.edition.meters.included(id.index());
    if !matches!(action, Action::Omit(_)) {
        order.edition.meters.used(id.index());
    }
    let plan = planned(&action, now);
    let settled = match action {
        Action::Omit(reason) => Settled::omitted(reason, now),
        Action::StandIn(serve) => slot::stand_in(Arc::clone(order), id, serve).await,
        Action::Serve(serve) => {
            let moment = order.composer.clock.moment(now);
            match slot::at_hand(order, id, &serve, now, moment) {
                Some(settled) => settled,
                None => slot::fill(Arc::clone(order), id, serve, now).await,
            }
        }
    };
    loom.account.settle(id, (now, plan), &settled);
    if include.is_primary {
        decide(loom, &settled, include.returns_headers);
    }
    let (content, is_marked) = content(loom, &settled, include.is_primary)?;
    loom.may_hold(content.len())?;
    Ok(Obtained {
        content,
        styles: styles(loom, &settled),
        is_marked,
        base: Base {
            origin: address.origin,
            target: address.target,
            host: base.host.clone().filter(|_| address.origin == base.origin),
            is_secure: base.is_secure,
        },
    })
}

/// What is in the slot, and whether it says that it is markup.
fn content(loom: &Loom, settled: &Settled, is_primary: bool) -> Result<(Bytes, bool), Missing> {
    match &settled.content {
        Fill::Entry(entry) => match &entry.content {
            Content::Html(parts) => {
                let marks = entry.head.headers.iter().cloned().collect();
                let is_marked = Surrogate::of(&marks).holds(loom.language.token());
                Ok((parts.main.clone(), is_marked))
            }
            Content::Absent | Content::Withdrawn => Ok((Bytes::new(), false)),
        },
        Fill::Ready(content) => Ok((content.clone(), false)),
        Fill::Nothing => match settled.outcome.cause() {
            Some(cause) => Err(missing(&cause.to_string())),
            // what is given up is not to be fetched elsewhere instead
            None => Ok((Bytes::new(), false)),
        },
        Fill::NoPage(NoPage::Refused(status), _) => Err(refused(*status)),
        // that is the page's answer then, with what else there is
        Fill::NoPage(NoPage::Redirect(..), _) if is_primary => Ok((Bytes::new(), false)),
        Fill::NoPage(NoPage::Redirect(status, _), _) => Err(refused(*status)),
    }
}

/// The stylesheets that an answer names in `Link`, as elements, for a template of Tailor.
fn styles(loom: &Loom, settled: &Settled) -> Option<Bytes> {
    let Fill::Entry(entry) = &settled.content else {
        return None;
    };
    if loom.language != Language::Tailor {
        return None;
    }
    let links = entry.head.headers.iter().filter(|(name, _)| *name == LINK);
    let targets = links.flat_map(|(_, value)| hints::stylesheets(value));
    let elements = targets.map(|target| {
        let target = target.replace('"', "%22");
        format!("<link rel=\"stylesheet\" href=\"{target}\">")
    });
    let elements = elements.collect::<String>();
    (!elements.is_empty()).then(|| elements.into())
}

/// What the include that decides about the page says of its head.
fn decide(loom: &Loom, settled: &Settled, returns_headers: bool) {
    match &settled.content {
        Fill::Entry(entry) => {
            let mut changes = changes(&entry.head, returns_headers);
            // a template may itself be that of a 404
            if entry.head.status != StatusCode::OK {
                changes.push(HeadChange::Status(entry.head.status));
            }
            loom.change_head(changes);
        }
        Fill::NoPage(NoPage::Redirect(status, location), head) => {
            let mut changes = changes(head, returns_headers);
            changes.push(HeadChange::Redirect(location.clone()));
            changes.push(HeadChange::Status(*status));
            loom.change_head(changes);
        }
        Fill::Ready(_) | Fill::Nothing | Fill::NoPage(NoPage::Refused(_), _) => {}
    }
}

/// What becomes of a head that an include gives its page: what every core gives it, and the rest where
/// the document says so.
fn changes(head: &Head, returns_headers: bool) -> Vec<HeadChange> {
    let mut changes = Vec::new();
    let mut before = None;
    for (name, value) in &head.headers {
        let of_every_core = core_gives(name);
        if of_every_core || returns_headers {
            // what the document itself has of the name was about the document
            let adds = of_every_core || before == Some(name);
            let change = match adds {
                true => HeadChange::Add,
                false => HeadChange::Set,
            };
            // its stylesheets are in the page
            let preloading = (name == LINK).then(|| hints::preloading(value)).flatten();
            changes.push(change(
                name.clone(),
                preloading.unwrap_or_else(|| value.clone()),
            ));
        }
        before = Some(name);
    }
    changes
}

fn refused(status: StatusCode) -> Missing {
    Missing {
        status: Some(status),
        why: format!("status {}", status.as_u16()),
    }
}

/// The fragment that an address is of, and what is asked for.
fn identify(
    loom: &Loom,
    address: &Address,
    include: &Include,
) -> Option<(FragmentId, SourceRequest, Facts)> {
    let site = &loom.order.edition.site;
    let is_own = address.origin == loom.own.origin;
    if is_own {
        for (pattern, id) in &loom.spec.declared {
            if let Some(params) = pattern.params_of(&address.target) {
                let facts = with_params(loom, params);
                let request = SourceRequest::new(site.fragment(*id), &facts);
                return Some((*id, request, facts));
            }
        }
    }
    let undeclared = |id: usize| {
        let spec = &loom.spec;
        let mut all = spec
            .undeclared
            .iter()
            .chain(&spec.primary)
            .chain(&spec.blocks);
        all.any(|known| *known == Some(FragmentId(id)))
    };
    for (index, fragment) in site.fragments.iter().enumerate() {
        let is_there = fragment.source.origin() == Some(address.origin)
            && !undeclared(index)
            && fragment.list.is_none();
        let params = fragment.source.target().filter(|_| is_there);
        let params =
            params.and_then(|template: &TargetTemplate| template.params_of(&address.target));
        if let Some(params) = params {
            let facts = with_params(loom, params);
            let request = SourceRequest::new(fragment, &facts);
            let target = address.target.clone();
            let request = SourceRequest { target, ..request };
            return Some((FragmentId(index), request, facts));
        }
    }
    let terms = if include.is_primary {
        &loom.spec.primary
    } else {
        &loom.spec.undeclared
    };
    let id = (*terms.get(address.origin.index())?)?;
    let request = default_request(loom, site.fragment(id), address, include);
    Some((id, request, (*loom.order.facts).clone()))
}

fn with_params(loom: &Loom, params: Vec<(String, String)>) -> Facts {
    Facts {
        params,
        ..(*loom.order.facts).clone()
    }
}

/// What is asked for where no fragment says it. A copy is kept apart by all of it.
fn default_request(
    loom: &Loom,
    fragment: &Fragment,
    address: &Address,
    include: &Include,
) -> SourceRequest {
    let is_own = address.origin == loom.own.origin;
    let mut headers: Vec<(String, String)> = loom
        .headers
        .iter()
        .filter(|_| !include.is_public)
        .filter(|(name, _)| is_own || name != AUTHORIZATION.as_str())
        .cloned()
        .collect();
    let cookies = loom.cookies.as_ref();
    if let Some(cookies) = cookies.filter(|_| is_own && !include.is_public) {
        headers.push(("cookie".to_owned(), cookies.clone()));
    }
    for edit in &include.headers {
        apply(edit, &mut headers);
    }
    let mut params = Vec::new();
    if let Some(ttl) = include.ttl {
        params.push((TTL.to_owned(), ttl.as_secs().to_string()));
    }
    // as the document itself was asked for: its origin makes and checks addresses by these
    if let Some(host) = loom.own.host.as_ref().filter(|_| is_own) {
        headers.push(("x-forwarded-host".to_owned(), host.clone()));
        let scheme = loom.own.scheme().to_owned();
        headers.push(("x-forwarded-proto".to_owned(), scheme));
    }
    if loom.spec.nested != Marked::Never {
        let can = format!("marbre=\"{}\"", loom.language.token());
        headers.push(("surrogate-capability".to_owned(), can));
    }
    SourceRequest {
        fingerprint: fragment.fingerprint,
        target: address.target.clone(),
        headers,
        params,
    }
}

/// What the lifetime is called that a document gives an include.
pub(in crate::compose) const TTL: &str = "ttl";

/// Headers that no document changes, besides those that belong to one connection: they say who is asked, and
/// in how many bytes.
const NOT_ITS_OWN: [&str; 6] = [
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    "range",
    "x-forwarded-for",
];

fn apply(edit: &HeaderEdit, headers: &mut Vec<(String, String)>) {
    let may = |name: &HeaderName| {
        let name = name.as_str();
        !NOT_ITS_OWN.contains(&name) && !hop::is_of_one_connection(name)
    };
    match edit {
        HeaderEdit::Append(name, value) | HeaderEdit::Set(name, value) if may(name) => {
            let Ok(value) = value.to_str() else { return };
            let known = headers.iter_mut().find(|(known, _)| known == name.as_str());
            let appends = matches!(edit, HeaderEdit::Append(..));
            match known {
                Some((_, known)) if appends => *known = format!("{known}, {value}"),
                Some((_, known)) => value.clone_into(known),
                None => headers.push((name.as_str().to_owned(), value.to_owned())),
            }
        }
        HeaderEdit::Remove(name) => headers.retain(|(known, _)| known != name.as_str()),
        HeaderEdit::Append(..) | HeaderEdit::Set(..) => {}
    }
}
