//! What every pod, Service and ConfigMap keeps to, whatever the values.

use ask2do_token_tests::suite::Suite;
use serde_json::{Value, json};

use crate::helm::{find, helm, name, value_set, value_sets};

pub(crate) fn cases(suite: &mut Suite) {
    for (set, values) in value_sets() {
        suite.case_where_possible(format!("every pod of {set} is hardened"), async move || {
            let objects = helm()?.objects(&values, &[]);
            let pods: Vec<_> = objects.iter().filter_map(pod).collect();
            assert!(pods.len() >= 2, "the server's and the test's");
            for (name, pod) in pods {
                is_hardened(&name, pod);
            }
            Ok(())
        });
    }
    suite.case_where_possible("the tenant key is a file of the server alone", || async {
        let objects = helm()?.objects(&value_set("gateway"), &[]);
        for object in &objects {
            if object.to_string().contains("ask2do-tenant-key") {
                assert_eq!(name(object), "Deployment/ask2do-token");
                let container = &object["spec"]["template"]["spec"]["containers"][0];
                assert!(!container["env"].to_string().contains("ask2do-tenant-key"));
            }
        }
        Ok(())
    });
    suite.case_where_possible(
        "server and gateway have accounts of their own, whose tokens nobody mounts",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            for account in ["ask2do-token", "ask2do-token-gateway"] {
                let made = find(&objects, &format!("ServiceAccount/{account}"));
                assert_eq!(made["automountServiceAccountToken"], false);
                let deployment = find(&objects, &format!("Deployment/{account}"));
                let pod = &deployment["spec"]["template"]["spec"];
                assert_eq!(pod["serviceAccountName"], account);
            }
            Ok(())
        },
    );
    suite.case_where_possible("an image by digest is pinned in every pod", || async {
        let digest = format!("sha256:{}", "0".repeat(64));
        let set = format!("image.digest=\"{digest}\"");
        let objects = helm()?.objects(&value_set("gateway"), &[&set]);
        for (name, pod) in objects.iter().filter_map(pod) {
            for container in pod["containers"].as_array().unwrap() {
                let image = container["image"].as_str().unwrap();
                assert!(image.ends_with(&format!("@{digest}")), "{name}: {image}");
            }
        }
        Ok(())
    });
    suite.case_where_possible(
        "certificates are for both Services' names, with keys that rotate",
        || async {
            let objects = helm()?.objects(&value_set("full"), &[]);
            let server = &find(&objects, "Certificate/ask2do-token-tls")["spec"];
            let services = ["ask2do-token", "ask2do-token-headless"];
            let suffixes = ["", ".ask2do", ".ask2do.svc", ".ask2do.svc.cluster.local"];
            let names = services.map(|service| suffixes.map(|suffix| format!("{service}{suffix}")));
            let mut wanted: Vec<_> = names.concat();
            wanted.push("token.panel.example".to_owned());
            assert_eq!(server["dnsNames"], json!(wanted));
            assert_eq!(
                server["usages"],
                json!(["digital signature", "server auth"])
            );
            let gateway = &find(&objects, "Certificate/ask2do-token-gateway-identity")["spec"];
            for certificate in [server, gateway] {
                assert_eq!(certificate["privateKey"]["rotationPolicy"], "Always");
            }
            assert_eq!(
                gateway["usages"],
                json!(["digital signature", "client auth"])
            );
            assert_eq!(
                gateway["uris"],
                json!(["spiffe://example/ns/panel/sa/ask2do-gateway"])
            );
            Ok(())
        },
    );
    suite.case_where_possible(
        "settings that need quotes are TOML all the same",
        || async {
            let set = r#"gateway.config.session.role_map={"a \"b\" c":"owner","d.e":"admin"}"#;
            let objects = helm()?.objects(&value_set("gateway"), &[set]);
            let toml =
                find(&objects, "ConfigMap/ask2do-token-gateway")["data"]["gateway.toml"].clone();
            let settings: toml::Table = toml.as_str().unwrap().parse().unwrap();
            let map = settings["session"]["role_map"].as_table().unwrap();
            assert_eq!(map["a \"b\" c"].as_str(), Some("owner"));
            assert_eq!(map["d.e"].as_str(), Some("admin"));
            Ok(())
        },
    );
}

/// An object's pod, if it makes any: its name, and the pod's `spec`.
fn pod(object: &Value) -> Option<(String, &Value)> {
    let pod = match object["kind"].as_str()? {
        "Pod" => &object["spec"],
        "Deployment" => &object["spec"]["template"]["spec"],
        "Job" | "DaemonSet" | "StatefulSet" | "CronJob" => {
            panic!("not looked at: {}", name(object))
        }
        _ => return None,
    };
    Some((name(object), pod))
}

/// What Pod Security `restricted` asks for, and what goes beyond it.
fn is_hardened(name: &str, pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
    assert_eq!(pod["enableServiceLinks"], false, "{name}");
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true, "{name}");
    assert_eq!(context["runAsUser"], 65532, "{name}");
    assert_eq!(context["fsGroup"], 65532, "{name}");
    assert_eq!(
        context["seccompProfile"]["type"], "RuntimeDefault",
        "{name}"
    );
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
        for bound in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                assert!(
                    container["resources"][bound][resource].is_string(),
                    "{name}"
                );
            }
        }
        for mount in container["volumeMounts"].as_array().unwrap() {
            // A subPath never sees a changed Secret.
            assert!(mount.get("subPath").is_none(), "{name}");
            assert_eq!(mount["readOnly"], true, "{name}");
        }
    }
    for volume in pod["volumes"].as_array().unwrap() {
        if let Some(secret) = volume.get("secret") {
            // Octal in Kubernetes' YAML, text in today's.
            let mode = &secret["defaultMode"];
            assert!(*mode == 0o440 || *mode == "0440", "{name}: {mode}");
        }
    }
}
