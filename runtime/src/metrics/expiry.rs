//! When certificates end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Described, Metrics};

const DESCRIBED: Described = Described {
    name: "ask2do_certificate_expiry_timestamp_seconds",
    kind: "gauge",
    labels: &["certificate"],
    help: "When the certificate in use ends, in seconds since 1970",
};

/// The gauge `ask2do_certificate_expiry_timestamp_seconds`, one series per certificate. Clones share it.
#[derive(Clone, Default)]
pub struct CertificateExpiry {
    certificates: Arc<Mutex<Vec<Certificate>>>,
}

struct Certificate {
    name: &'static str,
    not_after: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Named {
    certificate: &'static str,
}

impl CertificateExpiry {
    /// Registers the gauge, without a series yet.
    pub fn register(metrics: &mut Metrics) -> Self {
        let this = Self::default();
        metrics.register_collector([DESCRIBED], this.clone());
        this
    }

    /// Shows, at each scrape, what `not_after` says then; `name` is the label `certificate`.
    pub fn show(
        &self,
        name: &'static str,
        not_after: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) {
        self.lock().push(Certificate {
            name,
            not_after: Box::new(not_after),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Certificate>> {
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for CertificateExpiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let certificates = self.lock();
        if certificates.is_empty() {
            return Ok(());
        }
        let mut family = DESCRIBED.begin(&mut encoder, MetricType::Gauge)?;
        for certificate in &*certificates {
            let not_after = (certificate.not_after)()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let labels = Named {
                certificate: certificate.name,
            };
            ConstGauge::new(not_after.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for CertificateExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateExpiry").finish_non_exhaustive()
    }
}
