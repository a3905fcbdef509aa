//! What the listeners count.

use crate::metrics::Metrics;

/// The metrics of every port, told apart by the label `port`. Clones share them.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {}

impl ConnectionMetrics {
    /// Registers them, without a series yet.
    pub fn register(_metrics: &mut Metrics) -> Self {
        Self {}
    }

    pub(super) fn port(&self, _name: &'static str) -> Port {
        Port {}
    }
}

/// One port's.
#[derive(Clone, Debug)]
pub(super) struct Port {}
