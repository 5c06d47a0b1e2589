//! How a record and the head of a segment look as bytes. Owns the format and its checksums; pure.
//!
//! All numbers are little-endian. A record is a head of [`HEAD`] bytes and a body:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | sync marker, by which a record is found again after damage |
//! | 8..12 | length of the body |
//! | 12..16 | flags: 1 pinned, 2 removed |
//! | 16..48 | id |
//! | 48..56 | good until, Unix milliseconds |
//! | 56..64 | sequence number |
//! | 64..72 | XXH3-64 of the body |
//! | 72..80 | XXH3-64 of bytes 0..72 |
//!
//! Both checksums are seeded with the salt of the segment, a number drawn when the segment was
//! made. Without it a body that happens to hold, or was written to hold, the bytes of a record
//! could pass for one when the head before it is damaged, and so could what a file system brings
//! back from a deleted segment after a power cut.
//!
//! A segment begins with three equal copies of its own head (magic, version, salt, checksum), so
//! that one damaged byte there does not cost the file. Invariant: a change of any of this is a new
//! [`VERSION`], and a file of another version is never parsed.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::cache::key::CopyId;

/// Length of a record's head in bytes.
pub(super) const HEAD: usize = 80;

/// Length of a segment's head in bytes, all copies.
pub(super) const SEGMENT_HEAD: usize = SEGMENT_HEAD_COPY * SEGMENT_HEAD_COPIES;

/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// Not text, so that no fragment has it by chance.
pub(super) const SYNC: [u8; 8] = [0xf1, b'm', b'r', 0x00, 0xbe, 0xc0, b'd', 0x1f];

const MAGIC: [u8; 8] = *b"marbrelg";
const SEGMENT_HEAD_COPY: usize = 32;
const SEGMENT_HEAD_COPIES: usize = 3;

const PINNED: u32 = 1;
const REMOVED: u32 = 2;

/// What is said of a body before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: CopyId,
    /// Length of the body in bytes.
    pub(super) len: u32,
    pub(super) pinned: bool,
    /// Says that the id is no longer kept; has no body.
    pub(super) removed: bool,
    /// Unix milliseconds.
    pub(super) good_until: u64,
    pub(super) seq: u64,
    body_sum: u64,
}

/// What the writer knows of a record before it has its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) id: CopyId,
    pub(super) pinned: bool,
    pub(super) removed: bool,
    pub(super) good_until: u64,
    pub(super) seq: u64,
}

impl Head {
    /// The head of a record with this body in a segment with this salt.
    pub(super) fn of(label: &Label, body: &[u8], salt: u64) -> Self {
        Self {
            id: label.id,
            len: u32::try_from(body.len()).expect("a body fits in a segment"),
            pinned: label.pinned,
            removed: label.removed,
            good_until: label.good_until,
            seq: label.seq,
            body_sum: xxh3_64_with_seed(body, salt),
        }
    }

    pub(super) fn encode(&self, salt: u64) -> [u8; HEAD] {
        let flags = if self.pinned { PINNED } else { 0 } | if self.removed { REMOVED } else { 0 };
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(&SYNC);
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.id.0);
        bytes[48..56].copy_from_slice(&self.good_until.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.seq.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.body_sum.to_le_bytes());
        let sum = xxh3_64_with_seed(&bytes[..72], salt);
        bytes[72..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The head that begins these bytes, if one does.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes: &[u8; HEAD] = bytes.first_chunk()?;
        let sum = u64_at(bytes, 72);
        if bytes[..8] != SYNC || sum != xxh3_64_with_seed(&bytes[..72], salt) {
            return None;
        }
        let flags = u32_at(bytes, 12);
        Some(Self {
            id: CopyId(bytes[16..48].try_into().expect("32 bytes")),
            len: u32_at(bytes, 8),
            pinned: flags & PINNED != 0,
            removed: flags & REMOVED != 0,
            good_until: u64_at(bytes, 48),
            seq: u64_at(bytes, 56),
            body_sum: u64_at(bytes, 64),
        })
    }

    /// Whether this is the body that was written after this head.
    pub(super) fn fits(&self, body: &[u8], salt: u64) -> bool {
        body.len() == self.len as usize && self.body_sum == xxh3_64_with_seed(body, salt)
    }

    /// Head and body, in bytes.
    pub(super) fn record_len(&self) -> u64 {
        HEAD as u64 + u64::from(self.len)
    }
}

/// What the beginning of a file says it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment of this version.
    Segment { salt: u64 },
    /// A segment of another version.
    Version(u32),
    /// The beginning of a segment whose making was interrupted: there is no record in it.
    Unfinished,
    /// Something else.
    Foreign,
}

pub(super) fn segment_head(salt: u64) -> [u8; SEGMENT_HEAD] {
    segment_head_of(VERSION, salt)
}

pub(super) fn segment_head_of(version: u32, salt: u64) -> [u8; SEGMENT_HEAD] {
    let mut copy = [0; SEGMENT_HEAD_COPY];
    copy[..8].copy_from_slice(&MAGIC);
    copy[8..12].copy_from_slice(&version.to_le_bytes());
    copy[16..24].copy_from_slice(&salt.to_le_bytes());
    let sum = xxh3_64_with_seed(&copy[..24], 0);
    copy[24..].copy_from_slice(&sum.to_le_bytes());
    let mut head = [0; SEGMENT_HEAD];
    for into in head.chunks_exact_mut(SEGMENT_HEAD_COPY) {
        into.copy_from_slice(&copy);
    }
    head
}

/// What a file is that begins with these bytes: its first [`SEGMENT_HEAD`], or all if it is shorter.
pub(super) fn kind(start: &[u8]) -> Kind {
    let whole = start
        .chunks_exact(SEGMENT_HEAD_COPY)
        .find(|copy| copy[..8] == MAGIC && u64_at(copy, 24) == xxh3_64_with_seed(&copy[..24], 0));
    match whole {
        Some(copy) if u32_at(copy, 8) != VERSION => Kind::Version(u32_at(copy, 8)),
        _ if start.len() < SEGMENT_HEAD && is_unfinished(start) => Kind::Unfinished,
        Some(copy) => Kind::Segment {
            salt: u64_at(copy, 16),
        },
        None => Kind::Foreign,
    }
}

fn is_unfinished(start: &[u8]) -> bool {
    let magic = &MAGIC[..start.len().min(MAGIC.len())];
    start.starts_with(magic) || start.iter().all(|byte| *byte == 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What holds of the head of every record and of every segment.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::cache) fn hold(input: &[u8]) {
    let mut head = [0; HEAD];
    for (into, from) in head.iter_mut().zip(input) {
        *into = *from;
    }
    let salt = u64_at(&head, 56);
    let _ = Head::decode(input, salt);
    head[..8].copy_from_slice(&SYNC);
    let sum = xxh3_64_with_seed(&head[..72], salt);
    head[72..].copy_from_slice(&sum.to_le_bytes());
    let read = Head::decode(&head, salt).expect("its checksum fits");
    assert_eq!(Head::decode(&read.encode(salt), salt), Some(read));
    assert!(read.record_len() >= HEAD as u64);
    assert!(!read.fits(input, salt) || input.len() == read.len as usize);

    let mut segment = segment_head(salt);
    assert_eq!(kind(&segment), Kind::Segment { salt });
    let at = input.len() % SEGMENT_HEAD;
    segment[at] ^= 1;
    assert_eq!(
        kind(&segment),
        Kind::Segment { salt },
        "byte {at} has changed"
    );
    let _ = kind(&input[..input.len().min(SEGMENT_HEAD)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 7;

    fn head() -> Head {
        let label = Label {
            id: CopyId::named("a"),
            pinned: true,
            removed: false,
            good_until: 1 << 40,
            seq: 9,
        };
        Head::of(&label, b"body", SALT)
    }

    #[test]
    fn a_head_comes_back_and_every_flipped_bit_is_seen() {
        let bytes = head().encode(SALT);
        assert_eq!(Head::decode(&bytes, SALT), Some(head()));
        assert_eq!(Head::decode(&bytes, SALT + 1), None, "another segment's");
        assert_eq!(Head::decode(&bytes[..HEAD - 1], SALT), None);
        for bit in 0..HEAD * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&flipped, SALT), None, "bit {bit}");
        }
    }

    #[test]
    fn a_body_fits_its_own_head_only() {
        assert!(head().fits(b"body", SALT));
        assert!(!head().fits(b"bodz", SALT));
        assert!(!head().fits(b"body", SALT + 1));
        assert!(!head().fits(b"bod", SALT));
    }

    #[test]
    fn a_segment_survives_a_damaged_byte_in_its_head() {
        let head = segment_head(SALT);
        for at in 0..SEGMENT_HEAD {
            let mut damaged = head;
            damaged[at] ^= 0xff;
            assert_eq!(kind(&damaged), Kind::Segment { salt: SALT }, "byte {at}");
        }
    }

    #[test]
    fn what_is_not_a_segment_is_told_apart() {
        let head = segment_head(SALT);
        assert_eq!(kind(&segment_head_of(2, SALT)), Kind::Version(2));
        assert_eq!(kind(&[b'x'; SEGMENT_HEAD]), Kind::Foreign);
        assert_eq!(kind(&[0; SEGMENT_HEAD]), Kind::Foreign);
        assert_eq!(kind(b"hello"), Kind::Foreign);
        for len in 0..SEGMENT_HEAD {
            assert_eq!(kind(&head[..len]), Kind::Unfinished, "{len} bytes");
        }
    }
}
