//! Cases that run side by side on one runtime, and may say at run time that they cannot.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

/// Set to `1`, a case that cannot run here is a failure.
const REQUIRE_ALL: &str = "ASK2DO_TESTS_REQUIRE_ALL";

/// Most cases wait for a process or a clock; more of them at a time than there are cores.
const AT_A_TIME: usize = 8;

/// The cases of one program.
pub struct Suite {
    runtime: Arc<Runtime>,
    trials: Vec<Trial>,
    finally: Vec<Box<dyn FnOnce()>>,
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").finish_non_exhaustive()
    }
}

/// Why a case cannot run here.
#[derive(Debug)]
pub struct CannotRun(pub &'static str);

impl Suite {
    /// Without a case yet.
    ///
    /// # Panics
    ///
    /// When there are no threads.
    #[must_use]
    pub fn new() -> Self {
        Self {
            runtime: Arc::new(Runtime::new().unwrap()),
            trials: Vec::new(),
            finally: Vec::new(),
        }
    }

    /// Adds a case.
    pub fn case<F>(&mut self, name: impl Into<String>, case: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()>,
    {
        let runtime = self.runtime.clone();
        let run = move || {
            runtime.block_on(case());
            Ok(())
        };
        self.trials.push(Trial::test(name, run));
    }

    /// Adds a case that may find out that it cannot run here.
    pub fn case_where_possible<F>(
        &mut self,
        name: impl Into<String>,
        case: impl FnOnce() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), CannotRun>>,
    {
        let runtime = self.runtime.clone();
        let run = move || match runtime.block_on(case()) {
            Ok(()) => Ok(Completion::Completed),
            Err(CannotRun(reason)) if is_all_required() => {
                Err(Failed::from(format!("{REQUIRE_ALL} is set, but: {reason}")))
            }
            Err(CannotRun(reason)) => Ok(Completion::ignored_with(reason)),
        };
        self.trials.push(Trial::ignorable_test(name, run));
    }

    /// Does this after the last case, whatever became of the cases.
    pub fn finally(&mut self, work: impl FnOnce() + 'static) {
        self.finally.push(Box::new(work));
    }

    /// Runs them side by side, as the command line asks.
    #[must_use]
    pub fn run(self) -> ExitCode {
        self.run_with(AT_A_TIME)
    }

    /// Runs them one after the other, in the order in which they were added: they share something.
    #[must_use]
    pub fn run_in_turn(self) -> ExitCode {
        self.run_with(1)
    }

    fn run_with(self, threads: usize) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(threads);
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        for work in self.finally {
            work();
        }
        conclusion.exit_code()
    }
}

impl Default for Suite {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a case that cannot run here is a failure.
#[must_use]
pub fn is_all_required() -> bool {
    std::env::var(REQUIRE_ALL).is_ok_and(|value| value == "1")
}
