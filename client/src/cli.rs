//! The command line `ask2do-token`: one mint, one health check, throwaway certificates.
//!
//! Its exit codes are part of its interface: [`Exit`].

mod certs;
mod connection;
mod exit;
mod gateway;
mod health;
mod mint;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    #[command(after_help = exit::HELP)]
    Mint(mint::Mint),
    /// Ask the service whether it takes calls (grpc.health.v1).
    #[command(after_help = exit::HELP)]
    Health(health::Health),
    /// Make a throwaway CA, a server certificate and caller certificates.
    Certs(certs::Certs),
}

/// Runs the command line with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Arguments::parse_all(arguments) {
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

impl Arguments {
    fn parse_all(arguments: impl IntoIterator<Item = OsString>) -> clap::error::Result<Self> {
        Self::from_arg_matches(&Self::described().try_get_matches_from(arguments)?)
    }

    fn described() -> clap::Command {
        Self::command().mut_subcommand("health", health::without_endpoint_at_a_gateway)
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
    use super::*;

    fn parse(line: &str) -> clap::error::Result<Arguments> {
        let words = line.split_whitespace().map(OsString::from);
        Arguments::parse_all(std::iter::once("ask2do-token".into()).chain(words))
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::described().debug_assert();
    }

    #[test]
    fn a_health_check_needs_the_service_or_a_gateway() {
        parse("health --endpoint token:8443 --ca ca.crt").unwrap();
        parse("health --refused --endpoint token:8443 --ca ca.crt").unwrap();
        parse("health --gateway http://gateway:8080/api/ask2do/token").unwrap();
        for wrong in [
            "health",
            "health --endpoint token:8443",
            "health --refused",
            "health --gateway gateway:8080",
            "health --gateway ftp://gateway/x",
            "health --refused --gateway http://gateway/",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
