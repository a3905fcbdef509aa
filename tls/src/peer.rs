//! Who is on the other end, by its certificate.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// The tags of `GeneralName` (RFC 5280, 4.2.1.6) that name a caller here.
const DNS_NAME_TAG: u32 = 2;
const URI_TAG: u32 = 6;

/// The chain that a peer presented, and what its own certificate says.
///
/// This is a reading, not a verification: rustls verified the chain in the handshake, or the peer is
/// nobody. The names are as they stand in the certificate: no case, wildcard, or escape is interpreted.
/// The subject's common name is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    uri_sans: Vec<String>,
    dns_sans: Vec<String>,
    not_after: SystemTime,
    serial: String,
}

/// Why a peer's certificate does not say who the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerCertificateError {
    /// The peer presented none.
    #[error("the peer presented no certificate")]
    None,
    /// It is not X.509.
    #[error("the peer's certificate cannot be decoded")]
    Undecodable,
    /// Its names are there twice, or cannot be decoded. A name that is passed over could be the second
    /// one of a certificate that may have but one.
    #[error(
        "the names in the peer's certificate (its subject alternative names) cannot be decoded"
    )]
    UndecodableNames,
}

impl PeerCertificate {
    /// Reads what the first certificate of a chain says.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read for certain.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, PeerCertificateError> {
        let leaf = chain.first().ok_or(PeerCertificateError::None)?;
        let (rest, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| PeerCertificateError::Undecodable)?;
        if !rest.is_empty() {
            return Err(PeerCertificateError::Undecodable);
        }
        let (uri_sans, dns_sans) = names(&parsed)?;
        Ok(Self {
            uri_sans,
            dns_sans,
            not_after: system_time(parsed.validity().not_after),
            serial: hex_serial(parsed.raw_serial()),
            chain: chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        })
    }

    /// The URIs among its subject alternative names, in the certificate's order, repeated ones too.
    #[must_use]
    pub fn uri_sans(&self) -> &[String] {
        &self.uri_sans
    }

    /// The DNS names among its subject alternative names, in the certificate's order, wildcards too.
    #[must_use]
    pub fn dns_sans(&self) -> &[String] {
        &self.dns_sans
    }

    /// The end of its validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Its serial number as `openssl x509 -serial` prints it: hexadecimal, upper case, two digits for
    /// each byte.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// All that the peer presented, its own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// The URIs and the DNS names.
fn names(
    certificate: &X509Certificate<'_>,
) -> Result<(Vec<String>, Vec<String>), PeerCertificateError> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| PeerCertificateError::UndecodableNames)?;
    let mut uris = Vec::new();
    let mut dns_names = Vec::new();
    for name in extension
        .iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
            GeneralName::Invalid(tag, _) if matches!(tag.0, DNS_NAME_TAG | URI_TAG) => {
                return Err(PeerCertificateError::UndecodableNames);
            }
            _ => {}
        }
    }
    Ok((uris, dns_names))
}

/// A serial number's bytes in hexadecimal, without the zero that keeps DER's integer positive.
pub(crate) fn hex_serial(raw: &[u8]) -> String {
    use std::fmt::Write;

    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => raw,
    };
    digits.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a `String` cannot fail.
        _ = write!(hex, "{byte:02X}");
        hex
    })
}

/// Times before 1970, which X.509 can express and no live certificate has, become 1970.
pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
