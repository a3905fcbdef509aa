//! The process under test: this binary once more.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ask2do_token_runtime::metrics::{Format, Metrics};
use ask2do_token_runtime::telemetry::{self, Inject, Trust};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::process::Command;
use tracing::Span;

/// A process to run.
pub(crate) struct Child(Command);

/// What it said, and what it logged.
pub(crate) struct Outcome {
    pub(crate) said: Value,
    pub(crate) stderr: String,
}

impl Child {
    pub(crate) fn new(scenario: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let inherited = std::env::vars().map(|(name, _)| name);
        for name in inherited.filter(|name| name.starts_with("OTEL_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command
            .args([
                "--exact",
                "child::the_process_under_test",
                "--ignored",
                "--nocapture",
            ])
            .env("SCENARIO", scenario)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        Self(command)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) async fn run(mut self) -> Outcome {
        let output = self.0.output().await.unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let said = stdout
            .lines()
            .find_map(|line| Some(line.split_once("SAID ")?.1));
        let said = said.unwrap_or_else(|| panic!("{stdout}\n{stderr}"));
        Outcome {
            said: serde_json::from_str(said).unwrap(),
            stderr,
        }
    }
}

impl Outcome {
    /// The value of one series at the end.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.said["metrics"].as_str().unwrap();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("no {series} in {text}"))
            .parse()
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests, each with its environment"]
async fn the_process_under_test() {
    let telemetry = match telemetry::init("child", "1.2.3") {
        Ok(telemetry) => telemetry,
        Err(error) => return say(&json!({ "error": error.to_string() })),
    };
    let mut metrics = Metrics::new("child", "1.2.3");
    telemetry.register(&mut metrics);
    // Long enough for the exporter's retries; with a collector that hangs the limit itself is under test.
    let (mut said, limit) = match &*variable("SCENARIO") {
        "request" => (request().await, Duration::from_secs(30)),
        // With a collector that takes what comes, all of it is exported.
        "many" => (many(), Duration::from_secs(1)),
        "one by one" => (one_by_one(&metrics).await, Duration::from_secs(30)),
        "nothing" => (json!({}), Duration::from_secs(1)),
        _ => (flood(), Duration::from_secs(1)),
    };
    let began = Instant::now();
    telemetry.shutdown(limit).await;
    said["flush_seconds"] = began.elapsed().as_secs().into();
    said["metrics"] = metrics.encode(Format::Classic).into();
    say(&said);
}

fn say(said: &Value) {
    println!("SAID {said}");
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// What a server does with a request.
async fn request() -> Value {
    let mut incoming = HeaderMap::new();
    for (name, variable_name) in [("traceparent", "TRACEPARENT"), ("tracestate", "TRACESTATE")] {
        let value = variable(variable_name);
        if !value.is_empty() {
            incoming.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
    }
    incoming.insert("baggage", HeaderValue::from_static("user=42"));
    let trust = match &*variable("TRUST") {
        "browser" => Trust::Browser,
        _ => Trust::Caller,
    };
    let span = tracing::info_span!(
        target: "ask2do_token_test",
        "request",
        otel.name = "GET /",
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = "GET",
    );
    let trace_id = telemetry::continue_trace(&span, &incoming, trust);
    span.record("otel.status_code", "ERROR");
    let inner = span.in_scope(|| tracing::info_span!(target: "ask2do_token_test", "inner"));
    inner.in_scope(|| tracing::info!(target: "ask2do_token_test", "inside"));
    // A library's span in between has no id of its own to show.
    span.in_scope(|| {
        let library = tracing::info_span!(target: "some_library", "detail");
        library.in_scope(|| tracing::warn!(target: "some_library", "between"));
    });
    assert_eq!(telemetry::trace_id(&inner), trace_id);
    json!({
        "trace_id": trace_id.to_string(),
        "exemplar": telemetry::sampled_trace_id(&span).map(|id| id.to_string()),
        "injected": injected(&inner, Inject::WithTracestate),
        "alone": injected(&inner, Inject::Traceparent),
    })
}

fn injected(span: &Span, what: Inject) -> BTreeMap<String, String> {
    let mut headers = HeaderMap::new();
    telemetry::inject(span, &mut headers, what);
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

fn many() -> Value {
    for _ in 0..2000 {
        let span = tracing::info_span!(target: "ask2do_token_test", "one of many");
        telemetry::continue_trace(&span, &HeaderMap::new(), Trust::Caller);
    }
    json!({})
}

/// Twenty times a span, until the collector has it.
async fn one_by_one(metrics: &Metrics) -> Value {
    let began = Instant::now();
    for number in 1..=20 {
        drop(tracing::info_span!(target: "ask2do_token_test", "one"));
        let exported = format!("ask2do_spans_exported_total {number}\n");
        while !metrics.encode(Format::Classic).contains(&exported) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    json!({ "seconds": began.elapsed().as_secs() })
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Chain(&'static str, #[source] Option<Box<Chain>>);

fn flood() -> Value {
    for _ in 0..100 {
        tracing::error!(target: "ask2do_token_test", "again");
    }
    let error = Chain("outer", Some(Box::new(Chain("inner", None))));
    let error: &(dyn std::error::Error + 'static) = &error;
    let message = "two\nlines \u{1b}[31m\"";
    tracing::info!(target: "ask2do_token_test", error, number = 7, yes = true, "{message}");
    json!({})
}
