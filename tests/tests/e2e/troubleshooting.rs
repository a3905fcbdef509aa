//! The vendor's three, as `docs/troubleshooting.md` tells of them: what the browser, the trace, the log, the metric and
//! the audit line show of each, beside what the document says that they show.

use std::path::Path;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::collector::Collector;
use ask2do_token_tests::exchange::Answer;
use ask2do_token_tests::gateway::{self, Gateway, widget};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::until;
use ask2do_token_tests::world::{Server, World};
use serde_json::Value;

use crate::audit::audit;

pub(crate) fn add(suite: &mut Suite) {
    suite.case(
        "troubleshooting: the vendor's three show what the document says",
        the_three,
    );
    suite.case_where_possible(
        "telemetry: on a terminal the log is for people, elsewhere it is JSON",
        terminal,
    );
    suite.case(
        "telemetry: a collector that hangs holds up neither calls nor the end",
        hanging_collector,
    );
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Everything that there is to look at.
struct Scene {
    server: Server,
    gateway: Gateway,
    collector: Collector,
    _world: World,
    _panel: Panel,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let collector = Collector::start().await;
        let panel = Panel::start(Whoami::Honest).await;
        let server = world
            .server()
            .set("audit.output", "file")
            .set("audit.file", "audit.log")
            .variable(ENDPOINT, &collector.url)
            .variable("OTEL_BSP_SCHEDULE_DELAY", "100")
            .start()
            .await;
        let gateway = gateway::Setup::forward(&world, server.grpc, panel.address)
            .variable(ENDPOINT, &collector.url)
            .variable("OTEL_BSP_SCHEDULE_DELAY", "100")
            .start()
            .await;
        Self {
            server,
            gateway,
            collector,
            _world: world,
            _panel: panel,
        }
    }

    async fn call(&self, id: &str) -> Answer {
        widget("admin", id).send(self.gateway.http).await.unwrap()
    }

    /// Waits until this text stands in what was exported.
    async fn traced(&self, text: &str) {
        until(&format!("{text} in a trace"), async || {
            let bytes = self.collector.bytes();
            let mut windows = bytes.windows(text.len());
            windows
                .any(|window| window == text.as_bytes())
                .then_some(())
        })
        .await;
    }

    fn audit_line(&self, trace: &str) -> Value {
        let text = std::fs::read_to_string(self.server.folder().join("audit.log")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut lines = lines.filter(|line: &Value| line["trace_id"] == trace);
        lines.next().expect("an audit line of this trace")
    }
}

/// The cell of a table in the document.
fn cell(heading: &str, wanted: &str) -> String {
    let path = workspace().join("docs/troubleshooting.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once(&format!("### {heading}\n")).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let row = section
        .lines()
        .find_map(|line| line.strip_prefix(&format!("| {wanted} | ")));
    row.unwrap_or_else(|| panic!("{heading}: no row {wanted}"))
        .to_owned()
}

/// The text between the first two backticks.
fn quoted(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap()
}

async fn the_three() {
    let mut scene = Scene::new().await;
    refused(
        &mut scene,
        "\"401 invalid tenant key\"",
        "status-401",
        "TENANT_KEY_REJECTED",
    )
    .await;
    refused(
        &mut scene,
        "\"403 role not allowed\"",
        "status-403",
        "ROLE_NOT_ALLOWED",
    )
    .await;
    invalid_token(&mut scene).await;
}

async fn refused(scene: &mut Scene, heading: &str, id: &str, code: &str) {
    let answer = scene.call(id).await;
    let body = answer.json();
    let shown = format!(
        "{} `{{\"error\": {}, \"code\": {}, ...}}` |",
        answer.status.as_u16(),
        body["error"],
        body["code"]
    );
    assert_eq!(cell(heading, "browser"), shown);
    assert_eq!(body["code"], code);
    let trace = body["requestId"].as_str().unwrap();

    assert!(cell(heading, "trace").contains(&format!("`ask2do.reason` `{code}`")));
    scene.traced("http.response.status_code").await;
    scene.traced(code).await;

    let log = cell(heading, "log");
    let message = quoted(&log).to_owned();
    let record = scene
        .server
        .record(heading, |record| record["message"] == *message)
        .await;
    assert!(log.starts_with(&format!("server, {}", record["level"].as_str().unwrap())));
    assert_eq!(record["trace_id"], trace);

    let metric = cell(heading, "metric");
    let (family, label) = quoted(&metric).split_once('{').unwrap();
    let series = format!("{family}{{caller=\"panel\",{label}");
    scene.server.metric_is(&series, 1.0).await;

    let line = scene.audit_line(trace);
    let audit = cell(heading, "audit line");
    assert!(
        audit.contains(&format!("\"reason\":{}", line["reason"])),
        "{line}"
    );
    assert_eq!(line["reason"], code);
    assert_eq!(line["outcome"], "failed");
    assert_eq!(line["panel_user_role"], "admin");
}

async fn invalid_token(scene: &mut Scene) {
    let heading = "\"invalid token\" in the widget";
    let answer = scene.call("exp-mismatch").await;
    assert_eq!(answer.status, 200);
    assert!(cell(heading, "browser").contains("came with 200"));
    let disagree = |record: &Value| {
        let message = record["message"].as_str().unwrap_or_default();
        message.contains("exp") && message.contains("expiresAt") && record["level"] == "WARN"
    };
    scene.server.record(heading, disagree).await;
    assert!(cell(heading, "log").contains("`exp` and `expiresAt` disagree"));
    let metrics = cell(heading, "metric");
    let (_, shown) = scene.server.get("/metrics").await;
    for name in metrics
        .split('`')
        .filter(|word| word.starts_with("ask2do_"))
    {
        let samples = shown.lines().filter(|line| line.starts_with(name));
        assert!(samples.count() > 0, "{name}");
    }
    assert!(cell(heading, "audit line").contains("`audit find`"));
    let body = answer.json();
    let folder: &Path = scene.server.folder();
    let token = body["token"].as_str().unwrap();
    let (code, said) = audit(folder, &["find", "audit.log"], token).await;
    assert_eq!(code, 0, "{said}");
    for part in ["minted: ", "expires: ", "for panel user: \"exp-mismatch\""] {
        assert!(said.contains(part), "{said}");
    }
}

async fn hanging_collector() {
    let world = World::new().await;
    // Connections are made by the kernel, and nobody ever answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let mut server = world
        .server()
        .set("shutdown.drain", "5s")
        .variable(ENDPOINT, &url)
        .variable("OTEL_BSP_SCHEDULE_DELAY", "10")
        .variable("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .start()
        .await;
    let connection = server.connect(&world.panel()).await;
    for _ in 0..50 {
        drop(connection.mint("42", "admin").await);
    }
    // One batch waits for the collector; of the rest no more than fit are held.
    let dropped = r#"ask2do_spans_dropped_total{reason="queue_full"}"#;
    assert!(server.metric(dropped).await >= 50.0);
    drop(connection);
    // The hard limit, and a machine that does much else.
    let began = tokio::time::Instant::now();
    server.process.signal(rustix::process::Signal::TERM);
    assert_eq!(server.process.ended().await.code(), Some(0));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    let text = server.process.output().text();
    assert!(text.contains("traces were not flushed in time"), "{text}");
}

async fn terminal() -> Result<(), CannotRun> {
    let has_script = std::process::Command::new("script")
        .arg("--version")
        .output();
    if !has_script.is_ok_and(|output| output.status.success()) {
        return Err(CannotRun(
            "there is no script(1) of util-linux, which makes a terminal",
        ));
    }
    let world = World::new().await;
    // A value of which the log has something to say.
    let setup = || world.server().variable("OTEL_PROPAGATORS", "b3");
    let on_terminal = r#"exec script -qec "$(printf '%q ' "$@")" /dev/null"#;
    for (no_colour, level) in [("", "\u{1b}[33m WARN\u{1b}[0m"), ("1", " WARN")] {
        let setup = setup().variable("NO_COLOR", no_colour);
        let setup = setup.under(&["bash", "-c", on_terminal, "bash"]);
        let (code, said) = setup.run(&["--check"]).await;
        assert_eq!(code, 0, "{said}");
        let wanted = format!("Z {level} ask2do_token_runtime::telemetry: OTEL_PROPAGATORS=b3 ");
        assert!(said.contains(&wanted), "{said:?}");
        assert!(!said.contains("{\"timestamp\""), "{said:?}");
    }
    let (_, said) = setup().run(&["--check"]).await;
    // Standard output's line may come before it.
    let logged = said.lines().find(|line| line.starts_with('{'));
    let logged: Value = serde_json::from_str(logged.expect(&said)).unwrap();
    assert_eq!(logged["level"], "WARN");
    Ok(())
}
