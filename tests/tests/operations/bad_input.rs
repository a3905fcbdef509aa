//! Files that cannot work: what was good serves on, a metric and one line of the log say why, and no new pod gets
//! ready by them.

use std::time::Duration;

use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until_within;
use serde_json::json;

use crate::installation::Installation;
use crate::pods::{ARRIVAL, Pod, REPLICAS, ROLLOUT};
use crate::rotations::reloads;
use crate::world::{Pods, Shared};

/// For so long nobody notices that a folder is empty.
const VANISHED: Duration = Duration::from_secs(10);

/// What is wrong, and how it is made and mended.
struct Bad {
    what: &'static str,
    /// The watched files' name in logs and metrics.
    file: &'static str,
    make: &'static str,
    mend: &'static str,
    /// What the one line of a new pod's log names.
    named: &'static [&'static str],
}

const MEND_PAIR: &str = "kubectl create secret tls ask2do-token-tls --cert=server.crt --key=server.key \
    --dry-run=client --output yaml | kubectl replace -f -";

pub(crate) fn cases(suite: &mut Suite, world: &Shared) {
    for bad in [
        Bad {
            what: "a Secret with an empty tenant key",
            file: "tenant_key",
            make: "touch empty; 
                kubectl create secret generic ask2do-tenant-key --from-file=tenant-key=empty \
                  --dry-run=client --output yaml | kubectl replace -f -",
            mend: "kubectl create secret generic ask2do-tenant-key --from-file=tenant-key=tenant-key \
                  --dry-run=client --output yaml | kubectl replace -f -",
            named: &["tenant-key", "empty"],
        },
        Bad {
            what: "an expired certificate",
            file: "certificate",
            make: "kubectl create secret tls ask2do-token-tls --cert=expired.crt --key=expired.key \
                  --dry-run=client --output yaml | kubectl replace -f -",
            mend: MEND_PAIR,
            named: &["tls.crt", "expired"],
        },
        Bad {
            what: "a certificate with another one's key",
            file: "certificate",
            make: "kubectl create secret generic ask2do-token-tls --type=kubernetes.io/tls \
                  --from-file=tls.crt=other.crt --from-file=tls.key=server.key \
                  --dry-run=client --output yaml | kubectl replace -f -",
            mend: MEND_PAIR,
            named: &["tls.crt", "tls.key"],
        },
        Bad {
            what: "a ConfigMap with a syntax error",
            file: "callers",
            make: r#"
                kubectl get configmap ask2do-token --output yaml | sed '/resourceVersion:/d' >good.yaml
                kubectl patch configmap ask2do-token --type merge \
                  --patch '{"data": {"callers.toml": "[[callers]]\nname = "}}'"#,
            mend: "kubectl replace -f good.yaml",
            named: &["callers.toml"],
        },
    ] {
        let name = format!(
            "{} changes nothing that is served, and no new pod starts with it",
            bad.what
        );
        world.case(suite, &name, async move |installation| {
            case(installation, bad).await
        });
    }
    world.case(
        suite,
        "files that vanish for 10 s are missed by nobody but the log",
        vanish,
    );
}

async fn case(installation: &mut Installation, bad: Bad) {
    let pods = installation.pods_of("server");
    let expired = installation.server_leaf().valid(-7200, -3600);
    installation.write_pair("expired", &installation.servers.issue(&expired));
    installation.write_pair(
        "other",
        &installation.servers.issue(&installation.server_leaf()),
    );
    let served = installation.served(&pods[0]).await;
    let failures = format!(r#"ask2do_reload_failures_total{{file="{}"}}"#, bad.file);
    let before = installation.metrics(&pods, &failures);
    let lines = errors(installation, &pods, bad.file);
    let well = installation.metrics(&pods, &reloads(bad.file));

    installation
        .disrupt(bad.what, Pods::Stay, async |installation| {
            installation.shell(bad.make);
            installation.one_more(&pods, &failures, &before).await;
            assert_eq!(installation.served(&pods[0]).await, served);
            // New pods start with what is there now.
            scale(installation, REPLICAS + 1);
            let failed = until_within(ROLLOUT, "the new pod's end", async || {
                let pods = installation.pods_of("server");
                pods.into_iter().find(|pod| pod.exit_code.is_some())
            })
            .await;
            assert_eq!(failed.exit_code, Some(2), "{failed:?}");
            assert!(!failed.ready);
            let log = installation.shell(&format!("kubectl logs {}", failed.name));
            assert_eq!(log.lines().count(), 1, "{log}");
            assert!(bad.named.iter().all(|name| log.contains(name)), "{log}");
            let ready = installation
                .pods_of("server")
                .iter()
                .filter(|pod| pod.ready)
                .count();
            assert_eq!(ready, REPLICAS, "readiness does not hold");

            installation.shell(bad.mend);
            installation
                .one_more(&pods, &reloads(bad.file), &well)
                .await;
            scale(installation, REPLICAS);
        })
        .await;
    for (pod, before) in pods.iter().zip(&before) {
        assert_eq!(
            installation.metric(pod, &failures),
            before + 1.0,
            "told once, {}",
            pod.name
        );
    }
    let now = errors(installation, &pods, bad.file);
    assert_eq!(
        now,
        lines.iter().map(|before| before + 1).collect::<Vec<_>>(),
        "one line each"
    );
}

fn scale(installation: &Installation, replicas: usize) {
    installation.shell(&format!(
        "kubectl scale deployment ask2do-token --replicas={replicas}"
    ));
}

/// How many lines of each pod's log say that these files were refused.
fn errors(installation: &Installation, pods: &[Pod], file: &str) -> Vec<usize> {
    let of_pod = |pod| {
        let log = installation.log(pod);
        log.iter()
            .filter(|record| record["level"] == "ERROR" && record["file"] == file)
            .count()
    };
    pods.iter().map(of_pod).collect()
}

/// A Secret that is mounted as optional: where it goes, the kubelet empties the folder.
async fn vanish(installation: &mut Installation) {
    let mut values = installation.values.clone();
    let server = &mut values["server"];
    let secret = json!({"secretName": "more", "optional": true, "defaultMode": 0o440});
    let volume = json!({"name": "more", "secret": secret});
    server["extraVolumes"].as_array_mut().unwrap().push(volume);
    let mount = json!({"name": "more", "mountPath": "/etc/more", "readOnly": true});
    server["extraVolumeMounts"]
        .as_array_mut()
        .unwrap()
        .push(mount);
    server["extraEnv"] = json!([
        {"name": "ASK2DO_CLOUD__TENANT_KEY_FILE", "value": "/etc/more/tenant-key"},
        {"name": "ASK2DO_GRPC__CERTIFICATE_FILE", "value": "/etc/more/tls.crt"},
        {"name": "ASK2DO_GRPC__PRIVATE_KEY_FILE", "value": "/etc/more/tls.key"},
        {"name": "ASK2DO_GRPC__CLIENT_CA_FILE", "value": "/etc/more/ca.crt"},
    ]);
    installation.write_values(&values);
    installation.shell(
        "kubectl get configmap ask2do-client-ca --output 'jsonpath={.data.ca\\.crt}' >more.crt",
    );
    let make = "kubectl create secret generic more --from-file=tenant-key=tenant-key \
        --from-file=tls.crt=server.crt --from-file=tls.key=server.key --from-file=ca.crt=more.crt";
    installation.shell(make);
    installation.page("upgrade");
    let pods = installation.settled().await;
    let pods: Vec<_> = pods
        .into_iter()
        .filter(|pod| pod.component == "server")
        .collect();
    let files = ["tenant_key", "certificate", "client_ca"];
    let failures = files.map(|file| format!(r#"ask2do_reload_failures_total{{file="{file}"}}"#));
    installation
        .disrupt(
            "all files of a folder gone for 10 s",
            Pods::Stay,
            async |installation| {
                installation.shell("kubectl delete secret more");
                for series in &failures {
                    installation
                        .one_more(&pods, series, &vec![0.0; pods.len()])
                        .await;
                }
                tokio::time::sleep(VANISHED).await;
                installation.shell(make);
                for file in files {
                    until_within(ARRIVAL, "it is back", async || {
                        let back = installation.metrics(&pods, &reloads(file));
                        back.iter().all(|times| *times >= 1.0).then_some(())
                    })
                    .await;
                }
            },
        )
        .await;
    for (file, series) in files.iter().zip(&failures) {
        assert_eq!(installation.metrics(&pods, series), vec![1.0; pods.len()]);
        assert_eq!(errors(installation, &pods, file), vec![1; pods.len()]);
    }
    installation.write_values(&installation.values);
}
