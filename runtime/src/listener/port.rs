//! The accept loop, and what becomes of each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{Request, Response};
use ask2do_token_tls::HandshakeFailure;
use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower::Service;

use super::accepting::{Accepting, Source};
use super::first_bytes::{Replay, Spoken, first_bytes};
use super::http::Http;
use super::metrics::{self, Dropped};
use super::table::{MadeRoom, Pending, Table};
use super::{Acceptor, BoxError, Connection, Handler, Options};
use crate::shutdown::Stop;

/// A port that serves.
pub(super) struct Port<A, M> {
    options: Options,
    metrics: metrics::Port,
    table: Arc<Table>,
    http: Http,
    acceptor: A,
    make: M,
    stop: Stop,
}

impl<A: Acceptor, M> Port<A, M> {
    pub(super) fn new(
        options: Options,
        metrics: metrics::Port,
        acceptor: A,
        make: M,
        stop: Stop,
    ) -> Self {
        Self {
            table: Table::new(&options, metrics.clone()),
            http: Http::new(&options),
            options,
            metrics,
            acceptor,
            make,
            stop,
        }
    }

    pub(super) async fn serve<S, B>(self: Arc<Self>, source: impl Source)
    where
        M: Fn(Connection<A::Peer>) -> Handler<S> + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut accepting = Accepting::new(source, self.metrics.accept_errors.clone());
        let mut connections = JoinSet::new();
        loop {
            let (stream, address) = tokio::select! {
                () = self.stop.draining() => break,
                Some(ended) = connections.join_next() => {
                    log_panic(ended);
                    continue;
                }
                accepted = accepting.next() => accepted,
            };
            self.metrics.accepted.inc();
            let (pending, made_room) = self.table.arrive();
            if made_room == MadeRoom(true) {
                self.metrics.dropped(Dropped::SilentForNew);
            }
            connections.spawn(Arc::clone(&self).connection(stream, address, pending));
        }
        // Closes the port: whoever connects now is refused, and tries another instance.
        drop(accepting);
        loop {
            tokio::select! {
                ended = connections.join_next() => match ended {
                    Some(ended) => log_panic(ended),
                    None => return,
                },
                () = self.stop.cut_off() => return connections.abort_all(),
            }
        }
    }

    async fn connection<S, B>(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        pending: Pending,
    ) where
        M: Fn(Connection<A::Peer>) -> Handler<S> + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let greeted = tokio::select! {
            greeted = self.greet(stream) => greeted,
            () = pending.evicted() => return,
            () = self.stop.draining() => return,
        };
        let Some((io, spoken, peer)) = greeted else {
            return;
        };
        let open = match pending.speak() {
            Ok((open, MadeRoom(made_room))) => {
                if made_room {
                    self.metrics.dropped(Dropped::IdleForNew);
                }
                open
            }
            Err(_all_busy) => {
                self.metrics.dropped(Dropped::AllBusy);
                tracing::warn!(
                    port = self.metrics.name,
                    limit = self.options.connections,
                    "connection limit reached, and all are busy: a new one was closed"
                );
                return;
            }
        };
        let handler = (self.make)(Connection { address, peer });
        self.http
            .serve(io, spoken, handler, open, &self.stop, &self.metrics)
            .await;
    }

    /// The handshake and the first bytes; `None` where the peer is not to be served.
    async fn greet(&self, stream: TcpStream) -> Option<(Replay<A::Io>, Spoken, A::Peer)> {
        let handshake = tokio::time::timeout(self.options.handshake, self.acceptor.accept(stream));
        let accepted = handshake
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.handshake_failed(&error);
                return None;
            }
        };
        let first = first_bytes(io, self.options.protocols);
        match tokio::time::timeout(self.options.first_bytes, first).await {
            Ok(Ok(Some((Spoken::Other, _)))) => self.metrics.dropped(Dropped::WrongProtocol),
            Ok(Ok(Some((spoken, io)))) => return Some((io, spoken, peer)),
            // It went away by itself, as a TCP probe does.
            Ok(Ok(None) | Err(_)) => {}
            Err(_elapsed) => self.metrics.dropped(Dropped::Silent),
        }
        None
    }
}

impl<A, M> Port<A, M> {
    fn handshake_failed(&self, error: &io::Error) {
        let failure = self.metrics.handshake_failed(error);
        let (port, cause) = (self.metrics.name, failure.as_str());
        if failure == HandshakeFailure::Closed {
            // What the TCP probe of a load balancer does all day.
            tracing::debug!(port, cause, %error, "handshake failed");
        } else {
            tracing::warn!(port, cause, %error, "handshake failed");
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}
