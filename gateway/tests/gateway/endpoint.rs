//! The endpoint's answers.

use std::sync::Arc;
use std::time::Duration;

use ask2do_token_gateway::{
    MintFailure, Reason, RoleMap, SessionCheck, SessionError, SessionUser, application,
};
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request};
use futures_util::stream;
use tokio::sync::Semaphore;

use crate::fakes::{Answer, FakeMinter, FakeSessions, PATH, call, endpoint, members, widget};

const LOGGED_IN: (&str, &str) = ("cookie", "sid=1");

async fn ask(request: Request<Body>) -> (Answer, usize) {
    let minter = FakeMinter::default();
    let endpoint = endpoint().allowed_origins(["https://other.example".parse().unwrap()]);
    let router = application(endpoint, FakeSessions::default(), minter.clone());
    let answer = call(&router, request).await;
    (answer, minter.count())
}

/// What holds for every answer of the endpoint but 200 and 204.
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("location"), None);
    let body = answer.json();
    assert_eq!(
        members(&body).into_iter().collect::<Vec<_>>(),
        ["code", "error", "requestId"]
    );
    assert_eq!(body["code"], code);
    assert_eq!(body["requestId"].as_str(), answer.header("x-request-id"));
    let id = body["requestId"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[tokio::test]
async fn a_token_comes_in_the_vendors_form_and_nothing_else_does() {
    let (answer, mints) = ask(widget(&[LOGGED_IN])).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        r#"{"token":"token of 42 as owner","expiresAt":"2026-05-02T13:55:00.123Z"}"#
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(answer.header("x-request-id").unwrap().len(), 32);
    assert_eq!(mints, 1);
}

#[tokio::test]
async fn a_logged_out_user_is_told_to_log_in() {
    let (answer, mints) = ask(widget(&[])).await;
    assert_refused(&answer, 401, "LOGIN_REQUIRED");
    assert_eq!(answer.json()["error"], "login required");
    assert_eq!(mints, 0);
}

#[tokio::test]
async fn other_methods_are_answered_with_those_that_are_served() {
    for method in [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::from_bytes(b"BREW").unwrap(),
    ] {
        let mut request = widget(&[LOGGED_IN]);
        *request.method_mut() = method.clone();
        let (answer, mints) = ask(request).await;
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{method}");
        assert_eq!(mints, 0, "{method}");
        if method == Method::HEAD {
            assert_eq!(answer.status, 405);
        } else {
            assert_refused(&answer, 405, "METHOD_NOT_ALLOWED");
        }
    }
}

#[tokio::test]
async fn get_is_served_where_it_is_turned_on_and_head_is_not() {
    let minter = FakeMinter::default();
    let router = application(
        endpoint().allow_get(true),
        FakeSessions::default(),
        minter.clone(),
    );
    let request = |method| {
        let mut request = widget(&[LOGGED_IN]);
        *request.method_mut() = method;
        request
    };
    assert_eq!(call(&router, request(Method::GET)).await.status, 200);
    assert_eq!(minter.count(), 1);
    let answer = call(&router, request(Method::HEAD)).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET, POST, OPTIONS"));
    assert_eq!(minter.count(), 1);
}

#[tokio::test]
async fn other_paths_are_not_found_whatever_the_method() {
    for path in [
        "/",
        "/api/ask2do/token/",
        "/api/ask2do",
        "/API/ask2do/token",
        "//api/ask2do/token",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let mut request = widget(&[LOGGED_IN]);
            *request.uri_mut() = path.parse().unwrap();
            *request.method_mut() = method;
            let (answer, mints) = ask(request).await;
            assert_refused(&answer, 404, "NOT_FOUND");
            assert_eq!(mints, 0);
        }
    }
}

#[tokio::test]
async fn neither_query_nor_body_names_the_user() {
    let mut request = widget(&[LOGGED_IN, ("content-type", "application/json")]);
    *request.uri_mut() = format!("{PATH}?id=1&role=admin").parse().unwrap();
    *request.body_mut() = Body::from(r#"{"panelUser":{"id":"1","role":"admin"}}"#);
    let (answer, _) = ask(request).await;
    assert_eq!(answer.token().unwrap(), "token of 42 as owner");
}

#[tokio::test]
async fn bodies_are_read_up_to_4_kib() {
    let with = |body: Body| {
        let mut request = widget(&[LOGGED_IN]);
        *request.body_mut() = body;
        request
    };
    let chunked = |chunks: usize| {
        let chunks = (0..chunks).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1024])));
        with(Body::from_stream(stream::iter(chunks)))
    };
    for request in [with(Body::from(vec![b' '; 4096])), chunked(4)] {
        assert_eq!(ask(request).await.0.status, 200);
    }
    for request in [
        with(Body::from(vec![b' '; 4097])),
        with(Body::from(vec![b' '; 10 << 20])),
        chunked(5),
        chunked(10_000),
    ] {
        let (answer, mints) = ask(request).await;
        assert_refused(&answer, 413, "REQUEST_TOO_LARGE");
        assert_eq!(mints, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let mut request = widget(&[LOGGED_IN]);
    *request.body_mut() = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let (answer, mints) = ask(request).await;
    assert_refused(&answer, 408, "REQUEST_INVALID");
    assert_eq!(mints, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let mut request = widget(&[LOGGED_IN]);
    let broken: Result<Bytes, _> = Err(std::io::Error::other("reset"));
    *request.body_mut() = Body::from_stream(stream::iter([broken]));
    let (answer, mints) = ask(request).await;
    assert_refused(&answer, 400, "REQUEST_INVALID");
    assert_eq!(mints, 0);
}

#[tokio::test]
async fn headers_are_read_up_to_16_kib() {
    let padding = "x".repeat(15 * 1024);
    assert_eq!(
        ask(widget(&[LOGGED_IN, ("x-padding", &padding)]))
            .await
            .0
            .status,
        200
    );
    let (answer, mints) = ask(widget(&[LOGGED_IN, ("x-a", &padding), ("x-b", &padding)])).await;
    assert_refused(&answer, 431, "REQUEST_TOO_LARGE");
    assert_eq!(mints, 0);
    let mut request = widget(&[LOGGED_IN]);
    *request.uri_mut() = format!("{PATH}?{padding}{padding}").parse().unwrap();
    assert_refused(&ask(request).await.0, 431, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn a_request_has_at_most_100_header_fields() {
    let ask_with = async |fields: usize| {
        let mut request = widget(&[LOGGED_IN]);
        let missing = fields - request.headers().len();
        for _ in 0..missing {
            request.headers_mut().append("x-many", "".parse().unwrap());
        }
        ask(request).await.0
    };
    assert_eq!(ask_with(100).await.status, 200);
    assert_refused(&ask_with(101).await, 431, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn peers_that_are_slow_with_their_bodies_hold_up_nobody_who_has_none() {
    let router = application(
        endpoint().in_flight(1),
        FakeSessions::default(),
        FakeMinter::default(),
    );
    let slow = || {
        let (head, _) = widget(&[LOGGED_IN]).into_parts();
        let never = stream::pending::<Result<Bytes, std::io::Error>>();
        Request::from_parts(head, Body::from_stream(never))
    };
    let mut waiting = Box::pin(call(&router, slow()));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_refused(&call(&router, slow()).await, 503, "OVERLOADED");
    assert_eq!(call(&router, widget(&[LOGGED_IN])).await.status, 200);
}

#[tokio::test]
async fn the_order_is_path_method_size_cross_site_session() {
    // Each request is wrong in all that comes after, too.
    let all_wrong = |path: &str, method: Method, body: usize, site: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("sec-fetch-site", site)
            .body(Body::from(vec![b' '; body]))
            .unwrap()
    };
    for (request, status) in [
        (all_wrong("/other", Method::PUT, 5000, "cross-site"), 404),
        (all_wrong(PATH, Method::PUT, 5000, "cross-site"), 405),
        (all_wrong(PATH, Method::POST, 5000, "cross-site"), 413),
        (all_wrong(PATH, Method::POST, 0, "cross-site"), 403),
        (all_wrong(PATH, Method::POST, 0, "same-origin"), 401),
    ] {
        assert_eq!(ask(request).await.0.status, status);
    }
}

fn cross_origin(method: Method, origin: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(PATH)
        .header("host", "panel.example")
        .header("sec-fetch-site", "cross-site")
        .header("origin", origin);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn assert_cors(answer: &Answer, origin: Option<&str>) {
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        origin.map(|_| "true")
    );
    assert_eq!(answer.header("vary"), Some("Origin"));
}

#[tokio::test]
async fn allowed_origins_may_read_failures_too() {
    let origin = "https://other.example";
    let (answer, _) = ask(cross_origin(Method::POST, origin, &[LOGGED_IN])).await;
    assert_eq!(answer.status, 200);
    assert_cors(&answer, Some(origin));

    let (answer, _) = ask(cross_origin(Method::POST, origin, &[])).await;
    assert_refused(&answer, 401, "LOGIN_REQUIRED");
    assert_cors(&answer, Some(origin));

    let (answer, _) = ask(cross_origin(Method::PUT, origin, &[])).await;
    assert_refused(&answer, 405, "METHOD_NOT_ALLOWED");
    assert_cors(&answer, Some(origin));

    let mut elsewhere = cross_origin(Method::POST, origin, &[]);
    *elsewhere.uri_mut() = "/other".parse().unwrap();
    let (answer, _) = ask(elsewhere).await;
    assert_refused(&answer, 404, "NOT_FOUND");
    assert_cors(&answer, Some(origin));

    let (answer, mints) = ask(cross_origin(
        Method::POST,
        "https://evil.example",
        &[LOGGED_IN],
    ))
    .await;
    assert_refused(&answer, 403, "CROSS_SITE_REQUEST");
    assert_cors(&answer, None);
    assert_eq!(mints, 0);
}

#[tokio::test]
async fn preflights_are_answered_for_allowed_origins_alone() {
    let wants = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let origin = "https://other.example";
    let (answer, mints) = ask(cross_origin(Method::OPTIONS, origin, &wants)).await;
    assert_eq!(answer.status, 204);
    assert!(answer.body.is_empty());
    assert_cors(&answer, Some(origin));
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("POST, OPTIONS")
    );
    let headers = answer.header("access-control-allow-headers").unwrap();
    // The last two are what OpenTelemetry adds to each call of a page; they go no further.
    for header in [
        "content-type",
        "authorization",
        "x-requested-with",
        "traceparent",
        "tracestate",
        "baggage",
    ] {
        assert!(
            headers.split(", ").any(|allowed| allowed == header),
            "{header}"
        );
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(mints, 0);

    for origin in ["https://evil.example", "null", "https://panel.example"] {
        let (answer, mints) = ask(cross_origin(Method::OPTIONS, origin, &wants)).await;
        assert_refused(&answer, 403, "CROSS_SITE_REQUEST");
        assert_cors(&answer, None);
        assert_eq!(mints, 0);
    }
}

#[tokio::test]
async fn failures_of_the_service_are_answered_by_their_row() {
    let later = Some(Duration::from_millis(2_500));
    let failures = [
        (Reason::RoleNotAllowed.into(), 403, "role not allowed", None),
        (
            Reason::TenantKeyRejected.into(),
            502,
            "ask2do auth failed",
            None,
        ),
        (
            Reason::ServiceUnavailable.into(),
            502,
            "ask2do auth failed",
            None,
        ),
        (
            Reason::CloudTimeout.into(),
            504,
            "ask2do auth timed out",
            None,
        ),
        (
            MintFailure {
                reason: Reason::RateLimited,
                retry_after: later,
            },
            429,
            "too many requests",
            Some("3"),
        ),
        (
            MintFailure {
                reason: Reason::CloudRateLimited,
                retry_after: Some(Duration::from_secs(30)),
            },
            503,
            "ask2do is busy",
            Some("30"),
        ),
        (Reason::Overloaded.into(), 503, "overloaded", Some("1")),
    ];
    for (failure, status, error, retry_after) in failures {
        let minter = FakeMinter::failing(failure);
        let router = application(endpoint(), FakeSessions::default(), minter);
        let answer = call(&router, widget(&[LOGGED_IN])).await;
        assert_refused(&answer, status, failure.reason.as_str());
        assert_eq!(answer.json()["error"], error);
        assert_eq!(answer.header("retry-after"), retry_after);
    }
}

/// A session check that takes its time, or fails.
struct Held(Arc<Semaphore>);

impl SessionCheck for Held {
    async fn check(&self, _: &Parts) -> Result<SessionUser, SessionError> {
        let _permit = self.0.acquire().await.unwrap();
        Ok(SessionUser::new("7", ["staff", "superuser"]).unwrap())
    }

    fn is_ambient(&self, _: &HeaderMap) -> bool {
        false
    }
}

#[tokio::test]
async fn one_request_too_many_is_turned_away_and_the_others_are_served() {
    let minter = FakeMinter::default();
    let gate = Arc::new(Semaphore::new(0));
    let role_map: RoleMap = [("superuser", "owner")].into_iter().collect();
    let endpoint = endpoint().in_flight(2).role_map(role_map);
    let router = application(endpoint, Held(gate.clone()), minter.clone());
    let held: Vec<_> = (0..2)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { call(&router, widget(&[LOGGED_IN])).await })
        })
        .collect();
    // Poll until both hold their permits: a third is then refused.
    let refused = loop {
        tokio::task::yield_now().await;
        let third = call(&router, widget(&[LOGGED_IN]));
        if let Some(answer) = futures_util::FutureExt::now_or_never(third) {
            break answer;
        }
    };
    assert_refused(&refused, 503, "OVERLOADED");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // A cross-site request is refused as one all the same.
    let cross = cross_origin(Method::POST, "https://evil.example", &[LOGGED_IN]);
    assert_eq!(call(&router, cross).await.code(), "CROSS_SITE_REQUEST");
    gate.add_permits(1);
    for held in held {
        assert_eq!(held.await.unwrap().token().unwrap(), "token of 7 as owner");
    }
    assert_eq!(minter.count(), 2);
    assert_eq!(call(&router, widget(&[LOGGED_IN])).await.status, 200);
}

#[tokio::test]
async fn the_browsers_trace_id_names_the_request() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{id}-00f067aa0ba902b7-01");
    let (answer, _) = ask(widget(&[("traceparent", &traceparent)])).await;
    assert_eq!(answer.json()["requestId"], id);
    let (answer, _) = ask(widget(&[("traceparent", "00-0-0-00")])).await;
    assert_refused(&answer, 401, "LOGIN_REQUIRED");
}
