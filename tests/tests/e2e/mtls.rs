//! Who gets in: certificates by their defect, and what TLS agrees on.

use std::sync::Arc;

use ask2do_token_tests::caller::{Caller, minted};
use ask2do_token_tests::pki::{Authority, Leaf, Pair};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{LEGACY, PANEL, SHOP, Shared, World};
use rustls::{AlertDescription, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

/// What becomes of a caller.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// Gets a token.
    Minted,
    /// Gets in, and may not mint.
    NotCaller,
    /// The server ends the handshake with this alert, and counts this cause.
    Alert(AlertDescription, &'static str),
}

use Outcome::{Alert, Minted, NotCaller};

const DAY: i64 = 24 * 3600;

/// Name, certificate, and what becomes of it.
type Certificate = (&'static str, fn(&World) -> Option<Pair>, Outcome);

/// Each certificate with its one defect, or none.
pub(crate) const CERTIFICATES: &[Certificate] = &[
    ("the right one", |w| issued(w, client().uri(PANEL)), Minted),
    ("a DNS name", |w| issued(w, client().dns(LEGACY)), Minted),
    (
        "a DNS name in capitals",
        |w| issued(w, client().dns("LEGACY.Panel.Test")),
        Minted,
    ),
    (
        "a URI and a DNS name that is nobody's",
        |w| issued(w, client().uri(PANEL).dns("pod-1.panel.test")),
        Minted,
    ),
    (
        "no certificate",
        |_| None,
        Alert(AlertDescription::CertificateRequired, "no_certificate"),
    ),
    (
        "another CA",
        |_| Some(Authority::new("another CA").issue(&client().uri(PANEL))),
        Alert(AlertDescription::UnknownCA, "unknown_ca"),
    ),
    (
        "a CA of the same name",
        |_| Some(Authority::new("the callers' CA").issue(&client().uri(PANEL))),
        Alert(AlertDescription::DecryptError, "unknown_ca"),
    ),
    (
        "self-signed",
        |_| Some(client().uri(PANEL).self_signed()),
        Alert(AlertDescription::UnknownCA, "unknown_ca"),
    ),
    (
        "expired",
        |w| issued(w, client().uri(PANEL).valid(-2 * DAY, -60)),
        Alert(AlertDescription::CertificateExpired, "expired"),
    ),
    (
        "not valid yet",
        |w| issued(w, client().uri(PANEL).valid(3600, DAY)),
        Alert(AlertDescription::CertificateExpired, "not_yet_valid"),
    ),
    (
        "for servers",
        |w| issued(w, client().uri(PANEL).for_servers()),
        Alert(AlertDescription::UnsupportedCertificate, "bad_certificate"),
    ),
    (
        "two URIs",
        |w| issued(w, client().uri(PANEL).uri("spiffe://demo/ns/x/sa/y")),
        NotCaller,
    ),
    (
        "the URIs of two callers",
        |w| issued(w, client().uri(PANEL).uri(SHOP)),
        NotCaller,
    ),
    (
        "a URI of one caller and a DNS name of another",
        |w| issued(w, client().uri(SHOP).dns(LEGACY)),
        NotCaller,
    ),
    (
        "a URI that is nobody's",
        |w| issued(w, client().uri("spiffe://demo/ns/panel/sa/stranger")),
        NotCaller,
    ),
    (
        "a URI in capitals",
        |w| issued(w, client().uri("spiffe://demo/ns/PANEL/sa/backend")),
        NotCaller,
    ),
    (
        "a URI that goes on",
        |w| issued(w, client().uri("spiffe://demo/ns/panel/sa/backend/x")),
        NotCaller,
    ),
    (
        "a wildcard",
        |w| issued(w, client().dns("*.panel.test")),
        NotCaller,
    ),
    (
        "a DNS name with a dot at its end",
        |w| issued(w, client().dns("legacy.panel.test.")),
        NotCaller,
    ),
    ("a common name alone", |w| issued(w, client()), NotCaller),
];

fn client() -> Leaf {
    Leaf::client()
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table may have none")]
fn issued(world: &World, leaf: Leaf) -> Option<Pair> {
    Some(world.callers.issue(&leaf))
}

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(World::server);
    for (index, &(name, pair, outcome)) in CERTIFICATES.iter().enumerate() {
        let shared = shared.clone();
        suite.case(format!("mtls: {name}"), move || async move {
            let (world, server) = shared.get().await;
            let pair = pair(world);
            let caller = Caller::new(&world.servers.pem(), pair.as_ref());
            let id = format!("mtls-{index}");
            match outcome {
                Minted => {
                    let reply = server.connect(&caller).await.mint(&id, "admin").await;
                    assert!(!minted(&reply).token.is_empty());
                    assert_eq!(world.cloud.calls_for(&id), 1);
                }
                NotCaller => {
                    let connection = server.connect(&caller).await;
                    let reply = connection.mint(&id, "admin").await;
                    let refusal = reply.refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED");
                    assert_eq!(refusal.retry_after, None);
                    assert_eq!(world.cloud.calls_for(&id), 0);
                }
                Alert(alert, cause) => {
                    let series = failures(cause);
                    let before = server.metric(&series).await;
                    let mut stream = caller.handshake(server.grpc).await.unwrap();
                    let error = stream.read_u8().await.unwrap_err();
                    let error = error.into_inner().expect("an error of TLS");
                    assert_eq!(
                        error.downcast_ref::<rustls::Error>(),
                        Some(&rustls::Error::AlertReceived(alert))
                    );
                    until(&series, async || {
                        (server.metric(&series).await > before).then_some(())
                    })
                    .await;
                }
            }
        });
    }
    add_protocols(suite, &shared);
}

fn add_protocols(suite: &mut Suite, shared: &Shared) {
    let with = shared.clone();
    suite.case("mtls: TLS 1.2 is refused", move || async move {
        let (world, server) = with.get().await;
        let pair = world.callers.issue(&client().uri(PANEL));
        let caller = Caller::speaking(
            &[&rustls::version::TLS12],
            &world.servers.pem(),
            Some(&pair),
        );
        let error = caller.handshake(server.grpc).await.unwrap_err();
        let error = error.into_inner().expect("an error of TLS");
        assert_eq!(
            error.downcast_ref::<rustls::Error>(),
            Some(&rustls::Error::AlertReceived(
                AlertDescription::ProtocolVersion
            ))
        );
        server.metric_is(&failures("protocol_version"), 1.0).await;
    });
    let with = shared.clone();
    suite.case("mtls: plaintext is told apart", move || async move {
        let (_, server) = with.get().await;
        let mut stream = TcpStream::connect(server.grpc).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        // A fatal alert at most, and the end.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() <= 7, "{answer:?}");
        server.metric_is(&failures("plaintext"), 1.0).await;
    });
    let with = shared.clone();
    suite.case(
        "mtls: both sides agree on TLS 1.3 with X25519MLKEM768",
        move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            assert_eq!(connection.tls.version, ProtocolVersion::TLSv1_3);
            assert_eq!(connection.tls.group, "X25519MLKEM768");
            minted(&connection.mint("group", "admin").await);
            let call = world.cloud.last_call().unwrap();
            let tls = call.tls.expect("the cloud is called over TLS");
            assert_eq!((&*tls.version, &*tls.group), ("TLSv1_3", "X25519MLKEM768"));
        },
    );
    let with = shared.clone();
    suite.case("mtls: no session is resumed", move || async move {
        let (world, server) = with.get().await;
        let caller = world.panel();
        for round in 0..3 {
            let connection = server.connect(&caller).await;
            // The tickets, were there any, have come by then.
            minted(&connection.mint("resumption", "admin").await);
            assert!(!connection.tls.resumed, "round {round}");
        }
    });
    suite.case(
        "mtls: under allow_any_caller every certificate of the CA may mint",
        || async {
            let world = Arc::new(World::new().await);
            let setup = world
                .server()
                .file("server.toml", "allow_any_caller = true");
            let server = setup.start().await;
            let stranger = world.callers.issue(&client().uri("spiffe://demo/stranger"));
            let connection = server.connect(&world.caller(&stranger)).await;
            minted(&connection.mint("any", "owner").await);
            let reply = connection.mint("any", "editor").await;
            reply.refused(Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        },
    );
}

fn failures(cause: &str) -> String {
    format!(r#"ask2do_handshake_failures_total{{port="grpc",cause="{cause}"}}"#)
}
