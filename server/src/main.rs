//! The program `ask2do-token-server`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    ask2do_token_server::run(&ask2do_token_server::Arguments::parse())
}
