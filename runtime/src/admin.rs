//! The admin port: `/livez`, `/readyz` and `/metrics` in plain HTTP, for kubelet and Prometheus,
//! which have no client certificate.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{Format, Metrics};
use crate::readiness::Readiness;

/// The routes: `GET` and `HEAD` alone; anything else is 404 or 405.
///
/// - `/livez`: 200 as long as the process can answer.
/// - `/readyz`: 200, or 503 with one line for each thing that is missing.
/// - `/metrics`: OpenMetrics or the classic text, by `Accept`.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let lines: String = missing
        .iter()
        .map(|name| format!("not ready: {name}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    // Several headers are one list; one that is no text says nothing.
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::from_accept(&accept.join(","));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    (content_type, metrics.encode(format)).into_response()
}
