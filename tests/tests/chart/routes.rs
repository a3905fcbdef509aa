//! The ways in: Services, Ingress, HTTPRoute, TLSRoute.

use ask2do_token_tests::suite::Suite;
use serde_json::json;

use crate::helm::{find, helm, name, value_set};

/// The gateway's one path, unless it is configured.
const PATH: &str = "/api/ask2do/token";

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "no Service but the gateway's own reaches the gateway, and none reaches both",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            for service in objects.iter().filter(|object| object["kind"] == "Service") {
                let component = service.pointer("/spec/selector/app.kubernetes.io~1component");
                let is_gateway = name(service).contains("-gateway");
                assert_eq!(
                    component,
                    Some(&json!(if is_gateway { "gateway" } else { "server" }))
                );
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "gRPC has a Service of one address and one of every pod's, and a mesh leaves its TLS alone",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            let port = |service: &str, port: u16, protocol: &str| {
                let spec = find(&objects, &format!("Service/{service}"))["spec"].clone();
                assert_eq!(spec["ports"].as_array().unwrap().len(), 1, "{service}");
                assert_eq!(spec["ports"][0]["port"], port, "{service}");
                assert_eq!(spec["ports"][0]["appProtocol"], protocol, "{service}");
                (spec["type"].clone(), spec.get("clusterIP").cloned())
            };
            let headless = (json!("ClusterIP"), Some(json!("None")));
            assert_eq!(
                port("ask2do-token", 8443, "tls"),
                (json!("ClusterIP"), None)
            );
            assert_eq!(port("ask2do-token-headless", 8443, "tls"), headless);
            assert_eq!(port("ask2do-token-admin", 9090, "http"), headless);
            assert_eq!(
                port("ask2do-token-gateway", 8080, "http"),
                (json!("ClusterIP"), None)
            );
            assert_eq!(port("ask2do-token-gateway-admin", 9091, "http"), headless);
            Ok(())
        },
    );
    suite.case_where_possible("a gateway with a certificate says so to its proxies", || async {
        let tls = r#"gateway.config.http.tls={"certificate_file":"/x/tls.crt","private_key_file":"/x/tls.key"}"#;
        let objects = helm()?.objects(&value_set("gateway"), &[tls]);
        let service = find(&objects, "Service/ask2do-token-gateway");
        assert_eq!(service["spec"]["ports"][0]["appProtocol"], "https");
        // It is there for its proxy alone: there is no logged-out call to make.
        let tests: Vec<_> = objects
            .iter()
            .filter(|object| object["kind"] == "Pod")
            .map(name)
            .collect();
        assert!(!tests.is_empty());
        assert!(!tests.iter().any(|test| test.contains("logged-out")), "{tests:?}");
        Ok(())
    });
    suite.case_where_possible(
        "the Ingress routes the exact path, and no other",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            let spec = &find(&objects, "Ingress/ask2do-token-gateway")["spec"];
            let service = json!({"name": "ask2do-token-gateway", "port": {"name": "http"}});
            assert_eq!(
                spec["rules"],
                json!([{"host": "panel.example", "http": {"paths": [
                    {"path": PATH, "pathType": "Exact", "backend": {"service": service}}
                ]}}])
            );
            assert_eq!(
                spec["tls"],
                json!([{"secretName": "panel-example-tls", "hosts": ["panel.example"]}])
            );
            Ok(())
        },
    );
    suite.case_where_possible(
        "the HTTPRoute matches the exact path by POST and OPTIONS, and by GET where it is on",
        || async {
            for (set, methods) in [
                ("gateway.config.http.allow_get=false", vec!["POST", "OPTIONS"]),
                ("gateway.config.http.allow_get=true", vec!["POST", "OPTIONS", "GET"]),
            ] {
                let objects = helm()?.objects(&value_set("full"), &[set]);
                let rules = &find(&objects, "HTTPRoute/ask2do-token-gateway")["spec"]["rules"];
                let matches: Vec<_> = methods
                    .iter()
                    .map(|method| json!({"path": {"type": "Exact", "value": PATH}, "method": method}))
                    .collect();
                let backend = json!({"name": "ask2do-token-gateway", "port": 8080});
                assert_eq!(
                    rules,
                    &json!([{"matches": matches, "backendRefs": [backend]}])
                );
            }
            Ok(())
        },
    );
    suite.case_where_possible("a path of one's own is routed everywhere", || async {
        let path = r#"gateway.config.http.path="/token""#;
        let objects = helm()?.objects(&value_set("gateway"), &[path]);
        let rule = find(&objects, "Ingress/ask2do-token-gateway")["spec"]["rules"][0].clone();
        assert_eq!(rule["http"]["paths"][0]["path"], "/token");
        let test = find(&objects, "Pod/ask2do-token-test-logged-out-is-refused").to_string();
        assert!(test.contains("svc:8080/token"), "{test}");
        Ok(())
    });
    suite.case_where_possible(
        "the TLSRoute leads to the gRPC port, by the type that the cluster has",
        || async {
            for version in ["v1", "v1alpha3", "v1alpha2"] {
                let set = format!("tlsRoute.apiVersion=\"gateway.networking.k8s.io/{version}\"");
                let objects = helm()?.objects(&value_set("full"), &[&set]);
                let route = find(&objects, "TLSRoute/ask2do-token");
                assert_eq!(
                    route["apiVersion"],
                    format!("gateway.networking.k8s.io/{version}")
                );
                let backend = json!({"name": "ask2do-token", "port": 8443});
                assert_eq!(route["spec"]["rules"], json!([{"backendRefs": [backend]}]));
                assert_eq!(route["spec"]["hostnames"], json!(["token.panel.example"]));
            }
            Ok(())
        },
    );
}
