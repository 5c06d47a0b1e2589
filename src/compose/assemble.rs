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
//! # In few pieces
//!
//! Each piece that is handed over costs the layers below it some work, and the HTTP library writes
//! to the socket after sixteen. So what is ready goes out in as few as it can without copying much:
//! a large piece as it is, the small ones between two large ones as one.
//!
//! Invariant: when every slot was at hand when the head left, the length is known and exact.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3Default;

use crate::cache::{Content, Entry};
use crate::layout::parts::Parts;
use crate::site::Piece;

use super::account::Account;
use super::slot::{Fill, Settled};
use super::snapshot;

/// Pieces of up to so many bytes are copied together; about what handing over one by itself costs.
const SMALL_BYTES_MAX: usize = 4 << 10;
/// Most bytes that are copied together, so that what a page holds for a slow reader stays small.
const JOINED_BYTES_MAX: usize = 32 << 10;

/// A page's body.
pub struct PageBody {
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
    pub(super) fn settled(account: Account, is_page: bool) -> Self {
        let mut body = Self {
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
    pub(super) fn streaming(account: Account, settling: mpsc::Receiver<(usize, Settled)>) -> Self {
        Self {
            account,
            settling: Some(settling),
            next: 0,
            remaining: None,
            snapshot: None,
        }
    }

    /// The page as it was.
    pub(super) fn snapshot(account: Account, entry: &Entry) -> Self {
        let html = match &entry.content {
            Content::Html(parts) => parts.main.clone(),
            Content::Absent | Content::Withdrawn => Bytes::new(),
        };
        let mut body = Self {
            account,
            settling: None,
            next: 0,
            remaining: Some(html.len() as u64),
            snapshot: Some(html),
        };
        body.next = body.pieces().len();
        body
    }

    /// A hash of all that will be written, where all of it is at hand and nothing is written yet. A copy
    /// counts by a hash of its own, which is made once for all pages that it is on.
    pub(super) fn digest(&self) -> Option<u128> {
        let mut hasher = Xxh3Default::new();
        if let Some(html) = &self.snapshot {
            hasher.update(html);
            return Some(hasher.digest128());
        }
        if self.settling.is_some() || self.next > 0 {
            return None;
        }
        for piece in self.pieces() {
            match self.copy(piece) {
                Some((entry, part)) => {
                    hasher.update(&entry.digest().to_le_bytes());
                    hasher.update(part.unwrap_or_default().as_bytes());
                }
                None => hasher.update(&self.written(piece)?),
            }
            // so that nothing runs into the next
            hasher.update(&[0xff]);
        }
        Some(hasher.digest128())
    }

    /// The copy that a piece is taken from, and which part of it.
    fn copy<'b>(&'b self, piece: &'b Piece) -> Option<(&'b Entry, Option<&'b str>)> {
        let Piece::Slot { member, part, .. } = piece else {
            return None;
        };
        match &self.account.settled(*member)?.content {
            Fill::Entry(entry) => Some((entry.as_ref(), part.as_deref())),
            Fill::Ready(_) | Fill::Nothing | Fill::NoPage(..) => None,
        }
    }

    /// Nobody will read it: the answer is to `HEAD`, or its reader has it already. The page counts as one that was read to its end.
    pub fn leave_unread(&mut self) {
        self.account.finish();
    }

    fn pieces(&self) -> &[Piece] {
        &self.account.declared().pieces
    }

    /// What a piece is written as; `None` while its slot is not settled.
    fn written<'b>(&'b self, piece: &'b Piece) -> Option<Cow<'b, Bytes>> {
        let (member, part, default) = match piece {
            Piece::Literal(bytes) => return Some(Cow::Borrowed(bytes)),
            Piece::Slot {
                member,
                part,
                default,
            } => (*member, part.as_deref(), default),
        };
        Some(match &self.account.settled(member)?.content {
            Fill::Entry(entry) => match &entry.content {
                Content::Html(parts) => match part {
                    None => Cow::Borrowed(&parts.main),
                    Some(_) => Cow::Owned(parts.part(part)),
                },
                Content::Absent | Content::Withdrawn => Cow::Borrowed(default),
            },
            Fill::Ready(body) => Cow::Owned(Parts::split(body.clone()).part(part)),
            Fill::Nothing | Fill::NoPage(..) => Cow::Borrowed(default),
        })
    }

    /// Takes what can be written now, as one frame: empty while the next slot is not settled, and at
    /// the end.
    fn take(&mut self) -> Bytes {
        let (mut pieces, mut bytes) = (0, 0);
        for piece in &self.pieces()[self.next..] {
            let Some(len) = self.written(piece).map(|piece| piece.len()) else {
                break;
            };
            let is_too_much = len > SMALL_BYTES_MAX || bytes + len > JOINED_BYTES_MAX;
            if bytes > 0 && is_too_much {
                break;
            }
            pieces += 1;
            bytes += len;
            if is_too_much {
                break;
            }
        }
        let run = &self.pieces()[self.next..self.next + pieces];
        let mut run = run
            .iter()
            .filter_map(|piece| self.written(piece))
            .filter(|piece| !piece.is_empty())
            .peekable();
        let first = run.next().map(Cow::into_owned).unwrap_or_default();
        let frame = match run.peek() {
            None => first,
            Some(_) => {
                let mut joined = BytesMut::with_capacity(bytes);
                joined.extend_from_slice(&first);
                run.for_each(|piece| joined.extend_from_slice(&piece));
                joined.freeze()
            }
        };
        self.next += pieces;
        if let Some(remaining) = &mut self.remaining {
            *remaining -= bytes as u64;
        }
        frame
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
            snapshot::consider(&self.account, || {
                let pieces = self.pieces().iter();
                snapshot::concat(pieces.map(|piece| Some(self.written(piece)?.into_owned())))
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
        let frame = this.take();
        this.finish_at_the_end();
        if !frame.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if this.next < this.pieces().len() {
            return Poll::Pending;
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
