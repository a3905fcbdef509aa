//! Throwaway certificates, and the files of the servers under test.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::Result;

/// The caller's name in its certificate, and in the server's list.
const CALLER: &str = "spiffe://bench/ns/panel/sa/backend";

/// The tenant key: the stub takes any.
pub(crate) const TENANT_KEY: &str = "tk_bench_0123456789abcdef0123456789abcdef";

/// Writes `ca.crt`; `tls.crt` and `tls.key` of the server; `caller.crt` and `caller.key`;
/// `tenant-key`; and `server.toml` with the caller.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(folder.join("ca.crt"), authority.pem())?;
    let issue = |name: &str, usage, sans| -> Result<()> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        fs::write(folder.join(format!("{name}.crt")), certificate.pem())?;
        Ok(fs::write(
            folder.join(format!("{name}.key")),
            key.serialize_pem(),
        )?)
    };
    let server = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    issue("tls", ExtendedKeyUsagePurpose::ServerAuth, server)?;
    let caller = vec![SanType::URI(CALLER.try_into()?)];
    issue("caller", ExtendedKeyUsagePurpose::ClientAuth, caller)?;
    fs::write(folder.join("tenant-key"), TENANT_KEY)?;
    let callers = format!(
        "[[callers]]\nname = \"panel\"\nsan = \"{CALLER}\"\nroles = [\"admin\", \"owner\"]\n"
    );
    Ok(fs::write(folder.join("server.toml"), callers)?)
}

/// The caller's side of mTLS.
pub(crate) fn caller(folder: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.crt"))?)?;
    let certificate = CertificateDer::from_pem_file(folder.join("caller.crt"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("caller.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
