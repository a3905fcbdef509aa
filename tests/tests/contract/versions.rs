//! Two versions of the contract at the two ends of a call: what one of them does not know, and what a
//! message may look like that says the same.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ask2do_token_proto::{ERROR_DOMAIN, RETRY_PUSHBACK};
use ask2do_token_tests::binaries::binary;
use ask2do_token_tests::caller::{MINT_TOKEN, framed, minted, request};
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{PANEL, Shared, World};
use ask2do_token_tls::{Authorities, ClientAuth, Identity, ServerTls, Versions, Watched};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

/// `panel_user { id: "42" role: "admin" }`, and its parts.
const ID: &[u8] = b"\x0a\x0242";
const ROLE: &[u8] = b"\x12\x05admin";

/// What comes of a message.
#[derive(Clone, Copy)]
enum Outcome {
    /// A token for 42, an admin.
    Minted,
    Invalid,
}

use Outcome::{Invalid, Minted};

/// A user's message within its request.
fn user(parts: &[&[u8]]) -> Vec<u8> {
    field(1, &parts.concat())
}

/// A field of bytes.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = key(number, 2);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// A field's number and wire type (0 varint, 1 eight bytes, 2 length and bytes, 3 and 4 a group, 5 four bytes).
fn key(number: u32, wire_type: u8) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | u64::from(wire_type), &mut out);
    out
}

/// One of each wire type under numbers that nobody has given out yet.
fn unknown() -> Vec<u8> {
    [
        [
            key(15, 0),
            vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ]
        .concat(),
        [key(16, 1), vec![7; 8]].concat(),
        field(17, b"\xc3\x28 is no UTF-8"),
        [key(18, 3), field(1, b"x"), key(18, 4)].concat(),
        [key(19, 5), vec![7; 4]].concat(),
        // The largest number that there is.
        field(536_870_911, b""),
    ]
    .concat()
}

fn messages() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let plain = user(&[ID, ROLE]);
    let nested = |depth: usize| {
        let groups = [key(20, 3).repeat(depth), key(20, 4).repeat(depth)].concat();
        [groups, plain.clone()].concat()
    };
    vec![
        (
            "the oldest form",
            b"\x0a\x0b\x0a\x0242\x12\x05admin".to_vec(),
            Minted,
        ),
        (
            "fields of a later request",
            [plain.clone(), unknown()].concat(),
            Minted,
        ),
        (
            "the same before those that are known",
            [unknown(), plain.clone()].concat(),
            Minted,
        ),
        (
            "fields of a later user",
            user(&[ID, &unknown(), ROLE]),
            Minted,
        ),
        (
            "later fields up to the limit",
            [plain.clone(), field(21, &[7; 16_000])].concat(),
            Minted,
        ),
        ("the role before the id", user(&[ROLE, ID]), Minted),
        (
            "an id twice: the last counts",
            user(&[b"\x0a\x0241", ROLE, ID]),
            Minted,
        ),
        (
            "a user in two pieces",
            [user(&[ID]), user(&[ROLE])].concat(),
            Minted,
        ),
        (
            "a user twice: the last counts",
            [user(&[b"\x0a\x0241", ROLE]), user(&[ID])].concat(),
            Minted,
        ),
        (
            "lengths longer than they need be",
            b"\x0a\x8c\x80\x00\x0a\x82\x0042\x12\x05admin".to_vec(),
            Minted,
        ),
        ("groups within groups", nested(50), Minted),
        ("groups too deep to follow", nested(2_000), Invalid),
        (
            "an id that is a number",
            user(&[b"\x08\x2a", ROLE]),
            Invalid,
        ),
        (
            "an id of eight bytes",
            user(&[b"\x0942424242", ROLE]),
            Invalid,
        ),
        ("a user that is a number", b"\x08\x2a".to_vec(), Invalid),
        (
            "a field without a number",
            [plain.clone(), vec![0x02, 0x00]].concat(),
            Invalid,
        ),
        (
            "a wire type that there is not",
            [plain.clone(), vec![0x7e]].concat(),
            Invalid,
        ),
        (
            "a group that does not end",
            [plain.clone(), key(18, 3)].concat(),
            Invalid,
        ),
        (
            "a group that does not begin",
            [plain.clone(), key(18, 4)].concat(),
            Invalid,
        ),
        (
            "a later field that breaks off",
            [plain.clone(), vec![0x7a, 0x05, b'x']].concat(),
            Invalid,
        ),
        (
            "a number of eleven bytes",
            [plain, key(15, 0), vec![0xff; 11]].concat(),
            Invalid,
        ),
    ]
}

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(World::server);
    for (name, message, outcome) in messages() {
        let shared = shared.clone();
        suite.case(format!("versions: {name}"), move || async move {
            let (world, server) = shared.get().await;
            let connection = server.connect(&world.panel()).await;
            let reply = connection.send(request(MINT_TOKEN, framed(&message))).await;
            match outcome {
                Minted => {
                    let token = minted(&reply.unwrap()).token;
                    let claims = claims(&token);
                    assert_eq!(
                        (&claims["sub"], &claims["role"]),
                        (&json!("42"), &json!("admin"))
                    );
                }
                Invalid => {
                    reply
                        .unwrap()
                        .refused(Code::InvalidArgument, "REQUEST_INVALID");
                }
            }
        });
    }
    suite.case(
        "versions: a caller reads what a later server answers",
        later_token,
    );
    suite.case(
        "versions: a caller takes a reason it does not know by its code",
        later_reason,
    );
}

fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(claims).unwrap()).unwrap()
}

async fn later_token() {
    let world = World::new().await;
    // `expires_at` (20,000,000 s and 5 ns) first and in two pieces, then what came in later.
    let message = [
        field(2, b"\x08\x80\xda\xc4\x09"),
        unknown(),
        field(2, &[b"\x10\x05", &unknown()[..]].concat()),
        field(1, b"a.b.c"),
    ]
    .concat();
    let server = Later::start(
        &world,
        framed(&message),
        &[("grpc-status", "0"), ("x-new", "yes")],
    )
    .await;
    let (code, said) = server.mint(&world).await;
    assert_eq!(
        (code, said),
        (
            0,
            json!({ "ok": true, "token": "a.b.c", "expiresAt": "1970-08-20T11:33:20.000Z" })
        )
    );
    assert_eq!(server.calls(), 1);
}

async fn later_reason() {
    let world = World::new().await;
    // google.rpc.Status with an ErrorInfo of a new reason, and a detail of a kind that nobody knows.
    let any = |kind: &str, value: &[u8]| {
        let name = format!("type.googleapis.com/{kind}");
        field(3, &[field(1, name.as_bytes()), field(2, value)].concat())
    };
    let info = [
        field(1, b"CLOUD_ON_HOLIDAY"),
        field(2, ERROR_DOMAIN.as_bytes()),
    ]
    .concat();
    let status = [
        b"\x08\x0e".to_vec(),
        field(2, b"CLOUD_ON_HOLIDAY: come back"),
        any("google.rpc.ErrorInfo", &info),
        any("ask2do.token.v9.Holiday", b"\xff\xff"),
        unknown(),
    ]
    .concat();
    let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(status);
    let trailers = [
        ("grpc-status", "14"),
        ("grpc-message", "CLOUD_ON_HOLIDAY: come back"),
        ("grpc-status-details-bin", &details),
        (RETRY_PUSHBACK, "-1"),
    ];
    let server = Later::start(&world, Bytes::new(), &trailers).await;
    let (code, said) = server.mint(&world).await;
    assert_eq!(code, 1, "{said}");
    assert_eq!(said["code"], "UNAVAILABLE", "{said}");
    assert_eq!(server.calls(), 1, "it is not tried again");
}

/// A server of a later version, which has one answer to everything.
struct Later {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Later {
    async fn start(world: &World, message: Bytes, trailers: &[(&'static str, &str)]) -> Self {
        let pair = world.servers.issue(&Leaf::server());
        let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
        let callers = Authorities::from_pem(world.callers.pem().as_bytes());
        let clients = ClientAuth::Required(Watched::fixed(callers.unwrap()));
        let identity = Watched::fixed(identity.unwrap());
        let tls = ServerTls::new(identity, clients, Versions::Tls13, &[b"h2"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let trailers: HeaderMap = trailers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let calls = Arc::new(AtomicUsize::new(0));
        Self {
            address: listener.local_addr().unwrap(),
            accepting: tokio::spawn(accept(listener, tls, calls.clone(), message, trailers)),
            calls,
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// What our command line makes of it: the exit code, and its one line.
    async fn mint(&self, world: &World) -> (i32, Value) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), world.servers.pem()).unwrap();
        let caller = world.callers.issue(&Leaf::client().uri(PANEL));
        caller.write(folder.path(), "caller");
        let output = tokio::process::Command::new(binary("ask2do-token"))
            .args(["mint", "--json", "--id", "42", "--role", "admin"])
            .args(["--endpoint", &self.address.to_string(), "--ca", "ca.crt"])
            .args(["--cert", "caller.crt", "--key", "caller.key"])
            .current_dir(folder.path())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code().expect("an exit code"), said)
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: ServerTls,
    calls: Arc<AtomicUsize>,
    message: Bytes,
    trailers: HeaderMap,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(tls.config());
        let answer = (calls.clone(), message.clone(), trailers.clone());
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = service_fn(move |_| {
                let (calls, message, trailers) = answer.clone();
                calls.fetch_add(1, Ordering::SeqCst);
                let frames =
                    [Frame::data(message), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
                let body = StreamBody::new(stream::iter(frames)).boxed();
                let response = Response::builder()
                    .header("content-type", "application/grpc+proto")
                    .header("x-newer", "header")
                    .body(body);
                async { Ok::<_, Infallible>(response.unwrap()) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
