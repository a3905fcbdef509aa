//! Certificates, keys and CAs, from watched files to [rustls] configurations.
//!
//! - [`Watched`] is a value that is read from files and read again when their content changes; a bad
//!   file keeps the last good value. [`Identity`] (a certificate and its key) and [`Authorities`] (CA
//!   certificates) are such values.
//! - [`ServerTls`] and [`ClientTls`] make rustls configurations of them, and new ones after a change.
//! - [`PeerCertificate`] says who is on the other end; rustls checks the chain, never the name of a
//!   client.
//! - [`Coalesced`] gathers what several tasks write to one connection into one TLS record.
//!
//! Every configuration here names its cryptography itself ([`crypto_provider`]), so that nothing
//! depends on which provider some other crate installed for the process.

mod authorities;
mod client;
mod coalesced;
mod failure;
mod https;
mod identity;
mod peer;
mod pem;
mod provider;
mod server;
mod watched;

#[cfg(test)]
mod fixtures;

pub use authorities::{Authorities, AuthoritiesError};
pub use client::ClientTls;
pub use coalesced::Coalesced;
pub use failure::{HandshakeFailure, handshake_failure};
pub use https::https_client_config;
pub use identity::{Identity, IdentityError};
pub use peer::{PeerCertificate, PeerCertificateError};
pub use pem::PemError;
pub use provider::{TlsError, Versions, crypto_provider, install_default};
pub use server::{ClientAuth, ServerTls};
pub use watched::{
    BoxError, Contents, LoadError, MAX_FILE_SIZE, Observer, POLL_INTERVAL, Polled, Reloader,
    SETTLE, Watched,
};
