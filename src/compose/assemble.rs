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
//! # What is not simply in order
//!
//! A body that is gzip, or some of whose slots come late, is `woven`: contents become frames there. What
//! is next is said here in either case.
//!
//! Invariant: when every slot was at hand when the head left, the length is known and exact.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_128;

use crate::cache::{Content, Entry};
use crate::layout::parts::Parts;
use crate::site::Piece;
use crate::stitch::TINY_BYTES_MAX;

use super::account::Account;
use super::head::PageHead;
use super::made::{self, Note};
use super::slot::{Fill, Settled};
use super::snapshot;

mod coding;
pub(super) mod declared;
mod late;
mod woven;

pub use coding::BodyCoding;

use late::Late;
use woven::{Kept, Next, Weaver, Workshop, Wrote};

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
    snapshot: Option<Arc<Entry>>,
    /// All that is written, where it is known in one piece.
    made: Option<Bytes>,
    /// By whom it may be told to be gzip.
    coding: Option<BodyCoding>,
    /// What it comes to as gzip, when that can be known.
    gzip_len: OnceLock<Option<u64>>,
    /// Bytes of gzip that are written.
    gzip_sent: u64,
    /// Slots that may come late.
    late: Option<Late>,
    weaver: Option<Box<Weaver>>,
}

impl PageBody {
    /// A body whose slots are all settled, or that will not be written.
    pub(super) fn settled(account: Account, is_page: bool) -> Self {
        let mut body = Self::new(account);
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
        let late = Late::of(&account);
        Self {
            settling: Some(settling),
            late,
            ..Self::new(account)
        }
    }

    /// The page as it was.
    pub(super) fn snapshot(account: Account, entry: Arc<Entry>) -> Self {
        let mut body = Self::new(account);
        body.next = body.pieces().len();
        body.remaining = Some(html(&entry).len() as u64);
        body.snapshot = Some(entry);
        body
    }

    /// A page that was made before, which is this text.
    pub(super) fn made(account: Account, text: Bytes) -> Self {
        Self {
            remaining: Some(text.len() as u64),
            made: Some(text),
            ..Self::new(account)
        }
    }

    /// Notes what the page has come to for whoever asks for the same in a moment.
    pub(super) fn note(&mut self, note: Note, head: &PageHead) {
        if self.settling.is_some() || self.snapshot.is_some() || self.next > 0 {
            return;
        }
        if !made::may_be_kept(&self.account, head) {
            return;
        }
        let pieces = self.pieces().iter();
        let text = || snapshot::concat(pieces.map(|piece| Some(self.written(piece)?.into_owned())));
        let text = made::is_to_be_kept(note, &self.account)
            .then(text)
            .flatten();
        made::note(note, &mut self.account, head, text);
    }

    fn new(account: Account) -> Self {
        Self {
            account,
            settling: None,
            next: 0,
            remaining: None,
            snapshot: None,
            made: None,
            coding: None,
            gzip_len: OnceLock::new(),
            gzip_sent: 0,
            late: None,
            weaver: None,
        }
    }

    /// By what it can be told to be gzip before it begins.
    pub fn coding(&mut self) -> BodyCoding {
        self.coding.get_or_insert_default().clone()
    }

    /// A hash of all that will be written, where all of it is at hand and nothing is written yet. A copy
    /// counts by a hash of its own, which is made once for all pages that it is on.
    pub fn digest(&self) -> Option<u128> {
        if let Some(entry) = &self.snapshot {
            return Some(xxh3_128(&html(entry)));
        }
        if self.settling.is_some() || self.next > 0 {
            return None;
        }
        let pieces = self.pieces();
        let mut digests = Vec::with_capacity((pieces.len() + 1) * size_of::<u128>());
        digests.extend(self.account.declared().literals.to_le_bytes());
        for piece in pieces {
            if let Piece::Literal(_) = piece {
                continue;
            }
            match self.copy(piece) {
                Some((entry, part)) => {
                    digests.extend(entry.digest().to_le_bytes());
                    digests.extend(part.unwrap_or_default().as_bytes());
                }
                None => digests.extend(xxh3_128(&self.written(piece)?).to_le_bytes()),
            }
            // so that nothing runs into the next
            digests.push(0xff);
        }
        Some(xxh3_128(&digests))
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

    /// Nobody will read it: the answer is to `HEAD`, or its reader has it already. The page counts as one that
    /// was read to its end.
    pub fn leave_unread(&mut self) {
        // the answer may have to tell it, and the account takes along what it is known from
        self.gzip_len();
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

    /// Where the variant of a settled piece is kept.
    fn kept<'b>(&'b self, piece: &'b Piece, content: &Bytes) -> Kept<'b> {
        let declared = |content: &Bytes| {
            let variants = &self.account.order().edition.variants;
            variants.of(content).map_or(Kept::Nowhere, Kept::Declared)
        };
        let (member, part) = match piece {
            Piece::Literal(_) => return declared(content),
            Piece::Slot { member, part, .. } => (*member, part.as_deref()),
        };
        match self.account.settled(member).map(|settled| &settled.content) {
            Some(Fill::Entry(entry)) => match &entry.content {
                Content::Html(_) => Kept::Copy(entry, part),
                Content::Absent | Content::Withdrawn => declared(content),
            },
            // what was put together from the parts of it is not declared
            Some(Fill::Ready(body)) if !is_within(body, content) => Kept::Nowhere,
            Some(Fill::Ready(_) | Fill::Nothing | Fill::NoPage(..)) => declared(content),
            None => Kept::Nowhere,
        }
    }

    /// A piece as it is woven; `None` while its slot is not settled.
    fn woven(&self, index: usize) -> Option<woven::Piece<'_>> {
        let piece = &self.pieces()[index];
        let content = self.written(piece)?;
        let kept = match content.len() <= TINY_BYTES_MAX {
            true => Kept::Nowhere,
            false => self.kept(piece, &content),
        };
        Some(woven::Piece { content, kept })
    }

    /// What is written next where it is woven.
    fn next_woven(&self) -> Next<'_> {
        if let Some(entry) = &self.snapshot {
            return Next::Content(whole(entry));
        }
        match self.late.as_ref().and_then(Late::next) {
            Some(late::Part::Text(text)) => {
                let variants = &self.account.order().edition.variants;
                let kept = match text.len() <= TINY_BYTES_MAX {
                    true => Kept::Nowhere,
                    false => variants.of(text).map_or(Kept::Nowhere, Kept::Declared),
                };
                return Next::Content(woven::Piece {
                    content: Cow::Borrowed(text),
                    kept,
                });
            }
            Some(late::Part::Piece(index)) => {
                return self.woven(index).map_or(Next::Wait, Next::Content);
            }
            Some(late::Part::Wait) => return Next::Wait,
            None => {}
        }
        if self.next == self.pieces().len() {
            return Next::End;
        }
        self.woven(self.next).map_or(Next::Wait, Next::Content)
    }

    /// That is written.
    fn step(&mut self) {
        if self.snapshot.take().is_some() {
            return;
        }
        if !self.late.as_mut().is_some_and(Late::step) {
            self.next += 1;
        }
    }

    fn poll_woven(&mut self, weaver: &mut Weaver, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(frame) = weaver.frame(false) {
                return Poll::Ready(Some(frame));
            }
            if weaver.is_waiting(cx) {
                return waiting(weaver);
            }
            if let Some(late) = &mut self.late {
                self.next = late.prepare(&self.account, self.next);
            }
            let wrote = match self.next_woven() {
                Next::Wait => Wrote::Nothing,
                Next::End => Wrote::Everything,
                Next::Content(piece) => {
                    let (order, page) = (self.account.order(), self.account.declared());
                    let shop = Workshop {
                        composer: &order.composer,
                        deadline: self.account.started() + page.budget,
                    };
                    weaver.write(&piece, &shop)
                }
            };
            match wrote {
                Wrote::Nothing => return waiting(weaver),
                Wrote::Everything => {
                    weaver.end();
                    self.finish();
                    return Poll::Ready(weaver.frame(true));
                }
                Wrote::Some => {}
                Wrote::All => self.step(),
            }
        }
    }

    /// What it comes to as gzip, if all of it is there.
    fn gzip_len(&self) -> Option<u64> {
        let count = || {
            if let Some(entry) = &self.snapshot {
                return Some(woven::AROUND + woven::known_len(&whole(entry))?);
            }
            if self.settling.is_some() {
                return None;
            }
            let pieces = self.next..self.pieces().len();
            let lengths = pieces.map(|index| woven::known_len(&self.woven(index)?));
            Some(woven::AROUND + lengths.sum::<Option<u64>>()?)
        };
        *self.gzip_len.get_or_init(count)
    }

    fn is_gzip(&self) -> bool {
        match &self.weaver {
            Some(weaver) => weaver.is_gzip(),
            None => self.coding.as_ref().is_some_and(BodyCoding::is_gzip),
        }
    }

    /// It is asked for the first time: from here on it is what it is.
    fn begin(&mut self) {
        let Some(coding) = &self.coding else {
            if self.late.is_some() && self.weaver.is_none() {
                self.weaver = Some(Box::new(Weaver::new(false)));
            }
            return;
        };
        let is_gzip = coding.begin();
        if is_gzip {
            // said now, so that what is counted is what was announced
            self.gzip_len();
        }
        self.coding = None;
        if is_gzip || self.late.is_some() {
            self.weaver = Some(Box::new(Weaver::new(is_gzip)));
        }
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
        this.begin();
        if let Some(mut weaver) = this.weaver.take() {
            this.poll_slots(cx);
            let polled = this.poll_woven(&mut weaver, cx);
            this.weaver = Some(weaver);
            if let Poll::Ready(Some(frame)) = &polled {
                this.gzip_sent += frame.len() as u64;
            }
            return polled.map(|frame| frame.map(|frame| Ok(Frame::data(frame))));
        }
        if let Some(entry) = this.snapshot.take() {
            this.finish();
            return Poll::Ready(Some(Ok(Frame::data(html(&entry)))));
        }
        if let Some(text) = this.made.take() {
            this.next = this.pieces().len();
            this.remaining = Some(0);
            this.finish();
            return Poll::Ready(Some(Ok(Frame::data(text))));
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
        match &self.weaver {
            Some(weaver) => weaver.is_empty(),
            None => {
                let is_over = self.snapshot.is_none() && self.next == self.pieces().len();
                is_over && !self.is_gzip()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = match self.is_gzip() {
            true => self
                .gzip_len()
                .map(|len| len.saturating_sub(self.gzip_sent)),
            false => self.remaining.filter(|_| self.weaver.is_none()),
        };
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What is there goes out, as something is waited for.
fn waiting(weaver: &mut Weaver) -> Poll<Option<Bytes>> {
    weaver
        .frame(true)
        .map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)))
}

/// What there is to show of a snapshot.
fn html(entry: &Entry) -> Bytes {
    match &entry.content {
        Content::Html(parts) => parts.main.clone(),
        Content::Absent | Content::Withdrawn => Bytes::new(),
    }
}

/// The same as it is woven.
fn whole(entry: &Arc<Entry>) -> woven::Piece<'_> {
    woven::Piece {
        content: Cow::Owned(html(entry)),
        kept: Kept::Copy(entry, None),
    }
}

/// Whether these bytes are some of those.
fn is_within(whole: &Bytes, some: &Bytes) -> bool {
    let (whole, some) = (whole.as_ptr_range(), some.as_ptr_range());
    whole.start <= some.start && some.end <= whole.end
}
