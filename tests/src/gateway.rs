//! The real gateway, in the world of a server, with a panel to ask.

use std::collections::HashMap;
use std::net::SocketAddr;

use http::Method;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::admin;
use crate::binaries::binary;
use crate::exchange::Exchange;
use crate::pki::Leaf;
use crate::process::Process;
use crate::until;
use crate::world::{PANEL, World};

/// Where it answers.
pub const PATH: &str = "/api/ask2do/token";

/// A gateway to be: its folder, and what is said to it.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    settings: Vec<String>,
    environment: HashMap<String, String>,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// The endpoint's port.
    pub http: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    _folder: TempDir,
}

impl Setup {
    /// One that asks `panel` in mode `forward`, as the caller `panel` of the server at `grpc`.
    ///
    /// # Panics
    ///
    /// When its files cannot be written.
    #[must_use]
    pub fn forward(world: &World, grpc: SocketAddr, panel: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = world.callers.issue(&Leaf::client().uri(PANEL));
        identity.write(folder.path(), "tls");
        std::fs::write(folder.path().join("ca.crt"), world.servers.pem()).unwrap();
        std::fs::write(folder.path().join("gateway.toml"), "").unwrap();
        let setup = Self {
            folder,
            settings: Vec::new(),
            environment: HashMap::new(),
        };
        setup
            .set("http.listen", "127.0.0.1:0")
            .set("admin.listen", "127.0.0.1:0")
            .set("service.endpoint", &format!("https://{grpc}"))
            .set("session.mode", "forward")
            .set("session.forward.url", &format!("http://{panel}/whoami"))
            // A busy machine is no panel that hangs.
            .set("session.forward.timeout", "5s")
    }

    /// With `--set key=value`, instead of what was said of it before.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let of_key = format!("{key}=");
        self.settings
            .retain(|setting| !setting.starts_with(&of_key));
        self.settings.push(format!("{key}={value}"));
        self
    }

    /// With a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn start(self) -> Gateway {
        let mut process = self.spawn(&[]);
        let listening = process
            .record("listening", |record| record["message"] == "listening")
            .await;
        let address = |port: &str| listening[port].as_str().unwrap().parse().unwrap();
        Gateway {
            http: address("http"),
            admin: address("admin"),
            process,
            _folder: self.folder,
        }
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
        let set = |setting: &String| ["--set".to_owned(), setting.clone()];
        let line = ["--config", "gateway.toml"]
            .map(str::to_owned)
            .into_iter()
            .chain(self.settings.iter().flat_map(set))
            .chain(arguments.iter().map(|&argument| argument.to_owned()));
        let program = binary("ask2do-token-gateway");
        Process::start(&program, line, &self.environment, self.folder.path())
    }
}

impl Gateway {
    /// Whether it says that it is ready.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn is_ready(&self) -> bool {
        admin::get(self.admin, "/readyz").await.unwrap().0 == 200
    }

    /// Waits until a first token has come through it, for a user of its own: on a busy machine the first connections
    /// may take longer than they are given.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn warm(&self) {
        until("a first token", async || {
            let answer = widget("owner", "first").send(self.http).await.ok()?;
            (answer.outcome().1 == "OK").then_some(())
        })
        .await;
    }

    /// Ends it as Kubernetes does: the exit code must be 0.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn end(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0));
    }
}

/// What the widget sends, on the panel's own page, in the session of this user.
#[must_use]
pub fn widget(role: &str, id: &str) -> Exchange {
    Exchange::new(Method::POST, PATH)
        .header("cookie", &format!("sid={role}/{id}"))
        .header("sec-fetch-site", "same-origin")
}
