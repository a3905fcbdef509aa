//! Mints one token of the Ask2Do token service, and prints one line of JSON.
//!
//! Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not reached.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is what a command line does"
)]

mod failure;
mod service;
mod tracing;

use std::process::ExitCode;

use ask2do_token_client::{PanelUser, TokenClient};
use clap::Parser;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};

/// Mints one token of the Ask2Do token service, and prints one line of JSON.
#[derive(Parser)]
#[command(name = "caller")]
struct Arguments {
    /// The service
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: String,
    /// CA certificates that the service is verified by (PEM)
    #[arg(long, value_name = "FILE")]
    ca: String,
    /// This caller's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<String>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
    /// The panel user's id; - reads ids from standard input, one a line
    #[arg(long)]
    id: String,
    /// The panel user's role
    #[arg(long)]
    role: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let tracing = tracing::start();
    let exit = run(arguments).await;
    tracing.shutdown();
    exit.into()
}

async fn run(arguments: Arguments) -> u8 {
    let identity = arguments.cert.as_deref().zip(arguments.key.as_deref());
    let client = match service::dial(&arguments.endpoint, &arguments.ca, identity) {
        Ok(client) => client,
        Err(error) if error.is_out_of_time() => {
            // What the service would say, before it is asked.
            eprintln!("caller: {error}");
            println!("{}", failure::unreachable());
            return 3;
        }
        Err(error) => {
            eprintln!("caller: {error}");
            return 2;
        }
    };
    let mut ids = Ids::new(arguments.id);
    let mut exit = 0;
    while let Some(id) = ids.next().await {
        exit = exit.max(call(&client, PanelUser::new(id, &arguments.role)).await);
    }
    exit
}

/// Makes one call, prints its line, and gives its exit code.
async fn call(client: &TokenClient, user: PanelUser) -> u8 {
    match service::mint(client, user).await {
        Ok(minted) => {
            let expires_at = minted.expires_at().format(&Rfc3339).unwrap_or_default();
            let line = json!({"ok": true, "token": minted.expose_token(), "expiresAt": expires_at});
            println!("{line}");
            0
        }
        Err(error) => {
            eprintln!("caller: {}: {error}", error.code());
            println!("{}", failure::line(&error));
            failure::exit_code(&error)
        }
    }
}

/// One id, or those that stand on standard input.
enum Ids {
    One(Option<String>),
    Lines(Lines<BufReader<Stdin>>),
}

impl Ids {
    fn new(id: String) -> Self {
        if id == "-" {
            Self::Lines(BufReader::new(stdin()).lines())
        } else {
            Self::One(Some(id))
        }
    }

    async fn next(&mut self) -> Option<String> {
        match self {
            Self::One(id) => id.take(),
            Self::Lines(lines) => lines.next_line().await.ok().flatten(),
        }
    }
}
