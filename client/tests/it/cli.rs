//! The command line, as a process.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use ask2do_token_client::certs::{Leaf, Validity};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::pki::Pki;
use crate::service::{Service, answers, mints, token};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ask2do-token"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn caller(pki: &Pki, subcommand: &str, endpoint: &str) -> Command {
    let mut command = command(&[subcommand, "--endpoint", endpoint]);
    for (option, file) in [
        ("--ca", "ca.crt"),
        ("--cert", "caller.crt"),
        ("--key", "caller.key"),
    ] {
        command.arg(option).arg(pki.file(file));
    }
    command
}

fn mint(pki: &Pki, endpoint: &str) -> Command {
    let mut command = caller(pki, "mint", endpoint);
    command.args(["--id", "42", "--role", "admin"]);
    command
}

async fn run(mut command: Command) -> (i32, String, String) {
    told(&command.output().await.unwrap())
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().expect("ended by a signal"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn with_reason(code: tonic::Code, reason: &'static str) -> crate::service::Answer {
    answers(move |_| async move {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(reason, "token.ask2do.com", [])
            .set_retry_info(Some(Duration::from_secs(2)));
        details.add_bad_request_violation("panel_user.id", "must not be empty");
        Err(Status::with_error_details(code, "", details))
    })
}

#[tokio::test]
async fn mint_prints_the_token_alone() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let (code, stdout, stderr) = run(mint(&pki, &service.endpoint())).await;
    assert_eq!((code, &*stderr), (0, ""));
    assert_eq!(stdout, format!("{}\n", token().token));
    let seen = &service.seen()[0];
    assert_eq!((&*seen.id, &*seen.role), ("42", "admin"));
}

#[tokio::test]
async fn mint_takes_host_and_port_and_the_environment() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let mut mint = command(&["mint", "--id", "42", "--role", "admin"]);
    mint.env("ASK2DO_ENDPOINT", service.address.to_string())
        .env("ASK2DO_CA_FILE", pki.file("ca.crt"))
        .env("ASK2DO_CERT_FILE", pki.file("caller.crt"))
        .env("ASK2DO_KEY_FILE", pki.file("caller.key"))
        .env("ASK2DO_SERVER_NAME", "localhost")
        .env("ASK2DO_TIMEOUT", "30s");
    let (code, _, stderr) = run(mint).await;
    assert_eq!((code, &*stderr), (0, ""));
}

#[tokio::test]
async fn json_holds_token_and_end() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let mut mint = mint(&pki, &service.endpoint());
    mint.arg("--json");
    let (code, stdout, _) = run(mint).await;
    assert_eq!(code, 0);
    assert_eq!(stdout.lines().count(), 1);
    let line: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(line["ok"], true);
    assert_eq!(line["token"], token().token);
    let end = line["expiresAt"].as_str().unwrap();
    assert!(end.len() == 24 && end.ends_with('Z'), "{end}");
}

#[tokio::test]
async fn a_failed_mint_is_told_on_stderr_and_ends_with_one() {
    let pki = Pki::new();
    let answer = with_reason(tonic::Code::PermissionDenied, "ROLE_NOT_ALLOWED");
    let service = Service::start(&pki, answer).await;
    let (code, stdout, stderr) = run(mint(&pki, &service.endpoint())).await;
    assert_eq!((code, &*stdout), (1, ""));
    assert!(
        stderr.contains("ROLE_NOT_ALLOWED (PERMISSION_DENIED)"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_failed_mint_is_one_line_of_json_too() {
    for (code, reason, expected) in [
        (
            tonic::Code::Unavailable,
            "CLOUD_RATE_LIMITED",
            json!({"ok": false, "code": "UNAVAILABLE", "reason": "CLOUD_RATE_LIMITED",
                   "retryAfterSeconds": 2, "fields": []}),
        ),
        (
            tonic::Code::InvalidArgument,
            "PANEL_USER_INVALID",
            json!({"ok": false, "code": "INVALID_ARGUMENT", "reason": "PANEL_USER_INVALID",
                   "retryAfterSeconds": null,
                   "fields": [{"field": "panel_user.id", "description": "must not be empty"}]}),
        ),
    ] {
        let pki = Pki::new();
        let service = Service::start(&pki, with_reason(code, reason)).await;
        let mut mint = mint(&pki, &service.endpoint());
        mint.arg("--json");
        let (exit, stdout, _) = run(mint).await;
        assert_eq!(exit, 1);
        assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), expected);
    }
}

#[tokio::test]
async fn the_own_timer_ends_with_one() {
    let pki = Pki::new();
    let service = Service::start(&pki, answers(|_| std::future::pending())).await;
    let mut mint = mint(&pki, &service.endpoint());
    mint.args(["--timeout", "500ms"]);
    let (code, _, stderr) = run(mint).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("CLOUD_TIMEOUT (DEADLINE_EXCEEDED)"),
        "{stderr}"
    );
}

#[tokio::test]
async fn unavailable_with_a_reason_is_one_and_without_is_three() {
    let pki = Pki::new();
    let answer = with_reason(tonic::Code::Unavailable, "CLOUD_UNAVAILABLE");
    let service = Service::start(&pki, answer).await;
    assert_eq!(run(mint(&pki, &service.endpoint())).await.0, 1);
    let draining = answers(|_| async { Err(Status::unavailable("draining")) });
    let service = Service::start(&pki, draining).await;
    assert_eq!(run(mint(&pki, &service.endpoint())).await.0, 3);
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_three() {
    let (pki, other) = (Pki::new(), Pki::new());
    let service = Service::start(&other, mints()).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    for subcommand in ["mint", "health"] {
        for endpoint in [&closed, &service.endpoint()] {
            let mut call = caller(&pki, subcommand, endpoint);
            if subcommand == "mint" {
                call.args(["--id", "42", "--role", "admin"]);
            }
            let (code, stdout, stderr) = run(call).await;
            assert_eq!((code, &*stdout), (3, ""), "{stderr}");
            assert!(
                stderr.contains("SERVICE_UNAVAILABLE (UNAVAILABLE)"),
                "{stderr}"
            );
        }
    }
}

#[tokio::test]
async fn no_certificate_and_one_out_of_its_time_are_three() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let mut without = command(&["mint", "--endpoint", &service.endpoint()]);
    without.arg("--ca").arg(pki.file("ca.crt"));
    without.args(["--id", "42", "--role", "admin"]);
    let (code, _, stderr) = run(without).await;
    assert_eq!(code, 3, "{stderr}");

    let now = time::OffsetDateTime::now_utc();
    let past = Validity {
        not_before: now - time::Duration::days(2),
        not_after: now - time::Duration::days(1),
    };
    let leaf = Leaf::caller("caller", "panel.test".parse().unwrap()).valid(past);
    pki.install(&pki.authority.issue(&leaf).unwrap());
    let mut expired = mint(&pki, &service.endpoint());
    expired.arg("--json");
    let (code, stdout, stderr) = run(expired).await;
    assert_eq!(code, 3);
    assert!(stderr.contains("expired"), "{stderr}");
    let line: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(line["reason"], "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn usage_and_local_files_are_two() {
    let pki = Pki::new();
    fs::write(pki.file("empty"), "").unwrap();
    let endpoint = "https://127.0.0.1:1";
    let file = |name: &str| pki.file(name).to_str().unwrap().to_owned();
    let user = ["--id", "42", "--role", "admin"];
    let cases = [
        vec!["mint".to_owned()],
        vec!["no-such-command".to_owned()],
        with(
            &["mint", "--endpoint", "http://x", "--ca", &file("ca.crt")],
            &user,
        ),
        with(
            &["mint", "--endpoint", endpoint, "--ca", &file("missing")],
            &user,
        ),
        with(
            &["mint", "--endpoint", endpoint, "--ca", &file("empty")],
            &user,
        ),
        with(
            &[
                "mint",
                "--endpoint",
                endpoint,
                "--ca",
                &file("ca.crt"),
                "--cert",
                &file("caller.crt"),
            ],
            &user,
        ),
        with(
            &[
                "mint",
                "--endpoint",
                endpoint,
                "--ca",
                &file("ca.crt"),
                "--cert",
                &file("caller.crt"),
                "--key",
                &file("caller.crt"),
            ],
            &user,
        ),
        with(
            &[
                "mint",
                "--endpoint",
                endpoint,
                "--ca",
                &file("ca.crt"),
                "--timeout",
                "0s",
            ],
            &user,
        ),
        with(
            &["health", "--endpoint", endpoint, "--ca", &file("missing")],
            &[],
        ),
    ];
    for arguments in cases {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, stdout, stderr) = run(command(&arguments)).await;
        assert_eq!((code, &*stdout), (2, ""), "{arguments:?}: {stderr}");
        assert!(
            !stderr.is_empty() && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
}

fn with(first: &[&str], rest: &[&str]) -> Vec<String> {
    first.iter().chain(rest).map(|&s| s.to_owned()).collect()
}

#[tokio::test]
async fn help_and_version_are_zero_and_tell_the_exit_codes() {
    let (code, stdout, _) = run(command(&["--help"])).await;
    assert_eq!(code, 0);
    assert!(stdout.contains("Exit codes:"));
    let (code, stdout, _) = run(command(&["--version"])).await;
    assert_eq!(code, 0);
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_panic() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let mut mint = mint(&pki, &service.endpoint());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    mint.stdout(writer).stderr(Stdio::piped());
    let output = mint.spawn().unwrap().wait_with_output().await.unwrap();
    let (code, _, stderr) = told(&output);
    assert_eq!((code, &*stderr), (2, ""));
}

#[tokio::test]
async fn the_token_never_goes_to_stderr() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let mut mint = mint(&pki, &service.endpoint());
    mint.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
    let (_, _, stderr) = run(mint).await;
    assert_eq!(stderr, "");
}

#[tokio::test]
async fn the_trace_of_the_environment_goes_along() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut mint = mint(&pki, &service.endpoint());
    mint.env("TRACEPARENT", parent);
    assert_eq!(run(mint).await.0, 0);
    assert_eq!(service.seen()[0].headers["traceparent"], parent);
}

#[tokio::test]
async fn health_says_serving() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let (code, stdout, _) = run(caller(&pki, "health", &service.endpoint())).await;
    assert_eq!((code, &*stdout), (0, "SERVING\n"));
}

fn refused(pki: &Pki, endpoint: &str) -> Command {
    let mut command = command(&["health", "--refused", "--endpoint", endpoint]);
    command.arg("--ca").arg(pki.file("ca.crt"));
    command
}

#[tokio::test]
async fn health_proves_that_strangers_are_refused() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let (code, stdout, stderr) = run(refused(&pki, &service.endpoint())).await;
    assert_eq!((code, &*stdout), (0, "REFUSED\n"), "{stderr}");
}

#[tokio::test]
async fn a_service_that_lets_strangers_in_is_found_out() {
    let pki = Pki::new();
    let service = Service::start_for_anybody(&pki, mints()).await;
    let (code, stdout, stderr) = run(refused(&pki, &service.endpoint())).await;
    assert_eq!((code, &*stdout), (1, ""));
    assert!(stderr.contains("was let in"), "{stderr}");
}

#[tokio::test]
async fn a_service_that_is_not_there_has_refused_nobody() {
    let (pki, other) = (Pki::new(), Pki::new());
    let of_another_ca = Service::start(&other, mints()).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    for endpoint in [closed, of_another_ca.endpoint()] {
        let (code, stdout, stderr) = run(refused(&pki, &endpoint)).await;
        assert_eq!((code, &*stdout), (3, ""), "{stderr}");
        assert!(stderr.contains("was not refused"), "{stderr}");
    }
}

#[tokio::test]
async fn a_mint_that_only_checks_prints_no_token() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let mut mint = mint(&pki, &service.endpoint());
    mint.arg("--check");
    let (code, stdout, stderr) = run(mint).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("minted, until "), "{stdout}");
    assert!(!(stdout + &stderr).contains(&token().token));
}

#[tokio::test]
async fn certs_make_what_a_mint_needs() {
    let pki = Pki::new();
    let out = pki.file("made");
    let mut certs = command(&[
        "certs",
        "--server-name",
        "localhost",
        "--server-name",
        "127.0.0.1",
    ]);
    certs.arg("--out").arg(&out);
    certs.args(["--caller", "spiffe://demo/ns/panel/sa/backend"]);
    certs.args(["--caller", "gateway=spiffe://demo/gateway"]);
    let (code, _, stderr) = run(certs).await;
    assert_eq!(code, 0, "{stderr}");
    let mut made: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(
        made,
        [
            "ca.crt",
            "caller.crt",
            "caller.key",
            "gateway.crt",
            "gateway.key",
            "server.crt",
            "server.key"
        ]
    );
    private(&out, &["caller.key", "gateway.key", "server.key"]);
}

#[cfg(unix)]
fn private(directory: &Path, keys: &[&str]) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory), 0o700);
    for key in keys {
        assert_eq!(mode(&directory.join(key)), 0o600, "{key}");
    }
}

#[cfg(not(unix))]
fn private(_directory: &Path, _keys: &[&str]) {}

#[tokio::test]
async fn certs_never_overwrite() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("server.key"), "precious").unwrap();
    let mut certs = command(&["certs"]);
    certs.arg("--out").arg(temporary.path());
    let (code, stdout, stderr) = run(certs).await;
    assert_eq!((code, &*stdout), (2, ""));
    assert!(stderr.contains("server.key"), "{stderr}");
    let kept = fs::read_to_string(temporary.path().join("server.key")).unwrap();
    assert_eq!(kept, "precious");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn certs_refuse_names_that_no_certificate_can_hold() {
    let temporary = tempfile::tempdir().unwrap();
    for wrong in [
        ["--server-name", "spiffe://demo/x"],
        ["--server-name", "a b"],
        ["--caller", "127.0.0.1"],
        ["--caller", "../x=panel.example"],
        ["--caller", "server=panel.example"],
        ["--days", "0"],
    ] {
        let mut certs = command(&["certs"]);
        certs.args(wrong).arg("--out").arg(temporary.path());
        let (code, _, stderr) = run(certs).await;
        assert_eq!(code, 2, "{wrong:?}: {stderr}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}
