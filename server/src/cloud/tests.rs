//! The cloud's client against a cloud that misbehaves: real sockets, scripted bytes.

use std::io;
use std::net::SocketAddr;

use ask2do_token_runtime::metrics::{Format, Metrics};
use ask2do_token_tls::Polled;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

use super::*;

mod connection;
#[cfg(target_os = "linux")]
mod memory;
mod observed;
mod stub;
mod tls;

use stub::{Act, Stub, answer, granted, header};

const KEY: &str = "canary-key-7c1e";
const TIMEOUT: Duration = Duration::from_secs(5);

fn user() -> PanelUser {
    PanelUser::parse("42".to_owned(), "admin".to_owned()).unwrap()
}

fn settings(url: &str) -> Settings {
    Settings {
        endpoint: Endpoint::new(&url.parse().unwrap()).unwrap(),
        proxy: None,
        extra_roots: None,
        timeout: TIMEOUT,
        send_traceparent: true,
    }
}

fn cloud_with(settings: Settings) -> Cloud {
    let key = Watched::fixed(TenantKey::from_bytes(KEY.as_bytes()).unwrap());
    Cloud::new(settings, key, Arc::default()).unwrap()
}

fn cloud(address: SocketAddr) -> Cloud {
    cloud_with(settings(&format!("http://{address}")))
}

/// Mints with all the time that the configuration gives.
async fn mint(cloud: &Cloud) -> Result<MintedToken, MintError> {
    cloud.mint(&user(), Instant::now() + 2 * TIMEOUT).await
}

/// What `/metrics` says, for [`value`].
fn metrics(cloud: &Cloud) -> String {
    let mut metrics = Metrics::new("test", "0");
    cloud.metrics.register(&mut metrics);
    metrics.encode(Format::OpenMetrics)
}

/// A sample's value; 0 where there is none.
fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
    line.map_or(0.0, |rest| {
        let value = rest.split_whitespace().next().unwrap();
        value.parse().unwrap()
    })
}

#[tokio::test]
async fn a_mint_is_one_request_as_the_vendor_describes_it() {
    let stub = Stub::plain(|_| Act::Answer(granted())).await;
    let minted = mint(&cloud(stub.address)).await.unwrap();
    assert_eq!(minted.token.expose_secret().split('.').count(), 3);
    let request = stub.requests().remove(0);
    let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"tenantKey": KEY, "panelUser": {"id": "42", "role": "admin"}})
    );
    let mut lines = request.head.lines();
    assert_eq!(lines.next(), Some("POST /auth/token HTTP/1.1"));
    let mut names: Vec<_> = lines
        .filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
        .filter(|name| name != "traceparent")
        .collect();
    names.sort();
    // No cookie, no referer, no accepted encoding, no baggage.
    let expected = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        header(&request.head, "user-agent"),
        Some("ask2do-token-server/0.1.0")
    );
    assert_eq!(
        header(&request.head, "content-type"),
        Some("application/json")
    );
}

/// Each answer, what it is for the caller, the cause that log and metric name, and how many requests
/// it takes.
fn answers() -> Vec<(Vec<u8>, MintError, &'static str, usize)> {
    use MintError::{
        CloudResponseInvalid as Invalid, CloudUnavailable as Unavailable, RoleNotAllowed,
        TenantKeyRejected,
    };
    let json = "Content-Type: application/json\r\n";
    let html = "Content-Type: text/html\r\n";
    let key = r#"{"error":"invalid tenant key"}"#;
    let role = r#"{"error":"role not allowed"}"#;
    let portal = "<html>Please log in</html>";
    let large = "x".repeat(16 * 1024 + 1);
    let limited = |seconds: Option<u64>| MintError::CloudRateLimited {
        retry_after: seconds.map(Duration::from_secs),
    };
    vec![
        // The vendor's refusals.
        (
            answer("401 Unauthorized", json, key),
            TenantKeyRejected,
            "key_rejected",
            1,
        ),
        (
            answer(
                "401 Unauthorized",
                "",
                r#"{"error":"tenant paused","id":1}"#,
            ),
            TenantKeyRejected,
            "key_rejected",
            1,
        ),
        (
            answer("403 Forbidden", json, role),
            RoleNotAllowed,
            "role_refused",
            1,
        ),
        // Somebody else's.
        (
            answer("401 Unauthorized", html, portal),
            Invalid,
            "not_the_vendor",
            1,
        ),
        (
            answer("403 Forbidden", html, portal),
            Invalid,
            "not_the_vendor",
            1,
        ),
        (
            answer("403 Forbidden", json, ""),
            Invalid,
            "not_the_vendor",
            1,
        ),
        (
            answer("403 Forbidden", json, r#"{"error":{"code":1020}}"#),
            Invalid,
            "not_the_vendor",
            1,
        ),
        (
            answer("403 Forbidden", json, r#"{"message":"Forbidden"}"#),
            Invalid,
            "not_the_vendor",
            1,
        ),
        (
            answer("403 Forbidden", json, r#"["error"]"#),
            Invalid,
            "not_the_vendor",
            1,
        ),
        (
            answer("403 Forbidden", json, &large),
            Invalid,
            "not_the_vendor",
            1,
        ),
        // Too many.
        (
            answer("429 Too Many Requests", "Retry-After: 7\r\n", ""),
            limited(Some(7)),
            "rate_limited",
            1,
        ),
        (
            answer("429 Too Many Requests", "Retry-After: 86400\r\n", ""),
            limited(Some(30)),
            "rate_limited",
            1,
        ),
        (
            answer("429 Too Many Requests", "Retry-After: soon\r\n", portal),
            limited(None),
            "rate_limited",
            1,
        ),
        (
            answer("429 Too Many Requests", "", key),
            limited(None),
            "rate_limited",
            1,
        ),
        // Its failures, those that are worth a second request among them.
        (
            answer("500 Internal Server Error", json, key),
            Unavailable,
            "status_500",
            1,
        ),
        (
            answer("501 Not Implemented", json, key),
            Unavailable,
            "status_5xx",
            1,
        ),
        (
            answer("502 Bad Gateway", html, portal),
            Unavailable,
            "status_502",
            2,
        ),
        (
            answer("503 Service Unavailable", "", ""),
            Unavailable,
            "status_503",
            2,
        ),
        (
            answer("504 Gateway Timeout", "", ""),
            Unavailable,
            "status_504",
            2,
        ),
        (answer("599 Odd", "", ""), Unavailable, "status_5xx", 1),
        // Answers that nobody expects.
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
                .to_vec(),
            Invalid,
            "status",
            1,
        ),
        (answer("201 Created", json, key), Invalid, "status", 1),
        (
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            Invalid,
            "status",
            1,
        ),
        (
            answer("302 Found", "Location: /login\r\n", ""),
            Invalid,
            "redirect",
            1,
        ),
        (
            answer("307 Temporary Redirect", "Location: /auth/token\r\n", ""),
            Invalid,
            "redirect",
            1,
        ),
        (answer("400 Bad Request", json, key), Invalid, "status", 1),
        (answer("404 Not Found", html, portal), Invalid, "status", 1),
        (
            answer("407 Proxy Authentication Required", html, portal),
            Invalid,
            "status",
            1,
        ),
        (answer("418 I'm a teapot", json, key), Invalid, "status", 1),
        (answer("999 Beyond", json, key), Invalid, "status", 1),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Invalid, "not_http", 1),
        // A 200 that is no token.
        (answer("200 OK", html, portal), Invalid, "body", 1),
        (answer("200 OK", json, ""), Invalid, "body", 1),
        (answer("200 OK", json, key), Invalid, "body", 1),
        (
            answer(
                "200 OK",
                json,
                r#"{"token":"canary","expiresAt":"2026-05-02T13:55:00Z"}"#,
            ),
            Invalid,
            "token_parts",
            1,
        ),
        (answer("200 OK", json, &large), Invalid, "body_too_large", 1),
    ]
}

#[tokio::test]
async fn every_answer_has_its_row() {
    for (bytes, error, cause, requests) in answers() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let stub = Stub::plain(move |_| Act::Answer(bytes.clone())).await;
        let cloud = cloud(stub.address);
        assert_eq!(mint(&cloud).await.unwrap_err(), error, "{shown}");
        assert_eq!(stub.requests().len(), requests, "{shown}");
        let metrics = metrics(&cloud);
        let reason = error.reason();
        let failures =
            format!(r#"ask2do_cloud_failures_total{{reason="{reason}",cause="{cause}"}}"#);
        assert_eq!(
            value(&metrics, &failures),
            requests as f64,
            "{shown}\n{metrics}"
        );
        let retries = format!(r#"ask2do_cloud_retries_total{{cause="{cause}"}}"#);
        assert_eq!(value(&metrics, &retries), requests as f64 - 1.0, "{shown}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_read_to_its_bound() {
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..17 {
        chunked.extend(b"400\r\n");
        chunked.extend([b'x'; 1024]);
        chunked.extend(b"\r\n");
    }
    // Never ended: only who stops at the bound comes back from this.
    let stub = Stub::plain(move |_| Act::Drip(chunked.clone())).await;
    let cloud = cloud(stub.address);
    let error = mint(&cloud).await.unwrap_err();
    assert_eq!(error, MintError::CloudResponseInvalid);
    let sample =
        r#"ask2do_cloud_failures_total{reason="CLOUD_RESPONSE_INVALID",cause="body_too_large"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 1.0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Stub::plain(|_| Act::Answer(granted())).await;
    let location = format!("Location: http://{}/auth/token\r\n", other.address);
    let stub = Stub::plain(move |_| Act::Answer(answer("308 Permanent Redirect", &location, "")));
    let error = mint(&cloud(stub.await.address)).await.unwrap_err();
    assert_eq!(error, MintError::CloudResponseInvalid);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn hints_before_the_answer_are_passed_over() {
    let mut bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec();
    bytes.extend(granted());
    let stub = Stub::plain(move |_| Act::Answer(bytes.clone())).await;
    assert!(mint(&cloud(stub.address)).await.is_ok());
}

#[tokio::test]
async fn the_clocks_skew_and_an_odd_expiry_are_counted() {
    let hour = Duration::from_secs(3600);
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + hour);
    // The token ends a quarter of an hour after it came; the answer says half a day.
    let expires_at = time::OffsetDateTime::now_utc() + 12 * hour;
    let expires_at = expires_at
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let body = serde_json::json!({"token": stub::token(), "expiresAt": expires_at}).to_string();
    let bytes = answer("200 OK", &format!("Date: {date}\r\n"), &body);
    let stub = Stub::plain(move |_| Act::Answer(bytes.clone())).await;
    let cloud = cloud(stub.address);
    let minted = mint(&cloud).await.unwrap();
    assert!(minted.expires_at < time::OffsetDateTime::now_utc() + hour);
    let metrics = metrics(&cloud);
    let skew = value(&metrics, "ask2do_cloud_clock_skew_seconds");
    assert!((skew - 3600.0).abs() <= 2.0, "{skew}");
    let sample = r#"ask2do_cloud_token_expiry_mismatches_total{kind="apart"}"#;
    assert_eq!(value(&metrics, sample), 1.0);
    let sample = r#"ask2do_cloud_request_duration_seconds_count{outcome="OK"}"#;
    assert_eq!(value(&metrics, sample), 1.0);
}

/// Lets the clock run on by itself once the request has come: only the deadline is left to wait for.
async fn mint_with_a_clock_that_runs_on(
    stub: &Stub,
    cloud: &Cloud,
    limit: Duration,
) -> (MintError, Duration) {
    let started = Instant::now();
    let came = stub.requests_came(1);
    tokio::spawn(async move {
        came.await;
        tokio::time::pause();
    });
    let error = cloud.mint(&user(), started + limit).await.unwrap_err();
    (error, started.elapsed())
}

#[tokio::test]
async fn a_cloud_that_hangs_is_waited_for_until_the_timeout() {
    let stub = Stub::plain(|_| Act::Hang).await;
    let (error, took) =
        mint_with_a_clock_that_runs_on(&stub, &cloud(stub.address), 2 * TIMEOUT).await;
    assert_eq!(error, MintError::CloudTimeout);
    assert!(
        took >= TIMEOUT && took < TIMEOUT + Duration::from_millis(500),
        "{took:?}"
    );
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn the_callers_deadline_is_kept_where_it_is_the_earlier_one() {
    let stub = Stub::plain(|_| Act::Hang).await;
    let limit = Duration::from_millis(1300);
    let (error, took) = mint_with_a_clock_that_runs_on(&stub, &cloud(stub.address), limit).await;
    assert_eq!(error, MintError::CloudTimeout);
    assert!(
        took >= limit && took < limit + Duration::from_millis(500),
        "{took:?}"
    );
}

#[tokio::test]
async fn an_answer_that_drips_ends_at_the_timeout_too() {
    for bytes in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{".to_vec(),
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 900\r\n\r\n{".to_vec(),
        b"HTTP/1.1 200 OK\r\nX-Header: ".to_vec(),
    ] {
        let stub = Stub::plain(move |_| Act::Drip(bytes.clone())).await;
        let cloud = cloud(stub.address);
        let (error, took) = mint_with_a_clock_that_runs_on(&stub, &cloud, 2 * TIMEOUT).await;
        assert_eq!(error, MintError::CloudTimeout);
        assert!(
            took >= TIMEOUT && took < TIMEOUT + Duration::from_millis(500),
            "{took:?}"
        );
        tokio::time::resume();
    }
}

#[tokio::test]
async fn without_time_nothing_is_sent() {
    let stub = Stub::plain(|_| Act::Answer(granted())).await;
    let error = cloud(stub.address).mint(&user(), Instant::now()).await;
    assert_eq!(error.unwrap_err(), MintError::CloudTimeout);
    assert_eq!(stub.connections(), 0);
}

#[tokio::test]
async fn a_retry_that_would_not_end_by_the_deadline_is_not_begun() {
    let stub = Stub::plain(|_| Act::Answer(answer("503 Busy", "", ""))).await;
    let cloud = cloud(stub.address);
    let deadline = Instant::now() + SHORTEST_ATTEMPT;
    let error = cloud.mint(&user(), deadline).await.unwrap_err();
    assert_eq!(error, MintError::CloudUnavailable);
    assert_eq!(stub.requests().len(), 1);
    let sample = r#"ask2do_cloud_retries_skipped_total{cause="deadline"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 1.0);
}

#[tokio::test]
async fn one_retry_brings_the_token_where_the_first_request_met_a_passing_fault() {
    for first in [
        Act::Answer(answer("503 Service Unavailable", "", "")),
        Act::Reset,
        Act::AnswerAndClose(Vec::new()),
        Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{".to_vec()),
        Act::AnswerAndClose(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 900\r\n\r\n{".to_vec()),
    ] {
        let shown = format!("{first:?}");
        let stub = Stub::plain(move |number| match number {
            0 => first.clone(),
            _ => Act::Answer(granted()),
        });
        let stub = stub.await;
        let result = mint(&cloud(stub.address)).await;
        assert!(result.is_ok(), "{shown}: {result:?}");
        assert_eq!(stub.requests().len(), 2, "{shown}");
    }
}

#[tokio::test]
async fn a_second_failure_is_final() {
    for act in [Act::Reset, Act::AnswerAndClose(Vec::new())] {
        let stub = Stub::plain(move |_| act.clone()).await;
        let error = mint(&cloud(stub.address)).await.unwrap_err();
        assert_eq!(error, MintError::CloudUnavailable);
        assert_eq!(stub.requests().len(), 2);
    }
}

#[tokio::test]
async fn what_the_retry_is_answered_is_what_counts() {
    let stub = Stub::plain(|number| match number {
        0 => Act::Reset,
        _ => Act::Answer(answer("401 No", "", r#"{"error":"invalid tenant key"}"#)),
    });
    let error = mint(&cloud(stub.await.address)).await.unwrap_err();
    assert_eq!(error, MintError::TenantKeyRejected);
}

#[tokio::test]
async fn retries_have_a_budget() {
    const MINTS: usize = 200;
    let stub = Stub::plain(|_| Act::Answer(answer("503 Busy", "", ""))).await;
    let cloud = cloud(stub.address);
    let mints = (0..MINTS).map(|_| mint(&cloud));
    for result in futures_util::future::join_all(mints).await {
        assert_eq!(result.unwrap_err(), MintError::CloudUnavailable);
    }
    let retries = stub.requests().len() - MINTS;
    let floor = (BUDGET_FLOOR_PER_SECOND * 10) as usize;
    assert!((floor..=floor + MINTS / 5).contains(&retries), "{retries}");
    let metrics = metrics(&cloud);
    let made = value(
        &metrics,
        r#"ask2do_cloud_retries_total{cause="status_503"}"#,
    );
    let skipped = value(
        &metrics,
        r#"ask2do_cloud_retries_skipped_total{cause="budget"}"#,
    );
    assert_eq!(made, retries as f64);
    assert_eq!(made + skipped, MINTS as f64);
}

#[tokio::test]
async fn a_cloud_that_refuses_connections_is_unavailable_after_a_second_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let cloud = cloud(address);
    assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
    let sample = r#"ask2do_cloud_failures_total{reason="CLOUD_UNAVAILABLE",cause="connect"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 2.0);
}

#[tokio::test]
async fn a_name_without_an_address_is_unavailable() {
    // RFC 6761 reserves the name: no resolver has an address for it.
    let cloud = cloud_with(settings("https://cloud.invalid"));
    assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
    let sample = r#"ask2do_cloud_failures_total{reason="CLOUD_UNAVAILABLE",cause="dns"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_takes_two_seconds_and_the_retry_fits() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let resolver = BoundedResolver::new(move |_| {
        let _ended = held.lock().unwrap().recv();
        Err(io::Error::other("too late"))
    });
    let key = Watched::fixed(TenantKey::from_bytes(KEY.as_bytes()).unwrap());
    let settings = settings("https://cloud.example");
    let cloud = Cloud::with_resolver(settings, key, Arc::default(), resolver).unwrap();
    let started = Instant::now();
    assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
    let took = started.elapsed();
    assert!(took > Duration::from_secs(4) && took < TIMEOUT, "{took:?}");
    let sample =
        r#"ask2do_cloud_failures_total{reason="CLOUD_UNAVAILABLE",cause="connect_timeout"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 2.0);
    drop(hold);
}

#[tokio::test]
async fn the_key_that_counts_is_the_one_on_disk() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tenant-key");
    std::fs::write(&path, "old\n")?;
    let (key, mut reloader) = TenantKey::watch(path.clone()).unwrap();
    assert!(key.current().modified().is_some());
    let stub = Stub::plain(|_| Act::Answer(granted())).await;
    let settings = settings(&format!("http://{}", stub.address));
    let cloud = Cloud::new(settings, key, Arc::default()).unwrap();
    // The third content is no key: the second one stays.
    for content in ["old\n", "new\n", "not a key\n"] {
        std::fs::write(&path, content)?;
        let polled = reloader.poll().await;
        assert_eq!(
            matches!(polled, Polled::Reloaded),
            content == "new\n",
            "{polled:?}"
        );
        mint(&cloud).await.unwrap();
    }
    let sent: Vec<_> = stub
        .requests()
        .iter()
        .map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).unwrap())
        .map(|body| body["tenantKey"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["old", "new", "new"]);
    Ok(())
}
