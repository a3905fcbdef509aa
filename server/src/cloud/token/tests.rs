use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-05-02 13:40:00 UTC);
/// The vendor's sample: fifteen minutes later.
const EXPIRES_AT: &str = "2026-05-02T13:55:00.000Z";

fn user() -> PanelUser {
    PanelUser::parse("42".to_owned(), "admin".to_owned()).unwrap()
}

fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

fn jwt(header: &Value, claims: &Value) -> String {
    format!("{}.{}.c2lnbmF0dXJl", part(header), part(claims))
}

fn eddsa() -> Value {
    json!({"alg": "EdDSA", "kid": "1"})
}

fn seconds(time: OffsetDateTime) -> i64 {
    time.unix_timestamp()
}

fn claims() -> Value {
    let exp = seconds(datetime!(2026-05-02 13:55:00 UTC));
    json!({"sub": "42", "role": "admin", "exp": exp})
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn check(token: &str, expires_at: &str, now: OffsetDateTime) -> Result<LiveToken, NotLive> {
    let body = json!({"token": token, "expiresAt": expires_at}).to_string();
    Granted::from_json(body.as_bytes())?.check(&user(), now)
}

fn check_claims(claims: &Value) -> Result<LiveToken, NotLive> {
    check(&jwt(&eddsa(), claims), EXPIRES_AT, NOW)
}

#[test]
fn the_vendors_token_is_passed_on_as_it_came() {
    let token = jwt(&eddsa(), &claims());
    let live = check(&token, EXPIRES_AT, NOW).unwrap();
    assert_eq!(live.minted.token.expose_secret(), token);
    assert_eq!(live.minted.expires_at, datetime!(2026-05-02 13:55:00 UTC));
    assert_eq!(live.mismatch, None);
}

#[test]
fn a_body_without_both_strings_is_refused() {
    let bodies = [
        "",
        "{}",
        "null",
        "[]",
        "<html>",
        r#"["a.b.c","2026-05-02T13:55:00Z"]"#,
        r#"{"token":"a.b.c"}"#,
        r#"{"expiresAt":"2026-05-02T13:55:00Z"}"#,
        r#"{"token":1,"expiresAt":"2026-05-02T13:55:00Z"}"#,
        r#"{"token":"a.b.c","expiresAt":1777729200}"#,
        r#"{"token":null,"expiresAt":null}"#,
    ];
    for body in bodies {
        let error = Granted::from_json(body.as_bytes()).err();
        assert_eq!(error, Some(NotLive::Body), "{body}");
    }
}

#[test]
fn fields_that_may_come_later_do_not_disturb() {
    let body = json!({"token": "t", "expiresAt": "e", "tokenType": "Bearer"}).to_string();
    assert!(Granted::from_json(body.as_bytes()).is_ok());
}

#[test]
fn what_is_not_three_base64url_parts_is_refused() {
    let [header, claims] = [part(&eddsa()), part(&claims())];
    let tokens = [
        String::new(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!(".{claims}.c2ln"),
        format!("{header}..c2ln"),
        format!("{header}.{claims}.c2ln.c2ln"),
        format!("{header}.{claims}.c2ln\n"),
        format!("{header}.{claims}.c2+n"),
        format!("{header}.{claims}.c2l="),
        format!("{header}.{claims}.c2\u{e9}n"),
        format!("{header}.{claims}.c"),
        format!("Bearer {header}.{claims}.c2ln"),
    ];
    for token in tokens {
        let error = check(&token, EXPIRES_AT, NOW).unwrap_err();
        assert_eq!(error, NotLive::Parts, "{token:?}");
    }
}

#[test]
fn a_last_character_with_bits_to_spare_is_no_reason_to_refuse() {
    let token = jwt(&eddsa(), &claims()).replace("c2lnbmF0dXJl", "c2lnbl");
    assert!(check(&token, EXPIRES_AT, NOW).is_ok());
}

#[test]
fn a_header_without_an_algorithm_is_refused() {
    let headers = [
        json!({}),
        json!([]),
        json!({"alg": null}),
        json!({"alg": 1}),
        json!({"alg": ""}),
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "NONE"}),
        json!({"alg": "nOnE"}),
    ];
    for header in headers {
        let error = check(&jwt(&header, &claims()), EXPIRES_AT, NOW).unwrap_err();
        assert_eq!(error, NotLive::Algorithm, "{header}");
    }
    let not_json = format!("aGVhZGVy.{}.c2ln", part(&claims()));
    let error = check(&not_json, EXPIRES_AT, NOW).unwrap_err();
    assert_eq!(error, NotLive::Algorithm);
}

#[test]
fn any_other_algorithm_is_the_vendors_choice() {
    for alg in ["ES256", "RS256", "Ed25519", "ML-DSA-65"] {
        let token = jwt(&json!({"alg": alg}), &claims());
        assert!(check(&token, EXPIRES_AT, NOW).is_ok(), "{alg}");
    }
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let table = [
        ("sub", json!("43"), NotLive::Subject),
        ("sub", json!("42 "), NotLive::Subject),
        ("sub", json!(42), NotLive::Subject),
        ("sub", Value::Null, NotLive::Subject),
        ("role", json!("owner"), NotLive::Role),
        ("role", json!("Admin"), NotLive::Role),
        ("role", json!(["admin"]), NotLive::Role),
    ];
    for (name, value, expected) in table {
        let error = check_claims(&with(claims(), name, value.clone())).unwrap_err();
        assert_eq!(error, expected, "{name}: {value}");
    }
}

#[test]
fn claims_that_are_absent_are_not_asked_for() {
    let live = check_claims(&json!({"exp": claims()["exp"]})).unwrap();
    assert_eq!(live.mismatch, None);
}

#[test]
fn claims_that_are_no_json_object_are_refused() {
    for claims in [json!([]), json!("42"), json!(42)] {
        assert_eq!(check_claims(&claims).unwrap_err(), NotLive::Claims);
    }
}

#[test]
fn expires_at_is_rfc_3339() {
    let token = jwt(&eddsa(), &claims());
    for time in [
        "",
        "1777729200",
        "2026-05-02",
        "2026-05-02 13:55",
        "2026-13-02T13:55:00Z",
        "2026-05-02T13:55:00",
        "Sat, 02 May 2026 13:55:00 GMT",
        "9999-12-31T23:59:59-23:59",
    ] {
        let error = check(&token, time, NOW).unwrap_err();
        assert_eq!(error, NotLive::ExpiresAt, "{time}");
    }
    for time in [
        "2026-05-02T13:55:00Z",
        "2026-05-02T15:55:00+02:00",
        "2026-05-02T13:55:00.000000Z",
    ] {
        let live = check(&token, time, NOW).unwrap();
        assert_eq!(live.minted.expires_at, datetime!(2026-05-02 13:55:00 UTC));
        assert!(live.minted.expires_at.offset().is_utc());
    }
}

#[test]
fn a_token_is_live_until_a_minute_after_the_later_of_its_ends() {
    let end = datetime!(2026-05-02 13:55:00 UTC);
    let token = |exp| jwt(&eddsa(), &with(claims(), "exp", json!(seconds(exp))));
    let minute = Duration::MINUTE;
    let early = end - 10 * minute;
    // (the token's own end, how long after the later one it is, whether it lives)
    let table = [
        (end, -minute, true),
        (end, Duration::ZERO, true),
        (end, minute, true),
        (end, minute + Duration::MILLISECOND, false),
        (early, minute, true),
        (early, minute + Duration::MILLISECOND, false),
    ];
    for (exp, after, lives) in table {
        let result = check(&token(exp), EXPIRES_AT, end + after);
        assert_eq!(result.is_ok(), lives, "{exp} {after}");
        if !lives {
            assert_eq!(result.unwrap_err(), NotLive::Expired);
        }
    }
    // Here `exp` is the later one.
    let late = end + 10 * minute;
    assert!(check(&token(late), EXPIRES_AT, late + minute).is_ok());
    let error = check(&token(late), EXPIRES_AT, late + minute + Duration::SECOND).unwrap_err();
    assert_eq!(error, NotLive::Expired);
}

#[test]
fn an_odd_exp_is_passed_on_with_the_earlier_end() {
    let end = datetime!(2026-05-02 13:55:00 UTC);
    let apart = Some(ExpiryMismatch::Apart);
    let missing = Some(ExpiryMismatch::Missing);
    let second = Duration::SECOND;
    let table = [
        (json!(seconds(end)), None, end),
        // Within the minute it is the answer's time that counts.
        (json!(seconds(end - 60 * second)), None, end),
        (json!(seconds(end + 60 * second)), None, end),
        (json!(seconds(end - 61 * second)), apart, end - 61 * second),
        (json!(seconds(end + 61 * second)), apart, end),
        // A fraction is allowed by RFC 7519.
        (json!(1_777_730_100.5), None, end),
        (json!(1e18), apart, end),
        (json!(-1e18), apart, OffsetDateTime::UNIX_EPOCH),
        (
            json!(-1_000_000_000_000_i64),
            apart,
            OffsetDateTime::UNIX_EPOCH,
        ),
        (json!(0), apart, OffsetDateTime::UNIX_EPOCH),
        // Milliseconds, as JavaScript counts them.
        (json!(seconds(end) * 1000), apart, end),
        (json!("1777730100"), missing, end),
        (Value::Null, missing, end),
    ];
    for (exp, mismatch, expires_at) in table {
        let live = check_claims(&with(claims(), "exp", exp.clone())).unwrap();
        assert_eq!(live.mismatch, mismatch, "{exp}");
        assert_eq!(live.minted.expires_at, expires_at, "{exp}");
    }
    let live = check_claims(&json!({"sub": "42"})).unwrap();
    assert_eq!(live.mismatch, missing);
}

#[test]
fn a_token_that_no_header_would_take_is_refused() {
    let padding = "x".repeat(MAX_TOKEN_LENGTH);
    let token = jwt(&eddsa(), &with(claims(), "padding", json!(padding)));
    let error = check(&token, EXPIRES_AT, NOW).unwrap_err();
    assert_eq!(error, NotLive::TooLong);
}

#[test]
fn errors_show_nothing_of_the_token() {
    let token = jwt(&eddsa(), &with(claims(), "sub", json!("canary")));
    let error = check(&token, EXPIRES_AT, NOW).unwrap_err();
    let shown = format!("{error} {error:?} {}", error.as_str());
    assert!(!shown.contains("canary") && !shown.contains(&token[..20]));
    let live = check(&jwt(&eddsa(), &claims()), EXPIRES_AT, NOW).unwrap();
    assert!(!format!("{live:?}").contains(&part(&claims())));
}
