//! The demo panel's origin as a browser meets it, with the real gateway and server behind it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may end where something is amiss"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A playground that is up; ends with the test.
struct Up {
    process: Child,
    origin: String,
}

impl Up {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ask2do-token-playground"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let origin = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map(|line| line.unwrap())
            .find_map(|line| {
                line.strip_prefix("Open the demo panel:")
                    .map(|url| url.trim().to_owned())
            })
            .unwrap();
        Self { process, origin }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let answer = client
            .request(request.body(Full::from(body)).unwrap())
            .await
            .unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// The cookie of a new session.
    async fn log_in(&self, form: &'static str) -> String {
        let answer = self.ask("POST", "/login", &[], form).await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// What the widget's call gets.
    async fn token(&self, cookie: &str) -> Answer {
        let headers = [
            ("cookie", cookie),
            ("sec-fetch-site", "same-origin"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ];
        self.ask("POST", "/api/ask2do/token", &headers, "").await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It removes its folder when it is asked to end.
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let _ = self.process.wait();
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        let word = |name: &str| json[name].as_str().unwrap().to_owned();
        assert_eq!(word("requestId"), "0af7651916cd43dd8448eb211c80319c");
        (self.status, word("error"), word("code"))
    }
}

fn refusal(status: u16, error: &str, code: &str) -> (u16, String, String) {
    (status, error.to_owned(), code.to_owned())
}

#[tokio::test]
async fn a_logged_in_admin_gets_a_token_that_opens_the_chat_and_others_get_their_reason() {
    let up = Up::start();
    let front = up.ask("GET", "/", &[], "").await;
    assert_eq!(front.status, 200);
    assert!(String::from_utf8_lossy(&front.body).contains("Log in"));
    assert_eq!(
        up.token("").await.refusal(),
        refusal(401, "login required", "LOGIN_REQUIRED")
    );

    let admin = up.log_in("user=admin").await;
    let answer = up.token(&admin).await;
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let url = format!("{}/chat", up.origin.replacen("http", "ws", 1));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let frame = json!({ "type": "auth", "jwt": token }).to_string();
    socket.send(Message::text(frame)).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text(r#"{"type":"auth_ok"}"#)
    );

    let owner = up.log_in("user=owner").await;
    assert_eq!(up.token(&owner).await.status, 200);
    let junior = up.log_in("user=junior").await;
    assert_eq!(
        up.token(&junior).await.refusal(),
        refusal(403, "role not allowed", "ROLE_NOT_ALLOWED")
    );

    for (form, refused) in [
        (
            "id=status-401",
            refusal(502, "ask2do auth failed", "TENANT_KEY_REJECTED"),
        ),
        (
            "id=waf-403",
            refusal(502, "ask2do auth failed", "CLOUD_RESPONSE_INVALID"),
        ),
        (
            "id=status-503",
            refusal(502, "ask2do auth failed", "CLOUD_UNAVAILABLE"),
        ),
    ] {
        up.ask("POST", "/scenario", &[("cookie", &admin)], form)
            .await;
        assert_eq!(up.token(&admin).await.refusal(), refused, "{form}");
    }

    up.ask("POST", "/logout", &[("cookie", &admin)], "").await;
    assert_eq!(
        up.token(&admin).await.refusal(),
        refusal(401, "login required", "LOGIN_REQUIRED")
    );
    assert_eq!(up.token(&owner).await.status, 200);
}
