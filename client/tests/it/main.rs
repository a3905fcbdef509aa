//! The client against a small service of its own kind: real TLS, real HTTP/2, real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod balancing;
mod calls;
mod certificates;
mod cli;
mod frames;
mod pki;
mod refusals;
mod service;
