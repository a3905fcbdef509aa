//! Throwaway certificates, made in memory: a CA and what it issues.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// How long what is made here lives: long enough for a demo that stays up, and short enough that
/// nobody is tempted to keep it.
pub const LIFETIME: Duration = Duration::days(30);

/// Made-up certificates begin a little in the past, for clocks that are a little behind.
const BACKDATED: Duration = Duration::minutes(5);

/// A CA that lives as long as this value: its key is never written anywhere.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, as PEM. No `Debug`: the key would be in it.
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, as PKCS#8.
    pub private_key_pem: String,
}

/// What a certificate vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, such as a SPIFFE id.
    Uri(String),
}

/// Which side of TLS a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its extended key usage is `serverAuth`.
    Server,
    /// Its extended key usage is `clientAuth`.
    Client,
}

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// What was given is not PEM of the kind expected.
    #[error("cannot read the PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Certificate and key do not make a server.
    #[error("cannot serve TLS with this certificate and key: {0}")]
    Tls(#[from] rustls::Error),
}

impl Authority {
    /// A new self-signed CA with this common name.
    ///
    /// # Errors
    ///
    /// When the key cannot be generated.
    pub fn new(common_name: &str) -> Result<Self, CertificateError> {
        let mut params = params(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// The CA's certificate, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for these names, in this order.
    ///
    /// # Errors
    ///
    /// When a name is not ASCII.
    pub fn issue(
        &self,
        common_name: &str,
        names: &[Name],
        side: Side,
    ) -> Result<Issued, CertificateError> {
        let mut params = params(common_name);
        params.subject_alt_names = names.iter().map(Name::to_san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match side {
            Side::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Side::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate_pem: params.signed_by(&key, &self.0)?.pem(),
            private_key_pem: key.serialize_pem(),
        })
    }

    /// Issues a server's certificate for `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// As [`issue`](Self::issue).
    pub fn issue_for_localhost(&self, common_name: &str) -> Result<Issued, CertificateError> {
        let names = [
            Name::Dns("localhost".to_owned()),
            Name::Ip([127, 0, 0, 1].into()),
        ];
        self.issue(common_name, &names, Side::Server)
    }
}

impl Issued {
    /// A server configuration with this identity: TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
    ///
    /// # Errors
    ///
    /// As [`https_server`].
    pub fn https_server(&self) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
        https_server(
            self.certificate_pem.as_bytes(),
            self.private_key_pem.as_bytes(),
        )
    }
}

impl Name {
    fn to_san(&self) -> Result<SanType, rcgen::Error> {
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(Ia5String::try_from(name.as_str())?),
            Self::Ip(address) => SanType::IpAddress(*address),
            Self::Uri(uri) => SanType::URI(Ia5String::try_from(uri.as_str())?),
        })
    }
}

/// A server configuration from PEM: TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
///
/// # Errors
///
/// When the PEM holds no certificate or key, or the two do not fit.
pub fn https_server(
    certificate: &[u8],
    private_key: &[u8],
) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(private_key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client configuration that trusts these CAs alone: TLS 1.2 and 1.3, HTTP/1.1, no certificate.
///
/// # Errors
///
/// When the PEM holds no certificate that can be trusted.
pub fn https_client(authorities: &[u8]) -> Result<Arc<rustls::ClientConfig>, CertificateError> {
    let mut roots = rustls::RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        roots.add(authority?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_authority_issues_makes_a_server() {
        let authority = Authority::new("test CA").unwrap();
        let issued = authority.issue_for_localhost("test server").unwrap();
        assert!(issued.https_server().is_ok());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let authority = Authority::new("test CA").unwrap();
        let one = authority.issue_for_localhost("one").unwrap();
        let other = authority.issue_for_localhost("other").unwrap();
        let mixed = https_server(
            one.certificate_pem.as_bytes(),
            other.private_key_pem.as_bytes(),
        );
        assert!(matches!(mixed, Err(CertificateError::Tls(_))));
    }

    #[test]
    fn a_name_that_is_no_ascii_is_refused() {
        let authority = Authority::new("test CA").unwrap();
        let names = [Name::Dns("grün.example".to_owned())];
        assert!(matches!(
            authority.issue("x", &names, Side::Client),
            Err(CertificateError::Make(_))
        ));
    }
}
