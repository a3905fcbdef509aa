//! The options of every command that calls the service.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::exit::Exit;
use super::trace;
use crate::{BuildError, DEFAULT_DEADLINE, TokenClient, TokenClientBuilder};

/// Where the service is, and who calls.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The service, as https://HOST:PORT (or HOST:PORT); all addresses of the name are used
    #[arg(long, value_name = "URL", env = "ASK2DO_ENDPOINT", value_hint = ValueHint::Url)]
    endpoint: String,
    /// CA certificates that the service's certificate is verified by (PEM)
    #[arg(long, value_name = "FILE", env = "ASK2DO_CA_FILE", value_hint = ValueHint::FilePath)]
    ca: PathBuf,
    /// This caller's certificate, its chain after it (PEM)
    #[arg(long, value_name = "FILE", env = "ASK2DO_CERT_FILE", requires = "key", value_hint = ValueHint::FilePath)]
    cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "ASK2DO_KEY_FILE", requires = "cert", value_hint = ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// The name that the service's certificate must hold, where it is not the endpoint's host
    #[arg(long, value_name = "NAME", env = "ASK2DO_SERVER_NAME")]
    server_name: Option<String>,
    /// The time of the call: 6s, 250ms, 1m; plain numbers are seconds
    #[arg(long, value_name = "TIME", env = "ASK2DO_TIMEOUT", value_parser = duration)]
    timeout: Option<Duration>,
}

impl Connection {
    pub(super) fn client(self) -> Result<TokenClient, BuildError> {
        let builder = self.builder();
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => builder.identity_files(cert, key).build(),
            _ => builder.build(),
        }
    }

    /// Makes clients that have no certificate.
    pub(super) fn anonymous(self) -> impl Fn() -> TokenClientBuilder {
        move || self.builder()
    }

    fn builder(&self) -> TokenClientBuilder {
        let endpoint = if self.endpoint.contains("://") {
            self.endpoint.clone()
        } else {
            format!("https://{}", self.endpoint)
        };
        let builder = TokenClient::builder(endpoint)
            .ca_file(&self.ca)
            .deadline(self.timeout.unwrap_or(DEFAULT_DEADLINE));
        match &self.server_name {
            Some(name) => builder.server_name(name),
            None => builder,
        }
    }
}

/// Runs one call, in the trace that `TRACEPARENT` names, if it does.
pub(super) fn block_on(call: impl Future<Output = Exit>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Exit::Usage.complain(&format!("the runtime: {error}")),
    };
    let _trace = trace::from_environment().map(opentelemetry::Context::attach);
    let exit = runtime.block_on(call);
    // A lookup of a name that hangs must not hold the process.
    runtime.shutdown_background();
    exit
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a time such as 6s, 250ms or 1m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    let amount: f64 = digits.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(amount * seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        for (text, millis) in [("6s", 6000), ("250ms", 250), ("1m", 60_000), ("1.5", 1500)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "6h", "inf", "nan", "1e400", "6 s", "sechs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
