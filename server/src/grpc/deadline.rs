//! How much time a call has.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::message::InvalidRequest;

/// How much earlier than the caller's own timer the server answers, so that its reason arrives
/// first.
const HEAD_START: Duration = Duration::from_millis(100);

/// The time from a call's arrival to its answer: `limit`, or what the caller's `grpc-timeout` leaves if
/// that is less.
///
/// A malformed `grpc-timeout` is an error. The specification leaves it open; a caller whose
/// deadline would silently not hold had better learn of it.
pub(super) fn time_for(headers: &HeaderMap, limit: Duration) -> Result<Duration, InvalidRequest> {
    let mut values = headers.get_all("grpc-timeout").iter();
    let timeout = match (values.next(), values.next()) {
        (None, _) => return Ok(limit),
        (Some(value), None) => parse(value),
        // Nobody knows which of them the caller keeps.
        (Some(_), Some(_)) => None,
    };
    timeout
        .map(|timeout| timeout.saturating_sub(HEAD_START).min(limit))
        .ok_or(InvalidRequest::MalformedTimeout)
}

/// `TimeoutValue TimeoutUnit` of the gRPC-over-HTTP/2 specification: 1 to 8 digits, one letter.
fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let one = match unit {
        b'H' => Duration::from_secs(60 * 60),
        b'M' => Duration::from_secs(60),
        b'S' => Duration::from_secs(1),
        b'm' => Duration::from_millis(1),
        b'u' => Duration::from_micros(1),
        b'n' => Duration::from_nanos(1),
        _ => return None,
    };
    Some(one * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn time(grpc_timeout: &'static str) -> Result<Duration, InvalidRequest> {
        let value = HeaderValue::from_static(grpc_timeout);
        time_for(
            &HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), value)]),
            LIMIT,
        )
    }

    #[test]
    fn without_a_timeout_it_is_the_limit() {
        assert_eq!(time_for(&HeaderMap::new(), LIMIT), Ok(LIMIT));
    }

    #[test]
    fn the_callers_timeout_counts_less_a_head_start_where_it_is_shorter() {
        let expected = [
            ("1S", Duration::from_millis(900)),
            ("5S", Duration::from_millis(4900)),
            ("5100m", LIMIT),
            ("6S", LIMIT),
            ("00000300m", Duration::from_millis(200)),
            ("300000u", Duration::from_millis(200)),
            ("99999999n", Duration::ZERO),
            ("100m", Duration::ZERO),
            ("0S", Duration::ZERO),
            ("1M", LIMIT),
            ("99999999H", LIMIT),
        ];
        for (text, expected) in expected {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn two_timeouts_are_none() {
        let name = || "grpc-timeout".parse().unwrap();
        let value = HeaderValue::from_static;
        let headers = HeaderMap::from_iter([(name(), value("6S")), (name(), value("6S"))]);
        assert_eq!(
            time_for(&headers, LIMIT),
            Err(InvalidRequest::MalformedTimeout)
        );
    }

    #[test]
    fn what_the_specification_does_not_allow_is_malformed() {
        for text in [
            "",
            "S",
            "5",
            "100000000m",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1 S",
            "1s",
            "1h",
            "1Sx",
            "0x1S",
            "1S1S",
        ] {
            assert_eq!(
                time(text),
                Err(InvalidRequest::MalformedTimeout),
                "{text:?}"
            );
        }
    }
}
