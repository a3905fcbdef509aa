//! What is counted of mints.

use std::sync::Arc;
use std::time::Duration;

use ask2do_token_proto::Reason;
use ask2do_token_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::admission::Callers;

/// The label `reason` of a mint that went well.
pub const OK: &str = "OK";
/// The label `reason` of a mint whose caller went away before the answer.
pub const CANCELLED: &str = "CANCELLED";

/// Every reason for which this server refuses a call, so that each series is there from the start:
/// an alert on an increase would miss the first otherwise. `UNKNOWN` is a bug of ours.
const REASONS: [Reason; 13] = [
    Reason::CallerNotAllowed,
    Reason::PanelUserInvalid,
    Reason::RoleNotAllowed,
    Reason::RateLimited,
    Reason::Overloaded,
    Reason::TenantKeyRejected,
    Reason::CloudRateLimited,
    Reason::CloudUnavailable,
    Reason::CloudTimeout,
    Reason::CloudResponseInvalid,
    Reason::RequestInvalid,
    Reason::CertificateRejected,
    Reason::Unknown,
];

/// Upper bounds in seconds, up to the longest `cloud.timeout` that makes sense.
const SECONDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0,
];

/// The metrics of mints. Clones share them.
#[derive(Clone, Debug)]
pub struct MintMetrics {
    mints: Family<Outcome, Counter>,
    duration: HistogramWithExemplars<Trace>,
    in_flight: Gauge,
    callers: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    // The name of a configured caller, or empty: nothing that a peer chose.
    caller: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Trace {
    trace_id: String,
}

impl MintMetrics {
    /// Makes `/metrics` show them.
    pub fn register(metrics: &mut Metrics) -> Self {
        let mints = Self {
            mints: Family::default(),
            duration: HistogramWithExemplars::new(SECONDS.into_iter()),
            in_flight: Gauge::default(),
            callers: Gauge::default(),
        };
        metrics.register(
            "ask2do_mints_total",
            &["caller", "reason"],
            "MintToken calls by caller (empty: the certificate names none) and outcome: OK, the reason \
             for the failure, CANCELLED where the caller went away, UNKNOWN for a bug of the server",
            mints.mints.clone(),
        );
        metrics.register(
            "ask2do_mint_duration_seconds",
            &[],
            "Time from the arrival of a MintToken call to its answer, whatever it is",
            mints.duration.clone(),
        );
        metrics.register(
            "ask2do_mints_in_flight",
            &[],
            "MintToken calls being answered now",
            mints.in_flight.clone(),
        );
        metrics.register(
            "ask2do_callers",
            &[],
            "Callers that may mint; 0: nobody may",
            mints.callers.clone(),
        );
        mints.begin_series("".into());
        mints
    }

    /// Shows these callers from now on.
    pub fn show_callers(&self, callers: &Callers) {
        self.callers
            .set(callers.iter().count().try_into().unwrap_or(i64::MAX));
        for caller in callers.iter() {
            self.begin_series(caller.name().clone());
        }
    }

    pub(crate) fn begun(&self) {
        self.in_flight.inc();
    }

    /// `trace_id`: of an exported trace.
    pub(crate) fn ended(
        &self,
        caller: Arc<str>,
        reason: &'static str,
        took: Duration,
        trace_id: Option<String>,
    ) {
        self.in_flight.dec();
        self.mints.get_or_create(&Outcome { caller, reason }).inc();
        let trace = trace_id.map(|trace_id| Trace { trace_id });
        self.duration.observe(took.as_secs_f64(), trace, None);
    }

    fn begin_series(&self, caller: Arc<str>) {
        let reasons = REASONS.iter().map(|reason| reason.as_str());
        for reason in reasons.chain([OK, CANCELLED]) {
            let caller = caller.clone();
            drop(self.mints.get_or_create(&Outcome { caller, reason }));
        }
    }
}
