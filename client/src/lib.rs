//! Client of the Ask2Do token service: mints short-lived tokens for the logged-in users of an admin
//! panel.
//!
//! The service holds the company's tenant key and trades it for a token per user; who may ask is
//! decided by the caller's certificate (mTLS). This crate is how a Rust backend asks, and the library
//! behind the command line `ask2do-token`.
//!
//! ```
//! use ask2do_token_client::{MintError, PanelUser, TokenClient};
//!
//! # use ask2do_token_client::certs::{Authority, Leaf, NewFiles, Validity};
//! # let directory = tempfile::tempdir()?;
//! # let authority = Authority::new("doc CA", Validity::days(1))?;
//! # let issued = authority.issue(&Leaf::caller("doc", "spiffe://demo/doc".parse()?))?;
//! # let mut files = NewFiles::new();
//! # files.public("ca.crt", authority.certificate_pem());
//! # files.public("tls.crt", issued.certificate_pem());
//! # files.secret("tls.key", issued.private_key_pem());
//! # files.write(directory.path())?;
//! # let file = |name| directory.path().join(name);
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let client = TokenClient::builder("https://localhost:8443")
//!     .ca_file(file("ca.crt"))
//!     .identity_files(file("tls.crt"), file("tls.key"))
//!     .build()?;
//!
//! // Both from your own session, never from what a browser sends.
//! let user = PanelUser::new("42", "admin");
//! match client.mint_token(&user).await {
//!     Ok(minted) => println!("until {}", minted.expires_at()),
//!     Err(MintError::RoleNotAllowed) => println!("Ask2Do is for admins and owners"),
//!     Err(error) if error.is_transient() => println!("try again later: {error}"),
//!     Err(error) => eprintln!("for the operator: {} {error}", error.reason()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Make one client and keep it: clones share its connections.
//!
//! # What it does by itself
//!
//! - **Every address.** The endpoint's name is looked up every 2 s, a connection kept to each address
//!   (64 at most), and calls go round them: point it at a headless Service. An address that comes new is
//!   used within 5 s; one that vanishes finishes its calls. A literal address is never looked up.
//! - **Dead connections.** Each is PINGed when nothing came over it for 2 s, and given up when that is
//!   not answered for 2 s more; connecting is limited too. A failed address is tried again with growing,
//!   jittered pauses of 3 s at most, and as soon as a call has no other connection to go to.
//! - **Failing fast.** A call fails with [`MintError::ServiceUnavailable`] and the causes when every
//!   address has failed since it began; it does not wait for its deadline.
//! - **Retries that don't multiply.** One, and only for UNAVAILABLE without an ErrorInfo (a service that
//!   is gone or draining), as long as few calls need it. A request that the service has not seen moves
//!   to another connection: its GOAWAY fails no call. Whatever the service answers with a reason is
//!   final, since it has done the retry that is worth it. [`TokenClientBuilder::retries`] turns the one off.
//! - **Time.** A call takes [`DEFAULT_DEADLINE`] at most, and what is left of it goes along as
//!   `grpc-timeout`. Dropping a call cancels it at the service.
//! - **Certificates** are read again every second. New ones are used for new connections, and the old
//!   ones finish their calls. After [`MintError::CertificateRejected`] the files are read at once, and
//!   the call is made again on a new connection.
//! - **Traces.** A span per call by OpenTelemetry's conventions; `traceparent` and `tracestate` of that
//!   span, or of the OpenTelemetry context that is current, go along without a global propagator.
//! - **Secrets.** No `Debug`, error or log of this crate shows a token, a key or a panel user.
//!
//! TLS 1.3 alone, with post-quantum key exchange (X25519MLKEM768). After 5 minutes without a call the
//! connections are closed until the next one.
//!
//! # Features
//!
//! - `cli` (default): the command line. Libraries turn it off by `default-features = false`.
//! - `certs`: throwaway certificates for trials and tests, see `certs`.

mod builder;
#[cfg(feature = "certs")]
pub mod certs;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod client;
mod code;
mod credentials;
mod endpoint;
mod error;
mod minted_token;
mod panel_user;
mod transport;
mod unavailable;

pub use ask2do_token_proto::Reason;
pub use builder::{BuildError, DEFAULT_DEADLINE, MAX_DEADLINE, TokenClientBuilder};
pub use client::{Health, TokenClient};
pub use code::Code;
pub use endpoint::EndpointError;
pub use error::{FieldViolation, MintError};
pub use minted_token::MintedToken;
pub use panel_user::PanelUser;
pub use transport::{ReplyBody, Resolve, Resolving, SystemResolver, Transport};
pub use unavailable::{Unavailable, UnavailableKind};
