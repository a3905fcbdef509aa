//! Every call of a lane, and what a stretch of time looks like.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::target::Outcome;

/// Failures that a report shows one by one.
const SHOWN: usize = 20;

/// The calls of one lane.
pub(super) struct Ledger {
    name: String,
    calls: Mutex<Vec<Call>>,
}

/// A call. It is `OK` without a failure.
struct Call {
    /// Milliseconds since 1970.
    at: u64,
    took: Option<Duration>,
    failure: Option<Box<Failed>>,
}

struct Failed {
    reason: String,
    detail: Option<String>,
}

/// What became of the calls that began within a stretch of time.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    calls: usize,
    failed: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// How many calls ended for each reason; `OK` is one.
    reasons: BTreeMap<String, usize>,
    /// When the first and the last call began that brought a token, and that did not.
    first_ok: Option<u64>,
    last_ok: Option<u64>,
    first_failure: Option<u64>,
    last_failure: Option<u64>,
    /// The first failures.
    failures: Vec<ShownFailure>,
}

#[derive(Debug, Serialize)]
struct ShownFailure {
    at: u64,
    took_ms: f64,
    reason: String,
    detail: Option<String>,
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Ledger {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            calls: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A call begins: its place.
    pub(super) fn begin(&self) -> usize {
        let mut calls = self.calls();
        calls.push(Call {
            at: now(),
            took: None,
            failure: None,
        });
        calls.len() - 1
    }

    pub(super) fn end(&self, place: usize, took: Duration, outcome: Outcome) {
        let failure = (outcome.reason != "OK").then(|| {
            Box::new(Failed {
                reason: outcome.reason,
                detail: outcome.detail,
            })
        });
        if let Some(call) = self.calls().get_mut(place) {
            call.took = Some(took);
            call.failure = failure;
        }
    }

    /// The calls that began from `from` on and before `to`; `None` while one of them is under way.
    pub(super) fn report(&self, from: u64, to: u64) -> Option<Report> {
        let calls = self.calls();
        let of_then: Vec<_> = calls
            .iter()
            .filter(|call| (from..to).contains(&call.at))
            .map(|call| Some((call, call.took?)))
            .collect::<Option<_>>()?;
        Some(Report::of(&of_then))
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        // Nothing that can panic leaves it half-done.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    fn of(calls: &[(&Call, Duration)]) -> Self {
        let mut took: Vec<_> = calls.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        let mut reasons = BTreeMap::new();
        for (call, _) in calls {
            let reason = call.failure.as_ref().map_or("OK", |failed| &failed.reason);
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
        let times = |failed: bool| {
            let of_kind = move |(call, _): &&(&Call, Duration)| call.failure.is_some() == failed;
            calls.iter().filter(of_kind).map(|(call, _)| call.at)
        };
        let failures = calls
            .iter()
            .filter_map(|(call, took)| Some((call.at, took, call.failure.as_ref()?)))
            .map(|(at, took, failed)| ShownFailure {
                at,
                took_ms: milliseconds(*took),
                reason: failed.reason.clone(),
                detail: failed.detail.clone(),
            });
        Self {
            calls: calls.len(),
            failed: times(true).count(),
            p50_ms: percentile(&took, 50),
            p99_ms: percentile(&took, 99),
            max_ms: percentile(&took, 100),
            reasons,
            first_ok: times(false).min(),
            last_ok: times(false).max(),
            first_failure: times(true).min(),
            last_failure: times(true).max(),
            failures: failures.take(SHOWN).collect(),
        }
    }
}

/// Of sorted times, the one that so many of a hundred do not exceed; 0 of none.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let found = sorted.get(rank.saturating_sub(1));
    milliseconds(found.copied().unwrap_or_default())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ledger: &Ledger, milliseconds: u64, reason: &str) {
        let call = ledger.begin();
        let outcome = Outcome {
            reason: reason.to_owned(),
            detail: None,
        };
        ledger.end(call, Duration::from_millis(milliseconds), outcome);
    }

    #[test]
    fn a_report_counts_by_reason_and_knows_percentiles() {
        let ledger = Ledger::new("lane".into());
        for milliseconds in 1..=99 {
            ended(&ledger, milliseconds, "OK");
        }
        ended(&ledger, 1000, "OVERLOADED");
        let report = ledger.report(0, u64::MAX).unwrap();
        assert_eq!((report.calls, report.failed), (100, 1));
        let times = (report.p50_ms, report.p99_ms, report.max_ms);
        assert_eq!(times, (50.0, 99.0, 1000.0));
        assert_eq!(report.reasons["OVERLOADED"], 1);
        assert_eq!(report.first_failure, report.last_failure);
        assert_eq!(report.failures.len(), 1);
    }

    #[test]
    fn there_is_no_report_while_a_call_of_its_time_is_under_way() {
        let ledger = Ledger::new("lane".into());
        let open = ledger.begin();
        assert!(ledger.report(0, u64::MAX).is_none());
        assert_eq!(ledger.report(0, 1).unwrap().calls, 0);
        let outcome = Outcome {
            reason: "OK".to_owned(),
            detail: None,
        };
        ledger.end(open, Duration::ZERO, outcome);
        assert_eq!(ledger.report(0, u64::MAX).unwrap().calls, 1);
    }
}
