//! What upgrades, node drains and load balancers rest on.

use ask2do_token_tests::suite::Suite;
use serde_json::{Value, json};

use crate::helm::{find, helm, value_set};

const WORKLOADS: [(&str, i64); 2] = [("ask2do-token", 9090), ("ask2do-token-gateway", 9091)];

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "an upgrade takes no pod away before its successor is ready",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            for (deployment, _) in WORKLOADS {
                let spec = &find(&objects, &format!("Deployment/{deployment}"))["spec"];
                assert_eq!(spec["replicas"], 2);
                assert_eq!(
                    spec["strategy"],
                    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
                );
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "a pod's end waits for load balancers first, and then for its calls",
        || async {
            let set = [
                "server.preStopSeconds=7",
                r#"server.config.shutdown={"settle":"1500ms","drain":"1m"}"#,
                "server.terminationGracePeriodSeconds=69",
            ];
            let objects = helm()?.objects(&value_set("minimal"), &set);
            let pod = pod(&objects, "ask2do-token");
            assert_eq!(pod["terminationGracePeriodSeconds"], 69);
            let lifecycle = &pod["containers"][0]["lifecycle"];
            assert_eq!(lifecycle, &json!({"preStop": {"sleep": {"seconds": 7}}}));
            // Kubernetes 1.30 takes no sleep of 0.
            let objects = helm()?.objects(&value_set("minimal"), &["server.preStopSeconds=0"]);
            let container = &self::pod(&objects, "ask2do-token")["containers"][0];
            assert!(container.get("lifecycle").is_none());
            Ok(())
        },
    );
    suite.case_where_possible(
        "probes ask the admin port, which needs no certificate",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            for (deployment, admin) in WORKLOADS {
                let container = &pod(&objects, deployment)["containers"][0];
                let ports = container["ports"].as_array().unwrap();
                assert!(
                    ports
                        .iter()
                        .any(|port| port["name"] == "admin" && port["containerPort"] == admin)
                );
                for (probe, path) in [
                    ("startupProbe", "/livez"),
                    ("livenessProbe", "/livez"),
                    ("readinessProbe", "/readyz"),
                ] {
                    assert_eq!(
                        container[probe]["httpGet"],
                        json!({"path": path, "port": "admin"})
                    );
                }
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "a node drain takes one pod at a time, and always one that serves nobody",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            for (deployment, _) in WORKLOADS {
                let budget = &find(&objects, &format!("PodDisruptionBudget/{deployment}"))["spec"];
                assert_eq!(budget["maxUnavailable"], 1);
                assert_eq!(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow");
                let workload = &find(&objects, &format!("Deployment/{deployment}"))["spec"];
                assert_eq!(budget["selector"], workload["selector"]);
            }
            Ok(())
        },
    );
    suite.case_where_possible("pods are spread over nodes and zones", || async {
        let objects = helm()?.objects(&value_set("gateway"), &[]);
        for (deployment, _) in WORKLOADS {
            let constraints = pod(&objects, deployment)["topologySpreadConstraints"].clone();
            let keys: Vec<_> = constraints
                .as_array()
                .unwrap()
                .iter()
                .map(|constraint| {
                    // A cluster of one node, or without zones, takes them all the same.
                    assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
                    constraint["topologyKey"].as_str().unwrap()
                })
                .collect();
            assert_eq!(
                keys,
                ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
            );
        }
        Ok(())
    });
    suite.case_where_possible(
        "with an autoscaler the Deployment names no replicas",
        || async {
            let objects = helm()?.objects(&value_set("full"), &[]);
            for (deployment, _) in WORKLOADS {
                let workload = find(&objects, &format!("Deployment/{deployment}"));
                assert!(workload["spec"].get("replicas").is_none());
                let autoscaler = find(&objects, &format!("HorizontalPodAutoscaler/{deployment}"));
                let spec = &autoscaler["spec"];
                assert_eq!(spec["scaleTargetRef"]["name"], deployment);
                assert_eq!(spec["metrics"][0]["resource"]["name"], "cpu");
                assert!(spec["behavior"]["scaleUp"].is_object());
                assert!(spec["behavior"]["scaleDown"].is_object());
            }
            let autoscaler = find(&objects, "HorizontalPodAutoscaler/ask2do-token");
            assert_eq!(autoscaler["spec"]["minReplicas"], 3);
            Ok(())
        },
    );
    suite.case_where_possible(
        "a change of callers keeps the pods, any other replaces them",
        || async {
            let helm = helm()?;
            let template = |set: &[&str]| {
                let objects = helm.objects(&value_set("gateway"), set);
                WORKLOADS.map(|(deployment, _)| {
                    find(&objects, &format!("Deployment/{deployment}"))["spec"]["template"].clone()
                })
            };
            let before = template(&[]);
            let callers =
                template(&[r#"callers=[{"name":"x","san":"x.example","roles":["admin"]}]"#]);
            assert_eq!(before, callers);
            let server = template(&[r#"server.config.cloud.timeout="4s""#]);
            assert!(server[0] != before[0] && server[1] == before[1]);
            let gateway = template(&["gateway.config.http.allow_get=true"]);
            assert!(gateway[0] == before[0] && gateway[1] != before[1]);
            Ok(())
        },
    );
}

fn pod<'a>(objects: &'a [Value], deployment: &str) -> &'a Value {
    &find(objects, &format!("Deployment/{deployment}"))["spec"]["template"]["spec"]
}
