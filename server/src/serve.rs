//! The server as it runs: its two ports, what it follows, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_runtime::admin;
use ask2do_token_runtime::listener::{
    BindError, ConnectionMetrics, Handler, Listener, Options, Plain, Protocols, Tls,
};
use ask2do_token_runtime::metrics::{CertificateExpiry, Described, Metrics, Reloads};
use ask2do_token_runtime::readiness::{Latch, Readiness};
use ask2do_token_runtime::shutdown::{self, Ending, Signals, Stop, Timing};
use ask2do_token_tls::{ClientAuth, PeerCertificate, ServerTls, TlsError, Versions, Watched};
use rustls::ServerConnection;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::{Admission, Callers, Limits, Rate};
use crate::audit::{self, Audit};
use crate::config::Config;
use crate::grpc::{Grpc, Parts};
use crate::inputs::Inputs;
use crate::metrics::MintMetrics;
use crate::mint::Mint;

/// A server whose ports are bound: connections wait until it [runs](Self::run).
pub struct Server<M> {
    grpc: Grpc<M>,
    tls: Arc<ServerTls>,
    listener: Listener,
    admin: Listener,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    listening: Latch,
    stop: Stop,
    timing: Timing,
    audit: Audit,
    tasks: JoinSet<()>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The gRPC port.
    pub grpc: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// Why a server cannot start although there is no mistake in what it read.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or not permitted.
    #[error("{0}: {cause}", cause = .0.source)]
    Bind(#[from] BindError),
    /// The operating system does not say what was bound, or lets nobody listen for signals.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
    /// TLS cannot be configured.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The audit log cannot be begun.
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    /// The contract's own description does not decode.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl<M: Mint> Server<M> {
    /// Binds both ports. `metrics` gets the server's own beside what is in it; `idle` hears of the runtime's threads.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn bind(
        inputs: Inputs,
        mint: M,
        mut metrics: Metrics,
        idle: audit::Idle,
    ) -> Result<Self, StartError> {
        let config = &inputs.config;
        let (readiness, stop) = (Readiness::new(), Stop::new());
        // The one thing to wait for: key, certificate, CA and callers are here already.
        let listening = readiness.latch("listening");
        let mut tasks = JoinSet::new();

        let mints = MintMetrics::register(&mut metrics);
        inputs.restart.register(&mut metrics);
        let reloads = Reloads::register(&mut metrics);
        let expiry = CertificateExpiry::register(&mut metrics);
        let identity = inputs.identity.clone();
        expiry.show("server", move || identity.current().not_after());
        for reloader in inputs.reloaders {
            reloads.loaded(reloader.name(), reloader.modified());
            tasks.spawn(reloader.run(Arc::new(reloads.clone())));
        }

        let admission = Arc::new(Admission::new(inputs.callers.current(), limits(config)));
        tasks.spawn(follow_callers(
            inputs.callers,
            admission.clone(),
            mints.clone(),
        ));
        let audit = Audit::begin(config.audit.log(inputs.audit_key), idle, &mut metrics)?;
        tasks.spawn(reopen_at_hangup(
            signal(SignalKind::hangup())?,
            audit.clone(),
        ));
        let parts = Parts {
            mint,
            admission,
            timeout: config.cloud.timeout,
            metrics: mints,
            audit: audit.clone(),
            reflection: config.grpc.reflection,
        };
        let (grpc, health) = Grpc::new(parts, &readiness, &stop).await?;
        tasks.spawn(health);

        let client_auth = ClientAuth::Required(inputs.authorities);
        let tls = ServerTls::new(inputs.identity, client_auth, Versions::Tls13, &[b"h2"])?;
        let connections = ConnectionMetrics::register(&mut metrics);
        let options = Options::new(
            Protocols::Http2,
            config.limits.connections.try_into().unwrap_or(usize::MAX),
            Some(config.grpc.max_connection_age),
        );
        let listener = Listener::bind("grpc", config.grpc.listen, options, &connections).await?;
        let admin = Listener::bind("admin", config.admin.listen, Options::admin(), &connections);
        Ok(Self {
            grpc,
            tls: Arc::new(tls),
            listener,
            admin: admin.await?,
            metrics: Arc::new(metrics),
            readiness,
            listening,
            stop,
            timing: Timing {
                settle: config.shutdown.settle,
                drain: config.shutdown.drain,
            },
            audit,
            tasks,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The operating system does not say.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            grpc: self.listener.local_address()?,
            admin: self.admin.local_address()?,
        })
    }

    /// Every metric that it shows.
    #[must_use]
    pub fn catalogue(&self) -> Vec<Described> {
        self.metrics.catalogue()
    }

    /// Serves until a signal and the end of what is in flight; `finish` gets the time that is left
    /// for flushing.
    pub async fn run(self, signals: &mut Signals, finish: impl AsyncFnOnce(Duration)) -> Ending {
        let Self {
            grpc,
            tls,
            mut tasks,
            audit,
            ..
        } = self;
        let router = admin::router(self.readiness.clone(), self.metrics);
        let admin = move |_| Handler::new(router.clone());
        // Its own `Stop`: it answers to the end.
        tasks.spawn(self.admin.serve(Plain, admin, Stop::new()));

        let acceptor = {
            let tls = tls.clone();
            Tls::new(move || tls.config(), identify)
        };
        let make = move |connection: Connection| grpc.handler(connection.peer, &tls);
        let serving = self.listener.serve(acceptor, make, self.stop.clone());
        let serve = async {
            tokio::select! {
                () = serving => {}
                ended = tasks.join_next() => {
                    tracing::error!(?ended, "a part of the server ended by itself");
                }
            }
        };
        let finish = async |limit: Duration| {
            let deadline = Instant::now() + limit;
            // Half of it: neither may leave nothing for the other.
            audit.end(limit / 2).await;
            finish(deadline.saturating_duration_since(Instant::now())).await;
        };
        self.listening.release();
        shutdown::run(
            signals,
            self.timing,
            &self.readiness,
            &self.stop,
            serve,
            finish,
        )
        .await
    }
}

type Connection = ask2do_token_runtime::listener::Connection<PeerCertificate>;

/// The certificate that the handshake has verified.
fn identify(connection: &ServerConnection) -> io::Result<PeerCertificate> {
    let chain = connection.peer_certificates().unwrap_or_default();
    PeerCertificate::from_chain(chain)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn limits(config: &Config) -> Limits {
    Limits {
        cloud_roles: config.cloud_roles(),
        caller_rate: Rate::per_second(config.limits.caller_rate),
        user_rate: Rate::per_second(config.limits.user_rate),
        in_flight: config.limits.in_flight.try_into().unwrap_or(usize::MAX),
    }
}

/// Whoever has moved the audit log's file away says so with SIGHUP, which would end the process otherwise.
async fn reopen_at_hangup(mut hangups: Signal, audit: Audit) {
    while hangups.recv().await.is_some() {
        audit.reopen();
    }
    std::future::pending().await
}

/// Lets each new list take effect, for ever.
async fn follow_callers(
    callers: Watched<Callers>,
    admission: Arc<Admission>,
    metrics: MintMetrics,
) {
    let mut changes = callers.subscribe();
    loop {
        let now = changes.borrow_and_update().clone();
        metrics.show_callers(&now);
        if now.is_empty() {
            tracing::error!("the list of callers is empty: nobody may mint");
        }
        admission.replace_callers(now);
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
