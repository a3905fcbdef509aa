//! The real gateway, with what it stands on going away, and with all that browsers and mistakes send it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod behind;
mod check;
mod drain;
mod load;
mod sites;
mod tls;
mod told;
mod users;
mod wire;

use std::process::ExitCode;

use ask2do_token_tests::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    behind::add(&mut suite);
    check::add(&mut suite);
    drain::add(&mut suite);
    load::add(&mut suite);
    sites::add(&mut suite);
    tls::add(&mut suite);
    told::add(&mut suite);
    users::add(&mut suite);
    wire::add(&mut suite);
    suite.run()
}
