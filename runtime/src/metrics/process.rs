//! The process's own metrics, by the names every Prometheus client uses. Linux only.

use super::Metrics;

pub(super) fn register(_metrics: &mut Metrics) {}
