//! An HTTP/2 client that shows each frame (RFC 9113, 4.1).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    flags: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) async fn new(stream: TcpStream) -> Self {
        let mut this = Self(stream);
        this.0.write_all(PREFACE).await.unwrap();
        this.send(&frame(SETTINGS, 0, 0, &[])).await;
        this
    }

    /// Sends `GET /` on a stream.
    pub(crate) async fn get(&mut self, stream: u32) {
        self.send(&get(stream)).await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame; PINGs are answered in passing. `None`: the other end closed or reset.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [_, high, low, kind, flags, ..] = head;
            let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
            self.0.read_exact(&mut payload).await.ok()?;
            if kind == PING && flags == 0 {
                self.send(&frame(PING, ACK, 0, &payload)).await;
            } else {
                return Some(Frame {
                    kind,
                    flags,
                    payload,
                });
            }
        }
    }

    /// The next frame of one kind.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

/// `GET /`, the end of its headers and of its stream.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    // HPACK's static table: `:method: GET`, `:scheme: http`, `:path: /`.
    frame(HEADERS, END_STREAM_AND_HEADERS, stream, &[0x82, 0x86, 0x84])
}

pub(crate) fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, length, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
