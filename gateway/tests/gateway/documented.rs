//! What is in `docs/openapi.yaml`, and that the check against it can fail.

use axum::http::{HeaderMap, Method, StatusCode};

use crate::fakes::Headers;
use crate::openapi::differences;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const FAILURE: Headers<'_> = &[
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-request-id", ID),
    ("x-content-type-options", "nosniff"),
];

fn failure(error: &str, code: &str) -> String {
    format!(r#"{{"error":"{error}","code":"{code}","requestId":"{ID}"}}"#)
}

fn found(method: &Method, status: u16, headers: Headers<'_>, body: &str) -> Vec<String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            axum::http::HeaderName::try_from(*name).unwrap(),
            value.parse().unwrap(),
        );
    }
    let status = StatusCode::from_u16(status).unwrap();
    differences(method, status, &map, body.as_bytes())
}

#[test]
fn what_is_documented_is_found_so() {
    let login = failure("login required", "LOGIN_REQUIRED");
    let none: [String; 0] = [];
    assert_eq!(found(&Method::POST, 401, FAILURE, &login), none);
    let busy = failure("ask2do is busy", "CLOUD_RATE_LIMITED");
    let later = [FAILURE, &[("retry-after", "30")]].concat();
    assert_eq!(found(&Method::POST, 503, &later, &busy), none);
    // What is no HTTP is answered with nothing.
    let bare = &[("content-length", "0")];
    assert_eq!(found(&Method::POST, 400, bare, ""), none);
    assert_eq!(found(&Method::PUT, 431, bare, ""), none);
}

#[test]
fn each_difference_from_the_document_is_found() {
    let login = failure("login required", "LOGIN_REQUIRED");
    let busy = failure("ask2do is busy", "CLOUD_RATE_LIMITED");
    let method = failure("method not allowed", "METHOD_NOT_ALLOWED");
    let with = |headers: Headers<'static>| [FAILURE, headers].concat();
    let token = r#"{"token":"x","expiresAt":"2026-05-02T13:55:00.000Z","role":"admin"}"#;
    let cases = [
        ("a status", "POST", 418, FAILURE.to_vec(), &*login),
        (
            "a status of another method",
            "OPTIONS",
            401,
            FAILURE.to_vec(),
            &login,
        ),
        (
            "405 to POST",
            "POST",
            405,
            with(&[("allow", "POST, OPTIONS")]),
            &method,
        ),
        ("405 without Allow", "PUT", 405, FAILURE.to_vec(), &method),
        (
            "no request id",
            "POST",
            401,
            [&FAILURE[..2], &FAILURE[3..]].concat(),
            &login,
        ),
        (
            "no cache control",
            "POST",
            401,
            [&FAILURE[..1], &FAILURE[2..]].concat(),
            &login,
        ),
        (
            "a header twice",
            "POST",
            401,
            with(&[("cache-control", "no-store")]),
            &login,
        ),
        (
            "a redirect",
            "POST",
            401,
            with(&[("location", "/login")]),
            &login,
        ),
        (
            "a cookie",
            "POST",
            401,
            with(&[("set-cookie", "a=b")]),
            &login,
        ),
        ("no time to come back", "POST", 503, FAILURE.to_vec(), &busy),
        (
            "no time that is one",
            "POST",
            503,
            with(&[("retry-after", "0")]),
            &busy,
        ),
        ("text", "POST", 401, with(&[]), "login required"),
        (
            "no content type",
            "POST",
            401,
            FAILURE[1..].to_vec(),
            &login,
        ),
        ("another's words", "POST", 403, FAILURE.to_vec(), &login),
        ("a token with more", "POST", 200, FAILURE.to_vec(), token),
        ("nothing", "POST", 401, vec![("content-length", "0")], ""),
        (
            "a body to a preflight",
            "OPTIONS",
            204,
            FAILURE.to_vec(),
            &login,
        ),
        (
            "a body to HEAD",
            "HEAD",
            405,
            with(&[("allow", "POST, OPTIONS")]),
            &method,
        ),
    ];
    for (what, method, status, headers, body) in cases {
        let method = method.parse().unwrap();
        let found = found(&method, status, &headers, body);
        assert!(!found.is_empty(), "{what} is not found");
    }
}
