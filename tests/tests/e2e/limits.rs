//! Every bound, reached.

use std::time::Duration;

use ask2do_token_tests::caller::minted;
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{SHOP, World};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;

pub(crate) fn add(suite: &mut Suite) {
    suite.case("limits: in flight", in_flight);
    suite.case("limits: a caller's rate", caller_rate);
    suite.case("limits: a panel user's rate", user_rate);
    suite.case("limits: streams of one connection", streams);
    suite.case(
        "limits: connections, with idle ones that make room",
        idle_make_room,
    );
    suite.case("limits: connections, all of them busy", all_busy);
    suite.case(
        "limits: peers that never finish their handshake",
        silent_peers,
    );
    suite.case("limits: file descriptors", descriptors);
}

async fn in_flight() {
    let world = World::new().await;
    let server = world.server().set("limits.in_flight", "2").start().await;
    let connection = server.connect(&world.panel()).await;
    let held = async {
        let calls = tokio::join!(
            connection.mint("slow-2s.0", "admin"),
            connection.mint("slow-2s.1", "admin"),
        );
        minted(&calls.0);
        minted(&calls.1);
    };
    let third = async {
        until("two are in flight", async || {
            (world.cloud.calls().total == 2).then_some(())
        })
        .await;
        let reply = connection.mint("third", "admin").await;
        let refusal = reply.refused(Code::ResourceExhausted, "OVERLOADED");
        assert!(
            refusal
                .retry_after
                .is_some_and(|wait| wait > Duration::ZERO),
            "{refusal:?}"
        );
    };
    tokio::join!(held, third);
    assert_eq!(world.cloud.calls_for("third"), 0);
    minted(&connection.mint("fourth", "admin").await);
}

async fn caller_rate() {
    let world = World::new().await;
    let server = world.server().set("limits.caller_rate", "1").start().await;
    let panel = server.connect(&world.panel()).await;
    let mut wait = None;
    for call in 0..20 {
        let reply = panel.mint(&format!("user-{call}"), "admin").await;
        if reply.status().code() == Code::Ok {
            continue;
        }
        wait = reply
            .refused(Code::ResourceExhausted, "RATE_LIMITED")
            .retry_after;
        assert!(call >= 2, "twice the rate may come at once");
        assert_eq!(world.cloud.calls_for(&format!("user-{call}")), 0);
        break;
    }
    let wait = wait.expect("one was too many, and says when to come back");
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(1),
        "{wait:?}"
    );
    // Another caller has its own.
    let shop = world.callers.issue(&Leaf::client().uri(SHOP));
    minted(
        &server
            .connect(&world.caller(&shop))
            .await
            .mint("42", "admin")
            .await,
    );
    let series = r#"ask2do_mints_total{caller="panel",reason="RATE_LIMITED"}"#;
    server.metric_is(series, 1.0).await;
}

async fn user_rate() {
    let world = World::new().await;
    let server = world.server().set("limits.user_rate", "1").start().await;
    let panel = server.connect(&world.panel()).await;
    let mut refused = false;
    for _ in 0..20 {
        let reply = panel.mint("42", "admin").await;
        if reply.status().code() != Code::Ok {
            let refusal = reply.refused(Code::ResourceExhausted, "RATE_LIMITED");
            assert!(refusal.retry_after.is_some(), "{refusal:?}");
            refused = true;
            break;
        }
    }
    assert!(refused);
    minted(&panel.mint("43", "admin").await);
}

async fn streams() {
    let world = World::new().await;
    let server = world.server().start().await;
    let connection = server.connect(&world.panel()).await;
    let calls = (0..150).map(|call| {
        let id = format!("slow-1s.{call}");
        let connection = &connection;
        async move { connection.mint(&id, "admin").await }
    });
    // Those beyond the limit wait at the caller; nothing fails.
    for reply in futures_util::future::join_all(calls).await {
        minted(&reply);
    }
    assert_eq!(connection.wire().max_concurrent_streams(), Some(100));
}

async fn idle_make_room() {
    let world = World::new().await;
    let server = world.server().set("limits.connections", "3").start().await;
    let caller = world.panel();
    let mut open = Vec::new();
    for call in 0..3 {
        let connection = server.connect(&caller).await;
        minted(&connection.mint(&format!("first-{call}"), "admin").await);
        open.push(connection);
    }
    // The next ones get in once there is one that has been idle for a moment.
    let newest = until("there is room", async || {
        let connection = caller.try_connect(server.grpc).await.ok()?;
        let reply = connection.try_mint("newest", "admin").await.ok()?;
        minted(&reply);
        Some(connection)
    })
    .await;
    let asked_to_leave = open
        .iter()
        .filter(|connection| !connection.wire().goaways().is_empty() || connection.is_closed());
    assert!(asked_to_leave.count() >= 1);
    minted(&newest.mint("again", "admin").await);
}

async fn all_busy() {
    let world = World::new().await;
    let server = world.server().set("limits.connections", "2").start().await;
    let caller = world.panel();
    let (one, two) = (server.connect(&caller).await, server.connect(&caller).await);
    let busy = async {
        let (one, two) = tokio::join!(
            one.mint("slow-3s.1", "admin"),
            two.mint("slow-3s.2", "admin")
        );
        minted(&one);
        minted(&two);
    };
    let third = async {
        until("both are busy", async || {
            (world.cloud.calls().total == 2).then_some(())
        })
        .await;
        let connection = caller.connect(server.grpc).await;
        assert!(connection.try_mint("third", "admin").await.is_err());
        let series = r#"ask2do_connections_dropped_total{port="grpc",reason="all_busy"}"#;
        server.metric_is(series, 1.0).await;
    };
    tokio::join!(busy, third);
    assert_eq!(world.cloud.calls_for("third"), 0);
}

async fn silent_peers() {
    let world = World::new().await;
    let server = world.server().start().await;
    // More than may be pending; each in a state of its own handshake: none.
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(server.grpc).await.unwrap());
    }
    // The oldest made room, and a caller gets through all the same.
    minted(
        &server
            .connect(&world.panel())
            .await
            .mint("42", "admin")
            .await,
    );
    let pending = server
        .metric(r#"ask2do_connections_pending{port="grpc"}"#)
        .await;
    assert!(pending <= 512.0, "{pending}");
    // The rest goes when the handshake's time is over.
    server
        .metric_is(r#"ask2do_connections_pending{port="grpc"}"#, 0.0)
        .await;
    let timeouts = r#"ask2do_handshake_failures_total{port="grpc",cause="timeout"}"#;
    assert!(server.metric(timeouts).await > 0.0);
    let mut end = [0];
    let read = silent[0].read(&mut end).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!(server.process.id() > 0, "it lives");
}

/// So few that a handful of connections takes them all.
const DESCRIPTORS: &str = "64";

async fn descriptors() {
    let wrapper = ["sh", "-c", "ulimit -n \"$0\" && exec \"$@\"", DESCRIPTORS];
    let world = World::new().await;
    let mut server = world.server().under(&wrapper).start().await;
    let caller = world.panel();
    minted(&server.connect(&caller).await.mint("before", "admin").await);

    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(server.grpc).await.unwrap());
    }
    let is_longest = |record: &serde_json::Value| record["pause"] == "1s";
    server.record("the longest pause", is_longest).await;
    drop(held);

    let reply = until("there are descriptors again", async || {
        let connection = caller.try_connect(server.grpc).await.ok()?;
        connection.try_mint("after", "admin").await.ok()
    })
    .await;
    minted(&reply);
    let series = r#"ask2do_accept_errors_total{port="grpc"}"#;
    // 10 ms, 20 ms, 40 ms, ...: a handful. A loop that does not pause fails thousands of times.
    let errors = server.metric(series).await;
    assert!((1.0..100.0).contains(&errors), "{errors} errors");
    server.end().await;
}
