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
use crate::watched::{BoxError, InFile, LoadError, Reloader, Watched};

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

    /// Reads the two files, and again, as a pair, whenever the content of one changes. In logs and
    /// metrics it is the `certificate`.
    ///
    /// # Errors
    ///
    /// As [`Watched::load`] and [`Self::from_pem`]. Where one of the files is bad by itself, the error's
    /// paths are that one alone.
    pub fn watch(cert: PathBuf, key: PathBuf) -> Result<(Watched<Self>, Reloader), LoadError> {
        Self::watch_as("certificate", cert, key)
    }

    /// As [`Self::watch`], under another name: for a process with two identities.
    ///
    /// # Errors
    ///
    /// As [`Self::watch`].
    pub fn watch_as(
        name: &'static str,
        cert: PathBuf,
        key: PathBuf,
    ) -> Result<(Watched<Self>, Reloader), LoadError> {
        Watched::load(name, vec![cert, key], |files| {
            let bytes = |index: usize| files.get(index).map_or(&[][..], |file| file.as_bytes());
            Self::from_pem(bytes(0), bytes(1)).map_err(IdentityError::in_file)
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

impl IdentityError {
    /// With the one file that is at fault, where the other has no part in it.
    fn in_file(self) -> BoxError {
        let position = match self {
            Self::KeyFile(_) | Self::UnusableKey => 1,
            Self::Mismatch => return self.into(),
            _ => 0,
        };
        let cause = self.into();
        InFile { position, cause }.into()
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

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::fixtures::{Ca, Pair};

    macro_rules! openssl {
        ($file:literal) => {
            include_bytes!(concat!("../tests/openssl/", $file))
        };
    }

    fn error(cert: &[u8], key: &[u8]) -> IdentityError {
        Identity::from_pem(cert, key).unwrap_err()
    }

    fn at(when: OffsetDateTime, pair: &Pair) -> Result<Identity, IdentityError> {
        let now = ASN1Time::from_timestamp(when.unix_timestamp()).unwrap();
        Identity::valid_at(now, pair.cert.as_bytes(), pair.key.as_bytes())
    }

    #[test]
    fn takes_every_format_that_openssl_writes() {
        let rsa = openssl!("rsa.crt");
        let p256 = openssl!("p256-sec1-with-parameters.crt");
        let pairs: [(&[u8], &[u8]); 6] = [
            (rsa, openssl!("rsa-pkcs1.key")),
            (rsa, openssl!("rsa-pkcs8.key")),
            (p256, openssl!("p256-sec1-with-parameters.key")),
            (openssl!("p256-pkcs8.crt"), openssl!("p256-pkcs8.key")),
            (openssl!("p384-sec1.crt"), openssl!("p384-sec1.key")),
            (openssl!("ed25519-pkcs8.crt"), openssl!("ed25519-pkcs8.key")),
        ];
        for (index, (cert, key)) in pairs.into_iter().enumerate() {
            assert!(Identity::from_pem(cert, key).is_ok(), "pair {index}");
        }
    }

    #[test]
    fn takes_rcgens_with_other_line_ends_a_byte_order_mark_and_text_around() {
        let pair = Ca::named("ca").server();
        for line_end in ["\n", "\r\n", "\r"] {
            let decorate = |pem: &str| {
                let text = format!("\u{feff}Bag Attributes\n    friendlyName: x\n{pem}\nthe end");
                text.replace('\n', line_end).into_bytes()
            };
            let identity = Identity::from_pem(&decorate(&pair.cert), &decorate(&pair.key));
            assert!(identity.is_ok(), "{line_end:?}: {identity:?}");
            let bare = |pem: &str| {
                format!("\u{feff}{pem}")
                    .replace('\n', line_end)
                    .into_bytes()
            };
            assert!(Identity::from_pem(&bare(&pair.cert), &bare(&pair.key)).is_ok());
        }
    }

    #[test]
    fn takes_one_file_that_holds_both() {
        let pair = Ca::named("ca").server();
        let both = format!("{}{}", pair.key, pair.cert);
        assert!(Identity::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }

    #[test]
    fn tells_its_serial_number_and_end() {
        let mut params = crate::fixtures::server_params();
        params.serial_number = Some(rcgen::SerialNumber::from(vec![0xab, 0x01, 0x00]));
        params.not_after = OffsetDateTime::from_unix_timestamp(4_000_000_000).unwrap();
        let identity = Ca::named("ca").issue(&params).identity();
        assert_eq!(identity.serial(), "AB0100");
        assert_eq!(
            identity.not_after(),
            SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000)
        );
    }

    #[test]
    fn each_mistake_in_the_certificates_file_has_its_own_error() {
        let pair = Ca::named("ca").server();
        let der = pair.chain()[0].to_vec();
        let cut_off = &pair.cert[..pair.cert.len() / 2];
        let joined = pair.cert.replace('\n', "");
        let indented = pair.cert.replace('\n', "\n  ");
        let not_base64 = pair.cert.replace("\nMII", "\n*II");
        let second_indented = format!("{}  {}", pair.cert, pair.cert);
        for (cert, expected) in [
            (&b""[..], PemError::Empty),
            (b" \r\n", PemError::Empty),
            (&der, PemError::Der),
            (&[0x30, 0x02, 0x05, 0x00], PemError::Der),
            (b"0xCAFE", PemError::NoBlock),
            (b"hello", PemError::NoBlock),
            (b"\xff\xfe-\0-\0", PemError::NoBlock),
            (cut_off.as_bytes(), PemError::Damaged),
            (joined.as_bytes(), PemError::Damaged),
            (indented.as_bytes(), PemError::Damaged),
            (not_base64.as_bytes(), PemError::Damaged),
            (second_indented.as_bytes(), PemError::Damaged),
            (pair.key.as_bytes(), PemError::NoCertificate),
        ] {
            let error = error(cert, pair.key.as_bytes());
            assert_eq!(error, IdentityError::CertificateFile(expected));
        }
    }

    #[test]
    fn each_mistake_in_the_keys_file_has_its_own_error() {
        let pair = Ca::named("ca").server();
        let two = format!("{0}{0}", pair.key);
        let joined = pair.key.replace('\n', "");
        let foreign = pair.key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
        let public = pair.key.replace("PRIVATE KEY", "PUBLIC KEY");
        for (key, expected) in [
            (&b""[..], PemError::Empty),
            (pair.cert.as_bytes(), PemError::CertificateInsteadOfKey),
            (public.as_bytes(), PemError::NoKey),
            (two.as_bytes(), PemError::SeveralKeys(2)),
            (joined.as_bytes(), PemError::Damaged),
            (openssl!("encrypted-pkcs8.key"), PemError::EncryptedKey),
            (
                openssl!("encrypted-traditional.key"),
                PemError::EncryptedKey,
            ),
            (foreign.as_bytes(), PemError::UnsupportedKeyFormat),
        ] {
            let error = error(pair.cert.as_bytes(), key);
            assert_eq!(error, IdentityError::KeyFile(expected));
        }
    }

    #[test]
    fn a_watched_pair_names_the_file_that_is_at_fault() {
        let dir = tempfile::tempdir().unwrap();
        let [cert, key] = ["tls.crt", "tls.key"].map(|name| dir.path().join(name));
        let ca = Ca::named("ca");
        let pair = ca.server();
        let other = ca.server().key;
        for (certificate, private_key, at_fault) in [
            (&*pair.cert, "", vec![&key]),
            ("", "", vec![&cert]),
            (&pair.cert, &other, vec![&cert, &key]),
        ] {
            std::fs::write(&cert, certificate).unwrap();
            std::fs::write(&key, private_key).unwrap();
            let error = Identity::watch(cert.clone(), key.clone()).unwrap_err();
            assert!(error.paths().eq(at_fault.iter().copied()), "{error}");
        }
        let mismatch = format!(
            "{}, {}: the certificate and the private key do not belong together: give the files of one \
             pair, of the same issue",
            cert.display(),
            key.display()
        );
        let error = Identity::watch(cert, key).unwrap_err();
        assert_eq!(error.to_string(), mismatch);
    }

    #[test]
    fn refuses_a_key_that_tls_does_not_use() {
        let short = error(openssl!("rsa.crt"), openssl!("rsa-1024.key"));
        assert_eq!(short, IdentityError::UnusableKey);
        let pair = Ca::named("ca").server();
        let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let garbage = error(pair.cert.as_bytes(), garbage.as_bytes());
        assert_eq!(garbage, IdentityError::UnusableKey);
    }

    #[test]
    fn refuses_a_certificate_that_is_none() {
        let pair = Ca::named("ca").server();
        let garbage = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
        let chain = format!("{}{garbage}", pair.cert);
        assert_eq!(
            error(chain.as_bytes(), pair.key.as_bytes()),
            IdentityError::Undecodable { position: 2 }
        );
    }

    #[test]
    fn refuses_a_pair_that_is_none() {
        let ca = Ca::named("ca");
        let (ours, theirs) = (ca.server(), ca.server());
        assert_eq!(
            error(ours.cert.as_bytes(), theirs.key.as_bytes()),
            IdentityError::Mismatch
        );
    }

    #[test]
    fn says_where_in_the_chain_the_keys_certificate_is() {
        let ca = Ca::named("ca");
        let pair = ca.server();
        let reversed = format!("{}{}", ca.pem(), pair.cert);
        assert_eq!(
            error(reversed.as_bytes(), pair.key.as_bytes()),
            IdentityError::LeafNotFirst { position: 2 }
        );
    }

    #[test]
    fn holds_only_within_the_certificates_validity() {
        let mut params = crate::fixtures::server_params();
        let [begin, end] = [1_600_000_000, 1_600_000_100]
            .map(|seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        params.not_before = begin;
        params.not_after = end;
        let pair = Ca::named("ca").issue(&params);
        let second = time::Duration::SECOND;
        assert!(matches!(
            at(begin - second, &pair),
            Err(IdentityError::NotYetValid { .. })
        ));
        assert!(at(begin, &pair).is_ok());
        assert!(at(end, &pair).is_ok());
        let expired = at(end + second, &pair).unwrap_err();
        assert_eq!(
            expired.to_string(),
            "the certificate expired on Sep 13 12:28:20 2020 +00:00: renew it"
        );
    }

    #[test]
    fn no_damage_to_a_file_makes_it_panic_or_changes_the_pair() {
        let pair = Ca::named("ca").server();
        let good = pair.identity();
        let damaged = |pem: &str, at: usize| {
            let mut pem = pem.as_bytes().to_vec();
            pem[at] = if pem[at] == b'x' { b'y' } else { b'x' };
            pem
        };
        for at in 0..pair.key.len() {
            if let Ok(identity) = Identity::from_pem(pair.cert.as_bytes(), &damaged(&pair.key, at))
            {
                // What still reads is the same key: it signs for the certificate.
                assert_eq!(identity.serial(), good.serial());
            }
        }
        for at in 0..pair.cert.len() {
            _ = Identity::from_pem(&damaged(&pair.cert, at), pair.key.as_bytes());
        }
    }

    #[test]
    fn neither_an_error_nor_debug_shows_the_key() {
        let pair = Ca::named("ca").server();
        let secret: String = pair.key.lines().nth(1).unwrap().to_owned();
        let der = pair.key.lines().filter(|line| !line.starts_with('-'));
        let joined = format!(
            "-----BEGIN PRIVATE KEY-----{}-----END PRIVATE KEY-----",
            der.collect::<String>()
        );
        let unended = pair.key.replace("-----END", "");
        let header = pair.key.replace("KEY-----\n", "KEY-----");
        for key in [&joined, &unended, &header, &pair.key] {
            for cert in [&pair.cert, &Ca::named("ca").server().cert, key] {
                let shown = match Identity::from_pem(cert.as_bytes(), key.as_bytes()) {
                    Ok(identity) => format!("{identity:?}"),
                    Err(error) => format!("{error} {error:?}"),
                };
                assert!(!shown.contains(&secret[..16]), "{shown}");
            }
        }
    }
}
