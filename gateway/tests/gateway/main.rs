//! The gateway's library, from outside: real routers, real loopback HTTP, a minter that counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod config;
mod cross_site;
mod docs;
mod documented;
mod endpoint;
mod fakes;
mod forward;
mod jwt;
mod mount;
mod openapi;
mod process;
mod users;
