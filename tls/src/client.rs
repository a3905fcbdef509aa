//! The client's side of TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

use crate::authorities::Authorities;
use crate::identity::Identity;
use crate::provider::{TlsError, Versions, crypto_provider};
use crate::watched::Watched;

/// Makes the configuration for each new connection from the authorities and the identity of that
/// moment.
///
/// The server's name is always verified. No session is resumed: each connection verifies the server,
/// and shows the client's certificate, anew.
pub struct ClientTls {
    authorities: Watched<Authorities>,
    identity: Option<Watched<Identity>>,
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    alpn: Vec<Vec<u8>>,
    latest: ArcSwap<Snapshot>,
}

/// A configuration with what it was made of.
struct Snapshot {
    authorities: Arc<Authorities>,
    identity: Option<Arc<Identity>>,
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Puts the two together. `alpn` lists the application protocols, the preferred one first (`h2`).
    ///
    /// # Errors
    ///
    /// The cryptography does not fit the versions.
    pub fn new(
        authorities: Watched<Authorities>,
        identity: Option<Watched<Identity>>,
        versions: Versions,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(versions.as_rustls())
            .map_err(TlsError::Configuration)?;
        let alpn: Vec<_> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let first = Snapshot::new(
            &builder,
            &alpn,
            authorities.current(),
            identity.as_ref().map(Watched::current),
        );
        Ok(Self {
            authorities,
            identity,
            builder,
            alpn,
            latest: ArcSwap::from_pointee(first),
        })
    }

    /// The configuration for a connection that begins now; the same `Arc` until something changes.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let latest = self.latest.load_full();
        let authorities = self.authorities.current();
        let identity = self.identity.as_ref().map(Watched::current);
        if latest.is_of(&authorities, identity.as_ref()) {
            return latest.config.clone();
        }
        // Two of these may race, and the older one win: then the next call sees that, and does it again.
        let fresh = Snapshot::new(&self.builder, &self.alpn, authorities, identity);
        let config = fresh.config.clone();
        self.latest.store(Arc::new(fresh));
        config
    }

    /// Completes once [`Self::config`] gives another configuration than `from`, at once where it does so
    /// already: time to open new connections. Cancel safe.
    pub async fn changed(&self, from: &Arc<ClientConfig>) {
        // Subscribed before the comparison, so that no change falls between the two.
        let mut authorities = self.authorities.subscribe();
        let mut identity = self.identity.as_ref().map(Watched::subscribe);
        while Arc::ptr_eq(&self.config(), from) {
            // An error would say that the sender is gone, but `self` holds it.
            match &mut identity {
                None => _ = authorities.changed().await,
                Some(identity) => tokio::select! {
                    _ = authorities.changed() => {}
                    _ = identity.changed() => {}
                },
            }
        }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("authorities", &self.authorities.current())
            .field("identity", &self.identity.as_ref().map(Watched::current))
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    fn new(
        builder: &ConfigBuilder<ClientConfig, WantsVerifier>,
        alpn: &[Vec<u8>],
        authorities: Arc<Authorities>,
        identity: Option<Arc<Identity>>,
    ) -> Self {
        let builder = builder.clone().with_root_certificates(authorities.roots());
        let mut config = match &identity {
            Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.to_vec();
        config.resumption = Resumption::disabled();
        Self {
            authorities,
            identity,
            config: Arc::new(config),
        }
    }

    fn is_of(&self, authorities: &Arc<Authorities>, identity: Option<&Arc<Identity>>) -> bool {
        let same_identity = match (&self.identity, identity) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        same_identity && Arc::ptr_eq(&self.authorities, authorities)
    }
}

#[cfg(test)]
mod tests;
