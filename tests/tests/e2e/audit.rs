//! The audit log of the real server: its rotation, its ends, and the commands that read it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use ask2do_token_tests::binaries::binary;
use ask2do_token_tests::caller::minted;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::World;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const KEY: &str = "a key of thirty-two bytes, or more of them";

pub(crate) fn add(suite: &mut Suite) {
    suite.case(
        "sighup_begins_a_new_file_and_the_chain_goes_on_over_a_restart",
        rotates,
    );
    suite.case(
        "lines_on_standard_output_are_told_from_logs",
        standard_output,
    );
    suite.case("sighup_ends_no_server_without_an_audit_log", sighup_without);
}

/// Exit code and output of `ask2do-token-server audit ...`.
async fn audit(folder: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let mut child = Command::new(binary("ask2do-token-server"))
        .arg("audit")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it closes it.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .await;
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

async fn rotates() {
    let world = World::new().await;
    let kept = tempfile::tempdir().unwrap();
    let log = kept.path().join("audit.log");
    let setup = || {
        world
            .server()
            .file("audit-key", KEY)
            .set("audit.output", "file")
            .set("audit.file", log.to_str().unwrap())
            .set("audit.key_file", "audit-key")
    };
    let server = setup().start().await;
    let connection = server.connect(&world.panel()).await;
    let token = minted(&connection.mint("42", "admin").await).token;
    let first = kept.path().join("audit.log.1");
    fs::rename(&log, &first).unwrap();
    server.process.signal(Signal::HUP);
    until("the new file", async || log.exists().then_some(())).await;
    connection.mint("status-401", "admin").await;
    drop(connection);
    server.end().await;

    let server = setup().start().await;
    let connection = server.connect(&world.panel()).await;
    connection.mint("43", "owner").await;
    drop(connection);
    server.end().await;

    fs::write(kept.path().join("audit-key"), KEY).unwrap();
    let verify = [
        "verify",
        "--strict",
        "--key-file",
        "audit-key",
        "audit.log",
        "audit.log.1",
    ];
    let (code, said) = audit(kept.path(), &verify, "").await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("chain ").count(), 2, "{said}");

    let find = [
        "find",
        "--key-file",
        "audit-key",
        "audit.log",
        "audit.log.1",
    ];
    let (code, said) = audit(kept.path(), &find, &token).await;
    assert_eq!(code, 0, "{said}");
    for part in [
        "audit.log.1:2",
        "by caller: \"panel\"",
        "for panel user: \"42\"",
        "seal: holds",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(&token));
    assert_eq!(audit(kept.path(), &find, "another").await.0, 1);
    assert_eq!(
        audit(kept.path(), &["find", "none.log"], "another").await.0,
        2
    );

    let text = fs::read_to_string(&first).unwrap();
    fs::write(&first, text.replace("\"42\"", "\"1\"")).unwrap();
    let (code, said) = audit(kept.path(), &verify, "").await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("audit.log.1:2: line 1 of"), "{said}");
}

async fn standard_output() {
    let world = World::new().await;
    let server = world.server().set("audit.output", "stdout").start().await;
    let connection = server.connect(&world.panel()).await;
    connection.mint("42", "admin").await;
    drop(connection);
    // Both streams, as a collector of logs has them.
    let text = server.end().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("both.log"), text).unwrap();
    let (code, said) = audit(folder.path(), &["verify", "both.log"], "").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(": lines 0 to 2, "), "{said}");
}

async fn sighup_without() {
    let world = World::new().await;
    let server = world.server().start().await;
    server.process.signal(Signal::HUP);
    let connection = server.connect(&world.panel()).await;
    minted(&connection.mint("42", "admin").await);
    drop(connection);
    server.end().await;
}
