//! `ask2do-token-playground cloud` as a process.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may end where something is amiss"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn playground() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ask2do-token-playground"));
    command
        .arg("cloud")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process, and the lines it prints once it listens.
fn start(arguments: &[&str]) -> (Running, Vec<String>) {
    let mut child = playground().args(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let expected = if arguments.contains(&"--plain") { 2 } else { 3 };
    let told = lines
        .by_ref()
        .take(expected)
        .map(|line| line.unwrap())
        .collect();
    (Running(child), told)
}

fn end(mut running: Running, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&running.0), signal).unwrap();
    running.0.wait().unwrap().code()
}

fn output(arguments: &[&str]) -> Output {
    playground().args(arguments).output().unwrap()
}

fn address(told: &[String]) -> SocketAddr {
    told[0].rsplit_once("//").unwrap().1.parse().unwrap()
}

fn post(address: SocketAddr, key: &str) -> String {
    let body = format!(r#"{{"tenantKey":"{key}","panelUser":{{"id":"42","role":"admin"}}}}"#);
    let mut socket = TcpStream::connect(address).unwrap();
    write!(
        socket,
        "POST /auth/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_prints_its_address_mints_and_ends_with_0_on_both_signals() {
    for signal in [Signal::TERM, Signal::INT] {
        let (cloud, told) = start(&["--plain", "--listen", "127.0.0.1:0"]);
        assert!(
            told[0].starts_with("simulated cloud on http://127.0.0.1:"),
            "{told:?}"
        );
        let key_file = told[1].strip_prefix("tenant key: ").unwrap();
        let key = std::fs::read_to_string(key_file).unwrap();
        assert!(post(address(&told), &key).starts_with("HTTP/1.1 200 OK"));
        assert!(post(address(&told), "wrong").starts_with("HTTP/1.1 401"));
        assert_eq!(end(cloud, signal), Some(0));
        assert!(
            !Path::new(key_file).exists(),
            "a temporary folder stays behind"
        );
    }
}

#[test]
fn with_a_folder_it_speaks_tls_with_what_it_keeps_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (cloud, told) = start(&["--dir", path]);
    assert!(
        told[0].starts_with("simulated cloud on https://127.0.0.1:"),
        "{told:?}"
    );
    assert!(told[2].ends_with("/ca.crt"), "{told:?}");
    // A TLS server answers what is no TLS with an alert, not with HTTP.
    let mut socket = TcpStream::connect(address(&told)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&0x15));
    assert_eq!(end(cloud, Signal::TERM), Some(0));
    assert!(dir.path().join("tenant-key").exists());

    let certificate = dir.path().join("server.crt");
    let key = dir.path().join("server.key");
    let (cloud, told) = {
        let mut child = playground()
            .arg("--certificate-file")
            .arg(&certificate)
            .arg("--private-key-file")
            .arg(&key)
            .arg("--tenant-key-file")
            .arg(dir.path().join("tenant-key"))
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        (Running(child), line)
    };
    assert!(told.starts_with("simulated cloud on https://"), "{told}");
    assert_eq!(end(cloud, Signal::TERM), Some(0));
}

#[test]
fn what_cannot_be_is_said_with_a_code_of_its_own() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for (arguments, code, words) in [
        (vec!["--plain", "--listen", &taken], 1, "cannot listen on"),
        (
            vec!["--plain", "--tenant-key-file", "/nonexistent/key"],
            1,
            "/nonexistent/key: ",
        ),
        (vec!["--listen", "here"], 2, "invalid socket address"),
        (vec!["--certificate-file", "x"], 2, "--private-key-file"),
        (
            vec![
                "--plain",
                "--certificate-file",
                "x",
                "--private-key-file",
                "y",
            ],
            2,
            "cannot be used with",
        ),
        (vec!["--slow"], 2, "--slow"),
    ] {
        let output = output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn help_lists_every_scenario() {
    let output = output(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for scenario in ask2do_token_playground::cloud::SCENARIOS {
        assert!(
            help.contains(scenario.pattern),
            "{} is missing",
            scenario.pattern
        );
    }
}

#[test]
fn as_a_child_it_ends_with_its_parent() {
    let mut child = playground()
        .args(["--plain", "--end-with-parent"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut cloud = Running(child);
    assert!(cloud.0.try_wait().unwrap().is_none());
    drop(cloud.0.stdin.take());
    assert_eq!(cloud.0.wait().unwrap().code(), Some(0));
}
