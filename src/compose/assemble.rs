//! Document order. Owns the body of a page while it is written: literals as they are, each slot
//! whole or not at all, and nothing of a slot before everything above it.
//!
//! # Why in order
//!
//! A browser can use the part of a page that it has. What arrives in order needs no script to be
//! put in place, and search engines, readers without JavaScript and terminal browsers get the same
//! page. While the body waits for one slot, the others go on: they are filled by a task of their
//! own, so that a reader who does not read holds up nothing but their own page.
//!
//! Invariant: when every slot was at hand when the head left, the length is known and exact.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::cache::{Content, Entry};
use crate::layout::parts::Parts;
use crate::site::Piece;

use super::Edition;
use super::account::Account;
use super::slot::{Fill, Settled};
use super::snapshot;

/// A page's body.
pub struct PageBody {
    edition: Arc<Edition>,
    account: Account,
    /// What the slots that were not settled when the head left come to.
    settling: Option<mpsc::Receiver<(usize, Settled)>>,
    /// Index of the next piece to write.
    next: usize,
    /// Bytes still to be written, when that is known.
    remaining: Option<u64>,
    /// Written in the place of all pieces.
    snapshot: Option<Bytes>,
}

impl PageBody {
    /// A body whose slots are all settled, or that will not be written.
    pub(super) fn settled(edition: Arc<Edition>, account: Account, is_page: bool) -> Self {
        let mut body = Self {
            edition,
            account,
            settling: None,
            next: 0,
            remaining: None,
            snapshot: None,
        };
        if !is_page {
            body.next = body.pieces().len();
        }
        body.remaining = body.pieces()[body.next..]
            .iter()
            .map(|piece| body.written(piece).map(|bytes| bytes.len() as u64))
            .sum();
        body.finish_at_the_end();
        body
    }

    /// A body some of whose slots are still being filled.
    pub(super) fn streaming(
        edition: Arc<Edition>,
        account: Account,
        settling: mpsc::Receiver<(usize, Settled)>,
    ) -> Self {
        Self {
            edition,
            account,
            settling: Some(settling),
            next: 0,
            remaining: None,
            snapshot: None,
        }
    }

    /// The page as it was.
    pub(super) fn snapshot(edition: Arc<Edition>, account: Account, entry: &Entry) -> Self {
        let html = match &entry.content {
            Content::Html(parts) => parts.main.clone(),
            Content::Absent | Content::Withdrawn => Bytes::new(),
        };
        let mut body = Self {
            edition,
            account,
            settling: None,
            next: 0,
            remaining: Some(html.len() as u64),
            snapshot: Some(html),
        };
        body.next = body.pieces().len();
        body
    }

    /// Nobody will read it: the answer is to `HEAD`. The page counts as one that was read to its end.
    pub fn leave_unread(&mut self) {
        self.account.finish();
    }

    fn pieces(&self) -> &[Piece] {
        &self.edition.site.page(self.account.page()).pieces
    }

    /// What a piece is written as; `None` while its slot is not settled.
    fn written(&self, piece: &Piece) -> Option<Bytes> {
        let (member, part, default) = match piece {
            Piece::Literal(bytes) => return Some(bytes.clone()),
            Piece::Slot {
                member,
                part,
                default,
            } => (*member, part.as_deref(), default),
        };
        Some(match &self.account.settled(member)?.content {
            Fill::Entry(entry) => match &entry.content {
                Content::Html(parts) => parts.part(part),
                Content::Absent | Content::Withdrawn => default.clone(),
            },
            Fill::Ready(body) => Parts::split(body.clone()).part(part),
            Fill::Nothing | Fill::NoPage(..) => default.clone(),
        })
    }

    /// Once the announced length has been written nobody asks for what is left, which is empty.
    fn finish_at_the_end(&mut self) {
        if self.remaining == Some(0) {
            self.next = self.pieces().len();
        }
        if self.next == self.pieces().len() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if self.account.is_open() {
            snapshot::consider(self.account.composer(), &self.account, || {
                snapshot::concat(self.pieces().iter().map(|piece| self.written(piece)))
            });
        }
        self.account.finish();
    }

    fn poll_slots(&mut self, cx: &mut Context<'_>) {
        let Some(settling) = &mut self.settling else {
            return;
        };
        loop {
            match settling.poll_recv(cx) {
                Poll::Pending => return,
                Poll::Ready(Some((member, settled))) => self.account.settle(member, settled),
                Poll::Ready(None) => {
                    self.account.give_up_the_rest();
                    self.settling = None;
                    return;
                }
            }
        }
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Some(html) = this.snapshot.take() {
            this.finish();
            return Poll::Ready(Some(Ok(Frame::data(html))));
        }
        this.poll_slots(cx);
        while let Some(piece) = this.pieces().get(this.next) {
            let Some(bytes) = this.written(piece) else {
                return Poll::Pending;
            };
            this.next += 1;
            if let Some(remaining) = &mut this.remaining {
                *remaining -= bytes.len() as u64;
            }
            this.finish_at_the_end();
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
        this.finish();
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.snapshot.is_none() && self.next == self.pieces().len()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
