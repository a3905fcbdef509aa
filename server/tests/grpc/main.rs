//! The server over real mTLS connections, with a fake in place of the cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is missing"
)]

mod authorization;
mod drain;
mod pki;
mod reload;
mod requests;
mod start;
mod support;
