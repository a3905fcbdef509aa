//! The log as files: what is written, what fails, and what a check says of it.

use std::fs;
use std::path::PathBuf;

use ask2do_token_runtime::metrics::{Format, Metrics};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::chain::{Head, sha256};
use super::line::Line;
use super::verify::{KnownHead, Report, Verifier};
use super::*;

const KEY: &[u8] = b"a key of more than thirty-two bytes\n";
const OTHER_KEY: &[u8] = b"another key of as many bytes as that\n";

/// No correct writer is as slow.
const LIMIT: Duration = Duration::from_secs(60);

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn settings(&self) -> Settings {
        Settings {
            output: Output::File(self.path()),
            key: Some(Key::from_bytes(KEY).unwrap()),
            hash_ids: false,
            refuse: true,
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }
}

fn begin(settings: Settings) -> (Audit, Metrics) {
    let mut metrics = Metrics::new("test", "0");
    let audit = Audit::begin(Some(settings), Idle::default(), &mut metrics).unwrap();
    (audit, metrics)
}

async fn mint(audit: &Audit, token: &str) -> Result<(), NotWritten> {
    let caller = Arc::from("panel");
    let decision = Decision {
        caller: Some(&caller),
        panel_user: Some(("42", "admin")),
        outcome: Outcome::Minted,
        reason: "OK",
        token: Some((token, OffsetDateTime::UNIX_EPOCH)),
        trace_id: Hex::of(0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes()),
    };
    audit.record(&decision, Instant::now() + LIMIT).await
}

fn value(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.encode(Format::Classic);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, poll).await.expect("in time");
}

/// A chain with its beginning, these tokens and its end.
async fn write(settings: Settings, tokens: &[&str]) {
    let (audit, _) = begin(settings);
    for token in tokens {
        mint(&audit, token).await.unwrap();
    }
    audit.end(LIMIT).await;
}

fn verify(texts: &[&str], key: Option<&[u8]>) -> Report {
    verify_with(texts, key, Vec::new())
}

fn verify_with(texts: &[&str], key: Option<&[u8]>, known: Vec<KnownHead>) -> Report {
    let seal = key.map_or(Seal::Plain, |key| Key::from_bytes(key).unwrap().seal());
    let mut verifier = Verifier::new(vec![seal], known);
    for text in texts {
        verifier.learn(text.as_bytes()).unwrap();
    }
    for (number, text) in texts.iter().enumerate() {
        verifier
            .check(&number.to_string(), text.as_bytes())
            .unwrap();
    }
    verifier.finish()
}

#[track_caller]
fn assert_holds(report: &Report, chains: usize, notes: usize) {
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(report.chains.len(), chains, "{report:?}");
    assert_eq!(report.notes.len(), notes, "{:?}", report.notes);
}

fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn head(line: &str) -> Head {
    Line::parse(line.trim_end().as_bytes()).unwrap().head()
}

#[tokio::test]
async fn a_line_says_who_minted_which_token_for_whom_and_when() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a-token"]).await;
    let text = fixture.text();
    let lines = lines(&text);
    assert_eq!(lines.len(), 3, "begin, mint, end");
    let line: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    for (member, value) in [
        ("event", "mint"),
        ("caller", "panel"),
        ("panel_user_id", "42"),
        ("panel_user_role", "admin"),
        ("outcome", "minted"),
        ("reason", "OK"),
        ("token_sha256", &*sha256(b"a-token").to_string()),
        ("expires_at", "1970-01-01T00:00:00Z"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
    ] {
        assert_eq!(line[member], value, "{member}");
    }
    assert_eq!(line["seq"], 1);
    assert!(!text.contains("a-token"), "the token itself is nowhere");
    assert_holds(&verify(&[&text], Some(KEY)), 1, 0);
}

#[tokio::test]
async fn with_a_key_ids_may_be_hashes_that_are_the_same_in_every_chain() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        let settings = Settings {
            hash_ids: true,
            ..fixture.settings()
        };
        write(settings, &["a-token"]).await;
    }
    let hashes: Vec<String> = lines(&fixture.text())
        .iter()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["panel_user_id"].is_null());
            Some(line["panel_user_id_hmac"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], sha256(b"42").to_string(), "nobody can try ids");
}

#[tokio::test]
async fn without_a_key_a_line_is_hashed_and_a_key_makes_it_fail() {
    let fixture = Fixture::new();
    let settings = Settings {
        key: None,
        ..fixture.settings()
    };
    write(settings, &["a"]).await;
    assert_holds(&verify(&[&fixture.text()], None), 1, 0);
    assert_eq!(verify(&[&fixture.text()], Some(KEY)).problems.len(), 3);
}

#[tokio::test]
async fn every_change_shows() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a", "b", "c", "d"]).await;
    let sound = lines(&fixture.text());
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = sound.clone();
        change(&mut lines);
        lines.concat()
    };
    let id = |lines: &mut Vec<String>| lines[2] = lines[2].replace("\"42\"", "\"43\"");
    let cases: [(&str, String, &str); 8] = [
        ("a member", changed(&id), "was changed"),
        (
            "a member behind the seal",
            changed(&|lines| lines[2] = lines[2].replace("\"}\n", "\",\"caller\":\"shop\"}\n")),
            "lines 2 to 2 of",
        ),
        (
            "a line taken out",
            changed(&|lines| drop(lines.remove(2))),
            "lines 2 to 2 of",
        ),
        (
            "two lines swapped",
            changed(&|lines| lines.swap(2, 3)),
            "repeated, or moved",
        ),
        (
            "a line twice",
            changed(&|lines| lines.insert(3, lines[2].clone())),
            "repeated, or moved",
        ),
        (
            "a sequence number",
            changed(&|lines| lines[2] = lines[2].replace("\"seq\":2", "\"seq\":9")),
            "was changed",
        ),
        (
            "half a line",
            changed(&|lines| lines[2].truncate(100)),
            "lines 2 to 3 of",
        ),
        (
            "another instance",
            changed(&|lines| {
                let instance = head(&lines[2]).instance;
                lines[2] = lines[2].replace(&instance, "0000000000000000");
            }),
            "was changed",
        ),
    ];
    assert_holds(&verify(&[&sound.concat()], Some(KEY)), 1, 0);
    for (what, text, expected) in &cases {
        let report = verify(&[text], Some(KEY));
        let problems = report.problems.join("\n");
        assert!(problems.contains(expected), "{what}: {report:?}");
    }
}

#[tokio::test]
async fn whoever_has_not_the_key_cannot_make_a_chain_anew() {
    let fixture = Fixture::new();
    let forged = |key: Option<&[u8]>| Settings {
        key: key.map(|key| Key::from_bytes(key).unwrap()),
        ..fixture.settings()
    };
    write(forged(Some(OTHER_KEY)), &["a"]).await;
    write(forged(None), &["a"]).await;
    let report = verify(&[&fixture.text()], Some(KEY));
    assert_eq!(report.problems.len(), 6, "{report:?}");
}

#[tokio::test]
async fn a_line_of_another_chain_does_not_fit() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a", "b"]).await;
    let first = lines(&fixture.text());
    // The same seal of the same instance, after another history: what a process that was restored from a copy
    // of its memory would write.
    let seal = Key::from_bytes(KEY).unwrap().seal();
    let mut chain = Chain::begin(seal);
    let instance = chain.head().map(|head| head.instance);
    assert_eq!(instance, None);
    let one = chain.line("\"time\":\"t\",\"event\":\"begin\"");
    let fork = chain.place();
    let other = chain.line("\"time\":\"u\",\"event\":\"mint\"");
    chain.go_to(fork);
    let two = chain.line("\"time\":\"t\",\"event\":\"mint\"");
    let three = chain.line("\"time\":\"t\",\"event\":\"end\"");
    assert_holds(&verify(&[&[&*one, &two, &three].concat()], Some(KEY)), 1, 0);
    let report = verify(&[&[&*one, &other, &three].concat()], Some(KEY));
    assert!(
        report.problems[0].contains("follows another line"),
        "{report:?}"
    );
    assert_eq!(first.len(), 4);
}

#[tokio::test]
async fn interleaved_lines_of_many_instances_are_told_apart_and_so_are_log_lines() {
    let fixture = Fixture::new();
    let (one, _) = begin(fixture.settings());
    let (two, _) = begin(fixture.settings());
    for number in 0..20 {
        mint(&one, &format!("one-{number}")).await.unwrap();
        mint(&two, &format!("two-{number}")).await.unwrap();
    }
    one.end(LIMIT).await;
    two.end(LIMIT).await;
    let text = fixture.text();
    assert_holds(&verify(&[&text], Some(KEY)), 2, 0);
    let mixed = text.replace('\n', "\n{\"level\":\"INFO\"}\n");
    assert_holds(&verify(&[&mixed], Some(KEY)), 2, 1);
}

#[tokio::test]
async fn a_chain_goes_on_over_files_in_whatever_order_they_come() {
    let fixture = Fixture::new();
    let (audit, _) = begin(fixture.settings());
    let mut parts = Vec::new();
    for number in 0..3 {
        for _ in 0..2 {
            mint(&audit, "a").await.unwrap();
        }
        let rotated = fixture.dir.path().join(format!("audit.log.{number}"));
        fs::rename(fixture.path(), &rotated).unwrap();
        audit.reopen();
        until(async || fixture.path().exists()).await;
        parts.push(fs::read_to_string(rotated).unwrap());
    }
    audit.end(LIMIT).await;
    parts.push(fixture.text());
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        assert_holds(&verify(&order.map(|part| parts[part]), Some(KEY)), 1, 0);
    }
    // The oldest was deleted: a note. One from amid: a problem.
    assert_holds(&verify(&parts[1..], Some(KEY)), 1, 1);
    let report = verify(&[parts[0], parts[2], parts[3]], Some(KEY));
    assert_eq!(report.problems.len(), 1, "{report:?}");
}

#[tokio::test]
async fn a_tail_that_was_cut_shows_by_the_next_chain_and_by_a_known_head() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a", "b"]).await;
    write(fixture.settings(), &["c"]).await;
    let text = fixture.text();
    let all = lines(&text);
    let cut = [&all[..2].concat(), &all[4..].concat()]
        .map(String::as_str)
        .concat();
    let report = verify(&[&cut], Some(KEY));
    assert!(
        report.problems.join("").contains("lines are missing"),
        "{report:?}"
    );

    // Nothing follows the last chain: it takes somebody who knows its head.
    let last = head(all.last().unwrap());
    let cut = all[..all.len() - 2].concat();
    assert_holds(&verify(&[&cut], Some(KEY)), 2, 1);
    for digits in [64, 12] {
        let known = format!(
            "{}:{}:{}",
            last.instance,
            last.seq,
            &last.mac.to_string()[..digits]
        );
        let known = KnownHead::parse(&known).unwrap();
        assert_holds(&verify_with(&[&text], Some(KEY), vec![known.clone()]), 2, 0);
        let report = verify_with(&[&cut], Some(KEY), vec![known]);
        assert_eq!(report.problems.len(), 1, "{report:?}");
    }
    assert_eq!(
        KnownHead::parse("a:1:0123456789"),
        None,
        "too few digits say too little"
    );
}

#[tokio::test]
async fn a_new_chain_names_the_head_that_it_finds_even_behind_a_piece_of_a_line() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a"]).await;
    let old = fixture.text();
    // As after a crash amid a write, and with somebody else's line between.
    fs::write(
        fixture.path(),
        format!("{old}no audit\n{{\"audit\":1,\"inst"),
    )
    .unwrap();
    write(fixture.settings(), &["b"]).await;
    let text = fixture.text();
    let first = text
        .lines()
        .find(|line| line.contains("begin") && !old.contains(line))
        .unwrap();
    let found = Line::parse(first.as_bytes()).unwrap().found().unwrap();
    assert_eq!(found, head(old.lines().last().unwrap()));
    assert_holds(&verify(&[&text], Some(KEY)), 2, 1);
}

#[tokio::test]
async fn a_full_disk_refuses_or_counts_by_configuration_and_never_hangs() {
    for refuse in [true, false] {
        let fixture = Fixture::new();
        let (audit, metrics) = begin(Settings {
            refuse,
            ..fixture.settings()
        });
        mint(&audit, "before").await.unwrap();
        // The next opening of that name is a device that is always full.
        fs::rename(fixture.path(), fixture.dir.path().join("old")).unwrap();
        std::os::unix::fs::symlink("/dev/full", fixture.path()).unwrap();
        audit.reopen();
        let lost = mint(&audit, "during").await;
        assert_eq!(lost.is_err(), refuse);
        until(async || value(&metrics, "ask2do_audit_failing") == 1).await;
        assert_eq!(audit.allows_mints(), !refuse);
        until(async || value(&metrics, "ask2do_audit_lines_lost_total") == 1).await;
        assert_eq!(mint(&audit, "during").await.is_err(), refuse);
        until(async || value(&metrics, "ask2do_audit_lines_lost_total") == 2).await;

        // Room again: it finds out by itself, and says what is missing.
        fs::remove_file(fixture.path()).unwrap();
        until(async || value(&metrics, "ask2do_audit_failing") == 0).await;
        assert!(audit.allows_mints());
        mint(&audit, "after").await.unwrap();
        audit.end(LIMIT).await;
        let text = fixture.text();
        assert!(text.contains("\"event\":\"lost\",\"lines\":2"), "{text}");
        let old = fs::read_to_string(fixture.dir.path().join("old")).unwrap();
        assert_holds(&verify(&[&old, &text], Some(KEY)), 1, 1);
        assert_eq!(value(&metrics, "ask2do_audit_lines_total"), 5);
    }
}

#[tokio::test]
async fn a_file_that_was_deleted_is_made_again() {
    let fixture = Fixture::new();
    let (audit, _) = begin(fixture.settings());
    fs::remove_file(fixture.path()).unwrap();
    mint(&audit, "a").await.unwrap();
    assert_eq!(fixture.text().lines().count(), 1);
    audit.end(LIMIT).await;
}

#[tokio::test]
async fn what_cannot_be_opened_or_written_cannot_be_begun() {
    let fixture = Fixture::new();
    for path in [
        fixture.dir.path().join("none/audit.log"),
        PathBuf::from("/dev/full"),
    ] {
        let settings = Settings {
            output: Output::File(path.clone()),
            ..fixture.settings()
        };
        let mut metrics = Metrics::new("test", "0");
        assert!(
            Audit::begin(Some(settings), Idle::default(), &mut metrics).is_err(),
            "{}",
            path.display()
        );
    }
}

#[tokio::test]
async fn the_head_is_a_metric() {
    let fixture = Fixture::new();
    let (audit, metrics) = begin(fixture.settings());
    mint(&audit, "a").await.unwrap();
    let last = head(fixture.text().lines().last().unwrap());
    assert_eq!(value(&metrics, "ask2do_audit_sequence"), last.seq);
    assert_eq!(value(&metrics, "ask2do_audit_head"), last.mac.head_number());
}

#[tokio::test]
async fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let fixture = Fixture::new();
    write(fixture.settings(), &[]).await;
    let mode = fs::metadata(fixture.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_token_is_found_by_itself_and_by_its_hash() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a-token", "b-token"]).await;
    let seals = [Key::from_bytes(KEY).unwrap().seal()];
    let text = fixture.text();
    let hash = sha256(b"b-token").to_string();
    for given in ["b-token\n", &hash, &hash.to_uppercase()] {
        let wanted = find::wanted(given).unwrap();
        let found = find::find("log", text.as_bytes(), wanted, &seals).unwrap();
        assert_eq!(found.len(), 1);
        for part in [
            "log:3\n",
            "by caller: \"panel\"",
            "for panel user: \"42\"",
            "seal: holds",
        ] {
            assert!(found[0].contains(part), "{found:?}");
        }
    }
    let forged = text.replace("\"panel\"", "\"shop\"");
    let wanted = find::wanted("b-token").unwrap();
    let found = find::find("log", forged.as_bytes(), wanted, &seals).unwrap();
    assert!(found[0].contains("does NOT hold"), "{found:?}");
    let wanted = find::wanted("c-token").unwrap();
    assert_eq!(
        find::find("log", text.as_bytes(), wanted, &seals).unwrap(),
        [""; 0]
    );
    assert_eq!(find::wanted(" \n"), None);
}

#[tokio::test]
async fn a_closed_pipe_under_standard_output_is_a_failure_like_another() {
    let fixture = Fixture::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut metrics = Metrics::new("test", "0");
    let state = Arc::new(State::default());
    state.register(&mut metrics);
    let sink = Sink::pipe(writer);
    let audit = Audit::write_to(
        sink,
        sink::Tail::default(),
        fixture.settings(),
        Idle::default(),
        state,
    )
    .unwrap();
    mint(&audit, "a").await.unwrap();
    drop(reader);
    assert_eq!(mint(&audit, "b").await, Err(NotWritten));
    assert!(!audit.allows_mints());
    assert_eq!(value(&metrics, "ask2do_audit_failing"), 1);
    assert_eq!(value(&metrics, "ask2do_audit_lines_lost_total"), 1);
}

#[tokio::test]
async fn a_known_head_of_a_chain_that_is_gone_as_a_whole_is_a_problem_where_it_is_demanded() {
    let fixture = Fixture::new();
    write(fixture.settings(), &["a"]).await;
    let gone = lines(&fixture.text());
    write(fixture.settings(), &["b"]).await;
    let text = fixture.text();
    let left = &text[gone.concat().len()..];
    // The chain that is left names it: it may have been rotated away.
    assert_holds(&verify(&[left], Some(KEY)), 1, 1);
    let last = head(gone.last().unwrap());
    let known = format!("{}:{}:{}", last.instance, last.seq, last.mac);
    let known = KnownHead::parse(&known).unwrap();
    let report = verify_with(&[left], Some(KEY), vec![known]);
    assert_eq!(report.problems.len(), 1, "{report:?}");
}

#[test]
fn a_check_of_very_much_that_is_wrong_tells_some_of_it_and_how_much_more_there_is() {
    let mut chain = Chain::begin(Key::from_bytes(OTHER_KEY).unwrap().seal());
    let text: String = (0..3000)
        .map(|_| chain.line("\"time\":\"t\",\"event\":\"mint\""))
        .collect();
    let report = verify(&[&text], Some(KEY));
    assert_eq!((report.problems.len(), report.untold), (1000, 2000));
}

#[test]
fn a_line_that_is_too_long_to_be_ours_is_passed_over_whatever_it_begins_with() {
    let mut chain = Chain::begin(Seal::Plain);
    let begin = chain.line("\"time\":\"t\",\"event\":\"begin\"");
    let fork = chain.place();
    // Cut where it is cut by the reader, it would be a line that holds.
    let empty = chain
        .line("\"time\":\"t\",\"event\":\"mint\",\"x\":\"\"")
        .len()
        - 1;
    let filler = "x".repeat(64 * 1024 - empty);
    chain.go_to(fork);
    let long = chain.line(&format!(
        "\"time\":\"t\",\"event\":\"mint\",\"x\":\"{filler}\""
    ));
    chain.go_to(fork);
    let long = format!("{}trailing\n", long.trim_end());
    let end = chain.line("\"time\":\"t\",\"event\":\"end\"");
    let report = verify(&[&[begin, long, end].concat()], None);
    assert_holds(&report, 1, 1);
}

#[test]
fn the_writer_goes_on_at_once_when_a_line_waits_and_all_threads_sleep() {
    let idle = Idle::default();
    idle.of_threads(2);
    let (parked, wakes) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        for _ in 0..2 {
            std::thread::park_timeout(LIMIT);
            parked.send(()).unwrap();
        }
    });
    idle.wakes(writer.thread());
    // One of two sleeps; then both, and no line waits; then one goes on, and a line comes.
    idle.thread_parks();
    idle.thread_parks();
    idle.thread_unparks();
    idle.line_waits();
    assert!(wakes.try_recv().is_err());
    idle.thread_parks();
    wakes.recv_timeout(LIMIT / 2).unwrap();
    idle.thread_unparks();
    idle.line_waits();
    idle.thread_parks();
    wakes.recv_timeout(LIMIT / 2).unwrap();
    writer.join().unwrap();
}
