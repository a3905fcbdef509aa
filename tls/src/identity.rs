//! An end's own certificate and private key.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::peer::{hex_serial, system_time};
use crate::pem::{self, PemError};
use crate::provider::crypto_provider;
use crate::watched::{LoadError, Reloader, Watched};

/// The name of an identity's files in logs and metrics.
const WATCH_NAME: &str = "certificate";

/// A certificate chain with the private key of its first certificate; the two belong together, and the
/// certificate was valid when it was read.
///
/// The key is parsed once into aws-lc, which wipes it when the identity is dropped; `Debug` shows
/// nothing of it.
#[derive(Clone)]
pub struct Identity {
    certified_key: Arc<CertifiedKey>,
    not_after: SystemTime,
    serial: String,
}

/// Why a certificate and a key are no identity. Shows nothing of the key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate's file is not as it should be.
    #[error("the certificate's file: {0}")]
    CertificateFile(#[source] PemError),
    /// The private key's file is not as it should be.
    #[error("the private key's file: {0}")]
    KeyFile(#[source] PemError),
    /// A block that says CERTIFICATE is none.
    #[error(
        "certificate {position} of the chain is not an X.509 certificate that can be read: copy it anew"
    )]
    Undecodable {
        /// Which one, counted from 1.
        position: usize,
    },
    /// A certificate that rustls does not take, such as X.509 version 1.
    #[error("the certificate cannot be used for TLS: {0}")]
    UnusableCertificate(#[source] rustls::Error),
    /// The key is of no kind, or size, that TLS uses.
    #[error(
        "the private key cannot be used: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519 is wanted"
    )]
    UnusableKey,
    /// The pair is no pair.
    #[error(
        "the certificate and the private key do not belong together: give the files of one pair, of the same issue"
    )]
    Mismatch,
    /// The right certificate is in the file, but not in front.
    #[error(
        "the private key belongs to certificate {position} of the chain: put that one first, the CA's after it"
    )]
    LeafNotFirst {
        /// Where the key's certificate is, counted from 1.
        position: usize,
    },
    /// Nobody would accept it any more.
    #[error("the certificate expired on {not_after}: renew it")]
    Expired {
        /// When, in UTC.
        not_after: String,
    },
    /// Nobody would accept it yet.
    #[error("the certificate is not valid before {not_before}: wait, or set the clock right")]
    NotYetValid {
        /// When, in UTC.
        not_before: String,
    },
}

impl Identity {
    /// Reads a chain (the end's own certificate first) and its private key, both PEM. The key is PKCS #8,
    /// PKCS #1 or SEC 1, unencrypted, and the only one in `key`; other blocks and text are passed over.
    ///
    /// # Errors
    ///
    /// Each mistake has its own sentence, which says what to do about it.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::valid_at(ASN1Time::now(), cert, key)
    }

    /// Reads the two files, and again, as a pair, whenever the content of one changes.
    ///
    /// # Errors
    ///
    /// As [`Watched::load`] and [`Self::from_pem`].
    pub fn watch(cert: PathBuf, key: PathBuf) -> Result<(Watched<Self>, Reloader), LoadError> {
        Watched::load(WATCH_NAME, vec![cert, key], |files| {
            let bytes = |index: usize| files.get(index).map_or(&[][..], |file| file.as_bytes());
            Ok(Self::from_pem(bytes(0), bytes(1))?)
        })
    }

    fn valid_at(now: ASN1Time, cert: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = pem::certificates(cert).map_err(IdentityError::CertificateFile)?;
        let key = pem::private_key(key).map_err(IdentityError::KeyFile)?;
        // rustls wipes the DER that it is given.
        let key = crypto_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| IdentityError::UnusableKey)?;
        let facts = LeafFacts::of_chain(&chain)?;
        let certified_key = pair(chain, key)?;
        facts.check_validity(now)?;
        Ok(Self {
            certified_key: Arc::new(certified_key),
            not_after: system_time(facts.not_after),
            serial: facts.serial,
        })
    }

    /// The end of the certificate's validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The certificate's serial number, as [`PeerCertificate::serial`](crate::PeerCertificate::serial).
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Presents this identity to whoever asks, as client and as server.
    pub(crate) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(self.certified_key.clone()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What is to be known of a chain's first certificate.
struct LeafFacts {
    not_before: ASN1Time,
    not_after: ASN1Time,
    serial: String,
}

impl LeafFacts {
    fn of_chain(chain: &[CertificateDer<'_>]) -> Result<Self, IdentityError> {
        let mut leaf = None;
        for (index, certificate) in chain.iter().enumerate() {
            let undecodable = IdentityError::Undecodable {
                position: index + 1,
            };
            let Ok((rest, parsed)) = X509Certificate::from_der(certificate) else {
                return Err(undecodable);
            };
            if !rest.is_empty() {
                return Err(undecodable);
            }
            leaf.get_or_insert(Self {
                not_before: parsed.validity().not_before,
                not_after: parsed.validity().not_after,
                serial: hex_serial(parsed.raw_serial()),
            });
        }
        leaf.ok_or(IdentityError::CertificateFile(PemError::NoCertificate))
    }

    fn check_validity(&self, now: ASN1Time) -> Result<(), IdentityError> {
        if now < self.not_before {
            return Err(IdentityError::NotYetValid {
                not_before: self.not_before.to_string(),
            });
        }
        if now > self.not_after {
            return Err(IdentityError::Expired {
                not_after: self.not_after.to_string(),
            });
        }
        Ok(())
    }
}

/// Puts chain and key together, where the key is the first certificate's.
fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, IdentityError> {
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(mismatch(&pair)),
        Err(error) => Err(IdentityError::UnusableCertificate(error)),
    }
}

fn mismatch(pair: &CertifiedKey) -> IdentityError {
    let matches = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], pair.key.clone())
            .keys_match()
            .is_ok()
    };
    match pair.cert.iter().position(matches) {
        Some(index) => IdentityError::LeafNotFirst {
            position: index + 1,
        },
        None => IdentityError::Mismatch,
    }
}
