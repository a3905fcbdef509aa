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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixtures::{Ca, handshake};
    use crate::{ClientAuth, HandshakeFailure, ServerTls, Watched, handshake_failure};

    fn server(ca: &Ca, versions: Versions) -> ServerTls {
        let identity = Watched::fixed(ca.server().identity());
        ServerTls::new(identity, ClientAuth::None, versions, &[b"h2", b"http/1.1"]).unwrap()
    }

    #[tokio::test]
    async fn an_extra_authority_is_believed_and_http_1_negotiated() {
        let ca = Ca::named("extra");
        let client = https_client_config(Some(ca.pem().as_bytes())).unwrap();
        let server = server(&ca, Versions::Tls12AndTls13);
        let ends = handshake(server.config(), Arc::new(client)).await;
        assert!(ends.server.is_ok());
        let client = ends.client.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    }

    #[tokio::test]
    async fn an_authority_that_nobody_named_is_not() {
        let client = https_client_config(None).unwrap();
        let server = server(&Ca::named("extra"), Versions::Tls13);
        let ends = handshake(server.config(), Arc::new(client)).await;
        let error = ends.client.unwrap_err();
        assert_eq!(handshake_failure(&error), HandshakeFailure::UnknownCa);
    }

    #[test]
    fn an_extra_file_without_a_certificate_is_an_error() {
        assert!(matches!(
            https_client_config(Some(b"")),
            Err(TlsError::Authorities(_))
        ));
    }

    #[test]
    fn the_public_authorities_are_there() {
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
    }
}
