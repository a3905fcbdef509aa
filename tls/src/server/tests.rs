use std::time::Duration;

use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fixtures::{
    Ca, Pair, SPIFFE_ID, anonymous_client_config, handshake, self_signed_client, server_params,
};
use crate::watched::Polled;
use crate::{ClientTls, HandshakeFailure, handshake_failure};

const H2: &[&[u8]] = &[b"h2"];

fn requiring(ca: &Ca) -> ServerTls {
    let authorities = Watched::fixed(ca.authorities());
    ServerTls::new(
        Watched::fixed(ca.server().identity()),
        ClientAuth::Required(authorities),
        Versions::Tls13,
        H2,
    )
    .unwrap()
}

async fn failure(server: &ServerTls, client: ClientConfig) -> HandshakeFailure {
    let ends = handshake(server.config(), Arc::new(client)).await;
    handshake_failure(&ends.server.unwrap_err())
}

#[tokio::test]
async fn a_client_with_a_good_certificate_is_served_and_known() {
    let ca = Ca::named("ca");
    let client = ClientTls::new(
        Watched::fixed(ca.authorities()),
        Some(Watched::fixed(ca.client().identity())),
        Versions::Tls13,
        H2,
    )
    .unwrap();
    let ends = handshake(requiring(&ca).config(), client.config()).await;
    let server = ends.server.unwrap();
    let connection = server.get_ref().1;
    let peer = PeerCertificate::from_chain(connection.peer_certificates().unwrap()).unwrap();
    assert_eq!(peer.uri_sans(), [SPIFFE_ID]);
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(
        connection.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
}

#[tokio::test]
async fn key_exchange_is_post_quantum() {
    let ca = Ca::named("ca");
    let client = ca.client().client_config(&ca);
    let ends = handshake(requiring(&ca).config(), Arc::new(client)).await;
    let groups = [
        ends.server
            .unwrap()
            .get_ref()
            .1
            .negotiated_key_exchange_group(),
        ends.client
            .unwrap()
            .get_ref()
            .1
            .negotiated_key_exchange_group(),
    ];
    assert_eq!(
        groups.map(|group| group.unwrap().name()),
        [NamedGroup::X25519MLKEM768; 2]
    );
}

#[tokio::test]
async fn each_bad_certificate_is_refused_for_its_own_reason() {
    let ca = Ca::named("ca");
    let server = requiring(&ca);
    let authority_as_client = {
        let mut params = crate::fixtures::client_params();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.issue(&params)
    };
    let cases: [(&str, Pair, HandshakeFailure); 8] = [
        ("expired", ca.expired_client(), HandshakeFailure::Expired),
        (
            "not yet valid",
            ca.not_yet_valid_client(),
            HandshakeFailure::NotYetValid,
        ),
        (
            "another CA",
            Ca::named("other").client(),
            HandshakeFailure::UnknownCa,
        ),
        (
            "another CA of the same name",
            Ca::named("ca").client(),
            HandshakeFailure::UnknownCa,
        ),
        (
            "self-signed",
            self_signed_client(),
            HandshakeFailure::UnknownCa,
        ),
        (
            "for servers",
            ca.client_for_another_use(),
            HandshakeFailure::BadCertificate,
        ),
        ("a server's", ca.server(), HandshakeFailure::BadCertificate),
        (
            "an authority's",
            authority_as_client,
            HandshakeFailure::BadCertificate,
        ),
    ];
    for (defect, pair, expected) in cases {
        let found = failure(&server, pair.client_config(&ca)).await;
        assert_eq!(found, expected, "{defect}");
    }
    let found = failure(&server, anonymous_client_config(&ca)).await;
    assert_eq!(found, HandshakeFailure::NoCertificate);
}

#[tokio::test]
async fn a_certificate_that_names_nobody_verifies_and_names_nobody() {
    let ca = Ca::named("ca");
    let client = ca.client_without_names().client_config(&ca);
    let ends = handshake(requiring(&ca).config(), Arc::new(client)).await;
    let server = ends.server.unwrap();
    let peer =
        PeerCertificate::from_chain(server.get_ref().1.peer_certificates().unwrap()).unwrap();
    assert!(peer.uri_sans().is_empty() && peer.dns_sans().is_empty());
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused_where_1_3_is_wanted() {
    let ca = Ca::named("ca");
    let old = || {
        let mut config = ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(ca.authorities().roots())
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config
    };
    let found = failure(&requiring(&ca), old()).await;
    assert_eq!(found, HandshakeFailure::ProtocolVersion);

    let identity = Watched::fixed(ca.server().identity());
    let both = ServerTls::new(identity, ClientAuth::None, Versions::Tls12AndTls13, H2).unwrap();
    let ends = handshake(both.config(), Arc::new(old())).await;
    assert_eq!(
        ends.server.unwrap().get_ref().1.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
}

#[tokio::test]
async fn plain_text_and_a_peer_that_goes_away_are_told_apart() {
    let ca = Ca::named("ca");
    for (bytes, expected) in [
        (
            &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
            HandshakeFailure::Plaintext,
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            HandshakeFailure::Plaintext,
        ),
        (b"\0\0\0\0\0\0\0\0", HandshakeFailure::Plaintext),
        (b"", HandshakeFailure::Closed),
        (b"\x16\x03\x01", HandshakeFailure::Closed),
    ] {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(bytes).await.unwrap();
        drop(far);
        let accepted = TlsAcceptor::from(requiring(&ca).config())
            .accept(near)
            .await;
        let error = accepted.unwrap_err();
        assert_eq!(handshake_failure(&error), expected, "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_believe_the_server_says_so_to_it() {
    let ca = Ca::named("ca");
    let stranger = anonymous_client_config(&Ca::named("other"));
    let ends = handshake(requiring(&ca).config(), Arc::new(stranger)).await;
    assert_eq!(
        handshake_failure(&ends.client.unwrap_err()),
        HandshakeFailure::UnknownCa
    );
    assert_eq!(
        handshake_failure(&ends.server.unwrap_err()),
        HandshakeFailure::RefusedByPeer
    );
}

#[tokio::test]
async fn a_server_of_another_name_is_not_believed() {
    let ca = Ca::named("ca");
    let mut params = server_params();
    params.subject_alt_names = vec![crate::fixtures::dns("elsewhere")];
    let identity = Watched::fixed(ca.issue(&params).identity());
    let server = ServerTls::new(identity, ClientAuth::None, Versions::Tls13, H2).unwrap();
    let ends = handshake(server.config(), Arc::new(anonymous_client_config(&ca))).await;
    assert_eq!(
        handshake_failure(&ends.client.unwrap_err()),
        HandshakeFailure::BadCertificate
    );
}

/// How the second of two connections of a client that keeps its sessions shakes hands.
async fn second_handshake(server: Arc<ServerConfig>, client: ClientConfig) -> HandshakeKind {
    let client = Arc::new(client);
    let mut kind = None;
    for _ in 0..2 {
        let ends = handshake(server.clone(), client.clone()).await;
        let (mut server, mut client) = (ends.server.unwrap(), ends.client.unwrap());
        // Tickets come after the handshake: the client sees them when it reads.
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        kind = client.get_ref().1.handshake_kind();
    }
    kind.unwrap()
}

#[tokio::test]
async fn no_session_is_resumed() {
    let ca = Ca::named("ca");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = Watched::fixed(ca.server().identity());
        let authorities = ClientAuth::Required(Watched::fixed(ca.authorities()));
        let server = ServerTls::new(identity, authorities, Versions::Tls12AndTls13, H2).unwrap();
        let client = || {
            let pair = ca.client();
            let builder = ClientConfig::builder_with_provider(crypto_provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(ca.authorities().roots());
            builder.with_client_cert_resolver(pair.identity().resolver())
        };
        let kind = second_handshake(server.config(), client()).await;
        // The hybrid key share may cost a client of 1.3 a second hello; that is no resumption.
        assert_eq!(kind, HandshakeKind::Full, "{version:?}");

        // The same client does resume with a server that lets it: the test can fail.
        let lenient = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(ca.server().identity().resolver());
        let kind = second_handshake(Arc::new(lenient), client()).await;
        assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
    }
}

#[test]
fn there_is_no_early_data_and_no_log_of_keys() {
    let config = requiring(&Ca::named("ca")).config();
    assert_eq!(config.max_early_data_size, 0);
    assert_eq!(config.send_tls13_tickets, 0);
    assert!(!config.session_storage.can_cache());
    assert!(!config.ticketer.enabled());
    assert!(!config.key_log.will_log("CLIENT_TRAFFIC_SECRET_0"));
}

#[tokio::test]
async fn a_changed_file_counts_from_the_next_handshake_on() {
    let dir = tempfile::tempdir().unwrap();
    let [cert, key, ca_file] = ["tls.crt", "tls.key", "ca.crt"].map(|name| dir.path().join(name));
    let (old, new) = (Ca::named("old"), Ca::named("new"));
    let first = old.server();
    std::fs::write(&cert, &first.cert).unwrap();
    std::fs::write(&key, &first.key).unwrap();
    std::fs::write(&ca_file, old.pem()).unwrap();

    let (identity, mut identity_files) = Identity::watch(cert.clone(), key.clone()).unwrap();
    let (authorities, mut ca_files) = Authorities::watch("client_ca", ca_file.clone()).unwrap();
    let auth = ClientAuth::Required(authorities);
    let server = ServerTls::new(identity, auth, Versions::Tls13, H2).unwrap();
    let news = server.authorities_changed().unwrap();
    let before = server.config();
    assert!(Arc::ptr_eq(&before, &server.config()));
    assert!(
        handshake(before.clone(), Arc::new(old.client().client_config(&old)))
            .await
            .server
            .is_ok()
    );

    // The new CA's clients, while the server's own certificate is still the old CA's.
    std::fs::write(&ca_file, new.pem()).unwrap();
    assert!(!news.has_changed().unwrap());
    assert!(matches!(ca_files.poll().await, Polled::Reloaded));
    assert!(news.has_changed().unwrap());
    assert!(!Arc::ptr_eq(&before, &server.config()));
    assert_eq!(
        failure(&server, old.client().client_config(&old)).await,
        HandshakeFailure::UnknownCa
    );
    let ends = handshake(server.config(), Arc::new(new.client().client_config(&old))).await;
    assert!(ends.server.is_ok());

    // And then the pair.
    let second = new.server();
    std::fs::write(&cert, &second.cert).unwrap();
    std::fs::write(&key, &second.key).unwrap();
    assert!(matches!(identity_files.poll().await, Polled::Reloaded));
    let ends = handshake(server.config(), Arc::new(new.client().client_config(&new))).await;
    assert!(ends.server.is_ok() && ends.client.is_ok());
}

#[tokio::test]
async fn clients_are_told_the_authorities_of_now() {
    #[derive(Debug)]
    struct Hints(std::sync::Mutex<Vec<Vec<u8>>>);
    impl rustls::client::ResolvesClientCert for Hints {
        fn resolve(
            &self,
            hints: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            *self.0.lock().unwrap() = hints.iter().map(|hint| hint.to_vec()).collect();
            None
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let ca = Ca::named("the name to be hinted at");
    let hints = Arc::new(Hints(std::sync::Mutex::default()));
    let mut client = anonymous_client_config(&ca);
    client.client_auth_cert_resolver = hints.clone();
    _ = handshake(requiring(&ca).config(), Arc::new(client)).await;
    let hints = hints.0.lock().unwrap();
    assert_eq!(hints.len(), 1);
    assert!(hints[0].ends_with(b"the name to be hinted at"));
}

#[test]
fn an_open_connections_chain_holds_until_its_authority_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    let (old, new) = (Ca::named("old"), Ca::named("new"));
    let peer = old.client().peer();
    std::fs::write(&file, format!("{}{}", old.pem(), new.pem())).unwrap();
    let (authorities, mut files) = Authorities::watch("client_ca", file.clone()).unwrap();
    let auth = ClientAuth::Required(authorities);
    let identity = Watched::fixed(old.server().identity());
    let server = ServerTls::new(identity, auth, Versions::Tls13, H2).unwrap();
    assert!(server.verify_again(&peer).is_ok());

    std::fs::write(&file, new.pem()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    assert!(matches!(runtime.block_on(files.poll()), Polled::Reloaded));
    assert!(matches!(
        server.verify_again(&peer),
        Err(TlsError::Verification(_))
    ));
    assert!(server.verify_again(&new.client().peer()).is_ok());
}

#[test]
fn a_chain_that_expired_or_is_for_another_use_does_not_verify_again() {
    let ca = Ca::named("ca");
    let server = requiring(&ca);
    for pair in [
        ca.expired_client(),
        ca.not_yet_valid_client(),
        ca.client_for_another_use(),
    ] {
        assert!(matches!(
            server.verify_again(&pair.peer()),
            Err(TlsError::Verification(_))
        ));
    }
}

#[test]
fn nothing_verifies_where_no_certificate_is_asked_for() {
    let ca = Ca::named("ca");
    let identity = Watched::fixed(ca.server().identity());
    let server = ServerTls::new(identity, ClientAuth::None, Versions::Tls13, H2).unwrap();
    assert!(server.authorities_changed().is_none());
    assert!(matches!(
        server.verify_again(&ca.client().peer()),
        Err(TlsError::NoClientAuthorities)
    ));
}

#[tokio::test(start_paused = true)]
async fn the_receiver_of_authorities_that_never_change_waits() {
    let server = requiring(&Ca::named("ca"));
    let mut news = server.authorities_changed().unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(3600), news.changed()).await;
    assert!(waited.is_err());
}

#[test]
fn debug_shows_what_is_in_use_and_no_key() {
    let ca = Ca::named("ca");
    let pair = ca.server();
    let identity = Watched::fixed(pair.identity());
    let server = ServerTls::new(identity, ClientAuth::None, Versions::Tls13, H2).unwrap();
    let shown = format!("{server:?}");
    assert!(shown.contains(pair.identity().serial()), "{shown}");
    assert!(!shown.contains("certified_key"), "{shown}");
}
