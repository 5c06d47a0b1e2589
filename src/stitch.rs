//! A page's gzip put together from pieces that were compressed apart. Owns the form of such a piece
//! and of what goes around them; knows nothing of fragments and pages.
//!
//! # Why it can be done
//!
//! The data of a gzip member is a row of deflate blocks (RFC 1951, 3.2.3). A piece that was compressed
//! by itself refers to nothing before it, and one that ends with an empty stored block, as a sync flush
//! leaves it, ends on a byte. Such pieces may stand in any order, any number of times. What belongs to
//! the page as a whole is its header, an empty last block, and the checksum and the length of what all
//! pieces come to (RFC 1952, 2.3.1): the checksum follows from the pieces' own.
//!
//! # Why not the other codings
//!
//! Zstandard has frames for this (RFC 8878, 3.1), and today's curl and Chromium read all of them. But
//! earlier versions of Chromium, and of many libraries, take the end of the first frame for the end of the
//! page, and say nothing.
//! Brotli's pieces could be joined without its dictionary only, which is most of what it gains on them.
//! Readers who take gzip as gladly as these get gzip.
//!
//! Invariant: whatever the pieces, and however they are cut, what comes out is one gzip member that
//! holds their content in order.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};
use tokio::sync::SetOnce;

mod crc;

use crc::Sum;

/// Content of up to so many bytes goes as it is: compressing it gains less than it costs to say so.
pub const TINY_BYTES_MAX: usize = 200;

/// Content of up to so many bytes is compressed where it stands: less than half a millisecond.
pub const INLINE_BYTES_MAX: usize = 16 << 10;

/// Most bytes of one stored block (RFC 1951, 3.2.4).
const STORED_BYTES_MAX: usize = u16::MAX as usize;

/// What stands before the bytes of a stored block on a byte's border: its type, its length twice.
const STORED_HEAD_BYTES: usize = 5;

/// A member without a name or a time, from an unknown system (RFC 1952, 2.3).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A last block without content, by the fixed codes.
const END: [u8; 2] = [3, 0];

/// What a page takes besides its pieces.
pub const AROUND_BYTES: usize = HEAD.len() + END.len() + 8;

/// For what is made once and sent often.
const THOROUGHLY: u32 = 6;

/// For what is sent once.
const QUICKLY: u32 = 4;

/// A piece, compressed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deflated {
    bytes: Bytes,
    sum: Sum,
}

impl Deflated {
    /// The piece of this content, for many pages.
    pub fn of(content: &[u8]) -> Self {
        let mut bytes = BytesMut::new();
        let mut once = Compress::new(Compression::new(THOROUGHLY), false);
        if !deflate(&mut once, FlushCompress::Sync, content, &mut bytes) {
            store(content, &mut bytes);
        }
        Self {
            // it is kept for long and holds no more than its bytes
            bytes: Bytes::copy_from_slice(&bytes),
            sum: Sum::of(content),
        }
    }

    /// As it is sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The piece of one content that many pages show: made once, however many ask for it.
#[derive(Debug, Default)]
pub struct Variant {
    made: SetOnce<Deflated>,
    is_begun: AtomicBool,
}

impl Variant {
    /// The piece, once it is there.
    pub fn get(&self) -> Option<&Deflated> {
        self.made.get()
    }

    /// Whether whoever asks is the one who is to make it.
    pub fn begin(&self) -> bool {
        !self.is_begun.swap(true, Ordering::AcqRel)
    }

    /// Makes it; whoever has [begun](Self::begin) does this once.
    pub fn make(&self, content: &[u8]) {
        // nobody else has begun, and if it were made twice it would be the same
        let _ = self.made.set(Deflated::of(content));
    }

    /// It cannot be made by whoever has begun: the next may try.
    pub fn give_up(&self) {
        self.is_begun.store(false, Ordering::Release);
    }

    /// Until it is made.
    pub async fn is_made(&self) {
        self.made.wait().await;
    }
}

/// A page's gzip while it is put together.
#[derive(Debug, Default)]
pub struct Member {
    /// Of what was written so far.
    sum: Sum,
}

impl Member {
    /// What stands before the first piece.
    pub fn begin(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&HEAD);
    }

    /// What is sent of a piece that is there.
    pub fn piece<'p>(&mut self, piece: &'p Deflated) -> &'p Bytes {
        self.sum = self.sum.then(piece.sum);
        &piece.bytes
    }

    /// Content as it is.
    pub fn store(&mut self, content: &[u8], out: &mut BytesMut) {
        self.sum = self.sum.with(content);
        store(content, out);
    }

    /// Content that is compressed for this page alone.
    pub fn deflate(&mut self, content: &[u8], out: &mut BytesMut) {
        if content.len() <= TINY_BYTES_MAX {
            return self.store(content, out);
        }
        self.sum = self.sum.with(content);
        PASSING.with_borrow_mut(|compress| {
            // after a full flush nothing refers to what was before
            if !deflate(compress, FlushCompress::Full, content, out) {
                *compress = passing();
                store(content, out);
            }
        });
    }

    /// What stands after the last piece.
    pub fn end(&self, out: &mut BytesMut) {
        out.extend_from_slice(&END);
        out.put_u32_le(self.sum.crc);
        // modulo 2^32 (RFC 1952, 2.3.1)
        out.put_u32_le(self.sum.bytes as u32);
    }
}

thread_local! {
    /// For content that is sent once: what it works with is a few hundred kilobytes, which is too much
    /// to set up for each page.
    static PASSING: RefCell<Compress> = RefCell::new(passing());
}

fn passing() -> Compress {
    Compress::new(Compression::new(QUICKLY), false)
}

/// How long content is that goes as it is.
pub fn stored_len(content_bytes: usize) -> usize {
    content_bytes + content_bytes.div_ceil(STORED_BYTES_MAX) * STORED_HEAD_BYTES
}

fn store(content: &[u8], out: &mut BytesMut) {
    for block in content.chunks(STORED_BYTES_MAX) {
        let len = u16::try_from(block.len()).expect("no block is longer");
        out.put_u8(0);
        out.put_u16_le(len);
        out.put_u16_le(!len);
        out.extend_from_slice(block);
    }
}

/// Appends what content comes to; `false` and nothing where that is no gain. A coder that has not
/// gained is in the middle of its work, and good for nothing any more.
fn deflate(
    compress: &mut Compress,
    flush: FlushCompress,
    content: &[u8],
    out: &mut BytesMut,
) -> bool {
    let before = out.len();
    out.resize(before + stored_len(content.len()), 0);
    let (read, written) = (compress.total_in(), compress.total_out());
    let status = compress.compress(content, &mut out[before..], flush);
    let (read, written) = (compress.total_in() - read, compress.total_out() - written);
    let is_ok = matches!(status, Ok(Status::Ok | Status::BufError));
    let is_whole = is_ok && read == content.len() as u64;
    // a coder that has filled its room may have more to say
    let room = (out.len() - before) as u64;
    let gains = is_whole && written < room;
    let kept = if gains { written } else { 0 };
    out.truncate(before + usize::try_from(kept).expect("it was room in memory"));
    gains
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    /// How a piece of a page comes to be.
    #[derive(Debug, Clone, Copy)]
    enum How {
        Made,
        Stored,
        Passing,
    }

    fn written(pieces: &[(&[u8], How)]) -> Vec<u8> {
        let (mut member, mut out) = (Member::default(), BytesMut::new());
        member.begin(&mut out);
        for (content, how) in pieces {
            add(&mut member, content, *how, &mut out);
        }
        member.end(&mut out);
        out.to_vec()
    }

    fn add(member: &mut Member, content: &[u8], how: How, out: &mut BytesMut) {
        match how {
            How::Made => {
                let made = Deflated::of(content);
                out.extend_from_slice(member.piece(&made));
            }
            How::Stored => member.store(content, out),
            How::Passing => member.deflate(content, out),
        }
    }

    fn read(gzip: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(gzip);
        let mut content = Vec::new();
        decoder.read_to_end(&mut content).expect("it is gzip");
        assert!(decoder.into_inner().is_empty(), "nothing follows");
        content
    }

    #[test]
    fn content_without_pattern_goes_as_it_is() {
        let mut seed = 1_u64;
        let noise: Vec<u8> = (0..200_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        let made = Deflated::of(&noise);
        assert_eq!(made.bytes().len(), stored_len(noise.len()));
        for how in [How::Made, How::Passing, How::Stored] {
            let page = [(&noise[..], how), (b"<p>after</p>", How::Passing)];
            let gzip = written(&page);
            assert_eq!(read(&gzip), [&noise[..], b"<p>after</p>"].concat());
        }
    }

    #[test]
    fn a_variant_is_made_by_one() {
        let variant = Variant::default();
        assert!(variant.begin());
        assert!(!variant.begin());
        assert_eq!(variant.get(), None);
        variant.make(b"content");
        assert_eq!(variant.get(), Some(&Deflated::of(b"content")));
    }

    fn how() -> impl Strategy<Value = How> {
        prop::sample::select(vec![How::Made, How::Stored, How::Passing])
    }

    proptest! {
        #[test]
        fn however_content_is_cut_it_comes_out_whole(
            words in prop::collection::vec("[a-z<>/ ]{1,12}|le marbre |<p class=\"x\">|é", 0..400),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), how()), 0..20),
        ) {
            let content = words.concat().repeat(3).into_bytes();
            let mut at: Vec<_> = cuts.iter().map(|(i, how)| (i.index(content.len() + 1), *how)).collect();
            at.sort_unstable_by_key(|(i, _)| *i);
            let mut pieces = Vec::new();
            let mut from = 0;
            for (to, how) in at {
                pieces.push((&content[from..to], how));
                from = to;
            }
            pieces.push((&content[from..], How::Made));
            let gzip = written(&pieces);
            prop_assert_eq!(read(&gzip), content);
        }

        #[test]
        fn any_bytes_come_out_whole(pieces in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..3000), how()), 0..8)) {
            let page: Vec<_> = pieces.iter().map(|(bytes, how)| (&bytes[..], *how)).collect();
            let content: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            prop_assert_eq!(read(&written(&page)), content);
        }

        #[test]
        fn what_is_sent_can_be_read_before_the_rest(
            first in "[a-z ]{0,2000}", second in "[a-z ]{0,2000}", how in how(),
        ) {
            let (mut member, mut out) = (Member::default(), BytesMut::new());
            member.begin(&mut out);
            add(&mut member, first.as_bytes(), how, &mut out);
            let sent = out.to_vec();
            add(&mut member, second.as_bytes(), How::Made, &mut out);
            member.end(&mut out);
            prop_assert_eq!(read(&out), [first.as_bytes(), second.as_bytes()].concat());
            let mut decoder = flate2::write::GzDecoder::new(Vec::new());
            std::io::Write::write_all(&mut decoder, &sent).unwrap();
            std::io::Write::flush(&mut decoder).unwrap();
            prop_assert_eq!(decoder.get_ref().as_slice(), first.as_bytes());
        }
    }
}
