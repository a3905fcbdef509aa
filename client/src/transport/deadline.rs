//! The time that a call has, here and on the wire.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// Source: gRPC over HTTP/2, "Requests": at most eight digits and a unit.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most that the milliseconds of the header can say.
const MOST_MILLIS: u128 = 99_999_999;

/// When the call with these headers must be over: what they say, or `default` from now.
pub(super) fn of(headers: &HeaderMap, default: Duration) -> Instant {
    let own = headers.get(GRPC_TIMEOUT).and_then(parse);
    Instant::now() + own.unwrap_or(default)
}

/// Writes what is left until `deadline`. Gives `false` where nothing is.
pub(super) fn write(headers: &mut HeaderMap, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = left.as_millis().min(MOST_MILLIS);
    if let Ok(value) = HeaderValue::try_from(format!("{millis}m")) {
        headers.insert(GRPC_TIMEOUT, value);
    }
    millis > 0
}

fn parse(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(timeout: &str) -> HeaderMap {
        HeaderMap::from_iter([(GRPC_TIMEOUT, timeout.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_written_in_milliseconds() {
        let deadline = of(&HeaderMap::new(), Duration::from_secs(6));
        tokio::time::advance(Duration::from_millis(1500)).await;
        let mut headers = HeaderMap::new();
        assert!(write(&mut headers, deadline));
        assert_eq!(headers["grpc-timeout"], "4500m");
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!write(&mut headers, deadline));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_of_years_is_written_as_the_longest_that_there_is() {
        let deadline = of(&HeaderMap::new(), Duration::from_secs(1 << 30));
        let mut headers = HeaderMap::new();
        assert!(write(&mut headers, deadline));
        assert_eq!(headers["grpc-timeout"], "99999999m");
    }

    #[tokio::test(start_paused = true)]
    async fn a_calls_own_timeout_comes_first() {
        for (text, seconds) in [
            ("2S", 2.0),
            ("1500m", 1.5),
            ("1M", 60.0),
            ("1H", 3600.0),
            ("500000u", 0.5),
            ("1000000n", 0.001),
        ] {
            let left = of(&headers(text), Duration::from_secs(6)) - Instant::now();
            assert_eq!(left, Duration::from_secs_f64(seconds), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_that_is_none_is_ignored() {
        for text in ["", "S", "1", "1x", "123456789S", "-1S", "1.5S"] {
            let left = of(&headers(text), Duration::from_secs(6)) - Instant::now();
            assert_eq!(left, Duration::from_secs(6), "{text}");
        }
    }
}
