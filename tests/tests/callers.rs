//! The programs in `tests/callers`, and our own command line, all against the same table: what a caller
//! meets is the same in every language.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use ask2do_token_tests::binaries::{binary, workspace};
use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::world::{PANEL, SHOP, Server, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// The trace that the callers find in their environment.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

const LANGUAGES: &[Language] = &[
    Language {
        name: "go",
        tool: "go",
        missing: "there is no Go",
    },
    Language {
        name: "python",
        tool: "python3",
        missing: "there is no Python",
    },
    Language {
        name: "node",
        tool: "npm",
        missing: "there is no Node",
    },
    Language {
        name: "java",
        tool: "mvn",
        missing: "there is no Maven",
    },
];

struct Language {
    name: &'static str,
    tool: &'static str,
    missing: &'static str,
}

/// One line of the table.
struct Row {
    what: &'static str,
    /// Instead of those that work: `--endpoint` has `localhost:PORT` of the server it names.
    instead: &'static [(&'static str, &'static str)],
    expected: Expected,
    /// How many calls the server gets, where a retry would show.
    at_server: Option<f64>,
}

enum Expected {
    Token,
    /// Code, reason, seconds to wait, fields.
    Status(
        &'static str,
        &'static str,
        Option<u64>,
        &'static [&'static str],
    ),
    /// Exit code 3.
    Unreachable,
    /// Exit code 2.
    Usage,
}

use Expected::{Status, Token, Unreachable, Usage};

const fn row(
    what: &'static str,
    instead: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> Row {
    Row {
        what,
        instead,
        expected,
        at_server: None,
    }
}

const fn once(mut row: Row) -> Row {
    row.at_server = Some(1.0);
    row
}

const ROWS: &[Row] = &[
    once(row("a panel user", &[], Token)),
    row(
        "an address instead of a name",
        &[("--endpoint", "127.0.0.1")],
        Token,
    ),
    row(
        "a role that Ask2Do does not serve",
        &[("--role", "editor")],
        Status("PERMISSION_DENIED", "ROLE_NOT_ALLOWED", None, &[]),
    ),
    row(
        "neither id nor role is well-formed",
        &[("--id", "4\u{7}2"), ("--role", "")],
        Status(
            "INVALID_ARGUMENT",
            "PANEL_USER_INVALID",
            None,
            &["panel_user.id", "panel_user.role"],
        ),
    ),
    row(
        "the certificate names no caller",
        &[("--cert", "stranger.crt"), ("--key", "stranger.key")],
        Status("PERMISSION_DENIED", "CALLER_NOT_ALLOWED", None, &[]),
    ),
    row(
        "this caller may not mint for that role",
        &[
            ("--cert", "shop.crt"),
            ("--key", "shop.key"),
            ("--role", "owner"),
        ],
        Status("PERMISSION_DENIED", "CALLER_NOT_ALLOWED", None, &[]),
    ),
    row(
        "Ask2Do refuses the tenant key",
        &[("--endpoint", "rejected")],
        Status("FAILED_PRECONDITION", "TENANT_KEY_REJECTED", None, &[]),
    ),
    once(row(
        "Ask2Do answers 429, with Retry-After",
        &[("--id", "status-429-retry-after-7")],
        Status("UNAVAILABLE", "CLOUD_RATE_LIMITED", Some(7), &[]),
    )),
    once(row(
        "Ask2Do answers 500",
        &[("--id", "status-500")],
        Status("UNAVAILABLE", "CLOUD_UNAVAILABLE", None, &[]),
    )),
    once(row(
        "Ask2Do does not answer in time",
        &[("--id", "slow-9s")],
        Status("DEADLINE_EXCEEDED", "CLOUD_TIMEOUT", None, &[]),
    )),
    once(row(
        "Ask2Do's answer is no token",
        &[("--id", "garbage")],
        Status("INTERNAL", "CLOUD_RESPONSE_INVALID", None, &[]),
    )),
    row(
        "the service's certificate is of another CA",
        &[("--ca", "other-ca.crt")],
        Unreachable,
    ),
    row(
        "the service's certificate is for another name",
        &[("--endpoint", "misnamed")],
        Unreachable,
    ),
    row(
        "the caller's certificate is of another CA",
        &[("--cert", "foreign.crt"), ("--key", "foreign.key")],
        Unreachable,
    ),
    row(
        "the caller's certificate has expired",
        &[("--cert", "expired.crt"), ("--key", "expired.key")],
        Unreachable,
    ),
    row(
        "nothing listens there",
        &[("--endpoint", "down")],
        Unreachable,
    ),
    row("a file is missing", &[("--cert", "missing.crt")], Usage),
    row("an option that there is none of", &[("--wat", "x")], Usage),
];

/// Servers with one fault each, and the certificates of callers by theirs.
struct Stage {
    world: World,
    server: Server,
    rejected: Server,
    misnamed: Server,
    /// Holds a port that it does not listen on for anybody.
    down: u16,
    folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.server().set("cloud.timeout", "2s").start().await;
        let rejected = world.server().file("tenant-key", "another");
        let misnamed = world.server();
        world
            .servers
            .issue(&Leaf::client().dns("elsewhere.test").for_servers())
            .write(misnamed.path("").as_path(), "tls");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let down = listener.local_addr().unwrap().port();
        drop(listener);
        Self {
            rejected: rejected.start().await,
            misnamed: misnamed.start().await,
            down,
            folder: certificates(&world),
            server,
            world,
        }
    }

    fn endpoint(&self, named: &str) -> String {
        let port = match named {
            "rejected" => self.rejected.grpc.port(),
            "misnamed" => self.misnamed.grpc.port(),
            "down" => self.down,
            _ => self.server.grpc.port(),
        };
        let host = if named == "127.0.0.1" {
            named
        } else {
            "localhost"
        };
        format!("{host}:{port}")
    }
}

fn certificates(world: &World) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let caller = || Leaf::client().uri(PANEL);
    let other = Authority::new("another CA");
    fs::write(path.join("ca.crt"), world.servers.pem()).unwrap();
    fs::write(path.join("other-ca.crt"), other.pem()).unwrap();
    other.issue(&caller()).write(path, "foreign");
    for (name, leaf) in [
        ("caller", caller()),
        ("shop", Leaf::client().uri(SHOP)),
        ("stranger", Leaf::client().uri("spiffe://demo/stranger")),
        ("expired", caller().valid(-7200, -3600)),
    ] {
        world.callers.issue(&leaf).write(path, name);
    }
    folder
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("rust: every row of the table", || async {
        let program = binary("ask2do-token").into_os_string();
        let line = [program, "mint".into(), "--json".into()];
        table(&line.map(|word| word.into_string().unwrap())).await;
    });
    for language in LANGUAGES {
        suite.case_where_possible(
            format!("{}: every row of the table", language.name),
            move || async move {
                let program = build(language).await?;
                table(&[program.into_os_string().into_string().unwrap()]).await;
                Ok(())
            },
        );
    }
    suite.run()
}

/// The program of a language, built by `tests/callers/build`.
async fn build(language: &Language) -> Result<PathBuf, CannotRun> {
    let has_tool = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", language.tool])
        .status();
    if !has_tool.await.unwrap().success() {
        return Err(CannotRun(language.missing));
    }
    let cache = std::env::var_os("ASK2DO_CI_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/ask2do-token"),
        PathBuf::from,
    );
    let folder = cache.join("callers");
    let built = Command::new(workspace().join("tests/callers/build"))
        .arg(language.name)
        .arg(&folder)
        .output()
        .await
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    Ok(folder.join(language.name).join("caller"))
}

/// Runs every row, and reports all that differ.
async fn table(program: &[String]) {
    let stage = Stage::new().await;
    let mut differ = Vec::new();
    for row in ROWS {
        if let Err(difference) = check(&stage, program, row).await {
            differ.push(format!("{}: {difference}", row.what));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

async fn check(stage: &Stage, program: &[String], row: &Row) -> Result<(), String> {
    let before = stage.world.cloud.calls().total;
    let mints_before = mints(&stage.server).await;
    let done = call(stage, program, row).await;
    let code = match row.expected {
        Token => 0,
        Status(..) => 1,
        Usage => 2,
        Unreachable => 3,
    };
    let problem = |what: &str| Err(format!("{what}\n{done:?}"));
    if done.code != Some(code) {
        return problem(&format!("the exit code is not {code}"));
    }
    let lines: Vec<_> = done.stdout.lines().collect();
    let said: Value = match (&row.expected, lines.as_slice()) {
        (Usage, []) => return Ok(()),
        (_, &[line]) => serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?,
        _ => return problem("not the one line on stdout"),
    };
    if !is_as_expected(&row.expected, &said) {
        return problem("another line was expected");
    }
    if matches!(row.expected, Token) {
        let header = &stage.world.cloud.last_call().unwrap().headers["traceparent"];
        if header.split('-').nth(1) != Some(TRACE) {
            return problem(&format!("the trace is another at the cloud: {header}"));
        }
    }
    if let Some(calls) = row.at_server {
        let at_server = mints(&stage.server).await - mints_before;
        let at_cloud = stage.world.cloud.calls().total - before;
        if at_server != calls || at_cloud != 1 {
            return problem(&format!(
                "{at_server} calls at the server, {at_cloud} at the cloud"
            ));
        }
    }
    Ok(())
}

/// How many calls the server answered, whatever came of them.
async fn mints(server: &Server) -> f64 {
    let (_, text) = server.get("/metrics").await;
    text.lines()
        .filter(|line| line.starts_with("ask2do_mints_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// A field that is absent, null or empty says the same.
fn is_as_expected(expected: &Expected, said: &Value) -> bool {
    match expected {
        Token => {
            said["ok"] == json!(true)
                && said["token"]
                    .as_str()
                    .is_some_and(|t| t.split('.').count() == 3)
                && said["expiresAt"]
                    .as_str()
                    .is_some_and(|at| at.ends_with('Z'))
        }
        Status(code, reason, after, fields) => {
            let violations = said["fields"].as_array().into_iter().flatten();
            let mut named: Vec<_> = violations
                .map(|violation| violation["field"].as_str())
                .collect();
            named.sort();
            said["ok"] == json!(false)
                && said["code"] == json!(code)
                && said["reason"] == json!(reason)
                && said["retryAfterSeconds"].as_f64() == after.map(|after| after as f64)
                && named == fields.iter().copied().map(Some).collect::<Vec<_>>()
        }
        Unreachable => is_as_expected(
            &Status("UNAVAILABLE", "SERVICE_UNAVAILABLE", None, &[]),
            said,
        ),
        Usage => false,
    }
}

#[derive(Debug)]
struct Done {
    code: Option<i32>,
    stdout: String,
    #[expect(dead_code, reason = "shown where a row fails")]
    stderr: String,
}

async fn call(stage: &Stage, program: &[String], row: &Row) -> Done {
    let mut arguments = vec![
        ("--endpoint", stage.endpoint("")),
        ("--ca", "ca.crt".to_owned()),
        ("--cert", "caller.crt".to_owned()),
        ("--key", "caller.key".to_owned()),
        ("--id", "42".to_owned()),
        ("--role", "admin".to_owned()),
    ];
    for &(option, value) in row.instead {
        let value = match option {
            "--endpoint" => stage.endpoint(value),
            _ => value.to_owned(),
        };
        arguments.retain(|(other, _)| *other != option);
        arguments.push((option, value));
    }
    let output = Command::new(Path::new(&program[0]))
        .args(&program[1..])
        .args(
            arguments
                .iter()
                .flat_map(|(option, value)| [option, value.as_str()]),
        )
        .current_dir(stage.folder.path())
        .env("TRACEPARENT", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
