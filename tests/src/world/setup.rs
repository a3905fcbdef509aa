//! A server before it runs: what it is told, and what it finds in its folder.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::Server;
use crate::binaries::binary;
use crate::process::Process;
use crate::suite::CannotRun;

/// A server to be: its folder, and what is said to it.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    settings: Vec<String>,
    environment: HashMap<String, String>,
    wrapper: Vec<String>,
    program: PathBuf,
}

impl Setup {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings: Vec::new(),
            environment: HashMap::new(),
            wrapper: Vec::new(),
            program: binary("ask2do-token-server"),
        }
    }

    /// With `--set key=value`.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        let mut this = self.unset(key);
        this.settings.push(format!("{key}={value}"));
        this
    }

    /// Without what was set for `key`.
    #[must_use]
    pub fn unset(mut self, key: &str) -> Self {
        let of_key = format!("{key}=");
        self.settings
            .retain(|setting| !setting.starts_with(&of_key));
        self
    }

    /// With a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this content of a file in its folder.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    /// Without a file in its folder.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    /// Started by another program, which gets these arguments, then the server's command line.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Run by somebody who is not root, whoever runs the tests.
    ///
    /// # Errors
    ///
    /// They are run by root, and this system has no `setpriv`.
    ///
    /// # Panics
    ///
    /// When the files cannot be made readable.
    pub fn unprivileged(mut self) -> Result<Self, CannotRun> {
        if !rustix::process::geteuid().is_root() {
            return Ok(self);
        }
        let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
        if !has_setpriv {
            return Err(CannotRun(
                "root runs this, and there is no setpriv to become another",
            ));
        }
        // Root's target folder may be closed to others. Copied by another program: one that this one still
        // had open for writing, in a child that another case is just starting, could not be run.
        let program = self.path("ask2do-token-server");
        let copied = Command::new("cp").args([&self.program, &program]).status();
        assert!(copied.unwrap().success());
        self.program = program;
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Ok(self.under(&[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ]))
    }

    /// Logs everything.
    #[must_use]
    pub fn traced(self) -> Self {
        self.variable("RUST_LOG", "trace")
    }

    /// The path of a file in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs it to its end, with more arguments: the exit code, and what it wrote.
    ///
    /// # Panics
    ///
    /// When it does not end, or by a signal.
    pub async fn run(self, arguments: &[&str]) -> (i32, String) {
        let mut process = self.spawn(arguments);
        let code = process.ended().await.code().expect("an exit code");
        (code, process.output().text())
    }

    fn spawn(&self, arguments: &[&str]) -> Process {
        let mut line: Vec<String> = self.wrapper.clone();
        line.push(self.program.to_string_lossy().into_owned());
        line.extend(["--config", "server.toml"].map(str::to_owned));
        for setting in &self.settings {
            line.extend(["--set".to_owned(), setting.clone()]);
        }
        line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let program = PathBuf::from(line.remove(0));
        Process::start(&program, line, &self.environment, self.folder.path())
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn start(self) -> Server {
        let mut process = self.spawn(&[]);
        let listening = process
            .record("listening", |record| record["message"] == "listening")
            .await;
        let address = |port: &str| listening[port].as_str().unwrap().parse().unwrap();
        let (grpc, admin) = (address("grpc"), address("admin"));
        Server::new(process, grpc, admin, self.folder)
    }
}
