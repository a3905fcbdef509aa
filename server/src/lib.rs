//! The Ask2Do token server: the one process that holds the tenant key. Callers ask it over mTLS for a
//! token of one panel user, and it mints one at Ask2Do.
//!
//! [`mint`] is the domain, [`admission`] says who may mint, [`cloud`] mints, [`grpc`] serves, [`audit`] writes
//! down. [`run`] is the whole program; [`serve::Server`] is it without process, for tests.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use ask2do_token_runtime::config::Mistakes;
use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_runtime::shutdown::{Ending, FINISH_LIMIT, Signals};
use ask2do_token_runtime::telemetry::{self, Telemetry};

use inputs::Inputs;

pub mod admission;
pub mod audit;
pub mod cloud;
pub mod config;
pub mod grpc;
pub mod inputs;
mod memory;
pub mod metrics;
pub mod mint;
pub mod serve;

/// What traces and the build's metric call this program.
const SERVICE: &str = "ask2do-token-server";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ask2do-token-server",
    version,
    about = "Holds the Ask2Do tenant key and mints tokens over mTLS"
)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What all services have.
    #[command(flatten)]
    pub service: ask2do_token_runtime::config::Arguments,
}

/// What this program does beside serving.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Reads an audit log
    #[command(subcommand)]
    Audit(audit::command::Command),
}

/// Runs the server until SIGTERM or SIGINT. The exit code is 0 then; 2 for mistakes in what it
/// reads, which are printed, one a line, before any port is bound; 1 for anything else.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    if let Some(Command::Audit(command)) = &arguments.command {
        return audit::command::run(command);
    }
    std::panic::set_hook(Box::new(report_panic));
    let idle = audit::Idle::default();
    let (parking, unparking) = (idle.clone(), idle.clone());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(move || parking.thread_parks())
        .on_thread_unpark(move || unparking.thread_unparks())
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start threads: {error}")),
    };
    idle.of_threads(runtime.metrics().num_workers());
    let code = runtime.block_on(run_inside(arguments, idle));
    // A DNS query that hangs in a thread of its own does not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run_inside(arguments: &Arguments, idle: audit::Idle) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot listen for signals: {error}")),
    };
    let telemetry = telemetry::init(SERVICE, VERSION);
    memory::protect();
    let inputs = inputs::read(&arguments.service);
    let (telemetry, (inputs, cloud)) = match (telemetry, inputs) {
        (Ok(telemetry), Ok(inputs)) => (telemetry, inputs),
        (telemetry, inputs) => return refuse(telemetry.err(), inputs.err()),
    };
    if arguments.service.check {
        return say_ok();
    }
    let mut metrics = Metrics::new(SERVICE, VERSION);
    telemetry.register(&mut metrics);
    cloud.register(&mut metrics);
    warn_of_risks(&inputs);
    let server = match serve::Server::bind(inputs, cloud.cloud, metrics, idle).await {
        Ok(server) => server,
        Err(error) => return fail_logged(telemetry, &error).await,
    };
    match server.addresses() {
        Ok(serve::Addresses { grpc, admin }) => {
            tracing::info!(version = VERSION, %grpc, %admin, "listening");
        }
        Err(error) => return fail_logged(telemetry, &error.into()).await,
    }
    let flush = async |limit| telemetry.shutdown(limit).await;
    match server.run(&mut signals, flush).await {
        Ending::Drained | Ending::CutOff | Ending::Interrupted => ExitCode::SUCCESS,
        Ending::Unasked => ExitCode::FAILURE,
    }
}

/// Prints every mistake; the exit code is that of a wrong usage.
#[expect(clippy::print_stderr, reason = "where there may be no log")]
fn refuse(telemetry: Option<telemetry::TelemetryError>, inputs: Option<Mistakes>) -> ExitCode {
    if let Some(error) = telemetry {
        eprintln!("{error}");
    }
    match inputs {
        Some(mistakes) => mistakes.report(),
        None => ExitCode::from(2),
    }
}

/// The answer to `--check`, which the exit code gives too: nobody may be reading.
fn say_ok() -> ExitCode {
    let _ = writeln!(std::io::stdout(), "ok");
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "before there is a log")]
fn fail(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn fail_logged(telemetry: Telemetry, error: &serve::StartError) -> ExitCode {
    tracing::error!(%error, "cannot start");
    telemetry.shutdown(FINISH_LIMIT).await;
    ExitCode::FAILURE
}

/// What is allowed, and had better be known.
fn warn_of_risks(inputs: &Inputs) {
    let config = &inputs.config;
    if config.allow_any_caller {
        tracing::warn!(
            "allow_any_caller: every certificate of the client CA may mint for every role of cloud.roles"
        );
    }
    if config.cloud.url.scheme() != "https" {
        tracing::warn!(url = %*config.cloud.url, "the tenant key goes to the cloud without TLS");
    }
    let cloud_roles = config.cloud_roles();
    for caller in inputs.callers.current().iter() {
        for role in caller
            .roles()
            .iter()
            .filter(|role| !cloud_roles.contains(role))
        {
            tracing::warn!(caller = %caller.name(), role, "this role of a caller is not among cloud.roles");
        }
    }
}

/// The place alone: the message of a panic may hold what was being worked on.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "panicked");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
