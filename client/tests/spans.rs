//! The span of a call, as an OpenTelemetry back end would see it.
//!
//! A process of its own: a subscriber that comes while other threads already trace misses spans.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a test that cannot go on has failed; the service is shared with other tests"
)]

#[path = "it/pki.rs"]
mod pki;
#[path = "it/service.rs"]
mod service;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use opentelemetry::trace::{
    SpanId, SpanKind, Status as SpanStatus, TraceContextExt, TracerProvider,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use crate::pki::Pki;
use crate::service::{Answer, Seen, Service, answers, mints, user};

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// What this process traces, from before its first span on.
fn kept() -> &'static Kept {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(kept.clone())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::set_global_default(subscriber).unwrap();
        kept
    })
}

/// The span of one call, that of what it was made in, and what the service saw.
async fn traced(answer: Answer) -> (SpanId, SpanData, Seen) {
    let kept = kept();
    let pki = Pki::new();
    let service = Service::start(&pki, answer).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let parent = tracing::info_span!("request");
    let id = parent.context().span().span_context().span_id();
    _ = client.mint_token(&user()).instrument(parent).await;
    let spans = kept.0.lock().unwrap();
    let call = spans.iter().find(|span| span.parent_span_id == id).unwrap();
    (id, call.clone(), service.seen()[0].clone())
}

fn attributes(span: &SpanData) -> HashMap<&str, String> {
    let attributes = span.attributes.iter();
    attributes
        .map(|a| (a.key.as_str(), a.value.to_string()))
        .collect()
}

#[tokio::test]
async fn a_call_is_a_client_span_that_the_service_continues() {
    let (parent, call, seen) = traced(mints()).await;
    assert_eq!(call.span_kind, SpanKind::Client);
    assert_eq!(call.name, "ask2do.token.v1.TokenService/MintToken");
    assert_eq!(call.parent_span_id, parent);
    let (trace, span) = (call.span_context.trace_id(), call.span_context.span_id());
    assert_ne!(span, SpanId::INVALID);
    assert_eq!(seen.headers["traceparent"], format!("00-{trace}-{span}-01"));

    let attributes = attributes(&call);
    for (name, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "ask2do.token.v1.TokenService/MintToken"),
        ("rpc.response.status_code", "OK"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(
            attributes.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert!(!attributes.contains_key("error.type"));
}

#[tokio::test]
async fn a_failed_call_has_code_and_reason() {
    let (_, call, _) = traced(answers(|_| async {
        let mut details = ErrorDetails::new();
        details.set_error_info("ROLE_NOT_ALLOWED", "token.ask2do.com", []);
        let code = tonic::Code::PermissionDenied;
        Err(tonic::Status::with_error_details(code, "", details))
    }))
    .await;
    assert!(matches!(call.status, SpanStatus::Error { .. }));
    let attributes = attributes(&call);
    for (name, value) in [
        ("rpc.response.status_code", "PERMISSION_DENIED"),
        ("error.type", "PERMISSION_DENIED"),
        ("ask2do.reason", "ROLE_NOT_ALLOWED"),
    ] {
        assert_eq!(
            attributes.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    let shown = format!("{call:?}");
    assert!(
        !shown.contains("admin") && !shown.contains("42\""),
        "{shown}"
    );
}
