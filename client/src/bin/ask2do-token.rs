//! The command line of the Ask2Do token service.

use std::process::ExitCode;

fn main() -> ExitCode {
    ask2do_token_client::cli::run(std::env::args_os())
}
