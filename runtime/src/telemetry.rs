//! Logs and traces of a process: what `RUST_LOG` and the OpenTelemetry specification's own variables ask for.
//!
//! Every request has a trace id, whether it is exported or not: the OpenTelemetry SDK is always there, and
//! `RUST_LOG` chooses log lines alone. Spans are this project's own at `INFO` and above; those of libraries
//! are not recorded.
//!
//! With no `OTEL_*` variable set nothing is exported. A collector that is down, slow or lying costs spans, which are
//! counted, and nothing else: at most `OTEL_BSP_MAX_QUEUE_SIZE` of them are held.
//!
//! Of one place's records, but for those at `DEBUG` and `TRACE`, 20 are logged in 10 s; the next line after that says in
//! `suppressed` how many were not.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracer, SdkTracerProvider};
use opentelemetry_semantic_conventions::attribute::SERVICE_VERSION;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::metrics::Metrics;

mod batch;
mod exporter;
mod floods;
mod lines;
mod propagation;
mod sampling;
mod settings;

use batch::{Bounded, Counted, Spans};
use lines::{Form, Lines, Shown};
pub use propagation::{Inject, Trust, continue_trace, inject, sampled_trace_id, trace_id};
use sampling::Sampling;
use settings::{Export, Settings};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the targets of this project's crates begin with.
const OURS: &str = "ask2do_token";

/// Flushes and other messages that share the batch processor's queue with spans.
const CONTROL_MESSAGES: usize = 16;

/// Logging and tracing of this process, set up.
#[derive(Debug)]
#[must_use = "spans that are still held are lost without a shutdown"]
pub struct Telemetry {
    provider: SdkTracerProvider,
    spans: Spans,
}

/// Logging or tracing could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG={value}: want a level, or target=level pairs (info,hyper=debug): {cause}")]
    RustLog {
        /// What it holds.
        value: String,
        /// What is wrong with it.
        cause: BoxError,
    },
    /// A variable's value cannot be used.
    #[error("{0}")]
    Variable(String),
    /// A file that a variable names cannot be used.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: BoxError,
    },
    /// TLS to the collector could not be configured.
    #[error("TLS to the trace collector: {0}")]
    Tls(BoxError),
    /// The exporter does not take what the environment says.
    #[error("the trace exporter: {0}")]
    Exporter(ExporterBuildError),
    /// Somebody set up logging before.
    #[error("logging was set up before")]
    SetBefore,
}

/// Sets up logging and tracing, from the environment. Call it once, inside a Tokio runtime, before
/// anything logs.
///
/// # Errors
///
/// `RUST_LOG`, a file or an endpoint that a variable names cannot be used, or it was called before.
/// Other values that mean nothing are logged and left out, as the specification wants it.
pub fn init(
    default_service_name: &'static str,
    version: &'static str,
) -> Result<Telemetry, TelemetryError> {
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let shown = shown(std::env::var("RUST_LOG").ok())?;
    let spans = Spans::default();
    let resource = resource(&settings, default_service_name, version);
    let provider = provider(settings.export.as_ref(), resource, &spans)?;
    propagation::set_enabled(settings.propagate);
    let tracer = provider.tracer(default_service_name);
    Registry::default()
        .with(Lines::new(Form::of_stderr(), lines::to_stderr).with_filter(shown))
        .with(traced(tracer, settings.export.is_some()))
        .try_init()
        .map_err(|_| TelemetryError::SetBefore)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(export) = &settings.export {
        tracing::info!(protocol = export.protocol.as_str(), sampling = %export.sampling, "exporting traces");
    }
    Ok(Telemetry { provider, spans })
}

impl Telemetry {
    /// Registers what tracing counts: spans exported and dropped.
    pub fn register(&self, metrics: &mut Metrics) {
        self.spans.register(metrics);
    }

    /// Exports what is still held, for `limit` at most; what is held then is lost.
    pub async fn shutdown(self, limit: Duration) {
        let (done, ended) = tokio::sync::oneshot::channel();
        let provider = self.provider;
        // It blocks until the collector has answered, and a thread of its own neither holds up the
        // runtime nor the end of the process.
        let thread = std::thread::Builder::new().spawn(move || {
            let result = provider.shutdown_with_timeout(limit);
            drop(done.send(result));
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "cannot flush traces");
            return;
        }
        match tokio::time::timeout(limit, ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "cannot flush traces"),
            Ok(Err(_)) => tracing::warn!("cannot flush traces"),
            Err(_) => tracing::warn!(?limit, "traces were not flushed in time"),
        }
    }
}

fn shown(rust_log: Option<String>) -> Result<Shown, TelemetryError> {
    let value = rust_log.filter(|value| !value.trim().is_empty());
    let value = value.unwrap_or_else(|| "info".to_owned());
    match value.parse::<Targets>() {
        Ok(targets) => Ok(Shown(targets)),
        Err(cause) => Err(TelemetryError::RustLog {
            value,
            cause: cause.into(),
        }),
    }
}

fn resource(settings: &Settings, service_name: &'static str, version: &'static str) -> Resource {
    let builder = Resource::builder().with_attribute(KeyValue::new(SERVICE_VERSION, version));
    if settings.names_service {
        builder.build()
    } else {
        builder.with_service_name(service_name).build()
    }
}

fn provider(
    export: Option<&Export>,
    resource: Resource,
    spans: &Spans,
) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(export) = export else {
        return Ok(builder.with_sampler(Sampling::NOTHING).build());
    };
    let exporter = Counted {
        inner: exporter::exporter(export)?,
        spans: spans.clone(),
    };
    let batches = &export.batches;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(batches.held.saturating_add(CONTROL_MESSAGES))
        .with_max_export_batch_size(batches.size)
        .with_scheduled_delay(batches.delay)
        .with_max_export_timeout(batches.timeout)
        .build();
    let processor = Bounded {
        inner: BatchSpanProcessor::builder(exporter, Tokio)
            .with_batch_config(config)
            .build(),
        spans: spans.clone(),
        most: batches.held,
    };
    Ok(builder
        .with_sampler(export.sampling)
        .with_span_processor(processor)
        .build())
}

/// The layer that makes spans of OpenTelemetry from ours, with as little beside them as it can.
fn traced<S>(tracer: SdkTracer, with_events: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter =
        FilterFn::new(move |metadata| is_ours(metadata) && (with_events || metadata.is_span()))
            .with_max_level_hint(Level::INFO);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        // A span's status is what its service says, not that something was logged.
        .with_error_events_to_status(false)
        .with_error_events_to_exceptions(false)
        .with_error_records_to_exceptions(false)
        .with_filter(filter)
}

/// Whether a span or an event is this project's, and not a detail.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.target().starts_with(OURS)
}
