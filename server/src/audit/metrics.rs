//! What is counted of the audit log, and the head of its chain.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ask2do_token_runtime::metrics::{Described, Metrics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::chain::Head;

/// What writer, calls and `/metrics` share.
#[derive(Debug, Default)]
pub(super) struct State {
    written: Counter,
    lost: Counter,
    failing: Gauge,
    is_failing: AtomicBool,
    /// Lost, and no line says so yet.
    unsaid: AtomicU64,
    head: Mutex<Option<Head>>,
}

impl State {
    pub(super) fn register(self: &Arc<Self>, metrics: &mut Metrics) {
        metrics.register(
            "ask2do_audit_lines_total",
            &[],
            "Lines written to the audit log",
            self.written.clone(),
        );
        metrics.register(
            "ask2do_audit_lines_lost_total",
            &[],
            "Lines that could not be written to the audit log: its output failed, or was too slow",
            self.lost.clone(),
        );
        metrics.register(
            "ask2do_audit_failing",
            &[],
            "1 while the audit log cannot be written, else 0",
            self.failing.clone(),
        );
        metrics.register_collector(HEAD, HeadMetrics(self.clone()));
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    pub(super) fn set_failing(&self, failing: bool) {
        self.is_failing.store(failing, Ordering::Relaxed);
        self.failing.set(failing.into());
    }

    pub(super) fn lost(&self, lines: u64) {
        self.lost.inc_by(lines);
        self.unsaid.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn unsaid(&self) -> u64 {
        self.unsaid.load(Ordering::Relaxed)
    }

    pub(super) fn said(&self, lines: u64) {
        self.unsaid.fetch_sub(lines, Ordering::Relaxed);
    }

    pub(super) fn written(&self, lines: u64, head: Option<Head>) {
        self.written.inc_by(lines);
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    pub(super) fn head(&self) -> Option<Head> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.clone()
    }
}

/// Both of one line, read at each scrape.
#[derive(Debug)]
struct HeadMetrics(Arc<State>);

const HEAD: [Described; 2] = [
    Described {
        name: "ask2do_audit_sequence",
        kind: "gauge",
        labels: &[],
        help: "The sequence number of the audit log's last line; none where the log is off",
    },
    Described {
        name: "ask2do_audit_head",
        kind: "gauge",
        labels: &[],
        help: "The first twelve hexadecimal digits of that line's mac, as a number: it shows a log whose \
               tail was cut",
    },
];

impl Collector for HeadMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(head) = self.0.head() else {
            return Ok(());
        };
        for (described, value) in HEAD.iter().zip([head.seq, head.mac.head_number()]) {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let help = format!("{}.", described.help);
            let encoder =
                encoder.encode_descriptor(described.name, &help, None, MetricType::Gauge)?;
            metric.encode(encoder)?;
        }
        Ok(())
    }
}
