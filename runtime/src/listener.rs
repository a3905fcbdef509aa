//! The one way in which this project's ports accept connections.
//!
//! What it bounds, and what happens at each limit:
//!
//! - **Peers that have not spoken** (TLS handshake unfinished, or no first byte of HTTP yet) have
//!   [`Options::handshake`] for the handshake and [`Options::first_bytes`] for the rest, and there are
//!   at most [`Options::pending`]: one more closes the one that has been silent longest, so that silent
//!   peers cannot keep others out.
//! - **Connections** that have spoken: at most [`Options::connections`]. One more closes the one that
//!   has been without a request longest, if that is
//!   [`Options::idle_to_make_room`] or more, or else one whose requests are stuck
//!   for a minute (their answers are not read); if all are busy the new one is closed, so that its client tries another instance at once instead of waiting in a queue
//!   that nobody sees.
//! - **Age**: after [`Options::max_age`] (±10 %) a connection gets GOAWAY and ends with its last request,
//!   within [`Options::goaway_grace`].
//! - **Accept errors** (no file descriptors left) pause the loop; it never spins.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::Service;

use crate::shutdown::Stop;

mod accepting;
mod acceptor;
mod descriptors;
mod first_bytes;
mod http;
mod metrics;
mod port;
mod table;

pub use acceptor::{Acceptor, Plain, Tls};
pub use metrics::ConnectionMetrics;

use port::Port;

/// An error of any type, as services and bodies return them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which HTTP a port speaks. Over TLS, ALPN must offer the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone; without TLS, with prior knowledge.
    Http2,
    /// Both; told apart by the first bytes.
    Both,
}

/// The bounds of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What it speaks.
    pub protocols: Protocols,
    /// The most connections that have spoken.
    pub connections: usize,
    /// The most peers that have not.
    pub pending: usize,
    /// The longest TLS handshake.
    pub handshake: Duration,
    /// The longest time from there to the HTTP/2 preface, or to HTTP/1's first bytes.
    pub first_bytes: Duration,
    /// HTTP/1: the longest time from the connection's start, or the end of a request, to the end of the next
    /// request's header.
    pub header: Duration,
    /// At the limit a connection makes room that has been without a request for this long: its client may be about to
    /// send the next one.
    pub idle_to_make_room: Duration,
    /// HTTP/2: how often a PING asks whether the peer is alive.
    pub ping_interval: Duration,
    /// HTTP/2: how long its answer may take.
    pub ping_timeout: Duration,
    /// HTTP/2: the most streams of one connection at a time.
    pub streams: u32,
    /// The largest header block, in bytes.
    pub header_bytes: u32,
    /// After this, ±10 %, a connection is asked to end.
    pub max_age: Option<Duration>,
    /// How long a connection that was asked to end may take.
    pub goaway_grace: Duration,
}

impl Options {
    /// The bounds of every port but for what differs between them.
    #[must_use]
    pub fn new(protocols: Protocols, connections: usize, max_age: Option<Duration>) -> Self {
        Self {
            protocols,
            connections,
            pending: 512,
            handshake: Duration::from_secs(5),
            first_bytes: Duration::from_secs(10),
            // Longer than the 60 s for which common proxies keep an idle connection, so that they close first.
            header: Duration::from_secs(75),
            idle_to_make_room: Duration::from_secs(1),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            streams: 100,
            header_bytes: 16 * 1024,
            max_age,
            goaway_grace: Duration::from_secs(60),
        }
    }

    /// The admin port's: HTTP/1.1, a handful of connections. Its answers take no time, so that any connection between
    /// two requests makes room: else whoever keeps some of them lively would keep the kubelet's probes out.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            idle_to_make_room: Duration::ZERO,
            ..Self::new(Protocols::Http1, 64, None)
        }
    }
}

/// A bound port that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    options: Options,
    metrics: metrics::Port,
}

/// A port could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A connection that has spoken, as the service is made for it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<P> {
    /// The other end of the TCP connection.
    pub address: SocketAddr,
    /// What the acceptor found out about the peer.
    pub peer: P,
}

/// What serves one connection.
pub struct Handler<S> {
    service: S,
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Handler<S> {
    /// The connection ends when the peer, its age or a drain ends it.
    pub fn new(service: S) -> Self {
        Self {
            service,
            leave: Box::pin(std::future::pending()),
        }
    }

    /// When `leave` completes the peer gets GOAWAY (HTTP/1: no keep-alive) and the connection ends with
    /// the requests it has.
    #[must_use]
    pub fn leave_when(self, leave: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            leave: Box::pin(leave),
            ..self
        }
    }
}

impl Listener {
    /// Binds `address`; port 0 takes a free one. `name` is the metrics' label: `grpc`, `http`, `admin`.
    ///
    /// # Errors
    ///
    /// The address is in use, not this machine's, or not permitted.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        options: Options,
        metrics: &ConnectionMetrics,
    ) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BindError { address, source })?;
        descriptors::make_room_for(name, &options);
        Ok(Self {
            listener,
            options,
            metrics: metrics.port(name),
        })
    }

    /// The address that was bound, with its port.
    ///
    /// # Errors
    ///
    /// The operating system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts and serves until `stop` asks for the drain. Then no connection is accepted any more, peers
    /// that have not spoken are dropped, the others get GOAWAY, and this ends with the last request, or
    /// when `stop` cuts off. Dropping the future drops every connection.
    pub async fn serve<A, M, S, B>(self, acceptor: A, make: M, stop: Stop)
    where
        A: Acceptor,
        M: Fn(Connection<A::Peer>) -> Handler<S> + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if A::HANDSHAKE {
            self.metrics.expect_handshakes();
        }
        let port = Arc::new(Port::new(self.options, self.metrics, acceptor, make, stop));
        port.serve(self.listener).await;
    }
}
