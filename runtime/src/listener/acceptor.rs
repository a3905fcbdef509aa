//! What happens between TCP and HTTP.

use std::io;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Makes a connection that carries HTTP from a TCP connection, and finds out who the peer is.
pub trait Acceptor: Send + Sync + 'static {
    /// Carries HTTP.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who the peer is.
    type Peer: Send + 'static;

    /// Whether there is a handshake that can fail.
    const HANDSHAKE: bool = true;

    /// Runs off the accept loop, under the listener's time limit.
    fn accept(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Io, Self::Peer)>> + Send;
}

/// No TLS, so nobody is known.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Acceptor for Plain {
    type Io = TcpStream;
    type Peer = ();

    const HANDSHAKE: bool = false;

    async fn accept(&self, stream: TcpStream) -> io::Result<(TcpStream, ())> {
        Ok((stream, ()))
    }
}

/// TLS. The configuration is asked for at each handshake, so that it can change; the peer is what
/// `identify` makes of the finished handshake.
#[derive(Clone, Debug)]
pub struct Tls<C, I> {
    config: C,
    identify: I,
}

impl<C, I, P> Tls<C, I>
where
    C: Fn() -> Arc<ServerConfig> + Send + Sync + 'static,
    I: Fn(&ServerConnection) -> io::Result<P> + Send + Sync + 'static,
    P: Send + 'static,
{
    /// An error of `identify` refuses the connection.
    pub fn new(config: C, identify: I) -> Self {
        Self { config, identify }
    }
}

impl<C, I, P> Acceptor for Tls<C, I>
where
    C: Fn() -> Arc<ServerConfig> + Send + Sync + 'static,
    I: Fn(&ServerConnection) -> io::Result<P> + Send + Sync + 'static,
    P: Send + 'static,
{
    type Io = TlsStream<TcpStream>;
    type Peer = P;

    async fn accept(&self, stream: TcpStream) -> io::Result<(Self::Io, P)> {
        let stream = TlsAcceptor::from((self.config)()).accept(stream).await?;
        let peer = (self.identify)(stream.get_ref().1)?;
        Ok((stream, peer))
    }
}
