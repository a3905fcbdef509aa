//! Real processes: their output line by line, their signals, their ends.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::until;

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// What a program has written so far, both streams, by line.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Vec<String>>>);

impl Output {
    /// The lines so far.
    ///
    /// # Panics
    ///
    /// Never: nothing panics under the lock.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The first log record, as JSON, for which `wanted` holds.
    #[must_use]
    pub fn record(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(wanted)
    }

    async fn read(self, stream: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.0.lock().unwrap().push(line);
        }
    }
}

impl Process {
    /// Starts `program`; nothing of this process's environment but `PATH` and `HOME` reaches it, so that a
    /// developer's variables do not change what is tested.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        environment: &HashMap<String, String>,
        folder: &Path,
    ) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(environment);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()));
        let output = Output::default();
        let readers = vec![
            tokio::spawn(output.clone().read(child.stdout.take().unwrap())),
            tokio::spawn(output.clone().read(child.stderr.take().unwrap())),
        ];
        Self {
            name: program.file_name().unwrap().to_string_lossy().into_owned(),
            child,
            output,
            readers,
        }
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits for a log record.
    ///
    /// # Panics
    ///
    /// When none comes, or the program ends without it.
    pub async fn record(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let output = self.output.clone();
        let name = self.name.clone();
        let child = &mut self.child;
        until(&format!("{name}: {what}"), async || {
            let found = output.record(&wanted);
            if found.is_none() && child.try_wait().unwrap().is_some() {
                panic!("{name} ended without: {what}\n{}", output.text());
            }
            found
        })
        .await
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(id, signal).expect("it runs");
    }

    /// Waits for its end, and for all that it wrote.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(crate::PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} does not end:\n{}", self.name, self.output.text()))
            .unwrap();
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        status
    }
}

/// A port of the loopback address that is free now, below those that are handed out for outgoing connections:
/// for programs that cannot take any and tell which.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes, and cases in one, begin at different places.
    let begin = u16::try_from((std::process::id() * 7) % 9_000).unwrap();
    (0..1_000)
        .find_map(|_| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = 10_000 + (begin + next) % 9_000;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .ok()?
                .local_addr()
                .ok()
        })
        .expect("a free port")
}

/// Of a failed case, whatever its processes had to say.
impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.output.lines();
            let last = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- {}, its last lines:", self.name);
            for line in &lines[last..] {
                eprintln!("{line}");
            }
        }
    }
}

/// How much of a process's output a failed case shows.
const SHOWN_LINES: usize = 60;
