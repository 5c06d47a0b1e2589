//! Documents in a markup language, and what they include (shell). Owns the driving of a
//! [`Machine`]: all includes of a level start as soon as they are read, each as a slot with its chain;
//! what is written leaves in document order, as it becomes known.
//!
//! An include is one of the site's fragments, where its address is that of one, or else on the terms of
//! `[markup]`; both go through the same slots as the blocks of a composed page. What is included is
//! inserted whole or not at all; only the outermost document streams.
//!
//! Invariants: no more than a bounded part of a document waits in memory for what stands before it; no
//! include is waited for beyond the page's budget; depth, number and bytes of what is included are
//! limited; whoever reads a document that was not woven to its end is told so by a broken answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use crate::cache::{Content, Entry};
use crate::clock::Instant;
use crate::degradation::{Level, Overrides, Reader};
use crate::fetch::origin::BodyStream;
use crate::fragment::FragmentId;
use crate::fragment::facts::Facts;
use crate::layout::markup::{HeadChange, Machine, Missing};
use crate::report::{Afforded, Cause, Looked, Observer, Outcome};
use crate::site::MarkupSpec;
use crate::site::markup::Language;

use super::{Composer, Edition, Order};

mod account;
mod address;
pub mod document;
mod include;
mod jobs;
mod weaver;

pub use address::Base;
pub(super) use include::TTL;

use account::{About, Account, Ending, KnownByNow};
use weaver::{Decider, Weaver};

/// A document that is to be woven.
pub struct Document {
    /// What the page is called in reports: the route of its proxy.
    pub page: String,
    /// The path that its reader has asked for.
    pub path: String,
    /// When.
    pub arrived: Instant,
    /// Where it is, so that its includes are found.
    pub base: Base,
    /// The language that it is in.
    pub language: Language,
    /// What its request has told.
    pub facts: Facts,
    /// Headers of the reader that undeclared includes are asked with.
    pub headers: Vec<(String, String)>,
    /// The cookies of the reader.
    pub cookies: Option<String>,
    /// The level that its includes are planned at.
    pub level: Level,
    /// What operators have decided.
    pub overrides: Arc<Overrides>,
    /// Who is to see it.
    pub reader: Reader,
    /// Whether nothing may be asked twice for it.
    pub is_frugal: bool,
    /// Whether it is at a level that its reader has chosen.
    pub is_rehearsal: bool,
    /// What could be afforded when it was asked for.
    pub afforded: Afforded,
    /// Who is told of this page besides those who are told of all.
    pub witness: Option<Arc<dyn Observer>>,
    /// How long its origin may take.
    pub timeout: Duration,
    /// What it has come to itself, once that is known.
    pub had: Option<Had>,
}

/// What a document has come to, before anything was put into it.
#[derive(Debug, Clone)]
pub struct Had {
    /// Where it is from, or why there is none.
    pub outcome: Outcome,
    /// Where a copy was looked for.
    pub looked: Looked,
    /// How old the copy is that was used.
    pub age: Option<Duration>,
    /// When that was known.
    pub at: Instant,
}

/// The text of a document.
pub enum Text {
    /// It arrives.
    Arrives(BodyStream),
    /// It is here: a copy.
    Kept(Arc<Entry>),
}

/// A document whose head is settled.
pub struct Woven {
    /// The status of its answer, or what the document has made of it by then.
    pub status: StatusCode,
    /// What the document has said of its head by then.
    pub changes: Vec<HeadChange>,
    /// What was given up of it, as far as is known by then, by name.
    pub off: Vec<String>,
    /// `Server-Timing` of what is known by then.
    pub server_timing: String,
    /// The trace that the page belongs to.
    pub trace_id: u128,
    /// Its body.
    pub body: BodyStream,
}

/// Pieces on their way to the reader.
const UNDER_WAY: usize = 16;

/// What everything that belongs to one page shares.
struct Loom {
    order: Arc<Order>,
    account: Account,
    spec: Arc<MarkupSpec>,
    language: Language,
    headers: Vec<(String, String)>,
    cookies: Option<String>,
    /// Whose cookies they are: they go to no other origin.
    own: Base,
    until: Instant,
    includes: AtomicUsize,
    bytes: AtomicUsize,
    /// What the include that decides about the page says of its head.
    decided: OnceLock<Vec<HeadChange>>,
}

/// A text that was put together.
type Rope = Vec<Bytes>;

/// Starts weaving a document that was answered with `status`. Returns when the head is due: before the
/// first byte, or the first wait for an include.
pub async fn weave(
    composer: &Arc<Composer>,
    edition: &Arc<Edition>,
    document: Document,
    mut machine: Box<dyn Machine>,
    (status, text): (StatusCode, Text),
) -> Result<Woven, NoHead> {
    let now = composer.clock.now();
    let spec = Arc::clone(&edition.site.markup);
    let (base, language) = (document.base.clone(), document.language);
    let order = Arc::new(Order::of_document(composer, edition, &document));
    let target = edition.site.degradation.target;
    let target = target.map_or(spec.budget, |target| target.min(spec.budget));
    let account = document.account(Arc::clone(&order), Some(target));
    let block = block_of(edition, &base);
    edition.meters.weaving();
    if let Some(block) = block {
        edition.meters.included(block.index());
        edition.meters.used(block.index());
    }
    let (body, copy) = match text {
        Text::Arrives(body) => (Some(body), None),
        Text::Kept(entry) => {
            let was_read = entry.coded.tokens().are_known();
            machine.take_whole(text_of(&entry), entry.coded.tokens());
            (None, Some(entry).filter(|_| !was_read))
        }
    };
    let loom = Arc::new(Loom {
        until: now + spec.budget,
        spec,
        language,
        headers: document.headers.clone(),
        cookies: document.cookies.clone(),
        own: base.clone(),
        includes: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        decided: OnceLock::new(),
        order,
        account,
    });
    let decider = match language {
        Language::Tailor => Decider::Sought,
        Language::Esi | Language::Ssi => Decider::None,
    };
    let (head, settled) = oneshot::channel();
    let (out, woven) = mpsc::channel(UNDER_WAY);
    let reader = AtReader {
        loom: Arc::clone(&loom),
        woven,
    };
    let weaver = Weaver {
        loom,
        base: Arc::new(base),
        machine,
        block,
        work: Duration::ZERO,
        copy,
        body,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        asking: None,
        is_ended: false,
        wants_more: false,
        changes: Vec::new(),
        decider,
        refused_with: None,
        head: Some(head),
        out,
    };
    composer.tasks.spawn(weaver.run());
    let changes = settled.await.unwrap_or_else(|_| Err(broken()));
    let account = &reader.loom.account;
    let changes = match changes {
        Ok(changes) => changes,
        Err(none) => {
            account.head_settled(none.status());
            account.close(Ending::Whole);
            return Err(none);
        }
    };
    let status = status_of(&changes, status);
    let KnownByNow { off, server_timing } = account.head_settled(status);
    Ok(Woven {
        status,
        changes,
        off,
        server_timing,
        trace_id: reader.loom.order.trace.trace_id,
        body: reader.body(),
    })
}

/// Accounts for a page whose document could not be had, or that nobody wants the body of; `None`: its
/// reader has left before there was an answer.
pub fn account_for(
    composer: &Arc<Composer>,
    edition: &Arc<Edition>,
    document: &Document,
    status: Option<StatusCode>,
) {
    let account = document.account(Order::of_document(composer, edition, document).into(), None);
    match status {
        Some(status) => {
            account.head_settled(status);
            account.close(Ending::Whole);
        }
        None => account.close(Ending::Left),
    }
}

impl Document {
    /// Its account; `target` is what it should take, if it is woven.
    fn account(&self, order: Arc<Order>, target: Option<Duration>) -> Account {
        let block = block_of(&order.edition, &self.base);
        let about = About {
            page: self.page.clone(),
            path: self.path.clone(),
            document: block.zip(self.had.clone()),
            timeout: self.timeout,
            source: self.base.path().to_owned(),
            target,
            arrived: self.arrived,
            afforded: self.afforded,
            witness: self.witness.clone(),
        };
        Account::new(order, about)
    }
}

/// What a document is on its page.
fn block_of(edition: &Edition, base: &Base) -> Option<FragmentId> {
    let blocks = &edition.site.markup.blocks;
    *blocks.get(base.origin.index())?
}

fn text_of(copy: &Entry) -> Bytes {
    match &copy.content {
        Content::Html(parts) => parts.main.clone(),
        Content::Absent | Content::Withdrawn => Bytes::new(),
    }
}

/// The page as whoever reads it takes it. Its account is closed when it has been handed over, or is
/// dropped before.
struct AtReader {
    loom: Arc<Loom>,
    woven: mpsc::Receiver<Sent>,
}

impl AtReader {
    fn body(self) -> BodyStream {
        let body = stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            let account = &reader.loom.account;
            match reader.woven.recv().await {
                Some(Sent::Piece(bytes)) => Some((Ok(bytes), Some(reader))),
                Some(Sent::Cut(cause)) => {
                    account.close(Ending::Broken);
                    Some((Err(cause), None))
                }
                Some(Sent::End) => {
                    account.close(Ending::Whole);
                    None
                }
                // whoever wove it is gone: this is not the end of the document
                None => {
                    account.close(Ending::Broken);
                    Some((Err(Cause::Panic), None))
                }
            }
        });
        body.fuse().boxed()
    }
}

impl Drop for AtReader {
    fn drop(&mut self) {
        // unless it is closed by now
        self.loom.account.close(Ending::Left);
    }
}

/// The status of a page whose document says this of its head.
fn status_of(changes: &[HeadChange], status: StatusCode) -> StatusCode {
    changes.iter().fold(status, |status, change| match change {
        HeadChange::Status(code) if !code.is_informational() => *code,
        HeadChange::Redirect(_) => StatusCode::FOUND,
        HeadChange::Add(..) | HeadChange::Set(..) | HeadChange::Status(_) | HeadChange::Body(_) => {
            status
        }
    })
}

/// Why there is no page, if that is known before its head leaves.
pub struct NoHead {
    /// The status that was asked for with it: of the answer of the include that decides.
    pub status: Option<StatusCode>,
    /// Why, for people.
    pub why: String,
}

fn broken() -> NoHead {
    NoHead {
        status: None,
        why: "the document could not be woven".to_owned(),
    }
}

impl NoHead {
    /// The status that the reader gets.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or(StatusCode::BAD_GATEWAY)
    }
}

impl Order {
    fn of_document(composer: &Arc<Composer>, edition: &Arc<Edition>, document: &Document) -> Self {
        // the browser could ask a page for its blocks once more, and this is none
        Self {
            level: document.level,
            overrides: Arc::clone(&document.overrides),
            reader: document.reader,
            is_frugal: document.is_frugal,
            is_rehearsal: document.is_rehearsal,
            ..Self::of(composer, edition, document.facts.clone())
        }
    }
}

/// What is sent to whoever reads.
enum Sent {
    Piece(Bytes),
    Cut(Cause),
    End,
}

impl Loom {
    /// Says what becomes of the head, once.
    fn change_head(&self, changes: Vec<HeadChange>) {
        let _ = self.decided.set(changes);
    }

    /// One more include, if that is not too many.
    fn may_include(&self) -> Result<(), Missing> {
        let before = self.includes.fetch_add(1, Ordering::Relaxed);
        match before < self.spec.includes_max {
            true => Ok(()),
            false => Err(missing("the page has as many includes as it may have")),
        }
    }

    /// So many more bytes, if that is not too many.
    fn may_hold(&self, bytes: usize) -> Result<(), Missing> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match before.saturating_add(bytes) <= self.spec.bytes_max {
            true => Ok(()),
            false => Err(missing("what the page includes is larger than it may be")),
        }
    }
}

fn missing(why: &str) -> Missing {
    Missing {
        status: None,
        why: why.to_owned(),
    }
}
