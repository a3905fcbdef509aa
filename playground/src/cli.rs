//! The command line.

mod cloud;
mod load;
mod panel;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use ask2do_token_runtime::telemetry;
use clap::{Parser, Subcommand};

use crate::demo;
use crate::lifeline::end_with_parent;

/// The Ask2Do token service to try on this machine, against a simulated cloud
///
/// Makes throwaway certificates, starts the simulated cloud and the real services, mints one token
/// through them, prints what to copy, and stays up until Ctrl-C.
#[derive(Parser)]
#[command(
    name = "ask2do-token-playground",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    demo: demo::Options,

    /// Ends when standard input ends
    #[arg(long, hide = true, global = true)]
    end_with_parent: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the simulated cloud alone
    #[command(after_help = cloud::scenarios())]
    Cloud(cloud::Options),

    /// Makes calls at a fixed rate, and counts each of them
    #[command(after_help = load::PAGES)]
    Load(load::Options),

    /// Runs the real server
    #[command(hide = true)]
    Server(ask2do_token_server::Arguments),

    /// Runs the real gateway
    #[command(hide = true)]
    Gateway(ask2do_token_gateway::Arguments),

    /// Runs the demo panel
    #[command(hide = true)]
    Panel(panel::Options),
}

/// Runs the command line to its end: 0 done, or ended as asked; 1 failed; 2 usage.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // Nothing is left to tell it to.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell it to.
            let _ = writeln!(io::stderr(), "ask2do-token-playground: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What ends a command early; its text is all that the user sees.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn execute(arguments: Arguments) -> Result<ExitCode, Failure> {
    if arguments.end_with_parent {
        end_with_parent()?;
    }
    let done = match arguments.command {
        Some(Command::Cloud(options)) => {
            on_a_runtime("ask2do-cloud-simulated", cloud::run(options))
        }
        Some(Command::Load(options)) => on_a_runtime("ask2do-load", load::run(options)),
        Some(Command::Server(arguments)) => return Ok(ask2do_token_server::run(&arguments)),
        Some(Command::Gateway(arguments)) => return Ok(ask2do_token_gateway::run(&arguments)),
        Some(Command::Panel(options)) => on_a_runtime("ask2do-demo-panel", panel::run(options)),
        None => on_a_runtime("ask2do-token-playground", demo::run(arguments.demo)),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn on_a_runtime(
    service: &'static str,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let telemetry = telemetry::init(service, env!("CARGO_PKG_VERSION"))?;
        let done = work.await;
        telemetry.shutdown(FLUSH_WITHIN).await;
        done
    })
}

/// Spans on their way out are not worth more of a user's time.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
