//! Who is on the other end, by its certificate.

use std::fmt::{self, Write};
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
#[derive(Clone, PartialEq, Eq)]
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

/// Without the chain, which would fill a page.
impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("uri_sans", &self.uri_sans)
            .field("dns_sans", &self.dns_sans)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use rcgen::{CustomExtension, SanType};

    use super::*;
    use crate::fixtures::{Ca, SPIFFE_ID, client_params, dns, uri};

    const SUBJECT_ALTERNATIVE_NAME: [u64; 4] = [2, 5, 29, 17];

    fn with_names(names: Vec<SanType>) -> Vec<CertificateDer<'static>> {
        let mut params = client_params();
        params.subject_alt_names = names;
        Ca::named("ca").issue(&params).chain()
    }

    /// The certificate, with other bytes in the place of a name's; its signature is not looked at here.
    fn patched(names: Vec<SanType>, from: &[u8], to: &[u8]) -> Vec<CertificateDer<'static>> {
        assert_eq!(from.len(), to.len());
        let mut der = with_names(names)[0].to_vec();
        let at = der
            .windows(from.len())
            .position(|bytes| bytes == from)
            .unwrap();
        der[at..at + from.len()].copy_from_slice(to);
        vec![CertificateDer::from(der)]
    }

    #[test]
    fn tells_names_as_they_stand_in_their_order() {
        let chain = with_names(vec![
            dns("Panel.Example"),
            uri("spiffe://demo/b"),
            uri("SPIFFE://Demo/a%20"),
            dns("*.example"),
            uri("spiffe://demo/b"),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::Rfc822Name("a@example".try_into().unwrap()),
        ]);
        let peer = PeerCertificate::from_chain(&chain).unwrap();
        assert_eq!(
            peer.uri_sans(),
            ["spiffe://demo/b", "SPIFFE://Demo/a%20", "spiffe://demo/b"]
        );
        assert_eq!(peer.dns_sans(), ["Panel.Example", "*.example"]);
        assert_eq!(peer.chain(), chain);
    }

    #[test]
    fn a_certificate_without_names_has_none_whatever_its_subject_says() {
        let peer = Ca::named("ca").client_without_names().peer();
        assert!(peer.uri_sans().is_empty());
        assert!(peer.dns_sans().is_empty());
    }

    #[test]
    fn only_the_peers_own_certificate_counts() {
        let ca = Ca::named("ca");
        let mut chain = ca.client_without_names().chain();
        chain.extend(ca.client().chain());
        let peer = PeerCertificate::from_chain(&chain).unwrap();
        assert!(peer.uri_sans().is_empty());
        assert_eq!(peer.chain().len(), 2);
    }

    #[test]
    fn no_certificate_is_an_error() {
        assert_eq!(
            PeerCertificate::from_chain(&[]),
            Err(PeerCertificateError::None)
        );
    }

    #[test]
    fn a_name_that_is_no_text_is_refused_beside_a_good_one_too() {
        for name in [uri("spiffe://evil"), dns("spiffe://evil")] {
            let chain = patched(vec![uri(SPIFFE_ID), name], b"evil", b"ev\xffl");
            assert_eq!(
                PeerCertificate::from_chain(&chain),
                Err(PeerCertificateError::UndecodableNames)
            );
        }
    }

    #[test]
    fn a_name_with_a_nul_is_told_as_it_is() {
        let chain = patched(vec![uri("spiffe://demo/aXb")], b"aXb", b"a\0b");
        let peer = PeerCertificate::from_chain(&chain).unwrap();
        assert_eq!(peer.uri_sans(), ["spiffe://demo/a\0b"]);
    }

    #[test]
    fn names_of_other_kinds_are_passed_over_even_odd_ones() {
        // GeneralNames of one otherName whose content is nonsense.
        let odd = vec![0x30, 0x04, 0xa0, 0x02, 0xff, 0xff];
        let mut params = client_params();
        params.subject_alt_names.clear();
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &SUBJECT_ALTERNATIVE_NAME,
            odd,
        )];
        let chain = Ca::named("ca").issue(&params).chain();
        assert!(
            PeerCertificate::from_chain(&chain)
                .unwrap()
                .uri_sans()
                .is_empty()
        );
    }

    #[test]
    fn names_that_cannot_be_read_or_are_there_twice_are_refused() {
        let garbage = vec![0x30, 0x7f, 0x00];
        // GeneralNames of the one URI `a:b`.
        let second = vec![0x30, 0x05, 0x86, 0x03, b'a', b':', b'b'];
        for (names, extension) in [(vec![], garbage), (vec![uri(SPIFFE_ID)], second)] {
            let mut params = client_params();
            params.subject_alt_names = names;
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &SUBJECT_ALTERNATIVE_NAME,
                extension,
            )];
            let chain = Ca::named("ca").issue(&params).chain();
            assert_eq!(
                PeerCertificate::from_chain(&chain),
                Err(PeerCertificateError::UndecodableNames)
            );
        }
    }

    #[test]
    fn no_damage_to_a_certificate_makes_it_panic() {
        let der = with_names(vec![uri(SPIFFE_ID), dns("localhost")])[0].to_vec();
        for length in 0..der.len() {
            let cut = CertificateDer::from(&der[..length]);
            assert!(PeerCertificate::from_chain(&[cut]).is_err(), "{length}");
        }
        for at in 0..der.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut damaged = der.clone();
                damaged[at] ^= bits;
                // Much of it still reads: the signature is for rustls to check.
                _ = PeerCertificate::from_chain(&[CertificateDer::from(damaged)]);
            }
        }
        let trailing = CertificateDer::from([&der[..], &[0]].concat());
        assert!(PeerCertificate::from_chain(&[trailing]).is_err());
    }

    #[test]
    fn serial_numbers_are_written_as_openssl_writes_them() {
        assert_eq!(hex_serial(&[0x00, 0xab, 0x01]), "AB01");
        assert_eq!(hex_serial(&[0x0a]), "0A");
        assert_eq!(hex_serial(&[0x00]), "00");
    }
}
