//! TLS towards servers on the public web.

use rustls::{ClientConfig, RootCertStore};

use crate::authorities;
use crate::provider::{TlsError, Versions, crypto_provider};

/// The configuration of an HTTPS client: TLS 1.2 or 1.3, the authorities that Mozilla's root program
/// trusts, and those of `extra_ca_pem` beside them; no client certificate.
///
/// ALPN offers `http/1.1` alone. For reqwest: `ClientBuilder::tls_backend_preconfigured`.
///
/// # Errors
///
/// `extra_ca_pem` holds no certificate, or one that is no authority's.
pub fn https_client_config(extra_ca_pem: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(pem) = extra_ca_pem {
        authorities::add_pem(&mut roots, pem)?;
    }
    let mut config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(Versions::Tls12AndTls13.as_rustls())
        .map_err(TlsError::Configuration)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
