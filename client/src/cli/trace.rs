//! The trace of the process that started this one.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// The context that `TRACEPARENT` and `TRACESTATE` name.
///
/// Source: OpenTelemetry, "Environment Variables as Context Propagation Carriers".
pub(super) fn from_environment() -> Option<Context> {
    let state = std::env::var("TRACESTATE").unwrap_or_default();
    parse(&std::env::var("TRACEPARENT").ok()?, &state)
}

fn parse(traceparent: &str, tracestate: &str) -> Option<Context> {
    let mut parts = traceparent.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let (span_id, flags) = (parts.next()?, parts.next()?);
    let whole = [version, trace_id, span_id, flags].map(str::len) == [2, 32, 16, 2]
        && version != "ff"
        && (version != "00" || parts.next().is_none());
    if !whole {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        tracestate.parse::<TraceState>().unwrap_or_default(),
    );
    context
        .is_valid()
        .then(|| Context::new().with_remote_span_context(context))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_parent_is_read_with_its_state() {
        let context = parse(&format!("00-{TRACE}-{SPAN}-01"), "vendor=value").unwrap();
        let span = context.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), TRACE);
        assert_eq!(span.span_id().to_string(), SPAN);
        assert!(span.is_sampled());
        assert_eq!(span.trace_state().header(), "vendor=value");
    }

    #[test]
    fn a_malformed_parent_is_none() {
        let zeros = "0".repeat(32);
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-zz"),
            format!("00-{SPAN}-{TRACE}-01"),
        ] {
            assert!(parse(&wrong, "").is_none(), "{wrong}");
        }
    }
}
