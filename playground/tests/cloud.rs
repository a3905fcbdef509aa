//! The simulated cloud as a caller and a widget meet it: real sockets, each scenario once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may end where something is amiss"
)]

use std::io::Write as _;
use std::time::{Duration, Instant};

use ask2do_token_playground::certificates::{Authority, https_client};
use ask2do_token_playground::cloud::{Claims, Cloud, CloudConfig, SCENARIOS, TenantKeys};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const KEY: &str = "the-tenant-key";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> (u16, String) {
        (
            self.status.as_u16(),
            self.json()["error"].as_str().unwrap().to_owned(),
        )
    }

    fn token(&self) -> String {
        self.json()["token"].as_str().unwrap().to_owned()
    }

    fn claims(&self) -> Claims {
        serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(self.token().split('.').nth(1).unwrap())
                .unwrap(),
        )
        .unwrap()
    }

    fn header(&self) -> Value {
        serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(self.token().split('.').next().unwrap())
                .unwrap(),
        )
        .unwrap()
    }

    fn expires_at(&self) -> OffsetDateTime {
        OffsetDateTime::parse(self.json()["expiresAt"].as_str().unwrap(), &Rfc3339).unwrap()
    }
}

async fn cloud() -> Cloud {
    Cloud::start(CloudConfig::plain(KEY)).await.unwrap()
}

fn ask(id: &str, role: &str) -> Value {
    json!({ "tenantKey": KEY, "panelUser": { "id": id, "role": role } })
}

async fn send(request: Request<Full<Bytes>>) -> Result<Answer, Box<dyn std::error::Error>> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client.request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

async fn post(cloud: &Cloud, body: impl Into<Bytes>) -> Result<Answer, Box<dyn std::error::Error>> {
    let request = Request::post(format!("{}/auth/token", cloud.url()))
        .header("content-type", "application/json")
        .body(Full::new(body.into()))?;
    send(request).await
}

async fn try_mint(cloud: &Cloud, id: &str) -> Result<Answer, Box<dyn std::error::Error>> {
    post(cloud, ask(id, "admin").to_string()).await
}

async fn mint(cloud: &Cloud, id: &str) -> Answer {
    try_mint(cloud, id).await.unwrap()
}

#[tokio::test]
async fn a_token_is_what_the_vendor_documents() {
    let cloud = cloud().await;
    let before = OffsetDateTime::now_utc().unix_timestamp();
    let answer = mint(&cloud, "42").await;
    let after = OffsetDateTime::now_utc().unix_timestamp();

    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.headers.contains_key("date"));
    let mut fields: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["expiresAt", "token"]);

    let token = answer.token();
    assert!(token.starts_with(&format!(
        "{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"1"}"#)
    )));
    assert!(
        (300..380).contains(&token.len()),
        "{} characters",
        token.len()
    );
    let claims = answer.claims();
    assert_eq!((claims.sub.as_str(), claims.role.as_str()), ("42", "admin"));
    assert!((before..=after).contains(&claims.iat));
    assert_eq!(claims.exp, Some(claims.iat + 900));

    let expires_at = answer.json()["expiresAt"].as_str().unwrap().to_owned();
    assert_eq!(expires_at.len(), "2026-05-02T13:55:00.000Z".len());
    assert!(expires_at.ends_with(".000Z"), "{expires_at}");
    assert_eq!(Some(answer.expires_at().unix_timestamp()), claims.exp);

    let (message, signature) = token.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&ED25519, cloud.public_key())
        .verify(
            message.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
        .unwrap();
}

#[tokio::test]
async fn the_key_is_refused_before_the_role() {
    let cloud = cloud().await;
    let refused = |key: &str, role: &str| json!({ "tenantKey": key, "panelUser": { "id": "42", "role": role } });
    for (key, role, expected) in [
        ("wrong", "admin", (401, "invalid tenant key")),
        ("", "admin", (401, "invalid tenant key")),
        ("wrong", "junior", (401, "invalid tenant key")),
        (KEY, "junior", (403, "role not allowed")),
        (KEY, "Admin", (403, "role not allowed")),
    ] {
        let answer = post(&cloud, refused(key, role).to_string()).await.unwrap();
        assert_eq!(
            answer.error(),
            (expected.0, expected.1.to_owned()),
            "{key} {role}"
        );
    }
    assert_eq!(mint(&cloud, "42").await.status, StatusCode::OK);
}

#[tokio::test]
async fn malformed_requests_are_answered_in_the_vendors_form() {
    let cloud = cloud().await;
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        json!({ "tenantKey": KEY }).to_string(),
        json!({ "tenantKey": KEY, "panelUser": { "id": 42, "role": "admin" } }).to_string(),
        json!({ "tenantKey": KEY, "panelUser": { "id": "42" } }).to_string(),
        json!({ "tenantKey": null, "panelUser": { "id": "42", "role": "admin" } }).to_string(),
    ] {
        let answer = post(&cloud, body.clone()).await.unwrap();
        assert_eq!(answer.error().0, 400, "{body}");
        assert!(!answer.error().1.contains(KEY));
    }
    assert_eq!(
        post(&cloud, vec![b' '; 17 * 1024]).await.unwrap().error().0,
        413
    );

    let url = format!("{}/auth/token", cloud.url());
    let untyped = Request::post(&url)
        .body(Full::new(ask("42", "admin").to_string().into()))
        .unwrap();
    assert_eq!(send(untyped).await.unwrap().error().0, 400);
    let read = Request::builder()
        .method(Method::GET)
        .uri(&url)
        .body(Full::default())
        .unwrap();
    assert_eq!(send(read).await.unwrap().error().0, 405);
    let lost = Request::post(format!("{}/auth", cloud.url()))
        .body(Full::default())
        .unwrap();
    assert_eq!(send(lost).await.unwrap().error().0, 404);
}

#[tokio::test]
async fn keys_in_a_file_are_read_anew_at_each_request() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "old").unwrap();
    let config = CloudConfig {
        tenant_keys: TenantKeys::File(file.path().to_owned()),
        ..CloudConfig::plain("")
    };
    let cloud = Cloud::start(config).await.unwrap();
    let status = async |key: &str| {
        let body = json!({ "tenantKey": key, "panelUser": { "id": "42", "role": "admin" } });
        post(&cloud, body.to_string())
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!(
        (status("old").await, status("new").await, status("").await),
        (200, 401, 401)
    );
    writeln!(file, "new").unwrap();
    assert_eq!((status("old").await, status("new").await), (200, 200));
    file.as_file().set_len(0).unwrap();
    assert_eq!((status("old").await, status("").await), (401, 401));
    drop(file);
    assert_eq!(status("old").await, 500);
}

#[tokio::test]
async fn statuses_come_as_asked() {
    let cloud = cloud().await;
    for code in [200, 204, 304, 400, 401, 403, 418, 429, 500, 502, 503, 504] {
        let answer = mint(&cloud, &format!("status-{code}")).await;
        assert_eq!(answer.status.as_u16(), code);
        assert!(!answer.headers.contains_key("retry-after"));
        assert_eq!(answer.body.is_empty(), [204, 304].contains(&code));
    }
    assert_eq!(
        mint(&cloud, "status-401").await.error(),
        (401, "invalid tenant key".to_owned())
    );
    let patient = mint(&cloud, "status-429-retry-after-2").await;
    assert_eq!(
        (
            patient.status.as_u16(),
            patient.headers["retry-after"].to_str().unwrap()
        ),
        (429, "2")
    );
    let dated = mint(&cloud, "status-503-retry-after-date").await;
    assert!(
        dated.headers["retry-after"]
            .to_str()
            .unwrap()
            .ends_with(" GMT")
    );
    let vague = mint(&cloud, "status-429-retry-after-garbage").await;
    assert_eq!(vague.headers["retry-after"], "in a while");
}

#[tokio::test]
async fn a_middlemans_refusal_is_not_in_the_vendors_form() {
    let cloud = cloud().await;
    for (id, code) in [("waf-403", 403), ("proxy-401", 401)] {
        let answer = mint(&cloud, id).await;
        assert_eq!(answer.status.as_u16(), code);
        assert!(
            answer.headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
    }
    let json = mint(&cloud, "waf-403-json").await;
    assert_eq!(json.status.as_u16(), 403);
    assert!(json.json()["error"].as_str().is_none());
}

#[tokio::test]
async fn a_followed_redirect_is_counted() {
    let cloud = cloud().await;
    for (id, code) in [("redirect", 302), ("redirect-307", 307)] {
        let answer = mint(&cloud, id).await;
        assert_eq!(answer.status.as_u16(), code);
        assert_eq!(cloud.calls().redirects_followed, 0);
        assert_eq!(answer.headers["location"], "/_sim/elsewhere");
    }
    let followed = Request::get(format!("{}/_sim/elsewhere", cloud.url()))
        .body(Full::default())
        .unwrap();
    send(followed).await.unwrap();
    assert_eq!(cloud.calls().redirects_followed, 1);
}

#[tokio::test]
async fn connections_break_as_asked() {
    let cloud = cloud().await;
    let reset = try_mint(&cloud, "reset").await.err().unwrap();
    assert!(
        has_kind(&*reset, std::io::ErrorKind::ConnectionReset),
        "{reset:?}"
    );
    let closed = try_mint(&cloud, "close").await.err().unwrap();
    assert!(
        !has_kind(&*closed, std::io::ErrorKind::ConnectionReset),
        "{closed:?}"
    );
    assert!(try_mint(&cloud, "truncated").await.is_err());
    assert_eq!(mint(&cloud, "42").await.status, StatusCode::OK);
}

fn has_kind(error: &(dyn std::error::Error + 'static), kind: std::io::ErrorKind) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == kind)
    })
}

#[tokio::test]
async fn bodies_are_slow_huge_or_no_json_as_asked() {
    let cloud = cloud().await;
    let begun = Instant::now();
    assert_eq!(mint(&cloud, "slow-50ms").await.claims().sub, "slow-50ms");
    assert!(begun.elapsed() >= Duration::from_millis(50));

    let begun = Instant::now();
    assert_eq!(mint(&cloud, "drip-1ms").await.claims().sub, "drip-1ms");
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "some 400 bytes at 1 ms each"
    );

    assert!(serde_json::from_slice::<Value>(&mint(&cloud, "garbage").await.body).is_err());
    assert!(mint(&cloud, "huge").await.body.len() > 10 * 1024 * 1024);
}

#[tokio::test]
async fn tokens_are_defective_as_asked() {
    let cloud = cloud().await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let near = |moment: i64, expected: i64| (moment - expected).abs() <= 30;

    let expired = mint(&cloud, "expired").await;
    assert!(near(expired.claims().exp.unwrap(), now - 3600));
    assert_eq!(
        expired.expires_at().unix_timestamp(),
        expired.claims().exp.unwrap()
    );

    let unsigned = mint(&cloud, "alg-none").await;
    assert_eq!(
        (
            unsigned.header()["alg"].as_str(),
            unsigned.token().ends_with('.')
        ),
        (Some("none"), true)
    );
    let mixed = mint(&cloud, "alg-none-mixed-case").await;
    assert_eq!(
        (mixed.header()["alg"].as_str(), mixed.token().ends_with('.')),
        (Some("NoNe"), false)
    );

    assert_ne!(mint(&cloud, "wrong-sub").await.claims().sub, "wrong-sub");
    assert_ne!(mint(&cloud, "wrong-role").await.claims().role, "admin");
    assert!(!mint(&cloud, "malformed-token").await.token().contains('.'));
    assert!(
        mint(&cloud, "token-missing")
            .await
            .json()
            .get("token")
            .is_none()
    );
    assert!(
        mint(&cloud, "expires-at-missing")
            .await
            .json()
            .get("expiresAt")
            .is_none()
    );

    let endless = mint(&cloud, "exp-missing").await;
    assert_eq!(endless.claims().exp, None);
    assert!(near(endless.expires_at().unix_timestamp(), now + 900));
    let torn = mint(&cloud, "exp-mismatch").await;
    assert_eq!(
        torn.expires_at().unix_timestamp() - torn.claims().exp.unwrap(),
        300
    );
    let garbage = mint(&cloud, "expires-at-garbage").await;
    assert!(
        OffsetDateTime::parse(garbage.json()["expiresAt"].as_str().unwrap(), &Rfc3339).is_err()
    );
    let offset = mint(&cloud, "expires-at-offset").await;
    assert!(
        offset.json()["expiresAt"]
            .as_str()
            .unwrap()
            .ends_with("+02:00")
    );
    assert_eq!(
        offset.expires_at().unix_timestamp(),
        offset.claims().exp.unwrap()
    );
    assert!(near(
        mint(&cloud, "short-lived-30s").await.claims().exp.unwrap(),
        now + 30
    ));
}

#[tokio::test]
async fn the_date_is_skewed_as_asked() {
    let cloud = cloud().await;
    let date = |answer: &Answer| {
        httpdate::parse_http_date(answer.headers["date"].to_str().unwrap()).unwrap()
    };
    let right = date(&mint(&cloud, "42").await);
    let ahead = date(&mint(&cloud, "skew-600s").await);
    let skew = ahead.duration_since(right).unwrap();
    assert!((595..630).contains(&skew.as_secs()), "{skew:?}");
}

#[tokio::test]
async fn once_fails_the_first_call_of_each_id_even_when_they_come_together() {
    let cloud = cloud().await;
    assert_eq!(mint(&cloud, "flaky-once").await.status.as_u16(), 503);
    assert_eq!(mint(&cloud, "flaky-once").await.status.as_u16(), 200);
    assert!(try_mint(&cloud, "reset-once").await.is_err());
    assert_eq!(mint(&cloud, "reset-once").await.status.as_u16(), 200);

    let together = (0..32).map(|_| mint(&cloud, "status-500-once.together"));
    let answers = futures_util::future::join_all(together).await;
    let failed = answers
        .iter()
        .filter(|answer| answer.status.as_u16() == 500)
        .count();
    assert_eq!(failed, 1);
    assert_eq!(cloud.calls_for("status-500-once.together"), 32);
}

#[tokio::test]
async fn calls_are_counted_and_the_last_is_shown_without_the_key() {
    let cloud = cloud().await;
    mint(&cloud, "1").await;
    mint(&cloud, "1").await;
    post(&cloud, "{").await.unwrap();
    let request = Request::post(format!("{}/auth/token", cloud.url()))
        .header("content-type", "application/json")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("baggage", "a=b")
        .body(Full::new(ask("2", "owner").to_string().into()))
        .unwrap();
    send(request).await.unwrap();

    let calls = cloud.calls();
    assert_eq!(
        (
            calls.total,
            cloud.calls_for("1"),
            cloud.calls_for("2"),
            cloud.calls_for("3")
        ),
        (4, 2, 1, 0)
    );
    let told = Request::get(format!("{}/_sim/calls", cloud.url()))
        .body(Full::default())
        .unwrap();
    let told = send(told).await.unwrap().json();
    assert_eq!(
        (&told["total"], &told["byPanelId"]["1"]),
        (&json!(4), &json!(2))
    );

    let last = Request::get(format!("{}/_sim/last", cloud.url()))
        .body(Full::default())
        .unwrap();
    let last = send(last).await.unwrap();
    assert_eq!(last.json()["panelId"], "2");
    assert_eq!(last.json()["headers"]["baggage"], "a=b");
    assert!(
        last.json()["headers"]["traceparent"]
            .as_str()
            .unwrap()
            .starts_with("00-0af7")
    );
    assert!(!String::from_utf8_lossy(&last.body).contains(KEY));
}

#[tokio::test]
async fn every_scenario_in_the_table_leaves_the_cloud_standing() {
    let cloud = cloud().await;
    for scenario in SCENARIOS
        .iter()
        .filter(|scenario| !scenario.example.starts_with("slow-7s"))
    {
        // What comes of each is told by the tests above; here only that it comes to an end.
        let limited = tokio::time::timeout(
            Duration::from_millis(200),
            try_mint(&cloud, scenario.example),
        );
        let _ = limited.await;
        assert_eq!(
            mint(&cloud, "42").await.status,
            StatusCode::OK,
            "after {}",
            scenario.example
        );
    }
}

#[tokio::test]
async fn over_https_the_key_exchange_is_told() {
    let authority = Authority::new("test CA").unwrap();
    let identity = authority.issue_for_localhost("cloud").unwrap();
    let cloud = Cloud::start(CloudConfig::https(KEY, identity.https_server().unwrap()))
        .await
        .unwrap();
    assert!(cloud.url().starts_with("https://localhost:"));

    let config = https_client(authority.certificate_pem().as_bytes()).unwrap();
    let socket = TcpStream::connect(cloud.address()).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(ServerName::try_from("localhost").unwrap(), socket)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post("/auth/token")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(ask("42", "admin").to_string())))
        .unwrap();
    assert_eq!(
        sender.send_request(request).await.unwrap().status(),
        StatusCode::OK
    );
    let tls = cloud.last_call().unwrap().tls.unwrap();
    assert_eq!(
        (tls.version.as_str(), tls.group.as_str()),
        ("TLSv1_3", "X25519MLKEM768")
    );
}

mod chat {
    use super::*;

    /// The first answer to a first frame, and whether the cloud closed the socket after it.
    async fn say(cloud: &Cloud, first: &str) -> (Value, bool) {
        let url = format!("ws://{}/chat", cloud.address());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text(first)).await.unwrap();
        let Message::Text(answer) = socket.next().await.unwrap().unwrap() else {
            panic!("no text")
        };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["type"] != "auth_ok" {
            return (
                answer,
                matches!(socket.next().await, Some(Ok(Message::Close(_)))),
            );
        }
        socket
            .send(Message::text(r#"{"type":"ping"}"#))
            .await
            .unwrap();
        let pong = socket.next().await.unwrap().unwrap();
        (answer, pong != Message::text(r#"{"type":"pong"}"#))
    }

    fn auth(token: &str) -> String {
        json!({ "type": "auth", "jwt": token }).to_string()
    }

    #[tokio::test]
    async fn a_minted_token_opens_a_session() {
        let cloud = cloud().await;
        let token = mint(&cloud, "42").await.token();
        assert_eq!(
            say(&cloud, &auth(&token)).await,
            (json!({ "type": "auth_ok" }), false)
        );
        assert_eq!(cloud.calls().chats, 1);
    }

    #[tokio::test]
    async fn what_is_no_good_token_is_refused_and_the_socket_closed() {
        let cloud = cloud().await;
        let elsewhere = Cloud::start(CloudConfig::plain(KEY)).await.unwrap();
        let foreign = mint(&elsewhere, "42").await.token();
        let mut frames = vec![
            auth(&foreign),
            auth(""),
            "{}".to_owned(),
            "hello".to_owned(),
            r#"{"type":"ping"}"#.to_owned(),
            r#"{"type":"auth"}"#.to_owned(),
        ];
        for id in [
            "expired",
            "alg-none",
            "alg-none-mixed-case",
            "malformed-token",
            "bad-signature",
            "exp-missing",
        ] {
            frames.push(auth(&mint(&cloud, id).await.token()));
        }
        for frame in frames {
            let refused = json!({ "type": "auth_error", "error": "invalid token" });
            assert_eq!(say(&cloud, &frame).await, (refused, true), "{frame}");
        }
        assert_eq!(cloud.calls().chats, 0);
    }

    #[tokio::test]
    async fn a_role_outside_the_vendors_is_refused() {
        let strange = CloudConfig {
            roles: vec!["owner".to_owned()],
            ..CloudConfig::plain(KEY)
        };
        let cloud = Cloud::start(strange).await.unwrap();
        // The only way to a token of another role: one for an owner that says admin.
        let answer = post(&cloud, ask("wrong-role", "owner").to_string())
            .await
            .unwrap();
        let refused = json!({ "type": "auth_error", "error": "role not allowed" });
        assert_eq!(say(&cloud, &auth(&answer.token())).await, (refused, true));
    }

    #[tokio::test]
    async fn the_session_ends_with_its_token() {
        let cloud = cloud().await;
        let token = mint(&cloud, "short-lived-2s").await.token();
        let url = format!("ws://{}/chat", cloud.address());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text(auth(&token))).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::text(r#"{"type":"auth_ok"}"#)
        );
        let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
            panic!("not closed")
        };
        assert_eq!(close.reason.as_str(), "token expired");
    }

    #[tokio::test]
    async fn sessions_end_with_the_cloud() {
        let cloud = cloud().await;
        let token = mint(&cloud, "42").await.token();
        let url = format!("ws://{}/chat", cloud.address());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text(auth(&token))).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::text(r#"{"type":"auth_ok"}"#)
        );
        drop(cloud);
        assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_)))));
    }
}
