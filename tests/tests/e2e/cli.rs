//! The command line as a script meets it: exit codes, and what stands on which stream.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use ask2do_token_tests::binaries::binary;
use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{PANEL, Shared, World};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What came of a command.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn ask2do_token(folder: &Path, arguments: &[&str]) -> Done {
    let output = tokio::process::Command::new(binary("ask2do-token"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    Done {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Certificates of callers, by their defect.
fn folder(world: &World) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let caller = || Leaf::client().uri(PANEL);
    fs::write(path.join("ca.crt"), world.servers.pem()).unwrap();
    fs::write(
        path.join("other-ca.crt"),
        Authority::new("another CA").pem(),
    )
    .unwrap();
    fs::write(path.join("empty.crt"), "").unwrap();
    world.callers.issue(&caller()).write(path, "caller");
    let stranger = Leaf::client().uri("spiffe://demo/stranger");
    world.callers.issue(&stranger).write(path, "stranger");
    world
        .callers
        .issue(&caller().valid(-7200, -3600))
        .write(path, "expired");
    Authority::new("another CA")
        .issue(&caller())
        .write(path, "foreign");
    folder
}

const CALLER: &[&str] = &[
    "--ca",
    "ca.crt",
    "--cert",
    "caller.crt",
    "--key",
    "caller.key",
];

/// Name, command, identity, exit code, and a word that stderr has.
type Refusal = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    i32,
    &'static str,
);

/// No row prints a token.
const REFUSALS: &[Refusal] = &[
    (
        "a role that Ask2Do does not serve",
        &["mint", "--id", "42", "--role", "editor"],
        CALLER,
        1,
        "ROLE_NOT_ALLOWED",
    ),
    (
        "an id that is none",
        &["mint", "--id", "", "--role", "admin"],
        CALLER,
        1,
        "PANEL_USER_INVALID",
    ),
    (
        "the cloud's 500",
        &["mint", "--id", "status-500", "--role", "admin"],
        CALLER,
        1,
        "CLOUD_UNAVAILABLE",
    ),
    (
        "the cloud's 429",
        &[
            "mint",
            "--id",
            "status-429-retry-after-2",
            "--role",
            "admin",
        ],
        CALLER,
        1,
        "2 s",
    ),
    (
        "its own timer",
        &[
            "mint",
            "--id",
            "slow-7s",
            "--role",
            "admin",
            "--timeout",
            "500ms",
        ],
        CALLER,
        1,
        "CLOUD_TIMEOUT",
    ),
    (
        "a stranger",
        &["mint", "--id", "42", "--role", "admin"],
        &[
            "--ca",
            "ca.crt",
            "--cert",
            "stranger.crt",
            "--key",
            "stranger.key",
        ],
        1,
        "CALLER_NOT_ALLOWED",
    ),
    (
        "no such file",
        &["mint", "--id", "42", "--role", "admin"],
        &["--ca", "nowhere.crt"],
        2,
        "nowhere.crt",
    ),
    (
        "an empty file",
        &["mint", "--id", "42", "--role", "admin"],
        &["--ca", "empty.crt"],
        2,
        "empty.crt",
    ),
    (
        "a certificate and another one's key",
        &["mint", "--id", "42", "--role", "admin"],
        &[
            "--ca",
            "ca.crt",
            "--cert",
            "caller.crt",
            "--key",
            "stranger.key",
        ],
        2,
        "caller.crt",
    ),
    ("no user", &["mint"], CALLER, 2, "--id"),
    (
        "no CA",
        &["mint", "--id", "42", "--role", "admin"],
        &[],
        2,
        "--ca",
    ),
    ("no command", &[], &[], 2, "Usage"),
    (
        "an argument that is none",
        &["mint", "--tenant-key", "x"],
        CALLER,
        2,
        "--tenant-key",
    ),
    (
        "no certificate",
        &["mint", "--id", "42", "--role", "admin"],
        &["--ca", "ca.crt"],
        3,
        "certificate",
    ),
    (
        "another CA for the server",
        &["mint", "--id", "42", "--role", "admin"],
        &["--ca", "other-ca.crt"],
        3,
        "certificate",
    ),
    (
        "another CA for the caller",
        &["mint", "--id", "42", "--role", "admin"],
        &[
            "--ca",
            "ca.crt",
            "--cert",
            "foreign.crt",
            "--key",
            "foreign.key",
        ],
        3,
        "certificate",
    ),
    (
        "an expired certificate",
        &["mint", "--id", "42", "--role", "admin"],
        &[
            "--ca",
            "ca.crt",
            "--cert",
            "expired.crt",
            "--key",
            "expired.key",
        ],
        3,
        "expired",
    ),
    (
        "no certificate for health",
        &["health"],
        &["--ca", "ca.crt"],
        3,
        "certificate",
    ),
];

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(World::server);
    for &(name, command, identity, code, word) in REFUSALS {
        let shared = shared.clone();
        suite.case(format!("cli: {name} is {code}"), move || async move {
            let (world, server) = shared.get().await;
            let folder = folder(world);
            let endpoint = server.grpc.to_string();
            let connection = ["--endpoint", &endpoint];
            let connection = if command.is_empty() {
                &[][..]
            } else {
                &connection[..]
            };
            let done = ask2do_token(folder.path(), &[command, connection, identity].concat()).await;
            assert_eq!(done.code, code, "{}", done.stderr);
            assert!(done.stderr.contains(word), "{}", done.stderr);
            assert_eq!(done.stdout, "");
            assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        });
    }
    let with = shared.clone();
    suite.case(
        "cli: a token, plain and as JSON, is 0",
        move || async move {
            let (world, server) = with.get().await;
            let folder = folder(world);
            let done = mint(folder.path(), server.grpc, "42", &[]).await;
            assert_eq!((done.code, &*done.stderr), (0, ""));
            assert_eq!(
                done.stdout.trim_end().split('.').count(),
                3,
                "{}",
                done.stdout
            );
            assert_eq!(done.stdout.lines().count(), 1);

            let done = mint(folder.path(), server.grpc, "42", &["--json"]).await;
            assert_eq!((done.code, &*done.stderr), (0, ""));
            let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
            assert_eq!(json["ok"], true);
            assert_eq!(json["token"].as_str().unwrap().split('.').count(), 3);
            assert!(json["expiresAt"].as_str().unwrap().ends_with('Z'), "{json}");

            let done = mint(folder.path(), server.grpc, "status-401", &["--json"]).await;
            assert_eq!(done.code, 1);
            let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
            assert_eq!(json["reason"], "TENANT_KEY_REJECTED");
            assert_eq!(json["code"], "FAILED_PRECONDITION");
        },
    );
    suite.case(
        "cli: nobody there is 3, for mint and for health",
        || async {
            let world = World::new().await;
            let folder = folder(&world);
            let gone = {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                listener.local_addr().unwrap()
            };
            let done = mint(folder.path(), gone, "42", &[]).await;
            assert_eq!((done.code, &*done.stdout), (3, ""), "{}", done.stderr);
            let done = mint(folder.path(), gone, "42", &["--json"]).await;
            assert_eq!(done.code, 3, "{}", done.stderr);
            assert!(
                done.stdout.contains("SERVICE_UNAVAILABLE"),
                "{}",
                done.stdout
            );
            assert_eq!(health(folder.path(), gone).await.code, 3);
        },
    );
    suite.case("cli: health follows the server to its end", || async {
        let world = World::new().await;
        let folder = folder(&world);
        let mut server = world.server().set("shutdown.settle", "5s").start().await;
        assert_eq!(health(folder.path(), server.grpc).await.code, 0);
        server.process.signal(Signal::TERM);
        until("it is not ready", async || {
            (server.get("/readyz").await.0 == 503).then_some(())
        })
        .await;
        let done = health(folder.path(), server.grpc).await;
        assert_ne!(done.code, 0, "{} {}", done.stdout, done.stderr);
        assert_eq!(server.process.ended().await.code(), Some(0));
        assert_eq!(health(folder.path(), server.grpc).await.code, 3);
    });
    suite.case(
        "cli: its certificates work, and are never overwritten",
        certificates,
    );
}

async fn mint(folder: &Path, server: SocketAddr, id: &str, more: &[&str]) -> Done {
    let endpoint = format!("https://{server}");
    let command = [
        "mint",
        "--id",
        id,
        "--role",
        "admin",
        "--endpoint",
        &endpoint,
    ];
    ask2do_token(folder, &[&command, CALLER, more].concat()).await
}

async fn health(folder: &Path, server: SocketAddr) -> Done {
    let endpoint = server.to_string();
    let command = ["health", "--endpoint", &endpoint];
    ask2do_token(folder, &[&command, CALLER].concat()).await
}

async fn certificates() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    let make = &["certs", "--out", "certs", "--caller", PANEL];
    let done = ask2do_token(folder.path(), make).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let read = |name: &str| fs::read_to_string(certs.join(name)).unwrap();
    let names = [
        "ca.crt",
        "server.crt",
        "server.key",
        "caller.crt",
        "caller.key",
    ];
    let before = names.map(read);
    for name in ["server.key", "caller.key"] {
        let mode = fs::metadata(certs.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(!certs.join("ca.key").exists(), "the CA's key is not kept");

    let setup = world
        .server()
        .file("tls.crt", read("server.crt"))
        .file("tls.key", read("server.key"))
        .file("ca.crt", read("ca.crt"));
    let server = setup.start().await;
    let done = mint(&certs, server.grpc, "42", &[]).await;
    assert_eq!(done.code, 0, "{}", done.stderr);

    let done = ask2do_token(folder.path(), make).await;
    assert_eq!(done.code, 2, "{}", done.stderr);
    assert_eq!(names.map(read), before);
    // Not even where a single one of them is left.
    for name in &names[1..] {
        fs::remove_file(certs.join(name)).unwrap();
    }
    assert_eq!(ask2do_token(folder.path(), make).await.code, 2);
    assert_eq!(read("ca.crt"), before[0]);
    assert_eq!(
        fs::read_dir(&certs).unwrap().count(),
        1,
        "nothing was written"
    );
}
