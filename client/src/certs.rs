//! Throwaway certificates: a CA, and what it issues, for trying things without cert-manager.
//!
//! ```
//! use ask2do_token_client::certs::{Authority, Leaf, Validity};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let authority = Authority::new("demo CA", Validity::days(30))?;
//! let server = authority.issue(&Leaf::server("demo server", ["localhost".parse()?]))?;
//! let caller = authority.issue(&Leaf::caller("demo caller", "spiffe://demo/ns/panel".parse()?))?;
//! assert!(authority.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
//! assert_ne!(server.certificate_pem(), caller.certificate_pem());
//! # Ok(())
//! # }
//! ```

mod files;
mod name;

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

pub use files::{NewFiles, WriteError};
pub use name::{Name, NameError};

/// A CA that lives as long as this value. Its key is in memory alone, unless
/// [`private_key_pem`](Self::private_key_pem) is asked for it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    validity: Validity,
}

/// What is to be issued: for which names, for which side of TLS, how long.
#[derive(Clone, Debug)]
pub struct Leaf {
    common_name: String,
    names: Vec<Name>,
    purpose: Purpose,
    validity: Option<Validity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Server,
    Caller,
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: OffsetDateTime,
    /// The last one.
    pub not_after: OffsetDateTime,
}

/// A certificate and its private key, as PEM. `Debug` does not show the key.
#[derive(Clone)]
pub struct Issued {
    certificate_pem: String,
    private_key_pem: Zeroizing<String>,
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

impl Validity {
    /// Begins some minutes ago, for clocks that are a little behind.
    const BACKDATED: Duration = Duration::minutes(5);

    /// From now on, for so many days.
    #[must_use]
    pub fn days(days: u16) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            not_before: now - Self::BACKDATED,
            not_after: now + Duration::days(days.into()),
        }
    }
}

impl Authority {
    /// A new self-signed CA with an ECDSA key on P-256.
    ///
    /// # Errors
    ///
    /// The system gives no randomness.
    pub fn new(common_name: &str, validity: Validity) -> Result<Self, CertificateError> {
        let mut params = params(common_name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, validity })
    }

    /// The CA's certificate, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The CA's private key, as PEM. Who has it can be any server and any caller.
    #[must_use]
    pub fn private_key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Issues a certificate, with a key of its own.
    ///
    /// # Errors
    ///
    /// The system gives no randomness.
    pub fn issue(&self, leaf: &Leaf) -> Result<Issued, CertificateError> {
        let mut params = params(&leaf.common_name, leaf.validity.unwrap_or(self.validity));
        params.subject_alt_names = leaf
            .names
            .iter()
            .map(Name::to_san)
            .collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match leaf.purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Caller => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate_pem: params.signed_by(&key, &self.issuer)?.pem(),
            private_key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

impl Leaf {
    /// A server's certificate for these names.
    pub fn server(common_name: &str, names: impl IntoIterator<Item = Name>) -> Self {
        Self::new(common_name, names.into_iter().collect(), Purpose::Server)
    }

    /// A caller's certificate. One name: the service refuses a caller with several.
    #[must_use]
    pub fn caller(common_name: &str, name: Name) -> Self {
        Self::new(common_name, vec![name], Purpose::Caller)
    }

    /// Valid for another time than its CA.
    #[must_use]
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = Some(validity);
        self
    }

    fn new(common_name: &str, names: Vec<Name>, purpose: Purpose) -> Self {
        Self {
            common_name: common_name.to_owned(),
            names,
            purpose,
            validity: None,
        }
    }
}

impl Issued {
    /// The certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key, as PKCS#8.
    #[must_use]
    pub fn private_key_pem(&self) -> &str {
        &self.private_key_pem
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .field("private_key_pem", &"[redacted]")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use ask2do_token_tls::{Authorities, Identity, PeerCertificate};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    fn authority() -> Authority {
        Authority::new("test CA", Validity::days(1)).unwrap()
    }

    #[test]
    fn what_is_issued_is_what_the_service_reads() {
        let authority = authority();
        Authorities::from_pem(authority.certificate_pem().as_bytes()).unwrap();
        let name = "spiffe://demo/ns/panel/sa/backend";
        let caller = authority
            .issue(&Leaf::caller("caller", name.parse().unwrap()))
            .unwrap();
        let pem = caller.certificate_pem().as_bytes();
        Identity::from_pem(pem, caller.private_key_pem().as_bytes()).unwrap();
        let chain = [CertificateDer::from_pem_slice(pem).unwrap()];
        let peer = PeerCertificate::from_chain(&chain).unwrap();
        assert_eq!(peer.uri_sans(), [name]);
        assert!(peer.dns_sans().is_empty());
    }

    #[test]
    fn a_leaf_may_be_expired_already() {
        let authority = authority();
        let now = OffsetDateTime::now_utc();
        let past = Validity {
            not_before: now - Duration::days(2),
            not_after: now - Duration::days(1),
        };
        let leaf = Leaf::caller("late", "late.example".parse().unwrap()).valid(past);
        let issued = authority.issue(&leaf).unwrap();
        let identity = Identity::from_pem(
            issued.certificate_pem().as_bytes(),
            issued.private_key_pem().as_bytes(),
        );
        assert!(identity.unwrap_err().to_string().contains("expired"));
    }

    #[test]
    fn debug_shows_no_key() {
        let authority = authority();
        let issued = authority
            .issue(&Leaf::server("s", ["localhost".parse().unwrap()]))
            .unwrap();
        let shown = format!("{authority:?} {issued:?}");
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }
}
