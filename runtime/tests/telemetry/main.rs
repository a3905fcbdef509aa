//! Logs and traces as a real process writes and sends them: each test runs this very binary again as a
//! process of its own, with the environment under test, and is the collector.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail by panicking, and its child talks to it"
)]

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;
use tokio::net::TcpListener;

mod child;
mod collector;
mod variables;

use child::{Child, Outcome};
use collector::{Collector, attribute};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The lines of the log, each of which must be one JSON object.
fn log(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.stderr.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn line<'a>(log: &'a [Value], message: &str) -> &'a Value {
    let found = log.iter().find(|line| line["message"] == message);
    found.unwrap_or_else(|| panic!("no {message:?} in {log:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector_over_http_and_over_grpc() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::plain().await;
        let outcome = Child::new("request")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b,x-tenant=t")
            .env(
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            )
            .env("TRACEPARENT", SAMPLED)
            .env("TRACESTATE", "rojo=1")
            .run()
            .await;
        let received = collector.received();
        assert_eq!(received.headers["x-token"], "a b", "{protocol}");
        assert_eq!(received.headers["x-tenant"], "t", "{protocol}");
        let resource = &received.resource;
        assert_eq!(attribute(resource, "service.name"), "child");
        assert_eq!(attribute(resource, "service.version"), "1.2.3");
        assert_eq!(attribute(resource, "deployment.environment.name"), "test");
        let [inner, outer] = &received.spans[..] else {
            panic!("{protocol}: {:?}", received.spans);
        };
        assert_eq!((&*outer.name, outer.kind()), ("GET /", SpanKind::Server));
        assert_eq!((&*inner.name, inner.kind()), ("inner", SpanKind::Internal));
        assert_eq!(
            outer.trace_id,
            u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes()
        );
        assert_eq!(
            outer.parent_span_id,
            0xb7ad_6b71_6920_3331_u64.to_be_bytes()
        );
        assert_eq!(inner.trace_id, outer.trace_id);
        assert_eq!(inner.parent_span_id, outer.span_id);
        assert_eq!(outer.status.as_ref().unwrap().code(), StatusCode::Error);
        // What was asked for, and nothing of the library's own.
        let attributes: Vec<&str> = outer.attributes.iter().map(|pair| &*pair.key).collect();
        assert_eq!(attributes, ["http.request.method"]);
        // The log names the same trace, and the span in which each line was written.
        let log = log(&outcome);
        let (inside, between) = (line(&log, "inside"), line(&log, "between"));
        assert_eq!(
            (&inside["trace_id"], &between["trace_id"]),
            (&TRACE.into(), &TRACE.into())
        );
        let id = |span: &[u8]| u64::from_be_bytes(span.try_into().unwrap());
        assert_eq!(inside["span_id"], format!("{:016x}", id(&inner.span_id)));
        assert_eq!(between["span_id"], format!("{:016x}", id(&outer.span_id)));
        // So do the headers for the next service, whose parent is the span that they were written in.
        let parent = format!("00-{TRACE}-{:016x}-01", id(&inner.span_id));
        assert_eq!(outcome.said["injected"]["traceparent"], parent);
        assert_eq!(outcome.said["injected"]["tracestate"], "rojo=1");
        assert_eq!(
            outcome.said["alone"],
            serde_json::json!({ "traceparent": parent })
        );
        assert_eq!(outcome.said["trace_id"], TRACE);
        assert_eq!(outcome.said["exemplar"], TRACE);
        assert_eq!(outcome.metric("ask2do_spans_exported_total"), 2.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_the_collector_takes_its_ca_and_our_certificate() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::mutual_tls().await;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let outcome = Child::new("request")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &file("ca", &collector.ca))
            .env(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                &file("crt", &collector.client.0),
            )
            .env(
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                &file("key", &collector.client.1),
            )
            .run()
            .await;
        assert_eq!(
            collector.received().spans.len(),
            2,
            "{protocol}: {}",
            outcome.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_from_another_ca_gets_nothing_and_the_log_says_why() {
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::mutual_tls().await;
        let outcome = Child::new("request")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .run()
            .await;
        assert!(collector.received().spans.is_empty());
        let lost = outcome.metric("ask2do_spans_dropped_total{reason=\"export_failed\"}");
        assert_eq!(lost, 2.0, "{protocol}: {}", outcome.stderr);
        let why = if protocol == "grpc" {
            "transport"
        } else {
            "UnknownIssuer"
        };
        assert!(
            outcome.stderr.contains(why),
            "{protocol}: {}",
            outcome.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_set_nothing_is_exported_and_trace_ids_are_there_all_the_same() {
    for rust_log in ["", "off", "error"] {
        let outcome = Child::new("request")
            .env("RUST_LOG", rust_log)
            .env("TRACEPARENT", SAMPLED)
            .env("TRACESTATE", "rojo=1")
            .run()
            .await;
        assert_eq!(outcome.said["trace_id"], TRACE, "{rust_log}");
        assert_eq!(outcome.said["exemplar"], Value::Null);
        // A process that records nothing passes on what its caller sent.
        assert_eq!(outcome.said["injected"]["traceparent"], SAMPLED);
        assert_eq!(outcome.said["injected"]["tracestate"], "rojo=1");
        let log = log(&outcome);
        assert_eq!(
            log.len(),
            if rust_log.is_empty() { 2 } else { 0 },
            "{log:?}"
        );
        for line in log {
            assert_eq!(line["trace_id"], TRACE);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_context_or_with_a_bad_one_gets_a_trace_of_its_own() {
    for traceparent in [
        "",
        "00-nonsense",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let outcome = Child::new("request")
            .env("TRACEPARENT", traceparent)
            .run()
            .await;
        let id = outcome.said["trace_id"].as_str().unwrap();
        assert_eq!(id.len(), 32);
        assert_ne!(id, "0".repeat(32));
        assert_ne!(id, TRACE);
        let injected = outcome.said["injected"]["traceparent"].as_str().unwrap();
        assert!(
            injected.starts_with(&format!("00-{id}-")) && injected.ends_with("-00"),
            "{injected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_sampled_depends_on_the_sampler_and_on_whom_it_trusts() {
    for (sampler, trust, traceparent, expected) in [
        ("", "caller", "", 2),
        ("", "caller", SAMPLED, 2),
        ("", "caller", NOT_SAMPLED, 0),
        ("", "browser", NOT_SAMPLED, 2),
        ("parentbased_always_off", "browser", SAMPLED, 0),
        ("always_off", "caller", SAMPLED, 0),
    ] {
        let collector = Collector::plain().await;
        let outcome = Child::new("request")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
            .env("OTEL_TRACES_SAMPLER", sampler)
            .env("TRACEPARENT", traceparent)
            .env("TRACESTATE", "rojo=1")
            .env("TRUST", trust)
            .run()
            .await;
        let case = format!("{sampler} {trust} {traceparent}");
        assert_eq!(collector.received().spans.len(), expected, "{case}");
        if !traceparent.is_empty() {
            assert_eq!(outcome.said["trace_id"], TRACE, "{case}");
        }
        if trust == "browser" {
            assert_eq!(outcome.said["injected"].get("tracestate"), None, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_switch_things_off_do() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ] {
        let collector = Collector::plain().await;
        Child::new("request")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
            .env(name, value)
            .run()
            .await;
        assert!(collector.received().spans.is_empty(), "{name}={value}");
    }
    let outcome = Child::new("request")
        .env("OTEL_PROPAGATORS", "none")
        .env("TRACEPARENT", SAMPLED)
        .run()
        .await;
    assert_ne!(outcome.said["trace_id"], TRACE);
    assert_eq!(outcome.said["injected"], serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_name_of_the_environment_goes_before_our_own() {
    for (name, value) in [
        ("OTEL_SERVICE_NAME", "theirs"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs"),
    ] {
        let collector = Collector::plain().await;
        Child::new("request")
            .env(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                &format!("{}/v1/traces", collector.endpoint()),
            )
            .env(name, value)
            .run()
            .await;
        assert_eq!(
            attribute(&collector.received().resource, "service.name"),
            "theirs"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_up_nobody_and_what_is_lost_is_counted() {
    for protocol in ["http/protobuf", "grpc"] {
        // Connections are made by the kernel, and nobody ever answers.
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", hanging.local_addr().unwrap());
        let outcome = Child::new("many")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "100")
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
            .run()
            .await;
        let lost = outcome.metric("ask2do_spans_dropped_total{reason=\"queue_full\"}");
        assert_eq!(lost, 1900.0, "{protocol}");
        // Its own limit for the flush is one second; the exporter's, which is not waited for, ten.
        assert!(
            outcome.said["flush_seconds"].as_u64().unwrap() < 8,
            "{protocol}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_or_talks_nonsense_costs_spans_that_are_counted() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let nonsense = collector::nonsense().await;
    for endpoint in [refusing, nonsense] {
        for protocol in ["http/protobuf", "grpc"] {
            let outcome = Child::new("request")
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                .run()
                .await;
            let lost = outcome.metric("ask2do_spans_dropped_total{reason=\"export_failed\"}");
            assert_eq!(lost, 2.0, "{endpoint} {protocol} {}", outcome.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_an_error_that_names_it() {
    for (name, value, expected) in [
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "/no/such/file",
            "/no/such/file",
        ),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "Cargo.toml", "Cargo.toml"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://[",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "x",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
        ("RUST_LOG", "a=b=c", "RUST_LOG=a=b=c"),
    ] {
        let outcome = Child::new("request")
            .env("OTEL_TRACES_EXPORTER", "otlp")
            .env(name, value)
            .run()
            .await;
        let error = outcome.said["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_means_nothing_is_warned_about() {
    let outcome = Child::new("request")
        .env("OTEL_PROPAGATORS", "b3,tracecontext")
        .run()
        .await;
    let log = log(&outcome);
    let warning = &log[0];
    assert_eq!(warning["level"], "WARN");
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .contains("OTEL_PROPAGATORS=b3")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_error_is_cut_and_a_hostile_message_stays_one_line() {
    let outcome = Child::new("flood").run().await;
    let log = log(&outcome);
    assert_eq!(
        log.iter().filter(|line| line["message"] == "again").count(),
        20
    );
    let hostile = line(&log, "two\nlines \u{1b}[31m\"");
    assert_eq!(hostile["error"], "outer: inner");
    assert_eq!(
        (&hostile["number"], &hostile["yes"]),
        (&7.into(), &true.into())
    );
}
