//! What callers send: every value that an id or a role can have, every request that is none.

use ask2do_token_tests::caller::{
    MINT_TOKEN, RequestBody, framed, minted, raw_user, request, user,
};
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{SHOP, Shared, World};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tonic::Code;

const MIB: usize = 1024 * 1024;

const EMPTY: &str = "must not be empty";
const LONG_ID: &str = "must have at most 256 bytes";
const LONG_ROLE: &str = "must have at most 64 bytes";
const CONTROL: &str = "must not hold control characters";
const ID: &str = "panel_user.id";
const ROLE: &str = "panel_user.role";

/// What becomes of a request.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Minted,
    /// PANEL_USER_INVALID, with these fields and descriptions.
    Invalid(&'static [(&'static str, &'static str)]),
    /// ROLE_NOT_ALLOWED.
    Role,
    /// REQUEST_INVALID, with these words.
    Request(&'static str),
}

use Answer::{Invalid, Minted, Role};

/// Ids and roles.
pub(crate) fn users() -> Vec<(&'static str, Vec<u8>, Vec<u8>, Answer)> {
    let admin = || b"admin".to_vec();
    let id = |name, id: &[u8], answer| (name, id.to_vec(), admin(), answer);
    let role = |name, role: &[u8], answer| (name, b"role".to_vec(), role.to_vec(), answer);
    const TOO_LARGE: Answer = Answer::Request("larger than 16 KiB");
    const NO_TEXT: Answer = Answer::Request("does not decode");
    const BAD_ID: Answer = Invalid(&[(ID, CONTROL)]);
    const BAD_ROLE: Answer = Invalid(&[(ROLE, CONTROL)]);
    vec![
        id("an id of one byte", b"4", Minted),
        id("an id of 256 bytes", &[b'i'; 256], Minted),
        id(
            "an id of 128 letters of two bytes",
            "é".repeat(128).as_bytes(),
            Minted,
        ),
        id(
            "an id of any script",
            "用户 ٤٢ 👩‍💻 <b>'\"\\%00".as_bytes(),
            Minted,
        ),
        id("an empty id", b"", Invalid(&[(ID, EMPTY)])),
        id(
            "an id of 257 bytes",
            &[b'i'; 257],
            Invalid(&[(ID, LONG_ID)]),
        ),
        id(
            "an id of 129 letters of two bytes",
            "é".repeat(129).as_bytes(),
            Invalid(&[(ID, LONG_ID)]),
        ),
        id("an id of 1 MiB", &vec![b'i'; MIB], TOO_LARGE),
        id("an id with NUL", b"4\x002", BAD_ID),
        id("an id with CR LF", b"42\r\nset-cookie: x", BAD_ID),
        id("an id with an ANSI sequence", b"\x1b[31m42\x1b[0m", BAD_ID),
        id("an id with a tab", b"4\t2", BAD_ID),
        id("an id with DEL", b"42\x7f", BAD_ID),
        id("an id with a C1 control", "42\u{9b}31m".as_bytes(), BAD_ID),
        id(
            "an id with a bidi override",
            "42\u{202e}nimda".as_bytes(),
            BAD_ID,
        ),
        id(
            "an id with a bidi isolate",
            "42\u{2066}x\u{2069}".as_bytes(),
            BAD_ID,
        ),
        id(
            "an id with a line separator",
            "4\u{2028}2".as_bytes(),
            BAD_ID,
        ),
        id(
            "a long id with NUL",
            &[0; 257],
            Invalid(&[(ID, LONG_ID), (ID, CONTROL)]),
        ),
        id("an id that is not UTF-8", b"\xc3\x28", NO_TEXT),
        id("an id with a surrogate", b"\xed\xa0\x80", NO_TEXT),
        id("an id with an overlong NUL", b"\xc0\x80", NO_TEXT),
        role("a role of one byte", b"a", Role),
        role("a role in capitals", b"Admin", Role),
        role("a role with a space behind", b"admin ", Role),
        role("a role of 64 bytes", &[b'r'; 64], Role),
        role("an empty role", b"", Invalid(&[(ROLE, EMPTY)])),
        role(
            "a role of 65 bytes",
            &[b'r'; 65],
            Invalid(&[(ROLE, LONG_ROLE)]),
        ),
        role("a role of 1 MiB", &vec![b'r'; MIB], TOO_LARGE),
        role("a role with NUL", b"admin\0", BAD_ROLE),
        role("a role with CR LF", b"admin\r\n", BAD_ROLE),
        role("a role with an ANSI sequence", b"\x1b]0;x\x07", BAD_ROLE),
        role(
            "a role with a bidi override",
            "\u{202e}nimda".as_bytes(),
            BAD_ROLE,
        ),
        role("a role that is not UTF-8", b"\xff", NO_TEXT),
        (
            "both wrong",
            b"".to_vec(),
            vec![b'\n'; 65],
            Invalid(&[(ID, EMPTY), (ROLE, LONG_ROLE), (ROLE, CONTROL)]),
        ),
    ]
}

/// Whole bodies that are not one message of the contract.
pub(crate) fn bodies() -> Vec<(&'static str, Vec<u8>, Answer)> {
    let good = framed(&user("bodies", "admin")).to_vec();
    let bad = Answer::Request("does not decode");
    let flagged = |flag| [&[flag], &good[1..]].concat();
    vec![
        ("no message", Vec::new(), Answer::Request("there is none")),
        (
            "two messages",
            good.repeat(2),
            Answer::Request("there are several"),
        ),
        ("half a frame", good[..3].to_vec(), bad),
        ("half a message", good[..good.len() - 1].to_vec(), bad),
        ("a message that says it is compressed", flagged(1), bad),
        ("an unknown flag", flagged(7), bad),
        (
            "a frame of 4 GiB",
            b"\0\xff\xff\xff\xff".to_vec(),
            Answer::Request("larger than 16 KiB"),
        ),
        ("HTTP in the frame", b"GET / HTTP/1.1\r\n\r\n".to_vec(), bad),
        (
            "JSON in the message",
            framed(br#"{"panelUser":{"id":"42"}}"#).to_vec(),
            bad,
        ),
        (
            "a length that lies",
            framed(b"\x0a\xff\xff\xff\xff\x0f").to_vec(),
            bad,
        ),
        ("0xff throughout", framed(&[0xff; 512]).to_vec(), bad),
        (
            "a request of 1 MiB",
            framed(&vec![0; MIB]).to_vec(),
            Answer::Request("larger than 16 KiB"),
        ),
        ("1 MiB without a frame", vec![0xff; MIB], bad),
        (
            "no panel user",
            framed(b"").to_vec(),
            Invalid(&[(ID, EMPTY), (ROLE, EMPTY)]),
        ),
    ]
}

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(World::server);
    for (name, id, role, answer) in users() {
        let body = framed(&raw_user(&id, &role));
        add_body(suite, &shared, name, body, answer);
    }
    for (name, body, answer) in bodies() {
        add_body(suite, &shared, name, body.into(), answer);
    }
    add_methods(suite, &shared);
}

fn add_body(suite: &mut Suite, shared: &Shared, name: &'static str, body: Bytes, answer: Answer) {
    let shared = shared.clone();
    suite.case(format!("inputs: {name}"), move || async move {
        let (world, server) = shared.get().await;
        let connection = server.connect(&world.panel()).await;
        let reply = connection.send(request(MINT_TOKEN, body)).await.unwrap();
        match answer {
            Minted => {
                minted(&reply);
            }
            Role => {
                reply.refused(Code::PermissionDenied, "ROLE_NOT_ALLOWED");
            }
            Invalid(violations) => {
                let refusal = reply.refused(Code::InvalidArgument, "PANEL_USER_INVALID");
                let found: Vec<_> = refusal
                    .violations
                    .iter()
                    .map(|(field, why)| (&**field, &**why))
                    .collect();
                assert_eq!(found, violations);
            }
            Answer::Request(words) => {
                let refusal = reply.refused(Code::InvalidArgument, "REQUEST_INVALID");
                assert!(refusal.message.contains(words), "{refusal:?}");
            }
        }
        // Nothing of it has hurt the connection, and nobody but good users got to the cloud.
        minted(&connection.mint("afterwards", "admin").await);
        for id in world.cloud.calls().by_panel_id.keys() {
            let good = matches!(&**id, "4" | "afterwards" | "path" | "other")
                || id.starts_with("ii")
                || id.starts_with("éé")
                || id.starts_with("用户");
            assert!(good, "the cloud was asked for {id:?}");
        }
    });
}

/// Requests that are refused before, or without, a look at their message.
type Bent = fn(&mut Request<RequestBody>);

const BENT: &[(&str, Bent, StatusCode, Option<Code>)] = &[
    (
        "an unknown method",
        |r| *r.uri_mut() = uri("/ask2do.token.v1.TokenService/Mint"),
        StatusCode::OK,
        Some(Code::Unimplemented),
    ),
    (
        "an unknown service",
        |r| *r.uri_mut() = uri("/grpc.channelz.v1.Channelz/GetServers"),
        StatusCode::OK,
        Some(Code::Unimplemented),
    ),
    (
        "the method in lower case",
        |r| *r.uri_mut() = uri("/ask2do.token.v1.tokenservice/minttoken"),
        StatusCode::OK,
        Some(Code::Unimplemented),
    ),
    (
        "the root",
        |r| *r.uri_mut() = uri("/"),
        StatusCode::OK,
        Some(Code::Unimplemented),
    ),
    (
        "a GET",
        |r| *r.method_mut() = Method::GET,
        StatusCode::METHOD_NOT_ALLOWED,
        None,
    ),
    (
        "JSON by its content type",
        |r| set(r, "content-type", "application/json"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        None,
    ),
    (
        "gRPC-Web",
        |r| set(r, "content-type", "application/grpc-web"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        None,
    ),
    (
        "no content type",
        |r| drop(r.headers_mut().remove("content-type")),
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        None,
    ),
];

/// Headers that make a good message a REQUEST_INVALID.
const HEADERS: &[(&str, &str, &str)] = &[
    ("grpc-timeout", "soon", "grpc-timeout is malformed"),
    ("grpc-timeout", "-1S", "grpc-timeout is malformed"),
    ("grpc-timeout", "123456789S", "grpc-timeout is malformed"),
    (
        "grpc-encoding",
        "gzip",
        "compressed requests are not supported",
    ),
];

fn add_methods(suite: &mut Suite, shared: &Shared) {
    for &(name, bend, http, code) in BENT {
        let shared = shared.clone();
        suite.case(format!("inputs: {name}"), move || async move {
            let (world, server) = shared.get().await;
            let connection = server.connect(&world.panel()).await;
            let mut request = request(MINT_TOKEN, framed(&user("bent", "admin")));
            bend(&mut request);
            let reply = connection.send(request).await.unwrap();
            assert_eq!(reply.http, http);
            if let Some(code) = code {
                assert_eq!(reply.status().code(), code);
            }
            assert_eq!(world.cloud.calls_for("bent"), 0);
        });
    }
    for &(header, value, words) in HEADERS {
        let shared = shared.clone();
        suite.case(format!("inputs: {header}: {value}"), move || async move {
            let (world, server) = shared.get().await;
            let connection = server.connect(&world.panel()).await;
            let mut request = request(MINT_TOKEN, framed(&user("header", "admin")));
            set(&mut request, header, value);
            let reply = connection.send(request).await.unwrap();
            let refusal = reply.refused(Code::InvalidArgument, "REQUEST_INVALID");
            assert!(refusal.message.contains(words), "{refusal:?}");
            assert_eq!(world.cloud.calls_for("header"), 0);
        });
    }
    let with = shared.clone();
    suite.case(
        "inputs: a role that is another caller's",
        move || async move {
            let (world, server) = with.get().await;
            let shop = world.callers.issue(&Leaf::client().uri(SHOP));
            let connection = server.connect(&world.caller(&shop)).await;
            let reply = connection.mint("not-shop's", "owner").await;
            reply.refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED");
            minted(&connection.mint("other", "admin").await);
            assert_eq!(world.cloud.calls_for("not-shop's"), 0);
        },
    );
    let with = shared.clone();
    suite.case(
        "inputs: a stranger's garbage is not looked at",
        move || async move {
            let (world, server) = with.get().await;
            let stranger = world
                .callers
                .issue(&Leaf::client().uri("spiffe://demo/stranger"));
            let connection = server.connect(&world.caller(&stranger)).await;
            let bodies = [
                vec![0xff; MIB],
                Vec::new(),
                framed(&raw_user(b"", b"")).to_vec(),
            ];
            for body in bodies {
                let reply = connection.send(request(MINT_TOKEN, body.into())).await;
                reply
                    .unwrap()
                    .refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED");
            }
        },
    );
    let with = shared.clone();
    suite.case(
        "inputs: headers over 16 KiB do not reach the service",
        move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            let mut request = request(MINT_TOKEN, framed(&user("headers", "admin")));
            set(&mut request, "x-filler", &"f".repeat(17 * 1024));
            if let Ok(reply) = connection.send(request).await {
                assert_eq!(reply.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            }
            assert_eq!(world.cloud.calls_for("headers"), 0);
            minted(
                &server
                    .connect(&world.panel())
                    .await
                    .mint("path", "admin")
                    .await,
            );
        },
    );
}

fn uri(path: &str) -> http::Uri {
    format!("https://localhost{path}").parse().unwrap()
}

fn set(request: &mut Request<RequestBody>, name: &'static str, value: &str) {
    request.headers_mut().insert(name, value.parse().unwrap());
}
