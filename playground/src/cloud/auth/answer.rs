//! The answer to a well-formed call with the right key: a token, or a fault.

use std::future::pending;
use std::io;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::super::link::Link;
use super::super::scenario::{Fault, RetryAfter};
use super::super::token::Signer;
use super::reply::reply;
use super::{ELSEWHERE, PanelUser, error};

/// Far more than a careful client reads.
const HUGE: usize = 10 * 1024 * 1024;

/// How far ahead the `date` form of `Retry-After` is.
const RETRY_DATE: Duration = Duration::from_secs(5);

/// So that the first half of a truncated body is on its way before the connection breaks.
const BEFORE_THE_BREAK: Duration = Duration::from_millis(20);

pub(super) async fn answer(
    signer: &Signer,
    link: &Link,
    user: &PanelUser,
    fault: Option<Fault>,
) -> Result<Response, io::Error> {
    let defect = match fault {
        Some(Fault::Token(defect)) => Some(defect),
        _ => None,
    };
    let reply = || reply(signer, user, defect).map_err(io::Error::other);
    let response = match fault {
        None | Some(Fault::Token(_)) => Json(reply()?).into_response(),
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            Json(reply()?).into_response()
        }
        Some(Fault::Status(code, retry_after)) => status(code, retry_after),
        Some(Fault::Reset) => {
            link.reset()?;
            pending().await
        }
        Some(Fault::Close) => {
            link.close();
            pending().await
        }
        Some(Fault::Truncated) => truncated(&reply()?.to_string()),
        Some(Fault::Drip(pause)) => drip(reply()?.to_string(), pause),
        Some(Fault::Garbage) => json_body("\u{0}<not json>{\"token\":"),
        Some(Fault::Huge) => json_body(json!({ "token": "a".repeat(HUGE) }).to_string()),
        Some(Fault::Redirect(code)) => (code, [(header::LOCATION, ELSEWHERE)]).into_response(),
        Some(Fault::Firewall) => (
            StatusCode::FORBIDDEN,
            Html("<!doctype html><title>Access denied</title><h1>Request blocked</h1><p>Ray 8f1c"),
        )
            .into_response(),
        Some(Fault::FirewallJson) => {
            (StatusCode::FORBIDDEN, Json(json!({ "error": { "code": 1020 }, "message": "blocked" }))).into_response()
        }
        Some(Fault::Proxy) => (
            StatusCode::UNAUTHORIZED,
            Html("<!doctype html><title>Sign in to the network</title><h1>Authentication required</h1>"),
        )
            .into_response(),
        Some(Fault::Skew(ahead)) => {
            let mut response = Json(reply()?).into_response();
            // hyper adds its own only where there is none.
            response.headers_mut().insert(header::DATE, http_date(ahead)?);
            response
        }
    };
    Ok(response)
}

fn status(code: StatusCode, retry_after: Option<RetryAfter>) -> Response {
    let mut response = match code {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            code.into_response()
        }
        StatusCode::UNAUTHORIZED => error(code, "invalid tenant key"),
        StatusCode::FORBIDDEN => error(code, "role not allowed"),
        _ => error(code, &format!("simulated status {}", code.as_u16())),
    };
    let value = match retry_after {
        Some(RetryAfter::Seconds(seconds)) => Some(HeaderValue::from(seconds)),
        Some(RetryAfter::Date) => http_date(RETRY_DATE).ok(),
        Some(RetryAfter::Garbage) => Some(HeaderValue::from_static("in a while")),
        None => None,
    };
    if let Some(value) = value {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

fn json_body(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

fn truncated(reply: &str) -> Response {
    let (first, _) = reply.split_at(reply.len() / 2);
    let chunks = stream::unfold(
        Some(Bytes::copy_from_slice(first.as_bytes())),
        |first| async {
            match first {
                Some(first) => Some((Ok(first), None)),
                None => {
                    tokio::time::sleep(BEFORE_THE_BREAK).await;
                    Some((Err(io::Error::other("broken off as asked")), None))
                }
            }
        },
    );
    let mut response = json_body(Body::from_stream(chunks));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(reply.len()));
    response
}

fn drip(reply: String, pause: Duration) -> Response {
    let bytes = Bytes::from(reply);
    let length = bytes.len();
    let drops = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, io::Error>(rest.split_to(1)), rest))
    });
    let mut response = json_body(Body::from_stream(drops));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn http_date(ahead: Duration) -> io::Result<HeaderValue> {
    let text = httpdate::fmt_http_date(SystemTime::now() + ahead);
    HeaderValue::try_from(text).map_err(io::Error::other)
}
