//! The canary: everything that goes wrong, at trace level, and then a search for the key, for tokens and
//! for private keys in all that anybody can see.

use std::time::Duration;

use ask2do_token_client::{PanelUser, TokenClient};
use ask2do_token_tests::admin;
use ask2do_token_tests::caller::{
    Caller, Connection, MINT_TOKEN, framed, minted, raw_user, request,
};
use ask2do_token_tests::canary::Canary;
use ask2do_token_tests::collector::Collector;
use ask2do_token_tests::files::Way;
use ask2do_token_tests::gateway;
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::pki::{Leaf, Pair};
use ask2do_token_tests::process::Process;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::{CALLERS, PANEL, Server, TENANT_KEY, World};
use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tonic::Code;

use crate::{cloud, inputs, mtls};

/// What every token of the simulated cloud begins with: also of those that the server refuses, and nobody
/// else ever sees.
const TOKEN_HEADER: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ";

/// Seals the audit log.
const AUDIT_KEY: &str = "audit+canary/9f8e7d6c5b4a39281706f5e4d3c2b1a0";

/// A panel user's id stands in the audit log and nowhere else. The simulated cloud takes what is behind a dot for
/// nothing but another id.
const PANEL_ID: &str = "canary-panel-user-3f6c1f0e7a524b0e9a570f4be2f3a9c1";

/// What anybody can see, by where it was seen.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn check(&self, canary: &Canary) {
        for (place, bytes) in &self.0 {
            if let Some(leak) = canary.find(bytes) {
                panic!("{place}: {leak:?}");
            }
        }
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.case(
        "secrets: none slips out at trace level, whatever goes wrong",
        everything,
    );
    suite.case("secrets: none is in a report of mistakes", mistakes);
    suite.case("secrets: the search finds what does slip out", control);
    suite.case(
        "secrets: a panel user's id is in the audit log and nowhere else",
        panel_id,
    );
}

fn watching(pairs: &[&Pair]) -> Canary {
    let mut canary = Canary::default();
    canary.watch("tenant key", TENANT_KEY);
    canary.watch("any token", TOKEN_HEADER);
    for pair in pairs {
        let lines: Vec<_> = pair
            .key
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        canary.watch("private key", &lines.concat());
    }
    canary
}

async fn everything() {
    let world = World::new().await;
    let collector = Collector::start().await;
    let servers = world.servers.issue(&Leaf::server());
    let callers = world.callers.issue(&Leaf::client().uri(PANEL));
    let mut canary = watching(&[&servers, &callers]);
    let mut seen = Seen::default();
    let mut server = world
        .server()
        .file("tls.crt", &servers.certificate)
        .file("tls.key", &servers.key)
        .set("grpc.reflection", "true")
        .set("limits.in_flight", "300")
        .set("audit.output", "file")
        .set("audit.file", "audit.log")
        .file("audit-key", AUDIT_KEY)
        .set("audit.key_file", "audit-key")
        .traced()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .start()
        .await;
    canary.watch("audit key", AUDIT_KEY);
    let connection = server.connect(&world.caller(&callers)).await;

    calls(&connection, &mut canary, &mut seen).await;
    strangers(&world, &server, &mut seen).await;
    client(&world, &server, &callers, &mut canary, &mut seen).await;
    reloads(&server, &connection, &mut seen).await;
    for path in ["/metrics", "/readyz", "/livez", "/nowhere"] {
        seen.add(path, server.get(path).await.1);
    }
    seen.add(
        "OpenMetrics",
        admin::get_as(server.admin, "/metrics", "application/openmetrics-text").await,
    );

    // The end, with calls in flight and beyond the limit.
    let call = connection.try_mint("slow-2s.last", "admin");
    let ending = async {
        server.metric_is("ask2do_mints_in_flight", 1.0).await;
        server.process.signal(Signal::TERM);
        server.process.ended().await
    };
    let (last, ended) = tokio::join!(call, ending);
    canary.watch("token", &minted(&last.unwrap()).token);
    assert_eq!(ended.code(), Some(0));

    let text = server.process.output().text();
    assert!(text.contains(r#""level":"TRACE""#), "it is the trace level");
    let spans = collector.bytes();
    let is_exported = |name: &str| {
        spans
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    assert!(
        is_exported("ask2do.token.v1.TokenService/MintToken"),
        "spans were exported"
    );
    seen.add("log", text);
    seen.add("spans", spans);
    let audit = std::fs::read(server.folder().join("audit.log")).unwrap();
    assert!(audit.len() > 10_000, "there are lines to search");
    seen.add("audit log", audit);
    seen.check(&canary);
}

/// Every scenario of the cloud for one user, by the whole way from the browser; both services at trace level.
async fn panel_id() {
    let world = World::new().await;
    let collector = Collector::start().await;
    let panel = Panel::start(Whoami::Honest).await;
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url);
    let server = world
        .server()
        .set("audit.output", "file")
        .set("audit.file", "audit.log")
        .set("limits.user_rate", "1")
        .traced()
        .variable(export.0, export.1)
        .start()
        .await;
    let gateway = gateway::Setup::forward(&world, server.grpc, panel.address)
        .variable("RUST_LOG", "trace")
        .variable(export.0, export.1)
        .start()
        .await;
    let connection = server.connect(&world.panel()).await;
    let mut canary = Canary::default();
    canary.watch("panel user's id", PANEL_ID);
    let mut seen = Seen::default();
    let scenarios = cloud::ROWS
        .iter()
        .map(|(id, ..)| format!("{id}.{PANEL_ID}"));
    let ids: Vec<_> = scenarios.chain([PANEL_ID.to_owned()]).collect();
    join_all(ids.iter().map(async |id| {
        // The second one of the same user is over its rate.
        for _ in 0..2 {
            drop(connection.mint(id, "admin").await);
        }
        drop(connection.mint(id, "guest").await);
        drop(connection.mint_within("50m", id, "owner").await);
    }))
    .await;
    for role in ["admin", "guest"] {
        for id in [PANEL_ID, &*format!("status-401.{PANEL_ID}")] {
            let answer = gateway::widget(role, id).send(gateway.http).await.unwrap();
            if answer.status != 200 {
                seen.add("an answer to the browser", answer.text());
            }
        }
    }
    for admin in [server.admin, gateway.admin] {
        let text = admin::get_as(admin, "/metrics", "application/openmetrics-text").await;
        assert!(text.contains("# EOF"));
        seen.add("metrics", text);
    }
    let lines = gateway.process.output().clone();
    gateway.end().await;
    let audit = std::fs::read_to_string(server.folder().join("audit.log")).unwrap();
    assert!(canary.find(audit.as_bytes()).is_some(), "it is watched for");
    drop(connection);
    seen.add("the server's log", server.end().await);
    seen.add("the gateway's log", lines.text());
    assert!(
        lines.text().contains(r#""level":"TRACE""#),
        "it is the trace level"
    );
    seen.add("spans", collector.bytes());
    assert!(!collector.bytes().is_empty());
    seen.check(&canary);
}

/// Every scenario of the cloud, every input.
async fn calls(connection: &Connection, canary: &mut Canary, seen: &mut Seen) {
    let scenarios = cloud::ROWS.iter().map(|(id, ..)| *id);
    let ids = scenarios.chain(["42", "用户", r#""quoted""#]);
    let replies = join_all(ids.map(async |id| (id, connection.mint(id, "admin").await))).await;
    let mut tokens = 0;
    for (id, reply) in replies {
        seen.add(format!("the reply to {id}"), reply.shown());
        if reply.status().code() == Code::Ok {
            canary.watch("token", &minted(&reply).token);
            tokens += 1;
        }
    }
    assert!(tokens > 5, "{tokens} tokens to look for");
    let users = inputs::users().into_iter();
    let bodies = users.map(|(name, id, role, _)| (name, framed(&raw_user(&id, &role))));
    let odd = inputs::bodies()
        .into_iter()
        .map(|(name, body, _)| (name, body.into()));
    for (name, body) in bodies.chain(odd) {
        let reply = connection.send(request(MINT_TOKEN, body)).await.unwrap();
        seen.add(name, reply.shown());
        if reply.status().code() == Code::Ok {
            canary.watch("token", &minted(&reply).token);
        }
    }
    for timeout in ["50m", "300m", "soon"] {
        let reply = connection
            .mint_within(timeout, "slow-7s.timeout", "admin")
            .await;
        seen.add(format!("the reply within {timeout}"), reply.shown());
    }
}

/// Every certificate that does not get in, and every one that gets no further.
async fn strangers(world: &World, server: &Server, seen: &mut Seen) {
    for (name, pair, _) in mtls::CERTIFICATES {
        let pair = pair(world);
        let caller = Caller::new(&world.servers.pem(), pair.as_ref());
        if let Ok(mut stream) = caller.handshake(server.grpc).await {
            // Gets the alert, or nothing: who is let in is expected to speak.
            let wait = Duration::from_millis(50);
            let _ = tokio::time::timeout(wait, stream.read_u8()).await;
        }
        if let Ok(connection) = caller.try_connect(server.grpc).await
            && let Ok(reply) = connection.try_mint("expired.stranger", "admin").await
        {
            seen.add(*name, reply.shown());
        }
    }
}

/// What our own client and its command line say.
async fn client(world: &World, server: &Server, pair: &Pair, canary: &mut Canary, seen: &mut Seen) {
    let client = TokenClient::builder(format!("https://{}", server.grpc))
        .ca_pem(world.servers.pem())
        .identity_pem(pair.certificate.clone(), pair.key.clone())
        .build()
        .unwrap();
    seen.add("Debug of the client", format!("{client:?}"));
    for id in [
        "42",
        "status-401",
        "status-500",
        "garbage",
        "expired",
        "a\tb",
    ] {
        match client.mint_token(&PanelUser::new(id, "admin")).await {
            Ok(token) => {
                canary.watch("token", token.expose_token());
                seen.add("Debug of a token", format!("{token:?} {token:#?}"));
            }
            Err(error) => seen.add(id, format!("{error} {error:?} {error:#?}")),
        }
    }
}

/// Bad files that hold the key all the same.
async fn reloads(server: &Server, connection: &Connection, seen: &mut Seen) {
    let spoiled = [
        ("tenant-key", format!("{TENANT_KEY} {TENANT_KEY}")),
        ("tls.key", TENANT_KEY.to_owned()),
        ("ca.crt", TENANT_KEY.to_owned()),
        (
            "server.toml",
            format!("tenant_key = '{TENANT_KEY}'\n[cloud]\ntenant_key = '{TENANT_KEY}\n"),
        ),
    ];
    let good = spoiled.clone().map(|(name, _)| {
        let path = server.folder().join(name);
        (name, std::fs::read_to_string(path).unwrap())
    });
    let replace = |files: &[(&str, String)]| {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, &**text)).collect();
        Way::Rename.replace(server.folder(), &files);
    };
    replace(&spoiled);
    for file in ["tenant_key", "certificate", "client_ca", "configuration"] {
        let series = format!(r#"ask2do_reload_failures_total{{file="{file}"}}"#);
        server.metric_is(&series, 1.0).await;
    }
    seen.add(
        "a reply meanwhile",
        connection.mint("redirect-307.again", "admin").await.shown(),
    );
    replace(&good);
    server
        .metric_is(r#"ask2do_reloads_total{file="tenant_key"}"#, 1.0)
        .await;
}

/// A key where none belongs.
async fn mistakes() {
    let canary = watching(&[]);
    let mut seen = Seen::default();
    let world = World::new().await;
    let quoted = TENANT_KEY.replace('"', "\\\"");
    let setups = [
        world
            .server()
            .file("tenant-key", format!("{TENANT_KEY}\n{TENANT_KEY}\n")),
        world
            .server()
            .file("tenant-key", format!("\u{feff}{TENANT_KEY}")),
        world.server().file("tenant-key", format!("{TENANT_KEY}\0")),
        world.server().file("tls.key", TENANT_KEY),
        world.server().file(
            "server.toml",
            format!("{CALLERS}\n[cloud]\ntenant_key = \"{quoted}\"\n"),
        ),
        world.server().file(
            "server.toml",
            format!("{CALLERS}\n[cloud]\ntenant_key = \"{quoted}\n"),
        ),
        world.server().file("server.toml", TENANT_KEY),
        world.server().set("cloud.tenant_key", TENANT_KEY),
        world
            .server()
            .variable("ASK2DO_CLOUD__TENANT_KEY", TENANT_KEY),
        world
            .server()
            .variable("ASK2DO_TENANT_KEY", &format!("{TENANT_KEY} ")),
        world
            .server()
            .set("cloud.tenant_key_file", "tenant-key")
            .variable("ASK2DO_TENANT_KEY", TENANT_KEY),
    ];
    for (number, setup) in setups.into_iter().enumerate() {
        let (code, text) = setup.traced().run(&[]).await;
        assert_eq!(code, 2, "mistake {number}: {text}");
        assert!(!text.is_empty());
        seen.add(format!("mistake {number}"), text);
    }
    seen.check(&canary);
}

/// The whole way from a program's output to the search, with programs that do let the key slip.
async fn control() {
    let canary = watching(&[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), TENANT_KEY).unwrap();
    for leak in [
        "cat key",
        "cat key >&2",
        "base64 key",
        "od -An -tx1 -w100 key",
        "cut -c 5-30 key",
    ] {
        let sh = std::path::Path::new("/bin/sh");
        let mut process = Process::start(sh, ["-c", leak], &Default::default(), folder.path());
        assert_eq!(process.ended().await.code(), Some(0), "{leak}");
        let text = process.output().text();
        assert!(
            canary.find(text.as_bytes()).is_some(),
            "{leak} is not found: {text}"
        );
    }
    let world = World::new().await;
    let server = world.server().start().await;
    let reply = server
        .connect(&world.panel())
        .await
        .mint("42", "admin")
        .await;
    let leak = canary.find(&reply.body).expect("a reply holds a token");
    assert_eq!((leak.secret, leak.form), ("any token", "raw"));
}
