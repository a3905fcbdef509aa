//! W3C Trace Context on the way out, without a global propagator.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Writes the trace that `span` belongs to, or the OpenTelemetry context that is current, where there
/// is one. Headers that a caller wrote itself stay.
pub(super) fn inject(span: &Span, headers: &mut HeaderMap) {
    if headers.contains_key(TRACEPARENT) {
        return;
    }
    let of_span = span.context().span().span_context().clone();
    let context = if of_span.is_valid() {
        of_span
    } else {
        Context::current().span().span_context().clone()
    };
    if context.is_valid() {
        write(&context, headers);
    }
}

fn write(context: &SpanContext, headers: &mut HeaderMap) {
    let traceparent = format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags().to_u8()
    );
    if let Ok(value) = HeaderValue::try_from(traceparent) {
        headers.insert(TRACEPARENT, value);
    }
    let tracestate = context.trace_state().header();
    if !tracestate.is_empty()
        && let Ok(value) = HeaderValue::try_from(tracestate)
    {
        headers.insert(TRACESTATE, value);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    fn current() -> Context {
        let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
            SpanId::from_hex("00f067aa0ba902b7").unwrap(),
            TraceFlags::SAMPLED,
            true,
            state,
        ))
    }

    #[test]
    fn the_current_context_is_written_as_the_specification_wants_it() {
        let _guard = current().attach();
        let mut headers = HeaderMap::new();
        inject(&Span::none(), &mut headers);
        assert_eq!(
            headers["traceparent"],
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        );
        assert_eq!(headers["tracestate"], "vendor=value");
    }

    #[test]
    fn without_a_trace_nothing_is_written() {
        let mut headers = HeaderMap::new();
        inject(&Span::none(), &mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_callers_own_header_stays() {
        let _guard = current().attach();
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static("own"));
        inject(&Span::none(), &mut headers);
        assert_eq!(headers["traceparent"], "own");
        assert!(!headers.contains_key("tracestate"));
    }
}
