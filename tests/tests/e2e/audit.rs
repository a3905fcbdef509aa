//! The audit log of the real server: its rotation, its ends, and the commands that read it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use ask2do_token_tests::binaries::binary;
use ask2do_token_tests::caller::minted;
use ask2do_token_tests::load::Load;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{Server, Setup, World};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tonic::Code;

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
    suite.case("a_rotation_under_load_loses_no_line", rotates_under_load);
    suite.case("a_full_disk_refuses_or_counts_by_configuration", full_disk);
    suite.case(
        "a_closed_pipe_refuses_or_counts_by_configuration",
        closed_pipe,
    );
    suite.case(
        "a_killed_process_leaves_a_head_that_the_next_one_and_the_log_name",
        killed,
    );
    suite.case("ids_may_be_hashed_and_nobody_is_named_then", hashed_ids);
    suite.case("the_audit_commands_take_whatever_a_file_holds", odd_files);
}

/// Exit code and output of `ask2do-token-server audit ...`.
pub(crate) async fn audit(
    folder: &Path,
    arguments: &[&str],
    input: impl AsRef<[u8]>,
) -> (i32, String) {
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
    let _ = child.stdin.take().unwrap().write_all(input.as_ref()).await;
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

/// A server with an audit log in `kept`, which outlives it.
fn audited(world: &World, kept: &Path) -> Setup {
    fs::write(kept.join("audit-key"), KEY).unwrap();
    world
        .server()
        .file("audit-key", KEY)
        .set("audit.output", "file")
        .set("audit.file", kept.join("audit.log").to_str().unwrap())
        .set("audit.key_file", "audit-key")
}

/// The lines of what happened, from one file.
fn events(path: &Path, event: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

/// Exit code and output of a check of these files by the key.
async fn verify(kept: &Path, options: &[&str], files: &[&str]) -> (i32, String) {
    let line = [&["verify", "--key-file", "audit-key"], options, files].concat();
    audit(kept, &line, "").await
}

/// A sample that is a whole number.
async fn count(server: &Server, series: &str) -> u64 {
    let value = server.metric(series).await;
    format!("{value}").parse().unwrap()
}

async fn rotates_under_load() {
    const ROTATIONS: usize = 10;
    let world = World::new().await;
    let kept = tempfile::tempdir().unwrap();
    let log = kept.path().join("audit.log");
    let server = audited(&world, kept.path()).start().await;
    let mut load = Load::begin(&world.panel(), server.grpc, 8);
    let mut names = vec!["audit.log".to_owned()];
    for number in 0..ROTATIONS {
        load.goes_on(20).await;
        let name = format!("audit.log.{number}");
        fs::rename(&log, kept.path().join(&name)).unwrap();
        server.process.signal(Signal::HUP);
        until("the new file", async || log.exists().then_some(())).await;
        names.push(name);
    }
    load.goes_on(20).await;
    let calls = load.stop().await;
    server.end().await;

    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (code, said) = verify(kept.path(), &["--strict"], &names).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("chain ").count(), 1, "{said}");
    let minted: usize = names
        .iter()
        .map(|name| {
            let lines = events(&kept.path().join(name), "mint");
            assert!(lines.iter().all(|line| line["outcome"] == "minted"));
            lines.len()
        })
        .sum();
    assert_eq!(minted as u64, calls, "one line for each token");
}

/// What a caller gets while the log cannot be written.
async fn mints_by_policy(server: &Server, world: &World, policy: &str) {
    let reply = server
        .connect(&world.panel())
        .await
        .mint("42", "admin")
        .await;
    if policy == "refuse" {
        let refusal = reply.refused(Code::ResourceExhausted, "OVERLOADED");
        assert!(refusal.retry_after.is_some());
    } else {
        minted(&reply);
    }
}

async fn full_disk() {
    join_all(["refuse", "continue"].map(full_disk_under)).await;
}

async fn full_disk_under(policy: &str) {
    let world = World::new().await;
    let kept = tempfile::tempdir().unwrap();
    let log = kept.path().join("audit.log");
    let setup = audited(&world, kept.path()).set("audit.on_failure", policy);
    let mut server = setup.start().await;
    let connection = server.connect(&world.panel()).await;
    minted(&connection.mint("42", "admin").await);
    fs::rename(&log, kept.path().join("audit.log.1")).unwrap();
    // A device that is always full.
    symlink("/dev/full", &log).unwrap();
    server.process.signal(Signal::HUP);
    // The file that is open is written until the signal has come.
    until("the disk is full", async || {
        connection.mint("42", "admin").await;
        (server.metric("ask2do_audit_failing").await == 1.0).then_some(())
    })
    .await;
    let record = server
        .record("why", |record| {
            record["message"] == "cannot write the audit log"
        })
        .await;
    assert!(
        record["error"].as_str().unwrap().contains("No space left"),
        "{record}"
    );
    mints_by_policy(&server, &world, policy).await;
    assert_eq!(server.get("/readyz").await.0, 200);

    fs::remove_file(&log).unwrap();
    server.metric_is("ask2do_audit_failing", 0.0).await;
    minted(&connection.mint("43", "admin").await);
    let lost = count(&server, "ask2do_audit_lines_lost_total").await;
    assert!(lost >= 1);
    drop(connection);
    server.end().await;
    let said: u64 = events(&log, "lost")
        .iter()
        .map(|line| line["lines"].as_u64().unwrap())
        .sum();
    assert_eq!(said, lost, "the log says how many are missing");
    let files = ["audit.log", "audit.log.1"];
    let (code, said) = verify(kept.path(), &[], &files).await;
    assert_eq!(code, 0, "{policy}: {said}");
    assert!(said.contains("could not be written"), "{said}");
    assert_eq!(verify(kept.path(), &["--strict"], &files).await.0, 1);
}

async fn closed_pipe() {
    join_all(["refuse", "continue"].map(closed_pipe_under)).await;
}

async fn closed_pipe_under(policy: &str) {
    let world = World::new().await;
    // Whoever reads standard output ends after the first line, the chain's beginning.
    let reads_one = r#"exec "$@" > >(head -n 1)"#;
    let setup = world
        .server()
        .set("audit.output", "stdout")
        .set("audit.on_failure", policy)
        .under(&["bash", "-c", reads_one, "bash"]);
    let mut server = setup.start().await;
    until("nobody reads any more", async || {
        server
            .connect(&world.panel())
            .await
            .mint("42", "admin")
            .await;
        (server.metric("ask2do_audit_failing").await == 1.0).then_some(())
    })
    .await;
    mints_by_policy(&server, &world, policy).await;
    assert!(server.metric("ask2do_audit_lines_lost_total").await >= 1.0);
    let record = server
        .record("why", |record| {
            record["message"] == "cannot write the audit log"
        })
        .await;
    assert!(
        record["error"].as_str().unwrap().contains("Broken pipe"),
        "{record}"
    );
    server.end().await;
}

async fn killed() {
    let world = World::new().await;
    let kept = tempfile::tempdir().unwrap();
    let log = kept.path().join("audit.log");
    let mut server = audited(&world, kept.path()).start().await;
    let connection = server.connect(&world.panel()).await;
    minted(&connection.mint("42", "admin").await);
    let number = count(&server, "ask2do_audit_head").await;
    let sequence = count(&server, "ask2do_audit_sequence").await;
    server.process.signal(Signal::KILL);
    assert_eq!(server.process.ended().await.code(), None);
    let before = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(before.lines().last().unwrap()).unwrap();
    let text = |member: &str| last[member].as_str().unwrap().to_owned();
    let (instance, mac) = (text("instance"), text("mac"));

    // The metric is what the document says: the first twelve digits, in hexadecimal.
    assert_eq!(format!("{number:012x}"), mac[..12]);
    assert_eq!(last["seq"], sequence);
    let head = format!("{instance}:{sequence}:{}", &mac[..12]);
    let demand = ["--head", &*head];
    let (code, said) = verify(kept.path(), &demand, &["audit.log"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("has no last line"), "{said}");

    // Its tail is cut: whoever knows the head sees it; so he does when all of it is gone.
    let cut: String = before.split_inclusive('\n').take(1).collect();
    fs::write(&log, &cut).unwrap();
    assert_eq!(verify(kept.path(), &[], &["audit.log"]).await.0, 0);
    let (code, said) = verify(kept.path(), &demand, &["audit.log"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("lines are missing"), "{said}");

    // The next process names what it finds.
    fs::write(&log, &before).unwrap();
    let server = audited(&world, kept.path()).start().await;
    let lines = server.end().await;
    let begin = &events(&log, "begin")[1];
    assert_eq!(begin["previous"]["mac"], mac);
    assert_eq!(begin["previous"]["instance"], instance);
    let after = fs::read_to_string(&log).unwrap();
    let end: Value = serde_json::from_str(after.lines().last().unwrap()).unwrap();
    let head = format!(
        "{}:1:{}",
        end["instance"].as_str().unwrap(),
        end["mac"].as_str().unwrap()
    );
    assert!(
        lines.contains(&head),
        "the log names the last head: {lines}"
    );
    let demand = ["--head", &*head];
    assert_eq!(verify(kept.path(), &demand, &["audit.log"]).await.0, 0);
    fs::write(&log, after.replace(&before, &cut)).unwrap();
    let (code, said) = verify(kept.path(), &[], &["audit.log"]).await;
    assert_eq!(code, 1, "{said}");
    fs::write(&log, &before).unwrap();
    let (code, said) = verify(kept.path(), &demand, &["audit.log"]).await;
    assert_eq!(code, 1, "a chain that is missing as a whole: {said}");
}

async fn hashed_ids() {
    const ID: &str = "canary-panel-user-42";
    let world = World::new().await;
    let kept = tempfile::tempdir().unwrap();
    let setup = audited(&world, kept.path()).set("audit.panel_user_id", "hash");
    let server = setup.start().await;
    let connection = server.connect(&world.panel()).await;
    let token = minted(&connection.mint(ID, "admin").await).token;
    minted(&connection.mint(ID, "admin").await);
    minted(&connection.mint("another", "admin").await);
    drop(connection);
    server.end().await;
    let log = kept.path().join("audit.log");
    assert!(!fs::read_to_string(&log).unwrap().contains(ID));
    let hashes: Vec<_> = events(&log, "mint")
        .iter()
        .map(|line| line["panel_user_id_hmac"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
    let line = ["find", "--key-file", "audit-key", "audit.log"];
    let (code, said) = audit(kept.path(), &line, &token).await;
    assert_eq!(code, 0, "{said}");
    let named = format!("for panel user (hmac): \"{}\"", hashes[0]);
    assert!(said.contains(&named), "{said}");

    // Without a key there is nothing to hash by.
    let setup = world.server().set("audit.output", "stdout");
    let (code, said) = setup
        .set("audit.panel_user_id", "hash")
        .run(&["--check"])
        .await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("without a key"), "{said}");
}

async fn odd_files() {
    let world = World::new().await;
    let kept = tempfile::tempdir().unwrap();
    let server = audited(&world, kept.path()).start().await;
    let connection = server.connect(&world.panel()).await;
    let token = minted(&connection.mint("42", "admin").await).token;
    drop(connection);
    server.end().await;
    let good = fs::read(kept.path().join("audit.log")).unwrap();
    let huge = vec![b'x'; 20 * 1024 * 1024];
    // What a terminal obeys, in a line that somebody has made up.
    let text = String::from_utf8(good.clone()).unwrap();
    let forged = |member: &str, made_up: &str| {
        let last = text.lines().last().unwrap();
        let line: Value = serde_json::from_str(last).unwrap();
        let old = format!("\"{member}\":{}", line[member]);
        text.replace(
            last,
            &last.replace(&old, &format!("\"{member}\":\"{made_up}\"")),
        )
    };
    for (name, content) in [
        ("empty", Vec::new()),
        ("newlines", b"\n\n\n".to_vec()),
        ("not-utf-8", [b"\xff\xfe{\xc3\n".as_slice(), &good].concat()),
        ("zeros", [&[0; 4096], &b"\n"[..], &good].concat()),
        ("huge", [&huge, &b"\n"[..], &good].concat()),
        ("huge-end", [&good, &huge[..]].concat()),
        ("windows", text.replace('\n', "\r\n").into_bytes()),
        ("no-last-newline", good[..good.len() - 1].to_vec()),
        ("only-huge", huge.clone()),
        (
            "forged-instance",
            forged("instance", "\\u001b[2Jok").into_bytes(),
        ),
        (
            "forged-time",
            forged("time", "\\u001b[2J\\u009bok").into_bytes(),
        ),
    ] {
        fs::write(kept.path().join(name), content).unwrap();
    }
    for (arguments, expected, says) in [
        (&["audit.log"][..], 0, "ok"),
        (&["empty"], 1, "there is no audit log in these files"),
        (&["newlines"], 1, "there is no audit log"),
        (
            &["only-huge"],
            1,
            "only-huge: 1 lines are none of an audit log",
        ),
        (&["empty", "audit.log"], 0, "ok"),
        (&["not-utf-8"], 0, "not-utf-8: 1 lines are none"),
        (&["zeros"], 0, "zeros: 1 lines are none"),
        (&["huge"], 0, "huge: 1 lines are none"),
        (&["huge-end"], 0, "huge-end: 1 lines are none"),
        (&["no-last-newline"], 0, "ok"),
        (&["windows"], 0, "ok"),
        (&["--strict", "huge"], 1, "NOT ok"),
        (&["audit.log", "audit.log"], 1, "repeated, or moved"),
        (&["forged-instance"], 0, "forged-instance: 1 lines are none"),
        (&["forged-time"], 1, "was changed"),
        (&["none"], 2, ""),
        (&["audit.log", "none"], 2, ""),
        (&["."], 2, ""),
        (&["--head", "nonsense", "audit.log"], 2, ""),
        (&["--key-file", "none", "audit.log"], 2, ""),
        (&["--key-file", "empty", "audit.log"], 2, ""),
        (&[], 2, ""),
    ] {
        let (code, said) = verify(kept.path(), &[], arguments).await;
        assert_eq!(code, expected, "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!said.contains(obeyed), "{arguments:?}: {said:?}");
    }
    // A wrong key, none, and one of two.
    fs::write(kept.path().join("other-key"), format!("another {KEY}")).unwrap();
    let other = ["verify", "--key-file", "other-key", "audit.log"];
    assert_eq!(audit(kept.path(), &other, "").await.0, 1);
    assert_eq!(audit(kept.path(), &["verify", "audit.log"], "").await.0, 1);
    assert_eq!(
        verify(kept.path(), &["--key-file", "other-key"], &["audit.log"])
            .await
            .0,
        0
    );

    // From a pipe, as `zcat` or `kubectl logs` give it.
    for name in ["-", "/dev/stdin"] {
        let line = ["verify", "--strict", "--key-file", "audit-key", name];
        let (code, said) = audit(kept.path(), &line, &good).await;
        assert_eq!(code, 0, "{name}: {said}");
    }
    let find = ["find", "--key-file", "audit-key", "huge"];
    for (input, expected) in [
        (token.as_bytes(), 0),
        (format!("  {token}\n").as_bytes(), 0),
        (b"\xff\xfe", 2),
        (b"", 2),
        (b" \n", 2),
        (&huge[..], 2),
        (b"nobody's", 1),
    ] {
        let (code, said) = audit(kept.path(), &find, input).await;
        assert_eq!(code, expected, "{said}");
        assert!(!said.contains(&token));
    }
    assert_eq!(audit(kept.path(), &["find", "-"], &token).await.0, 2);
    assert_eq!(audit(kept.path(), &["find"], &token).await.0, 2);
    let (code, said) = audit(kept.path(), &["find", "audit.log"], &token).await;
    assert_eq!(code, 0);
    assert!(said.contains("does NOT hold"), "without the key: {said}");
}
