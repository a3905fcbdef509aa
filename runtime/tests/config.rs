//! The configuration as a binary uses it: a small one of its own, in files, variables and `--set`.

#![allow(clippy::unwrap_used, reason = "the file is a test")]

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ask2do_token_runtime::config::{
    Arguments, Checks, Each, Entries, FilePath, HttpUrl, HttpsUrl, Length, Mistakes, ProxyUrl,
    Sources, parse, reference,
};
use ask2do_token_runtime::{choices, settings};
use ask2do_token_tls::Polled;

settings! {
    /// The whole file.
    pub struct Config checked by Config::check {
        /// Whether every certificate of the CA may mint.
        allow_any_caller: bool = false,
        /// The gRPC port.
        grpc: Grpc,
        /// The vendor's cloud.
        cloud: Cloud,
        /// Who is logged in.
        session: Session,
        /// Who may mint,
        /// and for which roles.
        callers: Vec<Caller> = [],
    }

    /// The port.
    pub struct Grpc {
        /// Where it listens.
        listen: SocketAddr = "0.0.0.0:8443",
        /// What it shows to callers.
        certificate_file: FilePath,
        /// When a connection is asked to go.
        max_connection_age: Duration = "5m" where Duration::from_secs(1)..=Duration::from_hours(24),
        /// Open connections.
        connections: u32 = 1024 where 1..=65_536,
    }

    /// The cloud.
    pub struct Cloud {
        /// Where it is.
        url: HttpsUrl = "https://cloud.ask2do.com",
        /// An egress proxy.
        proxy: Option<ProxyUrl>,
        /// What it accepts | takes.
        roles: Vec<String> = ["admin", "owner"] where Each(Length(1..=64)),
        /// A number of ours.
        workers: Option<u8> where 1..=8,
    }

    /// The session.
    pub struct Session {
        /// How it is checked.
        mode: Mode = "forward",
        /// The panel is asked.
        forward: Option<Forward>,
        /// The panel's role names to the vendor's.
        role_map: BTreeMap<String, String>,
    }

    /// A question to the panel.
    pub struct Forward {
        /// What is asked.
        url: HttpUrl,
    }

    /// One caller.
    pub struct Caller {
        /// What logs call it.
        name: String where Length(1..=8),
        /// What it may mint for.
        roles: Vec<String> where Entries(1..=usize::MAX),
    }
}

choices! {
    /// How a session is checked.
    pub enum Mode {
        /// The panel is asked.
        Forward = "forward",
        /// A token says so.
        Jwt = "jwt",
    }
}

impl Config {
    fn check(&self, checks: &mut Checks<'_>) {
        let alone = !(self.allow_any_caller && checks.is_set("callers"));
        checks.require(
            &["allow_any_caller"],
            alone,
            "found true beside [[callers]]",
            "allowed: one of them",
        );
        let named = self.allow_any_caller || !self.callers.is_empty();
        checks.require(
            &["callers"],
            named || !checks.starting(),
            "nobody may mint",
            "name a caller",
        );
        let mut names = HashSet::new();
        for (index, caller) in self.callers.iter().enumerate() {
            let unique = names.insert(&caller.name);
            let key = format!("callers[{index}].name");
            checks.require(&[&key], unique, "found twice", "allowed: once");
        }
        let one_key = !checks.has_variable("ASK2DO_TENANT_KEY");
        checks.require(&["cloud"], one_key, "found a key beside it", "");
    }
}

/// What a complete file needs at least.
const MINIMAL: &str = "allow_any_caller = true\n[grpc]\ncertificate_file = \"tls.crt\"\n";

struct Layers {
    folder: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
    arguments: Arguments,
}

impl Layers {
    fn none() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            arguments: Arguments::default(),
        }
    }

    fn file(text: impl AsRef<[u8]>) -> Self {
        let mut layers = Self::none();
        std::fs::write(layers.path(), text).unwrap();
        layers.arguments.config = Some(layers.path());
        layers
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("server.toml")
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, assignment: &str) -> Self {
        self.arguments.set.push(assignment.to_owned());
        self
    }

    fn sources(&self) -> Sources {
        Sources::with_environment(&self.arguments, self.environment.clone())
    }

    fn read(&self) -> Result<Config, Mistakes> {
        self.sources().read()
    }

    /// The mistakes as they are printed, the folder left out.
    fn mistakes(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let text = self.read().unwrap_err().to_string();
        text.lines().map(|line| line.replace(&folder, "")).collect()
    }
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let layers = Layers::file(MINIMAL);
    let config = layers.read().unwrap();
    let certificate = layers.folder.path().join("tls.crt");
    assert_eq!(config.grpc.listen, "0.0.0.0:8443".parse().unwrap());
    assert_eq!(*config.grpc.certificate_file, *certificate);
    assert_eq!(config.grpc.max_connection_age, Duration::from_secs(300));
    assert_eq!(config.cloud.url.as_str(), "https://cloud.ask2do.com/");
    assert_eq!(config.cloud.proxy, None);
    assert_eq!(config.cloud.roles, ["admin", "owner"]);
    assert_eq!(config.session.mode, Mode::Forward);
    assert_eq!(config.session.forward, None);
    assert!(config.session.role_map.is_empty());
    assert!(config.callers.is_empty());
}

#[test]
fn each_layer_overrides_the_one_before() {
    let text = format!(
        "{MINIMAL}connections = 1\nmax_connection_age = \"1s\"\nlisten = \"127.0.0.1:1\"\n"
    );
    let layers = Layers::file(text)
        .variable("ASK2DO_GRPC__CONNECTIONS", "2")
        .variable("ASK2DO_GRPC__MAX_CONNECTION_AGE", "2s")
        .set("grpc.connections=3")
        .set("grpc.connections = 4");
    let grpc = layers.read().unwrap().grpc;
    assert_eq!(grpc.listen.port(), 1);
    assert_eq!(grpc.max_connection_age, Duration::from_secs(2));
    assert_eq!(grpc.connections, 4);
}

#[test]
fn nested_tables_maps_and_lists_come_from_any_layer() {
    let layers = Layers::file(format!(
        "{MINIMAL}[session.role_map]\nsuperuser = \"owner\"\n"
    ))
    .variable(
        "ASK2DO_SESSION__FORWARD__URL",
        "http://panel.example/whoami",
    )
    .variable("ASK2DO_SESSION__ROLE_MAP__STAFF", "admin")
    .variable("ASK2DO_CLOUD__ROLES", r#"["owner"]"#)
    .set(r#"session.role_map."Gruppe.1"=admin"#)
    .set("allow_any_caller=false")
    .set(r#"callers=[{name="panel", roles=["admin"]}]"#);
    let config = layers.read().unwrap();
    let forward = config.session.forward.unwrap();
    assert_eq!(forward.url.as_str(), "http://panel.example/whoami");
    let expected = [
        ("Gruppe.1", "admin"),
        ("staff", "admin"),
        ("superuser", "owner"),
    ];
    let expected = expected.map(|(panel, vendor)| (panel.to_owned(), vendor.to_owned()));
    assert_eq!(config.session.role_map, BTreeMap::from(expected));
    assert_eq!(config.cloud.roles, ["owner"]);
    assert_eq!(config.callers[0].name, "panel");
}

#[test]
fn an_empty_text_takes_an_optional_value_away() {
    let text = format!("{MINIMAL}[cloud]\nproxy = \"http://proxy.example:3128\"\nworkers = 3\n");
    let layers = Layers::file(text)
        .variable("ASK2DO_CLOUD__PROXY", "")
        .set("cloud.workers=");
    let cloud = layers.read().unwrap().cloud;
    assert_eq!((cloud.proxy, cloud.workers), (None, None));
}

#[test]
fn what_would_be_toml_stays_text_where_text_is_wanted() {
    let cases = [
        ("5", "5"),
        ("true", "true"),
        ("1979-05-27", "1979-05-27"),
        ("nan", "nan"),
        ("[x]", "[x]"),
        ("\"x\"", "x"),
        ("a b", "a b"),
        ("a=b", "a=b"),
    ];
    for (given, expected) in cases {
        let layers = Layers::file(MINIMAL).set(&format!("session.role_map.x={given}"));
        assert_eq!(layers.read().unwrap().session.role_map["x"], expected);
        let layers = Layers::file(MINIMAL).variable("ASK2DO_SESSION__ROLE_MAP__X", given);
        assert_eq!(layers.read().unwrap().session.role_map["x"], expected);
    }
    // In a file quotes cost nothing, and their absence is a slip.
    let layers = Layers::file(format!("{MINIMAL}[session.role_map]\nx = 5\n"));
    assert_eq!(layers.mistakes().len(), 1);
}

#[test]
fn five_mistakes_in_one_file_are_five_lines() {
    let layers = Layers::file(
        r#"allow_any_caller = true
[grpc]
listen = "localhost:8443"
max_connection_age = "0s"
conections = 5
[cloud]
url = "http://cloud.ask2do.com"
"#,
    );
    assert_eq!(
        layers.mistakes(),
        [
            r#"server.toml:2: grpc.certificate_file: missing; required: the path of a file, such as "tls.crt", relative to the configuration file"#,
            r#"server.toml:3: grpc.listen: found "localhost:8443"; allowed: an IP address and port, such as "0.0.0.0:8443" or "[::]:8443""#,
            r#"server.toml:4: grpc.max_connection_age: found "0s"; allowed: a duration such as "250ms", "5s", "5m" or "1h", 1s to 24h"#,
            r#"server.toml:5: grpc.conections: unknown key; did you mean grpc.connections?"#,
            r#"server.toml:7: cloud.url: found "http://cloud.ask2do.com"; allowed: an https:// URL without credentials or fragment, such as "https://cloud.ask2do.com"; http:// to a loopback address alone"#,
        ]
    );
}

#[test]
fn mistakes_of_every_layer_are_reported_also_where_a_later_one_overrides() {
    let layers = Layers::file(format!("{MINIMAL}connections = 0\n"))
        .variable("ASK2DO_GRPC__CONNECTIONS", "many")
        .variable("ASK2DO_SESSION__FORWARD__TIMEOUT", "1s")
        .set("grpc.connections=65537")
        .set("colour=blue")
        .set("grpc");
    assert_eq!(
        layers.mistakes(),
        [
            r#"server.toml: session.forward.url: missing; required: an http:// or https:// URL without credentials or fragment, such as "https://panel.example/whoami""#,
            "server.toml:4: grpc.connections: found 0; allowed: a whole number, 1 to 65536",
            r#"ASK2DO_GRPC__CONNECTIONS: grpc.connections: found "many"; allowed: a whole number, 1 to 65536"#,
            "ASK2DO_SESSION__FORWARD__TIMEOUT: session.forward.timeout: unknown key; known here: url",
            "--set : not understood; allowed: KEY=VALUE, such as admin.listen=127.0.0.1:9090",
            "--set colour: colour: unknown key; known here: allow_any_caller, grpc, cloud, session, callers",
            "--set grpc.connections: grpc.connections: found 65537; allowed: a whole number, 1 to 65536",
        ]
    );
}

#[test]
fn keys_that_do_not_go_together_are_reported_beside_other_mistakes() {
    let layers = Layers::file(
        r#"allow_any_caller = true
[grpc]
certificate_file = 5
[[callers]]
name = "panel"
roles = []
[[callers]]
name = "panel"
roles = ["admin"]
"#,
    )
    .variable("ASK2DO_TENANT_KEY", "canary");
    assert_eq!(
        layers.mistakes(),
        [
            "server.toml: cloud: found a key beside it",
            "server.toml:1: allow_any_caller: found true beside [[callers]]; allowed: one of them",
            r#"server.toml:3: grpc.certificate_file: found 5; allowed: the path of a file, such as "tls.crt", relative to the configuration file"#,
            "server.toml:6: callers[0].roles: found []; allowed: a list, each text without control characters, at least 1 of them",
            "server.toml:8: callers[1].name: found twice; allowed: once",
        ]
    );
}

#[test]
fn nothing_is_concluded_from_a_value_that_is_mistaken_itself() {
    let text = "callers = 5\n[grpc]\ncertificate_file = \"tls.crt\"\n";
    let mistakes = Layers::file(text).mistakes();
    assert_eq!(
        mistakes,
        ["server.toml:1: callers: found 5; allowed: a list of tables"]
    );
}

#[test]
fn variables_of_others_are_no_settings() {
    let layers = Layers::file(MINIMAL)
        .variable("ASK2DO_TOKEN_PORT", "tcp://10.0.0.1:8443")
        .variable("ASK2DO_TOKEN_SERVICE_HOST", "10.0.0.1")
        .variable("ASK2DO_TOKEN__X_SERVICE_HOST", "10.0.0.1")
        .variable("ASK2DO_GRPC_PORT", "tcp://10.0.0.1:8443")
        .variable("ASK2DO_GRPC", "5")
        .variable("ASK2DO_ALLOW_ANY_CALLER__X", "5")
        .variable("ASK2DO_", "5")
        .variable("ASK2DO___", "5")
        .variable("ask2do_grpc__listen", "5")
        .variable("GRPC__LISTEN", "5")
        .variable("PATH", "5");
    layers.read().unwrap();
}

#[test]
fn variables_in_tables_of_ours_must_be_keys() {
    let layers = Layers::file(MINIMAL)
        .variable("ASK2DO_CALLERS__0__NAME", "panel")
        .variable("ASK2DO_GRPC__", "5")
        .variable("ASK2DO_GRPC__LISTEN__X", "5")
        .variable(&format!("ASK2DO_GRPC{}", "__X".repeat(20_000)), "5");
    let mistakes = layers.mistakes();
    assert_eq!(
        mistakes[0],
        "ASK2DO_CALLERS__0__NAME: callers.0.name: found a variable; allowed: in the file, or as a list by --set"
    );
    assert!(mistakes[1].starts_with("ASK2DO_GRPC__: grpc.\"\": unknown key; known here: listen"));
    assert!(
        mistakes[2]
            .starts_with("ASK2DO_GRPC__LISTEN__X: grpc.listen: found a table; allowed: an IP")
    );
    assert!(mistakes[3].ends_with("unknown key; no key is as deep"));
    assert_eq!(mistakes.len(), 4);
}

#[test]
fn a_variable_that_is_no_utf8_is_a_mistake() {
    let mut layers = Layers::file(MINIMAL);
    let value = OsString::from_vec(vec![0x66, 0xff]);
    layers
        .environment
        .push(("ASK2DO_GRPC__LISTEN".into(), value));
    assert_eq!(
        layers.mistakes(),
        ["ASK2DO_GRPC__LISTEN: grpc.listen: found bytes that are no UTF-8; allowed: text"]
    );
}

#[test]
fn secrets_are_in_no_mistake_and_no_debug() {
    let canary = "c4n4ry";
    let layers = Layers::file(format!(
        "{MINIMAL}tenant_key = \"{canary}\"\n[cloud]\nproxy = \"ftp://{canary}\"\nurl = \"https://user:{canary}@cloud.example\"\n"
    ))
    .variable("ASK2DO_CLOUD__TENANT_KEY", canary)
    .variable("ASK2DO_TENANT_KEY", canary)
    .set(&format!("cloud.proxy=[\"{canary}\"]"))
    .set(&format!("grpc.certificate_file=-----BEGIN PRIVATE KEY-----\n{canary}"));
    let mistakes = layers.mistakes();
    assert_eq!(mistakes.len(), 6, "{mistakes:?}");
    assert!(
        mistakes.iter().all(|line| !line.contains(canary)),
        "{mistakes:?}"
    );
    assert!(!format!("{:?}", layers.arguments).contains(canary));

    let broken = Layers::file(format!("[cloud]\nproxy = \"http://{canary}\" x\n")).mistakes();
    assert!(
        broken.iter().all(|line| !line.contains(canary)),
        "{broken:?}"
    );

    let good =
        Layers::file(MINIMAL).set(&format!("cloud.proxy=http://u:{canary}@proxy.example:3128"));
    let config = good.read().unwrap();
    assert!(!format!("{config:?}").contains(canary));
    assert_eq!(
        config.cloud.proxy.unwrap().expose().password(),
        Some(canary)
    );
}

#[test]
fn a_file_that_is_no_toml_names_line_and_column_and_hides_no_other_layer() {
    let layers = Layers::file("[grpc]\nlisten = \n[cloud\n").set("cloud.workers=9");
    let mistakes = layers.mistakes();
    assert!(
        mistakes[0].starts_with("server.toml:2:10: "),
        "{mistakes:?}"
    );
    assert!(mistakes[1].starts_with("server.toml:3:7: "), "{mistakes:?}");
    assert_eq!(
        mistakes[2],
        "--set cloud.workers: cloud.workers: found 9; allowed: a whole number, 1 to 8"
    );
    assert_eq!(mistakes.len(), 3);
}

#[test]
fn a_key_that_is_there_twice_is_one_mistake_beside_the_others() {
    let mistakes = Layers::file(format!("{MINIMAL}connections = 0\nconnections = 5\n")).mistakes();
    assert_eq!(
        mistakes,
        [
            "server.toml:4: grpc.connections: found 0; allowed: a whole number, 1 to 65536",
            "server.toml:5:1: duplicate key; allowed: TOML",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let one_mistake = |layers: Layers| {
        let mistakes = layers.mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes[0].clone()
    };
    let mut missing = Layers::none();
    missing.arguments.config = Some(missing.path());
    assert_eq!(
        one_mistake(missing),
        "server.toml: no such file; allowed: the path of a TOML file"
    );

    let mut folder = Layers::none();
    std::fs::create_dir(folder.path()).unwrap();
    folder.arguments.config = Some(folder.path());
    assert_eq!(
        one_mistake(folder),
        "server.toml: a directory; allowed: the path of a TOML file"
    );

    let mut device = Layers::none();
    device.arguments.config = Some("/dev/zero".into());
    assert_eq!(
        one_mistake(device),
        "/dev/zero: not a regular file; allowed: the path of a TOML file"
    );

    let latin = Layers::file(b"a = \"\xe4\"");
    assert_eq!(
        one_mistake(latin),
        "server.toml: not UTF-8 at byte 5; allowed: a TOML file, which is UTF-8"
    );

    let large = Layers::file(vec![b' '; 1024 * 1024 + 1]);
    assert_eq!(
        one_mistake(large),
        "server.toml: over 1 MiB; allowed: a TOML file of at most 1 MiB"
    );
    Layers::file(MINIMAL.to_owned() + &" ".repeat(1024 * 1024 - MINIMAL.len()))
        .read()
        .unwrap();
}

#[test]
fn a_file_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let layers = Layers::file(MINIMAL);
    std::fs::set_permissions(layers.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it all the same.
    match layers.read() {
        Ok(_) => assert!(std::fs::read(layers.path()).is_ok()),
        Err(mistakes) => assert!(
            mistakes
                .to_string()
                .ends_with("this process may not read it; allowed: a file that it may read")
        ),
    }
}

#[test]
fn without_a_file_paths_are_relative_to_the_working_directory() {
    let layers = Layers::none()
        .set("grpc.certificate_file=tls.crt")
        .set("allow_any_caller=true");
    assert_eq!(
        *layers.read().unwrap().grpc.certificate_file,
        *Path::new("tls.crt")
    );
    let missing = Layers::none().mistakes();
    assert!(
        missing[0].starts_with("configuration: grpc.certificate_file: missing;"),
        "{missing:?}"
    );
}

#[test]
fn no_key_takes_a_value_of_another_kind() {
    let keys = [
        "allow_any_caller",
        "grpc",
        "grpc.listen",
        "grpc.certificate_file",
        "grpc.max_connection_age",
        "grpc.connections",
        "cloud.url",
        "cloud.proxy",
        "cloud.roles",
        "cloud.workers",
        "session.mode",
        "session.forward",
        "session.forward.url",
        "session.role_map",
        "callers",
    ];
    let values = [
        "5",
        "-1",
        "99999999999999999999999999",
        "1.5",
        "1e400",
        "true",
        "nan",
        "1979-05-27",
        "\"\"",
        "\"\\u0000\"",
        "\"x\\ny\"",
        "[]",
        "[[]]",
        "[5]",
        "{}",
        "{ a = { b = 5 } }",
        "[{}]",
        "[{ name = 5 }]",
        "\"é\"",
    ];
    // What happens to be a good value somewhere.
    let good = [
        ("allow_any_caller", "true"),
        ("grpc.connections", "5"),
        ("cloud.workers", "5"),
        ("cloud.workers", "\"\""),
        ("cloud.proxy", "\"\""),
        ("cloud.roles", "[]"),
        ("session.role_map", "{}"),
        ("callers", "[]"),
        ("grpc.certificate_file", "\"é\""),
        ("grpc", "{}"),
    ];
    for key in keys {
        for value in values {
            let file = format!("{key} = {value}\n");
            let result = Layers::file(&file)
                .set("allow_any_caller=true")
                .set("grpc.certificate_file=x")
                .read();
            let mistakes = result.map_or_else(|mistakes| mistakes.to_string(), |_| String::new());
            let blamed = mistakes
                .lines()
                .any(|line| line.contains("server.toml:1:") && line.contains(key));
            assert_eq!(blamed, !good.contains(&(key, value)), "{file}{mistakes}");
        }
    }
}

#[test]
fn no_input_panics() {
    let deep_list = format!("allow_any_caller = {}", "[".repeat(100_000));
    let deep_key = format!("{} = 5", vec!["a"; 100_000].join("."));
    let deep_table = "a={".repeat(50_000);
    let tables = "[[callers]]\n".repeat(20_000);
    let one_line = format!("callers = [{}]", "{},".repeat(20_000));
    let brackets = "]".repeat(100_000);
    let inputs = [
        "\0",
        "\u{feff}",
        "=",
        "[",
        "[]",
        "[[",
        "[[]]",
        "\"",
        "'''",
        "a",
        "a.",
        ".a = 5",
        "a = ",
        "a = \"\\",
        "a = 0x",
        "[callers]\n[[callers]]",
        "[[callers]]\n[callers]",
        "[grpc]\n[grpc]",
        "grpc.listen = 5\n[grpc]",
        "[grpc.listen]",
        "\"\" = 5",
        "\"\\u202e\" = 5",
        "a = 5\r",
        "\r\n\r\n=",
        "# \u{7f}",
        "é = 5",
        "[é",
        "callers = [{name=\"é\"}]\né",
        &deep_list,
        &deep_key,
        &deep_table,
        &tables,
        &one_line,
        &brackets,
    ];
    for input in inputs {
        Layers::file(input).read().unwrap_err();
        let set = Layers::none().set(input);
        set.read().unwrap_err();
        Layers::none()
            .set(&format!("cloud.roles={input}"))
            .read()
            .unwrap_err();
        Layers::none()
            .set(&format!("{input}=5"))
            .read()
            .unwrap_err();
    }
}

/// Cuts a good file and damages each of its bytes: whatever a slip may leave.
#[test]
fn no_damage_to_a_good_file_panics() {
    let good = r#"allow_any_caller = false
[grpc]
listen = "[::]:8443"
certificate_file = 'tls.crt' # é
max_connection_age = "5m"
connections = 0x10
[session.forward]
url = """https://panel.example/whoami"""
[[callers]]
name = "panel"
roles = ["admin", "\u00e9"]
"#;
    let parse = |text: &[u8]| parse::<Config>(text);
    parse(good.as_bytes()).unwrap();
    for index in 0..good.len() {
        for byte in *b"\0\n\"'[]{}=.,#\\ \x1b\xff" {
            let mut damaged = good.as_bytes().to_vec();
            damaged[index] = byte;
            let _ = parse(&damaged).map_err(|mistakes| mistakes.to_string());
        }
        let _ = parse(&good.as_bytes()[..index]).map_err(|mistakes| mistakes.to_string());
    }
}

#[test]
fn durations_are_a_number_and_a_unit() {
    let age = |text: &str| {
        let toml = format!("{MINIMAL}max_connection_age = \"{text}\"\n");
        parse::<Config>(toml).map(|config| config.grpc.max_connection_age)
    };
    assert_eq!(age("1500ms").unwrap(), Duration::from_millis(1500));
    assert_eq!(age("90s").unwrap(), Duration::from_secs(90));
    assert_eq!(age("24h").unwrap(), Duration::from_hours(24));
    for wrong in [
        "",
        "5",
        "s",
        "5 s",
        "-5s",
        "1.5s",
        "5S",
        "1m30s",
        "5d",
        "999ms",
        "25h",
        "5s ",
        "\u{665}s",
        "99999999999999999999s",
        "18446744073709551615h",
    ] {
        assert!(age(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn urls_say_exactly_where_they_lead() {
    let url = |key: &str, url: &str| {
        let set = format!("{key}={url}");
        Layers::file(MINIMAL).set(&set).read().is_ok()
    };
    for good in [
        "https://cloud.example",
        "HTTPS://cloud.example:8443/a",
        "http://localhost:5000",
        "http://127.9.9.9",
        "http://[::1]:80",
    ] {
        assert!(url("cloud.url", good), "{good}");
    }
    for bad in [
        "http://cloud.example",
        "http://localhost.example",
        "http://0.0.0.0",
        "http://[::]",
        "https:cloud.example",
        "https:/cloud.example",
        "https://",
        "https:// cloud.example",
        "https://u@cloud.example",
        "https://:p@cloud.example",
        "https://cloud.example#x",
        "ftp://cloud.example",
        "cloud.example",
        "https://cloud.example:99999",
    ] {
        assert!(!url("cloud.url", bad), "{bad}");
    }
    assert!(url(
        "session.forward.url",
        "http://panel.example/whoami?x=y"
    ));
    assert!(!url("session.forward.url", "http://u:p@panel.example"));
    assert!(url("cloud.proxy", "http://u:p@proxy.example:3128"));
    assert!(!url("cloud.proxy", "http://proxy.example/path"));
    assert!(!url("cloud.proxy", "socks5://proxy.example"));
}

#[test]
fn the_reference_says_of_each_key_what_it_is() {
    let expected = r#"### Top level

| key | type | default | allowed | meaning |
|---|---|---|---|---|
| `allow_any_caller` | boolean | `false` | true or false | Whether every certificate of the CA may mint. |

### `[grpc]`

The gRPC port.

| key | type | default | allowed | meaning |
|---|---|---|---|---|
| `listen` | address and port | `"0.0.0.0:8443"` | an IP address and port, such as "0.0.0.0:8443" or "[::]:8443" | Where it listens. |
| `certificate_file` | path of a file | required | the path of a file, such as "tls.crt", relative to the configuration file | What it shows to callers. |
| `max_connection_age` | duration | `"5m"` | a duration such as "250ms", "5s", "5m" or "1h", 1s to 24h | When a connection is asked to go. |
| `connections` | whole number | `1024` | a whole number, 1 to 65536 | Open connections. |

### `[cloud]`

The vendor's cloud.

| key | type | default | allowed | meaning |
|---|---|---|---|---|
| `url` | URL | `"https://cloud.ask2do.com"` | an https:// URL without credentials or fragment, such as "https://cloud.ask2do.com"; http:// to a loopback address alone | Where it is. |
| `proxy` | URL | – | the URL of an HTTP proxy, such as "http://user:password@proxy.example:3128" | An egress proxy. |
| `roles` | list of text | `["admin", "owner"]` | a list, each text without control characters, each 1 to 64 bytes | What it accepts \| takes. |
| `workers` | whole number | – | a whole number, 1 to 8 | A number of ours. |

### `[session]`

Who is logged in.

| key | type | default | allowed | meaning |
|---|---|---|---|---|
| `mode` | choice | `"forward"` | "forward" or "jwt" | How it is checked. |

### `[session.forward]`

The panel is asked. The table may be left out.

| key | type | default | allowed | meaning |
|---|---|---|---|---|
| `url` | URL | required | an http:// or https:// URL without credentials or fragment, such as "https://panel.example/whoami" | What is asked. |

### `[session.role_map]`

The panel's role names to the vendor's. The keys are your own, each value is text.

### `[[callers]]`

Who may mint, and for which roles.

| key | type | default | allowed | meaning |
|---|---|---|---|---|
| `name` | text | required | text without control characters, 1 to 8 bytes | What logs call it. |
| `roles` | list of text | required | a list, each text without control characters, at least 1 of them | What it may mint for. |
"#;
    assert_eq!(reference::<Config>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_running_process_takes_its_part_and_names_what_needs_a_restart() {
    let text = |callers: &str| {
        format!("[grpc]\ncertificate_file = \"tls.crt\"\nconnections = 5\n{callers}")
    };
    let panel = "[[callers]]\nname = \"panel\"\nroles = [\"admin\"]\n";
    let layers = Layers::file(text(panel)).variable("ASK2DO_GRPC__CONNECTIONS", "6");
    let needs_restart = Arc::new(Mutex::new(Vec::new()));
    let told = needs_restart.clone();
    let (callers, mut reloader) = layers
        .sources()
        .watch(
            "callers",
            layers.read().unwrap(),
            &["callers"],
            |config: &Config| Ok(config.callers.clone()),
            move |keys| *told.lock().unwrap() = keys.to_vec(),
        )
        .unwrap()
        .unwrap();
    let names = || -> Vec<String> {
        callers
            .current()
            .iter()
            .map(|caller| caller.name.clone())
            .collect()
    };
    assert_eq!(names(), ["panel"]);

    let other = panel.replace("panel", "shop") + panel;
    std::fs::write(layers.path(), text(&other)).unwrap();
    assert!(matches!(reloader.poll().await, Polled::Reloaded));
    assert_eq!(names(), ["shop", "panel"]);
    assert_eq!(*needs_restart.lock().unwrap(), [""; 0]);

    // A variable overrides the file's connections; the age and the table in a table do change.
    let changed = text(&other).replace("= 5", "= 7\nmax_connection_age = \"6m\"")
        + "[session.forward]\nurl = \"https://panel.example\"\n";
    std::fs::write(layers.path(), changed).unwrap();
    assert!(matches!(reloader.poll().await, Polled::Reloaded));
    assert_eq!(
        *needs_restart.lock().unwrap(),
        ["grpc.max_connection_age", "session.forward"]
    );

    std::fs::write(layers.path(), text(&other) + "[grpc").unwrap();
    assert!(matches!(
        reloader.poll().await,
        Polled::Failed { new: false, .. }
    ));
    let Polled::Failed { error, new: true } = reloader.poll().await else {
        panic!("the second poll reports");
    };
    assert!(error.to_string().contains("server.toml:"), "{error}");
    assert!(matches!(
        reloader.poll().await,
        Polled::Failed { new: false, .. }
    ));
    assert_eq!(names(), ["shop", "panel"]);

    // At start nobody is a mistake; while running it is what the operator says.
    std::fs::write(layers.path(), text("")).unwrap();
    assert!(matches!(reloader.poll().await, Polled::Reloaded));
    assert!(names().is_empty());
    assert_eq!(*needs_restart.lock().unwrap(), [""; 0]);
    layers.read().unwrap_err();
}

#[test]
fn nothing_is_watched_without_a_file() {
    let layers = Layers::none()
        .set("allow_any_caller=true")
        .set("grpc.certificate_file=x");
    let running = layers.read().unwrap();
    let watched = layers
        .sources()
        .watch("callers", running, &[], |_: &Config| Ok(()), |_| {});
    assert!(watched.unwrap().is_none());
}

#[test]
fn the_command_line_takes_a_file_settings_and_a_check() {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let line = [
        "x",
        "--config",
        "server.toml",
        "--set",
        "a=1",
        "--set",
        "b=-2",
        "--check",
    ];
    let arguments = Line::try_parse_from(line).unwrap().arguments;
    assert_eq!(arguments.config.as_deref(), Some(Path::new("server.toml")));
    assert_eq!(arguments.set, ["a=1", "b=-2"]);
    assert!(arguments.check);
    assert!(Line::try_parse_from(["x", "--conf", "x"]).is_err());
}
