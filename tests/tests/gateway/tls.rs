//! TLS on the port that browsers reach, where no ingress ends it.

use std::sync::Arc;

use ask2do_token_tests::gateway::{PATH, Setup};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::World;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) fn add(suite: &mut Suite) {
    suite.case("tls::each_http_is_spoken_over_each_version", each);
}

async fn each() {
    let world = World::new().await;
    let server = world.server().start().await;
    let panel = Panel::start(Whoami::Honest).await;
    let folder = tempfile::tempdir().unwrap();
    let leaf = Leaf::server().dns("panel.example");
    world.servers.issue(&leaf).write(folder.path(), "http");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Setup::forward(&world, server.grpc, panel.address)
        .set("http.tls.certificate_file", &file("http.crt"))
        .set("http.tls.private_key_file", &file("http.key"))
        .start()
        .await;
    for version in [&TLS12, &TLS13] {
        for protocol in ["h2", "http/1.1"] {
            // The first connection to the service may take longer than it is given on a busy machine.
            let status = ask2do_token_tests::until("a token", async || {
                let stream = TcpStream::connect(gateway.http).await.unwrap();
                let stream = handshake(&world, stream, version, protocol).await;
                let (_, tls) = stream.get_ref();
                assert_eq!(tls.alpn_protocol(), Some(protocol.as_bytes()));
                assert_eq!(tls.protocol_version(), Some(version.version));
                let status = ask(stream, protocol).await.status();
                (status != StatusCode::BAD_GATEWAY).then_some(status)
            })
            .await;
            assert_eq!(status, 200, "{version:?} {protocol}");
        }
    }
}

async fn handshake(
    world: &World,
    stream: TcpStream,
    version: &'static SupportedProtocolVersion,
    protocol: &str,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(world.servers.pem().as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("panel.example").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

async fn ask(stream: TlsStream<TcpStream>, protocol: &str) -> Response<Incoming> {
    let request = Request::post(format!("https://panel.example{PATH}"))
        .header("host", "panel.example")
        // Of an old browser: it is compared with the host, in whichever way the protocol names it.
        .header("origin", "https://panel.example")
        .header("cookie", "sid=admin/42")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let io = TokioIo::new(stream);
    if protocol == "h2" {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}
