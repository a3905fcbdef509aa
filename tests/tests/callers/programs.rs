//! The programs: where they come from, and how they are run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ask2do_token_tests::PATIENCE;
use ask2do_token_tests::binaries::{binary, workspace};
use ask2do_token_tests::suite::CannotRun;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The trace that the programs find in their environment.
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// The span of that trace in which they are called.
pub(crate) const PARENT: &str = "b7ad6b7169203331";

/// Each compiler and each JVM wants a core.
const MOST_PATIENCE: Duration = Duration::from_secs(4 * PATIENCE.as_secs());

/// How often a call is made whose 6 s were over before the program was awake, on a busy machine.
pub(crate) const ATTEMPTS: usize = 4;

/// How many programs start at a time, in all languages together: each takes a core until it has made its first
/// call, for which it has 6 s.
static STARTING: Semaphore = Semaphore::const_new(3);

/// How a program is made.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The program that builds it, and why it is not built without.
    tool: Option<(&'static str, &'static str)>,
    /// Whether `--id -` reads several.
    pub(crate) takes_several: bool,
}

pub(crate) const PROGRAMS: &[Kind] = &[
    Kind {
        name: "ask2do-token",
        tool: None,
        takes_several: false,
    },
    Kind {
        name: "Rust",
        tool: None,
        takes_several: true,
    },
    Kind {
        name: "Go",
        tool: Some(("go", "there is no Go")),
        takes_several: true,
    },
    Kind {
        name: "Python",
        tool: Some(("python3", "there is no Python")),
        takes_several: true,
    },
    Kind {
        name: "Node",
        tool: Some(("npm", "there is no Node")),
        takes_several: true,
    },
    Kind {
        name: "Java",
        tool: Some(("mvn", "there is no Maven")),
        takes_several: true,
    },
];

/// A program that can be run.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    line: Vec<String>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// Builds it, unless it is as it was.
    pub(crate) async fn of(kind: &Kind) -> Result<Self, CannotRun> {
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let line = match kind.tool {
            None if kind.takes_several => vec![text(binary("caller"))],
            None => vec![
                text(binary("ask2do-token")),
                "mint".to_owned(),
                "--json".to_owned(),
            ],
            Some((tool, missing)) => {
                if !has(tool).await {
                    return Err(CannotRun(missing));
                }
                vec![text(build(&kind.name.to_lowercase()).await)]
            }
        };
        Ok(Self {
            name: kind.name,
            line,
        })
    }

    fn command(&self, arguments: &[String], folder: &Path) -> Command {
        let mut command = Command::new(&self.line[0]);
        command
            .args(&self.line[1..])
            .args(arguments)
            .current_dir(folder)
            .env("TRACEPARENT", format!("00-{TRACE}-{PARENT}-01"))
            // As nearly every container and desktop has it; Java 17 reads its arguments by it.
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end, with these variables.
    pub(crate) async fn run(
        &self,
        arguments: &[String],
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Done {
        let _start = STARTING.acquire().await.unwrap();
        let output = self
            .command(arguments, folder)
            .envs(variables.iter().copied())
            .output();
        let output = tokio::time::timeout(MOST_PATIENCE, output)
            .await
            .expect("it ends")
            .unwrap();
        Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts it, to be told each id. It has had a first token.
    pub(crate) async fn session(
        &self,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Session, String> {
        self.start(self.command(arguments, folder)).await
    }

    /// The same where `/etc/hosts` is this file.
    pub(crate) async fn session_with_hosts(
        &self,
        arguments: &[String],
        folder: &Path,
        hosts: &Path,
    ) -> Result<Session, String> {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"")
            .arg(hosts);
        let inner = self.command(arguments, folder);
        let inner = inner.as_std();
        command.arg(inner.get_program()).args(inner.get_args());
        command
            .current_dir(folder)
            .env("LC_ALL", "C.UTF-8")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        self.start(command).await
    }

    async fn start(&self, command: Command) -> Result<Session, String> {
        let _start = STARTING.acquire().await.unwrap();
        let mut session = Self::spawn(command);
        session.may_say_unknown = self.name == "Java";
        for _ in 0..ATTEMPTS {
            let said = session.call("first").await?;
            if said["ok"] == true {
                return Ok(session);
            }
            if said["reason"] != "CLOUD_TIMEOUT" {
                return Err(format!("no first token: {said}"));
            }
            session.so_far = 1;
        }
        Err("no first token in time".to_owned())
    }

    fn spawn(mut command: Command) -> Session {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        Session {
            stdin: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            stderr: tokio::spawn(async move {
                let mut bytes = Vec::new();
                _ = stderr.read_to_end(&mut bytes).await;
                String::from_utf8_lossy(&bytes).into_owned()
            }),
            child,
            so_far: 0,
            may_say_unknown: false,
        }
    }
}

/// A program that makes several calls.
pub(crate) struct Session {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: JoinHandle<String>,
    /// The highest exit code of its calls before the first token.
    so_far: i32,
    may_say_unknown: bool,
}

impl Session {
    /// Tells it an id.
    pub(crate) async fn tell(&mut self, id: &str) {
        let line = format!("{id}\n");
        // One that has ended is told by what it does not answer.
        _ = self.stdin.write_all(line.as_bytes()).await;
    }

    /// What it says of the next one.
    pub(crate) async fn answer(&mut self) -> Result<Value, String> {
        let line = tokio::time::timeout(MOST_PATIENCE, self.lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => {
                serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))
            }
            Ok(_) => Err(format!(
                "it has ended: {}",
                (&mut self.stderr).await.unwrap()
            )),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Tells it an id, and gives what it says.
    pub(crate) async fn call(&mut self, id: &str) -> Result<Value, String> {
        self.tell(id).await;
        self.answer().await
    }

    /// The same at the very moment at which a connection was lost: grpc-java then says UNKNOWN at times, and
    /// goes on.
    pub(crate) async fn call_after_loss(&mut self, id: &str) -> Result<Value, String> {
        let said = self.call(id).await?;
        if !self.may_say_unknown || said["code"] != "UNKNOWN" {
            return Ok(said);
        }
        self.so_far = 1;
        self.call(id).await
    }

    /// Ends its input. The exit code is the highest of its calls'.
    pub(crate) async fn end(self, of_calls: i32) -> Result<(), String> {
        let Self {
            mut child,
            stdin,
            stderr,
            so_far,
            ..
        } = self;
        drop(stdin);
        let status = tokio::time::timeout(MOST_PATIENCE, child.wait()).await;
        let code = status.unwrap().unwrap().code();
        if code == Some(of_calls.max(so_far)) {
            return Ok(());
        }
        let complaint = stderr.await.unwrap();
        Err(format!(
            "exit code {code:?} instead of {of_calls}\n{complaint}"
        ))
    }
}

/// Whether `PATH` has a program.
pub(crate) async fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status();
    found.await.unwrap().success()
}

/// The program of a language, built by `tests/callers/build`.
async fn build(language: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callers");
    std::fs::create_dir_all(&folder).unwrap();
    let built = Command::new(workspace().join("tests/callers/build"))
        .arg(language)
        .arg(&folder)
        .output()
        .await
        .unwrap();
    assert!(
        built.status.success(),
        "{}{}",
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    folder.join(language).join("caller")
}

/// Go's stub is committed, as is usual there: made anew, it is the same.
pub(crate) async fn go_stub_is_current() -> Result<(), CannotRun> {
    if !has("go").await {
        return Err(CannotRun("there is no Go"));
    }
    if !has("buf").await {
        return Err(CannotRun("there is no buf"));
    }
    let folder = workspace().join("tests/callers/go");
    let made = tempfile::tempdir().unwrap();
    let generated = Command::new("buf")
        .args(["generate", "--output"])
        .arg(made.path())
        .current_dir(&folder)
        .output()
        .await
        .unwrap();
    assert!(generated.status.success(), "{generated:?}");
    for file in ["token_service.pb.go", "token_service_grpc.pb.go"] {
        let file = format!("gen/ask2do/token/v1/{file}");
        let read = |folder: &Path| std::fs::read_to_string(folder.join(&file)).unwrap();
        let is_same = read(&folder) == read(made.path());
        assert!(is_same, "{file}: run `go generate` in tests/callers/go");
    }
    Ok(())
}
