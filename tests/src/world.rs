//! What surrounds a server under test: CAs, a simulated cloud, callers; and servers in it.

mod running;
mod setup;

use std::sync::Arc;

use ask2do_token_playground::certificates::https_server;
use ask2do_token_playground::cloud::{Cloud, CloudConfig, TenantKeys};
use tokio::sync::OnceCell;

pub use running::Server;
pub use setup::Setup;

use crate::caller::Caller;
use crate::pki::{Authority, Leaf, Pair};

/// The tenant key of all tests: with what URLs and JSON write in another way, so that a leak has as many
/// faces as it can have.
pub const TENANT_KEY: &str = r#"tk_live_canary+Zx9/"7<Qv>&é%21=K3mPw8sT5yU2"#;

/// The caller `panel`, for `admin` and `owner`.
pub const PANEL: &str = "spiffe://demo/ns/panel/sa/backend";
/// The caller `shop`, for `admin`.
pub const SHOP: &str = "spiffe://demo/ns/shop/sa/backend";
/// The caller `legacy`, by a DNS name, for `admin` and `owner`.
pub const LEGACY: &str = "legacy.panel.test";

/// These three, as the configuration has them.
pub const CALLERS: &str = r#"
[[callers]]
name = "panel"
san = "spiffe://demo/ns/panel/sa/backend"
roles = ["admin", "owner"]
[[callers]]
name = "shop"
san = "spiffe://demo/ns/shop/sa/backend"
roles = ["admin"]
[[callers]]
name = "legacy"
san = "legacy.panel.test"
roles = ["admin", "owner"]
"#;

/// CAs and a simulated cloud over HTTPS.
pub struct World {
    /// Issues callers' certificates.
    pub callers: Authority,
    /// Issues the server's.
    pub servers: Authority,
    /// Issues the cloud's.
    pub clouds: Authority,
    /// The cloud, with its counts.
    pub cloud: Cloud,
}

/// A world with one server in it, made when the first case asks for it. Clones share it.
#[derive(Clone)]
pub struct Shared {
    setup: fn(&World) -> Setup,
    made: Arc<OnceCell<(World, Server)>>,
}

impl Shared {
    /// `setup` makes the server.
    #[must_use]
    pub fn new(setup: fn(&World) -> Setup) -> Self {
        Self {
            setup,
            made: Arc::default(),
        }
    }

    /// The world and its server.
    ///
    /// # Panics
    ///
    /// When the server does not start.
    pub async fn get(&self) -> &(World, Server) {
        let make = || async {
            let world = World::new().await;
            let server = (self.setup)(&world).start().await;
            (world, server)
        };
        self.made.get_or_init(make).await
    }
}

impl World {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When the cloud cannot listen.
    pub async fn new() -> Self {
        let clouds = Authority::new("the cloud's CA");
        Self {
            callers: Authority::new("the callers' CA"),
            servers: Authority::new("the servers' CA"),
            cloud: cloud(&clouds).await,
            clouds,
        }
    }

    /// A caller with this certificate, that trusts the server.
    #[must_use]
    pub fn caller(&self, pair: &Pair) -> Caller {
        Caller::new(&self.servers.pem(), Some(pair))
    }

    /// The caller `panel`.
    #[must_use]
    pub fn panel(&self) -> Caller {
        self.caller(&self.callers.issue(&Leaf::client().uri(PANEL)))
    }

    /// A server that works.
    ///
    /// # Panics
    ///
    /// When its files cannot be written.
    #[must_use]
    pub fn server(&self) -> Setup {
        let pair = self.servers.issue(&Leaf::server());
        Setup::new()
            .file("tls.crt", pair.certificate)
            .file("tls.key", pair.key)
            .file("ca.crt", self.callers.pem())
            .file("cloud-ca.crt", self.clouds.pem())
            .file("tenant-key", TENANT_KEY)
            .file("server.toml", CALLERS)
            .set("grpc.listen", "127.0.0.1:0")
            .set("admin.listen", "127.0.0.1:0")
            .set("cloud.url", &self.cloud.url())
            .set("cloud.ca_file", "cloud-ca.crt")
    }
}

/// A cloud with a certificate of `authority`, that accepts [`TENANT_KEY`].
///
/// # Panics
///
/// When it cannot listen.
pub async fn cloud(authority: &Authority) -> Cloud {
    cloud_with(authority, TenantKeys::Given(TENANT_KEY.to_owned())).await
}

/// A cloud with a certificate of `authority`, that accepts these keys.
///
/// # Panics
///
/// When it cannot listen.
pub async fn cloud_with(authority: &Authority, tenant_keys: TenantKeys) -> Cloud {
    let issued = authority.issue(&Leaf::server());
    let tls = https_server(issued.certificate.as_bytes(), issued.key.as_bytes());
    let config = CloudConfig {
        tenant_keys,
        ..CloudConfig::https(TENANT_KEY, tls.unwrap())
    };
    Cloud::start(config).await.unwrap()
}
