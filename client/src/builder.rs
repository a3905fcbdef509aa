//! How a client is made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_tls::{
    Authorities, AuthoritiesError, ClientTls, Identity, IdentityError, LoadError, Observer,
    Reloader, TlsError, Versions, Watched,
};
use zeroize::Zeroizing;

use crate::client::TokenClient;
use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, EndpointError, EndpointHost};
use crate::transport::{
    ALPN, Attempts, Balancer, Literal, Resolve, SystemResolver, Target, TlsDialer, Transport,
};

/// The deadline of a call, unless another one is set: the service answers within 5 s, so its reason
/// arrives before this.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(6);

/// Longest deadline: what gRPC's header can say in milliseconds.
pub const MAX_DEADLINE: Duration = Duration::from_millis(99_999_999);

/// Collects what a [`TokenClient`] needs: an endpoint, the CA of the service, this caller's
/// certificate.
#[must_use]
pub struct TokenClientBuilder {
    endpoint: String,
    server_name: Option<String>,
    ca: Option<CaSource>,
    identity: Option<IdentitySource>,
    deadline: Duration,
    retries: bool,
    resolver: Box<dyn Resolve>,
    observer: Option<Arc<dyn Observer>>,
}

enum CaSource {
    Pem(Vec<u8>),
    File(PathBuf),
}

enum IdentitySource {
    Pem(Vec<u8>, Zeroizing<Vec<u8>>),
    Files(PathBuf, PathBuf),
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint or the server name is wrong.
    #[error("endpoint `{endpoint}`: {error}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        error: EndpointError,
    },
    /// No CA was given.
    #[error("the CA of the service is missing: give ca_file or ca_pem")]
    CaMissing,
    /// The deadline is zero, or longer than [`MAX_DEADLINE`].
    #[error("the deadline must be more than 0 s, and at most {} s", MAX_DEADLINE.as_secs())]
    Deadline,
    /// A certificate's file is missing, unreadable, or does not hold what it should.
    #[error(transparent)]
    File(#[from] LoadError),
    /// The CA in memory cannot be used.
    #[error("the CA: {0}")]
    Ca(#[from] AuthoritiesError),
    /// The certificate and key in memory cannot be used.
    #[error("the caller's certificate: {0}")]
    Identity(#[from] IdentityError),
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[from] TlsError),
}

impl BuildError {
    /// Whether the caller's certificate is in order but for its time: expired, or not valid yet.
    #[must_use]
    pub fn is_out_of_time(&self) -> bool {
        let identity = match self {
            Self::Identity(error) => Some(error),
            Self::File(error) => error.cause().downcast_ref(),
            _ => None,
        };
        matches!(
            identity,
            Some(IdentityError::Expired { .. } | IdentityError::NotYetValid { .. })
        )
    }
}

impl TokenClientBuilder {
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            server_name: None,
            ca: None,
            identity: None,
            deadline: DEFAULT_DEADLINE,
            retries: true,
            resolver: Box::new(SystemResolver),
            observer: None,
        }
    }

    /// The name that the service's certificate must hold, where it is not the endpoint's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The file of CA certificates (PEM) that the service's certificate is verified by. It is read
    /// again while the client lives.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(CaSource::File(path.into()));
        self
    }

    /// The same from memory.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(CaSource::Pem(pem.into()));
        self
    }

    /// The files of this caller's certificate, its chain after it, and of its private key (PEM). They
    /// are read again while the client lives, as a pair; what is new is used for new connections, and
    /// the old ones finish their calls.
    ///
    /// Without an identity the service refuses every connection.
    pub fn identity_files(
        mut self,
        certificate: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some(IdentitySource::Files(
            certificate.into(),
            private_key.into(),
        ));
        self
    }

    /// The same from memory.
    pub fn identity_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        private_key: impl Into<Vec<u8>>,
    ) -> Self {
        let private_key = Zeroizing::new(private_key.into());
        self.identity = Some(IdentitySource::Pem(certificate.into(), private_key));
        self
    }

    /// The time of a call, retries and connecting included. [`DEFAULT_DEADLINE`] unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether a call that failed is made once more where that may help; it is, unless this says otherwise.
    /// Turn it off where something above retries, or counts every failure. A request that the service
    /// has not seen moves to another connection either way.
    pub fn retries(mut self, retries: bool) -> Self {
        self.retries = retries;
        self
    }

    /// What looks the endpoint's name up, in place of the operating system.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Box::new(resolver);
        self
    }

    /// Who is told when the certificates' files (`certificate`, `ca`) are reloaded, or cannot be.
    /// Both are logged anyway.
    pub fn reload_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Reads the files and makes the client. Nothing is connected before the first call.
    ///
    /// Call it inside a Tokio runtime where there is one: files are then watched from now on, else
    /// from the first call on.
    ///
    /// # Errors
    ///
    /// What is wrong with what was given. A certificate that has expired is an error too.
    pub fn build(self) -> Result<TokenClient, BuildError> {
        if self.deadline.is_zero() || self.deadline > MAX_DEADLINE {
            return Err(BuildError::Deadline);
        }
        let endpoint =
            Endpoint::parse(&self.endpoint, self.server_name.as_deref()).map_err(|error| {
                BuildError::Endpoint {
                    endpoint: self.endpoint,
                    error,
                }
            })?;
        let mut reloaders = Vec::new();
        let authorities = authorities(self.ca.ok_or(BuildError::CaMissing)?, &mut reloaders)?;
        let identity = match self.identity {
            Some(source) => Some(identity(source, &mut reloaders)?),
            None => None,
        };
        let tls = ClientTls::new(authorities, identity.clone(), Versions::Tls13, &[ALPN])?;
        let dialer = TlsDialer::new(Arc::new(tls), endpoint.server_name.clone());
        let balancer = Balancer::new(target(&endpoint, self.resolver), dialer);
        let credentials = Credentials::new(reloaders, self.observer);
        let attempts = Attempts::new(balancer, credentials).retries(self.retries);
        let transport = Transport::new(attempts, endpoint, self.deadline);
        Ok(TokenClient::new(transport, identity))
    }
}

fn authorities(
    source: CaSource,
    reloaders: &mut Vec<Reloader>,
) -> Result<Watched<Authorities>, BuildError> {
    match source {
        CaSource::Pem(pem) => Ok(Watched::fixed(Authorities::from_pem(&pem)?)),
        CaSource::File(path) => {
            let (watched, reloader) = Authorities::watch("ca", path)?;
            reloaders.push(reloader);
            Ok(watched)
        }
    }
}

fn identity(
    source: IdentitySource,
    reloaders: &mut Vec<Reloader>,
) -> Result<Watched<Identity>, BuildError> {
    match source {
        IdentitySource::Pem(certificate, private_key) => {
            let identity = Identity::from_pem(&certificate, &private_key)?;
            Ok(Watched::fixed(identity))
        }
        IdentitySource::Files(certificate, private_key) => {
            let (watched, reloader) = Identity::watch(certificate, private_key)?;
            reloaders.push(reloader);
            Ok(watched)
        }
    }
}

fn target(endpoint: &Endpoint, resolver: Box<dyn Resolve>) -> Target {
    let (host, resolver) = match (&endpoint.host, endpoint.address()) {
        (EndpointHost::Name(name), _) => (name.clone(), resolver),
        (EndpointHost::Address(ip), Some(address)) => (
            ip.to_string(),
            Box::new(Literal(address)) as Box<dyn Resolve>,
        ),
        (EndpointHost::Address(ip), None) => (ip.to_string(), resolver),
    };
    Target {
        host,
        port: endpoint.port,
        resolver,
    }
}

impl fmt::Debug for TokenClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClientBuilder")
            .field("endpoint", &self.endpoint)
            .field("server_name", &self.server_name)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_or_wrong_setting_is_its_own_error() {
        let builder = |endpoint: &str| TokenClientBuilder::new(endpoint.into());
        assert!(matches!(
            builder("http://x").ca_pem("").build(),
            Err(BuildError::Endpoint { .. })
        ));
        assert!(matches!(
            builder("https://x").build(),
            Err(BuildError::CaMissing)
        ));
        assert!(matches!(
            builder("https://x").ca_pem("").build(),
            Err(BuildError::Ca(_))
        ));
        assert!(matches!(
            builder("https://x").ca_file("/does/not/exist").build(),
            Err(BuildError::File(_))
        ));
        for wrong in [Duration::ZERO, MAX_DEADLINE * 2] {
            let built = builder("https://x").ca_pem("").deadline(wrong).build();
            assert!(matches!(built, Err(BuildError::Deadline)));
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let builder = TokenClientBuilder::new("https://x".into()).identity_pem("c", "canary");
        assert!(!format!("{builder:?}").contains("canary"));
    }
}
