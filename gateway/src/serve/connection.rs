//! One connection of the endpoint's port: who is at its other end, for as long as it is open.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use ask2do_token_tls::{PeerCertificate, ServerTls};
use axum::Router;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use http::Request;
use hyper::body::Incoming;
use rustls::ServerConnection;
use tower::Service;

use crate::session::Peer;

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Known {
    address: SocketAddr,
    certificate: Option<Arc<PeerCertificate>>,
    rejected: AtomicBool,
}

/// The certificate that the handshake has verified, where it asked for one.
pub(super) fn identify(connection: &ServerConnection) -> io::Result<Option<Arc<PeerCertificate>>> {
    connection
        .peer_certificates()
        .map(|chain| PeerCertificate::from_chain(chain).map(Arc::new))
        .transpose()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Known {
    pub(super) fn new(address: SocketAddr, certificate: Option<Arc<PeerCertificate>>) -> Self {
        Self {
            address,
            certificate,
            rejected: AtomicBool::new(false),
        }
    }

    /// What a session check sees of it now: no certificate that no longer holds.
    fn peer(&self) -> Peer {
        let holds = !self.rejected.load(Ordering::Acquire);
        Peer {
            address: Some(self.address.ip()),
            certificate: self.certificate.clone().filter(|_| holds),
        }
    }

    /// Completes when the peer's certificate no longer verifies: its CA was removed, or its time is over.
    /// Never, where there is none.
    pub(super) async fn until_rejected(&self, tls: &ServerTls) {
        let (Some(certificate), Some(mut authorities)) =
            (&self.certificate, tls.authorities_changed())
        else {
            return std::future::pending().await;
        };
        while let Ok(()) = tls.verify_again(certificate) {
            tokio::select! {
                changed = authorities.changed() => {
                    if changed.is_err() {
                        break; // Nobody could say any more whether it holds.
                    }
                }
                () = tokio::time::sleep(time_left(certificate)) => {}
            }
        }
        self.rejected.store(true, Ordering::Release);
        tracing::info!(
            serial = certificate.serial(),
            "the certificate of an open connection no longer verifies: closing it"
        );
    }
}

/// Until the certificate ends, and a second more; looked at again each hour at the latest, since this
/// clock and the calendar may drift apart.
fn time_left(certificate: &PeerCertificate) -> Duration {
    let left = certificate.not_after().duration_since(SystemTime::now());
    (left.unwrap_or_default() + Duration::from_secs(1)).min(Duration::from_secs(3600))
}

/// The application, for the requests of one connection.
#[derive(Clone)]
pub(super) struct PerConnection {
    router: Router,
    known: Arc<Known>,
}

impl PerConnection {
    pub(super) fn new(router: Router, known: Arc<Known>) -> Self {
        Self { router, known }
    }
}

impl Service<Request<Incoming>> for PerConnection {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // As a router always is.
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.known.peer());
        self.router.call(request)
    }
}
