//! The playground, as a person starts it.

use std::collections::HashMap;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::binaries::binary;
use crate::process::Process;
use crate::until;

/// A playground that is up. It ends with its parts when this is dropped.
#[derive(Debug)]
pub struct Demo {
    process: Process,
    folder: TempDir,
    /// The demo panel's origin.
    pub panel: String,
    /// The simulated cloud's.
    pub cloud: String,
}

impl Demo {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[]).await
    }

    /// Starts one whose gateway serves GET, too, as an operator may have it.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start_serving_get() -> Self {
        // The playground uses a file that was changed as long as the ports are the same.
        let mut first = Self::start().await;
        first.process.signal(Signal::TERM);
        assert!(first.process.ended().await.success());
        let settings = first.folder.path().join("gateway.toml");
        let written = std::fs::read_to_string(&settings).unwrap();
        let changed = written.replacen("[http]\n", "[http]\nallow_get = true\n", 1);
        assert_ne!(changed, written);
        std::fs::write(settings, changed).unwrap();
        let (_, port) = first.cloud.rsplit_once(':').unwrap();
        Self::start_in(first.folder, &["--port", port]).await
    }

    async fn start_in(folder: TempDir, more: &[&str]) -> Self {
        let dir = folder.path().to_str().unwrap();
        let arguments = ["--dir", dir].into_iter().chain(more.iter().copied());
        let program = binary("ask2do-token-playground");
        let process = Process::start(&program, arguments, &HashMap::new(), folder.path());
        let output = process.output().clone();
        let told = |what: &str| {
            let line = |line: &String| {
                line.trim()
                    .strip_prefix(what)
                    .map(|rest| rest.trim().to_owned())
            };
            output.lines().iter().find_map(line)
        };
        let (panel, cloud) = until("the playground is up", async || {
            Some((told("Open the demo panel:")?, told("simulated cloud")?))
        })
        .await;
        Self {
            process,
            folder,
            panel,
            cloud,
        }
    }

    /// The certificate of its CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }
}
