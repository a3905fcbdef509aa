//! Every way in which the cloud fails, and its row of the contract's table.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ask2do_token_playground::cloud::SCENARIOS;
use ask2do_token_tests::caller::minted;
use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{Setup, Shared, World, cloud};
use tokio::net::TcpListener;
use tonic::Code;

/// At least, and at most.
pub(crate) type Seconds = (u64, u64);

/// What a caller gets.
#[derive(Clone, Copy)]
pub(crate) enum Row {
    /// A token that lives so many seconds.
    Token(Seconds),
    /// A refusal: code, reason, and after how many seconds to come back.
    Refused(Code, &'static str, Option<Seconds>),
}

use Row::{Refused, Token};

const LIVE: Row = Token((890, 901));
const UNAVAILABLE: Row = Refused(Code::Unavailable, "CLOUD_UNAVAILABLE", None);
const INVALID: Row = Refused(Code::Internal, "CLOUD_RESPONSE_INVALID", None);
const TIMEOUT: Row = Refused(Code::DeadlineExceeded, "CLOUD_TIMEOUT", None);
const KEY: Row = Refused(Code::FailedPrecondition, "TENANT_KEY_REJECTED", None);
const ROLE: Row = Refused(Code::PermissionDenied, "ROLE_NOT_ALLOWED", None);

const fn patience(seconds: Option<Seconds>) -> Row {
    Refused(Code::Unavailable, "CLOUD_RATE_LIMITED", seconds)
}

/// Panel id, row, and calls at the cloud. Each example of the simulated cloud's table is among them.
pub(crate) const ROWS: &[(&str, Row, u64)] = &[
    ("slow-7s", TIMEOUT, 1),
    ("slow-50ms", LIVE, 1),
    ("status-200", INVALID, 1),
    ("status-204", INVALID, 1),
    ("status-301", INVALID, 1),
    ("status-400", INVALID, 1),
    ("status-401", KEY, 1),
    ("status-403", ROLE, 1),
    ("status-404", INVALID, 1),
    ("status-413", INVALID, 1),
    ("status-422", INVALID, 1),
    ("status-500", UNAVAILABLE, 1),
    ("status-501", UNAVAILABLE, 1),
    ("status-502", UNAVAILABLE, 2),
    ("status-503", UNAVAILABLE, 2),
    ("status-504", UNAVAILABLE, 2),
    ("status-599", UNAVAILABLE, 1),
    ("status-503-retry-after-1", UNAVAILABLE, 2),
    ("status-429", patience(None), 1),
    ("status-429-retry-after-2", patience(Some((2, 2))), 1),
    ("status-429-retry-after-86400", patience(Some((30, 30))), 1),
    ("status-429-retry-after-date", patience(Some((3, 5))), 1),
    ("status-429-retry-after-garbage", patience(None), 1),
    ("flaky-once", LIVE, 2),
    ("reset", UNAVAILABLE, 2),
    ("reset-once", LIVE, 2),
    ("close", UNAVAILABLE, 2),
    ("close-once", LIVE, 2),
    ("truncated", UNAVAILABLE, 2),
    ("drip", TIMEOUT, 1),
    ("drip-2ms", LIVE, 1),
    ("garbage", INVALID, 1),
    ("huge", INVALID, 1),
    ("redirect", INVALID, 1),
    ("redirect-307", INVALID, 1),
    ("waf-403", INVALID, 1),
    ("waf-403-json", INVALID, 1),
    ("proxy-401", INVALID, 1),
    ("skew-120s", LIVE, 1),
    ("expired", INVALID, 1),
    ("alg-none", INVALID, 1),
    ("alg-none-mixed-case", INVALID, 1),
    ("wrong-sub", INVALID, 1),
    ("wrong-role", INVALID, 1),
    ("malformed-token", INVALID, 1),
    // Nobody has the vendor's key to verify it with.
    ("bad-signature", LIVE, 1),
    ("token-missing", INVALID, 1),
    ("exp-missing", LIVE, 1),
    // The earlier of the two counts.
    ("exp-mismatch", Token((590, 601)), 1),
    ("expires-at-garbage", INVALID, 1),
    ("expires-at-missing", INVALID, 1),
    ("expires-at-offset", LIVE, 1),
    ("short-lived-30s", Token((20, 31)), 1),
];

/// Words of the simulated cloud's bodies: none of them may reach a caller.
const UPSTREAM: &[&str] = &[
    "simulated",
    "doctype",
    "<h1>",
    "Ray",
    "blocked",
    "invalid tenant key",
    "localhost",
];

pub(crate) fn add(suite: &mut Suite) {
    suite.case("cloud: each scenario has its row", || async {
        let rows: BTreeSet<_> = ROWS.iter().map(|(id, ..)| *id).collect();
        for scenario in SCENARIOS {
            assert!(rows.contains(scenario.example), "{}", scenario.example);
        }
    });
    // What is to run out of time does so soon, and what is to be in time has plenty of it.
    let hurried = Shared::new(|world: &World| world.server().set("cloud.timeout", "2s"));
    let patient = Shared::new(|world: &World| world.server().set("cloud.timeout", "60s"));
    for &(id, row, calls) in ROWS {
        let runs_out = matches!(row, Refused(Code::DeadlineExceeded, ..));
        let shared = if runs_out { &hurried } else { &patient }.clone();
        suite.case(format!("cloud: {id}"), move || async move {
            let (world, server) = shared.get().await;
            check(world, server.connect(&world.panel()).await, id, row).await;
            assert_eq!(world.cloud.calls_for(id), calls);
            assert_eq!(world.cloud.calls().redirects_followed, 0);
        });
    }
    add_unreachable(suite);
    add_accounts(suite);
}

async fn check(
    world: &World,
    connection: ask2do_token_tests::caller::Connection,
    id: &str,
    row: Row,
) {
    let reply = connection.mint(id, "admin").await;
    match row {
        Token(seconds) => {
            let token = minted(&reply);
            assert_eq!(token.token.split('.').count(), 3);
            let ends = u64::try_from(token.expires_at.unwrap().seconds).unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let left = ends.saturating_sub(now.as_secs());
            assert!(is_in(left, seconds), "{left} s left");
        }
        Refused(code, reason, retry_after) => {
            let refusal = reply.refused(code, reason);
            let found = refusal
                .retry_after
                .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
            assert_eq!(found.is_some(), retry_after.is_some(), "{refusal:?}");
            if let (Some(found), Some(range)) = (found, retry_after) {
                assert!(is_in(found, range), "{found} s");
            }
            let shown = reply.shown();
            for word in UPSTREAM.iter().chain([&world.cloud.url().as_str()]) {
                assert!(!shown.contains(word), "{word:?} in {shown}");
            }
        }
    }
}

fn is_in(seconds: u64, (least, most): Seconds) -> bool {
    (least..=most).contains(&seconds)
}

/// How a cloud is out of reach, and what the server's metric calls it.
fn add_unreachable(suite: &mut Suite) {
    suite.case("cloud: it is down", || async {
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        unreachable(url("localhost", gone), "connect", UNAVAILABLE).await;
    });
    suite.case("cloud: its name does not resolve", || async {
        // RFC 6761 keeps it from ever existing.
        unreachable("https://cloud.invalid".to_owned(), "dns", UNAVAILABLE).await;
    });
    suite.case("cloud: its certificate is another CA's", || async {
        let other = cloud(&Authority::new("the cloud's CA")).await;
        unreachable(other.url(), "certificate", UNAVAILABLE).await;
        assert_eq!(other.calls().total, 0);
    });
    suite.case("cloud: its certificate is for another name", || async {
        let world = World::new().await;
        let issued = world
            .clouds
            .issue(&Leaf::client().dns("cloud.test").for_servers());
        let tls = ask2do_token_playground::certificates::https_server(
            issued.certificate.as_bytes(),
            issued.key.as_bytes(),
        );
        let config = ask2do_token_playground::cloud::CloudConfig::https("key", tls.unwrap());
        let other = ask2do_token_playground::cloud::Cloud::start(config)
            .await
            .unwrap();
        let setup = world.server().set("cloud.url", &other.url());
        refused(&world, setup, "certificate", UNAVAILABLE).await;
        assert_eq!(other.calls().total, 0);
    });
    suite.case("cloud: it does not speak TLS", || async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(
                    &mut stream,
                    b"HTTP/1.1 400 Bad Request\r\n\r\n",
                )
                .await;
            }
        });
        unreachable(url("localhost", address), "tls", UNAVAILABLE).await;
    });
    suite.case("cloud: it accepts and says nothing", || async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(accepted) = listener.accept().await {
                held.push(accepted);
            }
        });
        unreachable(url("localhost", address), "connect_timeout", UNAVAILABLE).await;
    });
}

async fn unreachable(url: String, cause: &str, row: Row) {
    let world = World::new().await;
    let setup = world.server().set("cloud.url", &url);
    refused(&world, setup, cause, row).await;
    assert_eq!(world.cloud.calls().connections, 0);
}

async fn refused(world: &World, setup: Setup, cause: &str, row: Row) {
    let server = setup.start().await;
    check(world, server.connect(&world.panel()).await, "42", row).await;
    let Refused(_, reason, _) = row else {
        unreachable!("only refusals have a cause");
    };
    let series = format!(r#"ask2do_cloud_failures_total{{reason="{reason}",cause="{cause}"}}"#);
    assert!(
        server.metric(&series).await >= 1.0,
        "{}",
        server.get("/metrics").await.1
    );
    // Kubernetes must not restart or drain what waits for somebody else.
    assert_eq!(server.get("/readyz").await.0, 200);
}

fn url(host: &str, address: SocketAddr) -> String {
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    format!("https://{host}:{}", address.port())
}

/// What the operator finds out of it.
fn add_accounts(suite: &mut Suite) {
    suite.case(
        "cloud: a wrong key is the key's fault, on every surface",
        || async {
            let world = World::new().await;
            let mut server = world
                .server()
                .file("tenant-key", "tk_revoked\n")
                .start()
                .await;
            check(&world, server.connect(&world.panel()).await, "42", KEY).await;
            let series = r#"ask2do_mints_total{caller="panel",reason="TENANT_KEY_REJECTED"}"#;
            server.metric_is(series, 1.0).await;
            let is_told = |record: &serde_json::Value| {
                record["cause"] == "key_rejected" && record["reason"] == "TENANT_KEY_REJECTED"
            };
            server.record("the key is rejected", is_told).await;
        },
    );
    suite.case("cloud: a firewall's page is not the vendor's word", || async {
        let world = World::new().await;
        let mut server = world.server().start().await;
        check(&world, server.connect(&world.panel()).await, "waf-403", INVALID).await;
        let series = r#"ask2do_cloud_failures_total{reason="CLOUD_RESPONSE_INVALID",cause="not_the_vendor"}"#;
        server.metric_is(series, 1.0).await;
        let is_told = |record: &serde_json::Value| record["cause"] == "not_the_vendor";
        server.record("not the vendor", is_told).await;
    });
    suite.case("cloud: an odd expiry is passed on and counted", || async {
        let world = World::new().await;
        let mut server = world.server().start().await;
        let connection = server.connect(&world.panel()).await;
        minted(&connection.mint("exp-mismatch", "admin").await);
        minted(&connection.mint("exp-missing", "admin").await);
        let text = server.get("/metrics").await.1;
        let counted = text.lines().filter(|line| {
            line.starts_with("ask2do_cloud_token_expiry_mismatches_total{") && line.ends_with(" 1")
        });
        assert_eq!(counted.count(), 2, "{text}");
        let is_told = |record: &serde_json::Value| record["level"] == "WARN";
        server.record("a warning", is_told).await;
    });
    suite.case("cloud: its clock's lead is a metric", || async {
        let world = World::new().await;
        let server = world.server().start().await;
        let connection = server.connect(&world.panel()).await;
        minted(&connection.mint("skew-120s", "admin").await);
        let ahead = server.metric("ask2do_cloud_clock_skew_seconds").await;
        assert!((115.0..=121.0).contains(&ahead), "{ahead}");
    });
    suite.case(
        "cloud: the trace goes along, and nothing else of it",
        || async {
            let world = World::new().await;
            let server = world.server().start().await;
            let connection = server.connect(&world.panel()).await;
            let mut request = ask2do_token_tests::caller::request(
                ask2do_token_tests::caller::MINT_TOKEN,
                ask2do_token_tests::caller::framed(&ask2do_token_tests::caller::user(
                    "42", "admin",
                )),
            );
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
            let headers = request.headers_mut();
            let parent = format!("00-{trace}-00f067aa0ba902b7-01");
            headers.insert("traceparent", parent.parse().unwrap());
            headers.insert("baggage", "user=secret".parse().unwrap());
            minted(&connection.send(request).await.unwrap());
            let call = world.cloud.last_call().unwrap();
            assert_eq!(call.headers["traceparent"].split('-').nth(1), Some(trace));
            assert!(!call.headers.contains_key("baggage"), "{:?}", call.headers);
        },
    );
    suite.case("cloud: the deadline holds over a retry", || async {
        let world = World::new().await;
        let server = world.server().set("cloud.timeout", "1s").start().await;
        let connection = server.connect(&world.panel()).await;
        let began = tokio::time::Instant::now();
        let reply = connection.mint("slow-7s", "admin").await;
        reply.refused(Code::DeadlineExceeded, "CLOUD_TIMEOUT");
        assert!(
            began.elapsed() < Duration::from_secs(7),
            "it did not wait for the cloud"
        );
    });
}
