//! How it ends.

use std::time::Duration;

use ask2do_token_runtime::shutdown::Ending;
use http::Uri;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{ORIGIN, Running, until, within};

#[tokio::test]
async fn what_is_in_flight_is_finished_and_what_is_idle_does_not_hold_it_up() {
    let server = Running::start().await;
    let (busy, idle) = (server.panel().await, server.panel().await);
    assert!(idle.mint("1", "admin").await.is_ok());
    let _silent = TcpStream::connect(server.addresses.grpc).await.unwrap();
    let held = async { busy.mint("held", "admin").await };
    let drain = async {
        until("the mint is in flight", async || {
            server.mint.users().contains(&"held".to_owned())
        })
        .await;
        server.signal().await;
        within(idle.ended).await.unwrap().unwrap();
        assert_eq!(server.admin("/readyz").await.0, 503);
        server.mint.release();
    };
    let (token, ()) = tokio::join!(held, drain);
    assert_eq!(token.unwrap(), "token-of-held");
    assert_eq!(server.ended().await, Ending::Drained);
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_at_the_limit() {
    let server = Running::start_with("shutdown.drain = \"1s\"").await;
    let panel = server.panel().await;
    let held = tokio::spawn(async move { panel.mint("held", "admin").await });
    until("the mint is in flight", async || {
        !server.mint.users().is_empty()
    })
    .await;
    server.signal().await;
    assert_eq!(server.ended().await, Ending::CutOff);
    assert!(held.await.unwrap().is_err());
}

#[tokio::test]
async fn health_says_so_while_it_settles_and_a_watch_does_not_hold_up_the_drain() {
    let server = Running::start_with("shutdown.settle = \"2s\"").await;
    let panel = server.panel().await;
    let mut client = HealthClient::with_origin(panel.channel(), Uri::from_static(ORIGIN));
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = within(watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    assert_eq!(server.admin("/readyz").await, (200, "ok\n".to_owned()));

    server.signal().await;
    let second = within(watch.message()).await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    assert_eq!(server.admin("/readyz").await.0, 503);
    // Still accepting: a load balancer needs a moment to notice.
    assert!(server.panel().await.mint("1", "admin").await.is_ok());

    let end = within(watch.message()).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    let ended = tokio::time::timeout(Duration::from_secs(15), server.ended()).await;
    assert_eq!(
        ended.expect("well before the limit of the drain"),
        Ending::Drained
    );
}
