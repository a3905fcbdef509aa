//! What the listeners count.

use std::io;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;
use ask2do_token_tls::{HandshakeFailure, handshake_failure};

/// The metrics of every port, told apart by the label `port`. Clones share them.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    open: Family<Of, Gauge>,
    pending: Family<Of, Gauge>,
    requests: Family<Of, Gauge>,
    accepted: Family<Of, Counter>,
    accept_errors: Family<Of, Counter>,
    handshake_failures: Family<FailedHandshake, Counter>,
    dropped: Family<DroppedFor, Counter>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    port: &'static str,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailedHandshake {
    port: &'static str,
    cause: &'static str,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DroppedFor {
    port: &'static str,
    reason: &'static str,
}

/// Why the listener closed a connection that had done nothing wrong, or nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It sent no HTTP in time.
    Silent,
    /// It had been silent longest when a new peer needed its place.
    SilentForNew,
    /// It had been without a request longest, or stuck, when a new connection needed its place.
    IdleForNew,
    /// It came when every connection that the port may have was busy.
    AllBusy,
    /// It does not speak this port's protocol.
    WrongProtocol,
    /// It was asked to end and did not in time.
    Overstayed,
}

impl Dropped {
    const ALL: [Self; 6] = [
        Self::Silent,
        Self::SilentForNew,
        Self::IdleForNew,
        Self::AllBusy,
        Self::WrongProtocol,
        Self::Overstayed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SilentForNew => "silent_for_new",
            Self::IdleForNew => "idle_for_new",
            Self::AllBusy => "all_busy",
            Self::WrongProtocol => "wrong_protocol",
            Self::Overstayed => "overstayed",
        }
    }
}

impl ConnectionMetrics {
    /// Registers them, without a series yet.
    pub fn register(metrics: &mut Metrics) -> Self {
        let this = Self {
            open: Family::default(),
            pending: Family::default(),
            requests: Family::default(),
            accepted: Family::default(),
            accept_errors: Family::default(),
            handshake_failures: Family::default(),
            dropped: Family::default(),
        };
        metrics.register(
            "ask2do_connections",
            &["port"],
            "Open connections that have spoken HTTP",
            this.open.clone(),
        );
        metrics.register(
            "ask2do_connections_pending",
            &["port"],
            "Open connections in their TLS handshake, or silent since",
            this.pending.clone(),
        );
        metrics.register(
            "ask2do_requests_in_flight",
            &["port"],
            "Requests being answered, to the end of the answer's body",
            this.requests.clone(),
        );
        metrics.register(
            "ask2do_connections_accepted_total",
            &["port"],
            "Accepted TCP connections",
            this.accepted.clone(),
        );
        metrics.register(
            "ask2do_accept_errors_total",
            &["port"],
            "Failures to accept a connection, such as running out of file descriptors",
            this.accept_errors.clone(),
        );
        metrics.register(
            "ask2do_handshake_failures_total",
            &["port", "cause"],
            "TLS handshakes that failed",
            this.handshake_failures.clone(),
        );
        metrics.register(
            "ask2do_connections_dropped_total",
            &["port", "reason"],
            "Connections that the listener closed to stay within its bounds",
            this.dropped.clone(),
        );
        this
    }

    /// The series of one port, all of them from 0, so that a rate can be taken from the first event.
    pub(super) fn port(&self, port: &'static str) -> Port {
        let of = Of { port };
        for dropped in Dropped::ALL {
            let reason = dropped.as_str();
            drop(self.dropped.get_or_create(&DroppedFor { port, reason }));
        }
        Port {
            open: self.open.get_or_create(&of).clone(),
            pending: self.pending.get_or_create(&of).clone(),
            requests: self.requests.get_or_create(&of).clone(),
            accepted: self.accepted.get_or_create(&of).clone(),
            accept_errors: self.accept_errors.get_or_create(&of).clone(),
            all: self.clone(),
            name: port,
        }
    }
}

/// One port's.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) open: Gauge,
    pub(super) pending: Gauge,
    pub(super) requests: Gauge,
    pub(super) accepted: Counter,
    pub(super) accept_errors: Counter,
    pub(super) name: &'static str,
    all: ConnectionMetrics,
}

impl Port {
    /// Begins the series of a port that has handshakes.
    pub(super) fn expect_handshakes(&self) {
        for failure in HandshakeFailure::ALL {
            let label = FailedHandshake {
                port: self.name,
                cause: failure.as_str(),
            };
            drop(self.all.handshake_failures.get_or_create(&label));
        }
    }

    pub(super) fn handshake_failed(&self, error: &io::Error) -> HandshakeFailure {
        let failure = handshake_failure(error);
        let label = FailedHandshake {
            port: self.name,
            cause: failure.as_str(),
        };
        self.all.handshake_failures.get_or_create(&label).inc();
        failure
    }

    pub(super) fn dropped(&self, reason: Dropped) {
        let label = DroppedFor {
            port: self.name,
            reason: reason.as_str(),
        };
        self.all.dropped.get_or_create(&label).inc();
    }
}

/// Counts as long as it lives.
#[derive(Debug)]
pub(super) struct Held(Gauge);

impl Held {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
