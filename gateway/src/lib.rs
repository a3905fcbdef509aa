//! The browser's side of the Ask2Do token service: an HTTP endpoint that asks the panel who is logged
//! in, has a token minted for that user by the service, and hands it to the widget.
//!
//! It is the binary `ask2do-token-gateway`, or [`router`] in a Rust panel's own axum application. It is
//! one more mTLS caller of the service, and never has the tenant key.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use ask2do_token_runtime::config::Mistakes;
use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_runtime::shutdown::{Ending, FINISH_LIMIT, Signals};
use ask2do_token_runtime::telemetry::{self, Telemetry, TelemetryError};

use config::{Config, SessionMode};

pub mod config;
mod endpoint;
mod failure;
mod guard;
pub mod inputs;
mod metrics;
mod minter;
mod origin;
mod role_map;
pub mod serve;
mod service;
pub mod session;

pub use ask2do_token_client::Reason;
pub use endpoint::{
    BODY_BYTES, Endpoint, EndpointPath, HEADER_BYTES, InvalidPath, application, router,
};
pub use metrics::GatewayMetrics;
pub use minter::{MintFailure, MintedToken, Minter};
pub use origin::{InvalidOrigin, Origin};
pub use role_map::RoleMap;
pub use session::{SessionCheck, SessionError, SessionUser};

/// What traces and the build's metric call this program.
const SERVICE: &str = "ask2do-token-gateway";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ask2do-token-gateway",
    version,
    about = "Hands Ask2Do tokens to the widget of logged-in panel users"
)]
#[group(skip)]
pub struct Arguments {
    /// What all services have.
    #[command(flatten)]
    pub service: ask2do_token_runtime::config::Arguments,
}

/// Runs the gateway until SIGTERM or SIGINT. The exit code is 0 then; 2 for mistakes in what it
/// reads, which are printed, one a line, before any port is bound; 1 for anything else.
///
/// This is the binary's: it sets up logging for the whole process. A program of its own mounts
/// [`router`].
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start threads: {error}")),
    };
    let code = runtime.block_on(run_inside(arguments));
    // A DNS query that hangs in a thread of its own does not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run_inside(arguments: &Arguments) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot listen for signals: {error}")),
    };
    let mut metrics = Metrics::new(SERVICE, VERSION);
    let telemetry = telemetry::init(SERVICE, VERSION);
    let inputs = inputs::read(&arguments.service, &mut metrics);
    let (telemetry, (inputs, client)) = match (telemetry, inputs) {
        (Ok(telemetry), Ok(inputs)) => (telemetry, inputs),
        (telemetry, inputs) => return refuse(telemetry.err(), inputs.err()),
    };
    if arguments.service.check {
        return say_ok();
    }
    telemetry.register(&mut metrics);
    warn_of_risks(&inputs.config);
    let server = match serve::Server::bind(inputs, client, metrics).await {
        Ok(server) => server,
        Err(error) => return fail_logged(telemetry, &error).await,
    };
    match server.addresses() {
        Ok(serve::Addresses { http, admin }) => {
            tracing::info!(version = VERSION, %http, %admin, "listening");
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
fn refuse(telemetry: Option<TelemetryError>, inputs: Option<Mistakes>) -> ExitCode {
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
fn warn_of_risks(config: &Config) {
    let session = &config.session;
    match session.mode {
        Some(SessionMode::Forward) => {
            let plaintext = session
                .forward
                .as_ref()
                .filter(|forward| forward.is_plaintext());
            if let Some(forward) = plaintext {
                tracing::warn!(
                    url = %*forward.url,
                    "session.forward.url is plain http: who can alter the panel's answers can be any user"
                );
            }
        }
        Some(SessionMode::Header) => {
            let cidrs = session.header.as_ref().map(|header| &header.trusted_cidrs);
            if let Some(cidrs) = cidrs.filter(|cidrs| !cidrs.is_empty()) {
                let cidrs: Vec<String> = cidrs.iter().map(|cidr| cidr.0.to_string()).collect();
                tracing::warn!(
                    ?cidrs,
                    "session.header.trusted_cidrs: every process at these addresses can be any user"
                );
            }
        }
        Some(SessionMode::Jwt) | None => {}
    }
    if config.http.allow_get {
        tracing::warn!(
            "http.allow_get: a link or an image can send GET; the guard alone stands before it"
        );
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
