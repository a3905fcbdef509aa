//! What the server is told, and what it says of mistakes.

use std::fs;

use ask2do_token_tests::caller::minted;
use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::world::{CALLERS, Setup, TENANT_KEY, World};
use tokio::net::TcpListener;
use tonic::Code;

/// The exit code of a mistake in what the server was told.
const MISTAKE: i32 = 2;

type Spoil = fn(&World, Setup) -> Setup;

/// One mistake, and words that its report must have; the first is the key.
const MISTAKES: &[(&str, Spoil, &[&str])] = &[
    (
        "an empty key file",
        |_, s| s.file("tenant-key", ""),
        &["cloud.tenant_key_file", "tenant-key", "empty"],
    ),
    (
        "a key file with a line end alone",
        |_, s| s.file("tenant-key", "\n"),
        &["cloud.tenant_key_file", "empty"],
    ),
    (
        "a key file with NUL",
        |_, s| s.file("tenant-key", "tk_canary\0x"),
        &["cloud.tenant_key_file", "control character"],
    ),
    (
        "a key file of two lines",
        |_, s| s.file("tenant-key", "tk_canary\ntk_canary\n"),
        &["cloud.tenant_key_file", "white space"],
    ),
    (
        "a key file that is no text",
        |_, s| s.file("tenant-key", b"tk_canary\xff"),
        &["cloud.tenant_key_file", "UTF-8"],
    ),
    (
        "a key file of 1 MiB",
        |_, s| s.file("tenant-key", "k".repeat(1024 * 1024)),
        &["cloud.tenant_key_file", "longer than"],
    ),
    (
        "a key file of 2 MiB",
        |_, s| s.file("tenant-key", "k".repeat(2 * 1024 * 1024)),
        &["cloud.tenant_key_file", "larger than"],
    ),
    (
        "no key file",
        |_, s| s.without("tenant-key"),
        &["cloud.tenant_key_file", "cannot be read"],
    ),
    (
        "a folder for a key file",
        |_, s| {
            let s = s.without("tenant-key");
            fs::create_dir(s.path("tenant-key")).unwrap();
            s
        },
        &["cloud.tenant_key_file", "not a regular file"],
    ),
    (
        "the key as a file and as a variable",
        |_, s| {
            s.set("cloud.tenant_key_file", "tenant-key")
                .variable("ASK2DO_TENANT_KEY", TENANT_KEY)
        },
        &[
            "cloud.tenant_key_file",
            "ASK2DO_TENANT_KEY",
            "one of the two",
        ],
    ),
    (
        "no CA",
        |_, s| s.without("ca.crt"),
        &["grpc.client_ca_file", "ca.crt", "cannot be read"],
    ),
    (
        "an empty CA",
        |_, s| s.file("ca.crt", ""),
        &["grpc.client_ca_file", "empty"],
    ),
    (
        "a key for a CA",
        |w, s| s.file("ca.crt", w.callers.issue(&Leaf::client()).key),
        &["grpc.client_ca_file"],
    ),
    (
        "a certificate and another one's key",
        |w, s| s.file("tls.key", w.servers.issue(&Leaf::server()).key),
        &["grpc.", "tls."],
    ),
    (
        "an expired certificate",
        |w, s| {
            let pair = w.servers.issue(&Leaf::server().valid(-7200, -3600));
            s.file("tls.crt", pair.certificate)
                .file("tls.key", pair.key)
        },
        &["grpc.certificate_file", "expired"],
    ),
    (
        "a certificate that is not valid yet",
        |w, s| {
            let pair = w.servers.issue(&Leaf::server().valid(3600, 7200));
            s.file("tls.crt", pair.certificate)
                .file("tls.key", pair.key)
        },
        &["grpc.certificate_file", "not valid before"],
    ),
    (
        "no caller",
        |_, s| s.file("server.toml", ""),
        &["callers", "nobody may mint", "allow_any_caller"],
    ),
    (
        "callers and allow_any_caller",
        |_, s| s.file("server.toml", format!("allow_any_caller = true\n{CALLERS}")),
        &["allow_any_caller", "callers"],
    ),
    (
        "callers twice over",
        |_, s| {
            s.set("callers_file", "callers.toml")
                .file("callers.toml", CALLERS)
        },
        &["callers_file", "one of the two"],
    ),
    (
        "one SAN twice",
        |_, s| s.file("server.toml", CALLERS.replace("ns/shop", "ns/panel")),
        &["callers", "panel", "shop", "same SAN"],
    ),
    (
        "a wildcard SAN",
        |_, s| s.file("server.toml", CALLERS.replace("legacy.panel", "*.panel")),
        &["callers", "san", "wildcard"],
    ),
    (
        "plain HTTP to elsewhere",
        |_, s| s.set("cloud.url", "http://cloud.ask2do.com"),
        &["cloud.url", "https"],
    ),
    (
        "a broken cloud CA",
        |_, s| s.file("cloud-ca.crt", "x"),
        &["cloud.ca_file"],
    ),
    (
        "a file beside a setting",
        |_, s| s.set("limits.in_flight", "-1").file("cloud-ca.crt", "x"),
        &["cloud.ca_file"],
    ),
    (
        "no TOML",
        |_, s| s.file("server.toml", "callers = ["),
        &["server.toml:1", "TOML"],
    ),
    (
        "a variable with an unknown key",
        |_, s| s.variable("ASK2DO_GRPC__LISTN", "127.0.0.1:0"),
        &["ASK2DO_GRPC__LISTN", "unknown key", "listen"],
    ),
    (
        "an argument with an unknown key",
        |_, s| s.set("grpc.listn", "127.0.0.1:0"),
        &["grpc.listn", "unknown key"],
    ),
];

/// Five mistakes in one file, each at its own key.
const FIVE: &str = r#"
[grpc]
listen = "localhost"
max_connection_age = "5 minutes"
[cloud]
timeuot = "5s"
roles = []
[limits]
in_flight = -1
"#;

const FIVE_KEYS: [&str; 5] = [
    "grpc.listen",
    "grpc.max_connection_age",
    "cloud.timeuot",
    "cloud.roles",
    "limits.in_flight",
];

pub(crate) fn add(suite: &mut Suite) {
    for &(name, spoil, words) in MISTAKES {
        suite.case(format!("configuration: {name}"), move || async move {
            let world = World::new().await;
            for arguments in [&["--check"][..], &[]] {
                let (code, text) = spoil(&world, world.server()).run(arguments).await;
                assert_eq!(code, MISTAKE, "{text}");
                let line = text.lines().find(|line| line.contains(words[0]));
                let line = line.unwrap_or_else(|| panic!("nothing of {}: {text}", words[0]));
                for word in words {
                    assert!(line.contains(word), "no {word:?} in: {line}");
                }
                assert!(!text.contains("canary"), "{text}");
                assert!(!text.contains("panicked"), "{text}");
            }
            assert_eq!(world.cloud.calls().connections, 0);
        });
    }
    suite.case("configuration: --check reports five mistakes at once", five);
    suite.case(
        "configuration: a mistake comes before any port",
        before_any_port,
    );
    suite.case(
        "configuration: --check says ok, and binds nothing",
        || async {
            let world = World::new().await;
            let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = taken.local_addr().unwrap().to_string();
            let setup = world.server().set("grpc.listen", &address);
            assert_eq!(setup.run(&["--check"]).await, (0, "ok".to_owned()));
            let (code, text) = world.server().set("grpc.listen", &address).run(&[]).await;
            assert_eq!(code, 1, "{text}");
            assert!(text.contains(&address), "{text}");
        },
    );
    suite.case_where_possible("configuration: an unreadable key file", unreadable);
    add_what_works(suite);
}

async fn five() {
    let world = World::new().await;
    for arguments in [&["--check"][..], &[]] {
        let setup = world.server().unset("grpc.listen").unset("cloud.ca_file");
        let setup = setup.file("server.toml", format!("{FIVE}{CALLERS}"));
        let (code, text) = setup.run(arguments).await;
        assert_eq!(code, MISTAKE, "{text}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), FIVE_KEYS.len(), "{text}");
        for (line, key) in lines.iter().zip(FIVE_KEYS) {
            let place = line.strip_prefix("server.toml:").expect("the file");
            assert!(
                place.starts_with(|c: char| c.is_ascii_digit()),
                "{line}: no line"
            );
            assert!(line.contains(&format!(" {key}: ")), "{line}: not {key}");
            let is_unknown = line.contains("unknown key") && line.contains("timeout");
            assert!(line.contains("allowed: ") || is_unknown, "{line}");
        }
    }
}

async fn before_any_port() {
    let world = World::new().await;
    // A port that is in use would be told first, were it bound first.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for port in ["grpc.listen", "admin.listen"] {
        let setup = world.server().set(port, &address).file("tenant-key", "");
        let (code, text) = setup.run(&[]).await;
        assert_eq!(code, MISTAKE, "{text}");
        assert!(!text.contains("cannot listen"), "{text}");
    }
}

async fn unreadable() -> Result<(), CannotRun> {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::new().await;
    let setup = world.server().unprivileged()?;
    let key = setup.path("tenant-key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).unwrap();
    let (code, text) = setup.run(&["--check"]).await;
    assert_eq!(code, MISTAKE, "{text}");
    assert!(text.contains("cloud.tenant_key_file"), "{text}");
    assert!(text.contains("Permission denied"), "{text}");
    Ok(())
}

fn add_what_works(suite: &mut Suite) {
    for (name, end) in [("LF", "\n"), ("CR LF", "\r\n")] {
        suite.case(
            format!("configuration: a key file may end in {name}"),
            move || async move {
                let world = World::new().await;
                let setup = world
                    .server()
                    .file("tenant-key", format!("{TENANT_KEY}{end}"));
                works(&world, setup).await;
            },
        );
    }
    suite.case("configuration: the key may be a variable", || async {
        let world = World::new().await;
        let setup = world.server().without("tenant-key");
        works(&world, setup.variable("ASK2DO_TENANT_KEY", TENANT_KEY)).await;
    });
    suite.case(
        "configuration: callers may have a file of their own",
        || async {
            let world = World::new().await;
            let setup = world
                .server()
                .file("server.toml", "callers_file = \"callers.toml\"");
            works(&world, setup.file("callers.toml", CALLERS)).await;
        },
    );
    suite.case(
        "configuration: Kubernetes' own variables count for nothing",
        || async {
            let world = World::new().await;
            let noise = [
                ("ASK2DO_TOKEN_PORT", "tcp://10.96.14.2:8443"),
                ("ASK2DO_TOKEN_PORT_8443_TCP", "tcp://10.96.14.2:8443"),
                ("ASK2DO_TOKEN_SERVICE_HOST", "10.96.14.2"),
                ("ASK2DO_GRPC_PORT", "tcp://10.96.14.3:1"),
                ("ASK2DO_CLOUD", "x"),
                ("ASK2DO_HTTP__LISTEN", "the gateway's"),
            ];
            let mut setup = world.server();
            for (name, value) in noise {
                setup = setup.variable(name, value);
            }
            works(&world, setup).await;
        },
    );
    suite.case(
        "configuration: proxies of the environment are not used",
        || async {
            let world = World::new().await;
            let mut setup = world.server();
            for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"] {
                setup = setup.variable(name, "http://127.0.0.1:1");
            }
            works(&world, setup).await;
        },
    );
    suite.case(
        "configuration: a variable overrides the file, an argument both",
        || async {
            let world = World::new().await;
            let file = format!("[admin]\nlisten = \"127.0.0.4:0\"\n{CALLERS}");
            let setup = || {
                world
                    .server()
                    .unset("admin.listen")
                    .file("server.toml", &file)
            };
            let listens = async |setup: Setup| setup.start().await.admin.ip().to_string();
            let variable = |setup: Setup| setup.variable("ASK2DO_ADMIN__LISTEN", "127.0.0.3:0");
            assert_eq!(listens(setup()).await, "127.0.0.4");
            assert_eq!(listens(variable(setup())).await, "127.0.0.3");
            let argued = variable(setup()).set("admin.listen", "127.0.0.2:0");
            assert_eq!(listens(argued).await, "127.0.0.2");
        },
    );
    suite.case(
        "configuration: a CA for the cloud stands beside the public ones",
        || async {
            let world = World::new().await;
            let other = Authority::new("not the cloud's");
            let server = world
                .server()
                .file("cloud-ca.crt", other.pem())
                .start()
                .await;
            let reply = server
                .connect(&world.panel())
                .await
                .mint("42", "admin")
                .await;
            reply.refused(Code::Unavailable, "CLOUD_UNAVAILABLE");
            assert_eq!(world.cloud.calls().total, 0);
        },
    );
    suite.case("configuration: arguments that are none", || async {
        let world = World::new().await;
        for (arguments, code, words) in [
            (&["--chekc"][..], 2, "--check"),
            (&["--version"], 0, "ask2do-token-server 0."),
            (&["--help"], 0, "--config"),
            (&["--set", "grpc"], 2, "--set"),
        ] {
            let (found, text) = world.server().run(arguments).await;
            assert_eq!(found, code, "{text}");
            assert!(text.contains(words), "{text}");
        }
    });
}

async fn works(world: &World, setup: Setup) {
    let server = setup.start().await;
    minted(
        &server
            .connect(&world.panel())
            .await
            .mint("42", "admin")
            .await,
    );
    server.end().await;
}
