//! What others' programs rest on: the gRPC contract as tools in other hands read it, what was built against
//! it once, and the gateway's OpenAPI document.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod edges;
mod frames;
mod openapi;
mod recorded;
mod schema;
mod tools;
mod versions;

use std::process::ExitCode;

use ask2do_token_tests::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    schema::add(&mut suite);
    recorded::add(&mut suite);
    versions::add(&mut suite);
    edges::add(&mut suite);
    openapi::add(&mut suite);
    suite.run()
}
