//! What is behind the gateway goes away, and comes back.

use std::time::Duration;

use ask2do_token_tests::exchange::Exchange;
use ask2do_token_tests::gateway::{Gateway, PATH, Setup, widget};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{Server, World};
use http::Method;
use rustix::process::Signal;

/// The documentation promises 10 s for any answer; a busy machine adds to that.
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn add(suite: &mut Suite) {
    suite.case(
        "behind::a_killed_server_is_502_in_time_and_another_one_is_found",
        killed,
    );
    suite.case(
        "behind::a_silent_server_is_an_answer_in_time_and_serves_on",
        silent,
    );
    suite.case(
        "behind::a_panel_that_is_gone_is_503_until_it_is_back",
        panel_gone,
    );
    suite.case("behind::a_panel_that_fails_is_503", || {
        panel_amiss(Whoami::Failing)
    });
    suite.case("behind::a_panel_that_is_silent_is_503_in_time", || {
        panel_amiss(Whoami::Silent)
    });
    suite.case("behind::without_a_session_nobody_is_asked", no_session);
}

/// A panel whose users are who they say, and all that stands behind its gateway, warm.
pub(crate) async fn whole() -> (World, Server, Panel, Gateway) {
    let world = World::new().await;
    let server = world.server().start().await;
    let panel = Panel::start(Whoami::Honest).await;
    let gateway = Setup::forward(&world, server.grpc, panel.address)
        .start()
        .await;
    gateway.warm().await;
    (world, server, panel, gateway)
}

async fn until_minted(gateway: &Gateway) {
    until("a token again", async || {
        let answer = widget("admin", "42").send(gateway.http).await.unwrap();
        (answer.outcome().1 == "OK").then_some(())
    })
    .await;
}

async fn killed() {
    let (world, mut server, _panel, gateway) = whole().await;
    // One is on its way to the cloud when the server dies, others come after.
    let address = gateway.http;
    let in_flight = tokio::spawn(widget("admin", "slow-3s").send(address));
    until("it is in flight", async || {
        (world.cloud.calls_for("slow-3s") == 1).then_some(())
    })
    .await;
    server.process.signal(Signal::KILL);
    server.process.ended().await;
    let mut answers = vec![in_flight.await.unwrap().unwrap()];
    for _ in 0..3 {
        answers.push(widget("admin", "42").send(address).await.unwrap());
    }
    for answer in answers {
        assert_eq!(answer.outcome(), (502, "SERVICE_UNAVAILABLE".to_owned()));
        assert_eq!(answer.json()["error"], "ask2do auth failed");
        assert!(answer.took < WITHIN, "{:?}", answer.took);
    }
    assert!(gateway.is_ready().await, "readiness is the gateway's own");

    let _other = world
        .server()
        .set("grpc.listen", &server.grpc.to_string())
        .start()
        .await;
    until_minted(&gateway).await;
}

async fn silent() {
    let (_world, server, _panel, gateway) = whole().await;
    server.process.signal(Signal::STOP);
    until("each of its threads has stopped", async || {
        has_stopped(server.process.id()).then_some(())
    })
    .await;
    for _ in 0..2 {
        let answer = widget("admin", "42").send(gateway.http).await.unwrap();
        let (status, code) = answer.outcome();
        assert!(
            matches!(
                (status, code.as_str()),
                (502, "SERVICE_UNAVAILABLE") | (504, "CLOUD_TIMEOUT")
            ),
            "{status} {code}"
        );
        assert!(answer.took < WITHIN, "{:?}", answer.took);
    }
    server.process.signal(Signal::CONT);
    until_minted(&gateway).await;
}

/// By Linux's own account: the signal is sent, and takes its time.
fn has_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map(Result::unwrap).all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('T')
    })
}

async fn panel_gone() {
    let (world, _server, panel, gateway) = whole().await;
    let (address, minted) = (panel.address, world.cloud.calls().total);
    drop(panel);
    until("the panel is gone", async || {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    for _ in 0..3 {
        let answer = widget("admin", "42").send(gateway.http).await.unwrap();
        assert_eq!(
            answer.outcome(),
            (503, "SESSION_CHECK_UNAVAILABLE".to_owned())
        );
    }
    assert_eq!(world.cloud.calls().total, minted);
    assert!(gateway.is_ready().await, "readiness is the gateway's own");
    let _panel = Panel::start_at(address, Whoami::Honest).await;
    until_minted(&gateway).await;
}

async fn panel_amiss(whoami: Whoami) {
    let world = World::new().await;
    let server = world.server().start().await;
    let panel = Panel::start(whoami).await;
    let gateway = Setup::forward(&world, server.grpc, panel.address)
        .start()
        .await;
    let answer = widget("admin", "42").send(gateway.http).await.unwrap();
    assert_eq!(
        answer.outcome(),
        (503, "SESSION_CHECK_UNAVAILABLE".to_owned())
    );
    assert_eq!(answer.json()["error"], "session check unavailable");
    assert!(answer.took < WITHIN, "{:?}", answer.took);
    assert_eq!(world.cloud.calls().total, 0);
    assert!(!panel.seen().is_empty(), "the panel was asked");
}

async fn no_session() {
    let (world, _server, panel, gateway) = whole().await;
    let (asked, minted) = (panel.seen().len(), world.cloud.calls().total);
    // Nothing that could be a session, though every other thing says who it is.
    let nothing = Exchange::new(Method::POST, &format!("{PATH}?id=1&role=owner"))
        .headers(&[
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
        ])
        .headers(&[("x-user-id", "1"), ("x-user-role", "owner")])
        .body(r#"{"panelUser":{"id":"1","role":"owner"}}"#);
    let answer = nothing.send(gateway.http).await.unwrap();
    assert_eq!(answer.outcome(), (401, "LOGIN_REQUIRED".to_owned()));
    assert_eq!(answer.json()["error"], "login required");
    assert_eq!(panel.seen().len(), asked, "without a question");

    let ended = Exchange::new(Method::POST, PATH)
        .headers(&[("sec-fetch-site", "same-origin"), ("cookie", "sid=ended")]);
    let answer = ended.send(gateway.http).await.unwrap();
    assert_eq!(answer.outcome(), (401, "LOGIN_REQUIRED".to_owned()));
    assert_eq!(panel.seen().len(), asked + 1);
    assert_eq!(world.cloud.calls().total, minted);
}
