use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::Identity;
use crate::fixtures::{Ca, Pair};

/// Files in a folder of their own, and the value that their words make: their contents joined, and no
/// value where one says `bad`.
struct Words {
    dir: TempDir,
    value: Watched<String>,
    files: Reloader,
}

impl Words {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
        for path in &paths {
            fs::write(path, "good").unwrap();
        }
        let (value, files) = Watched::load("words", paths, join_words).unwrap();
        Self { dir, value, files }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }
}

fn join_words(files: &[Contents]) -> Result<String, BoxError> {
    let words: Vec<_> = files
        .iter()
        .map(|file| std::str::from_utf8(file.as_bytes()))
        .collect::<Result<_, _>>()?;
    match words.iter().find(|word| word.starts_with("bad")) {
        Some(word) => Err(format!("the word is {word}").into()),
        None => Ok(words.join(" ")),
    }
}

fn is_new_failure(polled: &Polled) -> Option<bool> {
    match polled {
        Polled::Failed { new, .. } => Some(*new),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn new_content_replaces_the_value_and_old_values_stay_with_their_holders() {
    let mut words = Words::new(&["a", "b"]);
    let before = words.value.current();
    let mut news = words.value.subscribe();
    assert!(matches!(words.files.poll().await, Polled::Unchanged));
    words.write("b", "new");
    assert!(matches!(words.files.poll().await, Polled::Reloaded));
    assert!(matches!(words.files.poll().await, Polled::Unchanged));
    assert_eq!(*words.value.current(), "good new");
    assert_eq!(**news.borrow_and_update(), "good new");
    assert_eq!(*before, "good good");
    let written = fs::metadata(words.dir.path().join("b")).unwrap().modified();
    assert_eq!(words.files.modified(), written.ok());
}

#[tokio::test(start_paused = true)]
async fn the_same_content_written_again_is_no_change() {
    let mut words = Words::new(&["a"]);
    let before = words.value.current();
    words.write("a", "good");
    assert!(matches!(words.files.poll().await, Polled::Unchanged));
    assert!(Arc::ptr_eq(&before, &words.value.current()));
}

#[tokio::test(start_paused = true)]
async fn content_that_moves_from_one_file_to_the_next_is_a_change() {
    let mut words = Words::new(&["a", "b"]);
    words.write("a", "goodgood");
    words.write("b", "");
    assert!(matches!(words.files.poll().await, Polled::Reloaded));
}

#[tokio::test(start_paused = true)]
async fn bad_content_keeps_the_last_good_value_and_is_reported_once_at_the_second_poll() {
    let mut words = Words::new(&["a"]);
    words.write("a", "bad");
    let mut reports = Vec::new();
    for _ in 0..4 {
        reports.push(is_new_failure(&words.files.poll().await));
    }
    assert_eq!(reports, [Some(false), Some(true), Some(false), Some(false)]);
    assert_eq!(*words.value.current(), "good");

    // Another mistake is another report.
    words.write("a", "bad in another way");
    assert_eq!(is_new_failure(&words.files.poll().await), Some(false));
    assert_eq!(is_new_failure(&words.files.poll().await), Some(true));

    words.write("a", "better");
    assert!(matches!(words.files.poll().await, Polled::Reloaded));
    assert_eq!(*words.value.current(), "better");
}

#[tokio::test(start_paused = true)]
async fn the_old_content_back_after_a_report_is_news_without_a_new_value() {
    let mut words = Words::new(&["a"]);
    let before = words.value.current();
    words.write("a", "bad");
    _ = words.files.poll().await;
    _ = words.files.poll().await;
    // Seen once, so never reported by itself: what was reported is still to be taken back.
    words.write("a", "bad, differently");
    _ = words.files.poll().await;
    words.write("a", "good");
    assert!(matches!(words.files.poll().await, Polled::Reloaded));
    assert!(Arc::ptr_eq(&before, &words.value.current()));

    words.write("a", "bad");
    _ = words.files.poll().await;
    words.write("a", "good");
    assert!(matches!(words.files.poll().await, Polled::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn content_that_is_still_being_written_waits_for_the_next_poll() {
    let mut words = Words::new(&["a"]);
    words.write("a", "");
    let path = words.dir.path().join("a");
    let finish = async {
        tokio::time::sleep(SETTLE / 2).await;
        fs::write(path, "whole").unwrap();
    };
    let (polled, ()) = tokio::join!(words.files.poll(), finish);
    assert!(matches!(polled, Polled::Unchanged));
    assert_eq!(*words.value.current(), "good");
    assert!(matches!(words.files.poll().await, Polled::Reloaded));
    assert_eq!(*words.value.current(), "whole");
}

#[tokio::test(start_paused = true)]
async fn content_that_becomes_good_by_itself_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("certificate");
    fs::write(&path, "now").unwrap();
    let valid = Arc::new(AtomicBool::new(false));
    let (value, mut files) = Watched::load("certificate", vec![path.clone()], {
        let valid = valid.clone();
        move |files| {
            let text = String::from_utf8(files[0].as_bytes().to_vec())?;
            match text.as_str() {
                "later" if !valid.load(Ordering::Relaxed) => Err("not valid yet".into()),
                _ => Ok(text),
            }
        }
    })
    .unwrap();
    fs::write(&path, "later").unwrap();
    assert!(is_new_failure(&files.poll().await).is_some());
    valid.store(true, Ordering::Relaxed);
    assert!(matches!(files.poll().await, Polled::Reloaded));
    assert_eq!(*value.current(), "later");
}

#[tokio::test(start_paused = true)]
async fn a_parser_that_panics_is_a_failure_like_another_and_shows_no_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "good").unwrap();
    let (_value, mut files) = Watched::load("a", vec![path.clone()], |files| {
        assert_eq!(files[0].as_bytes(), b"good", "SECRET");
        Ok(())
    })
    .unwrap();
    fs::write(&path, "SECRET").unwrap();
    let _ = files.poll().await;
    let Polled::Failed { error, new: true } = files.poll().await else {
        panic!("not reported");
    };
    assert!(error.to_string().ends_with("a: what reads it panicked"));
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_swap_of_links_as_kubernetes_does_it_is_one_change() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::named("ca");
    let publish = |revision: &str, pair: &Pair| {
        let folder = dir.path().join(revision);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), &pair.cert).unwrap();
        fs::write(folder.join("tls.key"), &pair.key).unwrap();
        symlink(revision, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    let (first, second) = (ca.server(), ca.server());
    publish("..2026_01", &first);
    let paths = ["tls.crt", "tls.key"].map(|name| {
        symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
        dir.path().join(name)
    });
    let [cert, key] = paths;
    let (identity, mut files) = Identity::watch(cert, key).unwrap();
    assert_eq!(identity.current().serial(), first.identity().serial());

    publish("..2026_02", &second);
    fs::remove_dir_all(dir.path().join("..2026_01")).unwrap();
    assert!(matches!(files.poll().await, Polled::Reloaded));
    assert_eq!(identity.current().serial(), second.identity().serial());
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_is_replaced_file_by_file_is_never_used_half() {
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| dir.path().join(name));
    let ca = Ca::named("ca");
    let (first, second) = (ca.server(), ca.server());
    fs::write(&cert, &first.cert).unwrap();
    fs::write(&key, &first.key).unwrap();
    let (identity, mut files) = Identity::watch(cert.clone(), key.clone()).unwrap();

    fs::write(&cert, &second.cert).unwrap();
    assert_eq!(is_new_failure(&files.poll().await), Some(false));
    assert_eq!(identity.current().serial(), first.identity().serial());
    fs::write(&key, &second.key).unwrap();
    assert!(matches!(files.poll().await, Polled::Reloaded));
    assert_eq!(identity.current().serial(), second.identity().serial());
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_vanished_keeps_the_last_good_value_and_may_come_back() {
    let mut words = Words::new(&["a"]);
    let moved = words.dir.path().with_extension("moved");
    fs::rename(words.dir.path(), &moved).unwrap();
    let _ = words.files.poll().await;
    let Polled::Failed { error, new: true } = words.files.poll().await else {
        panic!("not reported");
    };
    let text = error.to_string();
    assert!(
        text.contains("/a: it cannot be read: No such file"),
        "{text}"
    );
    assert_eq!(*words.value.current(), "good");

    fs::rename(&moved, words.dir.path()).unwrap();
    assert!(matches!(words.files.poll().await, Polled::Reloaded));
}

#[test]
fn what_is_no_file_of_a_sensible_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let size = usize::try_from(MAX_FILE_SIZE).unwrap();
    fs::write(path("largest"), vec![b'x'; size]).unwrap();
    fs::write(path("larger"), vec![b'x'; size + 1]).unwrap();
    let load = |path: PathBuf| {
        Watched::load("file", vec![path], |files| Ok(files[0].as_bytes().len()))
            .map(|(length, _)| *length.current())
            .map_err(|error| error.to_string())
    };
    assert_eq!(load(path("largest")), Ok(size));
    assert!(
        load(path("larger"))
            .unwrap_err()
            .ends_with("larger: it is larger than 1048576 bytes")
    );
    assert!(
        load(dir.path().into())
            .unwrap_err()
            .ends_with("it is not a regular file")
    );
    assert!(
        load(path("none"))
            .unwrap_err()
            .contains("none: it cannot be read")
    );
    #[cfg(unix)]
    assert_eq!(
        load("/dev/zero".into()),
        Err("/dev/zero: it is not a regular file".to_owned())
    );
}

#[test]
fn an_error_names_the_files_and_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| dir.path().join(name)).to_vec();
    fs::write(&paths[0], "good").unwrap();
    fs::write(&paths[1], "bad").unwrap();
    let error = Watched::load("words", paths.clone(), join_words).unwrap_err();
    let [a, b] = [&paths[0], &paths[1]].map(|path| path.display());
    assert_eq!(error.to_string(), format!("{a}, {b}: the word is bad"));
    assert_eq!(error.name(), "words");
    assert!(error.paths().eq(&paths));
}

#[test]
fn contents_tell_when_they_were_written_and_show_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "SECRET").unwrap();
    let (value, _) = Watched::load("a", vec![path.clone()], |files| {
        Ok((files[0].modified(), format!("{:?}", files[0])))
    })
    .unwrap();
    let (modified, shown) = &*value.current();
    assert_eq!(*modified, fs::metadata(path).unwrap().modified().ok());
    assert!(
        !shown.contains("SECRET") && !shown.contains("83, 69"),
        "{shown}"
    );
    assert!(!format!("{:?}", Watched::fixed("SECRET")).contains("SECRET"));
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Observer for Seen {
    fn reloaded(&self, name: &'static str, _: Option<SystemTime>) {
        self.0.lock().unwrap().push(format!("{name} reloaded"));
    }

    fn failed(&self, name: &'static str, error: &LoadError) {
        let cause = error.to_string();
        let cause = cause.rsplit(": ").next().unwrap_or_default();
        self.0
            .lock()
            .unwrap()
            .push(format!("{name} failed: {cause}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_reloader_tells_its_observer_what_is_news() {
    let words = Words::new(&["a"]);
    let seen = Arc::new(Seen::default());
    let running = tokio::spawn(words.files.run(seen.clone()));
    for content in ["new", "bad", "bad", "new", "newer"] {
        fs::write(words.dir.path().join("a"), content).unwrap();
        tokio::time::sleep(POLL_INTERVAL * 3 + Duration::from_millis(1)).await;
    }
    assert_eq!(
        *seen.0.lock().unwrap(),
        [
            "words reloaded",
            "words failed: the word is bad",
            "words reloaded",
            "words reloaded"
        ]
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_removal_counts_well_within_five_seconds() {
    let words = Words::new(&["a"]);
    let mut news = words.value.subscribe();
    let running = tokio::spawn(words.files.run(Arc::new(Seen::default())));
    tokio::time::sleep(POLL_INTERVAL / 2).await;
    fs::write(words.dir.path().join("a"), "less").unwrap();
    let changed = tokio::time::timeout(Duration::from_secs(2), news.changed()).await;
    assert!(changed.is_ok());
    running.abort();
}
