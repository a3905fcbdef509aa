//! Around the SDK's batch processor: a bound on what is held, and a count of what is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::metrics::Metrics;

/// What becomes of recorded spans. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    /// Taken from the process and neither exported nor lost yet.
    held: Arc<AtomicUsize>,
    exported: Counter,
    dropped: Family<Why, Counter>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// More spans are held than fit.
const QUEUE_FULL: Why = Why {
    reason: "queue_full",
};
/// The collector refused them, or did not answer in time.
const EXPORT_FAILED: Why = Why {
    reason: "export_failed",
};

impl Spans {
    pub(super) fn register(&self, metrics: &mut Metrics) {
        for why in [QUEUE_FULL, EXPORT_FAILED] {
            drop(self.dropped.get_or_create(&why));
        }
        metrics.register(
            "ask2do_spans_exported_total",
            &[],
            "Spans that the trace collector took",
            self.exported.clone(),
        );
        metrics.register(
            "ask2do_spans_dropped_total",
            &["reason"],
            "Spans that were recorded and never reached the trace collector",
            self.dropped.clone(),
        );
    }

    fn drop(&self, why: Why, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.dropped.get_or_create(&why).inc_by(count);
    }
}

/// Takes spans as long as fewer than `most` are held, so that `inner` never has to refuse one.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    pub(super) inner: P,
    pub(super) spans: Spans,
    pub(super) most: usize,
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.spans.held.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.spans.held.fetch_sub(1, Ordering::Relaxed);
            self.spans.drop(QUEUE_FULL, 1);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what `inner` exports, and says why it could not.
#[derive(Debug)]
pub(super) struct Counted<E> {
    pub(super) inner: E,
    pub(super) spans: Spans,
}

/// A batch on its way.
struct Leaving<'a> {
    spans: &'a Spans,
    count: usize,
    result: Option<Result<(), String>>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.spans.held.fetch_sub(self.count, Ordering::Relaxed);
        match &self.result {
            Some(Ok(())) => {
                let count = u64::try_from(self.count).unwrap_or(u64::MAX);
                self.spans.exported.inc_by(count);
                return;
            }
            Some(Err(error)) => {
                tracing::warn!(spans = self.count, error, "spans were not exported");
            }
            // Dropped by the batch processor at its own limit, or at the end of the process.
            None => tracing::warn!(spans = self.count, "spans were not exported in time"),
        }
        self.spans.drop(EXPORT_FAILED, self.count);
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut leaving = Leaving {
            spans: &self.spans,
            count: batch.len(),
            result: None,
        };
        let result = self.inner.export(batch).await;
        leaving.result = Some(result.as_ref().copied().map_err(ToString::to_string));
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
