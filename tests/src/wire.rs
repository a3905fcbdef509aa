//! Reads along on a connection, for what HTTP/2 libraries keep to themselves.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What came over one connection so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    unread: Vec<u8>,
    goaways: Vec<Goaway>,
    max_concurrent_streams: Option<u32>,
}

/// The server asks the caller to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// The last stream that it will answer.
    pub last_stream: u32,
    /// 0 where nothing is wrong.
    pub error: u32,
}

/// A stream that is read along.
#[derive(Debug)]
pub struct Tapped<S> {
    stream: S,
    wire: Wire,
    is_deaf: bool,
    heard: VecDeque<u8>,
}

impl Wire {
    /// Reads along on `stream`. A deaf caller hears no GOAWAY and no PING, and goes on as if there were none.
    pub fn tap<S>(stream: S, is_deaf: bool) -> (Tapped<S>, Self) {
        let wire = Self::default();
        let tapped = Tapped {
            stream,
            wire: wire.clone(),
            is_deaf,
            heard: VecDeque::new(),
        };
        (tapped, wire)
    }

    /// Each GOAWAY so far.
    ///
    /// # Panics
    ///
    /// Never: nothing panics under the lock.
    #[must_use]
    pub fn goaways(&self) -> Vec<Goaway> {
        self.0.lock().unwrap().goaways.clone()
    }

    /// The server's limit on streams at a time, once it has said so.
    ///
    /// # Panics
    ///
    /// Never: nothing panics under the lock.
    #[must_use]
    pub fn max_concurrent_streams(&self) -> Option<u32> {
        self.0.lock().unwrap().max_concurrent_streams
    }
}

impl Seen {
    /// Reads along, and gives what the caller is to see of it once its frames are whole.
    fn read(&mut self, bytes: &[u8], is_deaf: bool) -> Vec<u8> {
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const GOAWAY: u8 = 7;
        let mut heard = Vec::new();
        self.unread.extend_from_slice(bytes);
        // RFC 9113, 4.1: length (24 bits), type, flags, stream.
        while let Some((head, rest)) = self.unread.split_first_chunk::<9>() {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(payload) = rest.get(..length) else {
                break;
            };
            let kind = head[3];
            match kind {
                GOAWAY => self.goaways.push(Goaway {
                    last_stream: number(&payload[..4]),
                    error: number(&payload[4..8]),
                }),
                SETTINGS => {
                    let streams = payload.chunks(6).find(|setting| setting[..2] == [0, 3]);
                    self.max_concurrent_streams = streams
                        .map(|setting| number(&setting[2..]))
                        .or(self.max_concurrent_streams);
                }
                _ => {}
            }
            let frame = self.unread.drain(..9 + length);
            if !(is_deaf && matches!(kind, PING | GOAWAY)) {
                heard.extend(frame);
            }
        }
        heard
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.heard.is_empty() {
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut seen = this.wire.0.lock().unwrap();
            this.heard.extend(seen.read(read.filled(), this.is_deaf));
        }
        let count = this.heard.len().min(buf.remaining());
        buf.put_slice(&this.heard.drain(..count).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
