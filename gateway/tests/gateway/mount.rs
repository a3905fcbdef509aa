//! The router in a Rust panel's own application.

use ask2do_token_gateway::{SessionCheck, SessionError, SessionUser, router};
use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::http::Request;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;

use crate::fakes::{FakeMinter, PATH, call, call_panel, endpoint, widget};

/// What the panel's own middleware leaves in a request.
#[derive(Clone)]
struct CurrentUser {
    id: u64,
    staff: bool,
}

/// The panel's own way to check sessions.
struct PanelSessions;

impl SessionCheck for PanelSessions {
    async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        let user = request
            .extensions
            .get::<CurrentUser>()
            .ok_or(SessionError::LoginRequired { why: "no session" })?;
        let role = if user.staff { "staff" } else { "guest" };
        SessionUser::new(user.id.to_string(), [role]).map_err(|error| SessionError::Unavailable {
            why: error.to_string(),
        })
    }
}

async fn log_in(mut request: AxumRequest, next: Next) -> Response {
    let cookie = request.headers().get("cookie").cloned();
    if cookie.is_some_and(|cookie| cookie == "panel=7") {
        request
            .extensions_mut()
            .insert(CurrentUser { id: 7, staff: true });
    }
    next.run(request).await
}

fn panel(minter: FakeMinter) -> Router {
    let endpoint = endpoint().role_map([("staff", "admin")].into_iter().collect());
    Router::new()
        .route("/", get(async || "the panel"))
        .merge(router(endpoint, PanelSessions, minter))
        .layer(from_fn(log_in))
        .fallback(async || "the panel's own 404")
}

#[tokio::test]
async fn a_rust_panel_mounts_the_router_over_its_own_sessions() {
    let minter = FakeMinter::default();
    let panel = panel(minter.clone());
    let answer = call(&panel, widget(&[("cookie", "panel=7")])).await;
    assert_eq!(answer.token().unwrap(), "token of 7 as admin");
    let answer = call(&panel, widget(&[("cookie", "panel=8")])).await;
    assert_eq!(answer.code(), "LOGIN_REQUIRED");
    assert_eq!(minter.minted(), [("7".to_owned(), "admin".to_owned())]);
}

#[tokio::test]
async fn the_panels_own_routes_are_untouched() {
    let panel = panel(FakeMinter::default());
    for (path, body) in [("/", "the panel"), ("/other", "the panel's own 404")] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(call_panel(&panel, request).await.body, body);
    }
}

#[tokio::test]
async fn an_own_session_check_is_guarded_as_if_a_proxy_knew_the_user() {
    let minter = FakeMinter::default();
    let panel = panel(minter.clone());
    // Neither Sec-Fetch-Site nor Origin, and nothing that a form could not send.
    let bare = Request::post(PATH).header("host", "panel.example");
    let answer = call(&panel, bare.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "CROSS_SITE_REQUEST");
    assert_eq!(minter.count(), 0);
}
