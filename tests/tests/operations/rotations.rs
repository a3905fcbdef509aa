//! Keys, certificates, callers and CAs that change while everybody calls.

use std::time::Duration;

use ask2do_token_tests::exchange::Exchange;
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until_within;
use http::{Method, StatusCode};
use serde_json::json;

use crate::installation::{Installation, KEYS};
use crate::load::{self, GUEST, LAGGARD};
use crate::pods::ARRIVAL;
use crate::world::{Pods, Shared};

/// A removal counts within this after its file is there.
const PROMISED: Duration = Duration::from_secs(5);

pub(crate) fn cases(suite: &mut Suite, world: &Shared) {
    world.case(
        suite,
        "a new tenant key is used without a failed call",
        tenant_key,
    );
    world.case(
        suite,
        "a new server certificate is served without a failed call",
        certificate,
    );
    world.case(
        suite,
        "a caller that is added may mint, and one that is removed is refused within 5 s",
        callers,
    );
    world.case(
        suite,
        "the client CA changes in three steps, and the old one is refused within 5 s",
        client_ca,
    );
}

pub(crate) fn reloads(file: &str) -> String {
    format!(r#"ask2do_reloads_total{{file="{file}"}}"#)
}

async fn tenant_key(installation: &mut Installation) {
    let pods = installation.pods_of("server");
    let before = installation.metrics(&pods, &reloads("tenant_key"));
    assert!(is_taken(installation, KEYS[0]).await);
    installation
        .disrupt("tenant key", Pods::Stay, async |installation| {
            installation.write("tenant-key", KEYS[1]);
            installation.page("tenant key");
            installation
                .one_more(&pods, &reloads("tenant_key"), &before)
                .await;
            let said = installation.page("taken up");
            assert!(said.contains("tenant_key"), "{said}");
            // From here on the old one would be refused.
            installation.write("keys", KEYS[1]);
            installation.replace_secret("generic cloud-keys --from-file=keys=keys");
            until_within(ARRIVAL, "the cloud refuses the old key", async || {
                (!is_taken(installation, KEYS[0]).await).then_some(())
            })
            .await;
        })
        .await;
}

/// Whether the cloud takes this key.
async fn is_taken(installation: &Installation, key: &str) -> bool {
    let (_proxy, address) =
        installation.listening("exec kubectl proxy --port=0 --accept-hosts='.*'");
    let namespace = &installation.namespace.name;
    let cloud = format!("/api/v1/namespaces/{namespace}/pods/https:simulated-cloud:8443/proxy");
    let request = json!({"tenantKey": key, "panelUser": {"id": "42", "role": "admin"}});
    let asked = Exchange::new(Method::POST, &format!("{cloud}/auth/token"))
        .header("content-type", "application/json")
        .body(request.to_string());
    match asked.send(address).await.unwrap().status {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("the cloud answers {other}"),
    }
}

async fn certificate(installation: &mut Installation) {
    let pods = installation.pods_of("server");
    let before = installation.metrics(&pods, &reloads("certificate"));
    let next = installation.servers.issue(&installation.server_leaf());
    installation
        .disrupt("server certificate", Pods::Stay, async |installation| {
            installation.write_pair("server", &next);
            installation.page("server certificate");
            installation
                .one_more(&pods, &reloads("certificate"), &before)
                .await;
        })
        .await;
    for pod in &pods {
        assert_eq!(
            installation.served(pod).await,
            next.der().to_vec(),
            "{}",
            pod.name
        );
    }
}

async fn callers(installation: &mut Installation) {
    let pods = installation.pods_of("server");
    let mut values = installation.values.clone();
    let more =
        json!({"name": GUEST, "san": "spiffe://example/ns/panel/sa/guest", "roles": ["admin"]});
    values["callers"].as_array_mut().unwrap().push(more);
    installation.write_values(&values);
    let before = installation.metrics(&pods, &reloads("callers"));
    installation
        .disrupt("caller added", Pods::Stay, async |installation| {
            installation.page("upgrade");
            installation
                .one_more(&pods, &reloads("callers"), &before)
                .await;
            until_within(ARRIVAL, "the guest may mint", async || {
                let now = load::now(installation);
                let report = load::window(installation, now - 1000, now);
                (report.lane(GUEST).failed == 0).then_some(())
            })
            .await;
        })
        .await;

    installation.write_values(&installation.values);
    let before = installation.metrics(&pods, &reloads("callers"));
    let during = installation
        .disrupt("caller removed", Pods::Stay, async |installation| {
            installation.page("upgrade");
            installation
                .one_more(&pods, &reloads("callers"), &before)
                .await;
            refused(installation, GUEST).await;
        })
        .await;
    let report = during.lane(GUEST);
    assert!(
        report.reasons.contains_key("CALLER_NOT_ALLOWED"),
        "{report:?}"
    );
    in_time(installation, "callers", report.last_ok);
}

/// Puts a caller's new certificate into its Secret.
fn renew(installation: &Installation, caller: &str) {
    installation.replace_secret(&format!(
        "generic {caller}-tls --from-file=tls.crt={caller}.crt --from-file=tls.key={caller}.key \
         --from-file=ca.crt=server-ca.crt"
    ));
}

/// Waits until a second has passed in which none of a caller's calls brought a token.
async fn refused(installation: &Installation, lane: &str) {
    until_within(ARRIVAL, "it is refused", async || {
        let now = load::now(installation);
        let report = load::window(installation, now - 1000, now);
        let lane = report.lane(lane);
        (lane.calls > 0 && lane.calls == lane.failed).then_some(())
    })
    .await;
}

/// The last call that brought a token began within the promise after the file was there, in the last pod to get it.
fn in_time(installation: &Installation, file: &str, last_ok: Option<u64>) {
    let pods = installation.pods_of("server");
    let series = format!(r#"ask2do_reload_modified_timestamp_seconds{{file="{file}"}}"#);
    let arrived = installation
        .metrics(&pods, &series)
        .into_iter()
        .fold(0.0, f64::max);
    let last_ok = Duration::from_millis(last_ok.unwrap_or_default()).as_secs_f64();
    let late = last_ok - arrived;
    println!(
        "{file}: the last call that was not refused began {late:.1} s after the file's arrival"
    );
    assert!(late < PROMISED.as_secs_f64(), "{late} s");
}

async fn client_ca(installation: &mut Installation) {
    let pods = installation.pods_of("server");
    let reloads = reloads("client_ca");
    let before = installation.metrics(&pods, &reloads);
    installation
        .disrupt("client CA: both", Pods::Stay, async |installation| {
            installation.page("client CA, both");
            installation.one_more(&pods, &reloads, &before).await;
        })
        .await;

    let gateways = installation.pods_of("gateway");
    let certificate = r#"ask2do_reloads_total{file="certificate"}"#;
    let before = installation.metrics(&gateways, certificate);
    installation
        .disrupt(
            "client CA: callers move",
            Pods::Stay,
            async |installation| {
                let gateway = Leaf::client().uri("spiffe://example/ns/panel/sa/ask2do-gateway");
                installation.write_pair("gateway", &installation.callers[1].issue(&gateway));
                installation.page("gateway certificate");
                installation.write_pair(
                    "panel",
                    &installation.callers[1].issue(&Installation::panel_leaf()),
                );
                renew(installation, "panel");
                installation.one_more(&gateways, certificate, &before).await;
                moved(installation).await;
            },
        )
        .await;

    let before = installation.metrics(&pods, &reloads);
    let during = installation
        .disrupt(
            "client CA: the old one dropped",
            Pods::Stay,
            async |installation| {
                installation.page("client CA, new");
                installation.one_more(&pods, &reloads, &before).await;
                refused(installation, LAGGARD).await;
            },
        )
        .await;
    in_time(installation, "client_ca", during.lane(LAGGARD).last_ok);
    for pod in &pods {
        let told = installation.log(pod);
        let told = told
            .iter()
            .any(|record| record.to_string().contains("no longer verifies"));
        assert!(told, "{}", pod.name);
    }
}

/// Waits until each of the load's clients has its new certificate.
async fn moved(installation: &Installation) {
    // Four clients in each of three lanes.
    const CLIENTS: usize = 12;
    until_within(ARRIVAL, "the load's new certificate", async || {
        let log = installation.shell("kubectl logs load --tail=-1");
        let reloaded = log
            .lines()
            .filter(|line| line.contains("reloaded") && line.contains("certificate"));
        (reloaded.count() >= CLIENTS).then_some(())
    })
    .await;
}
