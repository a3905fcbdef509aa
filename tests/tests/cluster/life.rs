//! Install, upgrade, test, uninstall.

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::cluster::{Namespace, RELEASE, SMALL, case_of_each_helm, value_set};
use ask2do_token_tests::suite::Suite;
use serde_json::Value;

/// The gateway beside the demonstration's service. Nobody is asked about a call without a session.
const WITH_GATEWAY: &[&str] = &[
    "--set-json",
    r#"gateway={"enabled":true,"identity":{"existingSecret":"ask2do-gateway-tls"},"config":{"session":{"mode":"forward","forward":{"url":"https://panel/whoami"}}}}"#,
    "--set-json",
    r#"networkPolicy.sessionTo=[{"podSelector":{"matchLabels":{"app":"panel"}}}]"#,
];

pub(crate) fn cases(suite: &mut Suite) {
    case_of_each_helm(
        suite,
        "three replicas install, upgrade to the same, are tested, and leave nothing behind",
        async |helm| {
            let namespace = Namespace::new(&helm, "life");
            let before = inventory(&namespace);
            let demo = value_set("demo");
            let values = [
                &["--values", &demo, "--set", "server.replicas=3"],
                WITH_GATEWAY,
            ]
            .concat();
            let notes = namespace.helm_and_wait("install", &values);
            assert_eq!(of_the_server(&namespace.list("pods")).len(), 3);

            let generations = replica_sets(&namespace);
            namespace.helm_and_wait("upgrade", &values);
            assert_eq!(
                replica_sets(&namespace),
                generations,
                "an identical upgrade made a new one"
            );

            // Strangers refused, health over mTLS, a mint, a logged-out call refused.
            let folder = tempfile::tempdir().unwrap();
            let tested = namespace.shell(folder.path(), next_command(&notes));
            assert_eq!(tested.matches("Succeeded").count(), 4, "{tested}");
            let without_mint = [&values[..], &["--set-json", "test.mint=null"]].concat();
            namespace.helm_and_wait("upgrade", &without_mint);
            assert_eq!(
                replica_sets(&namespace),
                generations,
                "the test's values are no pod's"
            );
            let tested = namespace.helm(&["test", "ask2do-token"]);
            assert_eq!(tested.matches("Succeeded").count(), 3, "{tested}");

            namespace.helm(&["uninstall", "ask2do-token", "--wait"]);
            namespace.kubectl(&["wait", "--for=delete", "pods", "--all", "--timeout=120s"]);
            assert_eq!(inventory(&namespace), before);
        },
    );
    for (set, checks) in [("minimal", 1), ("gateway", 3), ("full", 3)] {
        case_of_each_helm(
            suite,
            &format!("the values of {set} install under restricted, and are tested"),
            async move |helm| {
                let namespace = Namespace::new(&helm, set);
                // There is no cloud here to mint.
                let values = ["--values", &value_set(set), "--set-json", "test.mint=null"];
                namespace.helm_and_wait("install", &values);
                for pod in namespace.list("pods") {
                    let restarts = pod.pointer("/status/containerStatuses/0/restartCount");
                    assert_eq!(
                        restarts,
                        Some(&Value::from(0)),
                        "{}",
                        pod["metadata"]["name"]
                    );
                }
                let tested = namespace.helm(&["test", "ask2do-token"]);
                assert_eq!(tested.matches("Succeeded").count(), checks, "{tested}");
            },
        );
    }
    case_of_each_helm(
        suite,
        "a release is upgraded from any values to any other, and back",
        async |helm| {
            let namespace = Namespace::new(&helm, "upgrade");
            let values = |set: &str| ["--values".to_owned(), value_set(set)];
            let chart = workspace().join("helm").display().to_string();
            for (verb, set) in [
                ("install", "minimal"),
                ("upgrade", "full"),
                ("upgrade", "gateway"),
            ] {
                let [option, file] = values(set);
                namespace.helm(&[verb, RELEASE, &chart, &option, &file, SMALL]);
            }
            let [option, file] = values("minimal");
            namespace.helm_and_wait("upgrade", &[&option, &file]);
            let services: Vec<_> = names(&namespace.list("services"));
            assert_eq!(services.len(), 3, "{services:?}");
        },
    );
}

/// The command that the notes say comes next.
fn next_command(notes: &str) -> &str {
    let (_, rest) = notes.split_once("Next:").unwrap();
    rest.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap()
        .trim()
}

fn of_the_server(pods: &[Value]) -> Vec<&Value> {
    let component = "/metadata/labels/app.kubernetes.io~1component";
    let is_server = |pod: &&Value| pod.pointer(component) == Some(&Value::from("server"));
    pods.iter().filter(is_server).collect()
}

/// Names of the ReplicaSets: a new one is a rollout.
fn replica_sets(namespace: &Namespace) -> Vec<String> {
    names(&namespace.list("replicasets"))
}

/// All that a release could leave.
fn inventory(namespace: &Namespace) -> Vec<String> {
    names(&namespace.list(
        "pods,services,deployments,replicasets,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,ingresses,jobs",
    ))
}

fn names(objects: &[Value]) -> Vec<String> {
    let mut names: Vec<_> = objects
        .iter()
        .map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]))
        .collect();
    names.sort();
    names
}
