//! The outermost document on its way to its reader (shell). Owns the order of things: what is read and
//! started, what waits for what stands before it, and when the head leaves.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use crate::cache::Entry;
use crate::fetch::origin::BodyStream;
use crate::fragment::FragmentId;
use crate::layout::markup::{HeadChange, Machine, Missing, Piece, Step};
use crate::report::Cause;

use super::jobs::{Spun, Thread, join, run};
use super::{Base, Loom, NoHead, Rope, Sent, missing};

/// Text that waits for what stands before it, at most; the origin waits with the rest.
const WAITING_BYTES: usize = 1024 * 1024;

/// Pieces that wait, at most.
const WAITING_PIECES: usize = 4096;

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

/// The include that decides about the page, for which the head waits.
pub(super) enum Decider {
    /// There is none, or it has decided.
    None,
    /// The document may hold one further on.
    Sought,
    /// It is under way.
    Awaited(oneshot::Receiver<Result<(), Missing>>),
}

/// Weaves one document for one reader.
pub(super) struct Weaver {
    pub(super) loom: Arc<Loom>,
    pub(super) base: Arc<Base>,
    pub(super) machine: Box<dyn Machine>,
    /// What the document is on its page.
    pub(super) block: Option<FragmentId>,
    /// How long it was worked at.
    pub(super) work: Duration,
    /// The copy that it is, if nobody has read that before.
    pub(super) copy: Option<Arc<Entry>>,
    /// What has not arrived yet.
    pub(super) body: Option<BodyStream>,
    pub(super) waiting: VecDeque<Thread>,
    pub(super) waiting_bytes: usize,
    /// The content that the machine waits for.
    pub(super) asking: Option<Spun>,
    pub(super) is_ended: bool,
    pub(super) wants_more: bool,
    pub(super) changes: Vec<HeadChange>,
    pub(super) decider: Decider,
    /// The status of the answer for which there is no page.
    pub(super) refused_with: Option<StatusCode>,
    pub(super) head: Option<oneshot::Sender<Result<Vec<HeadChange>, NoHead>>>,
    pub(super) out: mpsc::Sender<Sent>,
}

impl Weaver {
    pub(super) async fn run(mut self) {
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
