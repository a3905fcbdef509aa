//! The command line `ask2do-token`: one mint, one health check, throwaway certificates.
//!
//! Its exit codes are part of its interface: [`Exit`].

mod certs;
mod connection;
mod exit;
mod health;
mod mint;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// Mint tokens at the Ask2Do token service, ask for its health, make certificates to try it with.
#[derive(Debug, Parser)]
#[command(name = "ask2do-token", version, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mint one token and print it: the token alone, or JSON.
    Mint(mint::Mint),
    /// Ask the service whether it takes calls (grpc.health.v1).
    Health(health::Health),
    /// Make a throwaway CA, a server certificate and caller certificates.
    Certs(certs::Certs),
}

/// Runs the command line with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command.run().into(),
        Err(error) => {
            // Help and versions end here too, on stdout and with 0. Nobody left to read it is no error.
            _ = error.print();
            if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            }
        }
    }
}

impl Command {
    fn run(self) -> Exit {
        match self {
            Self::Mint(mint) => connection::block_on(mint.run()),
            Self::Health(health) => connection::block_on(health.run()),
            Self::Certs(certs) => certs.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
