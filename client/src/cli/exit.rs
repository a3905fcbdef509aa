//! How the process ends, and what it prints on the way.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use crate::{BuildError, MintError};

pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  the service answered with an error, or the call's own timer ran out
  2  usage, or a local file that is missing, unreadable or would be overwritten
  3  the service is unavailable: no connection, TLS failed, draining

TRACEPARENT and TRACESTATE, where they are set, name the trace that a call belongs to.";

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done,
    /// 1: any status from the call, the own timer too, but not [`Unavailable`](Self::Unavailable).
    Failed,
    /// 2: wrong arguments, or a local file that is missing, unreadable or would be overwritten.
    Usage,
    /// 3: UNAVAILABLE without ErrorInfo: no connection, TLS failed, draining.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unavailable => 3,
        })
    }
}

impl Exit {
    pub(super) fn of_call(error: &MintError) -> Self {
        match error {
            MintError::ServiceUnavailable(_) => Self::Unavailable,
            _ => Self::Failed,
        }
    }

    /// A certificate that has expired is no matter of reading it: the service refuses it.
    pub(super) fn of_build(error: &BuildError) -> Self {
        if error.is_out_of_time() {
            Self::Unavailable
        } else {
            Self::Usage
        }
    }

    /// Prints a line on stdout. A reader that has gone makes no noise; another failure does.
    pub(super) fn print(self, line: &str) -> Self {
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Ok(()) => self,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Self::Usage,
            Err(error) => Self::Usage.complain(&format!("stdout: {error}")),
        }
    }

    /// Says on stderr what is wrong.
    pub(super) fn complain(self, what: &dyn Display) -> Self {
        // With stderr gone too, the exit code is all that is left to say.
        _ = writeln!(io::stderr(), "ask2do-token: {what}");
        self
    }
}

/// `ROLE_NOT_ALLOWED (PERMISSION_DENIED): Ask2Do does not serve this role`
pub(super) struct Described<'a>(pub(super) &'a MintError);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        write!(f, "{} ({}): {error}", error.reason(), error.code())?;
        match error.retry_after() {
            Some(after) => write!(f, "; try again in {} s", after.as_secs_f64().ceil()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_is_told_by_reason_code_and_words() {
        let limited = MintError::CloudRateLimited {
            retry_after: Some(Duration::from_millis(1500)),
        };
        assert_eq!(
            Described(&limited).to_string(),
            "CLOUD_RATE_LIMITED (UNAVAILABLE): Ask2Do limits the rate; try again in 2 s"
        );
    }
}
