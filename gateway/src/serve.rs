//! The gateway as it runs: its two ports, what it follows, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_runtime::admin;
use ask2do_token_runtime::listener::{
    BindError, ConnectionMetrics, Handler, Listener, Options, Plain, Protocols, Tls,
};
use ask2do_token_runtime::metrics::{Described, Metrics};
use ask2do_token_runtime::readiness::{Latch, Readiness};
use ask2do_token_runtime::shutdown::{self, Ending, Signals, Stop, Timing};
use ask2do_token_tls::ServerTls;
use axum::Router;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::endpoint::{Endpoint, HEADER_BYTES, application};
use crate::inputs::Inputs;
use crate::minter::Minter;
use crate::session::Jwks;

mod connection;

use connection::{Known, PerConnection, identify};

/// A gateway whose ports are bound: connections wait until it [runs](Self::run).
pub struct Server {
    router: Router,
    tls: Option<Arc<ServerTls>>,
    http: Listener,
    admin: Listener,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    listening: Latch,
    stop: Stop,
    timing: Timing,
    tasks: JoinSet<()>,
}

/// Where a gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The endpoint's port.
    pub http: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// Why a gateway cannot start although there is no mistake in what it read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port is in use, or not permitted.
    #[error("{0}: {cause}", cause = .0.source)]
    Bind(#[from] BindError),
    /// The operating system does not say what was bound.
    #[error("cannot tell the bound address: {0}")]
    Address(#[from] io::Error),
}

impl Server {
    /// Binds both ports. `metrics` is what [`inputs::read`](crate::inputs::read) has filled.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn bind(
        inputs: Inputs,
        minter: impl Minter,
        mut metrics: Metrics,
    ) -> Result<Self, StartError> {
        let config = &inputs.config;
        let readiness = Readiness::new();
        let listening = readiness.latch("listening");
        let mut tasks = JoinSet::new();

        for reloader in inputs.reloaders {
            tasks.spawn(reloader.run(inputs.observer.clone()));
        }
        if let Some(jwks) = inputs.jwks {
            follow(jwks, readiness.latch("jwks"), &mut tasks);
        }

        let endpoint = endpoint(config).metrics(inputs.metrics);
        let connections = ConnectionMetrics::register(&mut metrics);
        let http =
            Listener::bind("http", config.http.listen, options(config), &connections).await?;
        let admin = Listener::bind("admin", config.admin.listen, Options::admin(), &connections);
        Ok(Self {
            router: application(endpoint, inputs.sessions, minter),
            tls: inputs.tls.map(Arc::new),
            http,
            admin: admin.await?,
            metrics: Arc::new(metrics),
            readiness,
            listening,
            stop: Stop::new(),
            timing: Timing {
                settle: config.shutdown.settle,
                drain: config.shutdown.drain,
            },
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
            http: self.http.local_address()?,
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
        let mut tasks = self.tasks;
        let router = admin::router(self.readiness.clone(), self.metrics);
        let admin = move |_| Handler::new(router.clone());
        // Its own `Stop`: it answers to the end.
        tasks.spawn(self.admin.serve(Plain, admin, Stop::new()));

        let serving = serve(self.http, self.router, self.tls, self.stop.clone());
        let serve = async {
            tokio::select! {
                () = serving => {}
                ended = tasks.join_next() => {
                    tracing::error!(?ended, "a part of the gateway ended by itself");
                }
            }
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

/// Serves the endpoint's port, over TLS or without.
async fn serve(http: Listener, router: Router, tls: Option<Arc<ServerTls>>, stop: Stop) {
    let Some(tls) = tls else {
        let make = move |connection: Connection<()>| {
            let known = Arc::new(Known::new(connection.address, None));
            Handler::new(PerConnection::new(router.clone(), known))
        };
        return http.serve(Plain, make, stop).await;
    };
    let acceptor = {
        let tls = tls.clone();
        Tls::new(move || tls.config(), identify)
    };
    let make = move |connection: Connection<_>| {
        let known = Arc::new(Known::new(connection.address, connection.peer));
        let (watched, tls) = (known.clone(), tls.clone());
        Handler::new(PerConnection::new(router.clone(), known))
            .leave_when(async move { watched.until_rejected(&tls).await })
    };
    http.serve(acceptor, make, stop).await;
}

type Connection<P> = ask2do_token_runtime::listener::Connection<P>;

fn endpoint(config: &Config) -> Endpoint {
    let http = &config.http;
    Endpoint::new(http.path.clone())
        .allow_get(http.allow_get)
        .public_origins(http.public_origins.iter().cloned())
        .allowed_origins(http.allowed_origins.iter().cloned())
        .role_map(config.session.role_map.clone().into_iter().collect())
        .in_flight(http.in_flight)
        .trust_browser_sampling(config.telemetry.trust_browser_sampling)
}

fn options(config: &Config) -> Options {
    Options {
        // Twice the endpoint's own limit, so that a header somewhat too large gets an answer of ours; beyond
        // that, a bare 431.
        header_bytes: u32::try_from(2 * HEADER_BYTES).unwrap_or(u32::MAX),
        ..Options::new(Protocols::Both, config.http.connections, None)
    }
}

/// Keeps the keys fresh, and holds readiness until they were had once.
fn follow(jwks: Jwks, latch: Latch, tasks: &mut JoinSet<()>) {
    tasks.spawn(async move {
        let loaded = async {
            jwks.loaded().await;
            latch.release();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = jwks.run() => {}
            () = loaded => {}
        }
    });
}
