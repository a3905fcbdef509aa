//! Who is at the other end of a connection, for as long as it is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ask2do_token_tls::{Authorities, PeerCertificate, ServerTls};
use tokio::sync::watch;
use tokio::time::sleep;

use super::status::Failure;
use crate::admission::{Presented, Stranger};

/// The peer of one connection: the certificate it presented, and whether that still holds.
#[derive(Debug)]
pub(super) struct Peer {
    certificate: PeerCertificate,
    presented: Presented,
    rejected: AtomicBool,
    reported: AtomicBool,
}

impl Peer {
    pub(super) fn new(certificate: PeerCertificate) -> Self {
        Self {
            presented: Presented::new(certificate.uri_sans(), certificate.dns_sans()),
            certificate,
            rejected: AtomicBool::new(false),
            reported: AtomicBool::new(false),
        }
    }

    /// The names in the certificate.
    pub(super) fn presented(&self) -> &Presented {
        &self.presented
    }

    /// Does the certificate still hold, as far as is known?
    pub(super) fn verify(&self) -> Result<(), Failure> {
        if self.rejected.load(Ordering::Acquire) {
            return Err(Failure::CertificateRejected);
        }
        Ok(())
    }

    /// From now on [`Self::verify`] fails.
    pub(super) fn reject(&self) {
        self.rejected.store(true, Ordering::Release);
    }

    /// Completes when the certificate no longer verifies: its CA was removed, or its time is over.
    /// From then on [`Self::verify`] fails.
    pub(super) async fn until_rejected(&self, tls: &ServerTls) {
        let mut authorities = tls.authorities_changed();
        loop {
            if let Err(error) = tls.verify_again(&self.certificate) {
                self.reject();
                tracing::info!(
                    serial = self.certificate.serial(),
                    %error,
                    "the certificate of an open connection no longer verifies: closing it"
                );
                return;
            }
            tokio::select! {
                () = changed(&mut authorities) => {}
                () = sleep(self.time_left()) => {}
            }
        }
    }

    /// Says once per connection why its certificate names no caller: the operator who set up a new
    /// caller looks for it in the log.
    pub(super) fn report(&self, stranger: Stranger) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            tracing::info!(
                reason = %stranger,
                uri_sans = ?self.presented.uris(),
                dns_sans = ?self.presented.dns(),
                serial = self.certificate.serial(),
                "refused a call: the certificate names no caller"
            );
        }
    }

    /// Until the certificate ends, and a second more, so that it has ended by then. Looked at again
    /// each hour at the latest, since this clock and the calendar may drift apart.
    fn time_left(&self) -> Duration {
        let left = self
            .certificate
            .not_after()
            .duration_since(SystemTime::now());
        (left.unwrap_or_default() + Duration::from_secs(1)).min(Duration::from_secs(3600))
    }
}

/// Completes when there are other authorities; never, where they cannot change.
async fn changed(authorities: &mut Option<watch::Receiver<Arc<Authorities>>>) {
    if let Some(authorities) = authorities
        && authorities.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
