//! W3C Trace Context, level 2 (<https://www.w3.org/TR/trace-context-2/>): what is taken from a request's
//! headers, and what is written into the next one's. Baggage is neither read nor written.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::sampling::Undecided;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` + 32 + `-` + 16 + `-` + 2.
const TRACEPARENT_LENGTH: usize = 55;

/// The least that the specification asks everyone to carry, and the most that is carried here.
const TRACESTATE_BYTES: usize = 512;
const TRACESTATE_MEMBERS: usize = 32;

/// Off where `OTEL_PROPAGATORS` leaves `tracecontext` out.
static PROPAGATE: AtomicBool = AtomicBool::new(true);

/// Whose trace context it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A verified caller's: its trace is continued, with its sampling decision and `tracestate`.
    Caller,
    /// A browser's: its trace is continued, but whether it is sampled is decided here, and `tracestate`
    /// is dropped.
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

/// A caller's own context, kept in the OpenTelemetry context: where nothing is recorded here it is what the next
/// service gets, so that this process does not stand between the two with a span that nobody finds.
struct Incoming(SpanContext);

pub(super) fn set_enabled(enabled: bool) {
    PROPAGATE.store(enabled, Ordering::Relaxed);
}

/// Makes `span` part of the trace that the request's headers name, if they name one well, and returns its
/// trace id. Call it before the span is entered or logged in: afterwards its trace is fixed. Its name and kind
/// (`otel.name`, `otel.kind`) are fixed by this call; other fields may be recorded later.
///
/// Where no [`super::init`] ran (a library of ours inside somebody's program), the id returned is the
/// caller's or a random one.
pub fn continue_trace(span: &Span, headers: &HeaderMap, trust: Trust) -> TraceId {
    let incoming = extract(headers, trust);
    let named = incoming.as_ref().map(SpanContext::trace_id);
    if let Some(incoming) = incoming {
        let context = Context::new().with_remote_span_context(incoming.clone());
        let context = match trust {
            Trust::Caller => context.with_value(Incoming(incoming)),
            Trust::Browser => context.with_value(Undecided),
        };
        // It fails where there is no OpenTelemetry layer, which the id below shows.
        let _ = span.set_parent(context);
    }
    match trace_id(span) {
        TraceId::INVALID => named.unwrap_or_else(|| TraceId::from(rand::random::<u128>())),
        id => id,
    }
}

/// The trace that `span` belongs to; it shows as 32 lowercase hexadecimal digits. All zeros where no
/// [`super::init`] ran.
#[must_use]
pub fn trace_id(span: &Span) -> TraceId {
    span.context().span().span_context().trace_id()
}

/// The trace id where the trace is exported: what an exemplar may point to.
#[must_use]
pub fn sampled_trace_id(span: &Span) -> Option<TraceId> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_sampled().then(|| context.trace_id())
}

/// Writes the trace context of `span` for the next service, and removes what stood there.
pub fn inject(span: &Span, headers: &mut HeaderMap, what: Inject) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    if !PROPAGATE.load(Ordering::Relaxed) {
        return;
    }
    let context = span.context();
    let span = context.span();
    let own = span.span_context();
    let unrecorded = !own.is_sampled();
    let sent = match context.get::<Incoming>() {
        Some(Incoming(incoming)) if unrecorded => incoming,
        _ => own,
    };
    if !sent.is_valid() {
        return;
    }
    headers.insert(TRACEPARENT, traceparent(sent));
    if what == Inject::WithTracestate
        && let Ok(state) = HeaderValue::from_str(&sent.trace_state().header())
        && !state.is_empty()
    {
        headers.insert(TRACESTATE, state);
    }
}

/// Written digit by digit: every mint has one, and formatting 128 bits costs several times as much.
fn traceparent(context: &SpanContext) -> HeaderValue {
    let mut text = *b"00-................................-................-..";
    write_hex(&mut text[3..35], &context.trace_id().to_bytes());
    write_hex(&mut text[36..52], &context.span_id().to_bytes());
    write_hex(&mut text[53..], &[context.trace_flags().to_u8()]);
    // Hexadecimal digits and dashes always make a header value.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn write_hex(digits: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn extract(headers: &HeaderMap, trust: Trust) -> Option<SpanContext> {
    if !PROPAGATE.load(Ordering::Relaxed) {
        return None;
    }
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (trace, span, flags) = parse(value.as_bytes())?;
    let (flags, state) = match trust {
        Trust::Caller => (flags, tracestate(headers)),
        Trust::Browser => (TraceFlags::NOT_SAMPLED, TraceState::NONE),
    };
    Some(SpanContext::new(trace, span, flags, true, state))
}

/// Strict: a header that is not exactly as the specification says begins a new trace.
fn parse(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, rest) = value.split_at_checked(TRACEPARENT_LENGTH)?;
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let version = hex(&known[..2])?;
    // A later version may add fields after another dash; 255 is forbidden.
    let length = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let trace = TraceId::from(hex(&known[3..35])?);
    let span = SpanId::from(u64::try_from(hex(&known[36..52])?).ok()?);
    let flags = u8::try_from(hex(&known[53..])?).ok()?;
    let valid = dashes && length && trace != TraceId::INVALID && span != SpanId::INVALID;
    // Of the flags, those that are unknown here must not be passed on.
    valid.then(|| (trace, span, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

/// Lowercase hexadecimal digits, at most 32, and nothing else.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The caller's `tracestate`; one that is malformed, or larger than anybody must carry, is dropped whole.
fn tracestate(headers: &HeaderMap) -> TraceState {
    let values: Option<Vec<&str>> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(|value| value.to_str().ok())
        .collect();
    let joined = values.unwrap_or_default().join(",");
    let members = joined.split(',').map(str::trim).filter(|m| !m.is_empty());
    let members: Vec<&str> = members.collect();
    if joined.len() > TRACESTATE_BYTES || members.len() > TRACESTATE_MEMBERS {
        return TraceState::NONE;
    }
    TraceState::from_str(&members.join(",")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_traceparent_is_taken_only_as_the_specification_says() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let table: &[(&str, String, Option<bool>)] = &[
            ("sampled", good.clone(), Some(true)),
            ("not sampled", format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (
                "the random flag alone",
                format!("00-{TRACE}-{SPAN}-02"),
                Some(false),
            ),
            ("every flag", format!("00-{TRACE}-{SPAN}-ff"), Some(true)),
            (
                "a later version",
                format!("cc-{TRACE}-{SPAN}-01"),
                Some(true),
            ),
            (
                "with more fields",
                format!("cc-{TRACE}-{SPAN}-01-what"),
                Some(true),
            ),
            (
                "with more, but no dash",
                format!("cc-{TRACE}-{SPAN}-01.what"),
                None,
            ),
            ("version 0 with more", format!("{good}-what"), None),
            ("version 0 with a dash", format!("{good}-"), None),
            ("version ff", format!("ff-{TRACE}-{SPAN}-01"), None),
            ("no version", format!("{TRACE}-{SPAN}-01"), None),
            (
                "an uppercase version",
                format!("0A-{TRACE}-{SPAN}-01"),
                None,
            ),
            (
                "an uppercase trace",
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
                None,
            ),
            (
                "an uppercase span",
                format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
                None,
            ),
            ("uppercase flags", format!("00-{TRACE}-{SPAN}-0A"), None),
            (
                "a zero trace",
                format!("00-{}-{SPAN}-01", "0".repeat(32)),
                None,
            ),
            (
                "a zero span",
                format!("00-{TRACE}-{}-01", "0".repeat(16)),
                None,
            ),
            ("a sign", format!("00-+{}-{SPAN}-01", &TRACE[1..]), None),
            (
                "a short trace",
                format!("00-{}-{SPAN}-001", &TRACE[1..]),
                None,
            ),
            ("spaces around", format!(" {good} "), None),
            ("other separators", good.replace('-', "_"), None),
            ("cut", good[..54].to_owned(), None),
            ("empty", String::new(), None),
            ("not ASCII", format!("00-{TRACE}-{SPAN}-é"), None),
            ("very long", format!("{good}{}", "-".repeat(8000)), None),
            ("a script", "<script>alert(1)</script>".repeat(3), None),
        ];
        for (name, value, expected) in table {
            let found = extract(&headers(&[("traceparent", value)]), Trust::Caller);
            assert_eq!(
                found.as_ref().map(SpanContext::is_sampled),
                *expected,
                "{name}"
            );
            if let Some(context) = found {
                assert_eq!(context.trace_id().to_string(), TRACE, "{name}");
                assert_eq!(context.span_id().to_string(), SPAN, "{name}");
                assert!(context.is_remote(), "{name}");
            }
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let two = headers(&[("traceparent", &good), ("traceparent", &good)]);
        assert!(extract(&two, Trust::Caller).is_none());
    }

    #[test]
    fn a_tracestate_is_carried_when_it_is_well_formed_and_not_too_large() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let long = format!("a={}", "x".repeat(TRACESTATE_BYTES));
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        let table: &[(&[&str], &str)] = &[
            (&["rojo=1,congo=2"], "rojo=1,congo=2"),
            (&["rojo=1", "congo=2"], "rojo=1,congo=2"),
            (&["rojo=1, , congo=2,"], "rojo=1,congo=2"),
            (&["nonsense"], ""),
            (&["UPPER=1"], ""),
            (&[&long], ""),
            (&[&many.join(",")], ""),
            (&["a=\u{e9}"], ""),
        ];
        for (values, expected) in table {
            let mut headers = headers(&[("traceparent", &good)]);
            for value in *values {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(TRACESTATE, value);
            }
            let context = extract(&headers, Trust::Caller).unwrap();
            assert_eq!(context.trace_state().header(), *expected, "{values:?}");
        }
    }

    #[test]
    fn a_browser_has_no_say_in_sampling_and_carries_no_tracestate() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let headers = headers(&[("traceparent", &good), ("tracestate", "rojo=1")]);
        let context = extract(&headers, Trust::Browser).unwrap();
        assert_eq!(context.trace_id().to_string(), TRACE);
        assert!(!context.is_sampled());
        assert_eq!(context.trace_state().header(), "");
    }

    #[test]
    fn without_telemetry_a_request_still_has_a_trace_id() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let none = Span::none();
        let named = continue_trace(&none, &headers(&[("traceparent", &good)]), Trust::Browser);
        assert_eq!(named.to_string(), TRACE);
        let random = continue_trace(&none, &HeaderMap::new(), Trust::Browser);
        assert_ne!(random, TraceId::INVALID);
        assert_ne!(
            random,
            continue_trace(&none, &HeaderMap::new(), Trust::Browser)
        );
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for good in [
            format!("00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-00"),
            format!("00-{}f-{}1-01", "0".repeat(31), "0".repeat(15)),
        ] {
            let context = extract(&headers(&[("traceparent", &good)]), Trust::Caller).unwrap();
            assert_eq!(traceparent(&context), good.as_str());
        }
    }

    #[test]
    fn injecting_removes_what_a_caller_sent() {
        let mut headers = headers(&[("traceparent", "nonsense"), ("tracestate", "a=b")]);
        inject(&Span::none(), &mut headers, Inject::WithTracestate);
        assert!(headers.is_empty());
    }
}
