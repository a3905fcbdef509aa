//! What a trace shows of a request.

use ask2do_token_gateway::{Reason, application};
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing::subscriber::DefaultGuard;
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::fakes::{FakeMinter, FakeSessions, PATH, call, endpoint, widget};

/// Records every span of this thread.
fn recording() -> (InMemorySpanExporter, DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let guard = tracing_subscriber::registry().with(layer).set_default();
    (exporter, guard)
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|own| own.key.as_str() == key)?;
    Some(found.value.to_string())
}

const LOGGED_IN: (&str, &str) = ("cookie", "sid=1");

#[tokio::test]
async fn a_request_is_a_server_span_in_the_browsers_trace() {
    let (exporter, _guard) = recording();
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{id}-00f067aa0ba902b7-00");
    let minter = FakeMinter::failing(Reason::CloudTimeout);
    let router = application(endpoint(), FakeSessions::default(), minter);
    let answer = call(&router, widget(&[LOGGED_IN, ("traceparent", &traceparent)])).await;
    assert_eq!(answer.json()["requestId"], id);

    let spans = exporter.get_finished_spans().unwrap();
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
    let (exporter, _guard) = recording();
    let router = application(endpoint(), FakeSessions::default(), FakeMinter::default());
    let mut request = widget(&[]);
    *request.uri_mut() = "/wp-login.php".parse().unwrap();
    call(&router, request).await;
    let spans = exporter.get_finished_spans().unwrap();
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
    let (exporter, _guard) = recording();
    let router = application(endpoint(), FakeSessions::default(), FakeMinter::default());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = widget(&[LOGGED_IN, ("traceparent", traceparent)]);
    let answer = call(&router, request)
        .instrument(info_span!("the application's own"))
        .await;
    let spans = exporter.get_finished_spans().unwrap();
    let outer = spans.last().unwrap();
    assert_eq!(outer.name, "the application's own");
    let id = outer.span_context.trace_id();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == id));
    assert_eq!(answer.header("x-request-id").unwrap(), id.to_string());
}
