//! One request's way through the endpoint, in the order of the design: path, method, size,
//! cross-site, session, mint.

use std::time::{Duration, Instant};

use ask2do_token_runtime::telemetry::{self, Trust};
use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use opentelemetry::trace::TraceId;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
};
use tracing::{Instrument, Span, debug, field, info, info_span, warn};

use super::answer::Outcome;
use super::{BODY_BYTES, Endpoint, HEADER_BYTES, HEADER_FIELDS, Serving};
use crate::failure::Failure;
use crate::minter::{MintedToken, Minter};
use crate::origin::only;
use crate::session::{SessionCheck, SessionError, SessionUser};

/// The longest time for a body of at most [`BODY_BYTES`].
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

impl<S: SessionCheck, M: Minter> Serving<S, M> {
    pub(super) async fn serve(&self, request: Request) -> Response {
        let started = Instant::now();
        let route = Some(self.endpoint.path.as_str());
        let traced = Traced::begin(&self.endpoint, &request, route);
        let (request, body) = request.into_parts();
        let outcome = self
            .outcome(&request, body)
            .instrument(traced.span.clone())
            .await
            .unwrap_or_else(Outcome::Failed);
        finish(&self.endpoint, &request.headers, &traced, started, &outcome)
    }

    async fn outcome(&self, request: &Parts, body: Body) -> Result<Outcome, Failure> {
        let preflight = self.check_method(request)?;
        check_header_size(request)?;
        self.read_away(body).await?;
        if preflight {
            return match self.endpoint.guard.allowed_origin(&request.headers) {
                Some(_) => Ok(Outcome::Preflight),
                None => Err(Failure::CrossSite),
            };
        }
        let ambient = self.sessions.is_ambient(&request.headers);
        if !self.endpoint.guard.passes(request, ambient) {
            return Err(Failure::CrossSite);
        }
        let _permit = self
            .permits
            .try_acquire()
            .map_err(|_| Failure::Overloaded)?;
        let _in_flight = self.endpoint.metrics.begin();
        let user = self.user(request).await.map_err(Failure::Session)?;
        self.mint(&user).await.map(Outcome::Minted)
    }

    /// Reads the body away, which nobody needs, where there is one. Whoever is slow with theirs holds all that a request
    /// takes meanwhile, and before anybody knows who it is: no more than so many may.
    async fn read_away(&self, body: Body) -> Result<(), Failure> {
        if body.is_end_stream() {
            return Ok(());
        }
        let _reading = self.bodies.try_acquire().map_err(|_| Failure::Overloaded)?;
        read_away(body).await
    }

    /// Whether the request is a preflight; else it has a method that is served.
    fn check_method(&self, request: &Parts) -> Result<bool, Failure> {
        match request.method {
            Method::POST => Ok(false),
            Method::GET if self.endpoint.allow_get => Ok(false),
            Method::OPTIONS
                if request
                    .headers
                    .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) =>
            {
                Ok(true)
            }
            _ => Err(Failure::MethodNotAllowed),
        }
    }

    async fn user(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        let started = Instant::now();
        let user = self
            .sessions
            .check(request)
            .instrument(info_span!("session check"))
            .await;
        self.endpoint
            .metrics
            .session_checked(&user, started.elapsed(), &Span::current());
        user
    }

    async fn mint(&self, user: &SessionUser) -> Result<MintedToken, Failure> {
        let role = self.endpoint.role_map.role_of(user);
        self.minter
            .mint(user.id(), role)
            .await
            .map_err(Failure::Mint)
    }
}

/// Answers a request to a path where nothing is.
pub(super) fn refuse(endpoint: &Endpoint, request: &Request) -> Response {
    let started = Instant::now();
    let traced = Traced::begin(endpoint, request, None);
    let outcome = Outcome::Failed(Failure::NotFound);
    finish(endpoint, request.headers(), &traced, started, &outcome)
}

/// A request's span, and the trace id that names it.
struct Traced {
    span: Span,
    id: TraceId,
}

impl Traced {
    /// In the browser's trace, unless this runs inside a span of the application that mounted the router,
    /// which then has decided.
    fn begin(endpoint: &Endpoint, request: &Request, route: Option<&str>) -> Self {
        let mounted = !Span::current().is_none();
        let method = match *request.method() {
            Method::POST => "POST",
            Method::GET => "GET",
            Method::OPTIONS => "OPTIONS",
            // The semantic conventions' name for one that could be anything.
            _ => "_OTHER",
        };
        let span = info_span!(
            "token request",
            otel.name = field::Empty,
            otel.kind = "server",
            otel.status_code = field::Empty,
            { HTTP_REQUEST_METHOD } = method,
            { HTTP_ROUTE } = route,
            { HTTP_RESPONSE_STATUS_CODE } = field::Empty,
            { ERROR_TYPE } = field::Empty,
            ask2do.reason = field::Empty,
        );
        if !span.is_disabled() {
            match route {
                Some(route) => span.record(
                    "otel.name",
                    field::display(format_args!("{method} {route}")),
                ),
                None => span.record("otel.name", method),
            };
        }
        let id = if mounted {
            telemetry::trace_id(&span)
        } else {
            TraceId::INVALID
        };
        let id = match id {
            TraceId::INVALID => continue_browsers_trace(&span, endpoint, request.headers()),
            id => id,
        };
        Self { span, id }
    }
}

/// Keeps the browser's trace id; its sampling decision only where that is trusted, `tracestate` never.
fn continue_browsers_trace(span: &Span, endpoint: &Endpoint, request: &HeaderMap) -> TraceId {
    if !endpoint.trust_browser_sampling {
        return telemetry::continue_trace(span, request, Trust::Browser);
    }
    let traceparent: HeaderMap = request
        .get_all("traceparent")
        .iter()
        .map(|value| (HeaderName::from_static("traceparent"), value.clone()))
        .collect();
    telemetry::continue_trace(span, &traceparent, Trust::Caller)
}

/// Counts, logs and answers.
fn finish(
    endpoint: &Endpoint,
    request: &HeaderMap,
    traced: &Traced,
    started: Instant,
    outcome: &Outcome,
) -> Response {
    let Traced { span, id } = traced;
    let response = outcome.answer(endpoint, request, &id.to_string());
    endpoint
        .metrics
        .answered(outcome.code(), started.elapsed(), span);
    span.record(HTTP_RESPONSE_STATUS_CODE, response.status().as_u16());
    span.record("ask2do.reason", outcome.code());
    if let Outcome::Failed(failure) = outcome {
        span.record(ERROR_TYPE, failure.row().reason.as_str());
        if response.status().is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        span.in_scope(|| log(failure, request));
    }
    response
}

/// Says to the operator what the browser is not told. What anybody can cause at will is said quietly.
fn log(failure: &Failure, request: &HeaderMap) {
    let code = failure.row().reason.as_str();
    match failure {
        Failure::Session(SessionError::Unavailable { why }) => {
            warn!(code, why, "the session check is unavailable");
        }
        Failure::Session(SessionError::LoginRequired { why }) => debug!(code, why, "no session"),
        Failure::Mint(_) => debug!(code, "no token"), // The minter has said why.
        Failure::Overloaded => warn!(code, "too many requests in flight"),
        Failure::CrossSite => {
            let shown = |name: &str| only(request, name).unwrap_or_default();
            info!(
                code,
                sec_fetch_site = shown("sec-fetch-site"),
                origin = shown("origin"),
                host = shown("host"),
                "refused as a cross-site request"
            );
        }
        _ => debug!(code, "refused"),
    }
}

fn check_header_size(request: &Parts) -> Result<(), Failure> {
    let header: usize = request
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let target = request.uri.path().len() + request.uri.query().map_or(0, str::len);
    if header + target > HEADER_BYTES || request.headers.len() > HEADER_FIELDS {
        return Err(Failure::HeaderTooLarge);
    }
    Ok(())
}

/// Reads the body, which nobody needs, so that the connection can be used again. Nothing of it is kept.
async fn read_away(body: Body) -> Result<(), Failure> {
    let limit = BODY_BYTES as u64;
    if body.size_hint().lower() > limit {
        return Err(Failure::BodyTooLarge);
    }
    let mut body = Limited::new(body, BODY_BYTES);
    let reading = async {
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::BodyTooLarge
                } else {
                    Failure::BodyBroken
                }
            })?;
        }
        Ok(())
    };
    tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .unwrap_or(Err(Failure::BodyTimeout))
}
