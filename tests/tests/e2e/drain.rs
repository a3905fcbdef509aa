//! How the server ends: whoever waits gets an answer, whoever does not speak holds nothing up.

use std::time::Duration;

use ask2do_token_tests::caller::{Connection, minted};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{Server, World};
use ask2do_token_tests::{admin, until};
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) fn add(suite: &mut Suite) {
    for (name, signal) in [("SIGTERM", Signal::TERM), ("SIGINT", Signal::INT)] {
        let case = format!("drain: {name} with calls in flight and peers that do not speak");
        suite.case(case, move || everything_at_once(signal));
    }
    suite.case(
        "drain: readiness goes first, while calls are still taken",
        readiness_first,
    );
    suite.case("drain: the hard limit holds", hard_limit);
    suite.case("drain: a second signal ends it at once", second_signal);
    suite.case("drain: with nothing to do it ends at once", || async {
        let world = World::new().await;
        let server = world.server().start().await;
        let began = Instant::now();
        server.end().await;
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "not after the whole drain"
        );
    });
}

async fn everything_at_once(signal: Signal) {
    let world = World::new().await;
    let mut server = world.server().set("shutdown.drain", "30s").start().await;
    let caller = world.panel();
    // Each kind of peer that there is.
    let mut silent = TcpStream::connect(server.grpc).await.unwrap();
    let mut no_preface = caller.handshake(server.grpc).await.unwrap();
    let idle = server.connect(&caller).await;
    minted(&idle.mint("before", "admin").await);
    let busy = server.connect(&caller).await;
    let deaf = caller.connect_deaf(server.grpc).await;
    minted(&deaf.mint("before", "admin").await);
    let calls = futures_util::future::join_all((0..10).map(|call| {
        let busy = &busy;
        async move { busy.mint(&format!("slow-3s.{call}"), "admin").await }
    }));
    let ending = async {
        server.metric_is("ask2do_mints_in_flight", 10.0).await;
        server.process.signal(signal);
        goaway(&busy).await;
        goaway(&idle).await;
        until("new connections are refused", async || {
            TcpStream::connect(server.grpc).await.err()
        })
        .await;
        // The ones that have not spoken are dropped; what they read is the end, or an error.
        let mut end = Vec::new();
        let _ = silent.read_to_end(&mut end).await;
        let _ = no_preface.read_to_end(&mut end).await;
    };
    let (replies, ()) = tokio::join!(calls, ending);
    for reply in &replies {
        minted(reply);
    }
    assert_eq!(server.process.ended().await.code(), Some(0));
    assert!(
        idle.is_closed() || until("it closes", async || idle.is_closed().then_some(true)).await
    );
    drop(deaf);
}

async fn goaway(connection: &Connection) {
    let goaways = until("GOAWAY", async || {
        let goaways = connection.wire().goaways();
        (!goaways.is_empty()).then_some(goaways)
    })
    .await;
    assert!(
        goaways.iter().all(|goaway| goaway.error == 0),
        "{goaways:?}"
    );
}

async fn readiness_first() {
    let world = World::new().await;
    let mut server = world.server().set("shutdown.settle", "3s").start().await;
    let caller = world.panel();
    let open = server.connect(&caller).await;
    minted(&open.mint("before", "admin").await);
    assert_eq!(server.get("/readyz").await.0, 200);
    server.process.signal(Signal::TERM);
    let body = until("readiness is off", async || {
        let (status, body) = server.get("/readyz").await;
        (status == 503).then_some(body)
    })
    .await;
    assert!(body.contains("draining"), "{body}");
    assert_eq!(server.get("/livez").await.0, 200, "it is well, and leaving");
    // A load balancer has not noticed yet.
    minted(&open.mint("settling", "admin").await);
    minted(
        &server
            .connect(&caller)
            .await
            .mint("settling-too", "admin")
            .await,
    );
    let health = open
        .call("/grpc.health.v1.Health/Check", &[])
        .await
        .unwrap();
    assert_eq!(&health.body[5..], [0x08, 2], "NOT_SERVING");
    goaway(&open).await;
    assert_eq!(server.process.ended().await.code(), Some(0));
    assert!(admin::get(server.admin, "/livez").await.is_err());
}

async fn hard_limit() {
    let world = World::new().await;
    let setup = world
        .server()
        .set("shutdown.drain", "2s")
        .set("cloud.timeout", "60s");
    let mut server = setup.start().await;
    let connection = server.connect(&world.panel()).await;
    let call = connection.try_mint("slow-50s", "admin");
    let ending = async {
        server.metric_is("ask2do_mints_in_flight", 1.0).await;
        server.process.signal(Signal::TERM);
        let began = Instant::now();
        assert_eq!(server.process.ended().await.code(), Some(0));
        began.elapsed()
    };
    let (cut_off, took) = tokio::join!(call, ending);
    assert!(cut_off.is_err(), "it was cut off");
    assert!(
        took >= Duration::from_secs(1),
        "{took:?}: it was given the time"
    );
    assert!(
        took < Duration::from_secs(30),
        "{took:?}: but not all of it"
    );
    assert!(server.process.output().text().contains("drain limit"));
}

async fn second_signal() {
    let world = World::new().await;
    let setup = world
        .server()
        .set("shutdown.drain", "60s")
        .set("cloud.timeout", "60s");
    let mut server: Server = setup.start().await;
    let connection = server.connect(&world.panel()).await;
    let call = connection.try_mint("slow-50s", "admin");
    let ending = async {
        server.metric_is("ask2do_mints_in_flight", 1.0).await;
        server.process.signal(Signal::TERM);
        goaway(&connection).await;
        let began = Instant::now();
        server.process.signal(Signal::TERM);
        assert_eq!(server.process.ended().await.code(), Some(0));
        began.elapsed()
    };
    let (cut_off, took) = tokio::join!(call, ending);
    assert!(cut_off.is_err());
    assert!(took < Duration::from_secs(30), "{took:?}");
}
