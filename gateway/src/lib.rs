//! The browser's side of the Ask2Do token service: an HTTP endpoint that asks the panel who is logged
//! in, has a token minted for that user by the service, and hands it to the widget.
//!
//! It is the binary `ask2do-token-gateway`, or [`router`] in a Rust panel's own axum application. It is
//! one more mTLS caller of the service, and never has the tenant key.

pub mod config;
mod endpoint;
mod failure;
mod guard;
pub mod inputs;
mod metrics;
mod minter;
mod origin;
mod role_map;
pub mod serve;
pub mod session;

pub use ask2do_token_proto::Reason;
pub use endpoint::{
    BODY_BYTES, Endpoint, EndpointPath, HEADER_BYTES, InvalidPath, application, router,
};
pub use metrics::GatewayMetrics;
pub use minter::{MintFailure, MintedToken, Minter};
pub use origin::{InvalidOrigin, Origin};
pub use role_map::RoleMap;
pub use session::{SessionCheck, SessionError, SessionUser};
