//! Certificates for tests, each with the defect that it is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

/// A certificate authority whose key is in memory alone.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// What a certificate is to say. It is valid from an hour ago for a day, unless said otherwise.
#[derive(Clone, Debug)]
pub struct Leaf(CertificateParams);

impl Authority {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When there is no randomness.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate.
    ///
    /// # Panics
    ///
    /// When there is no randomness.
    #[must_use]
    pub fn issue(&self, leaf: &Leaf) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: leaf.0.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Leaf {
    /// A client's, without a name.
    #[must_use]
    pub fn client() -> Self {
        let mut params = params("client");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Self(params)
    }

    /// A server's, for `localhost`, `127.0.0.1`, `127.0.0.2` and `::1`.
    #[must_use]
    pub fn server() -> Self {
        let mut leaf = Self::client().dns("localhost");
        let second = Ipv4Addr::new(127, 0, 0, 2);
        for address in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            second.into(),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            leaf.0.subject_alt_names.push(SanType::IpAddress(address));
        }
        leaf.for_servers()
    }

    /// Usable by servers alone.
    #[must_use]
    pub fn for_servers(mut self) -> Self {
        self.0.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// With one more URI.
    ///
    /// # Panics
    ///
    /// When it is not ASCII.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.0
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    /// With one more DNS name.
    ///
    /// # Panics
    ///
    /// When it is not ASCII.
    #[must_use]
    pub fn dns(mut self, name: &str) -> Self {
        self.0
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    /// Valid between these times, in seconds from now.
    #[must_use]
    pub fn valid(mut self, from: i64, to: i64) -> Self {
        let now = OffsetDateTime::now_utc();
        self.0.not_before = now + Duration::seconds(from);
        self.0.not_after = now + Duration::seconds(to);
        self
    }

    /// Issued by itself.
    ///
    /// # Panics
    ///
    /// When there is no randomness.
    #[must_use]
    pub fn self_signed(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: self.0.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// The certificate as it goes over the wire.
    ///
    /// # Panics
    ///
    /// Never: it was made here.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    /// Writes `<name>.crt` and `<name>.key`.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.crt")), &self.certificate).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::HOUR;
    params.not_after = now + Duration::DAY;
    params
}
