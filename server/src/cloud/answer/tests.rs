use http::HeaderValue;

use super::*;

fn wait(value: &str) -> Option<Duration> {
    let now = httpdate::parse_http_date("Sat, 02 May 2026 13:40:00 GMT").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
    retry_after(&headers, now)
}

#[test]
fn retry_after_is_seconds_or_a_date_and_half_a_minute_at_most() {
    let table = [
        ("0", Some(0)),
        ("7", Some(7)),
        (" 7 ", Some(7)),
        ("30", Some(30)),
        ("31", Some(30)),
        ("99999999999999999999999999", Some(30)),
        ("Sat, 02 May 2026 13:40:12 GMT", Some(12)),
        ("Saturday, 02-May-26 13:40:12 GMT", Some(12)),
        ("Sat, 02 May 2026 14:40:00 GMT", Some(30)),
        ("Sat, 02 May 2026 13:39:00 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("7s", None),
        ("soon", None),
        ("2026-05-02T13:40:12Z", None),
    ];
    for (value, seconds) in table {
        assert_eq!(wait(value), seconds.map(Duration::from_secs), "{value:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now()), None);
}
