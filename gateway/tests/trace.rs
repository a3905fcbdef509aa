//! What a trace shows of a request. A program of its own, for the subscriber is the whole process's: those of
//! single threads miss spans whose place in the code another thread reaches first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::sync::OnceLock;

use ask2do_token_gateway::{Reason, application};
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[allow(dead_code, reason = "the other tests use more of them")]
#[path = "gateway/fakes.rs"]
mod fakes;
#[path = "gateway/openapi.rs"]
mod openapi;

use fakes::{Answer, FakeMinter, FakeSessions, PATH, call, endpoint, widget};

/// Every span of this process that has ended.
fn recorded() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_simple_exporter(exporter.clone())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing_subscriber::registry().with(layer).init();
        exporter
    })
}

/// Those of the request with this answer, in the order in which they ended.
fn spans_of(answer: &Answer) -> Vec<SpanData> {
    let id = answer.header("x-request-id").unwrap();
    let mut spans = recorded().get_finished_spans().unwrap();
    spans.retain(|span| span.span_context.trace_id().to_string() == id);
    spans
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|own| own.key.as_str() == key)?;
    Some(found.value.to_string())
}

const LOGGED_IN: (&str, &str) = ("cookie", "sid=1");

#[tokio::test]
async fn a_request_is_a_server_span_in_the_browsers_trace() {
    recorded();
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{id}-00f067aa0ba902b7-00");
    let minter = FakeMinter::failing(Reason::CloudTimeout);
    let router = application(endpoint(), FakeSessions::default(), minter);
    let answer = call(&router, widget(&[LOGGED_IN, ("traceparent", &traceparent)])).await;
    assert_eq!(answer.json()["requestId"], id);

    let spans = spans_of(&answer);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["session check", "POST /api/ask2do/token"]);
    let [check, request] = &spans[..] else {
        panic!("two spans")
    };
    assert_eq!(request.span_kind, SpanKind::Server);
    assert_eq!(request.span_context.trace_id().to_string(), id);
    assert_eq!(request.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(check.parent_span_id, request.span_context.span_id());
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", PATH),
        ("http.response.status_code", "504"),
        ("error.type", "CLOUD_TIMEOUT"),
    ] {
        assert_eq!(attribute(request, key).as_deref(), Some(value), "{key}");
    }
    assert!(matches!(request.status, Status::Error { .. }));
    // Nobody's id or role is in a trace.
    let all = format!("{spans:?}");
    assert!(!all.contains("owner") && !all.contains("sid=1"), "{all}");
}

#[tokio::test]
async fn a_mistake_of_the_browsers_is_no_error_of_ours() {
    recorded();
    let router = application(endpoint(), FakeSessions::default(), FakeMinter::default());
    let mut request = widget(&[]);
    *request.uri_mut() = "/wp-login.php".parse().unwrap();
    let spans = spans_of(&call(&router, request).await);
    assert_eq!(spans[0].name, "POST");
    assert_eq!(
        attribute(&spans[0], "http.response.status_code").unwrap(),
        "404"
    );
    assert_eq!(attribute(&spans[0], "http.route"), None);
    assert_eq!(spans[0].status, Status::Unset);
}

#[tokio::test]
async fn mounted_in_an_application_it_is_part_of_that_ones_trace() {
    recorded();
    let router = application(endpoint(), FakeSessions::default(), FakeMinter::default());
    let browsers = "5bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{browsers}-00f067aa0ba902b7-01");
    let request = widget(&[LOGGED_IN, ("traceparent", &traceparent)]);
    let answer = call(&router, request)
        .instrument(info_span!("the application's own"))
        .await;
    assert_ne!(answer.header("x-request-id").unwrap(), browsers);
    let spans = spans_of(&answer);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "session check",
            "POST /api/ask2do/token",
            "the application's own"
        ]
    );
}
