//! OpenTelemetry: exports where OTEL_EXPORTER_OTLP_ENDPOINT says, and nowhere without it.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, ContextGuard};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Tracing as long as this lives.
pub(crate) struct Tracing {
    provider: SdkTracerProvider,
    _context: ContextGuard,
}

/// Turns the client's spans into OpenTelemetry's, and continues the trace that TRACEPARENT names, as
/// middleware does from a request.
pub(crate) fn start() -> Tracing {
    let mut provider = SdkTracerProvider::builder();
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        match SpanExporter::builder().with_http().build() {
            Ok(exporter) => {
                let batches = BatchSpanProcessor::builder(exporter, Tokio).build();
                provider = provider.with_span_processor(batches);
            }
            Err(error) => eprintln!("caller: no traces: {error}"),
        }
    }
    let provider = provider.build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("caller"));
    tracing_subscriber::registry().with(layer).init();

    let variable = |name: &str| Some((name.to_owned(), std::env::var(name.to_uppercase()).ok()?));
    let carrier: HashMap<_, _> = ["traceparent", "tracestate"]
        .into_iter()
        .filter_map(variable)
        .collect();
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    Tracing {
        provider,
        _context: parent.attach(),
    }
}

impl Tracing {
    /// Exports what is left.
    pub(crate) fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            eprintln!("caller: no traces: {error}");
        }
    }
}
