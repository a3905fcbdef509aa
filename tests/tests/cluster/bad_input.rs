//! Secrets that cannot work: the rollout stops, old pods serve on, and the log says why in one line.

use ask2do_token_tests::cluster::{Namespace, SMALL, case_of_each_helm, value_set};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use serde_json::Value;

pub(crate) fn cases(suite: &mut Suite) {
    case_of_each_helm(
        suite,
        "a Secret with an empty tenant key stops the rollout, and the log says why",
        async |helm| {
            let namespace = Namespace::new(&helm, "empty");
            let empty = "--from-literal=tenant-key=";
            namespace.kubectl(&["create", "secret", "generic", "empty", empty]);
            let line = stopped(&namespace, "tenantKey.existingSecret=empty").await;
            assert!(line.contains("tenant") && line.contains("empty"), "{line}");
        },
    );
    case_of_each_helm(
        suite,
        "a Secret with a mismatched pair stops the rollout, and the log says why",
        async |helm| {
            let namespace = Namespace::new(&helm, "pair");
            namespace.pair("mismatched", "server", "gateway");
            let line = stopped(&namespace, "tls.existingSecret=mismatched").await;
            assert!(
                line.contains("tls.crt") && line.contains("tls.key"),
                "{line}"
            );
        },
    );
}

/// Upgrades a working release to that; what the new pod's log says.
async fn stopped(namespace: &Namespace, bad: &str) -> String {
    let minimal = value_set("minimal");
    let values = ["--values", &minimal, "--set", "server.replicas=2"];
    namespace.helm_and_wait("install", &values);
    let good: Vec<_> = ready(&namespace.list("pods"));
    assert_eq!(good.len(), 2);

    let chart = ask2do_token_tests::binaries::workspace().join("helm");
    let chart = chart.display().to_string();
    namespace.helm(
        &[
            &["upgrade", "ask2do-token", &chart],
            &values[..],
            &["--set", bad, SMALL],
        ]
        .concat(),
    );
    let failed = until("the new pod to have failed", async || {
        let pods = namespace.list("pods");
        let pod = pods.iter().find(|pod| exit_code(pod).is_some())?;
        Some(pod.clone())
    })
    .await;
    assert_eq!(
        exit_code(&failed),
        Some(2),
        "a start with mistakes ends with 2"
    );
    let name = failed["metadata"]["name"].as_str().unwrap();
    let log = namespace.kubectl(&["logs", name]);
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 1, "{log}");

    let pods = namespace.list("pods");
    assert_eq!(ready(&pods), good, "the old pods do not serve on");
    lines[0].to_owned()
}

fn ready(pods: &[Value]) -> Vec<String> {
    let is_ready =
        |pod: &&Value| pod.pointer("/status/containerStatuses/0/ready") == Some(&Value::from(true));
    let mut names: Vec<_> = pods
        .iter()
        .filter(is_ready)
        .map(|pod| pod["metadata"]["name"].to_string())
        .collect();
    names.sort();
    names
}

/// How the container ended last, if it did.
fn exit_code(pod: &Value) -> Option<i64> {
    let status = pod.pointer("/status/containerStatuses/0")?;
    ["/state", "/lastState"].iter().find_map(|state| {
        status
            .pointer(&format!("{state}/terminated/exitCode"))?
            .as_i64()
    })
}
