//! Programs of other hands, from PATH.

use std::path::{Path, PathBuf};

use ask2do_token_tests::binaries::on_path;
use ask2do_token_tests::suite::CannotRun;
use tokio::process::Command;

/// What a program has said, and whether it was content.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) text: String,
}

/// The program of this name on PATH.
pub(crate) fn find(name: &str, missing: &'static str) -> Result<PathBuf, CannotRun> {
    on_path(name).ok_or(CannotRun(missing))
}

/// Runs it in `folder` to its end.
pub(crate) async fn run(program: &Path, arguments: &[&str], folder: &Path) -> Said {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        // Neither a cache nor settings of whoever runs the tests.
        .env("XDG_CACHE_HOME", folder)
        .env("REDOCLY_TELEMETRY", "off")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    Said {
        code: output.status.code().expect("an exit code"),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

impl Said {
    /// Its words, when it was content.
    #[track_caller]
    pub(crate) fn content(self) -> String {
        assert_eq!(self.code, 0, "{}", self.text);
        self.text
    }
}
