//! What of the key is left in the process's memory. Only Linux shows a process its own.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use super::*;

/// What the child is told by.
const URL: &str = "TEST_CLOUD_URL";
const CA_FILE: &str = "TEST_CLOUD_CA";
const KEY_FILE: &str = "TEST_CLOUD_KEY";
const MASKED_KEY_FILE: &str = "TEST_CLOUD_MASKED_KEY";

/// How often the bytes stand in this process's writable memory, freed memory included.
///
/// `masked` is the key with every bit turned over: neither it nor what is read may count. Its first
/// bytes are left out, because an allocator writes its own into what is freed.
fn count(masked: &[u8]) -> usize {
    let masked = &masked[16..];
    const STEP: usize = 1 << 20;
    let memory = File::open("/proc/self/mem").unwrap();
    let mut chunk = vec![0_u8; STEP + masked.len()];
    let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + chunk.len() as u64;
    let mut found = 0;
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with("rw") || rest.ends_with("[vvar]") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        for at in (start..end).step_by(STEP) {
            // Overlapping by the needle, so that none is missed between two chunks.
            let length = chunk.len().min(usize::try_from(end - at).unwrap());
            if memory.read_exact_at(&mut chunk[..length], at).is_err() {
                continue;
            }
            let windows = chunk[..length].windows(masked.len()).take(STEP).enumerate();
            found += windows
                .filter(|(offset, _)| !own.contains(&(at + *offset as u64)))
                .filter(|(_, window)| window.iter().zip(masked).all(|(a, b)| *a == !*b))
                .count();
        }
        chunk.fill(0);
    }
    found
}

#[tokio::test]
#[ignore = "run in a process of its own by the test below"]
async fn child_mints_and_looks_through_its_memory() {
    let variable = |name| std::env::var(name).unwrap();
    let masked = std::fs::read(variable(MASKED_KEY_FILE)).unwrap();
    let (key, mut reloader) = TenantKey::watch(variable(KEY_FILE).into()).unwrap();
    assert!(matches!(reloader.poll().await, Polled::Unchanged));
    assert_eq!(count(&masked), 1, "the key is found where it is held");

    let mut settings = settings(&variable(URL));
    settings.extra_roots = Some(std::fs::read(variable(CA_FILE)).unwrap());
    let cloud = Cloud::new(settings, key, Arc::default()).unwrap();
    for _ in 0..3 {
        let mints = (0..4).map(|_| mint(&cloud));
        for result in futures_util::future::join_all(mints).await {
            assert!(result.is_ok());
        }
    }
    assert_eq!(count(&masked), 1, "no request left a copy");
    drop((cloud, reloader));
    assert_eq!(
        count(&masked),
        0,
        "the key is wiped when it is no longer held"
    );
}

#[tokio::test]
async fn requests_leave_no_copy_of_the_key_in_memory() {
    let (ca, config) = tls::server("localhost", &[&rustls::version::TLS13]);
    let stub = Stub::tls(config, |number| match number {
        // Retries have bodies too.
        1 => Act::Reset,
        2 => Act::Answer(answer("503 Busy", "", "")),
        _ => Act::Answer(granted()),
    });
    let stub = stub.await;
    let folder = tempfile::tempdir().unwrap();
    let files = ["ca.crt", "key", "masked"].map(|name| folder.path().join(name));
    let [ca_file, key_file, masked_key_file] = files;
    std::fs::write(&ca_file, ca).unwrap();
    // Long, because a part may pass through a register, and from there onto the stack: out of reach.
    let key: String = (0..60).map(|n| format!("{n:04}")).collect();
    let masked: Vec<_> = key.bytes().map(|byte| !byte).collect();
    std::fs::write(&key_file, key).unwrap();
    std::fs::write(&masked_key_file, masked).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--ignored", "--exact"])
        .arg("cloud::tests::memory::child_mints_and_looks_through_its_memory")
        .env(URL, format!("https://localhost:{}", stub.address.port()))
        .env(CA_FILE, ca_file)
        .env(KEY_FILE, key_file)
        .env(MASKED_KEY_FILE, masked_key_file);
    let output = tokio::task::spawn_blocking(move || child.output().unwrap());
    let output = output.await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
    assert_eq!(stub.requests().len(), 14);
}
