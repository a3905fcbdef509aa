//! The playground: see [`ask2do_token_playground`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ask2do_token_playground::cli::run(std::env::args_os())
}
