//! From a listening socket to requests with a [`Link`] on them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::calls::TlsFacts;
use super::link::{Link, SharedSocket};
use super::{Simulation, auth};

/// A pause after a failed accept: out of file descriptors, the next one would fail at once, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever. Dropping the future ends its connections, except those upgraded to `/chat`.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    simulation: Arc<Simulation>,
) {
    let router = auth::router(Arc::clone(&simulation));
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                simulation.ledger.connected();
                let connection = connection(socket, acceptor.clone(), router.clone());
                connections.spawn(async {
                    if let Err(error) = connection.await {
                        // Clients that go away are a matter of course for a cloud that fails on demand.
                        tracing::debug!(%error, "connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    socket: tokio::net::TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SharedSocket::new(socket);
    let Some(acceptor) = acceptor else {
        return requests(socket.clone(), Link::new(socket, None), router).await;
    };
    let stream = acceptor.accept(socket.clone()).await?;
    let facts = facts(stream.get_ref().1);
    requests(stream, Link::new(socket, facts), router).await
}

async fn requests<S>(stream: S, link: Link, router: Router) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let severed = link.clone();
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(link.clone());
        request.map(Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::select! {
        served = connection => served.map_err(io::Error::other),
        () = severed.severed() => Ok(()),
    }
}

fn facts(connection: &rustls::ServerConnection) -> Option<TlsFacts> {
    Some(TlsFacts {
        version: connection.protocol_version()?.as_str()?.to_owned(),
        group: connection
            .negotiated_key_exchange_group()?
            .name()
            .as_str()?
            .to_owned(),
    })
}
