//! Reloads of watched files.

use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use ask2do_token_tls::{LoadError, Observer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct File {
    file: &'static str,
}

/// Counts and logs reloads by file: the `Observer` of every watched file. Clones share the metrics.
#[derive(Clone, Debug)]
pub struct Reloads {
    done: Family<File, Counter>,
    failed: Family<File, Counter>,
    succeeded_at: Family<File, Gauge<f64, AtomicU64>>,
    modified_at: Family<File, Gauge<f64, AtomicU64>>,
}

impl Reloads {
    /// Registers the metrics, without a series yet.
    pub fn register(metrics: &mut Metrics) -> Self {
        let reloads = Self {
            done: Family::default(),
            failed: Family::default(),
            succeeded_at: Family::default(),
            modified_at: Family::default(),
        };
        metrics.register(
            "ask2do_reloads_total",
            &["file"],
            "Watched files whose new content took effect",
            reloads.done.clone(),
        );
        metrics.register(
            "ask2do_reload_failures_total",
            &["file"],
            "Watched files whose new content was refused, the last good one staying in effect",
            reloads.failed.clone(),
        );
        metrics.register(
            "ask2do_reload_success_timestamp_seconds",
            &["file"],
            "When the content now in effect was read, in seconds since 1970",
            reloads.succeeded_at.clone(),
        );
        metrics.register(
            "ask2do_reload_modified_timestamp_seconds",
            &["file"],
            "When the content now in effect was written to its files, in seconds since 1970",
            reloads.modified_at.clone(),
        );
        reloads
    }

    /// Begins the series of a file that was just read for the first time, and was written at `modified`.
    pub fn loaded(&self, name: &'static str, modified: Option<SystemTime>) {
        let file = File { file: name };
        drop(self.done.get_or_create(&file));
        drop(self.failed.get_or_create(&file));
        self.succeeded(file, modified);
    }

    fn succeeded(&self, file: File, modified: Option<SystemTime>) {
        let now = seconds(SystemTime::now());
        self.succeeded_at.get_or_create(&file).set(now);
        if let Some(modified) = modified {
            self.modified_at.get_or_create(&file).set(seconds(modified));
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

impl Observer for Reloads {
    fn reloaded(&self, name: &'static str, modified: Option<SystemTime>) {
        let file = File { file: name };
        self.done.get_or_create(&file).inc();
        self.succeeded(file, modified);
        tracing::info!(file = name, "reloaded");
    }

    fn failed(&self, name: &'static str, error: &LoadError) {
        self.failed.get_or_create(&File { file: name }).inc();
        let error: &(dyn std::error::Error + 'static) = error;
        tracing::error!(
            file = name,
            error,
            "reload failed: the last good content stays in effect"
        );
    }
}
