//! What runs beside the service: the simulated cloud, and the load.

use ask2do_token_tests::binaries::workspace;
use serde_json::{Value, json};

use crate::load::{GUEST, LAGGARD, LANES, Lane, PROBES, To};

/// The repository of the service's image.
pub(crate) fn repository() -> String {
    std::env::var("ASK2DO_IMAGE_REPOSITORY")
        .unwrap_or_else(|_| "ghcr.io/ask2do/ask2do-token".to_owned())
}

fn playground_image() -> String {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let manifest: toml::Value = toml::from_str(&manifest).unwrap();
    let version = manifest["workspace"]["package"]["version"]
        .as_str()
        .unwrap();
    format!("{}-playground:{version}", repository())
}

/// The simulated cloud, whose tenant keys are those in the Secret `cloud-keys`.
pub(crate) fn cloud() -> Value {
    let arguments = [
        "cloud",
        "--listen=0.0.0.0:8443",
        "--tenant-key-file=/etc/keys/keys",
        "--certificate-file=/etc/tls/tls.crt",
        "--private-key-file=/etc/tls/tls.key",
    ];
    let volumes = [("keys", "cloud-keys"), ("tls", "cloud-tls")];
    let probe = json!({"path": "/_sim/calls", "port": 8443, "scheme": "HTTPS"});
    let ports = json!([{"name": "https", "port": 8443}]);
    list(vec![
        pod(
            "simulated-cloud",
            &arguments.map(str::to_owned),
            &volumes,
            &probe,
        ),
        service("simulated-cloud", "simulated-cloud", &ports),
    ])
}

/// The load, which plays the panel too: `http://panel:8080/whoami` knows who is logged in.
pub(crate) fn load(namespace: &str) -> Value {
    let pods = format!("url=https://ask2do-token-headless.{namespace}.svc:8443");
    let mut arguments = vec!["load".to_owned(), "--listen=0.0.0.0:8080".to_owned()];
    for Lane { name, rate, to, id } in LANES {
        let to = match to {
            To::Pods => format!("{pods},folder=/etc/callers/panel"),
            To::Service => {
                format!("url=https://ask2do-token.{namespace}.svc:8443,folder=/etc/callers/panel")
            }
            To::Gateway => {
                format!("url=http://ask2do-token-gateway.{namespace}.svc:8080/api/ask2do/token")
            }
        };
        arguments.push(format!("--lane=name={name},rate={rate},{to},id={id}"));
    }
    for name in [GUEST, LAGGARD] {
        let folder = format!("folder=/etc/callers/{name}");
        arguments.push(format!("--lane=name={name},rate={PROBES},{pods},{folder}"));
    }
    let volumes = [
        ("panel", "panel-tls"),
        (GUEST, "guest-tls"),
        (LAGGARD, "laggard-tls"),
    ];
    let probe = json!({"path": "/now", "port": 8080});
    pod("load", &arguments, &volumes, &probe)
}

/// Where the gateway asks who is logged in. It is there before the load is.
pub(crate) fn panel() -> Value {
    service("panel", "load", &json!([{"name": "http", "port": 8080}]))
}

/// The values of the release, as `values.yaml` has them.
pub(crate) fn values() -> Value {
    json!({
        "image": {"repository": repository()},
        "tenantKey": {"existingSecret": "ask2do-tenant-key"},
        "clientCA": {"existingConfigMap": "ask2do-client-ca"},
        "callers": [
            {"name": "panel", "san": "spiffe://example/ns/panel/sa/backend", "roles": ["admin", "owner"]},
            {"name": "gateway", "san": "spiffe://example/ns/panel/sa/ask2do-gateway", "roles": ["admin", "owner"]},
            {"name": LAGGARD, "san": "spiffe://example/ns/panel/sa/laggard", "roles": ["admin"]},
        ],
        "server": {
            "config": {"cloud": {"url": "https://simulated-cloud:8443", "ca_file": "/etc/cloud-ca/ca.crt"}},
            "extraVolumes": [{"name": "cloud-ca", "configMap": {"name": "ask2do-server-ca"}}],
            "extraVolumeMounts": [{"name": "cloud-ca", "mountPath": "/etc/cloud-ca"}],
        },
        "gateway": {
            "enabled": true,
            "identity": {"existingSecret": "ask2do-gateway-tls"},
            "serverCA": {"existingConfigMap": "ask2do-server-ca"},
            "config": {"session": {
                "mode": "forward",
                "forward": {"url": "http://panel:8080/whoami", "allow_plaintext": true},
            }},
        },
        "networkPolicy": {
            "cloudTo": [{"podSelector": {"matchLabels": {"app": "simulated-cloud"}}}],
            "cloudPort": 8443,
            "sessionTo": [{"podSelector": {"matchLabels": {"app": "load"}}}],
            "sessionPort": 8080,
            // The API server reads the metrics for the tests.
            "metricsFrom": [{"ipBlock": {"cidr": "0.0.0.0/0"}}],
        },
    })
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn service(name: &str, app: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": ports},
    })
}

/// A pod of the playground's image, hardened as `restricted` asks.
fn pod(name: &str, arguments: &[String], volumes: &[(&str, &str)], probe: &Value) -> Value {
    let mounts: Vec<_> = volumes
        .iter()
        .map(|(volume, _)| {
            let folder = if name == "load" {
                "/etc/callers"
            } else {
                "/etc"
            };
            json!({"name": volume, "mountPath": format!("{folder}/{volume}"), "readOnly": true})
        })
        .collect();
    let volumes: Vec<_> = volumes
        .iter()
        .map(|(volume, secret)| {
            json!({"name": volume, "secret": {"secretName": secret, "defaultMode": 0o440}})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": name,
                "image": playground_image(),
                "args": arguments,
                "readinessProbe": {"httpGet": probe, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
}
