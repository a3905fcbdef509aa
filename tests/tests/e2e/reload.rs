//! What is read again while the server runs, under load, in each way that files change.

use std::time::Duration;

use ask2do_token_playground::cloud::TenantKeys;
use ask2do_token_tests::caller::{Caller, Connection, minted};
use ask2do_token_tests::files::Way;
use ask2do_token_tests::load::Load;
use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{CALLERS, PANEL, Server, Setup, TENANT_KEY, World, cloud_with};
use tokio::time::Instant;
use tonic::Code;

/// Within this, a removal counts on open connections too.
const PROMISED: Duration = Duration::from_secs(5);

/// Callers at work during a reload.
const LOAD: u64 = 4;

pub(crate) fn add(suite: &mut Suite) {
    for way in Way::ALL {
        let name = |what| format!("reload: {what}, {way:?}");
        suite.case(name("the tenant key"), move || tenant_key(way));
        suite.case(name("certificate and key"), move || certificate(way));
        suite.case(name("the client CA"), move || client_ca(way));
        suite.case(name("callers in the configuration"), move || {
            callers(way, false)
        });
        suite.case(name("callers in their file"), move || callers(way, true));
        suite.case(name("another setting"), move || another_setting(way));
    }
    suite.case(
        "reload: bad files keep the last good ones, and say so",
        bad_files,
    );
}

async fn start(way: Way, setup: Setup) -> Server {
    way.prepare(setup.path("").as_path());
    setup.start().await
}

fn reloads(file: &str) -> String {
    format!(r#"ask2do_reloads_total{{file="{file}"}}"#)
}

fn failures(file: &str) -> String {
    format!(r#"ask2do_reload_failures_total{{file="{file}"}}"#)
}

async fn tenant_key(way: Way) {
    const NEW: &str = "tk_live_canary_the_next";
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let accepted = folder.path().join("keys");
    std::fs::write(&accepted, format!("{TENANT_KEY}\n{NEW}\n")).unwrap();
    let cloud = cloud_with(&world.clouds, TenantKeys::File(accepted.clone())).await;
    let server = start(way, world.server().set("cloud.url", &cloud.url())).await;
    let mut load = Load::begin(&world.panel(), server.grpc, LOAD);
    load.goes_on(20).await;

    way.replace(server.folder(), &[("tenant-key", NEW)]);
    server.metric_is(&reloads("tenant_key"), 1.0).await;
    // Mints with the old one may be on their way.
    load.goes_on(20).await;
    Way::Rename.replace(folder.path(), &[("keys", NEW)]);
    load.goes_on(20).await;
    assert_eq!(server.metric(&failures("tenant_key")).await, 0.0);

    // The control: the cloud does refuse the old one now.
    way.replace(server.folder(), &[("tenant-key", TENANT_KEY)]);
    load.stop().await;
    server.metric_is(&reloads("tenant_key"), 2.0).await;
    let reply = server
        .connect(&world.panel())
        .await
        .mint("42", "admin")
        .await;
    reply.refused(Code::FailedPrecondition, "TENANT_KEY_REJECTED");
    let text = server.end().await;
    assert!(!text.contains("canary"), "{text}");
}

async fn certificate(way: Way) {
    let world = World::new().await;
    let server = start(way, world.server()).await;
    let caller = world.panel();
    let open = server.connect(&caller).await;
    let first = open.tls.certificate.clone();
    let mut load = Load::begin(&caller, server.grpc, LOAD);
    load.goes_on(20).await;

    let next = world.servers.issue(&Leaf::server());
    way.replace(
        server.folder(),
        &[("tls.crt", &next.certificate), ("tls.key", &next.key)],
    );
    server.metric_is(&reloads("certificate"), 1.0).await;
    let served = async || server.connect(&caller).await.tls.certificate.clone();
    assert_eq!(served().await, next.der());
    assert_ne!(next.der(), first);

    // A certificate without its key is half a pair: the last one stays.
    let last = world.servers.issue(&Leaf::server());
    way.replace(server.folder(), &[("tls.crt", &last.certificate)]);
    server.metric_is(&failures("certificate"), 1.0).await;
    assert_eq!(served().await, next.der());
    load.goes_on(20).await;
    way.replace(server.folder(), &[("tls.key", &last.key)]);
    server.metric_is(&reloads("certificate"), 2.0).await;
    assert_eq!(served().await, last.der());

    load.goes_on(20).await;
    load.stop().await;
    assert_eq!(server.metric(&failures("certificate")).await, 1.0);
    // What was open has not noticed.
    minted(&open.mint("open", "admin").await);
}

async fn client_ca(way: Way) {
    let world = World::new().await;
    let mut server = start(way, world.server()).await;
    let next = Authority::new("the callers' next CA");
    let of = |authority: &Authority| world.caller(&authority.issue(&Leaf::client().uri(PANEL)));
    let (old, new) = (of(&world.callers), of(&next));
    let open = server.connect(&old).await;
    minted(&open.mint("open", "admin").await);
    let deaf = old.connect_deaf(server.grpc).await;
    let mut load = Load::begin(&old, server.grpc, LOAD);
    load.goes_on(20).await;

    let both = world.callers.pem() + &next.pem();
    way.replace(server.folder(), &[("ca.crt", &both)]);
    server.metric_is(&reloads("client_ca"), 1.0).await;
    load.goes_on(20).await;
    load.stop().await;
    assert!(open.wire().goaways().is_empty(), "it still verifies");
    let mut load = Load::begin(&new, server.grpc, LOAD);
    load.goes_on(20).await;

    way.replace(server.folder(), &[("ca.crt", &next.pem())]);
    let removed = Instant::now();
    let reply = until("a refusal", async || {
        let reply = deaf.mint("deaf", "admin").await;
        (reply.status().code() != Code::Ok).then_some(reply)
    })
    .await;
    assert!(removed.elapsed() < PROMISED, "{:?}", removed.elapsed());
    reply.refused(Code::Unauthenticated, "CERTIFICATE_REJECTED");
    let goaways = until("GOAWAY", async || {
        let goaways = open.wire().goaways();
        (!goaways.is_empty()).then_some(goaways)
    })
    .await;
    assert!(removed.elapsed() < PROMISED, "{:?}", removed.elapsed());
    assert_eq!(goaways[0].error, 0, "nothing is wrong but the certificate");
    assert!(open.try_mint("removed", "admin").await.is_err());
    assert_eq!(world.cloud.calls_for("removed"), 0);
    until("the connection ends", async || {
        open.is_closed().then_some(())
    })
    .await;
    assert!(
        old.try_connect(server.grpc)
            .await
            .unwrap()
            .try_mint("removed", "admin")
            .await
            .is_err()
    );
    load.goes_on(20).await;
    load.stop().await;
    let is_told = |record: &serde_json::Value| record.to_string().contains("no longer verifies");
    server
        .record("the certificate no longer verifies", is_told)
        .await;
}

/// A list with one more caller: a certificate that is nobody's until then.
const MORE: &str = r#"
[[callers]]
name = "more"
san = "more.test"
roles = ["owner"]
"#;

async fn callers(way: Way, in_a_file: bool) {
    let world = World::new().await;
    let (file, name, setup) = if in_a_file {
        let setup = world.server().file("callers.toml", CALLERS);
        let setup = setup.file("server.toml", "callers_file = \"callers.toml\"");
        ("callers.toml", "callers", setup)
    } else {
        ("server.toml", "configuration", world.server())
    };
    let mut server = start(way, setup).await;
    let caller = world.panel();
    let more = world.caller(&world.callers.issue(&Leaf::client().dns("more.test")));
    let (panel, more) = (server.connect(&caller).await, server.connect(&more).await);
    let mut load = Load::begin(&caller, server.grpc, LOAD);
    load.goes_on(20).await;
    let refused = (Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    more.mint("more", "owner")
        .await
        .refused(refused.0, refused.1);

    way.replace(server.folder(), &[(file, &format!("{CALLERS}{MORE}"))]);
    within(&more, "owner", None).await;
    server.metric_is("ask2do_callers", 4.0).await;

    way.replace(server.folder(), &[(file, "[[callers]]\nname = ")]);
    server.metric_is(&failures(name), 1.0).await;
    minted(&more.mint("more", "owner").await);
    load.goes_on(20).await;

    way.replace(server.folder(), &[(file, CALLERS)]);
    within(&more, "owner", Some(refused)).await;
    server.metric_is(&reloads(name), 2.0).await;
    load.goes_on(20).await;
    load.stop().await;

    way.replace(server.folder(), &[(file, "")]);
    within(&panel, "admin", Some(refused)).await;
    server.metric_is("ask2do_callers", 0.0).await;
    let is_told = |record: &serde_json::Value| {
        record["level"] == "ERROR" && record.to_string().contains("nobody may mint")
    };
    server.record("nobody may mint", is_told).await;
    assert_eq!(server.get("/readyz").await.0, 200);
}

/// Calls on an open connection until what is expected comes, which must be within the promise.
async fn within(connection: &Connection, role: &str, refusal: Option<(Code, &str)>) {
    let began = Instant::now();
    let reply = until("the callers change", async || {
        let reply = connection.mint("42", role).await;
        ((reply.status().code() == Code::Ok) == refusal.is_none()).then_some(reply)
    })
    .await;
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    match refusal {
        None => drop(minted(&reply)),
        Some((code, reason)) => drop(reply.refused(code, reason)),
    }
}

async fn another_setting(way: Way) {
    let world = World::new().await;
    let mut server = start(way, world.server()).await;
    let changed = format!("[limits]\nin_flight = 7\nuser_rate = 3\n{CALLERS}");
    way.replace(server.folder(), &[("server.toml", &changed)]);
    server
        .metric_is("ask2do_settings_needing_restart", 2.0)
        .await;
    let is_told = |record: &serde_json::Value| {
        let text = record.to_string();
        text.contains("restart")
            && text.contains("limits.in_flight")
            && text.contains("limits.user_rate")
    };
    server.record("a restart is needed", is_told).await;
    minted(
        &server
            .connect(&world.panel())
            .await
            .mint("42", "admin")
            .await,
    );
    way.replace(server.folder(), &[("server.toml", CALLERS)]);
    server
        .metric_is("ask2do_settings_needing_restart", 0.0)
        .await;
}

async fn bad_files() {
    let world = World::new().await;
    let mut server = world.server().start().await;
    let caller: Caller = world.panel();
    let mut load = Load::begin(&caller, server.grpc, LOAD);
    load.goes_on(20).await;
    let file = |name| std::fs::read_to_string(server.folder().join(name)).unwrap();
    let names = ["tenant-key", "tls.crt", "tls.key", "ca.crt", "server.toml"];
    let good: Vec<_> = names.map(file).into_iter().collect();

    for name in names {
        Way::Rename.replace(server.folder(), &[(name, "\0canary\0")]);
    }
    let watched = ["tenant_key", "certificate", "client_ca", "configuration"];
    for file in watched {
        server.metric_is(&failures(file), 1.0).await;
        let is_told =
            |record: &serde_json::Value| record["level"] == "ERROR" && record["file"] == file;
        let record = server.record("a reload failed", is_told).await;
        assert!(!record.to_string().contains("canary"), "{record}");
    }
    load.goes_on(20).await;

    for name in names {
        std::fs::remove_file(server.folder().join(name)).unwrap();
    }
    for file in watched {
        server.metric_is(&failures(file), 2.0).await;
    }
    load.goes_on(20).await;

    let files: Vec<_> = names
        .into_iter()
        .zip(good.iter().map(String::as_str))
        .collect();
    Way::Rename.replace(server.folder(), &files);
    for file in watched {
        server.metric_is(&reloads(file), 1.0).await;
    }
    load.goes_on(20).await;
    load.stop().await;
}
