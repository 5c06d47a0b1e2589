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
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::cache::{Content, Entry};
use crate::clock::Instant;
use crate::degradation::{Level, Overrides, Reader};
use crate::fetch::origin::BodyStream;
use crate::fragment::FragmentId;
use crate::fragment::facts::Facts;
use crate::layout::markup::{HeadChange, Include, Machine, Missing, OnFailure, Piece, Step};
use crate::report::{Afforded, Cause, Looked, Observer, Outcome};
use crate::site::MarkupSpec;
use crate::site::markup::{Language, Marked};

use super::{Composer, Edition, Order};

mod account;
mod address;
pub mod document;
mod include;

pub use address::Base;
pub(super) use include::TTL;

use account::{About, Account, Ending, KnownByNow};

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

/// Text that waits for what stands before it, at most; the origin waits with the rest.
const WAITING_BYTES: usize = 1024 * 1024;

/// Pieces that wait, at most.
const WAITING_PIECES: usize = 4096;

/// Pieces on their way to the reader.
const UNDER_WAY: usize = 16;

/// What everything that belongs to one page shares.
struct Loom {
    order: Order,
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
    let order = Order::of_document(composer, edition, &document);
    let target = edition.site.degradation.target;
    let target = target.map_or(spec.budget, |target| target.min(spec.budget));
    let account = document.account(order.clone(), Some(target));
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
    let account = document.account(Order::of_document(composer, edition, document), None);
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
    fn account(&self, order: Order, target: Option<Duration>) -> Account {
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

/// What was waited for.
enum Came {
    /// Whether there is a page.
    Verdict(Result<Result<(), Missing>, oneshot::error::RecvError>),
    /// What is next on the page.
    First(Result<Rope, Missing>),
    /// What the machine asked for.
    Content(Result<Rope, Missing>),
    /// More of the document, or its end.
    More(Option<Bytes>),
}

/// What is sent to whoever reads.
enum Sent {
    Piece(Bytes),
    Cut(Cause),
    End,
}

/// A piece of the page in its place.
enum Thread {
    Ready(Bytes),
    Spun(Spun),
}

/// Work that ends when nobody waits for it any more.
struct Spun(JoinHandle<Result<Rope, Missing>>);

impl Spun {
    fn spin(loom: &Loom, work: BoxFuture<'static, Result<Rope, Missing>>) -> Self {
        Self(loom.order.composer.tasks.spawn(work))
    }

    async fn end(&mut self) -> Result<Rope, Missing> {
        (&mut self.0).await.unwrap_or_else(|_| {
            Err(Missing {
                status: None,
                why: Cause::Panic.to_string(),
            })
        })
    }
}

impl Drop for Spun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The include that decides about the page, for which the head waits.
enum Decider {
    /// There is none, or it has decided.
    None,
    /// The document may hold one further on.
    Sought,
    /// It is under way.
    Awaited(oneshot::Receiver<Result<(), Missing>>),
}

/// Weaves one document for one reader.
struct Weaver {
    loom: Arc<Loom>,
    base: Arc<Base>,
    machine: Box<dyn Machine>,
    /// What the document is on its page.
    block: Option<FragmentId>,
    /// How long it was worked at.
    work: Duration,
    /// The copy that it is, if nobody has read that before.
    copy: Option<Arc<Entry>>,
    /// What has not arrived yet.
    body: Option<BodyStream>,
    waiting: VecDeque<Thread>,
    waiting_bytes: usize,
    /// The content that the machine waits for.
    asking: Option<Spun>,
    is_ended: bool,
    wants_more: bool,
    changes: Vec<HeadChange>,
    decider: Decider,
    /// The status of the answer for which there is no page.
    refused_with: Option<StatusCode>,
    head: Option<oneshot::Sender<Result<Vec<HeadChange>, NoHead>>>,
    out: mpsc::Sender<Sent>,
}

impl Weaver {
    async fn run(mut self) {
        let out = self.out.clone();
        let done = tokio::select! {
            biased;
            // the reader has left: what is under way for him alone ends with this
            () = out.closed() => None,
            done = self.weave() => Some(done),
        };
        self.count();
        let last = match done {
            Some(Ok(())) => Sent::End,
            Some(Err(cause)) => Sent::Cut(cause),
            None => return,
        };
        if let Some(head) = self.head.take() {
            let changes = std::mem::take(&mut self.changes);
            let _ = match &last {
                Sent::Cut(cause) => head.send(Err(NoHead {
                    status: self.refused_with,
                    why: cause.to_string(),
                })),
                Sent::Piece(_) | Sent::End => head.send(Ok(changes)),
            };
        }
        let _ = out.send(last).await;
    }

    /// Counts what was done, and what it has made of a copy.
    fn count(&self) {
        let order = &self.loom.order;
        if let Some(block) = self.block {
            order.edition.meters.worked(block.index(), self.work);
        }
        if let Some(copy) = &self.copy {
            order.composer.cache.weigh(copy);
        }
    }

    async fn weave(&mut self) -> Result<(), Cause> {
        let clock = self.loom.order.composer.clock;
        loop {
            let began = clock.now();
            let read = self.read();
            self.work += clock.now().saturating_duration_since(began);
            read?;
            if self.wants_more && self.has_room() && self.take_what_is_here()? {
                continue;
            }
            if matches!(self.decider, Decider::Sought) && (self.is_ended || !self.has_room()) {
                // it has none, or has it where nobody can wait for it
                self.decider = Decider::None;
            }
            match self.waiting.front() {
                Some(Thread::Ready(_)) if self.head_is_due() => self.send_ready().await?,
                None if self.is_ended && self.head_is_due() => return Ok(()),
                Some(Thread::Ready(_) | Thread::Spun(_)) | None => self.wait().await?,
            }
        }
    }

    fn head_is_due(&self) -> bool {
        matches!(self.decider, Decider::None)
    }

    fn has_room(&self) -> bool {
        self.waiting_bytes < WAITING_BYTES && self.waiting.len() < WAITING_PIECES
    }

    /// Goes on with the document as far as it is here and there is room.
    fn read(&mut self) -> Result<(), Cause> {
        while !self.is_ended && !self.wants_more && self.asking.is_none() && self.has_room() {
            match self.machine.next() {
                Step::Piece(Piece::Head(change)) => {
                    if self.head.is_some() {
                        self.change_head(change);
                    }
                }
                Step::Piece(Piece::Text(text)) => {
                    self.waiting_bytes += text.len();
                    self.waiting.push_back(Thread::Ready(text));
                }
                Step::Piece(piece) => {
                    let is_sought = matches!(self.decider, Decider::Sought);
                    let decides = is_sought && is_primary(&piece);
                    let job = self.loom.job(piece, &*self.machine, 0);
                    let work = run(Arc::clone(&self.loom), Arc::clone(&self.base), job, 0);
                    let work = match decides {
                        true => self.decided_by(work),
                        false => work,
                    };
                    let spun = Spun::spin(&self.loom, work);
                    self.waiting.push_back(Thread::Spun(spun));
                }
                Step::Ask(include) => {
                    let job = self.loom.job(Piece::Include(include), &*self.machine, 0);
                    let work = run(Arc::clone(&self.loom), Arc::clone(&self.base), job, 0);
                    self.asking = Some(Spun::spin(&self.loom, work));
                }
                Step::More => self.wants_more = true,
                Step::End => self.is_ended = true,
                Step::Fail(problem) => return Err(Cause::Transport(problem.to_string())),
            }
        }
        Ok(())
    }

    fn change_head(&mut self, change: HeadChange) {
        if let HeadChange::Body(text) = change {
            self.body = None;
            self.is_ended = true;
            self.waiting_bytes = text.len();
            self.waiting = VecDeque::from([Thread::Ready(text)]);
        } else {
            self.changes.push(change);
        }
    }

    /// Feeds the machine with what has arrived already.
    fn take_what_is_here(&mut self) -> Result<bool, Cause> {
        let Some(body) = &mut self.body else {
            self.arrived(None);
            return Ok(true);
        };
        let next = body.next().now_or_never();
        let is_here = next.is_some();
        if let Some(next) = next {
            self.arrived(next.transpose()?);
        }
        Ok(is_here)
    }

    fn arrived(&mut self, chunk: Option<Bytes>) {
        match chunk {
            Some(chunk) => self.machine.feed(chunk),
            None => {
                self.body = None;
                self.machine.finish();
            }
        }
        self.wants_more = false;
    }

    /// Lets the head wait for the include that this work obtains.
    fn decided_by(
        &mut self,
        work: BoxFuture<'static, Result<Rope, Missing>>,
    ) -> BoxFuture<'static, Result<Rope, Missing>> {
        let (told, verdict) = oneshot::channel();
        self.decider = Decider::Awaited(verdict);
        async move {
            let rope = work.await;
            let _ = told.send(rope.as_ref().map(|_| ()).map_err(Missing::clone));
            rope
        }
        .boxed()
    }

    /// Whether there is a page, and with which head.
    fn decide(&mut self, verdict: Result<(), Missing>) -> Result<(), Cause> {
        self.decider = Decider::None;
        match verdict {
            Ok(()) => {
                let decided = self.loom.decided.get();
                self.changes.extend(decided.into_iter().flatten().cloned());
                Ok(())
            }
            Err(missing) => {
                self.refused_with = missing.status;
                Err(Cause::Transport(missing.why))
            }
        }
    }

    async fn send_ready(&mut self) -> Result<(), Cause> {
        self.release_head();
        if let Some(Thread::Ready(bytes)) = self.waiting.pop_front() {
            self.waiting_bytes -= bytes.len();
            if !bytes.is_empty() {
                let _ = self.out.send(Sent::Piece(bytes)).await;
            }
        }
        Ok(())
    }

    fn release_head(&mut self) {
        if let Some(head) = self.head.take() {
            let _ = head.send(Ok(std::mem::take(&mut self.changes)));
        }
    }

    /// Waits for whatever comes first: more of the document, the content that it waits for, or the
    /// include that is next.
    async fn wait(&mut self) -> Result<(), Cause> {
        // while it has said nothing, the document may still say something of its head
        if self.head_is_due() && !self.waiting.is_empty() {
            self.release_head();
        }
        let takes_more = self.wants_more && self.has_room();
        let Self {
            body,
            asking,
            waiting,
            decider,
            ..
        } = self;
        let decided = async {
            match decider {
                Decider::Awaited(verdict) => verdict.await,
                Decider::None | Decider::Sought => pending().await,
            }
        };
        let more = async {
            match body {
                Some(body) if takes_more => body.next().await.transpose(),
                Some(_) | None => pending().await,
            }
        };
        let asked = async {
            match asking {
                Some(asking) => asking.end().await,
                None => pending().await,
            }
        };
        let first = async {
            match waiting.front_mut() {
                Some(Thread::Spun(spun)) => spun.end().await,
                Some(Thread::Ready(_)) | None => pending().await,
            }
        };
        let came = tokio::select! {
            biased;
            verdict = decided => Came::Verdict(verdict),
            woven = first => Came::First(woven),
            content = asked => Came::Content(content),
            chunk = more => Came::More(chunk?),
        };
        match came {
            Came::Verdict(verdict) => {
                let lost = |_| Err(missing(&Cause::Panic.to_string()));
                self.decide(verdict.unwrap_or_else(lost))?;
            }
            Came::First(woven) => {
                self.waiting.pop_front();
                for bytes in self.loom.or_gap(woven)?.into_iter().rev() {
                    self.waiting_bytes += bytes.len();
                    self.waiting.push_front(Thread::Ready(bytes));
                }
            }
            Came::Content(content) => {
                self.asking = None;
                self.machine.answered(content.map(join));
            }
            Came::More(chunk) => self.arrived(chunk),
        }
        Ok(())
    }
}

fn is_primary(piece: &Piece) -> bool {
    match piece {
        Piece::Include(include) => include.is_primary,
        Piece::Text(_) | Piece::Try { .. } | Piece::Head(_) => false,
    }
}

fn join(rope: Rope) -> Bytes {
    match <[Bytes; 1]>::try_from(rope) {
        Ok([one]) => one,
        Err(several) => several.concat().into(),
    }
}

/// A piece of a document with all that it takes to make text of it.
enum Job {
    Text(Bytes),
    Include {
        include: Box<Include>,
        /// Reads its content, if that is markup.
        machine: Option<Box<dyn Machine>>,
        /// Stands in for it.
        instead: Vec<Self>,
    },
    Try {
        attempt: Vec<Self>,
        except: Vec<Self>,
    },
}

impl Loom {
    fn jobs(&self, pieces: Vec<Piece>, machine: &dyn Machine, depth: usize) -> Vec<Job> {
        let jobs = pieces.into_iter().map(|p| self.job(p, machine, depth));
        jobs.collect()
    }

    fn job(&self, piece: Piece, machine: &dyn Machine, depth: usize) -> Job {
        match piece {
            Piece::Text(text) => Job::Text(text),
            // the head has left, or will not wait for this
            Piece::Head(_) => Job::Text(Bytes::new()),
            Piece::Include(mut include) => {
                let reads = self.spec.nested != Marked::Never && include.is_markup != Some(false);
                let instead = match std::mem::take(&mut include.on_failure) {
                    OnFailure::Instead(pieces) => {
                        include.on_failure = OnFailure::LeaveOut;
                        self.jobs(pieces, machine, depth)
                    }
                    on_failure @ (OnFailure::Fail | OnFailure::LeaveOut) => {
                        include.on_failure = on_failure;
                        Vec::new()
                    }
                };
                Job::Include {
                    include,
                    machine: reads.then(|| machine.nested()),
                    instead,
                }
            }
            Piece::Try { attempt, except } => Job::Try {
                attempt: self.jobs(attempt, machine, depth),
                except: self.jobs(except, machine, depth),
            },
        }
    }

    /// Nothing in the place of what fails, unless the site would rather have no page.
    fn or_gap(&self, woven: Result<Rope, Missing>) -> Result<Rope, Cause> {
        match woven {
            Ok(rope) => Ok(rope),
            Err(missing) if self.spec.fails_page => Err(Cause::Transport(missing.why)),
            Err(_) => Ok(Rope::new()),
        }
    }

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

/// Makes text of a piece.
fn run(
    loom: Arc<Loom>,
    base: Arc<Base>,
    job: Job,
    depth: usize,
) -> BoxFuture<'static, Result<Rope, Missing>> {
    async move {
        match job {
            Job::Text(text) => Ok(vec![text]),
            Job::Try { attempt, except } => {
                let attempted = run_all(&loom, &base, attempt, depth).await;
                match attempted {
                    Ok(rope) => Ok(rope),
                    Err(_) => run_all(&loom, &base, except, depth).await,
                }
            }
            Job::Include {
                include,
                machine,
                instead,
            } => match include::obtain(&loom, &base, &include, machine, depth).await {
                Ok(rope) => Ok(rope),
                Err(_) if !instead.is_empty() => run_all(&loom, &base, instead, depth).await,
                Err(_) if include.on_failure != OnFailure::Fail => Ok(Rope::new()),
                Err(missing) => Err(missing),
            },
        }
    }
    .boxed()
}

/// Starts all of them, and puts what they come to in order; fails when one does.
async fn run_all(
    loom: &Arc<Loom>,
    base: &Arc<Base>,
    jobs: Vec<Job>,
    depth: usize,
) -> Result<Rope, Missing> {
    let threads = jobs.into_iter().map(|job| match job {
        Job::Text(text) => Thread::Ready(text),
        job @ (Job::Include { .. } | Job::Try { .. }) => {
            let work = run(Arc::clone(loom), Arc::clone(base), job, depth);
            Thread::Spun(Spun::spin(loom, work))
        }
    });
    let mut threads: Vec<Thread> = threads.collect();
    let mut rope = Rope::new();
    for thread in &mut threads {
        match thread {
            Thread::Ready(bytes) => rope.push(bytes.clone()),
            Thread::Spun(spun) => rope.extend(spun.end().await?),
        }
    }
    Ok(rope)
}

/// Weaves an included document, which is here as a whole.
async fn weave_nested(
    loom: &Arc<Loom>,
    base: Base,
    mut machine: Box<dyn Machine>,
    content: Bytes,
    depth: usize,
) -> Result<Rope, Missing> {
    let base = Arc::new(base);
    machine.feed(content);
    machine.finish();
    let mut threads = Vec::new();
    loop {
        match machine.next() {
            Step::Piece(Piece::Text(text)) => threads.push(Thread::Ready(text)),
            Step::Piece(piece) => {
                let job = loom.job(piece, &*machine, depth);
                let work = run(Arc::clone(loom), Arc::clone(&base), job, depth);
                threads.push(Thread::Spun(Spun::spin(loom, work)));
            }
            Step::Ask(include) => {
                let job = loom.job(Piece::Include(include), &*machine, depth);
                let content = run(Arc::clone(loom), Arc::clone(&base), job, depth).await;
                machine.answered(content.map(join));
            }
            Step::More | Step::End => break,
            Step::Fail(problem) => return Err(missing(&problem.to_string())),
        }
    }
    let mut rope = Rope::new();
    for thread in &mut threads {
        match thread {
            Thread::Ready(bytes) => rope.push(bytes.clone()),
            Thread::Spun(spun) => {
                let woven = loom.or_gap(spun.end().await);
                rope.extend(woven.map_err(|cause| missing(&cause.to_string()))?);
            }
        }
    }
    Ok(rope)
}
