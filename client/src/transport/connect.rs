//! Connections: TCP, TLS, HTTP/2.

mod first_bytes;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_tls::{ClientTls, Coalesced};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::{self, Failure, Reply};
use crate::unavailable::Unavailable;
use first_bytes::FirstBytes;

/// Limit of a TCP connection, which is one round trip and at most one lost packet.
const TCP_LIMIT: Duration = Duration::from_secs(2);

/// Limit of TLS, and of the server's first HTTP/2 frame.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// A connection that nothing came over for this long is PINGed, also while it is idle.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// A PING that is not answered in this time ends the connection: some 4 s after the peer was last
/// heard of, so that a call within the 6 s that callers give can still be made elsewhere.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// What HTTP/2 calls the protocol in TLS.
pub(crate) const ALPN: &[u8] = b"h2";

/// Makes connections. Tests bring others.
pub(crate) trait Connect: std::fmt::Debug + Send + Sync + 'static {
    type Connection: Connection;

    /// Connects to one address, within a limit of its own.
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<Self::Connection, Unavailable>> + Send;

    /// Completes when a connection made now would differ from this one.
    fn outdated(&self, connection: &Self::Connection) -> impl Future<Output = ()> + Send;
}

/// A connection that takes many requests at a time.
pub(crate) trait Connection: std::fmt::Debug + Send + Sync + 'static {
    /// Sends one request and reads the whole answer.
    fn exchange(
        &self,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// Whether it is known to take no more requests.
    fn is_closed(&self) -> bool;

    /// Completes when it takes no more requests: closed, lost, or the server said GOAWAY.
    fn closed(&self) -> impl Future<Output = ()> + Send;
}

/// Connects over TLS, with the certificates of the moment.
#[derive(Debug)]
pub(crate) struct TlsDialer {
    tls: Arc<ClientTls>,
    server_name: ServerName<'static>,
}

/// An HTTP/2 connection. Dropped, it finishes the requests that are on it, and closes.
#[derive(Debug)]
pub(crate) struct H2Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    /// Its sender is dropped when the connection ends.
    driver: watch::Receiver<()>,
    /// What it was made with.
    config: Arc<ClientConfig>,
}

impl TlsDialer {
    pub(crate) fn new(tls: Arc<ClientTls>, server_name: ServerName<'static>) -> Self {
        Self { tls, server_name }
    }

    async fn tls(
        &self,
        address: SocketAddr,
        tcp: TcpStream,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Unavailable> {
        let stream = TlsConnector::from(config)
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|error| self.refused(address, error))?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            let error = io::Error::other("the server does not offer HTTP/2");
            return Err(self.refused(address, error));
        }
        Ok(stream)
    }

    /// Speaks HTTP/2, and waits for the server's first frame: in TLS 1.3 a server that refuses the
    /// client's certificate says so only after the client's handshake is done.
    async fn http2(
        &self,
        address: SocketAddr,
        stream: TlsStream<TcpStream>,
        config: Arc<ClientConfig>,
    ) -> Result<H2Connection, Unavailable> {
        let (stream, heard) = FirstBytes::new(stream);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_LIMIT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(Coalesced::new(stream)))
            .await
            .map_err(|error| Unavailable::lost(address, error))?;
        let (ended, driver) = watch::channel(());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "connection lost");
            }
            drop(ended);
        });
        heard
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()))
            .map_err(|error| self.refused(address, error))?;
        Ok(H2Connection {
            address,
            sender,
            driver,
            config,
        })
    }

    fn refused(&self, address: SocketAddr, error: io::Error) -> Unavailable {
        Unavailable::tls(address, &self.server_name.to_str(), error)
    }
}

impl Connect for TlsDialer {
    type Connection = H2Connection;

    async fn connect(&self, address: SocketAddr) -> Result<H2Connection, Unavailable> {
        let tcp = tcp(address).await?;
        let config = self.tls.config();
        let handshake = async {
            let stream = self.tls(address, tcp, config.clone()).await?;
            self.http2(address, stream, config).await
        };
        timeout(HANDSHAKE_LIMIT, handshake)
            .await
            .unwrap_or_else(|_| Err(Unavailable::connect_timeout(address, "no TLS or HTTP/2")))
    }

    async fn outdated(&self, connection: &H2Connection) {
        self.tls.changed(&connection.config).await;
    }
}

async fn tcp(address: SocketAddr) -> Result<TcpStream, Unavailable> {
    timeout(TCP_LIMIT, TcpStream::connect(address))
        .await
        .map_err(|_| Unavailable::connect_timeout(address, "no TCP connection"))?
        .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
        .map_err(|error| Unavailable::connect(address, error))
}

impl Connection for H2Connection {
    async fn exchange(&self, request: http::Request<Bytes>) -> Result<Reply, Failure> {
        exchange::exchange(self.sender.clone(), self.address, request).await
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.driver.has_changed().is_err()
    }

    async fn closed(&self) {
        // Nothing is ever sent: the error, when the sender is dropped, is what is waited for.
        _ = self.driver.clone().changed().await;
    }
}
