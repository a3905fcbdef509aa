//! The playground's child processes: each is this same binary, and none outlives it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

/// Between two looks at whether a child is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A child is ready in some 50 ms; a busy machine may take its time.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A child drains for 2 s at most; then it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The flag under which a child ends when its standard input does.
pub(crate) const END_WITH_PARENT: &str = "--end-with-parent";

/// A running child.
pub(crate) struct Child {
    name: &'static str,
    process: tokio::process::Child,
    /// Nothing is ever written to it. The operating system closes it with this process, whatever
    /// that one dies of, and the child ends when it reads the end of it.
    lifeline: Option<ChildStdin>,
}

/// What went wrong with a child.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// It could not be started.
    #[error("cannot start the {name}: {cause}")]
    Start {
        /// Which.
        name: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// It ended by itself.
    #[error("the {name} ended unasked ({status}); what it said is above")]
    Ended {
        /// Which.
        name: &'static str,
        /// How.
        status: ExitStatus,
    },
    /// It did not become ready.
    #[error("the {name} did not become ready within {} s; what it said is above", READY_WITHIN.as_secs())]
    NotReady {
        /// Which.
        name: &'static str,
    },
    /// Nobody can say what became of it.
    #[error("cannot wait for the {name}: {cause}")]
    Wait {
        /// Which.
        name: &'static str,
        /// Why.
        cause: io::Error,
    },
}

/// Spans go out soon, so that the page shows them soon, unless the user's variable says how soon.
fn soon() -> Option<(&'static str, &'static str)> {
    const DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";
    std::env::var_os(DELAY).is_none().then_some((DELAY, "200"))
}

impl Child {
    /// Starts this binary with these arguments, and some variables more than this process has. `name` is for
    /// people, `service` for traces.
    ///
    /// # Errors
    ///
    /// When the process cannot be started.
    pub(crate) fn start(
        name: &'static str,
        service: &str,
        variables: &[(&str, &str)],
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, ChildError> {
        let failed = |cause| ChildError::Start { name, cause };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(arguments.into_iter().map(Into::into))
            .arg(END_WITH_PARENT)
            .env("OTEL_SERVICE_NAME", service)
            .envs(variables.iter().copied())
            .envs(soon())
            .stdin(Stdio::piped())
            // What a child says on standard output is for who runs it alone.
            .stdout(Stdio::null())
            // Ctrl-C reaches this process alone, which then ends the children in order.
            .process_group(0)
            .kill_on_drop(true);
        if std::env::var_os("RUST_LOG").is_none() {
            // The lines to copy should not drown in what goes well.
            command.env("RUST_LOG", "warn");
        }
        // A setting of the real service in this shell is none of the playground's.
        for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_ours(variable)) {
            command.env_remove(variable);
        }
        let mut process = command.spawn().map_err(failed)?;
        let lifeline = process.stdin.take();
        Ok(Self {
            name,
            process,
            lifeline,
        })
    }

    /// Waits until `probe` says that the child does its work.
    ///
    /// # Errors
    ///
    /// When the child ends, or takes too long.
    pub(crate) async fn ready(&mut self, probe: impl AsyncFn() -> bool) -> Result<(), ChildError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answered = probe().await;
            if let Some(status) = self.process.try_wait().map_err(self.wait_failed())? {
                return Err(ChildError::Ended {
                    name: self.name,
                    status,
                });
            }
            if answered {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ChildError::NotReady { name: self.name });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Completes when the child has ended, which it should not.
    pub(crate) async fn ended(&mut self) -> ChildError {
        match self.process.wait().await {
            Ok(status) => ChildError::Ended {
                name: self.name,
                status,
            },
            Err(cause) => self.wait_failed()(cause),
        }
    }

    /// Has the child end, gracefully if it can.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub(crate) async fn end(mut self) -> Result<(), ChildError> {
        drop(self.lifeline.take());
        match timeout(END_WITHIN, self.process.wait()).await {
            Ok(ended) => ended.map(|_| ()).map_err(self.wait_failed()),
            Err(_) => {
                tracing::warn!(child = self.name, "did not end in time and is killed");
                let killed = self.process.kill().await;
                killed.map_err(self.wait_failed())
            }
        }
    }

    fn wait_failed(&self) -> impl FnOnce(io::Error) -> ChildError + use<> {
        let name = self.name;
        move |cause| ChildError::Wait { name, cause }
    }
}

fn is_ours(variable: &OsStr) -> bool {
    variable.as_encoded_bytes().starts_with(b"ASK2DO_")
}
