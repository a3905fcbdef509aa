//! What the load tells over HTTP, and the panel that its browsers are logged in to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use super::ledger::{Ledger, now};
use super::target::ROLE;

/// How long a report waits for calls under way: longer than any of them can take.
const PATIENCE: Duration = Duration::from_secs(15);

type Ledgers = Arc<Vec<Arc<Ledger>>>;

pub(super) fn router(ledgers: Vec<Arc<Ledger>>) -> Router {
    Router::new()
        .route("/now", get(async || Json(json!({"now": now()}))))
        .route("/report/{from}/{to}", get(report))
        .route("/whoami", get(whoami))
        .with_state(Arc::new(ledgers))
}

/// The calls of every lane that began between two times, in milliseconds since 1970. Waits for `to`,
/// and for what is under way then.
async fn report(State(ledgers): State<Ledgers>, Path((from, to)): Path<(u64, u64)>) -> Response {
    tokio::time::sleep(Duration::from_millis(to.saturating_sub(now()))).await;
    let all = async {
        loop {
            let reports: Option<BTreeMap<_, _>> = ledgers
                .iter()
                .map(|ledger| Some((ledger.name().to_owned(), ledger.report(from, to)?)))
                .collect();
            match reports {
                Some(reports) => return Json(reports).into_response(),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let late = (StatusCode::GATEWAY_TIMEOUT, "calls are still under way\n");
    tokio::time::timeout(PATIENCE, all)
        .await
        .unwrap_or_else(|_| late.into_response())
}

/// The panel's answer to the gateway's `forward`: whose id stands in the session's cookie is logged in.
async fn whoami(headers: HeaderMap) -> Response {
    let cookie = headers
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok());
    match cookie.and_then(|cookie| cookie.strip_prefix("session=")) {
        Some(id) => Json(json!({"id": id, "role": ROLE})).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}
