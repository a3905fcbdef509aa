//! PEM files as cert-manager, openssl, rcgen and people's editors write them.
//!
//! The decoding is rustls-pki-types'; this module says what is wrong in terms of the file, and never
//! repeats a byte of it: that library's errors hold the line they stumbled over, which in a key file
//! whose line ends were lost is the key. Its buffer of base64 text is freed unwiped, which is all of a
//! key that this crate leaves behind.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why a file is not the PEM file that is wanted. Shows nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// No byte, or white space alone.
    #[error("it is empty")]
    Empty,
    /// Binary instead of text.
    #[error(
        "it is DER, not PEM: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
    )]
    Der,
    /// Text without any PEM block.
    #[error(
        "it holds no PEM block: one begins with a line of its own such as -----BEGIN CERTIFICATE-----"
    )]
    NoBlock,
    /// A block that was begun and cannot be read.
    #[error(
        "a PEM block in it is damaged (cut off, indented, joined to one line, or not base64): copy the file anew"
    )]
    Damaged,
    /// Other blocks, but no certificate.
    #[error("it holds no certificate: give the file that has -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// Other blocks, but no key.
    #[error("it holds no private key: give the file that has -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// Certificates where the key should be.
    #[error("it holds a certificate and no private key: give the key's file here")]
    CertificateInsteadOfKey,
    /// More than one private key.
    #[error("it holds {0} private keys: leave the one that belongs to the certificate")]
    SeveralKeys(usize),
    /// A key behind a passphrase.
    #[error(
        "its private key is encrypted, and nobody is here to type a passphrase: decrypt it with `openssl pkey -in FILE -out NEWFILE`"
    )]
    EncryptedKey,
    /// A private key, but not one of the three formats of TLS.
    #[error(
        "its private key is in a format that TLS does not use: PKCS #8 (-----BEGIN PRIVATE KEY-----), PKCS #1 or SEC 1 is wanted"
    )]
    UnsupportedKeyFormat,
}

/// All certificates of a PEM file, in its order; at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let pem = without_byte_order_mark(pem);
    let begun = labels(pem)?
        .filter(|label| *label == b"CERTIFICATE")
        .count();
    if begun == 0 {
        return Err(PemError::NoCertificate);
    }
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| PemError::Damaged)?;
    // The decoder passes over a block that is indented, and joins one without an end to the next.
    if certificates.len() != begun {
        return Err(PemError::Damaged);
    }
    Ok(certificates)
}

/// The one private key of a PEM file.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let pem = without_byte_order_mark(pem);
    let keys: Vec<_> = labels(pem)?
        .filter(|label| label.ends_with(b"PRIVATE KEY"))
        .collect();
    match keys[..] {
        [] if labels(pem)?.any(|label| label == b"CERTIFICATE") => {
            Err(PemError::CertificateInsteadOfKey)
        }
        [] => Err(PemError::NoKey),
        [b"ENCRYPTED PRIVATE KEY"] => Err(PemError::EncryptedKey),
        [b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY"] => {
            if lines(pem).any(is_encryption_header) {
                return Err(PemError::EncryptedKey);
            }
            PrivateKeyDer::from_pem_slice(pem).map_err(|_| PemError::Damaged)
        }
        [_] => Err(PemError::UnsupportedKeyFormat),
        _ => Err(PemError::SeveralKeys(keys.len())),
    }
}

/// What the file's blocks say they are; an error where it has none.
fn labels(pem: &[u8]) -> Result<impl Iterator<Item = &[u8]>, PemError> {
    let labels = lines(pem).filter_map(label);
    if lines(pem).filter_map(label).next().is_some() {
        Ok(labels)
    } else if pem.trim_ascii().is_empty() {
        Err(PemError::Empty)
    } else if is_der(pem) {
        Err(PemError::Der)
    } else {
        Err(PemError::NoBlock)
    }
}

/// A SEQUENCE (X.690, 8.9 and 8.1.3) that fills the file, or one long enough to have a long length.
fn is_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, length, rest @ ..] => *length > 0x80 || rest.len() == usize::from(*length),
        _ => false,
    }
}

fn label(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"-----BEGIN ")?;
    let end = rest.windows(5).position(|dashes| dashes == b"-----")?;
    Some(&rest[..end])
}

fn lines(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    pem.split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
}

/// RFC 1421's way to encrypt, which openssl still writes with `-traditional`.
fn is_encryption_header(line: &[u8]) -> bool {
    line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED")
}

/// Some editors put U+FEFF in front, and the first block would go unseen.
fn without_byte_order_mark(pem: &[u8]) -> &[u8] {
    pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem)
}
