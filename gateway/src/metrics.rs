//! What the gateway counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_runtime::telemetry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tracing::Span;

use crate::session::SessionError;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// An exemplar's label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Trace {
    trace_id: String,
}

/// Times, some of them with the trace in which they were taken.
type Histogram = HistogramWithExemplars<Trace>;

/// The gateway's metrics. Clones share them; nobody needs to register them.
#[derive(Clone, Debug)]
pub struct GatewayMetrics {
    requests: Family<Code, Counter>,
    durations: Histogram,
    in_flight: Gauge,
    sessions: Family<Outcome, Histogram, fn() -> Histogram>,
    refreshes: Family<Outcome, Counter>,
    last_refresh: Gauge<f64, AtomicU64>,
}

/// From a local JWT check to the longest mint.
const SECONDS: [f64; 14] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 6.0,
];

impl Default for GatewayMetrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS.into_iter());
        Self {
            requests: Family::default(),
            durations: histogram(),
            in_flight: Gauge::default(),
            sessions: Family::new_with_constructor(histogram),
            refreshes: Family::default(),
            last_refresh: Gauge::default(),
        }
    }
}

impl GatewayMetrics {
    /// Shows them in `/metrics` of a process of this project.
    pub fn register(&self, metrics: &mut Metrics) {
        metrics.register(
            "ask2do_gateway_requests_total",
            &["code"],
            "Requests by the code of their answer: a reason, or OK, or PREFLIGHT",
            self.requests.clone(),
        );
        metrics.register(
            "ask2do_gateway_request_duration_seconds",
            &[],
            "Time from a request's header to its answer",
            self.durations.clone(),
        );
        metrics.register(
            "ask2do_gateway_requests_in_flight",
            &[],
            "Requests whose session is being checked or whose token is being minted",
            self.in_flight.clone(),
        );
        metrics.register(
            "ask2do_gateway_session_check_duration_seconds",
            &["outcome"],
            "Time of a session check by its outcome: session, login_required, unavailable",
            self.sessions.clone(),
        );
        metrics.register(
            "ask2do_gateway_jwks_refreshes_total",
            &["outcome"],
            "Attempts to read the JWKS from its URL: ok, failed",
            self.refreshes.clone(),
        );
        metrics.register(
            "ask2do_gateway_jwks_last_refresh_timestamp_seconds",
            &[],
            "When the JWKS was last read well from its URL, in Unix time",
            self.last_refresh.clone(),
        );
    }

    /// A request of this span was answered.
    pub(crate) fn answered(&self, code: &'static str, took: Duration, span: &Span) {
        self.requests.get_or_create(&Code { code }).inc();
        self.durations
            .observe(took.as_secs_f64(), exemplar(span), None);
    }

    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A session was checked, inside this span.
    pub(crate) fn session_checked<T>(
        &self,
        outcome: &Result<T, SessionError>,
        took: Duration,
        span: &Span,
    ) {
        let outcome = match outcome {
            Ok(_) => "session",
            Err(SessionError::LoginRequired { .. }) => "login_required",
            Err(SessionError::Unavailable { .. }) => "unavailable",
        };
        self.sessions.get_or_create(&Outcome { outcome }).observe(
            took.as_secs_f64(),
            exemplar(span),
            None,
        );
    }

    pub(crate) fn jwks_refreshed(&self, at: Option<std::time::SystemTime>) {
        let outcome = if at.is_some() { "ok" } else { "failed" };
        self.refreshes.get_or_create(&Outcome { outcome }).inc();
        let since_epoch = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        if let Some(since_epoch) = since_epoch {
            self.last_refresh.set(since_epoch.as_secs_f64());
        }
    }
}

/// The trace where it is exported: another one nobody would find.
fn exemplar(span: &Span) -> Option<Trace> {
    let id = telemetry::sampled_trace_id(span)?;
    Some(Trace {
        trace_id: id.to_string(),
    })
}

/// Counts a request as in flight until it is dropped: answered, or given up by its browser.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
