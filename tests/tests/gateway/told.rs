//! What the operator is told, and the browser is not.

use ask2do_token_tests::exchange::Exchange;
use ask2do_token_tests::gateway::{PATH, Setup, widget};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::World;
use http::Method;
use serde_json::Value;

/// What is set, and the words of the warning.
type Risk = (&'static [(&'static str, &'static str)], &'static str);

const RISKS: [Risk; 3] = [
    (
        &[
            ("session.forward.url", "http://panel.internal/whoami"),
            ("session.forward.allow_plaintext", "true"),
        ],
        "session.forward.url is plain http: who can alter the panel's answers can be any user",
    ),
    (
        &[
            ("session.mode", "header"),
            ("session.header.trusted_cidrs", r#"["10.0.3.0/24"]"#),
            ("session.header.id_header", "X-User-Id"),
            ("session.header.role_header", "X-User-Role"),
        ],
        "session.header.trusted_cidrs: every process at these addresses can be any user",
    ),
    (
        &[("http.allow_get", "true")],
        "http.allow_get: a link or an image can send GET; the guard alone stands before it",
    ),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.case("told::what_is_risky_is_warned_of_at_start", risks);
    suite.case(
        "told::a_session_answer_of_no_use_is_a_misconfiguration",
        misconfigured,
    );
    suite.case(
        "told::a_cross_site_request_is_told_with_what_decided",
        cross_site,
    );
}

fn is_warning(record: &Value, words: &str) -> bool {
    record["level"] == "WARN" && record["message"].as_str() == Some(words)
}

async fn risks() {
    let world = World::new().await;
    let nobody = ([127, 0, 0, 1], 9).into();
    for (settings, words) in RISKS {
        let setup = settings.iter().fold(
            Setup::forward(&world, nobody, nobody),
            |setup, (key, value)| setup.set(key, value),
        );
        let mut gateway = setup.start().await;
        let warned = |record: &Value| is_warning(record, words);
        gateway.process.record(words, warned).await;
        for (_, others) in RISKS.iter().filter(|(_, others)| *others != words) {
            let other = gateway
                .process
                .output()
                .record(|record| is_warning(record, others));
            assert_eq!(other, None, "{settings:?}");
        }
    }
}

async fn misconfigured() {
    let world = World::new().await;
    let panel = Panel::start(Whoami::Honest).await;
    let nobody = ([127, 0, 0, 1], 9).into();
    let mut gateway = Setup::forward(&world, nobody, panel.address).start().await;
    // Logged in as somebody without a role.
    let answer = widget("", "canary").send(gateway.http).await.unwrap();
    assert_eq!(
        answer.outcome(),
        (503, "SESSION_CHECK_UNAVAILABLE".to_owned())
    );
    let told = |record: &Value| record["code"] == "SESSION_CHECK_UNAVAILABLE";
    let record = gateway.process.record("the reason", told).await;
    assert_eq!(record["level"], "WARN");
    assert_eq!(record["trace_id"], answer.json()["requestId"]);
    let why = record["why"].as_str().unwrap();
    for word in [
        "2xx",
        "session.forward.id",
        "session.forward.role",
        "no role",
    ] {
        assert!(why.contains(word), "{why}");
    }
    // An outage is told apart from it.
    drop(panel);
    let answer = widget("", "canary").send(gateway.http).await.unwrap();
    let trace = answer.json()["requestId"].clone();
    let told = |record: &Value| record["trace_id"] == trace && record["why"].is_string();
    let record = gateway.process.record("the outage", told).await;
    assert!(!record["why"].as_str().unwrap().contains("2xx"), "{record}");
    assert!(
        !gateway.process.output().text().contains("canary"),
        "nobody's cookie or id"
    );
}

async fn cross_site() {
    let world = World::new().await;
    let nobody = ([127, 0, 0, 1], 9).into();
    let mut gateway = Setup::forward(&world, nobody, nobody).start().await;
    let request = Exchange::new(Method::POST, PATH).headers(&[
        ("cookie", "sid=canary"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
    ]);
    let answer = request.send(gateway.http).await.unwrap();
    assert_eq!(answer.outcome(), (403, "CROSS_SITE_REQUEST".to_owned()));
    let told = |record: &Value| record["code"] == "CROSS_SITE_REQUEST";
    let record = gateway.process.record("the request", told).await;
    assert_eq!(record["sec_fetch_site"], "cross-site");
    assert_eq!(record["origin"], "https://evil.example");
    assert_eq!(record["host"], "panel.example");
    assert_eq!(record["trace_id"], answer.json()["requestId"]);
    assert!(!gateway.process.output().text().contains("canary"));
}
