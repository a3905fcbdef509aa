//! The port for gRPC as callers meet it that are made otherwise than ours: what the specification of gRPC over
//! HTTP/2 leaves open, what it forbids, and what is no gRPC. Each has the answer that the contract's manual has.

use std::convert::Infallible;

use ask2do_token_tests::caller::{MINT_TOKEN, RequestBody, framed, minted, request, user};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{Server, Shared, World};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame as BodyFrame;
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tonic::Code;

use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS,
    block,
};

/// What comes of a call.
#[derive(Clone, Copy)]
enum Outcome {
    Minted,
    /// REQUEST_INVALID, with these words.
    Invalid(&'static str),
    /// PANEL_USER_INVALID.
    NoUser,
    /// DEADLINE_EXCEEDED, CLOUD_TIMEOUT.
    TooLate,
    Unimplemented,
    /// A status of HTTP, and nothing of gRPC.
    Http(u16),
}

use Outcome::{Http, Invalid, Minted, NoUser, TooLate, Unimplemented};

/// `gzip` of the message of 42, an admin.
const GZIPPED: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xe3\xe2\xe6\x62\x31\x12\x62\x4d\x4c\xc9\xcd\xcc\x03\
    \0\xf2\x2f\x76\xf8\x0d\0\0\0";

type Call = (&'static str, fn(&mut Request<RequestBody>), Outcome);

const MALFORMED: Outcome = Invalid("grpc-timeout is malformed");
const COMPRESSED: Outcome = Invalid("compressed requests are not supported");
const UNDECODABLE: Outcome = Invalid("does not decode");

#[rustfmt::skip]
const CALLS: &[Call] = &[
    // Content types.
    ("application/grpc+proto", |r| set(r, "content-type", "application/grpc+proto"), Minted),
    ("a content type with parameters", |r| set(r, "content-type", "application/grpc; charset=utf-8"), Minted),
    ("a content type in capitals", |r| set(r, "content-type", "Application/GRPC"), Minted),
    ("application/grpc+json", |r| set(r, "content-type", "application/grpc+json"), Http(415)),
    ("application/grpc+", |r| set(r, "content-type", "application/grpc+"), Http(415)),
    ("application/grpcx", |r| set(r, "content-type", "application/grpcx"), Http(415)),
    ("application/proto, Connect's", |r| set(r, "content-type", "application/proto"), Http(415)),
    ("a form", |r| set(r, "content-type", "application/x-www-form-urlencoded"), Http(415)),
    // Methods and paths.
    ("PUT", |r| *r.method_mut() = Method::PUT, Http(405)),
    ("OPTIONS", |r| *r.method_mut() = Method::OPTIONS, Http(405)),
    ("HEAD", |r| *r.method_mut() = Method::HEAD, Http(405)),
    ("a slash too many", |r| path(r, "/ask2do.token.v1.TokenService/MintToken/"), Unimplemented),
    ("two slashes", |r| path(r, "//ask2do.token.v1.TokenService/MintToken"), Unimplemented),
    ("an escaped path", |r| path(r, "/ask2do.token.v1.TokenService/%4dintToken"), Unimplemented),
    ("a path with a query", |r| path(r, "/ask2do.token.v1.TokenService/MintToken?a=b"), Unimplemented),
    ("a service without a package", |r| path(r, "/TokenService/MintToken"), Unimplemented),
    ("the next version's service", |r| path(r, "/ask2do.token.v2.TokenService/MintToken"), Unimplemented),
    ("a method of health that there is not", |r| path(r, "/grpc.health.v1.Health/Chek"), Unimplemented),
    // Deadlines: each unit, and each way to be none.
    ("a deadline in hours", |r| set(r, "grpc-timeout", "1H"), Minted),
    ("a deadline in minutes", |r| set(r, "grpc-timeout", "1M"), Minted),
    ("a deadline in seconds", |r| set(r, "grpc-timeout", "60S"), Minted),
    ("a deadline in milliseconds", |r| set(r, "grpc-timeout", "60000m"), Minted),
    ("a deadline in microseconds", |r| set(r, "grpc-timeout", "60000000u"), Minted),
    ("the longest deadline in nanoseconds", |r| set(r, "grpc-timeout", "99999999n"), TooLate),
    ("the longest deadline of all", |r| set(r, "grpc-timeout", "99999999H"), Minted),
    ("a deadline with zeros before it", |r| set(r, "grpc-timeout", "00000060S"), Minted),
    ("no time at all", |r| set(r, "grpc-timeout", "0n"), TooLate),
    ("an empty deadline", |r| set(r, "grpc-timeout", ""), MALFORMED),
    ("a deadline without a unit", |r| set(r, "grpc-timeout", "6000"), MALFORMED),
    ("a deadline without a number", |r| set(r, "grpc-timeout", "S"), MALFORMED),
    ("a deadline in a unit that there is not", |r| set(r, "grpc-timeout", "6s"), MALFORMED),
    ("a deadline with a fraction", |r| set(r, "grpc-timeout", "1.5S"), MALFORMED),
    ("a deadline of nine digits", |r| set(r, "grpc-timeout", "600000000u"), MALFORMED),
    ("a deadline with a blank", |r| set(r, "grpc-timeout", "6 S"), MALFORMED),
    ("a deadline in other digits", |r| set(r, "grpc-timeout", "٦S"), MALFORMED),
    ("two deadlines", |r| { add_header(r, "grpc-timeout", "6S"); add_header(r, "grpc-timeout", "1n"); }, MALFORMED),
    // Compression.
    ("what would be taken in return", |r| set(r, "grpc-accept-encoding", "gzip, deflate, zstd, identity"), Minted),
    ("HTTP's own compression in return", |r| set(r, "accept-encoding", "gzip, br"), Minted),
    ("an encoding that is none", |r| set(r, "grpc-encoding", "identity"), Minted),
    ("a message in gzip", |r| { set(r, "grpc-encoding", "gzip"); body(r, prefixed(1, GZIPPED.len(), GZIPPED)); }, COMPRESSED),
    ("gzip announced, and not used", |r| set(r, "grpc-encoding", "gzip"), COMPRESSED),
    ("an encoding that nobody knows", |r| set(r, "grpc-encoding", "snappy"), COMPRESSED),
    ("a message in gzip, not announced", |r| body(r, prefixed(1, GZIPPED.len(), GZIPPED)), UNDECODABLE),
    ("a message in gzip, announced as none", |r| { set(r, "grpc-encoding", "identity"); body(r, prefixed(1, GZIPPED.len(), GZIPPED)); }, UNDECODABLE),
    ("a flag that is not given out", |r| { let m = message(); body(r, prefixed(2, m.len(), &m)); }, UNDECODABLE),
    // Messages and their frames.
    ("no message", |r| body(r, Vec::new()), Invalid("there is none")),
    ("an empty message", |r| body(r, prefixed(0, 0, &[])), NoUser),
    ("two messages", |r| body(r, framed(&message()).repeat(2)), Invalid("there are several")),
    ("a message and an empty one", |r| body(r, [&framed(&message())[..], &prefixed(0, 0, &[])].concat()), Invalid("there are several")),
    ("a length that says more than there is", |r| { let m = message(); body(r, prefixed(0, m.len() + 1, &m)); }, UNDECODABLE),
    ("a length that says less than there is", |r| { let m = message(); body(r, prefixed(0, m.len() - 1, &m)); }, UNDECODABLE),
    ("a message that ends in its length", |r| body(r, vec![0, 0, 0]), UNDECODABLE),
    ("one byte behind the message", |r| body(r, [&framed(&message())[..], &[0]].concat()), UNDECODABLE),
    ("a message byte by byte", |r| *r.body_mut() = pieces(framed(&message()).iter().map(|byte| vec![*byte])), Minted),
    ("a message between frames of nothing", |r| {
        let empty = || Vec::new();
        *r.body_mut() = pieces([empty(), framed(&message()).to_vec(), empty(), empty()]);
    }, Minted),
    ("trailers behind the message", |r| {
        let trailers: HeaderMap = [("x-checksum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
        let frames = [BodyFrame::data(framed(&message())), BodyFrame::trailers(trailers)];
        *r.body_mut() = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))).boxed();
    }, Minted),
    // Metadata.
    ("no TE", |r| drop(r.headers_mut().remove("te")), Minted),
    ("a user agent of nobody", |r| set(r, "user-agent", "()<>@,;:\\\"/[]?={}"), Minted),
    ("binary metadata", |r| set(r, "x-trace-bin", "AAECAw"), Minted),
    ("binary metadata that is none", |r| set(r, "grpc-trace-bin", "not base64!"), Minted),
    ("metadata in UTF-8", |r| { r.headers_mut().insert("x-user", HeaderValue::from_bytes("é".as_bytes()).unwrap()); }, Minted),
    ("a status where there can be none", |r| set(r, "grpc-status", "7"), Minted),
    ("a retry's number", |r| set(r, "grpc-previous-rpc-attempts", "3"), Minted),
    ("a traceparent that is none", |r| set(r, "traceparent", "00-xyz"), Minted),
    ("two traceparents", |r| for _ in 0..2 { add_header(r, "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") }, Minted),
    ("a token that nobody asked for", |r| set(r, "authorization", "Bearer x"), Minted),
    ("200 small headers", |r| for number in 0..200 { add_header(r, "x-many", &number.to_string()) }, Minted),
    ("small headers over 16 KiB together", |r| for _ in 0..600 { add_header(r, "x-many", "0123456789") }, Http(431)),
    ("one header over 16 KiB", |r| set(r, "x-large", &"x".repeat(17 << 10)), Http(431)),
    ("another host", |r| *r.uri_mut() = uri("https://elsewhere.example", MINT_TOKEN), Minted),
    ("the scheme of plain HTTP", |r| *r.uri_mut() = uri("http://localhost", MINT_TOKEN), Minted),
];

/// Headers that make no request of HTTP/2 (RFC 9113, 8.1.1), instead of those that do. The stream is reset.
#[rustfmt::skip]
const NO_REQUESTS: &[(&str, &[(&str, &str)])] = &[
    ("no path", &[METHOD, SCHEME, AUTHORITY, TYPE]),
    ("no method", &[SCHEME, PATH, AUTHORITY, TYPE]),
    ("two paths", &[METHOD, SCHEME, PATH, PATH, AUTHORITY, TYPE]),
    ("a pseudo-header behind the others", &[METHOD, SCHEME, AUTHORITY, TYPE, PATH]),
    ("a header of HTTP/1", &[METHOD, SCHEME, PATH, AUTHORITY, TYPE, ("connection", "keep-alive")]),
    ("a TE that is not trailers", &[METHOD, SCHEME, PATH, AUTHORITY, TYPE, ("te", "gzip")]),
    ("a length that the body has not", &[METHOD, SCHEME, PATH, AUTHORITY, TYPE, ("content-length", "1")]),
];

/// The same, where the HTTP/2 library ends the connection, as it may.
#[rustfmt::skip]
const NO_HEADERS: &[(&str, &[(&str, &str)])] = &[
    ("a name in capitals", &[METHOD, SCHEME, PATH, AUTHORITY, TYPE, ("X-Upper", "x")]),
    ("a pseudo-header that there is not", &[METHOD, SCHEME, PATH, AUTHORITY, (":token", "x"), TYPE]),
];

/// RFC 9113, 7.
const PROTOCOL_ERROR: u8 = 1;

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", MINT_TOKEN);
const AUTHORITY: (&str, &str) = (":authority", "localhost");
const TYPE: (&str, &str) = ("content-type", "application/grpc");

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(World::server);
    for &(name, bend, outcome) in CALLS {
        let shared = shared.clone();
        suite.case(format!("edges: {name}"), move || async move {
            let (world, server) = shared.get().await;
            let connection = server.connect(&world.panel()).await;
            let mut call = request(MINT_TOKEN, framed(&message()));
            bend(&mut call);
            let reply = connection.send(call).await.unwrap();
            match outcome {
                Minted => {
                    let answered = minted(&reply);
                    assert_eq!(answered.token.split('.').count(), 3);
                    assert_eq!(reply.headers["content-type"], "application/grpc");
                }
                NoUser => {
                    reply.refused(Code::InvalidArgument, "PANEL_USER_INVALID");
                }
                Invalid(words) => {
                    let refusal = reply.refused(Code::InvalidArgument, "REQUEST_INVALID");
                    assert!(refusal.message.contains(words), "{refusal:?}");
                }
                TooLate => {
                    reply.refused(Code::DeadlineExceeded, "CLOUD_TIMEOUT");
                }
                Unimplemented => assert_eq!(reply.status().code(), Code::Unimplemented),
                Http(status) => {
                    assert_eq!(reply.http, status);
                    assert!(
                        !reply.headers.contains_key("grpc-status"),
                        "{:?}",
                        reply.headers
                    );
                }
            }
            minted(&connection.mint("afterwards", "admin").await);
        });
    }
    for &(name, headers) in NO_REQUESTS {
        let shared = shared.clone();
        suite.case(format!("edges: {name} is reset"), move || async move {
            let (world, server) = shared.get().await;
            no_request(world, server, headers).await;
        });
    }
    for &(name, headers) in NO_HEADERS {
        let shared = shared.clone();
        suite.case(
            format!("edges: {name} ends the connection"),
            move || async move {
                let (world, server) = shared.get().await;
                let mut connection = world.panel().handshake(server.grpc).await.unwrap();
                open(&mut connection).await;
                call(&mut connection, 1, headers, &framed(&message())).await;
                let end = ended(&mut connection, 1).await;
                assert_eq!((end.kind, end.payload[7]), (GOAWAY, PROTOCOL_ERROR));
            },
        );
    }
    let with = shared.clone();
    suite.case(
        "edges: HTTP/1.1 alone is refused in the handshake",
        move || async move {
            let (world, server) = with.get().await;
            let caller = world.panel().offering(&["http/1.1"]);
            let error = caller.handshake(server.grpc).await.unwrap_err();
            let error = error.into_inner().expect("an error of TLS");
            assert_eq!(
                error.downcast_ref::<rustls::Error>(),
                Some(&rustls::Error::AlertReceived(
                    AlertDescription::NoApplicationProtocol
                ))
            );
        },
    );
    let with = shared.clone();
    suite.case(
        "edges: HTTP/2 needs no word of it in the handshake",
        move || async move {
            let (world, server) = with.get().await;
            let caller = world.panel().offering(&[]);
            minted(&server.connect(&caller).await.mint("42", "admin").await);
        },
    );
    let with = shared.clone();
    suite.case(
        "edges: HTTP/1.1 behind the handshake has no answer",
        move || async move {
            let (world, server) = with.get().await;
            let caller = world.panel().offering(&[]);
            let mut connection = caller.handshake(server.grpc).await.unwrap();
            let call = format!("POST {MINT_TOKEN} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            connection.write_all(call.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = connection.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "{:?}", String::from_utf8_lossy(&answer));
            let series = r#"ask2do_connections_dropped_total{port="grpc",reason="wrong_protocol"}"#;
            server.metric_is(series, 1.0).await;
        },
    );
}

/// One stream is reset, and the next is served.
async fn no_request(world: &World, server: &Server, headers: &[(&str, &str)]) {
    let mut connection = world.panel().handshake(server.grpc).await.unwrap();
    open(&mut connection).await;
    let data = framed(&message());
    call(&mut connection, 1, headers, &data).await;
    let end = ended(&mut connection, 1).await;
    assert_eq!(
        (end.kind, &end.payload[..]),
        (RST_STREAM, &[0, 0, 0, PROTOCOL_ERROR][..])
    );
    call(
        &mut connection,
        3,
        &[METHOD, SCHEME, PATH, AUTHORITY, TYPE],
        &data,
    )
    .await;
    assert_eq!(
        ended(&mut connection, 3).await.kind,
        HEADERS,
        "a whole answer"
    );
}

async fn open(connection: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let settings = Frame::new(SETTINGS, 0, 0, []).bytes();
    connection
        .write_all(&[PREFACE, &settings].concat())
        .await
        .unwrap();
    assert_eq!(Frame::read(connection).await.unwrap().kind, SETTINGS);
    let acknowledged = Frame::new(SETTINGS, ACK, 0, []).bytes();
    connection.write_all(&acknowledged).await.unwrap();
}

async fn call(
    connection: &mut (impl AsyncWrite + Unpin),
    stream: u32,
    headers: &[(&str, &str)],
    data: &[u8],
) {
    let headers = Frame::new(HEADERS, END_HEADERS, stream, block(headers)).bytes();
    let data = Frame::new(DATA, END_STREAM, stream, data).bytes();
    connection
        .write_all(&[headers, data].concat())
        .await
        .unwrap();
}

/// The frame that ends a stream, or the connection.
async fn ended(connection: &mut (impl AsyncRead + Unpin), stream: u32) -> Frame {
    loop {
        let frame = Frame::read(connection).await.expect("an answer");
        let ends = frame.kind == RST_STREAM || frame.is(HEADERS, END_STREAM);
        if frame.kind == GOAWAY || (frame.stream == stream && ends) {
            return frame;
        }
    }
}

fn message() -> Vec<u8> {
    user("42", "admin")
}

/// A frame of gRPC that says what it is told to.
fn prefixed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn body(request: &mut Request<RequestBody>, bytes: Vec<u8>) {
    *request.body_mut() = pieces([bytes]);
}

fn pieces(pieces: impl IntoIterator<Item = Vec<u8>>) -> RequestBody {
    let frames: Vec<_> = pieces
        .into_iter()
        .map(|bytes| Ok::<_, Infallible>(BodyFrame::data(Bytes::from(bytes))))
        .collect();
    StreamBody::new(stream::iter(frames)).boxed()
}

fn path(request: &mut Request<RequestBody>, path: &str) {
    *request.uri_mut() = uri("https://localhost", path);
}

fn uri(origin: &str, path: &str) -> Uri {
    format!("{origin}{path}").parse().unwrap()
}

fn set(request: &mut Request<RequestBody>, name: &'static str, value: &str) {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    request.headers_mut().insert(name, value);
}

fn add_header(request: &mut Request<RequestBody>, name: &'static str, value: &str) {
    request.headers_mut().append(name, value.parse().unwrap());
}
