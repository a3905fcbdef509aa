//! The Ask2Do token service to try, without the vendor: a simulated cloud, throwaway certificates
//! and, in the binary, the whole path from a caller to a token.
//!
//! Tests take [`cloud::Cloud`] and [`certificates::Authority`] from here; people run
//! `cargo run -p ask2do-token-playground`.

pub mod certificates;
mod child;
pub mod cli;
pub mod cloud;
mod demo;
pub mod folder;
mod lifeline;
mod load;
mod origin;
mod panel;
mod ports;
mod probe;
mod trace;
