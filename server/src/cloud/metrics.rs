//! What is counted of the calls to the cloud.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_runtime::telemetry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tracing::Span;

use super::failure::Cause;
use super::token::ExpiryMismatch;

/// Up to the longest `cloud.timeout` that makes sense; denser where the vendor's answers lie.
const SECONDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0,
];

/// The metrics of the calls to the cloud. Every label's values are a closed set.
#[derive(Debug)]
pub struct CloudMetrics {
    duration: Family<Outcome, HistogramWithExemplars<Trace>>,
    failures: Family<Failed, Counter>,
    retries: Family<Caused, Counter>,
    retries_skipped: Family<Caused, Counter>,
    clock_skew: Gauge<f64, AtomicU64>,
    expiry_mismatches: Family<Kind, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    reason: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Caused {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// An exemplar's label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Trace {
    trace_id: String,
}

impl Default for CloudMetrics {
    fn default() -> Self {
        Self {
            duration: Family::new_with_constructor(|| {
                HistogramWithExemplars::new(SECONDS.into_iter())
            }),
            failures: Family::default(),
            retries: Family::default(),
            retries_skipped: Family::default(),
            clock_skew: Gauge::default(),
            expiry_mismatches: Family::default(),
        }
    }
}

/// Why a retry that was worth it was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// It would not end by the deadline.
    Deadline,
    /// Too many requests are retries already.
    Budget,
}

impl CloudMetrics {
    /// Makes `/metrics` show them.
    pub fn register(&self, metrics: &mut Metrics) {
        metrics.register(
            "ask2do_cloud_request_duration_seconds",
            &["outcome"],
            "Time of each HTTP request to the cloud, connecting included, by outcome: OK or the reason",
            self.duration.clone(),
        );
        metrics.register(
            "ask2do_cloud_failures_total",
            &["reason", "cause"],
            "Requests to the cloud that brought no token, by reason and, finer, by cause",
            self.failures.clone(),
        );
        metrics.register(
            "ask2do_cloud_retries_total",
            &["cause"],
            "Requests to the cloud that were sent once more, by what the first one failed of",
            self.retries.clone(),
        );
        metrics.register(
            "ask2do_cloud_retries_skipped_total",
            &["cause"],
            "Retries that were not made: no budget, or no time by the deadline",
            self.retries_skipped.clone(),
        );
        metrics.register(
            "ask2do_cloud_clock_skew_seconds",
            &[],
            "How far the cloud's clock is ahead of this machine's, to the second, by its last answer",
            self.clock_skew.clone(),
        );
        metrics.register(
            "ask2do_cloud_token_expiry_mismatches_total",
            &["kind"],
            "Tokens passed on whose own exp is missing or more than a minute apart from expiresAt",
            self.expiry_mismatches.clone(),
        );
    }

    /// One request ended, well where there is no cause.
    pub(super) fn request(&self, took: Duration, failure: Option<Cause>, span: &Span) {
        let reason = failure.map(|cause| cause.error().reason().as_str());
        let outcome = Outcome {
            outcome: reason.unwrap_or("OK"),
        };
        let exemplar = telemetry::sampled_trace_id(span).map(|id| Trace {
            trace_id: id.to_string(),
        });
        self.duration.get_or_create(&outcome).observe(
            took.as_secs_f64(),
            exemplar,
            Some(SystemTime::now()),
        );
        if let (Some(reason), Some(cause)) = (reason, failure) {
            let cause = cause.as_str();
            self.failures.get_or_create(&Failed { reason, cause }).inc();
        }
    }

    pub(super) fn retry(&self, cause: Cause) {
        let cause = cause.as_str();
        self.retries.get_or_create(&Caused { cause }).inc();
    }

    pub(super) fn retry_skipped(&self, why: Skipped) {
        let cause = match why {
            Skipped::Deadline => "deadline",
            Skipped::Budget => "budget",
        };
        self.retries_skipped.get_or_create(&Caused { cause }).inc();
    }

    /// The cloud said that it was `theirs` when it was `ours` here.
    pub(super) fn clock_skew(&self, theirs: SystemTime, ours: SystemTime) {
        let ahead = theirs.duration_since(ours);
        let seconds = ahead.map_or_else(
            |behind| -behind.duration().as_secs_f64(),
            |ahead| ahead.as_secs_f64(),
        );
        self.clock_skew.set(seconds.round());
    }

    pub(super) fn expiry_mismatch(&self, mismatch: ExpiryMismatch) {
        let kind = mismatch.as_str();
        self.expiry_mismatches.get_or_create(&Kind { kind }).inc();
    }
}
