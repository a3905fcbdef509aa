//! What objects are called: names that Kubernetes takes, of their own for each release, and the same after any upgrade.

use std::collections::BTreeSet;

use ask2do_token_tests::suite::Suite;
use serde_json::Value;

use crate::helm::{Helm, documents, find, helm, name, value_set, value_sets};

/// The longest name of a release that helm takes.
const LONGEST_RELEASE: &str = "a-release-with-the-longest-name-that-helm-will-accept";

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "every release's name makes names that Kubernetes takes",
        || async {
            let helm = helm()?;
            let long_name = format!("nameOverride={:?}", "n".repeat(63));
            let whole_name = format!("fullnameOverride={:?}", "f".repeat(63));
            for (release, set) in [
                (LONGEST_RELEASE, vec![]),
                ("r", vec![long_name]),
                ("r", vec![whole_name]),
                ("with.dots", vec![]),
                ("my-ask2do-token", vec![]),
            ] {
                for object in rendered(&helm, release, &set) {
                    let called = object["metadata"]["name"].as_str().unwrap();
                    let longest = if object["kind"] == "Service" { 63 } else { 253 };
                    assert!(called.len() <= longest, "{called}");
                    assert!(is_label(called), "{called}");
                    let labels = object["metadata"]["labels"].as_object();
                    for value in labels.into_iter().flat_map(|labels| labels.values()) {
                        assert!(value.as_str().unwrap().len() <= 63, "{value}");
                    }
                }
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "a release whose name holds the chart's is not called so twice",
        || async {
            let objects = rendered(&helm()?, "my-ask2do-token", &[]);
            find(&objects, "Deployment/my-ask2do-token");
            let objects = rendered(&helm()?, "panel", &[]);
            find(&objects, "Deployment/panel-ask2do-token");
            find(&objects, "Deployment/panel-ask2do-token-gateway");
            Ok(())
        },
    );
    suite.case_where_possible(
        "two releases in one namespace share no object and no pod",
        || async {
            let helm = helm()?;
            let of = |release| -> (BTreeSet<String>, BTreeSet<String>) {
                let objects = rendered(&helm, release, &["extraObjects=[]".to_owned()]);
                let selectors = objects.iter().filter_map(selector);
                (
                    objects.iter().map(name).collect(),
                    selectors.map(ToString::to_string).collect(),
                )
            };
            let (one, other) = (of("one"), of("other"));
            assert!(one.0.is_disjoint(&other.0), "{:?}", one.0);
            assert!(one.1.len() >= 2 && one.1.is_disjoint(&other.1));
            Ok(())
        },
    );
    suite.case_where_possible(
        "no values change what a Deployment selects, which Kubernetes forbids",
        || async {
            let helm = helm()?;
            let mut selectors = BTreeSet::new();
            for (_, values) in value_sets() {
                let objects = helm.objects(&values, &[]);
                let server = find(&objects, "Deployment/ask2do-token");
                selectors.insert(selector(server).unwrap().to_string());
            }
            let upgrades = [
                r#"commonLabels={"app.kubernetes.io/component":"x","team":"y"}"#,
                r#"server.podLabels={"app.kubernetes.io/name":"x"}"#,
                r#"image.tag="2.0.0""#,
            ];
            let objects = helm.objects(&value_set("minimal"), &upgrades);
            let server = find(&objects, "Deployment/ask2do-token");
            selectors.insert(selector(server).unwrap().to_string());
            assert_eq!(selectors.len(), 1, "{selectors:#?}");
            // Nor can a pod's labels be such that its Deployment does not find it.
            let labels = &server["spec"]["template"]["metadata"]["labels"];
            for (key, value) in selector(server).unwrap().as_object().unwrap() {
                assert_eq!(&labels[key], value);
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "whatever it makes lies in its own namespace, so that rights there are enough",
        || async {
            // Cluster-wide kinds that charts are wont to bring.
            let cluster_wide = [
                "ClusterRole",
                "ClusterRoleBinding",
                "CustomResourceDefinition",
                "Namespace",
                "PriorityClass",
                "ValidatingWebhookConfiguration",
            ];
            let helm = helm()?;
            for (set, values) in value_sets() {
                for object in helm.objects(&values, &["extraObjects=[]"]) {
                    let kind = object["kind"].as_str().unwrap();
                    assert!(!cluster_wide.contains(&kind), "{set}: {kind}");
                    assert!(!kind.contains("Role"), "{set}: it needs no rights: {kind}");
                    assert_eq!(
                        object["metadata"]["namespace"],
                        "ask2do",
                        "{}",
                        name(&object)
                    );
                }
            }
            Ok(())
        },
    );
}

/// The gateway's values, rendered for a release of this name.
fn rendered(helm: &Helm, release: &str, set: &[String]) -> Vec<Value> {
    documents(
        &helm
            .template_as(release, &value_set("gateway"), set)
            .unwrap(),
    )
}

/// RFC 1035, as Services want it.
fn is_label(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(is_plain)
}

/// What a Deployment selects.
fn selector(object: &Value) -> Option<&Value> {
    let is_deployment = object["kind"] == "Deployment";
    object
        .pointer("/spec/selector/matchLabels")
        .filter(|_| is_deployment)
}
