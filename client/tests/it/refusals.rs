//! Connections that cannot be made: each is told by its cause, long before the deadline.

use std::time::Duration;

use ask2do_token_client::certs::{Leaf, Validity};
use ask2do_token_client::{MintError, TokenClient, TokenClientBuilder, UnavailableKind};
use tokio::net::TcpListener;

use crate::pki::Pki;
use crate::service::{Service, mints, user};

/// A deadline that no test lives to see: a call that waits for it hangs.
const NEVER: Duration = Duration::from_secs(3600);

async fn refused(client: TokenClientBuilder) -> (UnavailableKind, String) {
    let client = client.deadline(NEVER).build().unwrap();
    match client.mint_token(&user()).await.unwrap_err() {
        MintError::ServiceUnavailable(cause) => (cause.kind(), cause.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closed_port() {
    let pki = Pki::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (kind, text) = refused(pki.client(format!("https://{address}"))).await;
    assert_eq!(kind, UnavailableKind::Connect);
    assert!(text.contains(&address.to_string()), "{text}");
}

#[tokio::test]
async fn a_name_without_an_address() {
    let pki = Pki::new();
    // RFC 6761: `.invalid` never resolves.
    let (kind, text) = refused(pki.client("https://token.invalid:8443")).await;
    assert_eq!(kind, UnavailableKind::Resolution);
    assert!(text.contains("token.invalid"), "{text}");
}

#[tokio::test]
async fn a_service_of_another_ca() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let service = Service::start(&theirs, mints()).await;
    let (kind, text) = refused(ours.client(service.endpoint())).await;
    assert_eq!(kind, UnavailableKind::Tls);
    assert!(text.contains("not issued by a CA in the CA file"), "{text}");
}

#[tokio::test]
async fn a_service_of_another_name() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).server_name("other.test");
    let (kind, text) = refused(client).await;
    assert_eq!(kind, UnavailableKind::Tls);
    assert!(text.contains("not for the name other.test"), "{text}");
    assert_eq!(service.calls(), 0);
}

#[tokio::test]
async fn a_caller_without_a_certificate() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = TokenClient::builder(service.endpoint()).ca_file(pki.file("ca.crt"));
    let (kind, text) = refused(client).await;
    assert_eq!(kind, UnavailableKind::Tls);
    assert!(text.contains("wants a client certificate"), "{text}");
}

#[tokio::test]
async fn a_caller_of_another_ca() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let service = Service::start(&ours, mints()).await;
    ours.install(&theirs.caller());
    let (kind, text) = refused(ours.client(service.endpoint())).await;
    assert_eq!(kind, UnavailableKind::Tls);
    assert!(text.contains("refuses the client's certificate"), "{text}");
}

#[tokio::test]
async fn a_caller_whose_certificate_ends_while_it_runs() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let now = time::OffsetDateTime::now_utc();
    let soon = Validity {
        not_before: now - time::Duration::days(1),
        not_after: now + time::Duration::seconds(2),
    };
    let leaf = Leaf::caller("caller", "panel.test".parse().unwrap()).valid(soon);
    pki.install(&pki.authority.issue(&leaf).unwrap());
    let client = pki
        .client(service.endpoint())
        .deadline(NEVER)
        .build()
        .unwrap();
    // Validity is checked by whole seconds.
    let end = client.certificate_not_after().unwrap() + Duration::from_secs(1);
    while std::time::SystemTime::now() <= end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It was read in time; the service refuses it now.
    match client.mint_token(&user()).await.unwrap_err() {
        MintError::ServiceUnavailable(cause) => assert_eq!(cause.kind(), UnavailableKind::Tls),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls() {
    let pki = Pki::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            _ = tcp.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (kind, text) = refused(pki.client(format!("https://{address}"))).await;
    assert_eq!(kind, UnavailableKind::Tls, "{text}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_says_a_word() {
    let pki = Pki::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (kind, text) = refused(pki.client(format!("https://{address}"))).await;
    assert_eq!(kind, UnavailableKind::Timeout, "{text}");
    drop(listener);
}

#[tokio::test]
async fn a_deadline_shorter_than_a_silent_server_ends_the_call() {
    let pki = Pki::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = pki
        .client(format!("https://{address}"))
        .deadline(Duration::from_millis(100))
        .build()
        .unwrap();
    let error = client.mint_token(&user()).await.unwrap_err();
    assert!(matches!(error, MintError::CloudTimeout { own_timer: true }));
    drop(listener);
}
