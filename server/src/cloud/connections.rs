//! The connections to the cloud: one pool, and the way around it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::{Client, Proxy, redirect, retry};

use super::dns::BoundedResolver;
use super::endpoint::{EgressProxy, Endpoint};
use super::trace::ConnectLayer;

/// How this program names itself to the cloud.
const USER_AGENT: &str = concat!("ask2do-token-server/", env!("CARGO_PKG_VERSION"));

/// The longest that a new connection may take, and that sent bytes may go unacknowledged: after a
/// first attempt that loses this much, a second one fits into the default timeout of 5 s.
const STEP: Duration = Duration::from_secs(2);

/// Idle connections are dropped before the cloud, or a NAT on the way, would drop them silently.
const IDLE: Duration = Duration::from_secs(15);

/// Idle connections kept. More are in use at once only in a burst.
const MAX_IDLE: usize = 64;

/// An idle connection that leads nowhere is found by a probe after this long, and dropped.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// The clients that hold the connections. HTTP/1.1 alone: its dead connections show by their socket.
pub(super) struct Connections {
    options: Options,
    pooled: ArcSwap<Client>,
    fresh: Client,
}

struct Options {
    tls: rustls::ClientConfig,
    resolver: BoundedResolver,
    proxy: Option<Proxy>,
    https_only: bool,
    step: Duration,
}

impl Connections {
    /// Sets up the clients; nothing is connected yet. `timeout` is the time for a whole call.
    pub(super) fn new(
        tls: rustls::ClientConfig,
        endpoint: &Endpoint,
        proxy: Option<&EgressProxy>,
        timeout: Duration,
        resolver: BoundedResolver,
    ) -> reqwest::Result<Self> {
        let options = Options {
            tls,
            resolver,
            proxy: proxy
                .map(|proxy| Proxy::all(proxy.url().clone()))
                .transpose()?,
            https_only: endpoint.is_https(),
            step: STEP.min(timeout * 2 / 5),
        };
        Ok(Self {
            pooled: ArcSwap::from_pointee(options.client(MAX_IDLE)?),
            fresh: options.client(0)?,
            options,
        })
    }

    /// A client that uses idle connections.
    pub(super) fn pooled(&self) -> Arc<Client> {
        self.pooled.load_full()
    }

    /// A client that opens a connection for each request: a retry after a dead connection would find
    /// others in the pool that died with it.
    pub(super) fn fresh(&self) -> Client {
        self.fresh.clone()
    }

    /// Drops the idle connections of `pool`, whose path to the cloud is gone, so that each of them
    /// does not cost a request its first attempt. Requests under way are not disturbed.
    pub(super) fn discard(&self, pool: &Arc<Client>) {
        match self.options.client(MAX_IDLE) {
            // Only if nobody did since.
            Ok(client) => drop(self.pooled.compare_and_swap(pool, Arc::new(client))),
            Err(error) => {
                let error = super::failure::chain(&error.without_url());
                tracing::error!(error, "idle connections to the cloud could not be dropped");
            }
        }
    }
}

impl Options {
    fn client(&self, max_idle: usize) -> reqwest::Result<Client> {
        let builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(self.https_only)
            .http1_only()
            .user_agent(USER_AGENT)
            .referer(false)
            .redirect(redirect::Policy::none())
            // Retries are ours: budgeted, and only where the cloud cannot have refused.
            .retry(retry::never())
            .dns_resolver(self.resolver.clone())
            .connector_layer(ConnectLayer {
                https: self.https_only,
            })
            .connect_timeout(self.step)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(max_idle)
            .tcp_nodelay(true)
            .tcp_keepalive(PROBE_AFTER)
            .tcp_keepalive_interval(Duration::from_secs(1))
            // The environment's proxies are not read: what pods inherit must not reroute the key.
            .no_proxy();
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        let builder = builder.tcp_user_timeout(self.step);
        match &self.proxy {
            Some(proxy) => builder.proxy(proxy.clone()).build(),
            None => builder.build(),
        }
    }
}
