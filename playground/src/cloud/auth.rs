//! `POST /auth/token`, and what tests ask under `/_sim/`.

mod answer;
mod reply;

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::calls::Call;
use super::link::Link;
use super::scenario::Fault;
use super::{Simulation, chat};
use crate::trace::traced;

/// A request is some 150 bytes.
const REQUEST_LIMIT: usize = 16 * 1024;

/// Where the simulated redirects lead.
pub(super) const ELSEWHERE: &str = "/_sim/elsewhere";

pub(super) fn router(simulation: Arc<Simulation>) -> Router {
    Router::new()
        .route(
            "/auth/token",
            post(mint).layer(from_fn_with_state("POST /auth/token", traced)),
        )
        .route("/chat", get(chat::open))
        .route("/_sim/calls", get(calls))
        .route("/_sim/last", get(last))
        .route("/_sim/jwk", get(jwk))
        .route(ELSEWHERE, any(elsewhere))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "not found") })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .layer(DefaultBodyLimit::max(REQUEST_LIMIT))
        .with_state(simulation)
}

/// The request as the vendor documents it. No `Debug`: the tenant key would be in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    tenant_key: String,
    panel_user: PanelUser,
}

#[derive(Deserialize)]
struct PanelUser {
    id: String,
    role: String,
}

async fn mint(
    State(simulation): State<Arc<Simulation>>,
    Extension(link): Extension<Link>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let mut call = Call::new(&headers, link.tls.clone());
    let request = match parse(&headers, body) {
        Ok(request) => request,
        Err((status, message)) => {
            simulation.ledger.record(call);
            return error(status, message);
        }
    };
    call.panel_id = Some(request.panel_user.id.clone());
    let before = simulation.ledger.record(call);

    match simulation.tenant_keys.accept(&request.tenant_key).await {
        Ok(true) => {}
        Ok(false) => return error(StatusCode::UNAUTHORIZED, "invalid tenant key"),
        Err(cause) => {
            tracing::error!(%cause, "cannot read the tenant key file");
            return error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the simulated cloud cannot read its tenant key file",
            );
        }
    }
    let user = request.panel_user;
    if !simulation.roles.contains(&user.role) {
        return error(StatusCode::FORBIDDEN, "role not allowed");
    }
    let fault = Fault::of(&user.id, before);
    match answer::answer(&simulation.signer, &link, &user, fault).await {
        Ok(response) => response,
        Err(cause) => {
            tracing::error!(%cause, "cannot make an answer");
            error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the simulated cloud failed unasked",
            )
        }
    }
}

fn parse(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<TokenRequest, (StatusCode, &'static str)> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err((
            StatusCode::BAD_REQUEST,
            "content-type must be application/json",
        ));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, "request too large"),
        _ => (StatusCode::BAD_REQUEST, "request body cannot be read"),
    })?;
    let malformed = "tenantKey, panelUser.id and panelUser.role are required strings";
    serde_json::from_slice(&body).map_err(|_| (StatusCode::BAD_REQUEST, malformed))
}

/// An error in the vendor's form.
fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

async fn calls(State(simulation): State<Arc<Simulation>>) -> Response {
    Json(simulation.ledger.calls()).into_response()
}

async fn last(State(simulation): State<Arc<Simulation>>) -> Response {
    Json(simulation.ledger.last()).into_response()
}

async fn jwk(State(simulation): State<Arc<Simulation>>) -> Response {
    let x = URL_SAFE_NO_PAD.encode(simulation.signer.public_key());
    Json(
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": x }),
    )
    .into_response()
}

async fn elsewhere(State(simulation): State<Arc<Simulation>>) -> Response {
    simulation.ledger.redirect_followed();
    error(
        StatusCode::NOT_FOUND,
        "nothing is here: no client may follow a redirect with the key",
    )
}
