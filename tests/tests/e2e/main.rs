//! The service end to end: real binaries, real sockets on loopback, a simulated cloud.
//!
//! Each module is one promise of the service, most of them as a table; the cases run side by side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod audit;
mod cli;
mod client;
mod cloud;
mod configuration;
mod deadlines;
mod drain;
mod inputs;
mod limits;
mod mtls;
mod ports;
mod reload;
mod secrets;
mod troubleshooting;

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
    reload::add(&mut suite);
    drain::add(&mut suite);
    limits::add(&mut suite);
    client::add(&mut suite);
    cli::add(&mut suite);
    secrets::add(&mut suite);
    audit::add(&mut suite);
    troubleshooting::add(&mut suite);
    suite.run()
}
