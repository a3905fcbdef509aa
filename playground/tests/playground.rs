//! The playground as a person runs it: one command, a token, and nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may end where something is amiss"
)]

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far more than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn playground() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ask2do-token-playground"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A playground that is up, and the first port of its block.
struct Up {
    process: Child,
    port: u16,
    told: String,
}

impl Up {
    fn start(arguments: &[&str]) -> Self {
        let mut process = playground().args(arguments).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = String::new();
        for line in lines {
            told += &line.unwrap();
            told.push('\n');
            // The last thing it says.
            if told.contains("cloud --help") {
                break;
            }
        }
        let port = told
            .split_once("simulated cloud")
            .unwrap()
            .1
            .split_whitespace()
            .next()
            .unwrap();
        let port = port.rsplit_once(':').unwrap().1.parse().unwrap();
        Self {
            process,
            port,
            told,
        }
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap().code()
    }

    fn listens(&self) -> bool {
        (0..6).any(|offset| TcpStream::connect(("127.0.0.1", self.port + offset)).is_ok())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already. Asked, rather than killed, it removes its folder.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The children of a process, by Linux's own account.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[test]
fn once_mints_a_token_shows_it_and_ends() {
    let output = playground().arg("--once").output().unwrap();
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for shown in [
        r#"header    {"alg":"EdDSA","kid":"1"}"#,
        r#""sub":"42","role":"admin""#,
        "lifetime  14 min",
    ] {
        assert!(told.contains(shown), "{shown} is missing in {told}");
    }
    // Nothing went wrong on the way, and nobody else's output is in between.
    assert_eq!(said(&output), "");
}

#[test]
fn it_stays_up_with_lines_to_copy_until_it_is_asked_to_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut up = Up::start(&[]);
        for shown in [
            "grpcurl -cacert /",
            "buf curl ",
            " mint --endpoint https://",
            "http://localhost:",
        ] {
            assert!(up.told.contains(shown), "{shown} is missing in {}", up.told);
        }
        assert!(up.listens());
        assert_eq!(up.signal(signal), Some(0));
        assert!(!up.listens(), "a child is left");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn children_end_with_a_parent_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(&["--dir", dir.path().to_str().unwrap()]);
    let children = children(up.process.id());
    assert!(children.len() >= 2, "{children:?}");
    assert_eq!(up.signal(Signal::KILL), None);
    until("no child is left", || {
        !up.listens()
            && children
                .iter()
                .all(|child| !Path::new(&format!("/proc/{child}")).exists())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_that_ends_takes_the_playground_with_it() {
    let mut up = Up::start(&[]);
    let child = Pid::from_raw(i32::try_from(children(up.process.id())[0]).unwrap()).unwrap();
    kill_process(child, Signal::KILL).unwrap();
    let stderr = up.process.stderr.take().unwrap();
    assert_eq!(up.process.wait().unwrap().code(), Some(1));
    let said = std::io::read_to_string(stderr).unwrap();
    assert!(said.contains("the simulated cloud ended unasked"), "{said}");
    assert!(!up.listens());
}

#[test]
fn a_folder_keeps_its_files_and_what_somebody_else_put_there() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("it's a demo");
    let path = dir.to_str().unwrap();
    let once = || {
        playground()
            .args(["--once", "--dir", path])
            .output()
            .unwrap()
    };
    let first = once();
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let names = [
        "ca.crt",
        "server.crt",
        "server.key",
        "caller.crt",
        "caller.key",
        "stranger.crt",
        "stranger.key",
        "tenant-key",
    ];
    let contents = || names.map(|name| std::fs::read(dir.join(name)).unwrap());
    let made = contents();
    assert!(dir.join("server.toml").exists());
    assert_eq!(once().status.code(), Some(0));
    assert_eq!(contents(), made);

    std::fs::write(dir.join("tenant-key"), "my-own-key\n").unwrap();
    assert_eq!(once().status.code(), Some(0));
    assert_eq!(
        std::fs::read(dir.join("tenant-key")).unwrap(),
        b"my-own-key\n"
    );

    std::fs::write(dir.join("server.toml"), "mine").unwrap();
    let other = once();
    assert_eq!(other.status.code(), Some(1));
    assert!(
        said(&other).contains("you changed this file"),
        "{}",
        said(&other)
    );
    assert_eq!(std::fs::read(dir.join("server.toml")).unwrap(), b"mine");

    std::fs::remove_file(dir.join("server.toml")).unwrap();
    std::fs::write(dir.join("ca.crt"), "mine").unwrap();
    let other = once();
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("leaves it alone"), "{}", said(&other));
    assert_eq!(std::fs::read(dir.join("ca.crt")).unwrap(), b"mine");
}

#[test]
fn fixed_ports_are_used_as_documented_and_refused_when_taken() {
    // A block that a first playground found free is free once that one has ended.
    let mut found = Up::start(&[]);
    let first = found.port;
    let second = Up::start_expecting_failure(&["--port", &first.to_string()]);
    assert!(
        second.contains(&format!(
            "port {first} on 127.0.0.1, for the simulated cloud"
        )),
        "{second}"
    );
    assert_eq!(found.signal(Signal::TERM), Some(0));

    let up = Up::start(&["--port", &first.to_string()]);
    assert_eq!(up.port, first);
    for (what, offset) in [
        ("https://localhost:", 0),
        ("localhost:", 1),
        ("http://localhost:", 2),
    ] {
        assert!(
            up.told.contains(&format!("{what}{}", first + offset)),
            "{}",
            up.told
        );
    }
    assert!(
        TcpListener::bind(("127.0.0.1", first + 1)).is_err(),
        "the server listens elsewhere"
    );
}

impl Up {
    fn start_expecting_failure(arguments: &[&str]) -> String {
        let output = playground().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        said(&output)
    }
}

#[test]
fn a_port_that_cannot_be_is_a_usage_error() {
    for port in ["0", "65531", "http"] {
        let output = playground().args(["--port", port]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{port}: {}", said(&output));
    }
}
