//! Callers of another day, byte for byte, against the server of today.

use std::fs;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{PANEL, World};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;

use crate::frames::{ACK, DATA, END_STREAM, Frame, HEADERS, PREFACE, SETTINGS};

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
