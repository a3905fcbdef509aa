//! The server's side of TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{NoServerSessionStorage, WantsServerCert};
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::authorities::Authorities;
use crate::identity::Identity;
use crate::peer::PeerCertificate;
use crate::provider::{TlsError, Versions, crypto_provider};
use crate::watched::Watched;

/// Whether clients must show a certificate.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// Each must, and one of these authorities must have issued it for clients. Who the client is
    /// remains to be decided: [`PeerCertificate`].
    Required(Watched<Authorities>),
    /// None is asked for.
    None,
}

/// Makes the configuration for each handshake from the identity and the authorities of that moment.
///
/// No session can be resumed: a resumed one would skip the verification of the client's certificate,
/// which may have expired since, or its CA been removed. There is no early data either.
pub struct ServerTls {
    identity: Watched<Identity>,
    client_auth: ClientAuth,
    builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    alpn: Vec<Vec<u8>>,
    latest: ArcSwap<Snapshot>,
}

/// A configuration with what it was made of.
struct Snapshot {
    identity: Arc<Identity>,
    authorities: Option<Arc<Authorities>>,
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Puts the two together. `alpn` lists the application protocols, the preferred one first (`h2`).
    ///
    /// # Errors
    ///
    /// The cryptography does not fit the versions.
    pub fn new(
        identity: Watched<Identity>,
        client_auth: ClientAuth,
        versions: Versions,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(versions.as_rustls())
            .map_err(TlsError::Configuration)?;
        let alpn: Vec<_> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let first = Snapshot::new(
            &builder,
            &alpn,
            identity.current(),
            client_auth.authorities(),
        );
        Ok(Self {
            identity,
            client_auth,
            builder,
            alpn,
            latest: ArcSwap::from_pointee(first),
        })
    }

    /// The configuration for a handshake that begins now.
    ///
    /// A handshake takes a while: one that began with authorities that were removed meanwhile ends as if
    /// they were still there. So call [`Self::authorities_changed`] before this, and
    /// [`Self::verify_again`] where the receiver has news once the handshake is done.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.snapshot().config.clone()
    }

    /// Tells when the authorities change: time to [`Self::verify_again`] each open connection. `None`
    /// where no client certificate is asked for.
    #[must_use]
    pub fn authorities_changed(&self) -> Option<watch::Receiver<Arc<Authorities>>> {
        match &self.client_auth {
            ClientAuth::Required(authorities) => Some(authorities.subscribe()),
            ClientAuth::None => None,
        }
    }

    /// Verifies the chain of an open connection's peer against the authorities and the clock of now.
    ///
    /// # Errors
    ///
    /// [`TlsError::Verification`]: it no longer holds. [`TlsError::NoClientAuthorities`]: nobody's does.
    pub fn verify_again(&self, peer: &PeerCertificate) -> Result<(), TlsError> {
        let authorities = self
            .client_auth
            .authorities()
            .ok_or(TlsError::NoClientAuthorities)?;
        let (leaf, intermediates) = peer.chain().split_first().ok_or(TlsError::Verification(
            rustls::Error::NoCertificatesPresented,
        ))?;
        authorities
            .client_verifier()
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map(|_| ())
            .map_err(TlsError::Verification)
    }

    /// The snapshot of now: the latest one, or one anew where something changed since.
    fn snapshot(&self) -> Arc<Snapshot> {
        let latest = self.latest.load_full();
        let identity = self.identity.current();
        let authorities = self.client_auth.authorities();
        if latest.is_of(&identity, authorities.as_ref()) {
            return latest;
        }
        // Two of these may race, and the older one win: then the next call sees that, and does it again.
        let fresh = Arc::new(Snapshot::new(
            &self.builder,
            &self.alpn,
            identity,
            authorities,
        ));
        self.latest.store(fresh.clone());
        fresh
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("identity", &self.identity.current())
            .field("authorities", &self.client_auth.authorities())
            .finish_non_exhaustive()
    }
}

impl ClientAuth {
    fn authorities(&self) -> Option<Arc<Authorities>> {
        match self {
            Self::Required(authorities) => Some(authorities.current()),
            Self::None => None,
        }
    }
}

impl Snapshot {
    fn new(
        builder: &ConfigBuilder<ServerConfig, WantsVerifier>,
        alpn: &[Vec<u8>],
        identity: Arc<Identity>,
        authorities: Option<Arc<Authorities>>,
    ) -> Self {
        let builder: ConfigBuilder<ServerConfig, WantsServerCert> = match &authorities {
            Some(authorities) => builder
                .clone()
                .with_client_cert_verifier(authorities.client_verifier()),
            None => builder.clone().with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(identity.resolver());
        config.alpn_protocols = alpn.to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Self {
            identity,
            authorities,
            config: Arc::new(config),
        }
    }

    fn is_of(&self, identity: &Arc<Identity>, authorities: Option<&Arc<Authorities>>) -> bool {
        let same_authorities = match (&self.authorities, authorities) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        same_authorities && Arc::ptr_eq(&self.identity, identity)
    }
}

#[cfg(test)]
mod tests;
