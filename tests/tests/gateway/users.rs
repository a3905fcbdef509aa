//! Many users at once, through everything that runs in production: each gets a token of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ask2do_token_tests::gateway::PATH;
use ask2do_token_tests::suite::Suite;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::behind::whole;

/// The gateway's own test has 100,000 of them, before a fake service.
const MINTS: usize = 2_000;
const BROWSERS: usize = 32;
const USERS: usize = 97;

pub(crate) fn add(suite: &mut Suite) {
    suite.case("users::many_at_once_each_get_their_own_token", many);
}

async fn many() {
    let (_world, _server, _panel, gateway) = whole().await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut browsers = JoinSet::new();
    for _ in 0..BROWSERS {
        let (next, address) = (next.clone(), gateway.http);
        browsers.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            let connection = tokio::spawn(connection);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MINTS {
                    break;
                }
                // Neighbours are often the same user, so that questions are shared, and often not.
                let user = (number / 3) % USERS;
                let role = if user.is_multiple_of(2) {
                    "owner"
                } else {
                    "admin"
                };
                let request = Request::post(PATH)
                    .header("host", "panel.example")
                    .header("sec-fetch-site", "same-origin")
                    .header("cookie", format!("sid={role}/{user}"))
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                sender.ready().await.unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let claims = claims(&body);
                assert_eq!(claims["sub"], user.to_string());
                assert_eq!(claims["role"], role);
            }
            connection.abort();
        });
    }
    browsers.join_all().await;
}

fn claims(answer: &[u8]) -> Value {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let token = answer["token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
