//! Which connection a request takes, and by which way.

use std::process::Command;

use super::*;

#[tokio::test]
async fn connections_are_used_again_whatever_was_answered() {
    let key = r#"{"error":"invalid tenant key"}"#;
    let stub = Stub::plain(move |number| {
        Act::Answer(match number {
            0 => answer("401 Unauthorized", "", key),
            1 => answer("500 Internal Server Error", "", "<html>"),
            2 => answer("429 Too Many Requests", "Retry-After: 1\r\n", "<html>"),
            _ => granted(),
        })
    });
    let stub = stub.await;
    let cloud = cloud(stub.address);
    for _ in 0..5 {
        let _whatever = mint(&cloud).await;
    }
    assert_eq!(stub.requests().len(), 5);
    assert_eq!(stub.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_the_cloud_closed_costs_nothing() {
    let stub = Stub::plain(|_| Act::AnswerAndClose(granted())).await;
    let cloud = cloud(stub.address);
    for _ in 0..5 {
        assert!(mint(&cloud).await.is_ok());
    }
    assert_eq!(stub.requests().len(), 5);
}

#[tokio::test]
async fn a_reset_of_a_reused_connection_is_retried_on_a_new_one() {
    let stub = Stub::plain(|number| match number {
        1 => Act::Reset,
        _ => Act::Answer(granted()),
    });
    let stub = stub.await;
    let cloud = cloud(stub.address);
    assert!(mint(&cloud).await.is_ok());
    assert!(mint(&cloud).await.is_ok());
    assert_eq!(stub.requests().len(), 3);
    assert_eq!(stub.connections(), 2);
}

/// Linux alone tells how long sent bytes may go unacknowledged, and lets a socket drop packets.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn black_holed_connections_cost_one_request_two_seconds_and_the_next_nothing() {
    const POOLED: usize = 3;
    let (stub, cloud) = {
        let stub = Stub::plain(|_| Act::Answer(granted())).await;
        let cloud = cloud(stub.address);
        (stub, cloud)
    };
    let mints = (0..POOLED).map(|_| mint(&cloud));
    for result in futures_util::future::join_all(mints).await {
        assert!(result.is_ok());
    }
    assert_eq!(stub.connections(), POOLED);
    stub.black_hole();

    let started = Instant::now();
    let result = mint(&cloud).await;
    let took = started.elapsed();
    assert!(result.is_ok(), "{result:?} after {took:?}");
    assert!(
        took > Duration::from_millis(1500),
        "{took:?}: it was no black hole"
    );
    let connections = stub.connections();
    assert_eq!(connections, POOLED + 1, "the retry has a new connection");
    let sample = r#"ask2do_cloud_retries_total{cause="connection_dead"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 1.0);

    // The others in the pool were just as dead, and are gone.
    assert!(mint(&cloud).await.is_ok());
    assert_eq!(value(&metrics(&cloud), sample), 1.0);
    assert_eq!(stub.requests().len(), POOLED + 2);
}

#[tokio::test]
async fn a_mint_that_nobody_waits_for_closes_its_connection() {
    let stub = Stub::plain(|_| Act::Hang).await;
    let cloud = Arc::new(cloud(stub.address));
    let minting = tokio::spawn({
        let cloud = Arc::clone(&cloud);
        async move { mint(&cloud).await.is_ok() }
    });
    stub.requests_came(1).await;
    assert!(!stub.closed_by_peer());
    minting.abort();
    while !stub.closed_by_peer() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_proxy_is_used_where_it_is_configured_and_sees_no_key_of_an_https_cloud() {
    let proxy = Stub::plain(|_| Act::AnswerAndClose(answer("403 Forbidden", "", "no"))).await;
    // The name resolves nowhere: the proxy is who looks it up.
    let mut settings = settings("https://cloud.invalid");
    let url = format!("http://user:canary-password@{}", proxy.address);
    settings.proxy = Some(EgressProxy::new(&url.parse().unwrap()).unwrap());
    let cloud = cloud_with(settings);
    assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
    assert!(!format!("{cloud:?}").contains("canary"));
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(
            request
                .head
                .starts_with("CONNECT cloud.invalid:443 HTTP/1.1\r\n")
        );
        assert!(header(&request.head, "proxy-authorization").is_some());
        assert!(!request.head.contains(KEY) && request.body.is_empty());
    }
}

#[tokio::test]
async fn a_loopback_cloud_is_reached_by_the_configured_proxy_too() {
    let proxy = Stub::plain(|_| Act::Answer(granted())).await;
    let mut settings = settings("http://127.0.0.1:1");
    let url = format!("http://{}", proxy.address);
    settings.proxy = Some(EgressProxy::new(&url.parse().unwrap()).unwrap());
    assert!(mint(&cloud_with(settings)).await.is_ok());
    let head = &proxy.requests()[0].head;
    assert!(
        head.starts_with("POST http://127.0.0.1:1/auth/token HTTP/1.1\r\n"),
        "{head}"
    );
}

/// The environment belongs to the process, so another one has it: this very program, which runs a
/// test whose cloud a proxy could not reach.
#[tokio::test]
async fn proxy_variables_are_not_read() {
    let proxy = Stub::plain(|_| Act::AnswerAndClose(answer("502 Proxied", "", ""))).await;
    let url = format!("http://{}", proxy.address);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "cloud::tests::a_mint_is_one_request_as_the_vendor_describes_it",
    ]);
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, &url).env(name.to_uppercase(), &url);
    }
    child.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = tokio::task::spawn_blocking(move || child.output().unwrap());
    let output = output.await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
    assert_eq!(proxy.connections(), 0);
}
