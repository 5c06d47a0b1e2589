//! A body that is not simply one piece after the other: it is gzip, or some of its slots come late.
//! Owns how contents become frames then; what is written next is the body's to say.
//!
//! # As gzip
//!
//! What a page is made of for the most part does not change from page to page, and neither does what it
//! comes to when it is compressed. So a copy's [variant](crate::stitch::Variant) is made by the first
//! page that shows it and sent by all; what is one reader's own is compressed for this page. Where a
//! variant is large it is made beside the runtime, and the page waits for it a little: what has not come
//! by then goes as it is, for gzip can hold that too.
//!
//! Each frame ends on a piece's border, where a decoder has all that was sent: a browser can show what
//! it has while a slot is waited for.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::timeout_at;

use crate::cache::{Cache, Content, Entry};
use crate::clock::Instant;
use crate::compose::Composer;
use crate::stitch::{
    self, AROUND_BYTES, Deflated, INLINE_BYTES_MAX, Member, TINY_BYTES_MAX, Variant,
};

use super::declared::Held;
use super::{JOINED_BYTES_MAX, SMALL_BYTES_MAX};

/// How long a page waits at most for a variant that another thread makes: as long as a megabyte takes.
const PATIENCE: Duration = Duration::from_millis(50);

/// What is written next.
pub(super) enum Next<'b> {
    /// Nothing can be written yet.
    Wait,
    /// Everything is written.
    End,
    /// This.
    Content(Piece<'b>),
}

/// How much was written.
pub(super) enum Wrote {
    /// Nothing: nothing can be.
    Nothing,
    /// Some of a content; or nothing of it yet.
    Some,
    /// All of a content.
    All,
    /// All of the page.
    Everything,
}

/// A content and where its variant is kept.
pub(super) struct Piece<'b> {
    pub(super) content: Cow<'b, Bytes>,
    pub(super) kept: Kept<'b>,
}

/// Where the variant of a content is kept.
pub(super) enum Kept<'b> {
    /// With the copy, of this part of it.
    Copy(&'b Arc<Entry>, Option<&'b str>),
    /// With the edition.
    Declared(Arc<Held>),
    /// Nowhere: the content is for this page alone.
    Nowhere,
}

impl Kept<'_> {
    fn variant(&self) -> Option<&Variant> {
        match self {
            Self::Copy(entry, part) => variant(entry, *part),
            Self::Declared(held) => Some(&held.variant),
            Self::Nowhere => None,
        }
    }

    fn keeper(&self) -> Option<Keeper> {
        match self {
            Self::Copy(entry, part) => {
                Some(Keeper::Copy(Arc::clone(entry), part.map(str::to_owned)))
            }
            Self::Declared(held) => Some(Keeper::Declared(Arc::clone(held))),
            Self::Nowhere => None,
        }
    }
}

fn variant<'e>(entry: &'e Entry, part: Option<&str>) -> Option<&'e Variant> {
    match &entry.content {
        Content::Html(parts) => entry.coded.variant(parts, part),
        Content::Absent | Content::Withdrawn => None,
    }
}

/// The same for whoever makes it elsewhere.
#[derive(Clone)]
enum Keeper {
    Copy(Arc<Entry>, Option<String>),
    Declared(Arc<Held>),
}

impl Keeper {
    fn variant(&self) -> Option<&Variant> {
        match self {
            Self::Copy(entry, part) => variant(entry, part.as_deref()),
            Self::Declared(held) => Some(&held.variant),
        }
    }

    fn count(&self, cache: &Cache) {
        if let Self::Copy(entry, _) = self {
            cache.weigh(entry);
        }
    }
}

/// How many bytes a content comes to as gzip; `None` where that is not known yet.
pub(super) fn known_len(piece: &Piece<'_>) -> Option<u64> {
    let content = piece.content.len();
    let len = match content {
        ..=TINY_BYTES_MAX => stitch::stored_len(content),
        _ => piece.kept.variant()?.get()?.bytes().len(),
    };
    Some(len as u64)
}

/// How many bytes a page comes to besides its contents.
pub(super) const AROUND: u64 = AROUND_BYTES as u64;

/// The frames of a body.
pub(super) struct Weaver {
    /// Where it is gzip.
    gzip: Option<Member>,
    /// The frame that is being put together.
    joined: BytesMut,
    /// The frame after it, which is large by itself.
    large: Option<Bytes>,
    /// Until a variant is made, or has not come in time.
    variant: Option<BoxFuture<'static, ()>>,
    /// Whether the content that is written next has been waited for.
    has_waited: bool,
    /// Bytes of the content that is written next that are written already.
    written: usize,
    is_ended: bool,
}

/// By whom and until when variants are made.
pub(super) struct Workshop<'c> {
    pub(super) composer: &'c Arc<Composer>,
    /// The end of the page's budget.
    pub(super) deadline: Instant,
}

impl Weaver {
    pub(super) fn new(is_gzip: bool) -> Self {
        let mut weaver = Self {
            gzip: None,
            joined: BytesMut::new(),
            large: None,
            variant: None,
            has_waited: false,
            written: 0,
            is_ended: false,
        };
        if is_gzip {
            let mut member = Member::default();
            member.begin(&mut weaver.joined);
            weaver.gzip = Some(member);
        }
        weaver
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.gzip.is_some()
    }

    /// A frame that can be sent, because it is large, or because there is nothing to add to it yet.
    pub(super) fn frame(&mut self, is_due: bool) -> Option<Bytes> {
        let is_due = is_due || self.large.is_some() || self.joined.len() >= JOINED_BYTES_MAX;
        if is_due && !self.joined.is_empty() {
            return Some(self.joined.split().freeze());
        }
        self.large.take()
    }

    /// Whether a variant is waited for.
    pub(super) fn is_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(variant) = &mut self.variant else {
            return false;
        };
        let is_pending = variant.poll_unpin(cx).is_pending();
        if !is_pending {
            self.variant = None;
            self.has_waited = true;
        }
        is_pending
    }

    /// Everything is written.
    pub(super) fn end(&mut self) {
        if let Some(member) = &self.gzip
            && !self.is_ended
        {
            member.end(&mut self.joined);
        }
        self.is_ended = true;
    }

    /// Nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.is_ended && self.joined.is_empty() && self.large.is_none()
    }

    /// Writes as much of a content as goes into a frame.
    pub(super) fn write(&mut self, piece: &Piece<'_>, shop: &Workshop<'_>) -> Wrote {
        let content = &piece.content;
        if content.is_empty() {
            return Wrote::All;
        }
        let Some(member) = &mut self.gzip else {
            append(Cow::clone(content), &mut self.joined, &mut self.large);
            return Wrote::All;
        };
        let done = if content.len() <= TINY_BYTES_MAX {
            member.store(content, &mut self.joined);
            true
        } else if let Some(made) = piece.kept.variant().and_then(Variant::get) {
            send(member, made, &mut self.joined, &mut self.large);
            true
        } else if piece.kept.variant().is_none() {
            self.write_in_passing(content)
        } else if content.len() <= INLINE_BYTES_MAX {
            self.write_first(piece, shop);
            true
        } else if self.has_waited {
            self.write_as_it_is(content)
        } else {
            self.variant = making(piece, shop);
            self.has_waited = self.variant.is_none();
            false
        };
        if !done {
            return Wrote::Some;
        }
        (self.has_waited, self.written) = (false, 0);
        Wrote::All
    }

    /// Writes what no page has written before.
    fn write_first(&mut self, piece: &Piece<'_>, shop: &Workshop<'_>) {
        let Some(member) = &mut self.gzip else { return };
        let variant = piece.kept.variant().filter(|variant| variant.begin());
        if let Some(variant) = variant {
            variant.make(&piece.content);
            if let Some(keeper) = piece.kept.keeper() {
                keeper.count(&shop.composer.cache);
            }
            if let Some(made) = variant.get() {
                send(member, made, &mut self.joined, &mut self.large);
                return;
            }
        }
        // another page is making it at this moment
        member.deflate(&piece.content, &mut self.joined);
    }

    /// Writes what is for this page alone, not too much of it at a time.
    fn write_in_passing(&mut self, content: &Bytes) -> bool {
        let Some(member) = &mut self.gzip else {
            return true;
        };
        let end = content.len().min(self.written + INLINE_BYTES_MAX);
        member.deflate(&content[self.written..end], &mut self.joined);
        self.written = end;
        end == content.len()
    }

    /// Writes what could not be compressed in time.
    fn write_as_it_is(&mut self, content: &Bytes) -> bool {
        let Some(member) = &mut self.gzip else {
            return true;
        };
        let end = content.len().min(self.written + JOINED_BYTES_MAX);
        member.store(&content[self.written..end], &mut self.joined);
        self.written = end;
        end == content.len()
    }
}

fn send(member: &mut Member, made: &Deflated, joined: &mut BytesMut, large: &mut Option<Bytes>) {
    append(Cow::Borrowed(member.piece(made)), joined, large);
}

fn append(bytes: Cow<'_, Bytes>, joined: &mut BytesMut, large: &mut Option<Bytes>) {
    match bytes.len() > SMALL_BYTES_MAX {
        true => *large = Some(bytes.into_owned()),
        false => joined.extend_from_slice(&bytes),
    }
}

/// Until the variant of a content is made; whoever comes first has it made.
fn making(piece: &Piece<'_>, shop: &Workshop<'_>) -> Option<BoxFuture<'static, ()>> {
    let keeper = piece.kept.keeper()?;
    let until = (shop.composer.clock.now() + PATIENCE).min(shop.deadline);
    if keeper.variant()?.begin() {
        let (composer, content) = (
            Arc::clone(shop.composer),
            piece.content.clone().into_owned(),
        );
        let begun = Begun(keeper.clone());
        shop.composer.tasks.spawn_blocking(move || {
            if let Some(variant) = begun.0.variant() {
                variant.make(&content);
            }
            begun.0.count(&composer.cache);
        });
    }
    let made = async move {
        if let Some(variant) = keeper.variant() {
            // in time or not: the page goes on
            let _ = timeout_at(until, variant.is_made()).await;
        }
    };
    Some(made.boxed())
}

/// A variant that is being made. A server that stops makes none.
struct Begun(Keeper);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(variant) = self.0.variant()
            && variant.get().is_none()
        {
            variant.give_up();
        }
    }
}
