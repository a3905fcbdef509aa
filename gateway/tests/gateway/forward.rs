//! Mode `forward`, against panels that answer well, badly, or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ask2do_token_gateway::session::{Forward, ForwardError, HttpClient};
use ask2do_token_gateway::{RoleMap, application};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri};
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fakes::{Answer, FakeMinter, Headers, call, endpoint, serve, widget};

const LOGGED_IN: (&str, &str) = ("cookie", "sid=1");
const USER: &str = r#"{"id":"42","role":"owner"}"#;

/// Long: a busy machine is no panel that hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

fn forward(panel: SocketAddr, id: &str, role: &str) -> Forward {
    forward_within(TIMEOUT, panel, id, role)
}

fn forward_within(timeout: Duration, panel: SocketAddr, id: &str, role: &str) -> Forward {
    Forward::new(
        HttpClient::new().unwrap(),
        format!("http://{panel}/whoami").parse().unwrap(),
        timeout,
        vec!["cookie".parse().unwrap(), "authorization".parse().unwrap()],
        id.parse().unwrap(),
        role.parse().unwrap(),
    )
    .unwrap()
}

/// One request of the widget against a panel, and for whom a token was minted.
async fn ask_at(
    panel: SocketAddr,
    id: &str,
    role: &str,
    headers: &[(&str, &str)],
) -> (Answer, Vec<(String, String)>) {
    let minter = FakeMinter::default();
    let router = application(endpoint(), forward(panel, id, role), minter.clone());
    let answer = call(&router, widget(headers)).await;
    (answer, minter.minted())
}

/// The same against a panel that gives one answer.
async fn ask(
    answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> (Answer, usize) {
    let panel = serve(Router::new().fallback(async move || answer())).await;
    let (answer, minted) = ask_at(panel, "/id", "/role", &[LOGGED_IN]).await;
    (answer, minted.len())
}

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

#[tokio::test]
async fn a_user_is_read_from_wherever_the_answer_has_it() {
    let cases: &[(&str, &str, Headers<'_>, &str, &str)] = &[
        ("/id", "/role", &[], USER, "42 owner"),
        (
            "/id",
            "/role",
            &[],
            r#"{"id":42,"role":["junior","admin"]}"#,
            "42 admin",
        ),
        (
            "/id",
            "/role",
            &[],
            r#"{"id":18446744073709551615,"role":"admin"}"#,
            "18446744073709551615 admin",
        ),
        (
            "/user/id",
            "/user/roles",
            &[],
            r#"{"user":{"id":"u","roles":["editor"]}}"#,
            "u editor",
        ),
        (
            "/data/0/sub",
            "/data/0/r~1s",
            &[],
            r#"{"data":[{"sub":"s","r/s":"admin"}]}"#,
            "s admin",
        ),
        (
            "X-Id",
            "X-Role",
            &[("x-id", "7"), ("x-role", "admin")],
            "not json",
            "7 admin",
        ),
        ("X-Id", "/role", &[("x-id", "7")], USER, "7 owner"),
        (
            "X-Id",
            "X-Role",
            &[("x-id", "ü"), ("x-role", "staff, owner")],
            "",
            "ü owner",
        ),
    ];
    for (id, role, headers, body, expected) in cases {
        let panel =
            serve(Router::new().fallback(async move || response(200, headers, *body))).await;
        let (answer, minted) = ask_at(panel, id, role, &[LOGGED_IN]).await;
        assert_eq!(answer.status, 200, "{id} {role}: {answer:?}");
        let (id, role) = &minted[0];
        assert_eq!(format!("{id} {role}"), *expected);
    }
}

#[tokio::test]
async fn any_2xx_counts_and_the_role_is_mapped() {
    let panel = serve(
        Router::new().fallback(async || response(203, &[], r#"{"id":"42","role":"superuser"}"#)),
    )
    .await;
    let minter = FakeMinter::default();
    let role_map: RoleMap = [("superuser", "owner")].into_iter().collect();
    let router = application(
        endpoint().role_map(role_map),
        forward(panel, "/id", "/role"),
        minter.clone(),
    );
    assert_eq!(call(&router, widget(&[LOGGED_IN])).await.status, 200);
    assert_eq!(minter.minted(), [("42".to_owned(), "owner".to_owned())]);
}

#[tokio::test]
async fn no_session_is_401() {
    for status in [401, 403, 301, 302, 303, 307, 308, 304] {
        let headers: &'static [_] = &[("location", "/login")];
        let (answer, mints) = ask(move || response(status, headers, USER)).await;
        assert_eq!((answer.status.as_u16(), mints), (401, 0), "{status}");
        assert_eq!(answer.code(), "LOGIN_REQUIRED");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    let panel = serve(Router::new().fallback(async move |uri: Uri| {
        seen.lock().unwrap().push(uri.path().to_owned());
        response(302, &[("location", "/elsewhere")], "")
    }))
    .await;
    let (answer, _) = ask_at(panel, "/id", "/role", &[LOGGED_IN]).await;
    assert_eq!(answer.status, 401);
    assert_eq!(*paths.lock().unwrap(), ["/whoami"]);
}

#[tokio::test]
async fn an_outage_is_503_and_never_a_logged_out_user() {
    for status in [400, 404, 405, 410, 418, 429, 500, 502, 503, 504] {
        let (answer, mints) = ask(move || response(status, &[], USER)).await;
        assert_eq!((answer.status.as_u16(), mints), (503, 0), "{status}");
        assert_eq!(answer.code(), "SESSION_CHECK_UNAVAILABLE");
        assert_eq!(answer.json()["error"], "session check unavailable");
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn a_2xx_without_a_usable_user_is_503() {
    let bodies = [
        "",
        "<!doctype html><title>Log in</title>",
        "null",
        "[]",
        "42",
        r#""42""#,
        "{}",
        r#"{"id":"42"}"#,
        r#"{"role":"owner"}"#,
        r#"{"id":"","role":"owner"}"#,
        r#"{"id":"  ","role":"owner"}"#,
        r#"{"id":"42","role":""}"#,
        r#"{"id":"42","role":[]}"#,
        r#"{"id":"42","role":["owner",7]}"#,
        r#"{"id":"42","role":null}"#,
        r#"{"id":"42","role":7}"#,
        r#"{"id":"42","role":{"owner":true}}"#,
        r#"{"id":null,"role":"owner"}"#,
        r#"{"id":true,"role":"owner"}"#,
        r#"{"id":4.2,"role":"owner"}"#,
        // Larger than any integer here, and so without one spelling.
        r#"{"id":18446744073709551616,"role":"owner"}"#,
        r#"{"id":["42"],"role":"owner"}"#,
        r#"{"id":{"$oid":"42"},"role":"owner"}"#,
        r#"{"id":"42","role":"owner""#,
    ];
    for body in bodies {
        let (answer, mints) = ask(move || response(200, &[], body)).await;
        assert_eq!((answer.status.as_u16(), mints), (503, 0), "{body}");
    }
    let headers: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-id", "7")],
        &[("x-id", ""), ("x-role", "owner")],
        &[("x-id", "7"), ("x-role", " , ")],
        &[("x-id", "7"), ("x-id", "8"), ("x-role", "owner")],
    ];
    for headers in headers {
        let panel = serve(Router::new().fallback(async move || response(200, headers, USER))).await;
        let (answer, minted) = ask_at(panel, "X-Id", "X-Role", &[LOGGED_IN]).await;
        assert_eq!(
            (answer.status.as_u16(), minted.len()),
            (503, 0),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_10_mib_is_given_up() {
    let (answer, mints) = ask(|| response(200, &[], vec![b' '; 10 << 20])).await;
    assert_eq!((answer.status.as_u16(), mints), (503, 0));
    // Chunked, without a length to look at; a valid user before it does not help.
    let (answer, mints) = ask(|| {
        let padding =
            (0..10 << 10).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 10])));
        let user = std::iter::once(Ok(Bytes::from_static(USER.as_bytes())));
        response(
            200,
            &[],
            Body::from_stream(stream::iter(user.chain(padding))),
        )
    })
    .await;
    assert_eq!((answer.status.as_u16(), mints), (503, 0));
}

#[tokio::test]
async fn an_answer_of_64_kib_is_read() {
    let (answer, mints) = ask(|| {
        let padding = " ".repeat((64 << 10) - USER.len());
        response(200, &[], format!("{USER}{padding}"))
    })
    .await;
    assert_eq!((answer.status.as_u16(), mints), (200, 1));
}

#[tokio::test]
async fn a_panel_that_hangs_is_503() {
    let silent = serve(Router::new().fallback(std::future::pending::<Response<Body>>)).await;
    // After its header, in the middle of the body.
    let half = serve(Router::new().fallback(async || {
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let body = futures_util::StreamExt::chain(begun, stream::pending());
        response(200, &[], Body::from_stream(body))
    }))
    .await;
    for panel in [silent, half] {
        let forward = forward_within(Duration::from_millis(300), panel, "/id", "/role");
        let minter = FakeMinter::default();
        let router = application(endpoint(), forward, minter.clone());
        let answer = call(&router, widget(&[LOGGED_IN])).await;
        assert_eq!((answer.status.as_u16(), minter.count()), (503, 0));
        assert_eq!(answer.code(), "SESSION_CHECK_UNAVAILABLE");
    }
}

/// A panel that writes these bytes to each connection, and closes it.
async fn raw(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(bytes).await;
        }
    });
    address
}

#[tokio::test]
async fn a_panel_that_is_not_there_or_speaks_no_http_is_503() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let panels = [
        gone,
        raw(b"").await,
        raw(b"SSH-2.0-OpenSSH_9.2\r\n").await,
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":\"42\",\"role\":\"owner\"}")
            .await,
    ];
    for panel in panels {
        let (answer, minted) = ask_at(panel, "/id", "/role", &[LOGGED_IN]).await;
        assert_eq!(
            (answer.status.as_u16(), minted.len()),
            (503, 0),
            "{answer:?}"
        );
        assert_eq!(answer.code(), "SESSION_CHECK_UNAVAILABLE");
    }
}

/// A panel that remembers what it was sent.
async fn remembering() -> (SocketAddr, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let panel = serve(Router::new().fallback(async move |headers: HeaderMap| {
        keep.lock().unwrap().push(headers);
        response(200, &[], USER)
    }))
    .await;
    (panel, seen)
}

#[tokio::test]
async fn only_the_listed_headers_are_passed_on() {
    let (panel, seen) = remembering().await;
    let headers = [
        LOGGED_IN,
        ("cookie", "theme=dark"),
        ("authorization", "Bearer x"),
        ("origin", "https://panel.example"),
        ("x-user-id", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("referer", "https://panel.example/admin"),
        ("user-agent", "Mozilla"),
        ("baggage", "user=1"),
        ("tracestate", "vendor=1"),
    ];
    let (answer, _) = ask_at(panel, "/id", "/role", &headers).await;
    assert_eq!(answer.status, 200);
    let seen = seen.lock().unwrap();
    let mut sent: Vec<(&str, &str)> = seen[0]
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    sent.sort_unstable();
    assert_eq!(
        sent,
        [
            ("accept", "application/json"),
            ("authorization", "Bearer x"),
            ("cookie", "sid=1; theme=dark"),
            ("host", panel.to_string().as_str()),
        ]
    );
}

#[tokio::test]
async fn a_request_without_a_credential_is_401_without_asking() {
    let (panel, seen) = remembering().await;
    let (answer, minted) = ask_at(panel, "/id", "/role", &[("x-user-id", "1")]).await;
    assert_eq!(
        (answer.code().as_str(), minted.len()),
        ("LOGIN_REQUIRED", 0)
    );
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_cross_site_request_is_refused_without_asking() {
    let (panel, seen) = remembering().await;
    let minter = FakeMinter::default();
    let router = application(endpoint(), forward(panel, "/id", "/role"), minter.clone());
    let request = Request::post(crate::fakes::PATH)
        .header("host", "panel.example")
        .header("sec-fetch-site", "cross-site")
        .header("cookie", "sid=1");
    let answer = call(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "CROSS_SITE_REQUEST");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_listed_header_that_a_proxy_may_add_is_guarded() {
    let (panel, _) = remembering().await;
    let forward = Forward::new(
        HttpClient::new().unwrap(),
        format!("http://{panel}/whoami").parse().unwrap(),
        TIMEOUT,
        vec!["x-session".parse().unwrap()],
        "/id".parse().unwrap(),
        "/role".parse().unwrap(),
    )
    .unwrap();
    let router = application(endpoint(), forward, FakeMinter::default());
    let bare = |headers: &[(&str, &str)]| {
        let mut request = Request::post(crate::fakes::PATH).header("host", "panel.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    let answer = call(&router, bare(&[("x-session", "1")])).await;
    assert_eq!(answer.code(), "CROSS_SITE_REQUEST");
    let json = [("x-session", "1"), ("content-type", "application/json")];
    assert_eq!(call(&router, bare(&json)).await.status, 200);
    assert_eq!(call(&router, bare(&[])).await.code(), "LOGIN_REQUIRED");
}

#[test]
fn headers_of_the_connection_or_the_trace_cannot_be_passed_on() {
    for header in [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "traceparent",
        "accept-encoding",
        "proxy-authorization",
        "range",
        "if-none-match",
    ] {
        let forward = Forward::new(
            HttpClient::new().unwrap(),
            "https://panel.example/whoami".parse().unwrap(),
            TIMEOUT,
            vec![header.parse().unwrap()],
            "/id".parse().unwrap(),
            "/role".parse().unwrap(),
        );
        assert!(matches!(forward, Err(ForwardError::Header(_))), "{header}");
    }
}

#[tokio::test]
async fn equal_questions_in_flight_are_asked_once_and_unequal_ones_are_not() {
    let asked = Arc::new(Mutex::new(0));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (count, opened) = (asked.clone(), gate.clone());
    let panel = serve(Router::new().fallback(async move |headers: HeaderMap| {
        *count.lock().unwrap() += 1;
        opened.acquire().await.unwrap().forget();
        let id = headers["cookie"].to_str().unwrap().to_owned();
        response(200, &[], format!(r#"{{"id":"{id}","role":"owner"}}"#))
    }))
    .await;
    let forward = Forward::new(
        HttpClient::new().unwrap(),
        format!("http://{panel}/whoami").parse().unwrap(),
        Duration::from_secs(60),
        vec!["cookie".parse().unwrap()],
        "/id".parse().unwrap(),
        "/role".parse().unwrap(),
    )
    .unwrap();
    let router = application(endpoint(), forward, FakeMinter::default());
    let ask = |cookie: &'static str| {
        let router = router.clone();
        tokio::spawn(async move { call(&router, widget(&[("cookie", cookie)])).await })
    };
    let asks = [ask("a=1"), ask("a=1"), ask("a=1"), ask("a=2"), ask("a=1 ")];
    // Three different questions: two `a=1`, `a=2`, and none for white space, which HTTP cuts off.
    while *asked.lock().unwrap() < 2 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(100);
    let mut tokens = Vec::new();
    for ask in asks {
        tokens.push(ask.await.unwrap().token().unwrap());
    }
    assert_eq!(tokens[..3], ["token of a=1 as owner"; 3]);
    assert_eq!(tokens[3], "token of a=2 as owner");
    assert!(*asked.lock().unwrap() <= 3);
    assert_eq!(
        StatusCode::OK,
        call(&router, widget(&[("cookie", "a=1")])).await.status
    );
}

/// A panel that holds its answers back: how often it was asked, and what lets an answer go.
async fn held() -> (Router, Arc<Mutex<Vec<String>>>, Arc<tokio::sync::Semaphore>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (seen, opened) = (asked.clone(), gate.clone());
    let panel = serve(Router::new().fallback(async move |headers: HeaderMap| {
        let credentials: Vec<_> = headers
            .get_all("authorization")
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        let credentials = credentials.join("+");
        seen.lock().unwrap().push(credentials.clone());
        opened.acquire().await.unwrap().forget();
        response(
            200,
            &[],
            format!(r#"{{"id":"{credentials}","role":"owner"}}"#),
        )
    }))
    .await;
    let forward = Forward::new(
        HttpClient::new().unwrap(),
        format!("http://{panel}/whoami").parse().unwrap(),
        Duration::from_secs(60),
        vec!["authorization".parse().unwrap()],
        "/id".parse().unwrap(),
        "/role".parse().unwrap(),
    )
    .unwrap();
    let router = application(endpoint(), forward, FakeMinter::default());
    (router, asked, gate)
}

async fn until_asked(asked: &Mutex<Vec<String>>, times: usize) {
    while asked.lock().unwrap().len() < times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_browser_that_leaves_takes_the_answer_from_no_other() {
    let (router, asked, gate) = held().await;
    let ask = || {
        let router = router.clone();
        tokio::spawn(async move { call(&router, widget(&[("authorization", "Bearer a")])).await })
    };
    let first = ask();
    until_asked(&asked, 1).await;
    let others = [ask(), ask()];
    // On one thread, each of them has asked when this goes on.
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    for other in others {
        assert_eq!(
            other.await.unwrap().token().unwrap(),
            "token of Bearer a as owner"
        );
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_values_in_another_order_are_another_question() {
    let (router, asked, gate) = held().await;
    let (a, b) = ("Bearer a", "Bearer b");
    let questions = [vec![a, b], vec![b, a], vec![a, a], vec![a]];
    let asks = questions.clone().map(|values| {
        let router = router.clone();
        let headers: Vec<_> = values
            .into_iter()
            .map(|value| ("authorization", value))
            .collect();
        tokio::spawn(async move { call(&router, widget(&headers)).await })
    });
    until_asked(&asked, questions.len()).await;
    gate.add_permits(questions.len());
    let mut users = Vec::new();
    for ask in asks {
        users.push(ask.await.unwrap().token().unwrap());
    }
    let user = |values: &str| format!("token of {values} as owner");
    assert_eq!(
        users,
        [
            user("Bearer a+Bearer b"),
            user("Bearer b+Bearer a"),
            user("Bearer a+Bearer a"),
            user("Bearer a"),
        ]
    );
}
