//! The table of OpenTelemetry's variables in `docs/observability.md`, walked: for each row what it says is seen.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;

use super::child::{Child, Outcome};
use super::collector::{Collector, attribute};
use super::{NOT_SAMPLED, SAMPLED, TRACE};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// Every row, by its variable.
const ROWS: [&str; 22] = [
    ENDPOINT,
    "OTEL_TRACES_EXPORTER",
    "OTEL_SDK_DISABLED",
    PROTOCOL,
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_PROPAGATORS",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
];

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_the_documents_table_holds() {
    let document = document();
    let documented: BTreeSet<_> = rows(&document).collect();
    assert_eq!(documented, ROWS.map(str::to_owned).into());
    // Each waits for processes of its own.
    join_all(ROWS.map(walk)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_specification_that_are_not_in_the_table_change_nothing() {
    let document = document();
    let (_, rest) = document.split_once("change nothing here:").unwrap();
    let (list, _) = rest.split_once("\n\n").unwrap();
    let names: Vec<_> = list
        .split('`')
        .filter(|word| word.starts_with("OTEL_"))
        .collect();
    assert_eq!(names.len(), 11, "{names:?}");
    let (first, second) = (Collector::plain().await, Collector::plain().await);
    let plain = exporting(&first, "request").run().await;
    let mut child = exporting(&second, "request");
    for name in names {
        child = child.env(name, "0");
    }
    let outcome = child.run().await;
    let shape = |spans: &[Span]| -> Vec<_> {
        let of_span = |span: &Span| (span.name.clone(), span.attributes.len(), span.events.len());
        spans.iter().map(of_span).collect()
    };
    assert_eq!(
        shape(&first.received().spans),
        shape(&second.received().spans)
    );
    assert_eq!(
        plain.stderr.lines().count(),
        outcome.stderr.lines().count(),
        "{}",
        outcome.stderr
    );
}

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
    std::fs::read_to_string(path).unwrap()
}

fn rows(document: &str) -> impl Iterator<Item = String> {
    document.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("| `OTEL_")?.split_once('`')?;
        Some(format!("OTEL_{name}"))
    })
}

async fn walk(variable: &str) {
    match variable {
        ENDPOINT => endpoint().await,
        "OTEL_TRACES_EXPORTER" => traces_exporter().await,
        "OTEL_SDK_DISABLED" => {
            assert_eq!(spans_with(&[(variable, "TRUE")]).await, 0);
            assert_eq!(spans_with(&[(variable, "false")]).await, 2);
        }
        PROTOCOL => protocol().await,
        "OTEL_EXPORTER_OTLP_INSECURE" => insecure(variable).await,
        "OTEL_EXPORTER_OTLP_HEADERS" => headers().await,
        "OTEL_EXPORTER_OTLP_COMPRESSION" => compression(variable).await,
        "OTEL_EXPORTER_OTLP_TIMEOUT" => ends_soon(&[(variable, "200")]).await,
        "OTEL_BSP_EXPORT_TIMEOUT" => ends_soon(&[(variable, "200")]).await,
        "OTEL_EXPORTER_OTLP_CERTIFICATE"
        | "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
        | "OTEL_EXPORTER_OTLP_CLIENT_KEY" => tls_without(variable).await,
        "OTEL_TRACES_SAMPLER" => sampler(variable).await,
        "OTEL_TRACES_SAMPLER_ARG" => {
            let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
            assert_eq!(spans_with(&[ratio, (variable, "0")]).await, 0);
            assert_eq!(spans_with(&[ratio, (variable, "1")]).await, 2);
            assert_eq!(spans_with(&[ratio]).await, 2);
        }
        "OTEL_PROPAGATORS" => propagators(variable).await,
        "OTEL_SERVICE_NAME" | "OTEL_RESOURCE_ATTRIBUTES" => resource(variable).await,
        "OTEL_BSP_MAX_QUEUE_SIZE" => {
            let (_hanging, endpoint) = hanging().await;
            let child = Child::new("many").env(ENDPOINT, &endpoint);
            let outcome = child.env(variable, "100").run().await;
            assert_eq!(dropped(&outcome, "queue_full"), 1900.0);
        }
        "OTEL_BSP_SCHEDULE_DELAY" => {
            let collector = Collector::plain().await;
            let child = exporting(&collector, "one by one").env(variable, "50");
            let said = child.run().await.said;
            // By the default it would be more than five times as long.
            assert!(said["seconds"].as_u64().unwrap() < 60, "{said}");
        }
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" => {
            let collector = Collector::plain().await;
            exporting(&collector, "many")
                .env(variable, "50")
                .run()
                .await;
            let received = collector.received();
            assert!(received.batches.iter().all(|size| *size <= 50));
            assert_eq!(received.batches.iter().max(), Some(&50));
        }
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" => {
            let spans = received_with(&[(variable, "0")]).await;
            assert!(spans.iter().all(|span| span.attributes.is_empty()));
            assert_eq!(spans[1].dropped_attributes_count, 1);
        }
        "OTEL_SPAN_EVENT_COUNT_LIMIT" => {
            let spans = received_with(&[(variable, "0")]).await;
            assert!(spans.iter().all(|span| span.events.is_empty()));
            assert_eq!(received_with(&[]).await[0].events.len(), 1);
        }
        other => panic!("no check of {other}"),
    }
}

fn exporting(collector: &Collector, scenario: &str) -> Child {
    Child::new(scenario).env(ENDPOINT, &collector.endpoint())
}

/// What a collector gets of one request, with these variables.
async fn received_with(variables: &[(&str, &str)]) -> Vec<Span> {
    let collector = Collector::plain().await;
    let child = exporting(&collector, "request");
    let set = |child: Child, (name, value): &(&str, &str)| child.env(name, value);
    variables.iter().fold(child, set).run().await;
    collector.received().spans
}

async fn spans_with(variables: &[(&str, &str)]) -> usize {
    received_with(variables).await.len()
}

fn dropped(outcome: &Outcome, reason: &str) -> f64 {
    outcome.metric(&format!(
        "ask2do_spans_dropped_total{{reason=\"{reason}\"}}"
    ))
}

async fn endpoint() {
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let collector = Collector::plain().await;
    exporting(&collector, "request").run().await;
    assert_eq!(collector.received().path, "/v1/traces");
    let url = collector.endpoint();
    for (path, expected) in [("/a/b", "/a/b"), ("/", "/")] {
        // The one for traces goes before, and is taken as it is.
        Child::new("request")
            .env(ENDPOINT, "http://127.0.0.1:1")
            .env(TRACES, &format!("{url}{path}"))
            .run()
            .await;
        assert_eq!(collector.received().path, expected);
    }
    for (below, expected) in [("/otlp", "/otlp/v1/traces"), ("/otlp/", "/otlp/v1/traces")] {
        let child = Child::new("request").env(ENDPOINT, &format!("{url}{below}"));
        child.run().await;
        assert_eq!(collector.received().path, expected);
    }
    for wrong in ["http://[", "no url"] {
        let said = Child::new("request").env(ENDPOINT, wrong).run().await.said;
        let error = said["error"].as_str().unwrap_or_default();
        assert!(error.contains(ENDPOINT), "{wrong}: {said}");
    }
}

async fn traces_exporter() {
    assert_eq!(spans_with(&[("OTEL_TRACES_EXPORTER", "none")]).await, 0);
    assert_eq!(spans_with(&[("OTEL_TRACES_EXPORTER", "otlp")]).await, 2);
    // Without an endpoint: it says that it exports, to wherever that is.
    let child = Child::new("nothing").env("OTEL_TRACES_EXPORTER", "otlp");
    assert!(child.run().await.stderr.contains("exporting traces"));
    let nothing = Child::new("nothing").run().await;
    assert!(!nothing.stderr.contains("exporting traces"));
}

async fn protocol() {
    for (value, expected) in [
        ("", "application/x-protobuf"),
        ("http/protobuf", "application/x-protobuf"),
        ("grpc", "application/grpc"),
    ] {
        let collector = Collector::plain().await;
        exporting(&collector, "request")
            .env(PROTOCOL, value)
            .run()
            .await;
        assert_eq!(collector.received().headers["content-type"], expected);
    }
}

async fn insecure(variable: &str) {
    for (value, expected) in [("true", 2), ("false", 0)] {
        let collector = Collector::plain().await;
        let endpoint = collector.endpoint();
        let (_, without_scheme) = endpoint.split_once("://").unwrap();
        Child::new("request")
            .env(ENDPOINT, without_scheme)
            .env(PROTOCOL, "grpc")
            .env(variable, value)
            .run()
            .await;
        assert_eq!(collector.received().spans.len(), expected, "{value}");
    }
}

async fn headers() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::plain().await;
        let outcome = exporting(&collector, "request")
            .env(PROTOCOL, protocol)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-one=all")
            .env(
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                "authorization=Bearer%20canary, x-two=b=c, nonsense",
            )
            .run()
            .await;
        let headers = collector.received().headers;
        assert_eq!(headers["authorization"], "Bearer canary", "{protocol}");
        assert_eq!(headers["x-two"], "b=c", "{protocol}");
        assert!(outcome.stderr.contains("1 of the pairs"), "{protocol}");
        assert!(!outcome.stderr.contains("canary"), "{protocol}");
    }
}

async fn compression(variable: &str) {
    for (protocol, header) in [
        ("http/protobuf", "content-encoding"),
        ("grpc", "grpc-encoding"),
    ] {
        for (value, expected) in [("gzip", Some("gzip")), ("none", None), ("zstd", None)] {
            let collector = Collector::plain().await;
            let child = exporting(&collector, "request");
            let child = child.env(PROTOCOL, protocol).env(variable, value);
            child.run().await;
            let received = collector.received();
            let found = received.headers.get(header).map(|it| it.to_str().unwrap());
            assert_eq!(found, expected, "{protocol} {value}");
            assert_eq!(received.compressed, expected.is_some());
        }
    }
}

/// A collector that takes connections and never answers.
async fn hanging() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

/// Its limit is waited for and no other: by default that is ten seconds.
async fn ends_soon(variables: &[(&str, &str)]) {
    for protocol in ["http/protobuf", "grpc"] {
        let (_hanging, endpoint) = hanging().await;
        let child = Child::new("request")
            .env(ENDPOINT, &endpoint)
            .env(PROTOCOL, protocol);
        let set = |child: Child, (name, value): &(&str, &str)| child.env(name, value);
        let outcome = variables.iter().fold(child, set).run().await;
        assert_eq!(dropped(&outcome, "export_failed"), 2.0, "{protocol}");
        let took = outcome.said["flush_seconds"].as_u64().unwrap();
        assert!(took < 8, "{protocol}: {took} {}", outcome.stderr);
    }
}

/// A collector that wants a certificate gets its spans with all three, and not without this one.
async fn tls_without(variable: &str) {
    let collector = Collector::mutual_tls().await;
    let directory = tempfile::tempdir().unwrap();
    let files = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &collector.ca),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &collector.client.0),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &collector.client.1),
    ];
    let child = |left_out: &str| {
        let mut child = exporting(&collector, "request");
        for (name, content) in files.iter().filter(|(name, _)| *name != left_out) {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            child = child.env(name, path.to_str().unwrap());
        }
        child
    };
    let outcome = child(variable).run().await;
    assert_eq!(collector.received().spans.len(), 0, "{variable}");
    if variable != "OTEL_EXPORTER_OTLP_CERTIFICATE" {
        assert!(outcome.said["error"].as_str().unwrap().contains(variable));
    }
    child("").run().await;
    assert_eq!(collector.received().spans.len(), 2, "{variable}");
}

async fn sampler(variable: &str) {
    for (value, traceparent, expected) in [
        ("always_on", NOT_SAMPLED, 2),
        ("always_off", SAMPLED, 0),
        ("parentbased_always_on", NOT_SAMPLED, 0),
        ("parentbased_always_on", "", 2),
        ("parentbased_always_off", SAMPLED, 2),
        ("parentbased_always_off", "", 0),
        ("traceidratio", NOT_SAMPLED, 2),
        ("parentbased_traceidratio", NOT_SAMPLED, 0),
        ("parentbased_traceidratio", "", 2),
        ("", NOT_SAMPLED, 0),
        ("", "", 2),
    ] {
        let spans = spans_with(&[(variable, value), ("TRACEPARENT", traceparent)]).await;
        assert_eq!(spans, expected, "{value} {traceparent}");
    }
}

async fn propagators(variable: &str) {
    for (value, follows) in [
        ("", true),
        ("tracecontext", true),
        ("baggage,tracecontext", true),
        ("baggage", false),
        ("none", false),
    ] {
        let child = Child::new("request").env("TRACEPARENT", SAMPLED);
        let said = child.env(variable, value).run().await.said;
        assert_eq!(said["trace_id"] == TRACE, follows, "{value}");
        let injected = said["injected"].as_object().unwrap();
        assert_eq!(injected.contains_key("traceparent"), follows, "{value}");
        assert!(!injected.contains_key("baggage"), "{value}");
    }
}

async fn resource(variable: &str) {
    let collector = Collector::plain().await;
    exporting(&collector, "request").run().await;
    let own = collector.received().resource;
    assert_eq!(attribute(&own, "service.name"), "child", "the program's");
    let value = match variable {
        "OTEL_SERVICE_NAME" => "theirs",
        _ => "service.name=theirs,deployment.environment.name=test%20bed",
    };
    exporting(&collector, "request")
        .env(variable, value)
        .run()
        .await;
    let resource = collector.received().resource;
    assert_eq!(attribute(&resource, "service.name"), "theirs");
    if variable == "OTEL_RESOURCE_ATTRIBUTES" {
        let environment = attribute(&resource, "deployment.environment.name");
        assert!(environment.starts_with("test"), "{environment}");
    }
}
