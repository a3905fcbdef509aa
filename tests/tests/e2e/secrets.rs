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
        .traced()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .start()
        .await;
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
