//! Lists: an answer whose items are fetched apart. Owns how items are obtained, each by its own
//! chain, and what the list is made of in the end; what becomes of it is [`work`](super::work)'s.
//!
//! # Nine of ten
//!
//! Every item is obtained as a slot obtains a fragment: a copy, a flight that others may share, a
//! stale copy, a stand-in. All of them at once, each with its own timeout, and none beyond the time
//! that leaves the list room to be handed over. What has come to nothing by then is left out, the
//! order of the others is kept, and what is missing is counted. An item that is late fills the cache
//! as any late answer does, so the next list has it.
//!
//! Invariant: a list with something missing is shown and shared, and never kept: only a list that is
//! complete takes the place of one that was.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use serde_json::Value;

use crate::cache::{Content, Ingredient};
use crate::clock::Instant;
use crate::compose::Order;
use crate::compose::slot::{self, Fill, Settled};
use crate::degradation::{Job, Reader};
use crate::fragment::facts::Facts;
use crate::fragment::source::Variable;
use crate::fragment::{Fragment, FragmentId, List, Source, SourceRequest, Tags};
use crate::layout::parts::Parts;
use crate::plan::{self, Serve, budget};
use crate::render::{self, ListItem};
use crate::report::{Cause, Outcome};

use super::work::rendered;

/// What a list has become.
pub(super) struct Assembled {
    /// `None` if the template says that there is nothing to show.
    pub(super) html: Option<Bytes>,
    /// Items that could not be had, also where something stands in for them.
    pub(super) missing: usize,
    /// Items that there are.
    pub(super) of: usize,
    /// Whether an item is shown from a stale copy.
    pub(super) is_stale: bool,
    /// Whether other readers may see all of it.
    pub(super) is_shareable: bool,
    /// The tags of all items.
    pub(super) tags: Tags,
    /// What it is made of.
    pub(super) made_of: Vec<Ingredient>,
}

/// An item and what it has come to; `None` if what its source needs is not in the list.
struct Obtained<'l> {
    value: &'l Value,
    request: Option<Serve>,
    settled: Option<Settled>,
}

/// Obtains the items of a list whose JSON is `body`, and writes them in its order. It is to be handed
/// over at `by`.
pub(super) async fn assemble(
    order: &Order,
    id: FragmentId,
    list: &List,
    request: &SourceRequest,
    body: &[u8],
    by: Instant,
) -> Result<Assembled, Cause> {
    let (fragment, meters) = (order.edition.site.fragment(id), &order.edition.meters);
    let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let json: Value =
        serde_json::from_slice(json).map_err(|error| Cause::Unreadable(error.to_string()))?;
    let values = values(&json, list)?;
    meters.listed(id.index(), list.item.index(), values.len());
    let obtained = obtain(order, fragment, list, values, by).await;
    let had = obtained.iter().filter(|item| item.is_had()).count();
    let missing = obtained.iter().filter(|item| item.is_missing()).count();
    let of = obtained.len();
    let is_empty = had == 0 && missing == 0;
    if !is_empty && had < list.items_min {
        return Err(Cause::TooFew { had, of });
    }
    let job = Job::Render(&fragment.name);
    let work = || html(order, fragment, request, &obtained, missing);
    let (html, took) = order.composer.executor.run(job, work).await;
    meters.worked(id.index(), took);
    let html = html?;
    match &html {
        None if missing > 0 => return Err(Cause::TooFew { had, of }),
        Some(_) if is_empty => return Err(Cause::Empty),
        None | Some(_) => {}
    }
    let settled = || obtained.iter().filter_map(|item| item.settled.as_ref());
    let entries = || settled().filter_map(entry);
    Ok(Assembled {
        html,
        missing,
        of,
        is_stale: settled().any(|settled| matches!(settled.outcome, Outcome::Stale(_))),
        is_shareable: settled().all(|settled| settled.is_shareable),
        tags: Tags::merged(entries().map(|entry| &entry.tags)),
        made_of: made_of(order, list, &obtained),
    })
}

/// The items that are looked at.
fn values<'j>(json: &'j Value, list: &List) -> Result<&'j [Value], Cause> {
    let found = list.at.iter().try_fold(json, |json, key| json.get(key));
    let values = found.and_then(Value::as_array).ok_or_else(|| {
        let at = list.at.join(".");
        Cause::Unreadable(match at.as_str() {
            "" => "the answer is not a list".to_owned(),
            at => format!("there is no list at {at}"),
        })
    })?;
    Ok(&values[..values.len().min(list.items_max)])
}

/// Obtains all items at once.
async fn obtain<'v>(
    order: &Order,
    fragment: &Fragment,
    list: &List,
    values: &'v [Value],
    by: Instant,
) -> Vec<Obtained<'v>> {
    let site = &order.edition.site;
    let (now, item) = (order.composer.clock.now(), site.fragment(list.item));
    // nobody waits for a list that is late, but its items are worth having for the next
    let until = match now < by {
        true => now.max(by - budget::assembly_margin(fragment.timeout)),
        false => now + item.timeout,
    };
    // others may wait for the list, whose readers are not this one
    let order = Arc::new(Order {
        reader: Reader::NOBODY,
        ..order.clone()
    });
    let mut facts = Facts::clone(&order.facts);
    let terms = (order.level, &*order.overrides);
    let obtaining = values.iter().map(|value| {
        let request = take(item, value, &mut facts)
            .then(|| plan::serve_item(site, item, &facts, terms, now, until));
        let filling = request
            .clone()
            .map(|serve| fill(Arc::clone(&order), list.item, serve, now));
        async move {
            let settled = match filling {
                Some(filling) => Some(filling.await),
                None => None,
            };
            Obtained {
                value,
                request,
                settled,
            }
        }
    });
    join_all(obtaining).await
}

/// Boxed: an item is obtained by a flight, and this is within one.
fn fill(
    order: Arc<Order>,
    id: FragmentId,
    serve: Serve,
    now: Instant,
) -> BoxFuture<'static, Settled> {
    let moment = order.composer.clock.moment(now);
    match slot::at_hand(&order, id, &serve, now, moment) {
        Some(settled) => std::future::ready(settled).boxed(),
        None => slot::fill(order, id, serve, now).boxed(),
    }
}

/// Puts what the item's source uses of an item where it is looked for; whether all of it was there.
fn take(item: &Fragment, value: &Value, facts: &mut Facts) -> bool {
    facts.item.clear();
    let Source::Http { target, .. } = &item.source else {
        return true;
    };
    for variable in target.variables() {
        let Variable::Item(path) = variable else {
            continue;
        };
        let mut keys = path.split('.').filter(|key| !key.is_empty());
        let found = keys.try_fold(value, |value, key| value.get(key));
        if let Some(text) = found.and_then(text) {
            facts.item.insert(path.clone(), text);
        }
    }
    target.has_its_item(facts)
}

/// What may stand in a path.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Obtained<'_> {
    /// Whether it is there itself.
    fn is_had(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| {
            settled.outcome.is_whole() && !matches!(settled.content, Fill::Nothing)
        })
    }

    /// Whether it could not be had. One of which its origin says that there is nothing to show is
    /// not missing.
    fn is_missing(&self) -> bool {
        let settled = self.settled.as_ref();
        settled.is_none_or(|settled| !settled.outcome.is_whole())
    }

    fn html(&self) -> Option<Bytes> {
        let html = match &self.settled.as_ref()?.content {
            Fill::Entry(entry) => match &entry.content {
                Content::Html(parts) => parts.part(None),
                Content::Absent | Content::Withdrawn => return None,
            },
            Fill::Ready(body) => Parts::split(body.clone()).part(None),
            Fill::Nothing | Fill::NoPage(..) => return None,
        };
        Some(html)
    }
}

fn entry(settled: &Settled) -> Option<&crate::cache::Entry> {
    match &settled.content {
        Fill::Entry(entry) => Some(entry),
        Fill::Ready(_) | Fill::Nothing | Fill::NoPage(..) => None,
    }
}

/// The items' HTML in the order of the list, through the template if there is one.
fn html(
    order: &Order,
    fragment: &Fragment,
    request: &SourceRequest,
    obtained: &[Obtained<'_>],
    missing: usize,
) -> Result<Option<Bytes>, Cause> {
    let shown = obtained
        .iter()
        .filter_map(|item| Some((item.value, item.html()?)));
    let site = &order.edition.site;
    let output_max = site.limits.template_output_max;
    let Some(template) = &fragment.template else {
        let mut html = BytesMut::new();
        for (_, item) in shown {
            if html.len() + item.len() > output_max {
                return Err(Cause::TooLarge(output_max));
            }
            html.extend_from_slice(&item);
        }
        return Ok(Some(html.freeze()));
    };
    let items: Vec<ListItem<'_>> = shown
        .map(|(value, html)| ListItem { value, html })
        .collect();
    rendered(render::list(
        &site.templates,
        template,
        &items,
        missing,
        &request.params,
        &fragment.name,
        output_max,
    ))
}

/// What a purge may name to reach the list by its items.
fn made_of(order: &Order, list: &List, obtained: &[Obtained<'_>]) -> Vec<Ingredient> {
    let item = order.edition.site.fragment(list.item);
    let requests = obtained.iter().filter_map(|item| item.request.as_ref());
    let made_of = requests.map(|serve| Ingredient {
        fragment: item.name.clone(),
        target: serve.request(item).target.clone(),
    });
    made_of.collect()
}
