//! Certificates for the tests, named by their defect, and handshakes in memory.

use std::io;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::{Duration, OffsetDateTime};
use tokio::io::DuplexStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::{Authorities, Identity, PeerCertificate, crypto_provider};

/// The URI in the certificates of [`Ca::client`].
pub(crate) const SPIFFE_ID: &str = "spiffe://demo/ns/panel/sa/backend";

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.cert.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap()
    }

    pub(crate) fn peer(&self) -> PeerCertificate {
        PeerCertificate::from_chain(&self.chain()).unwrap()
    }

    /// The configuration of a client that shows this certificate whatever is wrong with it.
    pub(crate) fn client_config(&self, ca: &Ca) -> ClientConfig {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        client_builder(ca)
            .with_client_auth_cert(self.chain(), key)
            .unwrap()
    }
}

/// The configuration of a client without a certificate.
pub(crate) fn anonymous_client_config(ca: &Ca) -> ClientConfig {
    client_builder(ca).with_no_client_auth()
}

fn client_builder(ca: &Ca) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(ca.authorities().roots())
}

/// A certification authority.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn named(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn authorities(&self) -> Authorities {
        Authorities::from_pem(self.pem().as_bytes()).unwrap()
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// For `localhost`.
    pub(crate) fn server(&self) -> Pair {
        self.issue(&server_params())
    }

    /// For [`SPIFFE_ID`].
    pub(crate) fn client(&self) -> Pair {
        self.issue(&client_params())
    }

    pub(crate) fn expired_client(&self) -> Pair {
        let mut params = client_params();
        params.not_after = OffsetDateTime::now_utc() - Duration::hours(1);
        self.issue(&params)
    }

    pub(crate) fn not_yet_valid_client(&self) -> Pair {
        let mut params = client_params();
        params.not_before = OffsetDateTime::now_utc() + Duration::hours(1);
        self.issue(&params)
    }

    /// Right but for its extended key usage, which is a server's.
    pub(crate) fn client_for_another_use(&self) -> Pair {
        let mut params = client_params();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    pub(crate) fn client_without_names(&self) -> Pair {
        let mut params = client_params();
        params.subject_alt_names.clear();
        self.issue(&params)
    }

    /// Says CA:FALSE, as cert-manager's and Go's do.
    pub(crate) fn client_that_is_no_ca(&self) -> Pair {
        let mut params = client_params();
        params.is_ca = IsCa::ExplicitNoCa;
        self.issue(&params)
    }
}

pub(crate) fn self_signed_client() -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair {
        cert: client_params().self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

pub(crate) fn server_params() -> CertificateParams {
    let mut params = named("server");
    params.subject_alt_names = vec![dns("localhost")];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

pub(crate) fn client_params() -> CertificateParams {
    let mut params = named("client");
    params.subject_alt_names = vec![uri(SPIFFE_ID)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) fn uri(uri: &str) -> SanType {
    SanType::URI(Ia5String::try_from(uri).unwrap())
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(name).unwrap())
}

/// Valid for a day either way.
fn named(common_name: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(1);
    params
}

/// What each end makes of a handshake for `localhost`.
pub(crate) struct Handshake {
    pub(crate) server: io::Result<server::TlsStream<DuplexStream>>,
    pub(crate) client: io::Result<client::TlsStream<DuplexStream>>,
}

pub(crate) async fn handshake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Handshake {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(
        TlsAcceptor::from(server).accept(near),
        TlsConnector::from(client).connect(name, far)
    );
    Handshake { server, client }
}
