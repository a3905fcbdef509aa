//! What the cloud's answer means. Only the vendor speaks for the vendor: a refusal counts as one only
//! where its body is the vendor's.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::failure::{Cause, Failure};
use super::metrics::CloudMetrics;
use super::token::{self, Granted, LiveToken};
use crate::mint::PanelUser;

/// How much of a body is read. The vendor's answers have less than one KiB.
const MAX_BODY: usize = 16 * 1024;

/// The longest wait that is passed on from a 429: a cloud that says "tomorrow" must not stop callers
/// for longer than an outage would.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The body of the vendor's refusals. Its words are not compared: they are not promised.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "error")]
    _error: String,
}

/// Reads an answer to its end, as far as it is needed.
pub(super) async fn read(
    response: Response,
    user: &PanelUser,
    metrics: &CloudMetrics,
) -> Result<LiveToken, Failure> {
    let status = response.status();
    let cause = match status {
        StatusCode::OK => return granted(response, user, metrics).await,
        StatusCode::UNAUTHORIZED => refused(response, Cause::KeyRejected).await?,
        StatusCode::FORBIDDEN => refused(response, Cause::RoleRefused).await?,
        StatusCode::TOO_MANY_REQUESTS => {
            Cause::RateLimited(retry_after(response.headers(), SystemTime::now()))
        }
        _ if status.is_server_error() => Cause::Server(status),
        _ if status.is_redirection() => Cause::Redirect(status),
        _ => Cause::Status(status),
    };
    Err(cause.into())
}

async fn granted(
    response: Response,
    user: &PanelUser,
    metrics: &CloudMetrics,
) -> Result<LiveToken, Failure> {
    let date = date(response.headers());
    let body = body(response)
        .await?
        .ok_or_else(|| Failure::from(Cause::BodyTooLarge))?;
    let now = SystemTime::now();
    let granted = Granted::from_json(&body).map_err(Cause::NotLive)?;
    // Seen before the check: a skewed clock is why a token seems to have expired.
    if let Some(date) = date {
        metrics.clock_skew(date, now);
    }
    let live = granted.check(user, OffsetDateTime::from(now));
    Ok(live.map_err(Cause::NotLive)?)
}

async fn refused(response: Response, cause: Cause) -> Result<Cause, Failure> {
    let status = response.status();
    let body = body(response).await?;
    let vendors = body.is_some_and(|body| token::object::<Refusal>(&body).is_some());
    Ok(if vendors {
        cause
    } else {
        Cause::NotTheVendor(status)
    })
}

/// The body, in a buffer that is wiped and never grows; `None` where it is too large.
async fn body(mut response: Response) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let capacity = match response.content_length().map(usize::try_from) {
        // The HTTP library takes no more than what is announced. An answer has some 500 bytes.
        Some(Ok(announced)) if announced <= MAX_BODY => announced,
        Some(_) => return Ok(None),
        None => MAX_BODY,
    };
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    while let Some(chunk) = response.chunk().await.map_err(Failure::from_transport)? {
        if body.len() + chunk.len() > capacity {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// `Retry-After` in either of its forms (RFC 9110, 10.2.3), clamped; `None` where it is neither.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for the type are too long a wait all the more.
        value.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        until.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests;
