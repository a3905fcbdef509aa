//! What comes over the wire that no browser sends: each of it is bounded, and answered where there is anybody to
//! answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ask2do_token_tests::exchange;
use ask2do_token_tests::gateway::{Gateway, PATH, Setup};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{Server, World};
use ask2do_token_tests::{PATIENCE, until};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The widget's headers, in the session of user 42, an admin.
const WIDGET: &str =
    "host: panel.example\r\nsec-fetch-site: same-origin\r\ncookie: sid=admin/42\r\n";

pub(crate) fn add(suite: &mut Suite) {
    suite.case(
        "wire::requests_in_one_piece_are_answered_in_turn",
        pipelined,
    );
    suite.case("wire::a_body_is_asked_for_only_where_it_fits", expected);
    suite.case("wire::chunks_are_counted", chunked);
    suite.case(
        "wire::a_large_body_is_told_so_before_the_connection_ends",
        large,
    );
    suite.case("wire::bytes_that_trickle_are_not_waited_for", trickling);
    suite.case("wire::what_is_no_http_mints_nothing", nonsense);
    suite.case("wire::no_answer_is_without_its_trace_id", every_answer);
    suite.case(
        "wire::a_drain_ends_connections_that_are_kept_alive",
        kept_alive,
    );
    suite.case("wire::http_2_is_bounded_too", http2);
}

/// A gateway with all that is behind it.
struct Whole {
    world: World,
    gateway: Gateway,
    panel: Panel,
    before: u64,
    _server: Server,
}

impl Whole {
    async fn start() -> Self {
        Self::with(|setup| setup).await
    }

    async fn with(set: impl FnOnce(Setup) -> Setup) -> Self {
        let world = World::new().await;
        let server = world.server().start().await;
        let panel = Panel::start(Whoami::Honest).await;
        let setup = Setup::forward(&world, server.grpc, panel.address);
        let gateway = set(setup).start().await;
        gateway.warm().await;
        Self {
            before: world.cloud.calls().total,
            gateway,
            world,
            panel,
            _server: server,
        }
    }

    async fn wire(&self) -> Wire {
        Wire::to(self.gateway.http).await
    }

    fn minted(&self) -> u64 {
        self.world.cloud.calls().total - self.before
    }
}

/// A connection, byte by byte.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer of HTTP/1.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Wire {
    async fn to(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            read: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next answer; none where the connection ends instead.
    async fn answer(&mut self) -> Option<Answer> {
        self.answer_to("POST").await
    }

    async fn answer_to(&mut self, method: &str) -> Option<Answer> {
        loop {
            if let Some(answer) = self.whole(method) {
                return Some(answer);
            }
            if self.more().await == 0 {
                assert!(
                    self.read.is_empty(),
                    "{}",
                    String::from_utf8_lossy(&self.read)
                );
                return None;
            }
        }
    }

    /// An answer that was read to its end.
    fn whole(&mut self, method: &str) -> Option<Answer> {
        let text = String::from_utf8_lossy(&self.read).into_owned();
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        let length = if method == "HEAD" || status == 100 {
            0
        } else {
            length
        };
        let body = rest.get(..length)?.to_owned();
        if status != 100 {
            let method = method.parse().unwrap();
            exchange::Answer::parse(head, body.clone()).assert_documented(&method);
        }
        self.read.drain(..head.len() + 4 + length);
        Some(Answer {
            status,
            head: head.to_owned(),
            body,
        })
    }

    /// How many bytes came; none at the end of the connection, or when it was reset.
    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.expect("something within the patience of tests")
            .unwrap_or(0)
    }

    async fn ended(&mut self) {
        assert!(self.answer().await.is_none());
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn post(more: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\n{WIDGET}{more}\r\n")
}

async fn pipelined() {
    let whole = Whole::start().await;
    let mut wire = whole.wire().await;
    let bodied = post("content-length: 4\r\n") + "null";
    let refused = post("").replace("same-origin", "cross-site");
    let requests = [post(""), bodied, refused, post("")].concat();
    wire.send(&requests).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(wire.answer().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 403, 200]);
    assert_eq!(whole.minted(), 3);
}

async fn expected() {
    let whole = Whole::start().await;
    let mut wire = whole.wire().await;
    wire.send(&post("expect: 100-continue\r\ncontent-length: 4\r\n"))
        .await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.send("null").await;
    assert_eq!(wire.answer().await.unwrap().status, 200);

    let mut wire = whole.wire().await;
    wire.send(&post("expect: 100-continue\r\ncontent-length: 4097\r\n"))
        .await;
    assert_eq!(wire.answer().await.unwrap().status, 413, "at once");
    assert_eq!(whole.minted(), 1);
}

async fn chunked() {
    let whole = Whole::start().await;
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let head = post("transfer-encoding: chunked\r\n");
    for (chunks, end, status) in [
        (4, "0\r\n\r\n", 200),
        (4, "0\r\nx-user-id: 1\r\n\r\n", 200),
        (5, "", 413),
        (0, "zz\r\n", 400),
    ] {
        let mut wire = whole.wire().await;
        wire.send(&[&head, &*chunk.repeat(chunks), end].concat())
            .await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, status, "{chunks} {end:?} {answer:?}");
    }
    assert_eq!(whole.minted(), 2);
}

async fn large() {
    let whole = Whole::start().await;
    for kib in [5, 64, 1024] {
        let mut wire = whole.wire().await;
        wire.send(&post(&format!("content-length: {}\r\n", kib << 10)))
            .await;
        // As a simple client does: all of it, and only then is the answer read.
        let body = vec![b' '; kib << 10];
        let _ = wire.stream.write_all(&body).await;
        let answer = wire.answer().await;
        assert_eq!(answer.map(|answer| answer.status), Some(413), "{kib} KiB");
    }
    assert_eq!(whole.minted(), 0);
}

async fn trickling() {
    let whole = Whole::start().await;
    let begun = Instant::now();
    let silent = async {
        let mut wire = whole.wire().await;
        wire.ended().await;
    };
    // The first bytes are there, and no more come.
    let half = async {
        let mut wire = whole.wire().await;
        wire.send(&post("content-length: 4\r\n")).await;
        wire.send("nul").await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, 408, "{answer:?}");
        assert!(answer.body.contains("REQUEST_INVALID"), "{answer:?}");
    };
    tokio::join!(silent, half);
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(whole.minted(), 0);
}

async fn nonsense() {
    let whole = Whole::start().await;
    let asked = whole.panel.seen().len();
    let requests = [
        "\r\n\r\n\r\nGARBAGE\r\n\r\n".to_owned(),
        format!("POST {PATH}\r\n\r\n"),
        format!("POST {PATH} HTTP/9.9\r\n{WIDGET}\r\n"),
        format!("POST {PATH} HTTP/1.1\r\n{WIDGET}no colon\r\n\r\n"),
        format!("POST {PATH} HTTP/1.1\r\n{WIDGET} folded: line\r\n\r\n"),
        format!("POST {PATH} HTTP/1.1\r\n{WIDGET}x: \0\r\n\r\n"),
        post("content-length: 4\r\ncontent-length: 5\r\n") + "nullx",
        post("content-length: -1\r\n"),
        post("content-length: 4, 4\r\n") + "null",
        post("transfer-encoding: gzip\r\n") + "null",
        "CONNECT panel.example:443 HTTP/1.1\r\nhost: panel.example:443\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: panel.example\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(),
    ];
    for request in requests {
        let mut wire = whole.wire().await;
        wire.send(&request).await;
        wire.stream.shutdown().await.unwrap();
        while let Some(answer) = wire.answer().await {
            assert!(
                (400..500).contains(&answer.status),
                "{request:?}: {answer:?}"
            );
        }
    }
    assert_eq!(whole.minted(), 0);
    assert_eq!(whole.panel.seen().len(), asked);
}

async fn every_answer() {
    let whole = Whole::with(|setup| setup.set("http.allow_get", "true")).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = format!("{WIDGET}traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let wide = format!("x-wide: {}\r\n", "x".repeat(17 << 10));
    let preflight = "access-control-request-method: POST\r\n";
    for (method, path, more, status) in [
        ("POST", PATH, "", 200),
        ("GET", PATH, "", 200),
        ("HEAD", PATH, "", 405),
        ("OPTIONS", PATH, "", 405),
        ("OPTIONS", PATH, preflight, 403),
        ("TRACE", PATH, "", 405),
        ("BREW", PATH, "", 405),
        ("POST", "/", "", 404),
        ("HEAD", "/", "", 404),
        ("POST", "http://panel.example/api/ask2do/token", "", 200),
        ("POST", PATH, "content-length: 5000\r\n", 413),
        ("POST", PATH, &wide, 431),
    ] {
        let mut wire = whole.wire().await;
        wire.send(&format!("{method} {path} HTTP/1.1\r\n{traced}{more}\r\n"))
            .await;
        let answer = wire.answer_to(method).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("x-request-id"), Some(trace), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        if status != 200 && method != "HEAD" {
            assert!(answer.body.contains(trace), "{answer:?}");
        }
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, POST, OPTIONS"));
        }
    }
    // Beyond what is read at all there is nobody to know a trace.
    let mut wire = whole.wire().await;
    wire.send(&post(&format!("x-wide: {}\r\n", "x".repeat(40 << 10))))
        .await;
    assert_eq!(wire.answer().await.unwrap().status, 431);
}

async fn kept_alive() {
    let mut whole = Whole::start().await;
    let (mut idle, mut busy) = (whole.wire().await, whole.wire().await);
    for wire in [&mut idle, &mut busy] {
        wire.send(&post("")).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), None, "it may be used again");
    }
    let slow = post("").replace("admin/42", "admin/slow-3s");
    busy.send(&slow).await;
    until("the slow one is at the cloud", async || {
        (whole.world.cloud.calls_for("slow-3s") == 1).then_some(())
    })
    .await;
    whole.gateway.process.signal(Signal::TERM);
    idle.ended().await;
    let answer = busy.answer().await.unwrap();
    assert_eq!(answer.status, 200, "what was begun is finished");
    assert_eq!(answer.header("connection"), Some("close"));
    busy.ended().await;
    assert_eq!(whole.gateway.process.ended().await.code(), Some(0));
}

async fn http2() {
    let mut whole = Whole::start().await;
    let stream = TcpStream::connect(whole.gateway.http).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    let connection = tokio::spawn(connection);
    let request = |id: &str, more: usize| {
        http::Request::post(format!("http://panel.example{PATH}"))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", format!("sid=admin/{id}"))
            .header("x-more", "x".repeat(more))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    sender.ready().await.unwrap();
    let answer = sender.send_request(request("42", 0)).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Over our limit, and over what is read at all; the connection serves on.
    for more in [17 << 10, 40 << 10] {
        let answer = sender.send_request(request("42", more)).await.unwrap();
        assert_eq!(answer.status(), 431, "{more}");
    }
    let slow = tokio::spawn(sender.send_request(request("slow-3s", 0)));
    until("the slow one is at the cloud", async || {
        (whole.world.cloud.calls_for("slow-3s") == 1).then_some(())
    })
    .await;
    whole.gateway.process.signal(Signal::TERM);
    until("the client was told to go", async || {
        sender.is_closed().then_some(())
    })
    .await;
    assert_eq!(
        slow.await.unwrap().unwrap().status(),
        200,
        "and its request finished"
    );
    tokio::time::timeout(Duration::from_secs(60), connection)
        .await
        .expect("the connection ends")
        .unwrap()
        .unwrap();
    assert_eq!(whole.gateway.process.ended().await.code(), Some(0));
}
