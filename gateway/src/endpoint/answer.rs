//! The endpoint's answers: never cached, never a redirect, with CORS headers for allowed origins.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::Endpoint;
use crate::failure::Failure;
use crate::minter::MintedToken;
use crate::origin::Origin;

/// The request's id, on successes too, where the body has no room for it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// Headers that any page may send.
const ALLOWED_HEADERS: [&str; 6] = [
    "authorization",
    "baggage",
    "content-type",
    "traceparent",
    "tracestate",
    "x-requested-with",
];

/// The vendor's form of a time: UTC, three decimals, Z.
const EXPIRES_AT: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
);

/// What becomes of a request.
pub(super) enum Outcome {
    Minted(MintedToken),
    Preflight,
    Failed(Failure),
}

#[derive(Serialize)]
struct Success<'a> {
    token: &'a str,
    #[serde(rename = "expiresAt")]
    expires_at: &'a str,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
}

impl Outcome {
    /// What the metrics call it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Minted(_) => "OK",
            Self::Preflight => "PREFLIGHT",
            Self::Failed(failure) => failure.row().reason.as_str(),
        }
    }

    /// The answer. `request` are the request's headers.
    pub(super) fn answer(&self, endpoint: &Endpoint, request: &HeaderMap, id: &str) -> Response {
        let mut response = match self {
            Self::Minted(minted) => success(minted),
            Self::Preflight => preflight(endpoint),
            Self::Failed(failure) => refusal(endpoint, failure, id),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // JSON, which no browser may take for a script or a page.
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(REQUEST_ID, id);
        }
        if !endpoint.guard.allowed.is_empty() {
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = endpoint.guard.allowed_origin(request) {
            allow(headers, origin);
        }
        response
    }
}

fn success(minted: &MintedToken) -> Response {
    let expires_at = minted.expires_at.to_offset(time::UtcOffset::UTC);
    json(
        StatusCode::OK,
        &Success {
            token: &minted.token,
            expires_at: &vendor_time(expires_at),
        },
    )
}

/// Cut, not rounded, to milliseconds: a token never looks longer-lived than it is.
fn vendor_time(utc: OffsetDateTime) -> String {
    // Writing to a string fails only for a format that needs parts a date and time do not have.
    utc.format(EXPIRES_AT).unwrap_or_default()
}

fn refusal(endpoint: &Endpoint, failure: &Failure, id: &str) -> Response {
    let row = failure.row();
    let mut response = json(
        row.status,
        &Refusal {
            error: row.error,
            code: row.reason.as_str(),
            request_id: id,
        },
    );
    let headers = response.headers_mut();
    if let Some(retry_after) = row.retry_after {
        // Whole seconds, rounded up: earlier would be too early.
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
            headers.insert(header::RETRY_AFTER, seconds);
        }
    }
    if *failure == Failure::MethodNotAllowed {
        headers.insert(header::ALLOW, HeaderValue::from_static(methods(endpoint)));
    }
    response
}

fn preflight(endpoint: &Endpoint) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods(endpoint)),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        endpoint.allow_headers.clone(),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static(PREFLIGHT_SECONDS),
    );
    response
}

/// What a page may send: what the guard and the trace look at, what browsers' tracing adds beside it, and
/// what the session check reads.
pub(super) fn allow_headers(credentials: &[HeaderName]) -> HeaderValue {
    let allowed: BTreeSet<&str> = ALLOWED_HEADERS
        .into_iter()
        .chain(credentials.iter().map(HeaderName::as_str))
        .collect();
    let allowed: Vec<&str> = allowed.into_iter().collect();
    // Names of headers and commas always make a value.
    HeaderValue::from_str(&allowed.join(", ")).unwrap_or(HeaderValue::from_static("content-type"))
}

fn methods(endpoint: &Endpoint) -> &'static str {
    if endpoint.allow_get {
        "GET, POST, OPTIONS"
    } else {
        "POST, OPTIONS"
    }
}

fn allow(headers: &mut HeaderMap, origin: &Origin) {
    let Ok(origin) = HeaderValue::from_str(origin.as_str()) else {
        return; // Unreachable: an origin is ASCII, and the request's header was equal to it.
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Retry-After, X-Request-Id"),
    );
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Structs of strings always serialize.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_end_of_a_token_is_written_as_the_vendor_writes_it() {
        for (at, text) in [
            (datetime!(2026-05-02 13:55 UTC), "2026-05-02T13:55:00.000Z"),
            (
                datetime!(2026-05-02 13:55:01.9999 UTC),
                "2026-05-02T13:55:01.999Z",
            ),
            (
                datetime!(2026-05-02 15:55:00.5 +2),
                "2026-05-02T13:55:00.500Z",
            ),
        ] {
            assert_eq!(vendor_time(at.to_offset(time::UtcOffset::UTC)), text);
        }
    }
}
