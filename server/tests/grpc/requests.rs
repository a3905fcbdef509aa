//! What a request may be.

use ask2do_token_proto::v1::{MintTokenRequest, PanelUser};
use ask2do_token_proto::{ERROR_DOMAIN, RETRY_PUSHBACK};
use http::{Method, Request};
use prost::Message as _;
use tonic::Code;
use tonic::body::Body;
use tonic_types::StatusExt as _;

use crate::support::{MINT_TOKEN, ORIGIN, Running, post};

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn request(id: String) -> Vec<u8> {
    let user = PanelUser {
        id,
        role: "admin".to_owned(),
    };
    MintTokenRequest {
        panel_user: Some(user),
    }
    .encode_to_vec()
}

#[tokio::test]
async fn a_caller_gets_a_token() {
    let server = Running::start().await;
    let panel = server.panel().await;
    assert_eq!(panel.mint("42", "admin").await.unwrap(), "token-of-42");
}

#[tokio::test]
async fn a_refusal_says_why_for_programs_and_for_people_and_stops_retries() {
    let server = Running::start().await;
    let status = server.panel().await.mint("42", "junior").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "ROLE_NOT_ALLOWED: Ask2Do does not serve this role"
    );
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (&*info.domain, &*info.reason),
        (ERROR_DOMAIN, "ROLE_NOT_ALLOWED")
    );
    assert_eq!(status.metadata().get(RETRY_PUSHBACK).unwrap(), "-1");
}

#[tokio::test]
async fn what_is_no_request_of_the_contract_is_answered_and_the_connection_serves_on() {
    let server = Running::start().await;
    let panel = server.panel().await;
    let mib = framed(0, &request("x".repeat(1024 * 1024)));
    let over = framed(0, &request("x".repeat(16 * 1024)));
    let garbage = framed(0, b"\x0a\xff\xff\xff\xff\xff");
    let invalid_utf8 = framed(0, b"\x0a\x04\x0a\x02\xc3\x28");
    let compressed = framed(1, &request("42".to_owned()));
    let two = framed(0, &request("42".to_owned())).repeat(2);
    for body in [
        mib,
        over,
        garbage,
        invalid_utf8,
        compressed,
        two,
        vec![0],
        Vec::new(),
    ] {
        let size = body.len();
        let (code, status) = panel.send(post(MINT_TOKEN, body)).await;
        let status = status.unwrap();
        assert_eq!(
            (code, status.code()),
            (200, Code::InvalidArgument),
            "{size} bytes"
        );
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "REQUEST_INVALID", "{size} bytes");
    }
    assert!(server.mint.users().is_empty());
    assert!(panel.mint("42", "admin").await.is_ok());
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_refused() {
    let server = Running::start().await;
    let mut gzip = post(MINT_TOKEN, framed(1, &request("42".to_owned())));
    gzip.headers_mut()
        .insert("grpc-encoding", "gzip".parse().unwrap());
    let (_, status) = server.panel().await.send(gzip).await;
    assert!(status.unwrap().message().starts_with("REQUEST_INVALID: "));
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_unimplemented() {
    let server = Running::start().await;
    let panel = server.panel().await;
    for path in [
        "/ask2do.token.v1.TokenService/Mint",
        "/other.Service/Method",
        "/",
        MINT_TOKEN.trim_start_matches("/ask2do"),
    ] {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let (code, status) = panel.send(post(&path, framed(0, &[]))).await;
        assert_eq!(
            (code, status.unwrap().code()),
            (200, Code::Unimplemented),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_is_no_grpc_gets_a_status_of_http() {
    let server = Running::start().await;
    let panel = server.panel().await;
    let with = |method: Method, content_type: Option<&str>| {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{ORIGIN}{MINT_TOKEN}"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        request.body(Body::empty()).unwrap()
    };
    for (request, expected) in [
        (with(Method::GET, Some("application/grpc")), 405),
        (with(Method::PUT, Some("application/grpc")), 405),
        (with(Method::POST, None), 415),
        (with(Method::POST, Some("application/json")), 415),
        (with(Method::POST, Some("application/grpc+json")), 415),
        (with(Method::POST, Some("application/grpc-web")), 415),
    ] {
        assert_eq!(panel.send(request).await.0, expected);
    }
    let proto = with(Method::POST, Some("application/grpc+proto; charset=utf-8"));
    assert_eq!(panel.send(proto).await.0, 200);
}
