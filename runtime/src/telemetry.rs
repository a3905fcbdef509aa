//! Logs and traces of a process: what `RUST_LOG` and the `OTEL_*` variables ask for.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::trace::TraceId;
use tracing::Span;

use crate::metrics::Metrics;

/// Logging and tracing of this process, set up.
#[derive(Debug)]
pub struct Telemetry {}

/// Logging or tracing could not be set up: an `OTEL_*` variable or `RUST_LOG` has a value that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TelemetryError(String);

/// Whose trace context it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A verified caller's: its trace is continued, with its sampling decision and `tracestate`.
    Caller,
    /// A browser's: its trace id is kept; sampling is decided here and `tracestate` dropped.
    Browser,
}

/// What [`inject`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// `traceparent` alone: for a service that is not ours.
    Traceparent,
    /// `traceparent` and `tracestate`.
    WithTracestate,
}

/// Sets up logging and tracing. Call it once, inside a Tokio runtime, before anything logs.
///
/// # Errors
///
/// A variable's value cannot be used, or it was called before.
pub fn init(
    default_service_name: &'static str,
    version: &'static str,
) -> Result<Telemetry, TelemetryError> {
    let _ = (default_service_name, version);
    Ok(Telemetry {})
}

impl Telemetry {
    /// Registers what tracing counts: spans exported and dropped.
    pub fn register(&self, metrics: &mut Metrics) {
        let _ = metrics;
    }

    /// Exports what is still held, for `limit` at most.
    pub async fn shutdown(self, limit: Duration) {
        let _ = limit;
    }
}

/// Makes `span` part of the trace that the request's headers name, if they name one well. Call it
/// before the span is entered or logged in: afterwards its trace is fixed.
pub fn continue_trace(span: &Span, headers: &HeaderMap, trust: Trust) {
    let _ = (span, headers, trust);
}

/// The trace that `span` belongs to; it shows as 32 lowercase hexadecimal digits.
#[must_use]
pub fn trace_id(span: &Span) -> TraceId {
    let _ = span;
    TraceId::INVALID
}

/// The trace id where the trace is exported: what an exemplar may point to.
#[must_use]
pub fn sampled_trace_id(span: &Span) -> Option<TraceId> {
    let _ = span;
    None
}

/// Writes the trace context of `span` for the next service, replacing what stood there.
pub fn inject(span: &Span, headers: &mut HeaderMap, what: Inject) {
    let _ = (span, headers, what);
}
