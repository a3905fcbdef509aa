//! A gateway that ends under load, as in a rollout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ask2do_token_tests::gateway::{Setup, widget};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::World;
use rustix::process::Signal;
use tokio::task::JoinSet;

const WORKERS: usize = 8;
const SLOW: u64 = 8;

pub(crate) fn add(suite: &mut Suite) {
    suite.case("drain::nothing_that_was_begun_is_lost", nothing_is_lost);
    suite.case(
        "drain::what_takes_longer_than_the_limit_does_not_hold_it",
        limit,
    );
}

/// A load balancer sends to it until it is not ready, and no longer.
async fn nothing_is_lost() {
    let world = World::new().await;
    let server = world.server().start().await;
    let panel = Panel::start(Whoami::Honest).await;
    let setup = Setup::forward(&world, server.grpc, panel.address).set("shutdown.settle", "3s");
    let mut gateway = setup.start().await;
    gateway.warm().await;
    let before = world.cloud.calls().total;

    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut work = JoinSet::new();
    for worker in 0..WORKERS {
        let (stop, done, address) = (stop.clone(), done.clone(), gateway.http);
        work.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = widget("admin", &format!("w{worker}")).send(address).await;
                assert_eq!(answer.unwrap().outcome().1, "OK");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut slow = JoinSet::new();
    until("the load is under way", async || {
        (done.load(Ordering::Relaxed) > 40).then_some(())
    })
    .await;
    for number in 0..SLOW {
        slow.spawn(widget("admin", &format!("slow-4s.{number}")).send(gateway.http));
    }
    let in_flight =
        async || (0..SLOW).all(|number| world.cloud.calls_for(&format!("slow-4s.{number}")) == 1);
    until("the slow ones are in flight", async || {
        in_flight().await.then_some(())
    })
    .await;

    gateway.process.signal(Signal::TERM);
    until("it is not ready any more", async || {
        (!gateway.is_ready().await).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    work.join_all().await;
    for answer in slow.join_all().await {
        assert_eq!(answer.unwrap().outcome().1, "OK");
    }
    assert_eq!(gateway.process.ended().await.code(), Some(0));
    let minted = world.cloud.calls().total - before;
    assert_eq!(
        minted,
        done.load(Ordering::Relaxed) + SLOW,
        "each was minted once"
    );
}

async fn limit() {
    let world = World::new().await;
    let server = world.server().start().await;
    // A session check that takes its 5 s is what can hold a request longest.
    let panel = Panel::start(Whoami::Silent).await;
    let setup = Setup::forward(&world, server.grpc, panel.address)
        .set("session.forward.timeout", "5s")
        .set("shutdown.drain", "1s");
    let mut gateway = setup.start().await;
    let held = tokio::spawn(widget("admin", "42").send(gateway.http));
    until("the panel is asked", async || {
        (!panel.seen().is_empty()).then_some(())
    })
    .await;
    gateway.process.signal(Signal::TERM);
    gateway.process.ended().await;
    assert!(held.await.unwrap().is_err(), "cut off, with the process");
}
