//! No user ever gets another's token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ask2do_token_gateway::application;
use ask2do_token_gateway::session::{Forward, HttpClient};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::fakes::{FakeMinter, call, endpoint, serve, widget};

const MINTS: usize = 100_000;
const TASKS: usize = 64;
const USERS: usize = 97;

/// A panel whose cookie `sid=<n>` is the session of user `n`, an owner or an admin.
async fn whoami(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let cookie = headers["cookie"].to_str().unwrap();
    let user: usize = cookie
        .strip_prefix("sid=")
        .and_then(|user| user.parse().ok())
        .ok_or(StatusCode::UNAUTHORIZED)?;
    // Out of order, so that answers would meet the wrong questions if anything could make them.
    for _ in 0..user % 7 {
        tokio::task::yield_now().await;
    }
    Ok(Json(json!({ "id": user, "role": role(user) })))
}

fn role(user: usize) -> &'static str {
    if user.is_multiple_of(2) {
        "owner"
    } else {
        "admin"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_mints_by_many_users_at_once_never_swap_a_user() {
    let panel = serve(Router::new().route("/whoami", get(whoami))).await;
    let forward = Forward::new(
        HttpClient::new().unwrap(),
        format!("http://{panel}/whoami").parse().unwrap(),
        Duration::from_secs(60),
        vec!["cookie".parse().unwrap()],
        "/id".parse().unwrap(),
        "/role".parse().unwrap(),
    )
    .unwrap();
    let minter = FakeMinter::default();
    let router = application(endpoint(), forward, minter.clone());
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (router, next) = (router.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= MINTS {
                        return;
                    }
                    // Neighbours are often the same user, so that questions are shared, and often not.
                    let user = (number / 3) % USERS;
                    let answer = call(&router, widget(&[("cookie", &format!("sid={user}"))])).await;
                    let token = format!("token of {user} as {}", role(user));
                    assert_eq!(answer.token(), Some(token), "{answer:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(minter.count(), MINTS);
}
