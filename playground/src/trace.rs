//! A span for each request that belongs to somebody's trace.

use ask2do_token_runtime::telemetry::{Trust, continue_trace};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, field};

/// Middleware: continues the caller's trace in a span of this name, such as `POST /auth/token`.
pub(crate) async fn traced(
    State(name): State<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    let span = tracing::info_span!(
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = request.method().as_str(),
        http.route = name.split_once(' ').map(|(_, route)| route),
        http.response.status_code = field::Empty,
    );
    continue_trace(&span, request.headers(), Trust::Caller);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}
