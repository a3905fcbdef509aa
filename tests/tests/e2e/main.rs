//! The service end to end: real binaries, real sockets on loopback, a simulated cloud.
//!
//! Each module is one promise of the service, most of them as a table; the cases run side by side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod cloud;
mod configuration;
mod deadlines;
mod inputs;
mod mtls;
mod ports;

use std::process::ExitCode;

use ask2do_token_tests::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    mtls::add(&mut suite);
    inputs::add(&mut suite);
    cloud::add(&mut suite);
    deadlines::add(&mut suite);
    configuration::add(&mut suite);
    ports::add(&mut suite);
    suite.run()
}
