//! The endpoint that the widget calls, as a router for any axum application.

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::any;
use http::HeaderValue;
use tokio::sync::Semaphore;

use crate::guard::CrossSiteGuard;
use crate::metrics::GatewayMetrics;
use crate::minter::Minter;
use crate::origin::Origin;
use crate::role_map::RoleMap;
use crate::session::SessionCheck;

mod answer;
mod serve;

/// The largest header of a request: its names and values, in bytes.
pub const HEADER_BYTES: usize = 16 * 1024;
/// The most header fields of a request: as many as hyper takes over HTTP/1.1. Over HTTP/2 each of 990 costs its peer
/// one byte, and this side some eighty.
const HEADER_FIELDS: usize = 100;
/// The largest body of a request, in bytes. The endpoint reads nothing from it.
pub const BODY_BYTES: usize = 4 * 1024;

/// How the endpoint behaves. Begin with [`Endpoint::new`]; every part has a default that is safe.
#[derive(Clone, Debug)]
pub struct Endpoint {
    path: EndpointPath,
    allow_get: bool,
    guard: CrossSiteGuard,
    role_map: RoleMap,
    in_flight: usize,
    trust_browser_sampling: bool,
    metrics: GatewayMetrics,
    /// What a preflight is told of headers: the session check's among them.
    allow_headers: HeaderValue,
}

impl Endpoint {
    /// Serves POST at `path`, for pages on the same host alone, 256 requests in flight.
    #[must_use]
    pub fn new(path: EndpointPath) -> Self {
        Self {
            path,
            allow_get: false,
            guard: CrossSiteGuard::default(),
            role_map: RoleMap::default(),
            in_flight: 256,
            trust_browser_sampling: false,
            metrics: GatewayMetrics::default(),
            allow_headers: answer::allow_headers(&[]),
        }
    }

    /// Serves GET too: one of the vendor's pages shows it.
    #[must_use]
    pub fn allow_get(mut self, allow: bool) -> Self {
        self.allow_get = allow;
        self
    }

    /// The panel's own origins. Where they are empty, a request's `Origin` is compared with its `Host`:
    /// name them where a proxy in front changes `Host`.
    #[must_use]
    pub fn public_origins(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        self.guard.public = origins.into_iter().collect();
        self
    }

    /// Origins of panels that are on another origin than this endpoint: CORS is answered for them, with
    /// credentials.
    #[must_use]
    pub fn allowed_origins(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        self.guard.allowed = origins.into_iter().collect();
        self
    }

    /// What the vendor calls the panel's roles.
    #[must_use]
    pub fn role_map(mut self, role_map: RoleMap) -> Self {
        self.role_map = role_map;
        self
    }

    /// How many requests may have their session checked or their token minted at a time; one more is
    /// answered 503.
    #[must_use]
    pub fn in_flight(mut self, limit: usize) -> Self {
        self.in_flight = limit;
        self
    }

    /// Lets the browser's `traceparent` decide whether a trace is recorded. Off, anybody's browser could
    /// not make this side record everything.
    #[must_use]
    pub fn trust_browser_sampling(mut self, trust: bool) -> Self {
        self.trust_browser_sampling = trust;
        self
    }

    /// Counts into `metrics`.
    #[must_use]
    pub fn metrics(mut self, metrics: GatewayMetrics) -> Self {
        self.metrics = metrics;
        self
    }
}

/// A path such as `/api/ask2do/token`: segments of letters, digits, `-`, `.`, `_` and `~`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPath(String);

impl EndpointPath {
    /// The path, from its first slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The vendor's: `/api/ask2do/token`.
impl Default for EndpointPath {
    fn default() -> Self {
        Self("/api/ask2do/token".to_owned())
    }
}

/// A text is no path of plain segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a path such as /api/ask2do/token: a slash before each segment, and letters, digits, `-`, `.`, `_`, `~` in it"
)]
pub struct InvalidPath;

impl FromStr for EndpointPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        };
        let segments = text.strip_prefix('/').ok_or(InvalidPath)?;
        if segments.split('/').all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPath)
        }
    }
}

/// The endpoint as a router with one route.
///
/// Merge it into a panel's own axum application, outside of middleware that redirects to a login page
/// or wants a CSRF token: the endpoint has its own guard, and never redirects. It has no effect on the
/// process beyond that: no global subscriber, provider or handler is installed.
///
/// `sessions` says who is logged in, `minter` is the way to the token service.
///
/// ```
/// use ask2do_token_gateway::{Endpoint, Minter, SessionCheck, SessionError, SessionUser, router};
/// use axum::{Router, http::request::Parts};
///
/// /// What the panel's own middleware leaves in a request.
/// #[derive(Clone)]
/// struct CurrentUser {
///     id: u64,
///     role: String,
/// }
///
/// struct PanelSessions;
///
/// impl SessionCheck for PanelSessions {
///     async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
///         let user = request
///             .extensions
///             .get::<CurrentUser>()
///             .ok_or(SessionError::LoginRequired { why: "no session" })?;
///         SessionUser::new(user.id.to_string(), [user.role.clone()])
///             .map_err(|error| SessionError::Unavailable { why: error.to_string() })
///     }
/// }
///
/// fn with_tokens(panel: Router, token_client: impl Minter) -> Router {
///     let endpoint = Endpoint::new("/api/ask2do/token".parse().expect("a path"));
///     panel.merge(router(endpoint, PanelSessions, token_client))
/// }
/// ```
pub fn router<S: SessionCheck, M: Minter>(
    mut endpoint: Endpoint,
    sessions: S,
    minter: M,
) -> Router {
    let path = endpoint.path.clone();
    endpoint.allow_headers = answer::allow_headers(&sessions.credential_headers());
    let serving = Arc::new(Serving {
        permits: Semaphore::new(endpoint.in_flight),
        bodies: Semaphore::new(endpoint.in_flight),
        endpoint,
        sessions,
        minter,
    });
    Router::new().route(
        path.as_str(),
        any(
            async |State(serving): State<Arc<Serving<S, M>>>, request: Request| {
                serving.serve(request).await
            },
        )
        .with_state(serving),
    )
}

/// [`router`] for a process that serves nothing else: any other path is answered 404 in the endpoint's own
/// form.
pub fn application<S: SessionCheck, M: Minter>(
    endpoint: Endpoint,
    sessions: S,
    minter: M,
) -> Router {
    let elsewhere = Arc::new(endpoint.clone());
    router(endpoint, sessions, minter)
        .fallback(async move |request: Request| serve::refuse(&elsewhere, &request))
}

/// The endpoint at work.
struct Serving<S, M> {
    endpoint: Endpoint,
    permits: Semaphore,
    /// As many requests may wait for the rest of their body, which none needs to have.
    bodies: Semaphore,
    sessions: S,
    minter: M,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_read_and_others_refused() {
        for path in ["/token", "/api/ask2do/token", "/~a/b-c_d.e"] {
            assert_eq!(path.parse::<EndpointPath>().unwrap().as_str(), path);
        }
        for path in [
            "",
            "/",
            "token",
            "/a/",
            "//a",
            "/a//b",
            "/{id}",
            "/*rest",
            "/:id",
            "/a?b",
            "/a#b",
            "/a b",
            "/%61",
            "/a/../b",
            "/.",
            "https://x/a",
        ] {
            assert_eq!(path.parse::<EndpointPath>(), Err(InvalidPath), "{path}");
        }
    }
}
