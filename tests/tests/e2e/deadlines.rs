//! The time of a call: the caller's, the server's, and who is first.

use std::time::Duration;

use ask2do_token_tests::caller::{MINT_TOKEN, RequestBody, minted, with_body};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{Shared, World};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::time::Instant;
use tonic::Code;

const CODE: Code = Code::DeadlineExceeded;
const REASON: &str = "CLOUD_TIMEOUT";

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(|world: &World| world.server().set("cloud.timeout", "2s"));
    let with = shared.clone();
    suite.case(
        "deadlines: the answer comes before the caller's own timer",
        move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            for attempt in 0..5 {
                let id = format!("slow-7s.{attempt}");
                let began = Instant::now();
                let reply = connection.mint_within("1S", &id, "admin").await;
                reply.refused(CODE, REASON);
                // Without the head start it would be a second at the least; with it, this machine may be
                // busy for those 100 ms, but not five times.
                if began.elapsed() < Duration::from_millis(990) {
                    return;
                }
            }
            panic!("the server never answers before the caller's timer");
        },
    );
    let with = shared.clone();
    suite.case(
        "deadlines: the caller's shorter one counts",
        move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            let began = Instant::now();
            let reply = connection
                .mint_within("600m", "slow-7s.short", "admin")
                .await;
            let took = began.elapsed();
            reply.refused(CODE, REASON);
            assert!(
                took >= Duration::from_millis(500),
                "{took:?}: 100 ms early, not more"
            );
            assert!(took < Duration::from_secs(2), "{took:?}: not the server's");
            assert_eq!(world.cloud.calls_for("slow-7s.short"), 1);
        },
    );
    let with = shared.clone();
    suite.case(
        "deadlines: without the caller's it is the server's",
        move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            for timeout in [None, Some("1H")] {
                let began = Instant::now();
                let reply = match timeout {
                    None => connection.mint("slow-7s.none", "admin").await,
                    Some(timeout) => {
                        connection
                            .mint_within(timeout, "slow-7s.long", "admin")
                            .await
                    }
                };
                let took = began.elapsed();
                reply.refused(CODE, REASON);
                assert!(took >= Duration::from_secs(2), "{took:?}");
                assert!(took < Duration::from_secs(7), "{took:?}");
            }
        },
    );
    let with = shared.clone();
    suite.case("deadlines: 50 ms are none at all", move || async move {
        let (world, server) = with.get().await;
        let connection = server.connect(&world.panel()).await;
        for timeout in ["50m", "0S", "1n"] {
            let reply = connection.mint_within(timeout, "no-time", "admin").await;
            reply.refused(CODE, REASON);
        }
        assert_eq!(world.cloud.calls_for("no-time"), 0);
        minted(&connection.mint_within("6S", "in-time", "admin").await);
    });
    for (name, timeout) in [("the server's", None), ("the caller's", Some("700m"))] {
        let with = shared.clone();
        let name = format!("deadlines: a body that never comes ends by {name}");
        suite.case(name, move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            let mut request = with_body(MINT_TOKEN, never());
            if let Some(timeout) = timeout {
                request
                    .headers_mut()
                    .insert("grpc-timeout", timeout.parse().unwrap());
            }
            let reply = connection.send(request).await.unwrap();
            reply.refused(CODE, REASON);
            minted(&connection.mint("after-a-silent-body", "admin").await);
        });
    }
    suite.case(
        "deadlines: a caller that goes away is counted, and leaves nothing in flight",
        || async {
            let world = World::new().await;
            let server = world.server().start().await;
            let connection = server.connect(&world.panel()).await;
            {
                let call = connection.try_mint("slow-7s", "admin");
                let mut call = std::pin::pin!(call);
                let in_flight = server.metric_is("ask2do_mints_in_flight", 1.0);
                tokio::select! {
                    reply = &mut call => panic!("{:?}", reply.map(|reply| reply.shown())),
                    () = in_flight => {}
                }
            }
            server.metric_is("ask2do_mints_in_flight", 0.0).await;
            let series = r#"ask2do_mints_total{caller="panel",reason="CANCELLED"}"#;
            server.metric_is(series, 1.0).await;
        },
    );
}

/// A body of which nothing comes, and no end either.
fn never() -> RequestBody {
    StreamBody::new(stream::pending::<Result<Frame<Bytes>, _>>()).boxed()
}
