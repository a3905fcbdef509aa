//! Callers of another day, byte for byte, against the server of today.

use std::fs;
use std::io;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{PANEL, World};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// HTTP/2's first bytes, and the kinds and flags of its frames (RFC 9113, 3.4 and 6).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

/// The answer as the first release had it. It stays as it is, whatever becomes of the contract.
#[derive(prost::Message)]
struct FirstResponse {
    #[prost(string, tag = "1")]
    token: String,
    #[prost(message, optional, tag = "2")]
    expires_at: Option<FirstTimestamp>,
}

#[derive(prost::Message)]
struct FirstTimestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

pub(crate) fn add(suite: &mut Suite) {
    let folder = workspace().join("tests/recorded/v1");
    let mut found = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        found += 1;
        suite.case(format!("recorded: {name} gets its token"), move || {
            play(bytes)
        });
    }
    assert!(found >= 4, "the recordings in {}", folder.display());
}

async fn play(bytes: Vec<u8>) {
    let world = World::new().await;
    let server = world.server().start().await;
    let caller = world.caller(&world.callers.issue(&Leaf::client().uri(PANEL)));
    let mut connection = caller.handshake(server.grpc).await.unwrap();

    // A caller acknowledges the server's settings when it has read them, not before.
    let frames = Frame::all(&bytes[PREFACE.len()..]);
    let acknowledged = frames.iter().find(|frame| frame.is(SETTINGS, ACK));
    let (first, then) = bytes.split_at(PREFACE.len() + acknowledged.unwrap().begins);
    connection.write_all(first).await.unwrap();
    let settings = Frame::read(&mut connection).await.unwrap();
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
    connection.write_all(then).await.unwrap();

    let stream = frames.last().unwrap().stream;
    let mut message = Vec::new();
    loop {
        let frame = Frame::read(&mut connection).await.expect("an answer");
        match (frame.kind, frame.stream == stream) {
            (DATA, true) => message.extend(frame.payload),
            (HEADERS, true) if frame.is(HEADERS, END_STREAM) => break,
            (HEADERS, true) | (_, false) => {}
            (kind, true) => panic!("a frame of kind {kind}: {:?}", frame.payload),
        }
    }
    assert!(message.len() > 5, "a refusal: {message:?}");
    let response = FirstResponse::decode(&message[5..]).unwrap();
    assert_eq!(response.token.split('.').count(), 3);
    assert!(
        response
            .expires_at
            .is_some_and(|at| at.seconds > 1_700_000_000 && at.nanos >= 0)
    );
    assert_eq!(world.cloud.calls_for("42"), 1);
    let call = world.cloud.last_call().unwrap();
    assert_eq!(call.panel_id.as_deref(), Some("42"));
}

struct Frame {
    /// Where, in the bytes that it was found in.
    begins: usize,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn all(bytes: &[u8]) -> Vec<Self> {
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

    async fn read(connection: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Self> {
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

    fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag != 0
    }
}
