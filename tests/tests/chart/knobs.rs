//! Values that are passed on: each lands where Kubernetes looks for it, and nowhere else.

use ask2do_token_tests::suite::Suite;
use serde_json::{Value, json};

use crate::helm::{find, helm, value_set};

/// The value, what of it is looked at, and what must stand there.
type Knob = (&'static str, &'static str, Value);

/// Of both Deployments; `WORKLOAD` is `server` or `gateway`.
fn of_a_workload() -> Vec<Knob> {
    let pod = "/spec/template/spec";
    let knobs = [
        (
            r#"deploymentAnnotations={"a":"b"}"#,
            "/metadata/annotations",
            json!({"a": "b"}),
        ),
        (
            r#"podAnnotations={"a":"b"}"#,
            "/spec/template/metadata/annotations/a",
            json!("b"),
        ),
        (
            r#"podLabels={"a":"b"}"#,
            "/spec/template/metadata/labels/a",
            json!("b"),
        ),
        ("replicas=5", "/spec/replicas", json!(5)),
        (
            r#"nodeSelector={"a":"b"}"#,
            "{pod}/nodeSelector",
            json!({"a": "b"}),
        ),
        (
            r#"tolerations=[{"key":"k","operator":"Exists"}]"#,
            "{pod}/tolerations",
            json!([{"key": "k", "operator": "Exists"}]),
        ),
        (
            r#"affinity={"nodeAffinity":{"x":"y"}}"#,
            "{pod}/affinity",
            json!({"nodeAffinity": {"x": "y"}}),
        ),
        (
            r#"topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"rack","whenUnsatisfiable":"DoNotSchedule"}]"#,
            "{pod}/topologySpreadConstraints",
            json!([{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]),
        ),
        (
            r#"priorityClassName="high""#,
            "{pod}/priorityClassName",
            json!("high"),
        ),
        (
            r#"serviceAccount.name="x""#,
            "{pod}/serviceAccountName",
            json!("x"),
        ),
        (
            "serviceAccount.create=false",
            "{pod}/serviceAccountName",
            json!("default"),
        ),
        (
            r#"extraEnv=[{"name":"RUST_LOG","value":"debug"}]"#,
            "{pod}/containers/0/env",
            json!([{"name": "RUST_LOG", "value": "debug"}]),
        ),
        (
            r#"extraVolumeMounts=[{"name":"x","mountPath":"/x"}]"#,
            "{pod}/containers/0/volumeMounts/-1",
            json!({"name": "x", "mountPath": "/x"}),
        ),
        (
            r#"extraVolumes=[{"name":"x","emptyDir":{}}]"#,
            "{pod}/volumes/-1",
            json!({"name": "x", "emptyDir": {}}),
        ),
        (
            r#"extraContainers=[{"name":"x","image":"y"}]"#,
            "{pod}/containers/-1",
            json!({"name": "x", "image": "y"}),
        ),
        (
            r#"extraPodSpec={"initContainers":[{"name":"x"}]}"#,
            "{pod}/initContainers",
            json!([{"name": "x"}]),
        ),
        (
            "resources.limits.cpu=null",
            "{pod}/containers/0/resources/limits",
            json!({"memory": "96Mi"}),
        ),
    ];
    let leak = |path: &str| -> &'static str { path.replace("{pod}", pod).leak() };
    knobs
        .map(|(set, path, wanted)| (set, leak(path), wanted))
        .to_vec()
}

pub(crate) fn cases(suite: &mut Suite) {
    for (workload, deployment) in [
        ("server", "Deployment/ask2do-token"),
        ("gateway", "Deployment/ask2do-token-gateway"),
    ] {
        suite.case_where_possible(
            format!("what is set for the pods of the {workload} is theirs"),
            async move || {
                let helm = helm()?;
                for (set, path, wanted) in of_a_workload() {
                    let objects =
                        helm.objects(&value_set("gateway"), &[&format!("{workload}.{set}")]);
                    assert_eq!(at(find(&objects, deployment), path), wanted, "{set}");
                }
                Ok(())
            },
        );
        suite.case_where_possible(
            format!("what is set for the Service of the {workload} is its own"),
            async move || {
                let set = [
                    format!(r#"{workload}.service.type="LoadBalancer""#),
                    format!("{workload}.service.port=444"),
                    format!(r#"{workload}.service.annotations={{"a":"b"}}"#),
                    format!(r#"{workload}.service.extraSpec={{"loadBalancerClass":"x"}}"#),
                ];
                let set = set.each_ref().map(String::as_str);
                let objects = helm()?.objects(&value_set("gateway"), &set);
                let name = deployment.replace("Deployment", "Service");
                let service = find(&objects, &name);
                assert_eq!(service["metadata"]["annotations"], json!({"a": "b"}));
                assert_eq!(service["spec"]["type"], "LoadBalancer");
                assert_eq!(service["spec"]["loadBalancerClass"], "x");
                assert_eq!(service["spec"]["ports"][0]["port"], 444);
                // The admin port is exposed by none of that.
                let admin = find(&objects, &format!("{name}-admin"));
                assert_eq!(admin["spec"]["type"], "ClusterIP");
                assert!(admin["metadata"].get("annotations").is_none());
                Ok(())
            },
        );
    }
    suite.case_where_possible(
        "labels and annotations for every object reach every one",
        || async {
            let helm = helm()?;
            let set = [
                r#"commonLabels={"team":"a"}"#,
                r#"commonAnnotations={"b":"c"}"#,
                "extraObjects=[]",
            ];
            let mut objects = helm.objects(&value_set("full"), &set);
            objects.extend(helm.objects(&value_set("gateway"), &set));
            for object in objects {
                assert_eq!(
                    at(&object, "/metadata/labels/team"),
                    "a",
                    "{}",
                    crate::helm::name(&object)
                );
                assert_eq!(
                    at(&object, "/metadata/annotations/b"),
                    "c",
                    "{}",
                    crate::helm::name(&object)
                );
                if object["kind"] == "Deployment" {
                    assert_eq!(at(&object, "/spec/template/metadata/labels/team"), "a");
                }
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "a new version of the chart alone replaces no pod",
        || async {
            let objects = helm()?.objects(&value_set("gateway"), &[]);
            for object in objects
                .iter()
                .filter(|object| object["kind"] == "Deployment")
            {
                let labels = at(object, "/spec/template/metadata/labels");
                assert!(labels.get("helm.sh/chart").is_none(), "{labels}");
            }
            Ok(())
        },
    );
    suite.case_where_possible("both address families reach every port", || async {
        let set = [
            r#"listenAddress="[::]""#,
            r#"ipFamilyPolicy="PreferDualStack""#,
            r#"ipFamilies=["IPv6","IPv4"]"#,
        ];
        let objects = helm()?.objects(&value_set("gateway"), &set);
        for object in objects.iter().filter(|object| object["kind"] == "Service") {
            assert_eq!(at(object, "/spec/ipFamilyPolicy"), "PreferDualStack");
            assert_eq!(at(object, "/spec/ipFamilies"), json!(["IPv6", "IPv4"]));
        }
        for (map, file, tables) in [
            ("ask2do-token", "server.toml", ["grpc", "admin"]),
            ("ask2do-token-gateway", "gateway.toml", ["http", "admin"]),
        ] {
            let toml = at(find(&objects, &format!("ConfigMap/{map}")), "/data");
            let toml: toml::Table = toml[file].as_str().unwrap().parse().unwrap();
            for table in tables {
                let listen = toml[table]["listen"].as_str().unwrap();
                assert!(listen.starts_with("[::]:"), "{listen}");
                listen.parse::<std::net::SocketAddr>().unwrap();
            }
        }
        Ok(())
    });
    suite.case_where_possible("a cluster that assigns users is left to do so", || async {
        let set = [r#"podSecurityContext={"runAsUser":null,"runAsGroup":null,"fsGroup":null}"#];
        for object in helm()?.objects(&value_set("gateway"), &set) {
            let context = match object["kind"].as_str().unwrap() {
                "Deployment" => at(&object, "/spec/template/spec/securityContext"),
                "Pod" => at(&object, "/spec/securityContext"),
                _ => continue,
            };
            for key in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(context.get(key).is_none(), "{context}");
            }
            assert_eq!(context["runAsNonRoot"], true);
            assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        }
        // Such users' numbers are large, and stay whole numbers.
        let set = ["podSecurityContext.runAsUser=1000650000"];
        let objects = helm()?.objects(&value_set("minimal"), &set);
        let server = find(&objects, "Deployment/ask2do-token");
        assert_eq!(
            at(server, "/spec/template/spec/securityContext/runAsUser"),
            1_000_650_000
        );
        Ok(())
    });
    suite.case_where_possible("certificates may come from a volume that somebody else fills", || async {
        let set = [
            r#"tls={"volume":{"emptyDir":{"medium":"Memory"}}}"#,
            r#"tls.existingSecret="""#,
            r#"gateway.identity={"existingSecret":"","volume":{"csi":{"driver":"spiffe.csi.cert-manager.io","readOnly":true}}}"#,
            r#"gateway.serverCA.existingConfigMap="bundle""#,
        ];
        let objects = helm()?.objects(&value_set("gateway"), &set);
        let volume = |deployment: &str, name: &str| {
            let volumes = at(find(&objects, deployment), "/spec/template/spec/volumes");
            let volumes = volumes.as_array().unwrap().clone();
            volumes.into_iter().find(|volume| volume["name"] == name).unwrap()
        };
        assert_eq!(
            volume("Deployment/ask2do-token", "tls"),
            json!({"name": "tls", "emptyDir": {"medium": "Memory"}})
        );
        let driver = &volume("Deployment/ask2do-token-gateway", "identity")["csi"]["driver"];
        assert_eq!(driver, "spiffe.csi.cert-manager.io");
        Ok(())
    });
    suite.case_where_possible("traces go where OpenTelemetry's variables say", || async {
        let objects = helm()?.objects(&value_set("full"), &[]);
        for deployment in ["Deployment/ask2do-token", "Deployment/ask2do-token-gateway"] {
            let env = at(find(&objects, deployment), "/spec/template/spec/containers/0/env");
            let of = |name: &str| {
                let all = env.as_array().unwrap();
                let variable = all.iter().find(|variable| variable["name"] == name);
                variable.unwrap_or_else(|| panic!("no {name}")).clone()
            };
            assert_eq!(of("OTEL_EXPORTER_OTLP_ENDPOINT")["value"], "https://collector.observability:4318");
            assert_eq!(of("OTEL_EXPORTER_OTLP_PROTOCOL")["value"], "http/protobuf");
            assert_eq!(of("OTEL_TRACES_SAMPLER")["value"], "parentbased_traceidratio");
            assert_eq!(of("OTEL_TRACES_SAMPLER_ARG")["value"], "0.1");
            assert_eq!(of("OTEL_EXPORTER_OTLP_CERTIFICATE")["value"], "/etc/ask2do-token/otel-ca/ca.crt");
            assert_eq!(
                of("OTEL_EXPORTER_OTLP_HEADERS")["valueFrom"]["secretKeyRef"],
                json!({"name": "otlp-headers", "key": "headers"})
            );
            assert_eq!(
                of("OTEL_RESOURCE_ATTRIBUTES")["value"],
                "k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(NAMESPACE),deployment.environment.name=production"
            );
        }
        let objects = helm()?.objects(&value_set("minimal"), &[]);
        assert!(!format!("{objects:?}").contains("OTEL_"), "nothing is exported by default");
        Ok(())
    });
    suite.case_where_possible("monitors scrape the admin ports, and the operator finds them", || async {
        for (set, values, kind, endpoints) in [
            ("gateway", r#"monitoring.serviceMonitor={"enabled":true,"labels":{"release":"p"},"extraEndpoint":{"scrapeTimeout":"9s"}}"#, "ServiceMonitor", "endpoints"),
            ("full", r#"monitoring.podMonitor={"enabled":true,"labels":{"release":"p"},"extraEndpoint":{"scrapeTimeout":"9s"}}"#, "PodMonitor", "podMetricsEndpoints"),
        ] {
            let objects = helm()?.objects(&value_set(set), &[values]);
            for name in ["ask2do-token", "ask2do-token-gateway"] {
                let monitor = find(&objects, &format!("{kind}/{name}"));
                assert_eq!(at(monitor, "/metadata/labels/release"), "p");
                assert_eq!(
                    monitor["spec"][endpoints],
                    json!([{"port": "admin", "path": "/metrics", "interval": "30s", "scrapeTimeout": "9s"}])
                );
            }
        }
        let objects = helm()?.objects(&value_set("full"), &[]);
        let rule = find(&objects, "PrometheusRule/ask2do-token");
        let file = std::fs::read_to_string(crate::helm::chart().join("files/alerts.yaml")).unwrap();
        let file: Value = serde_yaml_ng::from_str(&file).unwrap();
        assert_eq!(rule["spec"], file, "the rules are those that promtool tests");
        let dashboard = find(&objects, "ConfigMap/ask2do-token-ask2do-token");
        assert_eq!(at(dashboard, "/metadata/labels/grafana_dashboard"), "1");
        let json = dashboard["data"]["ask2do-token.json"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(json).unwrap()["panels"].is_array());
        Ok(())
    });
}

/// A JSON pointer's value, where `-1` is the last of a list.
fn at(object: &Value, pointer: &str) -> Value {
    pointer
        .split('/')
        .skip(1)
        .fold(object.clone(), |value, key| match &value {
            Value::Array(array) if key == "-1" => array.last().unwrap().clone(),
            Value::Array(array) => array[key.parse::<usize>().unwrap()].clone(),
            _ => value.get(key).cloned().unwrap_or_default(),
        })
}
