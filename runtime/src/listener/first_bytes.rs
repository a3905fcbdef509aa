//! Waits for a peer's first bytes, and tells HTTP/2 from HTTP/1 by them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::Protocols;

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    /// Not one of those that the port serves.
    Other,
}

/// Reads until the protocol is known. `None`: the peer closed before that.
pub(super) async fn first_bytes<I: AsyncRead + Unpin>(
    mut io: I,
    protocols: Protocols,
) -> io::Result<Option<(Spoken, Replay<I>)>> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let read = io.read(&mut bytes[length..]).await?;
        if read == 0 {
            return Ok(None);
        }
        length += read;
        if let Some(spoken) = spoken(&bytes[..length], protocols) {
            let replay = Replay {
                bytes,
                next: 0,
                length,
                io,
            };
            return Ok(Some((spoken, replay)));
        }
    }
}

fn spoken(bytes: &[u8], protocols: Protocols) -> Option<Spoken> {
    match (protocols, PREFACE.starts_with(bytes)) {
        (Protocols::Http1, _) | (Protocols::Both, false) => Some(Spoken::Http1),
        (Protocols::Http2, false) => Some(Spoken::Other),
        (_, true) => (bytes.len() == PREFACE.len()).then_some(Spoken::Http2),
    }
}

/// Gives the first bytes once more, then what follows.
#[derive(Debug)]
pub(super) struct Replay<I> {
    bytes: [u8; PREFACE.len()],
    next: usize,
    length: usize,
    io: I,
}

impl<I: AsyncRead + Unpin> AsyncRead for Replay<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.next == self.length {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let end = self.length.min(self.next + buf.remaining());
        buf.put_slice(&self.bytes[self.next..end]);
        self.next = end;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Replay<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_known_as_early_as_it_can_be() {
        use Protocols::{Both, Http1, Http2};
        let table: &[(Protocols, &[u8], Option<Spoken>)] = &[
            (Http1, b"G", Some(Spoken::Http1)),
            (Both, b"G", Some(Spoken::Http1)),
            (Http2, b"G", Some(Spoken::Other)),
            (Both, b"P", None),
            (Both, b"PO", Some(Spoken::Http1)),
            (Both, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (Both, PREFACE, Some(Spoken::Http2)),
            (Http2, PREFACE, Some(Spoken::Http2)),
            (Http2, b"PRI * HTTP/1", Some(Spoken::Other)),
        ];
        for (protocols, bytes, expected) in table {
            assert_eq!(
                spoken(bytes, *protocols),
                *expected,
                "{protocols:?} {bytes:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_first_bytes_are_read_again_even_in_small_pieces() {
        let (mut near, far) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut near, b"POST / HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        drop(near);
        let (spoken, mut replay) = first_bytes(far, Protocols::Both).await.unwrap().unwrap();
        assert_eq!(spoken, Spoken::Http1);
        let mut all = Vec::new();
        let mut piece = [0; 3];
        loop {
            match replay.read(&mut piece).await.unwrap() {
                0 => break,
                read => all.extend_from_slice(&piece[..read]),
            }
        }
        assert_eq!(all, b"POST / HTTP/1.1\r\n\r\n");
    }
}
