//! Metrics as Prometheus takes them: its own promtool and server (`promtool`, `prometheus` on the path; Debian's
//! package `prometheus`), and every name that documents, rules and dashboard use.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use ask2do_token_runtime::config::Arguments;
use ask2do_token_runtime::metrics::{Described, Metrics};
use ask2do_token_runtime::telemetry;
use ask2do_token_server::audit::Idle;
use ask2do_token_tests::binaries::on_path;
use ask2do_token_tests::caller;
use ask2do_token_tests::collector::Collector;
use ask2do_token_tests::exchange::Exchange;
use ask2do_token_tests::gateway::{self, Gateway, widget};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::process::Process;
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::world::{Server, World};
use ask2do_token_tests::{admin, binaries, until};
use futures_util::future::join_all;
use serde_json::Value;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case(
        "the_document_of_metrics_is_what_server_and_gateway_register",
        documented,
    );
    suite.case("rules_and_dashboard_name_metrics_that_exist", named);
    suite.case("every_alert_has_a_runbook", runbooks);
    suite.case(
        "every_variable_of_opentelemetry_that_is_read_is_documented",
        variables,
    );
    suite.case(
        "what_the_documents_name_is_there_and_every_code_has_its_row",
        documents,
    );
    suite.case(
        "every_alert_is_seen_to_fire_and_to_be_quiet_and_every_recording_rule_is_tested",
        tested_rules,
    );
    suite.case(
        "what_metrics_shows_is_documented_with_its_type_and_labels",
        shown,
    );
    suite.case(
        "a_thousand_strings_of_a_callers_choice_make_no_label_grow",
        hostile,
    );
    suite.case_where_possible("promtool_finds_no_fault_with_rules_and_their_tests", rules);
    suite.case_where_possible(
        "promtool_finds_no_fault_with_the_classic_text",
        classic_text,
    );
    suite.case_where_possible("prometheus_scrapes_and_a_refused_key_alerts", alerts);
    suite.run()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(binaries::workspace().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What each of the two registers, as their programs do it.
async fn catalogues() -> [(&'static str, Vec<Described>); 2] {
    // Once in this process; what it logs is not what is asked about.
    let telemetry = telemetry::init("test", "0").unwrap();
    let world = World::new().await;
    let setup = world.server();
    let arguments = |path: PathBuf, set: &[&str]| Arguments {
        config: Some(path),
        set: set.iter().map(|&set| set.to_owned()).collect(),
        ..Arguments::default()
    };
    let ports = "grpc.listen=127.0.0.1:0";
    let server = arguments(
        setup.path("server.toml"),
        &[ports, "admin.listen=127.0.0.1:0"],
    );
    let (inputs, cloud) = ask2do_token_server::inputs::read(&server).unwrap();
    let mut metrics = Metrics::new("test", "0");
    telemetry.register(&mut metrics);
    cloud.register(&mut metrics);
    let server =
        ask2do_token_server::serve::Server::bind(inputs, cloud.cloud, metrics, Idle::default());
    let server = server.await.unwrap().catalogue();

    let folder = tempfile::tempdir().unwrap();
    world
        .callers
        .issue(&Leaf::client())
        .write(folder.path(), "tls");
    std::fs::write(folder.path().join("ca.crt"), world.servers.pem()).unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, "").unwrap();
    let gateway = arguments(
        path,
        &[
            "http.listen=127.0.0.1:0",
            "admin.listen=127.0.0.1:0",
            "service.endpoint=https://127.0.0.1:1",
            "session.mode=jwt",
            "session.jwt.issuer=https://127.0.0.1:1",
            "session.jwt.audience=panel",
            "session.jwt.jwks_url=https://127.0.0.1:1/jwks",
            "session.jwt.cookie=session",
        ],
    );
    let mut metrics = Metrics::new("test", "0");
    let (inputs, client) = ask2do_token_gateway::inputs::read(&gateway, &mut metrics).unwrap();
    telemetry.register(&mut metrics);
    let gateway = ask2do_token_gateway::serve::Server::bind(inputs, client, metrics);
    let gateway = gateway.await.unwrap().catalogue();
    [("Server", server), ("Gateway", gateway)]
}

async fn documented() {
    const BEGIN: &str = "<!-- begin: metrics -->\n";
    const END: &str = "<!-- end: metrics -->\n";
    let mut made = String::new();
    for (program, catalogue) in catalogues().await {
        writeln!(
            made,
            "\n## {program}\n\n| metric | type | labels | meaning |\n|---|---|---|---|"
        )
        .unwrap();
        for Described {
            name,
            kind,
            labels,
            help,
        } in catalogue
        {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = labels.join(", ");
            writeln!(made, "| `{name}` | {kind} | {labels} | {help}. |").unwrap();
        }
    }
    made.push('\n');
    let document = text("docs/metrics.md");
    let (head, rest) = document
        .split_once(BEGIN)
        .expect("the marker of the beginning");
    let (found, tail) = rest.split_once(END).expect("the marker of the end");
    if found != made && std::env::var_os("UPDATE_DOCS").is_some() {
        let path = binaries::workspace().join("docs/metrics.md");
        std::fs::write(path, [head, BEGIN, &made, END, tail].concat()).unwrap();
    } else {
        assert_eq!(found, made, "run this test with UPDATE_DOCS=1");
    }
}

/// Every word of this alphabet that begins so.
fn words<'a>(text: &'a str, prefixes: &'a [&str]) -> impl Iterator<Item = &'a str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(move |word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
}

/// The metrics of `docs/metrics.md`, by name, with their types.
fn known() -> BTreeMap<String, String> {
    let document = text("docs/metrics.md");
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((
            cells.next()?.trim_end_matches('`').to_owned(),
            cells.next()?.to_owned(),
        ))
    });
    rows.collect()
}

async fn named() {
    let known = known();
    assert!(known.len() > 30, "{known:?}");
    for path in [
        "helm/files/alerts.yaml",
        "helm/files/dashboards/ask2do-token.json",
    ] {
        let text = text(path);
        let mut names = 0;
        for name in words(&text, &["ask2do_", "process_"]) {
            names += 1;
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|family| known.get(*family).is_some_and(|kind| kind == "histogram"));
            assert!(
                known.contains_key(family.unwrap_or(name)),
                "{path} names {name}"
            );
        }
        assert!(names > 10, "{path}");
    }
    let dashboard: Value =
        serde_json::from_str(&text("helm/files/dashboards/ask2do-token.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(
                words(query, &["ask2do_", "process_"]).next().is_some(),
                "{query}"
            );
        }
    }
}

/// The alerts of the rules, each with the text of its rule.
fn alert_rules() -> Vec<(String, String)> {
    let rules = text("helm/files/alerts.yaml");
    let alerts = rules.split("- alert: ").skip(1);
    alerts
        .map(|rule| (rule.lines().next().unwrap().to_owned(), rule.to_owned()))
        .collect()
}

async fn runbooks() {
    let document = text("docs/observability.md");
    let alerts = alert_rules();
    assert!(alerts.len() >= 8);
    for (name, rule) in &alerts {
        assert!(
            document.contains(&format!("\n### {name}\n")),
            "no runbook of {name}"
        );
        let link = format!("docs/observability.md#{}\n", name.to_lowercase());
        assert!(format!("{rule}\n").contains(&link), "{name}");
        assert!(
            rule.contains(" runbook: ") && rule.contains(" summary: "),
            "{name}"
        );
        let tests = text("tests/prometheus/alerts.test.yaml");
        let fires = tests.contains(&format!("alertname=\"{name}\""))
            || tests.contains(&format!("alertname: {name}\n        exp_alerts"));
        assert!(fires, "no test in which {name} fires");
    }
    let described = document
        .lines()
        .filter_map(|line| line.strip_prefix("### Ask2Do"));
    assert_eq!(
        described.count(),
        alerts.len(),
        "a runbook without its alert"
    );
}

async fn variables() {
    let mut read = BTreeSet::new();
    let folder = binaries::workspace().join("runtime/src/telemetry");
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let code = source
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap()
            .to_owned();
        let names = words(&code, &["OTEL_"]).filter(|name| !name.ends_with('_'));
        read.extend(names.map(str::to_owned));
    }
    let document = text("docs/observability.md");
    let rows = document.lines().filter(|line| line.starts_with("| `OTEL_"));
    let documented: BTreeSet<_> = rows
        .flat_map(|row| {
            words(row.split(" | ").next().unwrap(), &["OTEL_"])
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<_> = read
        .iter()
        // The variable for traces alone stands in the row of the one for everything.
        .filter(|name| !documented.contains(&name.replace("OTLP_TRACES_", "OTLP_")))
        .collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

const NONE: CannotRun =
    CannotRun("there is no Prometheus on the path: Debian's package prometheus has it");

/// Runs promtool with this on its standard input.
fn promtool(arguments: &[&str], input: &str) -> Result<(), CannotRun> {
    let mut child = Command::new(on_path("promtool").ok_or(NONE)?)
        .args(arguments)
        .current_dir(binaries::workspace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

async fn rules() -> Result<(), CannotRun> {
    promtool(&["check", "rules", "helm/files/alerts.yaml"], "")?;
    promtool(&["test", "rules", "tests/prometheus/alerts.test.yaml"], "")
}

/// A server and a gateway that are used; whatever is traced goes to `collector`.
async fn used(world: &World, collector: &Collector) -> (Server, Gateway, Panel) {
    let server = world
        .server()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .start()
        .await;
    let panel = Panel::start(Whoami::Honest).await;
    let gateway = gateway::Setup::forward(world, server.grpc, panel.address)
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .start()
        .await;
    for id in ["42", "status-503", "html-200"] {
        widget("admin", id).send(gateway.http).await.unwrap();
    }
    (server, gateway, panel)
}

async fn classic_text() -> Result<(), CannotRun> {
    on_path("promtool").ok_or(NONE)?;
    let (world, collector) = (World::new().await, Collector::start().await);
    let (server, gateway, _panel) = used(&world, &collector).await;
    for address in [server.admin, gateway.admin] {
        let (status, text) = admin::get(address, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        promtool(&["check", "metrics"], &text)?;
    }
    Ok(())
}

/// A Prometheus that scrapes these, with the rules.
struct Prometheus {
    _process: Process,
    address: SocketAddr,
}

impl Prometheus {
    async fn start(program: &Path, folder: &Path, targets: [SocketAddr; 2]) -> Self {
        let rules = binaries::workspace().join("helm/files/alerts.yaml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs: [{{job_name: ask2do, static_configs: [{{targets: [{:?}, {:?}]}}]}}]\n",
            targets[0].to_string(),
            targets[1].to_string(),
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        // Free a moment ago: it does not say which one a port 0 became.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let flags = [
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=data".to_owned(),
            "--enable-feature=exemplar-storage".to_owned(),
            format!("--web.listen-address={address}"),
        ];
        let process = Process::start(program, flags, &HashMap::new(), folder);
        until("Prometheus is ready", async || {
            let (status, _) = admin::get(address, "/-/ready").await.ok()?;
            (status == 200).then_some(())
        })
        .await;
        Self {
            _process: process,
            address,
        }
    }

    async fn ask(&self, path: &str) -> Value {
        let (status, body) = admin::get(self.address, path).await.unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The number of series that a query gives.
    async fn series(&self, query: &str) -> usize {
        let answer = self.ask(&format!("/api/v1/query?query={query}")).await;
        answer["data"]["result"].as_array().unwrap().len()
    }

    async fn firing(&self) -> Vec<String> {
        let answer = self.ask("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect()
    }
}

async fn alerts() -> Result<(), CannotRun> {
    let program = on_path("prometheus").ok_or(NONE)?;
    let (world, collector) = (World::new().await, Collector::start().await);
    let (server, gateway, _panel) = used(&world, &collector).await;
    let folder = tempfile::tempdir().unwrap();
    let prometheus =
        Prometheus::start(&program, folder.path(), [server.admin, gateway.admin]).await;
    until("both are scraped", async || {
        (prometheus.series("up==1").await == 2).then_some(())
    })
    .await;
    // An increase is seen against what was there before.
    let before = "ask2do_mints_total%7Breason=%22TENANT_KEY_REJECTED%22,caller=%22panel%22%7D";
    until("the series is there", async || {
        (prometheus.series(before).await == 1).then_some(())
    })
    .await;
    assert!(
        !prometheus
            .firing()
            .await
            .contains(&"Ask2DoTenantKeyRejected".to_owned())
    );

    let refused = widget("admin", "status-401")
        .send(gateway.http)
        .await
        .unwrap();
    assert_eq!(refused.status, 502);
    until("the alert fires", async || {
        prometheus
            .firing()
            .await
            .contains(&"Ask2DoTenantKeyRejected".to_owned())
            .then_some(())
    })
    .await;

    // It was the form with exemplars that was scraped.
    widget("admin", "42").send(gateway.http).await.unwrap();
    for histogram in [
        "ask2do_mint_duration_seconds",
        "ask2do_cloud_request_duration_seconds",
        "ask2do_gateway_request_duration_seconds",
        "ask2do_gateway_session_check_duration_seconds",
    ] {
        until(&format!("an exemplar of {histogram}"), async || {
            let query =
                format!("/api/v1/query_exemplars?query={histogram}_bucket&start=0&end=9999999999");
            let answer = prometheus.ask(&query).await;
            let exemplar = &answer["data"][0]["exemplars"][0]["labels"];
            let id = exemplar["trace_id"].as_str()?.to_owned();
            assert_eq!(id.len(), 32, "{answer}");
            Some(())
        })
        .await;
    }
    Ok(())
}

/// What stands between backticks, fenced blocks left out.
fn quoted(document: &str) -> Vec<&str> {
    let outside = document.split("```").step_by(2);
    let words = outside.flat_map(|text| text.split('`').skip(1).step_by(2));
    words.filter(|word| !word.contains('\n')).collect()
}

/// The sources of both services and of what they are made of.
fn sources() -> String {
    fn read(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for part in ["server", "gateway", "client", "runtime", "tls"] {
        read(&binaries::workspace().join(part).join("src"), &mut text);
    }
    text
}

async fn documents() {
    let (known, sources) = (known(), sources());
    let reasons: BTreeSet<_> = ask2do_token_proto::Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    let mut logged = 0;
    for path in [
        "docs/observability.md",
        "docs/troubleshooting.md",
        "docs/audit.md",
    ] {
        let document = text(path);
        for name in words(&document, &["ask2do_", "process_"]) {
            assert!(known.contains_key(name), "{path} names {name}");
        }
        for word in quoted(&document) {
            // A reason as a label's value.
            if let Some((_, value)) = word.split_once("reason=\"") {
                let value = value.split('"').next().unwrap();
                assert!(reasons.contains(value), "{path}: {word}");
            }
            // The words of a log record.
            let is_log = ["Ask2Do ", "the list of "]
                .iter()
                .any(|begin| word.starts_with(begin));
            if is_log {
                logged += 1;
                assert!(sources.contains(word), "{path}: nobody logs {word:?}");
            }
        }
    }
    assert!(logged >= 4, "{logged} log records");
    let causes = text("docs/observability.md");
    let (_, causes) = causes.split_once("names the cause: ").unwrap();
    for cause in quoted(&causes.split_once(", ...").unwrap().0.replace("\n", " ")) {
        let code = cause.split_once("_5").map_or(cause, |(status, _)| status);
        assert!(sources.contains(&format!("\"{code}")), "no cause {cause}");
    }

    // Each code that a browser can be shown has its row, and each row a code.
    let document = text("docs/troubleshooting.md");
    let (_, table) = document.split_once("| `code` |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let firsts = table.lines().filter(|line| line.starts_with("| `"));
    let rows: BTreeSet<_> = firsts
        .flat_map(|line| quoted(line.split(" | ").next().unwrap()))
        .collect();
    let vendors = ["TENANT_KEY_REJECTED", "ROLE_NOT_ALLOWED"];
    let browsers = ask2do_token_gateway::Reason::ALL
        .iter()
        .map(|reason| reason.as_str());
    let browsers: BTreeSet<_> = browsers.filter(|code| !vendors.contains(code)).collect();
    assert_eq!(rows, browsers);
}

async fn tested_rules() {
    let tests = text("tests/prometheus/alerts.test.yaml");
    for (name, _) in alert_rules() {
        let quiet = format!("- {{eval_time: 6h, alertname: {name}}}\n");
        assert!(tests.contains(&quiet), "no test in which {name} is quiet");
    }
    let rules = text("helm/files/alerts.yaml");
    let records = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "));
    for record in records {
        let tested = format!("- expr: {record}\n");
        assert!(tests.contains(&tested), "no test of {record}");
    }
}

/// The names of the labels of each series, by the series' name.
fn labels(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels = BTreeMap::<_, BTreeSet<_>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let of_name = labels.entry(name.to_owned()).or_default();
        let rest = rest.split_once('}').map_or("", |(inside, _)| inside);
        for pair in rest.split("\",").filter(|pair| !pair.is_empty()) {
            of_name.insert(pair.split_once("=\"").unwrap().0.to_owned());
        }
    }
    labels
}

async fn shown() {
    let document = text("docs/metrics.md");
    let (world, collector) = (World::new().await, Collector::start().await);
    let (server, gateway, _panel) = used(&world, &collector).await;
    let (_, rest) = document.split_once("## Server\n").unwrap();
    let (of_server, of_gateway) = rest.split_once("## Gateway\n").unwrap();
    for (admin, table) in [(server.admin, of_server), (gateway.admin, of_gateway)] {
        let (_, text) = admin::get(admin, "/metrics").await.unwrap();
        let labels = labels(&text);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
            let row = format!("| `{name}` | {kind} | ");
            let row = table.lines().find_map(|line| line.strip_prefix(&row));
            let row = row.unwrap_or_else(|| panic!("{name} {kind} is not documented"));
            let documented: BTreeSet<_> = quoted(row.split(" | ").next().unwrap())
                .into_iter()
                .map(str::to_owned)
                .collect();
            let sample = if kind == "histogram" {
                format!("{name}_count")
            } else {
                name.to_owned()
            };
            if let Some(found) = labels.get(&sample) {
                assert_eq!(*found, documented, "{name}");
            }
        }
    }
}

/// The series, without their values.
async fn series(admin: SocketAddr) -> BTreeSet<String> {
    let (_, text) = admin::get(admin, "/metrics").await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

async fn hostile() {
    const STRINGS: usize = 1000;
    let (world, collector) = (World::new().await, Collector::start().await);
    let (server, gateway, _panel) = used(&world, &collector).await;
    let connection = server.connect(&world.panel()).await;
    let everything = async |number: usize| {
        let text = format!("hostile-{number}");
        // Users, and roles that nobody has.
        drop(connection.mint(&text, "admin").await);
        drop(connection.mint("42", &text).await);
        // Paths, media types, deadlines and traces of a call.
        let mut request = caller::request(&format!("/{text}/{text}"), caller::framed(&[]));
        for (name, value) in [
            ("content-type", text.clone()),
            ("user-agent", text.clone()),
            ("grpc-timeout", text.clone()),
            ("grpc-encoding", text.clone()),
            ("traceparent", format!("00-{number:032x}-{number:016x}-01")),
            ("tracestate", format!("{text}={text}")),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        drop(connection.send(request).await);
        // What a browser sends, in turn: a method, a path, an origin, a session, a trace.
        let method = http::Method::from_bytes(text.as_bytes()).unwrap();
        let trace = format!("00-{number:032x}-{number:016x}-01");
        let request = match number % 6 {
            0 => Exchange::new(method, gateway::PATH),
            1 => Exchange::new(http::Method::GET, &format!("/{text}?{text}")),
            2 => widget("admin", "42").header("origin", &format!("https://{text}.example")),
            3 => widget("admin", &text),
            4 => widget(&text, "42"),
            _ => widget("admin", "42").header("traceparent", &trace),
        };
        let request = request.header("user-agent", &text);
        request.send(gateway.http).await.unwrap();
        drop(admin::get(server.admin, &format!("/{text}")).await);
    };
    // Certificates that name nobody here.
    let stranger = async |number: usize| {
        let leaf = Leaf::client().uri(&format!("spiffe://hostile/{number}"));
        let caller = world.caller(&world.callers.issue(&leaf));
        server.connect(&caller).await.mint("42", "admin").await;
    };
    for number in 0..6 {
        everything(number).await;
    }
    stranger(0).await;
    let (of_server, of_gateway) = (series(server.admin).await, series(gateway.admin).await);
    for first in (10..STRINGS + 10).step_by(20) {
        join_all((first..first + 20).map(&everything)).await;
    }
    join_all((1..=20).map(&stranger)).await;
    for (admin, before) in [(server.admin, of_server), (gateway.admin, of_gateway)] {
        // A busy machine may bring a timeout's or a retry's first one; strings would bring hundreds.
        let after = series(admin).await;
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.len() < STRINGS / 50, "{new:?}");
    }
    for admin in [server.admin, gateway.admin] {
        let text = admin::get_as(admin, "/metrics", "application/openmetrics-text").await;
        assert!(!text.contains("hostile"), "{text}");
    }
}
