//! What a connection without TLS opens with: the preface of HTTP/2 or a request. Owns the first bytes until it
//! is clear, and hands them on with the rest.
//!
//! They are read, not looked at again and again: a connection that sends a part of the preface costs nothing
//! while nothing more comes. How long that may be is the caller's affair.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// How a connection that speaks HTTP/2 begins (RFC 9113, 3.4). No HTTP/1 method is `PRI`: the name
/// was reserved for this.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes have been read, and are read again.
pub(super) struct Opened<S> {
    first: [u8; PREFACE.len()],
    /// Those that have come, and those that have been handed on.
    come: usize,
    handed: usize,
    stream: S,
}

/// The connection, and whether it opens with the whole preface of HTTP/2: the library would wait for the
/// rest of it without a limit.
pub(super) async fn opened<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Opened<S>, bool)> {
    let mut first = [0; PREFACE.len()];
    let mut come = 0;
    while come < first.len() && PREFACE.starts_with(&first[..come]) {
        let read = stream.read(&mut first[come..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        come += read;
    }
    let is_http2 = first == *PREFACE;
    let opened = Opened {
        first,
        come,
        handed: 0,
        stream,
    };
    Ok((opened, is_http2))
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.handed == this.come {
            return Pin::new(&mut this.stream).poll_read(cx, into);
        }
        let rest = &this.first[this.handed..this.come];
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        this.handed += count;
        if into.remaining() > 0 {
            // most requests come whole: they are read at once, as they would be without this
            match Pin::new(&mut this.stream).poll_read(cx, into) {
                // what is wrong is found again by the next reading
                Poll::Pending | Poll::Ready(_) => {}
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    /// What is read after it is clear, and whether it is HTTP/2; the bytes come in pieces of this size.
    async fn read(bytes: &[u8], piece: usize) -> io::Result<(Vec<u8>, bool)> {
        let (mut client, server) = duplex(bytes.len().max(1));
        let writing = async move {
            for piece in bytes.chunks(piece) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reading = async {
            let (mut opened, is_http2) = opened(server).await?;
            let mut all = Vec::new();
            opened.read_to_end(&mut all).await?;
            Ok((all, is_http2))
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn whatever_it_opens_with_is_read_whole() {
        let http2 = [PREFACE, &b"frames"[..]].concat();
        let almost = [&PREFACE[..23], b"x and more"].concat();
        for piece in [1, 7, 100] {
            for (bytes, is_http2) in [
                (&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], false),
                (b"PUT / HTTP/1.1\r\n\r\n", false),
                (b"G", false),
                (&http2, true),
                (PREFACE, true),
                (&almost, false),
            ] {
                let seen = read(bytes, piece).await.unwrap();
                assert_eq!(seen, (bytes.to_vec(), is_http2), "{piece}");
            }
        }
    }

    #[tokio::test]
    async fn a_part_of_the_preface_is_nothing() {
        for bytes in [&b""[..], b"P", &PREFACE[..23]] {
            let failed = read(bytes, 3).await.unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
