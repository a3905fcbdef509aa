//! What the parts of the playground export of their spans, kept for the page's second tab: a collector that
//! remembers the last traces, and passes all of it on where `--otlp` names another one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode as SpanStatus};
use prost::Message as _;
use serde::Serialize;

use super::relay::Relay;

/// The most traces, and of each the most spans.
const TRACES: usize = 100;
const SPANS: usize = 100;
/// The largest batch that an exporter sends is below.
const BATCH_LIMIT: usize = 4 * 1024 * 1024;

/// The last traces, the latest at the end.
type Traces = Arc<Mutex<VecDeque<Trace>>>;

/// What is done with a batch.
#[derive(Clone)]
struct Collector {
    traces: Traces,
    relay: Option<Relay>,
}

struct Trace {
    id: Vec<u8>,
    hops: Vec<Hop>,
}

/// One span, as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Hop {
    service: String,
    name: String,
    kind: &'static str,
    /// Milliseconds since 1970.
    start: f64,
    /// Milliseconds.
    took: f64,
    failed: bool,
    reason: Option<String>,
}

/// `POST /v1/traces` in OTLP over HTTP, and `GET /hops/<trace id>`.
pub(super) fn router(relay: Option<Relay>) -> Router {
    Router::new()
        .route("/v1/traces", post(take))
        .route("/hops/{id}", get(show))
        .layer(DefaultBodyLimit::max(BATCH_LIMIT))
        .with_state(Collector {
            traces: Traces::default(),
            relay,
        })
}

async fn take(State(collector): State<Collector>, body: Bytes) -> Response {
    let Ok(batch) = ExportTraceServiceRequest::decode(body.clone()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if let Some(relay) = &collector.relay {
        relay.send(body);
    }
    let mut traces = collector
        .traces
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for resource in batch.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes);
        let service = text(&attributes.unwrap_or_default(), "service.name").unwrap_or_default();
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            keep(&mut traces, &service, span);
        }
    }
    StatusCode::OK.into_response()
}

fn keep(traces: &mut VecDeque<Trace>, service: &str, span: Span) {
    let known = traces
        .iter_mut()
        .position(|trace| trace.id == span.trace_id);
    let at = known.unwrap_or_else(|| {
        if traces.len() == TRACES {
            traces.pop_front();
        }
        traces.push_back(Trace {
            id: span.trace_id.clone(),
            hops: Vec::new(),
        });
        traces.len() - 1
    });
    if let Some(trace) = traces.get_mut(at).filter(|trace| trace.hops.len() < SPANS) {
        trace.hops.push(Hop::of(service, span));
    }
}

async fn show(State(collector): State<Collector>, Path(id): Path<String>) -> Response {
    let traces = collector
        .traces
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let found = traces.iter().find(|trace| hexadecimal(&trace.id) == id);
    let mut hops = found.map(|trace| trace.hops.clone()).unwrap_or_default();
    hops.sort_by(|one, other| one.start.total_cmp(&other.start));
    ([(CACHE_CONTROL, "no-store")], Json(hops)).into_response()
}

impl Hop {
    fn of(service: &str, span: Span) -> Self {
        let took = span
            .end_time_unix_nano
            .saturating_sub(span.start_time_unix_nano);
        let error = SpanStatus::Error as i32;
        Self {
            service: service.to_owned(),
            kind: match span.kind {
                2 => "server",
                3 => "client",
                _ => "internal",
            },
            start: milliseconds(span.start_time_unix_nano),
            took: milliseconds(took),
            failed: span.status.is_some_and(|status| status.code == error),
            reason: ["ask2do.reason", "error.type", "http.response.status_code"]
                .iter()
                .find_map(|key| text(&span.attributes, key)),
            name: span.name,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a microsecond is fine enough")]
fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1000) as f64 / 1000.0
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u8, start: u64) -> Span {
        Span {
            trace_id: vec![id; 16],
            name: "POST".to_owned(),
            start_time_unix_nano: start * 1_000_000,
            end_time_unix_nano: start * 1_000_000 + 2_500_000,
            ..Span::default()
        }
    }

    #[test]
    fn the_oldest_traces_go_and_the_time_is_in_milliseconds() {
        let mut traces = VecDeque::new();
        for id in 0..=100 {
            keep(&mut traces, "server", span(id, 7));
        }
        assert_eq!(traces.len(), TRACES);
        assert_eq!(hexadecimal(&traces[0].id), "01".repeat(16));
        assert_eq!(
            (traces[0].hops[0].start, traces[0].hops[0].took),
            (7.0, 2.5)
        );
        for _ in 0..2 * SPANS {
            keep(&mut traces, "server", span(1, 7));
        }
        assert_eq!((traces.len(), traces[0].hops.len()), (TRACES, SPANS));
    }
}
