//! The program `ask2do-token-gateway`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    ask2do_token_gateway::run(&ask2do_token_gateway::Arguments::parse())
}
