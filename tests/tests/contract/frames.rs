//! HTTP/2 frame by frame: what no library sends.

use std::io;

use tokio::io::AsyncReadExt as _;

/// HTTP/2's first bytes, and the kinds and flags of its frames (RFC 9113, 3.4 and 6).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) struct Frame {
    /// Where, in the bytes that it was found in.
    pub(crate) begins: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            begins: 0,
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// As it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], self.kind, self.flags];
        [&head[..], &self.stream.to_be_bytes(), &self.payload].concat()
    }

    pub(crate) fn all(bytes: &[u8]) -> Vec<Self> {
        let mut frames = Vec::new();
        let mut begins = 0;
        while let Some((head, rest)) = bytes[begins..].split_first_chunk::<9>() {
            let (length, mut frame) = Self::head(*head);
            frame.begins = begins;
            frame.payload = rest[..length].to_vec();
            frames.push(frame);
            begins += 9 + length;
        }
        frames
    }

    pub(crate) async fn read(
        connection: &mut (impl tokio::io::AsyncRead + Unpin),
    ) -> io::Result<Self> {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let (length, mut frame) = Self::head(head);
        frame.payload.resize(length, 0);
        connection.read_exact(&mut frame.payload).await?;
        Ok(frame)
    }

    fn head(head: [u8; 9]) -> (usize, Self) {
        let [l0, l1, l2, kind, flags, stream @ ..] = head;
        let frame = Self {
            begins: 0,
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload: Vec::new(),
        };
        (u32::from_be_bytes([0, l0, l1, l2]) as usize, frame)
    }

    pub(crate) fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag != 0
    }
}

/// A block of headers in the one form of RFC 7541 that needs no tables (6.2.2: literal, not indexed, new name).
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(
                u8::try_from(text.len())
                    .ok()
                    .filter(|length| *length < 127)
                    .unwrap(),
            );
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
