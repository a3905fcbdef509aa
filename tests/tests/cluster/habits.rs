//! Clusters with habits of their own.

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::cluster::{Namespace, SMALL, case_of_each_helm, value_set};
use ask2do_token_tests::suite::Suite;
use serde_json::Value;

/// Somebody who may do everything in one namespace, and nothing anywhere else.
const TENANT: &str = "ask2do-tenant";

pub(crate) fn cases(suite: &mut Suite) {
    case_of_each_helm(
        suite,
        "rights in one namespace are enough to install, test and uninstall",
        async |helm| {
            let namespace = Namespace::new(&helm, "tenant");
            let user = format!("--user={TENANT}");
            namespace.kubectl(&[
                "create",
                "rolebinding",
                TENANT,
                "--clusterrole=admin",
                &user,
            ]);
            let as_tenant = ["--kube-as-user", TENANT];
            // Without the operators' types, for which their operators give rights.
            let values = [
                "--values",
                &value_set("gateway"),
                "--set=server.replicas=1,gateway.replicas=1,monitoring.serviceMonitor.enabled=false",
            ];
            namespace.helm_and_wait("install", &[&values[..], &as_tenant].concat());
            let tested = namespace.helm(&[&["test", "ask2do-token"], &as_tenant[..]].concat());
            assert_eq!(tested.matches("Succeeded").count(), 3, "{tested}");
            namespace.helm(&[&["uninstall", "ask2do-token"], &as_tenant[..]].concat());
        },
    );
    case_of_each_helm(
        suite,
        "users that the cluster assigns read what is mounted, and run",
        async |helm| {
            let namespace = Namespace::new(&helm, "users");
            // As OpenShift sets them: a user of the namespace's range, whose group is root's.
            let values = [
                "--values",
                &value_set("gateway"),
                "--set=server.replicas=1,gateway.replicas=1",
                r#"--set-json=podSecurityContext={"runAsUser":1000650000,"runAsGroup":0,"fsGroup":1000650000}"#,
            ];
            namespace.helm_and_wait("install", &values);
            let tested = namespace.helm(&["test", "ask2do-token"]);
            assert_eq!(tested.matches("Succeeded").count(), 3, "{tested}");
        },
    );
    case_of_each_helm(suite, "two releases live in one namespace", async |helm| {
        let namespace = Namespace::new(&helm, "two");
        namespace.pair("other-ask2do-token-tls", "server", "server");
        let values = ["--values", &value_set("minimal"), "--set=server.replicas=1"];
        namespace.helm_and_wait("install", &values);
        let chart = workspace().join("helm").display().to_string();
        namespace.helm(&[&["install", "other", &chart, "--wait", SMALL], &values[..]].concat());
        for release in ["ask2do-token", "other"] {
            let tested = namespace.helm(&["test", release]);
            assert_eq!(tested.matches("Succeeded").count(), 1, "{tested}");
        }
        // What one of them leaves is whole.
        namespace.helm(&["uninstall", "ask2do-token", "--wait"]);
        let tested = namespace.helm(&["test", "other"]);
        assert_eq!(tested.matches("Succeeded").count(), 1, "{tested}");
    });
    case_of_each_helm(
        suite,
        "helm test fails where a caller would be turned away, and its log says so",
        async |helm| {
            let namespace = Namespace::new(&helm, "refused");
            let values = ["--values", &value_set("minimal"), "--set=server.replicas=1"];
            // A certificate for servers is none for callers.
            let identity = "--set=test.identity.existingSecret=ask2do-token-tls";
            namespace.helm_and_wait("install", &[&values[..], &[identity]].concat());
            namespace.helm_fails(&["test", "ask2do-token"]);
            let pods = namespace.list("pods");
            let failed: Vec<_> = pods
                .iter()
                .filter(|pod| pod.pointer("/status/phase") == Some(&Value::from("Failed")))
                .map(|pod| pod["metadata"]["name"].as_str().unwrap())
                .collect();
            assert_eq!(failed, ["ask2do-token-test-health-over-mtls"]);
            let log = namespace.kubectl(&["logs", failed[0]]);
            assert!(log.contains("SERVICE_UNAVAILABLE"), "{log}");
        },
    );
}
