//! `docs/openapi.yaml` as others read it, and the gateway as it answers those who keep to it, and those who
//! do not. What the gateway answers in any other test is held against it too.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::exchange::Answer;
use ask2do_token_tests::gateway::{Gateway, PATH, Setup};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::world::{Server, World};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tools::{Said, find, run};

/// What schemathesis looks at. Not among them: whether every request that keeps to the document gets a token
/// (that rests on sessions and sites, of which OpenAPI knows nothing) and every other is refused (what the
/// document says of a header is not a condition).
const CHECKS: &str = "status_code_conformance,content_type_conformance,response_headers_conformance,\
     response_schema_conformance,not_a_server_error,unsupported_method,ignored_auth";
/// Where everything that is described is served.
const WITH_GET: &str = ",allow_header_conformance";

/// What is sent, as it stands on the wire, and what comes back.
struct Raw {
    what: &'static str,
    method: Method,
    bytes: Vec<u8>,
    status: u16,
    /// Answered by the HTTP library, before there is a request.
    bare: bool,
}

fn raws() -> Vec<Raw> {
    let raw = |what, method: &Method, text: &str, status, bare| Raw {
        what,
        method: method.clone(),
        bytes: text.replace('\n', "\r\n").into_bytes(),
        status,
        bare,
    };
    let post = &Method::POST;
    let wide = |bytes: usize| {
        let filler = "f".repeat(bytes);
        format!("POST {PATH} HTTP/1.1\nhost: panel.example\nx-filler: {filler}\n\n")
    };
    let many: String = (0..150).map(|number| format!("x-{number}: y\n")).collect();
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x00\r\n\r\n".to_vec();
    let brew = Method::from_bytes(b"BREW").unwrap();
    let lower = Method::from_bytes(b"post").unwrap();
    let with = |line: &str| format!("POST {PATH} HTTP/1.1\nhost: panel.example\n{line}\n\n");
    vec![
        raw(
            "HTTP/1.1 without a host",
            post,
            &format!("POST {PATH} HTTP/1.1\n\n"),
            401,
            false,
        ),
        raw(
            "HTTP/1.0",
            post,
            &format!("POST {PATH} HTTP/1.0\n\n"),
            401,
            false,
        ),
        raw(
            "an absolute target",
            post,
            &format!("POST http://panel.example{PATH} HTTP/1.1\n\n"),
            401,
            false,
        ),
        raw(
            "a query",
            post,
            &with("x: y").replace(PATH, &format!("{PATH}?a=b")),
            401,
            false,
        ),
        raw(
            "an upgrade to a WebSocket",
            post,
            &with("connection: upgrade\nupgrade: websocket"),
            401,
            false,
        ),
        raw(
            "an upgrade to HTTP/2",
            post,
            &with("connection: upgrade, http2-settings\nupgrade: h2c\nhttp2-settings: AAMAAABk"),
            401,
            false,
        ),
        raw(
            "another path",
            post,
            "POST /api/ask2do HTTP/1.1\n\n",
            404,
            false,
        ),
        raw(
            "an escaped path",
            post,
            &with("x: y").replace("/api/", "/%61pi/"),
            404,
            false,
        ),
        raw(
            "a path with dots",
            post,
            &with("x: y").replace("/api/", "/x/../api/"),
            404,
            false,
        ),
        raw(
            "all of the server",
            &Method::OPTIONS,
            "OPTIONS * HTTP/1.1\n\n",
            404,
            false,
        ),
        raw(
            "a tunnel",
            &Method::CONNECT,
            "CONNECT panel.example:443 HTTP/1.1\nhost: panel.example:443\n\n",
            404,
            false,
        ),
        raw(
            "a method that nobody knows",
            &brew,
            &with("x: y").replace("POST", "BREW"),
            405,
            false,
        ),
        raw(
            "a method in lower case",
            &lower,
            &with("x: y").replace("POST", "post"),
            405,
            false,
        ),
        raw(
            "a body that is announced too large",
            post,
            &with("expect: 100-continue\ncontent-length: 5000"),
            413,
            false,
        ),
        raw(
            "a chunk that is none",
            post,
            &(with("transfer-encoding: chunked") + "no\n"),
            400,
            false,
        ),
        raw("17 KiB of header", post, &wide(17 << 10), 431, false),
        raw("40 KiB of header", post, &wide(40 << 10), 431, true),
        raw("1 MiB of header", post, &wide(1 << 20), 431, true),
        raw(
            "1 MiB of target",
            post,
            &with("x: y").replace(PATH, &format!("{PATH}?{}", "q".repeat(1 << 20))),
            431,
            true,
        ),
        raw("150 headers", post, &with(many.trim_end()), 431, true),
        raw("a word", post, "hello\n\n", 400, true),
        raw("HTTP/0.9", post, &format!("GET {PATH}\n\n"), 400, true),
        raw(
            "HTTP/3.0",
            post,
            &format!("POST {PATH} HTTP/3.0\n\n"),
            400,
            true,
        ),
        raw(
            "a target without a slash",
            post,
            "POST api HTTP/1.1\n\n",
            404,
            false,
        ),
        raw(
            "a header without a colon",
            post,
            &with("nonsense"),
            400,
            true,
        ),
        raw("a header with a NUL", post, &with("x: a\0b"), 400, true),
        raw(
            "two lengths",
            post,
            &with("content-length: 1\ncontent-length: 2"),
            400,
            true,
        ),
        raw(
            "a length that is no number",
            post,
            &with("content-length: ten"),
            400,
            true,
        ),
        raw(
            "an encoding that is not HTTP's",
            post,
            &with("transfer-encoding: gzip"),
            400,
            true,
        ),
        Raw {
            what: "TLS to the port without",
            method: post.clone(),
            bytes: hello,
            status: 400,
            bare: true,
        },
    ]
}

pub(crate) fn add(suite: &mut Suite) {
    suite.case_where_possible("openapi: the document is clean", || async {
        let said = lint(|text| text).await?;
        said.content();
        Ok(())
    });
    suite.case_where_possible("openapi: what is not clean is found", || async {
        let said = lint(|text| text.replace("headers/XRequestId", "headers/RequestId")).await?;
        assert_eq!(said.code, 1, "{}", said.text);
        assert!(said.text.contains("no-unresolved-refs"), "{}", said.text);
        Ok(())
    });
    for get in [false, true] {
        for session in [false, true] {
            let with = if session { "with" } else { "without" };
            let on = if get { "on" } else { "off" };
            let name = format!(
                "openapi: a client of any kind {with} a session, GET {on}, finds nothing else"
            );
            suite.case_where_possible(name, move || client_of_any_kind(get, session));
        }
    }
    suite.case_where_possible(
        "openapi: a client of any kind finds what is not documented",
        undocumented,
    );
    suite.case(
        "openapi: whatever is sent as HTTP/1 has a documented answer",
        http_1,
    );
    suite.case("openapi: HTTP/2 has the same answers", http_2);
}

async fn lint(bend: impl FnOnce(String) -> String) -> Result<Said, CannotRun> {
    let here = workspace().join("tests/openapi");
    let redocly = here.join("node_modules/.bin/redocly");
    if !redocly.is_file() {
        return Err(CannotRun(
            "redocly is not installed: `npm ci --ignore-scripts` in tests/openapi",
        ));
    }
    find("node", "there is no node on PATH")?;
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(document()).unwrap();
    fs::write(folder.path().join("openapi.yaml"), bend(text)).unwrap();
    fs::copy(
        here.join("redocly.yaml"),
        folder.path().join("redocly.yaml"),
    )
    .unwrap();
    Ok(run(&redocly, &["lint", "openapi.yaml"], folder.path()).await)
}

async fn whole(get: bool) -> (World, Server, Panel, Gateway) {
    let world = World::new().await;
    let server = world.server().start().await;
    let panel = Panel::start(Whoami::Honest).await;
    let gateway = Setup::forward(&world, server.grpc, panel.address)
        .set("http.allowed_origins", r#"["https://allowed.example"]"#)
        .set("http.allow_get", &get.to_string())
        .start()
        .await;
    (world, server, panel, gateway)
}

async fn client_of_any_kind(get: bool, session: bool) -> Result<(), CannotRun> {
    let (world, _server, _panel, gateway) = whole(get).await;
    let document = document();
    let mut checks = CHECKS.to_owned();
    if get {
        checks += WITH_GET;
    }
    let mut arguments = vec!["--max-examples", "50", "--checks", &checks];
    if session {
        for header in ["Cookie: sid=admin/42", "Origin: https://allowed.example"] {
            arguments.extend(["--header", header]);
        }
    }
    let said = schemathesis(&document, gateway.http, &arguments)
        .await?
        .content();
    // It has not only knocked.
    assert!(said.contains("Tested: 3"), "{said}");
    assert_eq!(world.cloud.calls_for("42") > 0, session, "{said}");
    Ok(())
}

async fn undocumented() -> Result<(), CannotRun> {
    let (_world, _server, _panel, gateway) = whole(false).await;
    let folder = tempfile::tempdir().unwrap();
    let bent = folder.path().join("openapi.yaml");
    let text = fs::read_to_string(document()).unwrap();
    let of_post = r##""401": { $ref: "#/components/responses/LoginRequired" }"##;
    assert!(text.contains(of_post));
    fs::write(&bent, text.replacen(of_post, "", 1)).unwrap();
    let arguments = ["--max-examples", "5", "--checks", CHECKS];
    let said = schemathesis(&bent, gateway.http, &arguments).await?;
    assert_eq!(said.code, 1, "{}", said.text);
    assert!(
        said.text.contains("Undocumented status code"),
        "{}",
        said.text
    );
    Ok(())
}

async fn schemathesis(
    document: &Path,
    gateway: SocketAddr,
    arguments: &[&str],
) -> Result<Said, CannotRun> {
    let program = find("schemathesis", "there is no schemathesis on PATH")?;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{gateway}");
    let document = document.to_str().unwrap();
    let fixed = ["run", document, "--url", &url, "--seed", "1", "--no-color"];
    let more = ["--generation-database", "none", "--continue-on-failure"];
    let all = [&fixed[..], &more[..], arguments].concat();
    Ok(run(&program, &all, folder.path()).await)
}

fn document() -> PathBuf {
    workspace().join("docs/openapi.yaml")
}

async fn http_1() {
    let (_world, _server, _panel, gateway) = whole(false).await;
    for Raw {
        what,
        method,
        bytes,
        status,
        bare,
    } in raws()
    {
        let answer = send(gateway.http, &bytes).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        answer.assert_documented(&method);
        let is_bare = !answer.headers.contains_key("x-request-id");
        assert_eq!(is_bare, bare, "{what}: {answer:?}");
    }
}

/// Sends these bytes, and reads one answer.
async fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may answer, and close, before it has read all of it.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break read.drain(..end + 4).collect::<Vec<_>>();
        }
        let some = stream.read_buf(&mut read).await.expect("an answer");
        assert!(
            some > 0,
            "no answer, but {:?}",
            String::from_utf8_lossy(&read)
        );
    };
    let head = String::from_utf8(head).unwrap();
    let mut answer = Answer::parse(&head, Bytes::new());
    let length = answer.headers.get("content-length");
    let length = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    while read.len() < length {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
    answer.body = read.into();
    answer
}

async fn http_2() {
    let (_world, _server, _panel, gateway) = whole(false).await;
    let filler = |bytes: usize| "f".repeat(bytes);
    for (method, path, bytes, status) in [
        (Method::POST, PATH, 0, 401),
        (Method::GET, PATH, 0, 405),
        (Method::HEAD, PATH, 0, 405),
        (Method::OPTIONS, PATH, 0, 405),
        (Method::POST, "/", 0, 404),
        (Method::POST, PATH, 17 << 10, 431),
        (Method::POST, PATH, 40 << 10, 431),
    ] {
        let stream = TcpStream::connect(gateway.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("http://panel.example{path}"))
            .header("x-filler", filler(bytes))
            .body(Full::<Bytes>::default())
            .unwrap();
        let begun = Instant::now();
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
            took: begun.elapsed(),
        };
        assert_eq!(answer.status, status, "{method} {path} {bytes}");
        answer.assert_documented(&method);
        connection.abort();
    }
}
