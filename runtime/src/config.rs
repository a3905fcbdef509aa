//! The configuration: a TOML file, overridden by the environment, overridden by `--set`.
//!
//! [`settings!`](crate::settings) says in one place what a table holds; from it come the struct,
//! the reading (which reports every mistake, not just the first) and the reference for the docs.
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//! use ask2do_token_runtime::{config::{Arguments, Checks, Each, FilePath, HttpUrl, Length, Sources}, settings};
//!
//! settings! {
//!     /// The whole file.
//!     pub struct Config checked by Config::check {
//!         /// Whether any certificate of the CA may mint.
//!         allow_any_caller: bool = false,
//!         /// The gRPC port.
//!         grpc: Grpc,
//!         /// How the panel is asked; without it, it is not.
//!         forward: Option<Forward>,
//!         /// Who may mint.
//!         callers: Vec<Caller> = [],
//!     }
//!
//!     /// The gRPC port.
//!     pub struct Grpc {
//!         /// Where it listens.
//!         listen: SocketAddr = "0.0.0.0:8443",
//!         /// Required: it has no default.
//!         certificate_file: FilePath,
//!         /// May be left out; an empty text means the same.
//!         client_ca_file: Option<FilePath>,
//!         /// After so long, a connection is asked to go.
//!         max_connection_age: Duration = "5m" where Duration::from_secs(1)..=Duration::from_hours(24),
//!         /// Open connections.
//!         connections: u32 = 1024 where 1..=65_536,
//!     }
//!
//!     /// The panel's own answer to "who is logged in".
//!     pub struct Forward {
//!         /// What is asked.
//!         url: HttpUrl,
//!     }
//!
//!     /// One caller.
//!     pub struct Caller {
//!         /// What logs and metrics call it.
//!         name: String where Length(1..=64),
//!         /// The roles it may mint for.
//!         roles: Vec<String> where Each(Length(1..=64)),
//!     }
//! }
//!
//! impl Config {
//!     fn check(&self, checks: &mut Checks<'_>) {
//!         checks.require(
//!             &["allow_any_caller", "callers"],
//!             !(self.allow_any_caller && !self.callers.is_empty()),
//!             "found allow_any_caller beside [[callers]]",
//!             "allowed: one of them",
//!         );
//!     }
//! }
//!
//! let arguments = Arguments {
//!     set: vec!["grpc.certificate_file=tls.crt".into(), "forward.url=https://panel.example/whoami".into()],
//!     ..Arguments::default()
//! };
//! let config: Config = Sources::new(&arguments).read()?;
//! assert_eq!(config.grpc.listen.port(), 8443);
//! assert!(config.forward.is_some());
//! # Ok::<(), ask2do_token_runtime::config::Mistakes>(())
//! ```
//!
//! A variable is a setting where its name holds `__` and begins with one of the tables:
//! `ASK2DO_GRPC__LISTEN`, `ASK2DO_SESSION__FORWARD__URL`; all else that begins with `ASK2DO_` is left
//! alone, because Kubernetes puts `ASK2DO_TOKEN_PORT` and the like into every pod. The key is the name in
//! lower case. Keys outside of tables, and lists of tables, come from the file or `--set`. The value of a
//! variable or of `--set` is TOML if it parses, else text; where text is wanted, it is text as it stands
//! (without its quotes, if it is a string of TOML).
//!
//! Tables merge key by key, a list is replaced. What a later layer overrides is read all the same: a
//! mistake there is one.
//!
//! A type of a crate's own becomes a setting by [`Value`]; words to choose from by
//! [`choices!`](crate::choices). At start: `sources.read()`, and on `Err` [`Mistakes::report`], whose
//! exit code is 2.

mod arguments;
mod at;
mod checks;
mod duration;
mod file;
mod given;
mod macros;
mod mistake;
mod node;
mod reference;
mod rule;
mod schema;
mod setting;
mod sources;
mod table;
mod urls;
mod values;
mod watch;

pub use arguments::Arguments;
pub use at::At;
pub use checks::Checks;
pub use given::Given;
pub use mistake::{Mistake, Mistakes, Origin};
pub use reference::reference;
#[doc(hidden)]
pub use rule::rule_of;
pub use rule::{Bound, Each, Entries, Length, Rule};
pub use schema::{Field, Shape};
pub use setting::{Setting, Value};
pub use sources::{Sources, parse};
#[doc(hidden)]
pub use table::Table;
pub use urls::{HttpUrl, HttpsUrl, ProxyUrl, is_loopback};
pub use values::FilePath;
