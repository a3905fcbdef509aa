//! One trace from the browser to the cloud, read back from a real Jaeger: `ASK2DO_JAEGER`, or `jaeger` or
//! `jaeger-all-in-one` on the path. The playground is what it is asked about, and servers and gateways that are
//! configured otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ask2do_token_tests::caller::{self, Connection, minted};
use ask2do_token_tests::exchange::{Answer, Exchange};
use ask2do_token_tests::gateway;
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::process::Process;
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::world::{Setup, World};
use ask2do_token_tests::{admin, binaries, until};
use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

const TOKEN: &str = "/api/ask2do/token";
const MINT_TOKEN: &str = "ask2do.token.v1.TokenService/MintToken";

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

const GATEWAY: &str = "ask2do-token-gateway";
const SERVER: &str = "ask2do-token-server";
const PANEL: &str = "ask2do-demo-panel";
const CLOUD: &str = "ask2do-cloud-simulated";

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let shared = Arc::new(OnceCell::new());
    macro_rules! cases {
        ($($case:ident),* $(,)?) => { $(
            let stage = shared.clone();
            suite.case_where_possible(stringify!($case), || async move {
                let program = jaeger().ok_or(CannotRun("there is no Jaeger: set ASK2DO_JAEGER"))?;
                $case(stage.get_or_init(|| Stage::start(program)).await).await;
                Ok(())
            });
        )* };
    }
    cases![
        a_click_is_one_trace_through_all_services_with_the_right_parents,
        a_failing_calls_trace_carries_the_reason_and_is_found_by_the_request_id,
        without_context_the_gateway_begins_a_trace,
        a_malformed_context_is_no_context,
        a_trace_that_the_browser_does_not_sample_is_not_exported,
        neither_panel_user_nor_token_nor_baggage_is_in_a_trace,
        every_attribute_is_one_of_the_conventions_or_ours,
        a_caller_of_the_server_itself_decides_about_its_trace,
        a_browser_decides_nothing_where_it_is_not_trusted,
        the_demo_panel_shows_the_hops_that_it_passes_on_over_http_and_over_grpc,
    ];
    suite.run()
}

fn jaeger() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("ASK2DO_JAEGER") {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| ["jaeger", "jaeger-all-in-one"].map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Jaeger, and a playground that exports to it.
struct Stage {
    _jaeger: Process,
    _playground: Process,
    _folder: TempDir,
    query: SocketAddr,
    otlp_http: SocketAddr,
    otlp_grpc: SocketAddr,
    panel: SocketAddr,
}

/// Free a moment ago: Jaeger takes no port 0.
fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// A playground that exports there, and where its panel is.
async fn playground(folder: &Path, otlp: SocketAddr, protocol: &str) -> (Process, SocketAddr) {
    // The specification's variable: what is seen is seen sooner.
    let soon = ("OTEL_BSP_SCHEDULE_DELAY", "100");
    let variables = [soon, ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let program = binaries::binary("ask2do-token-playground");
    let arguments = ["--otlp".to_owned(), format!("http://{otlp}")];
    let playground = Process::start(&program, arguments, &variables.into(), folder);
    let output = playground.output().clone();
    let panel = until("the playground is up", async || {
        let lines = output.lines();
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix("Open the demo panel:"))?;
        let port = line.rsplit_once(':')?.1.trim().parse().ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    })
    .await;
    (playground, panel)
}

impl Stage {
    async fn start(program: PathBuf) -> Self {
        let [http, query, grpc, others @ ..] = free_ports::<7>();
        let mut flags = vec![
            format!("--collector.otlp.http.host-port={http}"),
            format!("--query.http-server.host-port={query}"),
            format!("--collector.otlp.grpc.host-port={grpc}"),
        ];
        let names = [
            "query.grpc-server",
            "admin.http",
            "collector.grpc-server",
            "collector.http-server",
        ];
        for (name, address) in names.iter().zip(others) {
            flags.push(format!("--{name}.host-port={address}"));
        }
        let folder = tempfile::tempdir().unwrap();
        let memory = HashMap::from([("SPAN_STORAGE_TYPE".to_owned(), "memory".to_owned())]);
        let jaeger = Process::start(&program, flags, &memory, folder.path());
        until("Jaeger answers", async || {
            let answered = admin::get(query, "/api/services").await.ok()?;
            (answered.0 == 200).then_some(())
        })
        .await;

        let (playground, panel) = playground(folder.path(), http, "").await;
        Self {
            _jaeger: jaeger,
            _playground: playground,
            _folder: folder,
            query,
            otlp_http: http,
            otlp_grpc: grpc,
            panel,
        }
    }

    /// A server that exports over gRPC.
    fn server(&self, world: &World) -> Setup {
        world
            .server()
            .variable(ENDPOINT, &format!("http://{}", self.otlp_grpc))
            .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .variable("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// A session of the demo panel's admin, whose panel id makes the cloud behave so.
    async fn log_in(&self, scenario: &str) -> String {
        log_in_at(self.panel, scenario).await
    }

    /// What the widget sends.
    async fn click(&self, cookie: &str, headers: &[(&'static str, &str)]) -> Answer {
        click_at(self.panel, cookie, headers).await
    }

    /// The trace of this id, once `spans` of it are there.
    async fn trace(&self, id: &str, spans: usize) -> Trace {
        until(&format!("{spans} spans of the trace {id}"), async || {
            let trace = self.find(id).await?;
            (trace.hops() >= spans).then_some(trace)
        })
        .await
    }

    async fn find(&self, id: &str) -> Option<Trace> {
        let path = format!("/api/traces/{id}");
        let (status, body) = admin::get(self.query, &path).await.unwrap();
        (status == 200).then(|| Trace::read(&serde_json::from_str(&body).unwrap()))
    }
}

async fn log_in_at(panel: SocketAddr, scenario: &str) -> String {
    let answer = Exchange::new(Method::POST, "/login")
        .body("user=admin")
        .send(panel);
    let answer = answer.await.unwrap();
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    if !scenario.is_empty() {
        let chosen = Exchange::new(Method::POST, "/scenario")
            .header("cookie", &cookie)
            .body(format!("id={scenario}"))
            .send(panel);
        assert!(chosen.await.unwrap().status.is_redirection());
    }
    cookie
}

async fn click_at(panel: SocketAddr, cookie: &str, headers: &[(&'static str, &str)]) -> Answer {
    Exchange::new(Method::POST, TOKEN)
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
        .headers(headers)
        .send(panel)
        .await
        .unwrap()
}

struct Trace {
    text: String,
    spans: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    service: String,
    name: String,
    id: String,
    parent: Option<String>,
    tags: HashMap<String, String>,
}

impl Trace {
    fn read(answer: &Value) -> Self {
        let trace = &answer["data"][0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let span = |span: &Value| Span {
            service: text(&trace["processes"][span["processID"].as_str().unwrap()]["serviceName"]),
            name: text(&span["operationName"]),
            id: text(&span["spanID"]),
            parent: span["references"][0]["spanID"].as_str().map(str::to_owned),
            tags: span["tags"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tag| {
                    let value = &tag["value"];
                    let value = value.as_str().map_or(value.to_string(), str::to_owned);
                    (text(&tag["key"]), value)
                })
                .collect(),
        };
        Self {
            text: answer.to_string(),
            spans: trace["spans"]
                .as_array()
                .unwrap()
                .iter()
                .map(span)
                .collect(),
        }
    }

    /// The spans that each such call has: connections are made when there is none to take.
    fn hops(&self) -> usize {
        let own = |span: &&Span| !matches!(&*span.name, "connect" | "dns lookup");
        self.spans.iter().filter(own).count()
    }

    #[track_caller]
    fn span(&self, service: &str, name: &str, kind: &str) -> &Span {
        let is = |span: &&Span| {
            (&*span.service, &*span.name, &*span.tags["span.kind"]) == (service, name, kind)
        };
        let spans: Vec<_> = self.spans.iter().filter(is).collect();
        assert_eq!(spans.len(), 1, "{service} {name} {kind}: {:#?}", self.spans);
        spans[0]
    }
}

impl Span {
    #[track_caller]
    fn is_child_of(&self, parent: &Self) {
        assert_eq!(
            self.parent.as_deref(),
            Some(&*parent.id),
            "{self:?} of {parent:?}"
        );
    }

    #[track_caller]
    fn has(&self, tags: &[(&str, &str)]) {
        for (tag, value) in tags {
            assert_eq!(
                self.tags.get(*tag).map(String::as_str),
                Some(*value),
                "{tag}: {self:#?}"
            );
        }
    }

    fn is_error(&self) -> bool {
        self.tags
            .get("otel.status_code")
            .is_some_and(|code| code == "ERROR")
    }
}

/// Gateway, session check, its question, the panel's answer, the call, the server, its call, the cloud.
const SPANS: usize = 8;
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(id: &str, flags: &str) -> String {
    format!("00-{id}-{PARENT}-{flags}")
}

async fn a_click_is_one_trace_through_all_services_with_the_right_parents(stage: &Stage) {
    let id = "0af7651916cd43dd8448eb211c803101";
    let cookie = stage.log_in("").await;
    let answer = stage
        .click(&cookie, &[("traceparent", &traceparent(id, "01"))])
        .await;
    assert_eq!(answer.status, 200);
    let trace = stage.trace(id, SPANS).await;

    let request = trace.span(GATEWAY, &format!("POST {TOKEN}"), "server");
    assert_eq!(request.parent.as_deref(), Some(PARENT), "the browser's own");
    request.has(&[
        ("http.request.method", "POST"),
        ("http.route", TOKEN),
        ("http.response.status_code", "200"),
    ]);
    let check = trace.span(GATEWAY, "session check", "internal");
    check.is_child_of(request);
    let question = trace.span(GATEWAY, "GET", "client");
    question.is_child_of(check);
    question.has(&[
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
    ]);
    trace
        .span(PANEL, "GET /whoami", "server")
        .is_child_of(question);

    let call = trace.span(GATEWAY, MINT_TOKEN, "client");
    call.is_child_of(request);
    let rpc = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", MINT_TOKEN),
        ("rpc.response.status_code", "OK"),
    ];
    call.has(&rpc);
    let mint = trace.span(SERVER, MINT_TOKEN, "server");
    mint.is_child_of(call);
    mint.has(&rpc);
    mint.has(&[("ask2do.reason", "OK"), ("ask2do.caller", "panel")]);
    let post = trace.span(SERVER, "POST", "client");
    post.is_child_of(mint);
    post.has(&[
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("server.address", "localhost"),
    ]);
    trace
        .span(CLOUD, "POST /auth/token", "server")
        .is_child_of(post);
    assert!(
        !trace.spans.iter().any(Span::is_error),
        "{:#?}",
        trace.spans
    );
}

async fn a_failing_calls_trace_carries_the_reason_and_is_found_by_the_request_id(stage: &Stage) {
    for (scenario, status, reason, code, cloud) in [
        (
            "status-401",
            502,
            "TENANT_KEY_REJECTED",
            "FAILED_PRECONDITION",
            "401",
        ),
        (
            "status-403",
            403,
            "ROLE_NOT_ALLOWED",
            "PERMISSION_DENIED",
            "403",
        ),
    ] {
        let cookie = stage.log_in(scenario).await;
        let answer = stage.click(&cookie, &[]).await;
        assert_eq!(answer.status, status);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["code"], reason);
        // What a person pastes into Jaeger.
        let trace = stage
            .trace(body["requestId"].as_str().unwrap(), SPANS)
            .await;
        let mint = trace.span(SERVER, MINT_TOKEN, "server");
        mint.has(&[
            ("ask2do.reason", reason),
            ("rpc.response.status_code", code),
        ]);
        assert!(
            !mint.is_error(),
            "by the conventions, {code} is the caller's error"
        );
        let call = trace.span(GATEWAY, MINT_TOKEN, "client");
        call.has(&[("ask2do.reason", reason), ("error.type", code)]);
        assert!(call.is_error());
        let post = trace.span(SERVER, "POST", "client");
        post.has(&[("http.response.status_code", cloud), ("error.type", cloud)]);
        assert!(post.is_error());
        let request = trace.span(GATEWAY, &format!("POST {TOKEN}"), "server");
        request.has(&[("error.type", reason), ("ask2do.reason", reason)]);
        assert_eq!(request.is_error(), status >= 500);
    }
}

async fn without_context_the_gateway_begins_a_trace(stage: &Stage) {
    let cookie = stage.log_in("status-401").await;
    let answer = stage.click(&cookie, &[]).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let trace = stage
        .trace(body["requestId"].as_str().unwrap(), SPANS)
        .await;
    assert_eq!(
        trace
            .span(GATEWAY, &format!("POST {TOKEN}"), "server")
            .parent,
        None
    );
}

async fn a_malformed_context_is_no_context(stage: &Stage) {
    let cookie = stage.log_in("status-401").await;
    let id = "0af7651916cd43dd8448eb211c803102";
    let long = format!("{}-{}", traceparent(id, "01"), "a".repeat(1000));
    for malformed in [
        &*format!("ff-{id}-{PARENT}-01"),
        &traceparent("00000000000000000000000000000000", "01"),
        &traceparent(&id.to_uppercase(), "01"),
        &long,
        "00",
    ] {
        let answer = stage.click(&cookie, &[("traceparent", malformed)]).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let request_id = body["requestId"].as_str().unwrap();
        assert_ne!(request_id, id, "{malformed}");
        let trace = stage.trace(request_id, SPANS).await;
        assert_eq!(
            trace
                .span(GATEWAY, &format!("POST {TOKEN}"), "server")
                .parent,
            None
        );
    }
    assert!(stage.find(id).await.is_none());
}

async fn a_trace_that_the_browser_does_not_sample_is_not_exported(stage: &Stage) {
    let cookie = stage.log_in("status-401").await;
    let (off, on) = (
        "0af7651916cd43dd8448eb211c803103",
        "0af7651916cd43dd8448eb211c803104",
    );
    let answer = stage
        .click(&cookie, &[("traceparent", &traceparent(off, "00"))])
        .await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        body["requestId"], off,
        "a request has a trace id, exported or not"
    );
    // Each process exports in order: when the later trace is whole, the earlier one would be there.
    stage
        .click(&cookie, &[("traceparent", &traceparent(on, "01"))])
        .await;
    stage.trace(on, SPANS).await;
    assert!(stage.find(off).await.is_none());
}

async fn neither_panel_user_nor_token_nor_baggage_is_in_a_trace(stage: &Stage) {
    let id = "0af7651916cd43dd8448eb211c803105";
    // The scenario's name is the panel id of this session.
    let cookie = stage.log_in("short-lived-30s").await;
    let headers = [
        ("traceparent", &*traceparent(id, "01")),
        ("tracestate", "vendor=canary-state"),
        ("baggage", "user=canary-baggage"),
    ];
    let answer = stage.click(&cookie, &headers).await;
    assert_eq!(answer.status, 200);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = stage.trace(id, SPANS).await.text;
    let signature = body["token"].as_str().unwrap().rsplit('.').next().unwrap();
    for canary in ["short-lived", "canary-state", "canary-baggage", signature] {
        assert!(!text.contains(canary), "{canary}: {text}");
    }
}

async fn every_attribute_is_one_of_the_conventions_or_ours(stage: &Stage) {
    let id = "0af7651916cd43dd8448eb211c803106";
    let cookie = stage.log_in("status-503").await;
    stage
        .click(&cookie, &[("traceparent", &traceparent(id, "01"))])
        .await;
    // Two calls of the cloud: the one retry.
    let trace = stage.trace(id, SPANS + 2).await;
    let known: BTreeSet<&str> = [
        "ask2do.caller",
        "ask2do.reason",
        "error.type",
        "http.request.method",
        "http.request.resend_count",
        "http.response.status_code",
        "http.route",
        "network.peer.address",
        "network.peer.port",
        "network.protocol.version",
        "rpc.method",
        "rpc.response.status_code",
        "rpc.system.name",
        "server.address",
        "server.port",
        "url.full",
        "dns.question.name",
        // What Jaeger adds.
        "error",
        "otel.scope.name",
        "otel.scope.version",
        "otel.status_code",
        "otel.status_description",
        "span.kind",
    ]
    .into();
    for span in &trace.spans {
        for tag in span.tags.keys() {
            assert!(known.contains(&**tag), "{tag}: {span:#?}");
        }
    }
    let posts: Vec<_> = trace
        .spans
        .iter()
        .filter(|span| span.name == "POST")
        .collect();
    assert_eq!(posts.len(), 2, "{posts:#?}");
    let resent = posts
        .iter()
        .filter(|post| post.tags.contains_key("http.request.resend_count"));
    assert_eq!(resent.count(), 1, "{posts:#?}");
}

/// A call of the server with these headers.
async fn mint_with(connection: &Connection, headers: &[(&'static str, &str)]) {
    let body = caller::framed(&caller::user("42", "admin"));
    let mut request = caller::request(caller::MINT_TOKEN, body);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    minted(&connection.send(request).await.unwrap());
}

async fn a_caller_of_the_server_itself_decides_about_its_trace(stage: &Stage) {
    let world = World::new().await;
    let setup = stage.server(&world).set("audit.output", "file");
    let server = setup.set("audit.file", "audit.log").start().await;
    let connection = server.connect(&world.panel()).await;
    // The audit line names the trace of a call that brought no context.
    let call = async |headers: &[(&'static str, &str)]| {
        mint_with(&connection, headers).await;
        let lines = std::fs::read_to_string(server.folder().join("audit.log")).unwrap();
        let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        last["trace_id"].as_str().unwrap().to_owned()
    };
    let mint_of = async |id: &str| {
        let trace = stage.trace(id, 2).await;
        let mint = trace.span(SERVER, MINT_TOKEN, "server");
        mint.has(&[("ask2do.reason", "OK"), ("ask2do.caller", "panel")]);
        trace.span(SERVER, "POST", "client").is_child_of(mint);
        mint.parent.clone()
    };
    let id = "0af7651916cd43dd8448eb211c803201";
    let state = ("tracestate", "vendor=1");
    assert_eq!(
        call(&[("traceparent", &traceparent(id, "01")), state]).await,
        id
    );
    assert_eq!(mint_of(id).await.as_deref(), Some(PARENT));
    let sent = world.cloud.last_call().unwrap().headers;
    assert!(sent["traceparent"].ends_with("-01"), "{sent:?}");
    assert!(
        !sent.contains_key("tracestate"),
        "traceparent alone: {sent:?}"
    );

    let none = call(&[]).await;
    assert_eq!(mint_of(&none).await, None);

    let other = "0af7651916cd43dd8448eb211c803202";
    let good = traceparent(other, "01");
    let long = format!("{good}-{}", "a".repeat(4000));
    for malformed in [
        &[("traceparent", &*format!("ff-{other}-{PARENT}-01"))][..],
        &[("traceparent", &long)],
        &[("traceparent", "00-<script>")],
        &[("traceparent", &good), ("traceparent", &good)],
    ] {
        let id = call(malformed).await;
        assert_ne!(id, other, "{malformed:?}");
        assert_eq!(mint_of(&id).await, None, "{malformed:?}");
    }
    assert!(stage.find(other).await.is_none());

    let off = "0af7651916cd43dd8448eb211c803203";
    assert_eq!(call(&[("traceparent", &traceparent(off, "00"))]).await, off);
    let sent = world.cloud.last_call().unwrap().headers["traceparent"].clone();
    assert!(
        sent.starts_with(&format!("00-{off}-")) && sent.ends_with("-00"),
        "{sent}"
    );
    // The process exports in order: when the later trace is there, the earlier one would be.
    mint_of(&call(&[]).await).await;
    assert!(stage.find(off).await.is_none());
}

async fn a_browser_decides_nothing_where_it_is_not_trusted(stage: &Stage) {
    let world = World::new().await;
    let server = stage.server(&world).start().await;
    let panel = Panel::start(Whoami::Honest).await;
    for (number, sampler, flags, exported) in [
        (1, "parentbased_always_on", "00", true),
        (2, "parentbased_always_off", "01", false),
        (3, "always_off", "01", false),
    ] {
        let gateway = gateway::Setup::forward(&world, server.grpc, panel.address)
            .variable(ENDPOINT, &format!("http://{}", stage.otlp_http))
            .variable("OTEL_TRACES_SAMPLER", sampler)
            .start()
            .await;
        let id = format!("0af7651916cd43dd8448eb211c80330{number}");
        let answer = gateway::widget("admin", "42")
            .header("traceparent", &traceparent(&id, flags))
            .header("tracestate", "vendor=canary")
            .header("baggage", "user=canary")
            .send(gateway.http)
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-request-id"], *id, "{sampler}");
        let decided = if exported { "-01" } else { "-00" };
        let to_cloud = world.cloud.last_call().unwrap().headers;
        let to_panel = panel.seen().pop().unwrap().1;
        for sent in [
            &*to_cloud["traceparent"],
            to_panel["traceparent"].to_str().unwrap(),
        ] {
            assert!(sent.starts_with(&format!("00-{id}-")), "{sent}");
            assert!(sent.ends_with(decided), "{sampler}: {sent}");
        }
        for name in ["tracestate", "baggage"] {
            assert!(!to_cloud.contains_key(name), "{to_cloud:?}");
            assert!(!to_panel.contains_key(name), "{to_panel:?}");
        }
        gateway.end().await;
        if exported {
            // Gateway, session check, its question, the call, the server, its call.
            let trace = stage.trace(&id, 6).await;
            let request = trace.span(GATEWAY, &format!("POST {TOKEN}"), "server");
            assert_eq!(request.parent.as_deref(), Some(PARENT));
            assert!(!trace.text.contains("canary"), "{}", trace.text);
        } else {
            let later = format!("0af7651916cd43dd8448eb211c80340{number}");
            let connection = server.connect(&world.panel()).await;
            mint_with(&connection, &[("traceparent", &traceparent(&later, "01"))]).await;
            stage.trace(&later, 2).await;
            assert!(stage.find(&id).await.is_none(), "{sampler}");
        }
    }
}

async fn the_demo_panel_shows_the_hops_that_it_passes_on_over_http_and_over_grpc(stage: &Stage) {
    for (number, protocol, otlp) in [
        (1, "http/protobuf", stage.otlp_http),
        (2, "grpc", stage.otlp_grpc),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (_playground, panel) = playground(folder.path(), otlp, protocol).await;
        let cookie = log_in_at(panel, "").await;
        let id = format!("0af7651916cd43dd8448eb211c80350{number}");
        let header = traceparent(&id, "01");
        click_at(panel, &cookie, &[("traceparent", &header)]).await;
        let services = until("the hops", async || {
            let (_, body) = admin::get(panel, &format!("/hops/{id}")).await.ok()?;
            let hops: Value = serde_json::from_str(&body).ok()?;
            let hops = hops.as_array()?.clone();
            let name = |hop: &Value| hop["service"].as_str().unwrap().to_owned();
            (hops.len() >= SPANS).then(|| hops.iter().map(name).collect::<BTreeSet<_>>())
        })
        .await;
        assert_eq!(
            services,
            [GATEWAY, SERVER, PANEL, CLOUD].map(str::to_owned).into()
        );
        let trace = stage.trace(&id, SPANS).await;
        let services: BTreeSet<_> = trace
            .spans
            .iter()
            .map(|span| span.service.clone())
            .collect();
        assert_eq!(services.len(), 4, "{protocol}: {services:?}");
    }
}
