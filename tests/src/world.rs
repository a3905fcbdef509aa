//! What surrounds a server under test: CAs, a simulated cloud, callers; and servers in it.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ask2do_token_playground::certificates::https_server;
use ask2do_token_playground::cloud::{Cloud, CloudConfig, TenantKeys};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::binaries::binary;
use crate::caller::{Caller, Connection};
use crate::pki::{Authority, Leaf, Pair};
use crate::process::Process;
use crate::{admin, until};

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

/// A server to be: its folder, and what is said to it.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    settings: Vec<String>,
    environment: HashMap<String, String>,
    wrapper: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// The gRPC port.
    pub grpc: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    folder: TempDir,
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        self.servers.issue(&Leaf::server()).write(path, "tls");
        fs::write(path.join("ca.crt"), self.callers.pem()).unwrap();
        fs::write(path.join("cloud-ca.crt"), self.clouds.pem()).unwrap();
        fs::write(path.join("tenant-key"), TENANT_KEY).unwrap();
        let setup = Setup {
            folder,
            settings: Vec::new(),
            environment: HashMap::new(),
            wrapper: Vec::new(),
        };
        setup
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

impl Setup {
    /// With `--set key=value`.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        let mut this = self.unset(key);
        this.settings.push(format!("{key}={value}"));
        this
    }

    /// Without what was set for `key`.
    #[must_use]
    pub fn unset(mut self, key: &str) -> Self {
        let of_key = format!("{key}=");
        self.settings
            .retain(|setting| !setting.starts_with(&of_key));
        self
    }

    /// With a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this content of a file in its folder.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    /// Without a file in its folder.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    /// Started by another program, which gets these arguments, then the server's command line.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Logs everything.
    #[must_use]
    pub fn traced(self) -> Self {
        self.variable("RUST_LOG", "trace")
    }

    /// The path of a file in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs it to its end, with more arguments: the exit code, and what it wrote.
    ///
    /// # Panics
    ///
    /// When it does not end, or by a signal.
    pub async fn run(self, arguments: &[&str]) -> (i32, String) {
        let mut process = self.spawn(arguments);
        let code = process.ended().await.code().expect("an exit code");
        (code, process.output().text())
    }

    fn spawn(&self, arguments: &[&str]) -> Process {
        let server = binary("ask2do-token-server");
        let mut line: Vec<String> = self.wrapper.clone();
        line.push(server.to_string_lossy().into_owned());
        line.extend(["--config", "server.toml"].map(str::to_owned));
        for setting in &self.settings {
            line.extend(["--set".to_owned(), setting.clone()]);
        }
        line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let program = PathBuf::from(line.remove(0));
        Process::start(&program, line, &self.environment, self.folder.path())
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn start(self) -> Server {
        let mut process = self.spawn(&[]);
        let listening = process
            .record("listening", |record| record["message"] == "listening")
            .await;
        let address = |port: &str| listening[port].as_str().unwrap().parse().unwrap();
        Server {
            process,
            grpc: address("grpc"),
            admin: address("admin"),
            folder: self.folder,
        }
    }
}

impl Server {
    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of `caller`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn connect(&self, caller: &Caller) -> Connection {
        caller.connect(self.grpc).await
    }

    /// Status and body of a path of the admin port.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        admin::get(self.admin, path).await.unwrap()
    }

    /// One sample of `/metrics`; 0 where there is none. `series` is written as it stands there.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn metric(&self, series: &str) -> f64 {
        admin::sample(&self.get("/metrics").await.1, series).unwrap_or(0.0)
    }

    /// Waits until a sample of `/metrics` is `value`.
    ///
    /// # Panics
    ///
    /// When it does not become that.
    pub async fn metric_is(&self, series: &str, value: f64) {
        until(&format!("{series} {value}"), async || {
            (self.metric(series).await == value).then_some(())
        })
        .await;
    }

    /// The first log record for which `wanted` holds, once there is one.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn record(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.process.record(what, wanted).await
    }

    /// Ends it as Kubernetes does: the exit code must be 0.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn end(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.ended().await;
        let text = self.process.output().text();
        assert_eq!(status.code(), Some(0), "{text}");
        text
    }
}
