//! Controls: the suite can see failures, and a refused key does not look like an outage.

use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until_within;
use serde_json::json;

use crate::figures;
use crate::installation::{Installation, KEYS};
use crate::load::{self, LANES, Lane, Window};
use crate::pods::ARRIVAL;
use crate::rotations::reloads;
use crate::world::Shared;

pub(crate) fn refused(suite: &mut Suite, world: &Shared) {
    world.case(
        suite,
        "a tenant key that Ask2Do refuses is named as such, and is no outage",
        refused_key,
    );
}

pub(crate) fn losses(suite: &mut Suite, world: &Shared) {
    world.case(
        suite,
        "pods killed hard lose the calls that they had",
        killed,
    );
    world.case(
        suite,
        "without preStop and drain, a rollout loses calls",
        without_drain,
    );
}

async fn refused_key(installation: &mut Installation) {
    let pods = installation.settled().await;
    let servers = installation.pods_of("server");
    let before = installation.metrics(&servers, &reloads("tenant_key"));
    let good = std::fs::read_to_string(installation.file("tenant-key")).unwrap();
    installation.write("tenant-key", "nobodys-tenant-key");
    let (_, during) = installation
        .observe(async |installation| {
            installation.page("tenant key");
            installation
                .one_more(&servers, &reloads("tenant_key"), &before)
                .await;
            until_within(ARRIVAL, "every call is refused", async || {
                let now = load::now(installation);
                let window = load::window(installation, now - 1000, now);
                (window.failed() == window.calls()).then_some(())
            })
            .await;
            let before = installation.metrics(&servers, &reloads("tenant_key"));
            installation.write("tenant-key", &good);
            installation.page("tenant key");
            installation
                .one_more(&servers, &reloads("tenant_key"), &before)
                .await;
            until_within(ARRIVAL, "calls succeed again", async || {
                let now = load::now(installation);
                let window = load::window(installation, now - 1000, now);
                (window.failed() == 0).then_some(())
            })
            .await;
        })
        .await;
    for Lane { name, .. } in LANES {
        let reasons: Vec<_> = during
            .lane(name)
            .reasons
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(reasons, ["OK", "TENANT_KEY_REJECTED"], "{name}");
    }
    // Not one pod was restarted or left the Service for it.
    assert_eq!(installation.pods(), pods);
    for pod in &servers {
        let counted = installation.get(&format!("{}:9090", pod.name), "metrics");
        let counted = counted.lines().any(|line| {
            line.starts_with("ask2do_mints_total{")
                && line.contains(r#"reason="TENANT_KEY_REJECTED""#)
                && !line.ends_with(" 0")
        });
        assert!(counted, "{}", pod.name);
        let told = installation.log(pod);
        let told = told
            .iter()
            .any(|record| record.to_string().contains("refuses the tenant key"));
        assert!(told, "{}", pod.name);
    }
    let known = KEYS.iter().any(|key| good.contains(key));
    assert!(known, "the control began with a key that the cloud takes");
}

async fn killed(installation: &mut Installation) {
    installation.settled().await;
    let (before, during) = installation
        .observe(async |installation| {
            let pod = installation.pods_of("server").remove(0).name;
            installation.shell(&format!(
                "kubectl delete pod {pod} --grace-period=0 --force"
            ));
            gone(installation, &pod).await;
        })
        .await;
    figures::note(
        "a server's pod killed hard (no grace)",
        before,
        during.clone(),
    );
    report(&during);
}

/// Waits until a pod is not listed any more.
async fn gone(installation: &Installation, name: &str) {
    until_within(ARRIVAL, "the pod is gone", async || {
        installation
            .pods()
            .iter()
            .all(|pod| pod.name != name)
            .then_some(())
    })
    .await;
}

/// The same rollout as an upgrade's, of pods that are killed at once: the suite does see what is lost.
async fn without_drain(installation: &mut Installation) {
    for (deployment, container) in [
        ("ask2do-token", "server"),
        ("ask2do-token-gateway", "gateway"),
    ] {
        let container = json!({"name": container, "lifecycle": null});
        let pod = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
        let patch = json!({"spec": {"template": {"spec": pod}}});
        installation.shell(&format!(
            "kubectl patch deployment {deployment} --patch '{patch}'"
        ));
    }
    let rolled = "for one in ask2do-token ask2do-token-gateway; do
        kubectl rollout status deployment $one --timeout=180s
    done";
    installation.shell(rolled);
    installation.settled().await;
    let (before, during) = installation
        .observe(async |installation| {
            installation
                .shell("kubectl rollout restart deployment ask2do-token ask2do-token-gateway");
            installation.shell(rolled);
        })
        .await;
    figures::note(
        "control: an upgrade without preStop and drain",
        before,
        during.clone(),
    );
    report(&during);
    assert!(during.failed() > 0, "the suite does not see failures");
}

fn report(during: &Window) {
    for Lane { name, .. } in LANES {
        let report = during.lane(name);
        println!(
            "{name}: {} of {} failed: {:?}",
            report.failed, report.calls, report.reasons
        );
        for failure in &report.failures {
            println!("  {failure}");
        }
    }
}
