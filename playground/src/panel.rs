//! The demo panel: a customer's admin panel in small, with three users, cookie sessions, the
//! `/whoami` that the gateway asks, and a dashboard that loads a stand-in for the vendor's widget.

mod hops;
mod pages;
pub(crate) mod relay;
mod sessions;

use std::sync::Arc;

use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::trace::traced;
use relay::Relay;
use sessions::{SessionId, Sessions};

/// Somebody who can log in. The panel's own ids and roles: the vendor's are among them, and one is not.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    /// What the login form sends.
    login: &'static str,
    name: &'static str,
    id: &'static str,
    role: &'static str,
}

const USERS: [User; 3] = [
    User {
        login: "owner",
        name: "Olivia Okafor",
        id: "1",
        role: "owner",
    },
    User {
        login: "admin",
        name: "Adrian Moreno",
        id: "42",
        role: "admin",
    },
    User {
        login: "junior",
        name: "June Li",
        id: "77",
        role: "junior",
    },
];

/// A form of this panel is one short field.
const FORM_LIMIT: usize = 1024;

/// The panel, with no sessions yet. What is exported to it goes on to `relay`.
pub(crate) fn router(relay: Option<Relay>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/scenario", post(choose_scenario))
        .route(
            "/whoami",
            get(who_am_i).layer(from_fn_with_state("GET /whoami", traced)),
        )
        .route(
            "/widget.js",
            get(|| async { asset("text/javascript", pages::WIDGET) }),
        )
        .route(
            "/dashboard.js",
            get(|| async { asset("text/javascript", pages::DASHBOARD_SCRIPT) }),
        )
        .route(
            "/panel.css",
            get(|| async { asset("text/css", pages::STYLE) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(axum::extract::DefaultBodyLimit::max(FORM_LIMIT))
        .with_state(Arc::new(Sessions::default()))
        .merge(hops::router(relay))
}

/// The dashboard; the login page where nobody is logged in. No redirect: a probe of `/` sees 200.
async fn front(State(sessions): State<Arc<Sessions>>, headers: HeaderMap) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    let page = match session(&sessions, &headers) {
        Some((_, session)) => pages::dashboard(&session, host),
        None => pages::login(&USERS, host),
    };
    let policy = pages::content_security_policy(host);
    let fields = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (fields, page).into_response()
}

async fn log_in(State(sessions): State<Arc<Sessions>>, form: Bytes) -> Response {
    let Some(user) =
        field(&form, "user").and_then(|login| USERS.iter().find(|user| user.login == login))
    else {
        return (StatusCode::BAD_REQUEST, "no such user\n").into_response();
    };
    let cookie = sessions.open(user.clone()).cookie();
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

async fn log_out(State(sessions): State<Arc<Sessions>>, headers: HeaderMap) -> Response {
    if let Some((id, _)) = session(&sessions, &headers) {
        sessions.close(&id);
    }
    ([(SET_COOKIE, SessionId::no_cookie())], Redirect::to("/")).into_response()
}

/// Makes the session's panel id one at which the simulated cloud fails, or the user's own again.
async fn choose_scenario(
    State(sessions): State<Arc<Sessions>>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let Some((id, _)) = session(&sessions, &headers) else {
        return Redirect::to("/").into_response();
    };
    let chosen = field(&form, "id").unwrap_or_default();
    let known = pages::SCENARIOS
        .iter()
        .find(|scenario| scenario.id == chosen);
    sessions.play(
        &id,
        known
            .map(|scenario| scenario.id)
            .filter(|id| !id.is_empty()),
    );
    Redirect::to("/").into_response()
}

/// What the gateway asks in its `forward` mode: all that a panel has to add.
async fn who_am_i(State(sessions): State<Arc<Sessions>>, headers: HeaderMap) -> Response {
    match session(&sessions, &headers) {
        Some((_, session)) => {
            let answer = json!({ "id": session.panel_id(), "role": session.user.role });
            ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        None => (
            StatusCode::UNAUTHORIZED,
            Json(json!({ "error": "not logged in" })),
        )
            .into_response(),
    }
}

fn session(sessions: &Sessions, headers: &HeaderMap) -> Option<(SessionId, sessions::Session)> {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let id = SessionId::among(cookies)?;
    let session = sessions.find(&id)?;
    Some((id, session))
}

/// One field of a form.
fn field(form: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(form)
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.into_owned())
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Method, Request};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    struct Answer {
        status: u16,
        headers: HeaderMap,
        body: String,
    }

    async fn ask(
        panel: &Router,
        method: Method,
        path: &str,
        cookie: &str,
        form: &'static str,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(COOKIE, cookie)
            .header(header::HOST, "localhost:8005")
            .body(Body::from(form))
            .unwrap();
        let (parts, body) = panel.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    async fn log_in_as(panel: &Router, form: &'static str) -> String {
        let answer = ask(panel, Method::POST, "/login", "", form).await;
        assert_eq!(
            (answer.status, &answer.headers["location"]),
            (303, &"/".parse().unwrap())
        );
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
        for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        cookie.split(';').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_front_is_the_login_page_until_somebody_logs_in() {
        let panel = router(None);
        let login = ask(&panel, Method::GET, "/", "", "").await;
        assert_eq!(login.status, 200);
        assert!(login.body.contains(r#"action="/login""#));
        assert!(login.headers.contains_key(CONTENT_SECURITY_POLICY));

        let cookie = log_in_as(&panel, "user=admin").await;
        let dashboard = ask(&panel, Method::GET, "/", &cookie, "").await;
        assert_eq!(dashboard.status, 200);
        assert!(
            dashboard
                .body
                .contains(r#"data-cloud-url="ws://localhost:8005""#)
        );

        let left = ask(&panel, Method::POST, "/logout", &cookie, "").await;
        assert!(
            left.headers[SET_COOKIE]
                .to_str()
                .unwrap()
                .contains("Max-Age=0")
        );
        let again = ask(&panel, Method::GET, "/", &cookie, "").await;
        assert!(again.body.contains(r#"action="/login""#));
    }

    #[tokio::test]
    async fn who_am_i_answers_the_session_alone() {
        let panel = router(None);
        for (form, expected) in [
            ("user=owner", json!({ "id": "1", "role": "owner" })),
            ("user=admin", json!({ "id": "42", "role": "admin" })),
            ("user=junior", json!({ "id": "77", "role": "junior" })),
        ] {
            let cookie = log_in_as(&panel, form).await;
            let answer = ask(&panel, Method::GET, "/whoami?id=1&role=owner", &cookie, "").await;
            assert_eq!(
                (answer.status, serde_json::from_str(&answer.body).ok()),
                (200, Some(expected))
            );
        }
        for cookie in [
            "",
            "panel_session=",
            "panel_session=00000000000000000000000000000000",
        ] {
            assert_eq!(
                ask(&panel, Method::GET, "/whoami", cookie, "").await.status,
                401
            );
        }
    }

    #[tokio::test]
    async fn a_chosen_scenario_is_the_panel_id_until_another_is() {
        let panel = router(None);
        let cookie = log_in_as(&panel, "user=admin").await;
        for (form, id) in [
            ("id=status-503", "status-503"),
            ("id=somebody-else", "42"),
            ("id=short-lived-30s", "short-lived-30s"),
            ("id=", "42"),
        ] {
            assert_eq!(
                ask(&panel, Method::POST, "/scenario", &cookie, form)
                    .await
                    .status,
                303
            );
            let answer = ask(&panel, Method::GET, "/whoami", &cookie, "").await;
            assert!(
                answer.body.contains(&format!(r#""id":"{id}""#)),
                "{}",
                answer.body
            );
        }
    }

    #[tokio::test]
    async fn strange_requests_are_refused() {
        let panel = router(None);
        assert_eq!(
            ask(&panel, Method::POST, "/login", "", "user=root")
                .await
                .status,
            400
        );
        assert_eq!(
            ask(&panel, Method::POST, "/login", "", "").await.status,
            400
        );
        assert_eq!(ask(&panel, Method::GET, "/login", "", "").await.status, 405);
        assert_eq!(
            ask(&panel, Method::GET, "/api/ask2do/token", "", "")
                .await
                .status,
            404
        );
    }
}
