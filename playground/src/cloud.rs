//! The simulated cloud: `POST /auth/token` and the `/chat` WebSocket as the vendor documents them,
//! and every way in which they are known to fail.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use ask2do_token_playground::cloud::{Cloud, CloudConfig};
//!
//! let cloud = Cloud::start(CloudConfig::plain("the-tenant-key")).await?;
//! println!("{}/auth/token", cloud.url());
//! // ... calls ...
//! assert_eq!(cloud.calls_for("42"), 1);
//! # Ok(())
//! # }
//! ```

mod auth;
mod calls;
mod chat;
mod link;
mod scenario;
mod serve;
mod token;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use calls::{Call, Calls, TlsFacts};
pub use scenario::{SCENARIOS, Scenario, is_scenario, table};
pub use token::Claims;

/// What a simulated cloud is made of.
pub struct CloudConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// HTTPS with this; plain HTTP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The tenant keys it accepts.
    pub tenant_keys: TenantKeys,
    /// The roles it accepts. The vendor's are `admin` and `owner`.
    pub roles: Vec<String>,
}

/// Which tenant keys are accepted. No `Debug`: a key would be in it.
#[derive(Clone)]
pub enum TenantKeys {
    /// This one.
    Given(String),
    /// Those in this file, one a line, read anew at each request: so a rotation can be tried with
    /// two keys live at once, and with one.
    File(PathBuf),
}

/// A running simulated cloud. It ends, with its connections, when this is dropped.
pub struct Cloud {
    address: SocketAddr,
    scheme: &'static str,
    simulation: Arc<Simulation>,
    accepting: JoinHandle<()>,
    // Its drop ends the `/chat` sessions, which live outside the accept loop's tasks.
    _ended: watch::Sender<()>,
}

/// What the handlers share.
struct Simulation {
    tenant_keys: TenantKeys,
    roles: Vec<String>,
    signer: token::Signer,
    ledger: calls::Ledger,
    ended: watch::Receiver<()>,
}

impl CloudConfig {
    /// Plain HTTP on a free port of the loopback, with one key.
    #[must_use]
    pub fn plain(tenant_key: impl Into<String>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            tenant_keys: TenantKeys::Given(tenant_key.into()),
            roles: vec!["admin".to_owned(), "owner".to_owned()],
        }
    }

    /// HTTPS on a free port of the loopback, with one key.
    #[must_use]
    pub fn https(tenant_key: impl Into<String>, tls: Arc<rustls::ServerConfig>) -> Self {
        Self {
            tls: Some(tls),
            ..Self::plain(tenant_key)
        }
    }
}

impl Cloud {
    /// Starts a cloud. When this returns, it accepts connections.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, or no signing key can be generated.
    pub async fn start(config: CloudConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let (sender, ended) = watch::channel(());
        let simulation = Arc::new(Simulation {
            tenant_keys: config.tenant_keys,
            roles: config.roles,
            signer: token::Signer::generate().map_err(io::Error::other)?,
            ledger: calls::Ledger::default(),
            ended,
        });
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let accepting = tokio::spawn(serve::accept(listener, config.tls, Arc::clone(&simulation)));
        Ok(Self {
            address,
            scheme,
            simulation,
            accepting,
            _ended: sender,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, as `cloud.url` wants it: `https://localhost:PORT` or `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        // A certificate for `localhost` is what `Authority::issue_for_localhost` makes first.
        let host = if self.scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// The counts so far; also `GET /_sim/calls`.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.simulation.ledger.calls()
    }

    /// How many calls named this panel id.
    #[must_use]
    pub fn calls_for(&self, panel_id: &str) -> u64 {
        self.simulation.ledger.calls_for(panel_id)
    }

    /// The latest call; also `GET /_sim/last`.
    #[must_use]
    pub fn last_call(&self) -> Option<Call> {
        self.simulation.ledger.last()
    }

    /// The public key that its tokens verify with: 32 bytes of Ed25519; also `GET /_sim/jwk`.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.simulation.signer.public_key().to_vec()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TenantKeys {
    /// Whether this key is one of them.
    async fn accept(&self, key: &str) -> io::Result<bool> {
        let file;
        let accepted: &str = match self {
            Self::Given(given) => given,
            Self::File(path) => {
                file = tokio::fs::read_to_string(path).await?;
                &file
            }
        };
        Ok(accepted
            .lines()
            .filter(|accepted| !accepted.is_empty())
            .any(|accepted| verify_slices_are_equal(accepted.as_bytes(), key.as_bytes()).is_ok()))
    }
}
