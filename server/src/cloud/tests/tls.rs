//! HTTPS: whom the client believes, and what it speaks.

use ask2do_token_tls::crypto_provider;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt as _;

use super::*;

/// A CA of its own, and a server configuration with a certificate that it issued for `name`.
pub(super) fn server(
    name: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (Vec<u8>, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &ca).unwrap();
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (ca.pem().into_bytes(), config)
}

fn https_cloud(stub: &Stub, roots: Option<Vec<u8>>) -> Cloud {
    let mut settings = settings(&format!("https://localhost:{}", stub.address.port()));
    settings.extra_roots = roots;
    cloud_with(settings)
}

#[tokio::test]
async fn a_root_in_ca_file_is_trusted_beside_the_public_ones() {
    for versions in [&[&TLS13], &[&TLS12]] {
        let (ca, config) = server("localhost", versions);
        let stub = Stub::tls(config, |_| Act::Answer(granted())).await;
        let cloud = https_cloud(&stub, Some(ca));
        assert!(mint(&cloud).await.is_ok());
        assert!(mint(&cloud).await.is_ok());
        assert_eq!(stub.connections(), 1);
        // HTTP/1.1 alone is offered, so the server cannot choose HTTP/2.
        assert!(
            stub.requests()[0]
                .head
                .starts_with("POST /auth/token HTTP/1.1")
        );
    }
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum() {
    let (ca, config) = server("localhost", &[&TLS13]);
    let stub = Stub::tls(config, |_| Act::Answer(granted())).await;
    assert!(mint(&https_cloud(&stub, Some(ca))).await.is_ok());
    assert_eq!(stub.key_exchanges(), [rustls::NamedGroup::X25519MLKEM768]);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_gets_no_key_and_no_second_try() {
    let (other_ca, _) = server("localhost", &[&TLS13]);
    let (ca, wrong_name) = server("other.example", &[&TLS13]);
    let (_, unknown_ca) = server("localhost", &[&TLS13]);
    for (config, roots) in [
        (wrong_name, Some(ca)),
        (unknown_ca.clone(), Some(other_ca)),
        (unknown_ca, None),
    ] {
        let stub = Stub::tls(config, |_| Act::Answer(granted())).await;
        let cloud = https_cloud(&stub, roots);
        assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
        assert_eq!(stub.requests().len(), 0);
        let sample =
            r#"ask2do_cloud_failures_total{reason="CLOUD_UNAVAILABLE",cause="certificate"}"#;
        assert_eq!(value(&metrics(&cloud), sample), 1.0);
    }
}

/// Answers whoever connects in plain HTTP.
pub(super) async fn plaintext_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            answer.await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_cloud_that_does_not_speak_tls_is_unavailable() {
    let address = plaintext_server().await;
    let cloud = cloud_with(settings(&format!("https://{address}")));
    assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
    let sample = r#"ask2do_cloud_failures_total{reason="CLOUD_UNAVAILABLE",cause="tls"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 2.0);
}

#[tokio::test]
async fn a_handshake_that_hangs_takes_two_seconds_and_the_retry_fits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cloud = cloud_with(settings(&format!("https://localhost:{port}")));
    let (accepted, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(listener.accept().await.unwrap());
            accepted.send(()).unwrap();
        }
    });
    let started = Instant::now();
    let minting = tokio::spawn(async move { (mint(&cloud).await, cloud) });
    waiting.recv().await.unwrap();
    // Nothing but the limits is left to wait for: the clock may run on by itself.
    tokio::time::pause();
    let (result, cloud) = minting.await.unwrap();
    assert_eq!(result.unwrap_err(), MintError::CloudUnavailable);
    let took = started.elapsed();
    assert!(took > Duration::from_secs(4) && took < TIMEOUT, "{took:?}");
    let sample =
        r#"ask2do_cloud_failures_total{reason="CLOUD_UNAVAILABLE",cause="connect_timeout"}"#;
    assert_eq!(value(&metrics(&cloud), sample), 2.0);
}

#[test]
fn roots_that_are_none_are_refused_at_start() {
    let mut settings = settings("https://cloud.example");
    settings.extra_roots = Some(b"no PEM".to_vec());
    let key = Watched::fixed(TenantKey::from_bytes(KEY.as_bytes()).unwrap());
    assert!(Cloud::new(settings, key, Arc::default()).is_err());
}
