//! Slots that come late. Owns what is written around them and when.
//!
//! The part of the page that holds them becomes the shadow tree of an element that lasts to the end of the
//! body: `<div><template shadowrootmode="open">…<slot name="marbre-3">default content</slot>…</template>`.
//! What follows in the body goes into that element and shows where it was; what comes late is put at its
//! end, and the browser shows it where the slot of its name is. No script has to run. Where nothing comes
//! the default content stays.
//!
//! A page whose late slots are all settled when their part is reached is written in order, as if none of
//! them might be late. Invariant: what is written is well-formed wherever it ends, and each slot is
//! written once.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::cache::Content;
use crate::site::Piece;

use super::super::account::Account;
use super::super::slot::Fill;

/// What shows the rest of the body, and ends the shadow tree.
const SHADOW_END: &[u8] = b"<slot></slot></template>";
const SLOT_END: &[u8] = b"</slot>";
const BLOCK_END: &[u8] = b"</div>";

/// Something to write that is not simply the next piece.
pub(super) enum Part<'l> {
    Text(&'l Bytes),
    Piece(usize),
    /// What comes late has not come yet.
    Wait,
}

enum Item {
    Text(Bytes),
    Piece(usize),
}

/// How far it has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The part that holds the slots has not been reached.
    Before,
    /// In the shadow tree.
    Inside,
    /// Behind it.
    Behind,
    /// Everything has come, or nothing was late.
    Over,
}

/// The slots of one page that may come late.
pub(super) struct Late {
    stage: Stage,
    /// What is to be written before the next piece.
    due: VecDeque<Item>,
    /// Pieces whose place is written and that are not.
    awaited: Vec<usize>,
    is_waiting: bool,
}

impl Late {
    /// `None` where no slot of the page may come late, or its reader's browser could not show it.
    pub(super) fn of(account: &Account) -> Option<Self> {
        let may_be_late = account.takes_late_slots && account.declared().deferral.is_some();
        may_be_late.then(|| Self {
            stage: Stage::Before,
            due: VecDeque::new(),
            awaited: Vec::new(),
            is_waiting: false,
        })
    }

    /// What is written before the next piece, if anything.
    pub(super) fn next(&self) -> Option<Part<'_>> {
        match self.due.front() {
            Some(Item::Text(text)) => Some(Part::Text(text)),
            Some(Item::Piece(index)) => Some(Part::Piece(*index)),
            None => self.is_waiting.then_some(Part::Wait),
        }
    }

    /// That is written; whether there was anything.
    pub(super) fn step(&mut self) -> bool {
        self.due.pop_front().is_some()
    }

    /// Finds out what is to be written before the piece `next`; gives back which piece is next then.
    pub(super) fn prepare(&mut self, account: &Account, next: usize) -> usize {
        self.is_waiting = false;
        let Some(deferral) = &account.declared().deferral else {
            return next;
        };
        if !self.due.is_empty() {
            return next;
        }
        if self.stage == Stage::Before && next == deferral.opens {
            let mut slots = deferral.slots.iter();
            self.stage = match slots.all(|index| is_settled(account, *index)) {
                true => Stage::Over,
                false => Stage::Inside,
            };
            if self.stage == Stage::Inside {
                self.text(deferral.opening.clone());
                return next;
            }
        }
        if self.stage == Stage::Inside {
            if next == deferral.closes {
                self.stage = Stage::Behind;
                self.text(Bytes::from_static(SHADOW_END));
            } else if deferral.slots.contains(&next) && !is_settled(account, next) {
                self.leave_room(account, next);
                return next + 1;
            }
            return next;
        }
        if self.stage == Stage::Behind && next == deferral.ends {
            self.take_what_has_come(account);
        }
        next
    }

    fn leave_room(&mut self, account: &Account, index: usize) {
        self.text(Bytes::from(format!("<slot name=\"marbre-{index}\">")));
        if let Some(Piece::Slot { default, .. }) = account.declared().pieces.get(index) {
            self.text(default.clone());
        }
        self.text(Bytes::from_static(SLOT_END));
        self.awaited.push(index);
    }

    /// In the order in which it comes, as far as that is known.
    fn take_what_has_come(&mut self, account: &Account) {
        let awaited = std::mem::take(&mut self.awaited);
        for index in awaited {
            if !is_settled(account, index) {
                self.awaited.push(index);
            } else if shows(account, index) {
                self.text(Bytes::from(format!("<div slot=\"marbre-{index}\">")));
                self.due.push_back(Item::Piece(index));
                self.text(Bytes::from_static(BLOCK_END));
            }
        }
        if self.awaited.is_empty() {
            self.text(Bytes::from_static(BLOCK_END));
            self.stage = Stage::Over;
        }
        self.is_waiting = self.due.is_empty();
    }

    fn text(&mut self, text: Bytes) {
        self.due.push_back(Item::Text(text));
    }
}

fn member(account: &Account, index: usize) -> Option<usize> {
    match account.declared().pieces.get(index) {
        Some(Piece::Slot { member, .. }) => Some(*member),
        Some(Piece::Literal(_)) | None => None,
    }
}

fn is_settled(account: &Account, index: usize) -> bool {
    member(account, index).is_none_or(|member| account.settled(member).is_some())
}

/// Whether something takes the place of the default content.
fn shows(account: &Account, index: usize) -> bool {
    let settled = member(account, index).and_then(|member| account.settled(member));
    match settled.map(|settled| &settled.content) {
        Some(Fill::Entry(entry)) => matches!(entry.content, Content::Html(_)),
        Some(Fill::Ready(_)) => true,
        Some(Fill::Nothing | Fill::NoPage(..)) | None => false,
    }
}
