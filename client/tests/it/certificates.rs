//! Certificates that change while the client runs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ask2do_token_client::certs::Issued;
use ask2do_token_client::{MintError, Reason};
use ask2do_token_tls::{Identity, LoadError, Observer};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::pki::Pki;
use crate::service::{Service, answers, mints, token, user};

fn serial(issued: &Issued) -> String {
    let identity = Identity::from_pem(
        issued.certificate_pem().as_bytes(),
        issued.private_key_pem().as_bytes(),
    );
    identity.unwrap().serial().to_owned()
}

fn certificate_rejected() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("CERTIFICATE_REJECTED", "token.ask2do.com", []);
    Status::with_error_details(tonic::Code::Unauthenticated, "", details)
}

#[derive(Default)]
struct Reloads(Mutex<Vec<&'static str>>);

impl Observer for Reloads {
    fn reloaded(&self, name: &'static str, modified: Option<SystemTime>) {
        assert!(modified.is_some());
        self.0.lock().unwrap().push(name);
    }

    fn failed(&self, _name: &'static str, error: &LoadError) {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_failed_call() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let reloads = Arc::new(Reloads::default());
    let client = pki
        .client(service.endpoint())
        .reload_observer(reloads.clone())
        .build()
        .unwrap();
    client.mint_token(&user()).await.unwrap();
    let renewed = pki.caller();
    pki.install(&renewed);
    let renewed = serial(&renewed);
    while service.seen().last().unwrap().serial != renewed {
        client.mint_token(&user()).await.unwrap();
    }
    assert_eq!(*reloads.0.lock().unwrap(), ["certificate"]);
    // The old connection is gone once its calls are done.
    service.until_open(1).await;
}

#[tokio::test]
async fn calls_on_the_old_connection_finish() {
    let pki = Pki::new();
    let (release, held) = tokio::sync::watch::channel(false);
    let service = Service::start(
        &pki,
        answers(move |number| {
            let mut held = held.clone();
            async move {
                if number == 0 {
                    held.wait_for(|released| *released).await.unwrap();
                }
                Ok(token())
            }
        }),
    )
    .await;
    let client = pki
        .client(service.endpoint())
        .deadline(Duration::from_secs(600))
        .build()
        .unwrap();
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.mint_token(&user()).await }
    });
    service.until_called(0).await;
    let renewed = pki.caller();
    pki.install(&renewed);
    let renewed = serial(&renewed);
    while service.seen().last().unwrap().serial != renewed {
        client.mint_token(&user()).await.unwrap();
    }
    release.send_replace(true);
    under_way.await.unwrap().unwrap();
    service.until_open(1).await;
}

#[tokio::test]
async fn a_rejected_certificate_is_replaced_at_once_by_the_one_on_disk() {
    let pki = Arc::new(Pki::new());
    let old = serial(&pki.caller());
    let installer = pki.clone();
    let service = Service::start(
        &pki,
        answers(move |number| {
            let pki = installer.clone();
            async move {
                if number > 0 {
                    return Ok(token());
                }
                // At the latest now it is on disk: before any poll of the client's has seen it.
                pki.install(&pki.caller());
                Err(certificate_rejected())
            }
        }),
    )
    .await;
    let client = pki.client(service.endpoint()).build().unwrap();
    client.mint_token(&user()).await.unwrap();
    let seen = service.seen();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].serial, seen[1].serial);
    assert_ne!(seen[1].serial, old);
}

#[tokio::test]
async fn a_certificate_that_stays_rejected_is_tried_twice() {
    let pki = Pki::new();
    let service = Service::start(&pki, answers(|_| async { Err(certificate_rejected()) })).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let error = client.mint_token(&user()).await.unwrap_err();
    assert!(matches!(error, MintError::CertificateRejected));
    assert_eq!(error.reason(), Reason::CertificateRejected);
    assert_eq!(service.calls(), 2);
}
