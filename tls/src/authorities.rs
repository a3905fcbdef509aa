//! The certificates of certification authorities.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pem::{self, PemError};
use crate::provider::crypto_provider;
use crate::watched::{LoadError, Reloader, Watched};

/// The authorities whose certificates are believed: one or more.
///
/// An authority's own expiry is not looked at (RFC 5280 has none for a trust anchor): one that should
/// count no longer is removed from the file.
#[derive(Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    // Made here, where it can fail, so that a server never has to go on with the authorities of before.
    client_verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a file holds no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// It is not a PEM file with certificates.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A block that says CERTIFICATE is none.
    #[error(
        "certificate {position} in it is not an X.509 certificate that can be read: copy it anew"
    )]
    Undecodable {
        /// Which one, counted from 1.
        position: usize,
    },
    /// A certificate that says of itself that it is no authority's. If it were believed, its holder
    /// could issue certificates in anybody's name.
    #[error(
        "certificate {position} in it is not a CA's (its basic constraints say CA:FALSE): leave only CA certificates there, not the ones that they issued"
    )]
    NotAnAuthority {
        /// Which one, counted from 1.
        position: usize,
    },
    /// rustls makes no verifier of them.
    #[error("its certificates cannot be used to verify others: {0}")]
    Unusable(String),
}

impl Authorities {
    /// Reads the certificates of a PEM file. Every one must be usable: one that was left out in silence
    /// would be missed at somebody's next connection.
    ///
    /// # Errors
    ///
    /// There is none, or one that cannot be an authority's.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let mut roots = RootCertStore::empty();
        add_pem(&mut roots, pem)?;
        let roots = Arc::new(roots);
        let client_verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), crypto_provider())
                .build()
                .map_err(|error| AuthoritiesError::Unusable(error.to_string()))?;
        Ok(Self {
            roots,
            client_verifier,
        })
    }

    /// Reads a PEM file, and again whenever its content changes. `name` is what it is for, in logs and
    /// metrics: `client_ca`, `ca`.
    ///
    /// # Errors
    ///
    /// As [`Watched::load`] and [`Self::from_pem`].
    pub fn watch(
        name: &'static str,
        path: PathBuf,
    ) -> Result<(Watched<Self>, Reloader), LoadError> {
        Watched::load(name, vec![path], |files| {
            let pem = files.first().map_or(&[][..], |file| file.as_bytes());
            Ok(Self::from_pem(pem)?)
        })
    }

    /// The certificates, as rustls takes them.
    #[must_use]
    pub fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// Verifies the chains of clients, which must have one; sends these authorities' names as hints.
    pub(crate) fn client_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.client_verifier.clone()
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities")
            .field("certificates", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// Adds the authorities of a PEM file, which must hold one at least.
pub(crate) fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), AuthoritiesError> {
    for (index, certificate) in pem::certificates(pem)?.into_iter().enumerate() {
        let position = index + 1;
        check_authority(&certificate, position)?;
        roots
            .add(certificate)
            .map_err(|_| AuthoritiesError::Undecodable { position })?;
    }
    Ok(())
}

/// An old root or a self-signed one may lack the extension; one that denies being an authority's is
/// there by mistake.
fn check_authority(
    certificate: &CertificateDer<'_>,
    position: usize,
) -> Result<(), AuthoritiesError> {
    let undecodable = AuthoritiesError::Undecodable { position };
    let Ok((rest, parsed)) = X509Certificate::from_der(certificate) else {
        return Err(undecodable);
    };
    if !rest.is_empty() {
        return Err(undecodable);
    }
    match parsed.basic_constraints() {
        Err(_) => Err(undecodable),
        Ok(Some(constraints)) if !constraints.value.ca => {
            Err(AuthoritiesError::NotAnAuthority { position })
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Ca, self_signed_client};

    #[test]
    fn takes_several_authorities_of_one_file() {
        let text = format!(
            "# the new one\n{}\r\n# the old one\r\n{}",
            Ca::named("new").pem(),
            Ca::named("old").pem()
        );
        let authorities = Authorities::from_pem(text.as_bytes()).unwrap();
        assert_eq!(authorities.roots().len(), 2);
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        for (pem, expected) in [
            ("", PemError::Empty),
            ("nothing", PemError::NoBlock),
            (&*Ca::named("ca").server().key, PemError::NoCertificate),
        ] {
            let error = Authorities::from_pem(pem.as_bytes()).unwrap_err();
            assert_eq!(error, AuthoritiesError::Pem(expected));
        }
    }

    #[test]
    fn one_bad_certificate_spoils_the_file() {
        let good = Ca::named("ca").pem();
        let garbage = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
        let error = Authorities::from_pem(format!("{good}{garbage}").as_bytes()).unwrap_err();
        assert_eq!(error, AuthoritiesError::Undecodable { position: 2 });
    }

    #[test]
    fn a_certificate_that_denies_being_an_authoritys_is_refused() {
        let ca = Ca::named("ca");
        let leaf = ca.client_that_is_no_ca();
        let error =
            Authorities::from_pem(format!("{}{}", ca.pem(), leaf.cert).as_bytes()).unwrap_err();
        assert_eq!(error, AuthoritiesError::NotAnAuthority { position: 2 });
    }

    #[test]
    fn no_damage_to_a_file_makes_it_panic() {
        let pem = Ca::named("ca").pem();
        for at in 0..pem.len() {
            let mut damaged = pem.clone().into_bytes();
            damaged[at] = if damaged[at] == b'x' { b'y' } else { b'x' };
            _ = Authorities::from_pem(&damaged);
            _ = Authorities::from_pem(&pem.as_bytes()[..at]);
        }
    }

    #[test]
    fn a_self_signed_certificate_may_be_pinned() {
        assert!(Authorities::from_pem(self_signed_client().cert.as_bytes()).is_ok());
    }
}
