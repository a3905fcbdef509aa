//! `ask2do-token-playground load`, on real processes: what the figures of docs/operations.md rest on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use ask2do_token_tests::admin;
use ask2do_token_tests::binaries::binary;
use ask2do_token_tests::gateway::{PATH, Setup};
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::process::Process;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{PANEL, World};
use serde_json::Value;

pub(crate) fn add(suite: &mut Suite) {
    suite.case("load::each_call_is_made_once_and_counted", counted);
}

async fn counted() {
    let world = World::new().await;
    let server = world.server().start().await;
    let folder = tempfile::tempdir().unwrap();
    let identity = world.callers.issue(&Leaf::client().uri(PANEL));
    identity.write(folder.path(), "tls");
    std::fs::write(folder.path().join("ca.crt"), world.servers.pem()).unwrap();

    // The first one is the panel of the second; nobody is at the end of its own lane.
    let nobody = "--lane=name=nobody,rate=20,url=http://127.0.0.1:1/".to_owned();
    let panel = start(folder.path(), &[nobody]).await;
    let gateway = Setup::forward(&world, server.grpc, panel.1).start().await;
    let lanes = [
        format!(
            "--lane=name=callers,rate=40,url=https://{},folder=.,id=load",
            server.grpc
        ),
        format!(
            "--lane=name=browsers,rate=20,url=http://{}{PATH},id=load",
            gateway.http
        ),
    ];
    let load = start(folder.path(), &lanes).await;

    let reports = report(load.1, 60).await;
    let calls = ["callers", "browsers"].map(|lane| {
        let report = &reports[lane];
        assert_eq!(report["failed"], 0, "{reports}");
        assert_eq!(report["reasons"]["OK"], report["calls"]);
        report["calls"].as_u64().unwrap()
    });
    let minted = world.cloud.calls().total;
    assert!(minted >= calls.iter().sum(), "{minted} of {calls:?}");
    let reports = report(panel.1, 20).await;
    let lost = &reports["nobody"];
    assert_eq!(lost["reasons"]["CONNECTION_LOST"], lost["calls"]);
    assert_eq!(lost["failures"][0]["reason"], "CONNECTION_LOST");

    let (code, said) = usage(folder.path()).await;
    assert_eq!(code, 2);
    assert!(said.contains("whole number of calls a second"), "{said}");
}

async fn start(folder: &Path, arguments: &[String]) -> (Process, SocketAddr) {
    let process = spawn(folder, arguments);
    let address = until("it listens", async || {
        let said = process.output().text();
        said.split("load on http://")
            .nth(1)?
            .lines()
            .next()?
            .parse()
            .ok()
    })
    .await;
    (process, address)
}

fn spawn(folder: &Path, arguments: &[String]) -> Process {
    let arguments = std::iter::once("load".to_owned()).chain(arguments.iter().cloned());
    let program = binary("ask2do-token-playground");
    Process::start(&program, arguments, &HashMap::new(), folder)
}

/// The reports of all calls so far, as soon as there are this many in some lane.
async fn report(load: SocketAddr, calls: u64) -> Value {
    until("calls", async || {
        let now = admin::get(load, "/now").await.ok()?.1;
        let now = serde_json::from_str::<Value>(&now).unwrap()["now"].as_u64()?;
        let (_, report) = admin::get(load, &format!("/report/0/{now}")).await.ok()?;
        let report: Value = serde_json::from_str(&report).unwrap();
        let most = report
            .as_object()?
            .values()
            .map(|lane| lane["calls"].as_u64());
        (most.max()?? >= calls).then_some(report)
    })
    .await
}

async fn usage(folder: &Path) -> (i32, String) {
    let mut process = spawn(
        folder,
        &["--lane=name=x,rate=often,url=http://127.0.0.1:1/".to_owned()],
    );
    let code = process.ended().await.code().unwrap();
    (code, process.output().text())
}
