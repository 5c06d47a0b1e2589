//! The content coding `deflate`, which nobody is asked for and some answer in all the same. Owns its
//! undoing, piece by piece: what comes out is never ahead of who reads it.
//!
//! Invariant: a body that ends before its coding does is broken off, not short.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use futures::{StreamExt as _, stream};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use crate::report::Cause;

use super::origin::BodyStream;

/// Bytes that come out at a time, at most.
const PIECE: usize = 16 * 1024;

/// The body without this coding, if it is in it; the headers are those of what comes out.
pub fn undone(headers: &mut HeaderMap, body: BodyStream) -> BodyStream {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let is_deflated = codings
        .next()
        .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"deflate"));
    if !is_deflated || codings.next().is_some() {
        return body;
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let inflating = Inflating {
        body,
        input: Bytes::new(),
        inflater: None,
        is_ended: false,
    };
    stream::unfold(Some(inflating), |inflating| async move {
        let mut inflating = inflating?;
        match inflating.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(inflating))),
            Ok(None) => None,
            Err(cause) => Some((Err(cause), None)),
        }
    })
    .fuse()
    .boxed()
}

struct Inflating {
    body: BodyStream,
    input: Bytes,
    /// Made when the first byte tells whether there is a header (RFC 1950), as there should be.
    inflater: Option<Decompress>,
    is_ended: bool,
}

impl Inflating {
    async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            if self.is_ended {
                return Ok(None);
            }
            if self.input.is_empty() {
                match self.body.next().await.transpose()? {
                    Some(chunk) => self.input = chunk,
                    None => return Err(Cause::Truncated("deflate ends early".to_owned())),
                }
                continue;
            }
            let piece = self.inflate()?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn inflate(&mut self) -> Result<Bytes, Cause> {
        let has_header = self.input[0] & 0x0f == 8 && self.input[0] >> 4 <= 7;
        let inflater = self
            .inflater
            .get_or_insert_with(|| Decompress::new(has_header));
        let mut piece = Vec::with_capacity(PIECE);
        let before = inflater.total_in();
        let status = inflater
            .decompress_vec(&self.input, &mut piece, FlushDecompress::None)
            .map_err(|error| Cause::Truncated(format!("deflate: {error}")))?;
        let used = usize::try_from(inflater.total_in() - before).unwrap_or(usize::MAX);
        let is_stuck = used == 0 && piece.is_empty() && status != Status::StreamEnd;
        self.input = self.input.slice(used.min(self.input.len())..);
        self.is_ended = status == Status::StreamEnd;
        match is_stuck {
            true => Err(Cause::Truncated("deflate makes no sense".to_owned())),
            false => Ok(piece.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};

    use super::*;

    async fn read(coding: &'static str, bytes: &[u8], cut: usize) -> Result<Vec<u8>, Cause> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, coding.parse().unwrap());
        let chunks: Vec<_> = bytes.chunks(cut).map(Bytes::copy_from_slice).collect();
        let body = stream::iter(chunks.into_iter().map(Ok)).boxed();
        let mut body = undone(&mut headers, body);
        let mut whole = Vec::new();
        while let Some(piece) = body.next().await.transpose()? {
            whole.extend_from_slice(&piece);
        }
        assert_eq!(headers.contains_key(CONTENT_ENCODING), coding != "deflate");
        Ok(whole)
    }

    #[tokio::test]
    async fn both_dresses_of_deflate_are_undone_however_they_are_cut() {
        let text: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(&text).unwrap();
        for coded in [zlib.finish().unwrap(), bare.finish().unwrap()] {
            for cut in [1, 1000, usize::MAX] {
                assert_eq!(read("deflate", &coded, cut).await.unwrap(), text);
            }
            let half = &coded[..coded.len() / 2];
            assert!(read("deflate", half, 1000).await.is_err());
        }
        assert_eq!(read("br", b"as it is", 3).await.unwrap(), b"as it is");
    }
}
