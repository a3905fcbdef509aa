//! What stands around the gateway in these tests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ask2do_token_gateway::{
    Endpoint, MintFailure, MintedToken, Minter, SessionCheck, SessionError, SessionUser,
};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use time::macros::datetime;
use tower::ServiceExt as _;

use crate::openapi::assert_documented;

/// Names and values.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// Mints tokens that name their user, and remembers for whom it did.
#[derive(Clone, Default)]
pub(crate) struct FakeMinter {
    minted: Arc<Mutex<Vec<(String, String)>>>,
    failure: Option<MintFailure>,
}

impl FakeMinter {
    pub(crate) fn failing(failure: impl Into<MintFailure>) -> Self {
        Self {
            failure: Some(failure.into()),
            ..Self::default()
        }
    }

    pub(crate) fn minted(&self) -> Vec<(String, String)> {
        self.minted.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.minted.lock().unwrap().len()
    }
}

impl Minter for FakeMinter {
    async fn mint(&self, id: &str, role: &str) -> Result<MintedToken, MintFailure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.minted.lock().unwrap().push((id.into(), role.into()));
        tokio::task::yield_now().await;
        Ok(MintedToken {
            token: format!("token of {id} as {role}"),
            expires_at: datetime!(2026-05-02 13:55:00.123456 UTC),
        })
    }
}

/// Logged in with the cookie `sid` or any `Authorization`, and, where `ambient`, with the header `X-User`.
#[derive(Clone, Copy, Default)]
pub(crate) struct FakeSessions {
    pub(crate) ambient: bool,
}

impl SessionCheck for FakeSessions {
    async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        let has = |name: &str| request.headers.contains_key(name);
        if has("cookie") || has("authorization") || (self.ambient && has("x-user")) {
            Ok(SessionUser::new("42", ["owner"]).unwrap())
        } else {
            Err(SessionError::LoginRequired { why: "a test" })
        }
    }

    fn is_ambient(&self, _: &HeaderMap) -> bool {
        self.ambient
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The token, where there is one.
    pub(crate) fn token(&self) -> Option<String> {
        Some(self.json()["token"].as_str()?.to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// One request, without a socket. The answer must be documented.
pub(crate) async fn call(router: &Router, request: Request<Body>) -> Answer {
    let method = request.method().clone();
    let answer = call_panel(router, request).await;
    assert_documented(&method, answer.status, &answer.headers, &answer.body);
    answer
}

/// The same, where it is not the endpoint that answers.
pub(crate) async fn call_panel(router: &Router, request: Request<Body>) -> Answer {
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// A POST of the widget, from the panel's own page, with these headers beside.
pub(crate) fn widget(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(PATH)
        .header("host", "panel.example")
        .header("sec-fetch-site", "same-origin");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

pub(crate) const PATH: &str = "/api/ask2do/token";

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::new(PATH.parse().unwrap())
}

/// Serves `router` on a free port of the loopback address.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// The members of a JSON object.
pub(crate) fn members(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}
