//! Child processes: each on its own core, gone with this process, and measured from outside.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::Result;

/// How much of a child's output is kept, to show it where the child fails.
const KEPT_LINES: usize = 50;

/// The longest that a child may take to say what it is waited for.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Which core does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The server under test, alone.
    pub(crate) server: usize,
    /// The load driver and the stub cloud.
    pub(crate) load: usize,
}

impl Cores {
    /// The first and the last core that this process may use.
    pub(crate) fn find() -> Result<Self> {
        let set = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
        let server = allowed.next().ok_or("no core may be used")?;
        Ok(Self {
            server,
            load: allowed.next_back().unwrap_or(server),
        })
    }
}

/// Moves this thread, and what it starts from now on, to one core.
pub(crate) fn enter(core: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(core);
    Ok(sched_setaffinity(None, &one)?)
}

/// The whole command line of a child.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    core: usize,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes another program: on its core, and killed when the benchmark ends, however that ends.
pub(crate) fn exec(line: &Exec) -> Result<()> {
    enter(line.core)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let error = std::process::Command::new(&line.program)
        .args(&line.arguments)
        .exec();
    Err(format!("{}: {error}", line.program.display()).into())
}

/// A running child; killed when dropped.
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) started: Instant,
    id: u32,
    child: Child,
    lines: Lines,
    changed: watch::Receiver<usize>,
}

type Lines = Arc<Mutex<Vec<String>>>;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss: u64,
    pub(crate) peak_rss: u64,
}

impl Process {
    /// Starts `program` on `core`, in `folder`; without the environment but for `PATH` and `HOME`.
    pub(crate) fn start(
        name: &'static str,
        core: usize,
        program: &Path,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        folder: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("exec")
            .arg(core.to_string())
            .arg(program)
            .args(arguments.into_iter().map(Into::into))
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for variable in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        let started = Instant::now();
        let mut child = command.spawn()?;
        let lines = Lines::default();
        let (tell, changed) = watch::channel(0);
        let tell = Arc::new(tell);
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(collect(stdout, lines.clone(), tell.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(collect(stderr, lines.clone(), tell));
        }
        Ok(Self {
            name,
            started,
            id: child.id().ok_or("a child ended at once")?,
            child,
            lines,
            changed,
        })
    }

    /// Waits for a line in which `find` finds what it looks for.
    pub(crate) async fn says<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let wait = async {
            loop {
                self.changed.borrow_and_update();
                let found = lock(&self.lines).iter().find_map(|line| find(line));
                if let Some(found) = found {
                    return Ok(found);
                }
                if self.changed.changed().await.is_err() {
                    return Err("ended");
                }
            }
        };
        let waited = tokio::time::timeout(START_LIMIT, wait).await;
        waited.unwrap_or(Err("does not start")).map_err(|what| {
            format!("{} {what}:\n{}", self.name, lock(&self.lines).join("\n")).into()
        })
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.id).map_err(|error| {
            let lines = lock(&self.lines).join("\n");
            format!("{} is gone ({error}):\n{lines}", self.name).into()
        })
    }

    /// Ends it as an operator does, and waits for that.
    pub(crate) async fn end(mut self) -> Result<()> {
        if let Some(id) = self.child.id() {
            let id = rustix::process::Pid::from_raw(id.cast_signed()).ok_or("no process id")?;
            rustix::process::kill_process(id, Signal::TERM)?;
        }
        let ended = tokio::time::timeout(START_LIMIT, self.child.wait()).await;
        ended.map_err(|_| format!("{} does not end", self.name))??;
        Ok(())
    }
}

impl Usage {
    fn of(id: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name before `)` may hold anything; utime and stime are the 12th and 13th after it.
        let (_, fields) = stat.rsplit_once(") ").ok_or("/proc/PID/stat")?;
        let fields = fields.split(' ').skip(11).take(2);
        let mut ticks = 0;
        for field in fields {
            ticks += field.parse::<u64>()?;
        }
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()),
            rss: kib("VmRSS:").ok_or("no VmRSS")? * 1024,
            peak_rss: kib("VmHWM:").ok_or("no VmHWM")? * 1024,
        })
    }
}

async fn collect(stream: impl AsyncRead + Unpin, lines: Lines, tell: Arc<watch::Sender<usize>>) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        let mut kept = lock(&lines);
        if kept.len() < KEPT_LINES {
            kept.push(line);
        }
        drop(kept);
        tell.send_modify(|count| *count += 1);
    }
}

fn lock(lines: &Lines) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
