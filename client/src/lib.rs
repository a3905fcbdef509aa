//! Client of the Ask2Do token service.

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
