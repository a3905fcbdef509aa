use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::fixtures::{Ca, SPIFFE_ID, handshake};
use crate::watched::{Polled, Reloader};
use crate::{ClientAuth, PeerCertificate, ServerTls};

const H2: &[&[u8]] = &[b"h2"];

/// A client whose files are in a folder of their own.
struct Files {
    dir: TempDir,
    tls: ClientTls,
    identity: Reloader,
    authorities: Reloader,
}

impl Files {
    fn new(ca: &Ca) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = ca.client();
        std::fs::write(dir.path().join("tls.crt"), &pair.cert).unwrap();
        std::fs::write(dir.path().join("tls.key"), &pair.key).unwrap();
        std::fs::write(dir.path().join("ca.crt"), ca.pem()).unwrap();
        let path = |name| dir.path().join(name);
        let (identity, identity_files) = Identity::watch(path("tls.crt"), path("tls.key")).unwrap();
        let (authorities, ca_files) = Authorities::watch("ca", path("ca.crt")).unwrap();
        let tls = ClientTls::new(authorities, Some(identity), Versions::Tls13, H2).unwrap();
        Self {
            dir,
            tls,
            identity: identity_files,
            authorities: ca_files,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn renew(&mut self, ca: &Ca) {
        let pair = ca.client();
        std::fs::write(self.path("tls.crt"), &pair.cert).unwrap();
        std::fs::write(self.path("tls.key"), &pair.key).unwrap();
        assert!(matches!(self.identity.poll().await, Polled::Reloaded));
    }
}

#[tokio::test(start_paused = true)]
async fn completes_after_a_change_and_not_before() {
    let ca = Ca::named("ca");
    let mut files = Files::new(&ca);
    let first = files.tls.config();
    let long = Duration::from_secs(3600);
    assert!(timeout(long, files.tls.changed(&first)).await.is_err());

    files.renew(&ca).await;
    files.tls.changed(&first).await;
    let second = files.tls.config();
    assert!(timeout(long, files.tls.changed(&second)).await.is_err());

    std::fs::write(files.path("ca.crt"), Ca::named("other").pem()).unwrap();
    assert!(matches!(files.authorities.poll().await, Polled::Reloaded));
    files.tls.changed(&second).await;
}

#[tokio::test]
async fn a_change_wakes_who_waits() {
    let ca = Ca::named("ca");
    let mut files = Files::new(&ca);
    let tls = Arc::new(
        ClientTls::new(
            files.tls.authorities.clone(),
            files.tls.identity.clone(),
            Versions::Tls13,
            H2,
        )
        .unwrap(),
    );
    let first = tls.config();
    let waiting = tokio::spawn({
        let (tls, first) = (tls.clone(), first.clone());
        async move { tls.changed(&first).await }
    });
    files.renew(&ca).await;
    waiting.await.unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.config()));
}

#[tokio::test]
async fn shows_the_renewed_certificate() {
    let ca = Ca::named("ca");
    let mut files = Files::new(&ca);
    let server = ServerTls::new(
        Watched::fixed(ca.server().identity()),
        ClientAuth::Required(Watched::fixed(ca.authorities())),
        Versions::Tls13,
        H2,
    )
    .unwrap();
    let mut serials = Vec::new();
    for _ in 0..2 {
        let ends = handshake(server.config(), files.tls.config()).await;
        let stream = ends.server.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        let peer = PeerCertificate::from_chain(chain).unwrap();
        assert_eq!(peer.uri_sans(), [SPIFFE_ID]);
        serials.push(peer.serial().to_owned());
        files.renew(&ca).await;
    }
    assert_ne!(serials[0], serials[1]);
}

#[tokio::test]
async fn a_client_without_an_identity_connects_where_none_is_asked_for() {
    let ca = Ca::named("ca");
    let identity = Watched::fixed(ca.server().identity());
    let server = ServerTls::new(identity, ClientAuth::None, Versions::Tls13, H2).unwrap();
    let authorities = Watched::fixed(ca.authorities());
    let client = ClientTls::new(authorities, None, Versions::Tls13, H2).unwrap();
    let ends = handshake(server.config(), client.config()).await;
    assert!(ends.server.is_ok() && ends.client.is_ok());
}
