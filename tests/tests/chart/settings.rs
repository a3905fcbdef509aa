//! The schema knows exactly the settings that the programs know, less those that are the chart's own.

use std::collections::BTreeSet;

use ask2do_token_runtime::config::reference;
use ask2do_token_tests::suite::Suite;
use serde_json::Value;

use crate::helm::{chart, find, helm, value_sets};

/// What the chart sets itself: files that it mounts, ports that its Services name, callers with a file of their own.
const OF_THE_CHART: &[&str] = &[
    "allow_any_caller",
    "callers_file",
    "callers.name",
    "callers.san",
    "callers.roles",
    "grpc.listen",
    "grpc.certificate_file",
    "grpc.private_key_file",
    "grpc.client_ca_file",
    "cloud.tenant_key_file",
    "admin.listen",
    "http.listen",
    "service.ca_file",
    "service.certificate_file",
    "service.private_key_file",
];

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("the schema knows the server's settings", || async {
        same(
            "server",
            &reference::<ask2do_token_server::config::Config>(),
        );
    });
    suite.case("the schema knows the gateway's settings", || async {
        same(
            "gateway",
            &reference::<ask2do_token_gateway::config::Config>(),
        );
    });
    suite.case_where_possible(
        "what is rendered is TOML with the chart's own paths",
        || async {
            let helm = helm()?;
            for (name, values) in value_sets() {
                let objects = helm.objects(&values, &[]);
                let data = &find(&objects, "ConfigMap/ask2do-token")["data"];
                let table = |key: &str| data[key].as_str().unwrap().parse::<toml::Table>().unwrap();
                let server = table("server.toml");
                assert_eq!(
                    server["callers_file"].as_str(),
                    Some("callers.toml"),
                    "{name}"
                );
                assert!(
                    !table("callers.toml")["callers"]
                        .as_array()
                        .unwrap()
                        .is_empty()
                );
            }
            Ok(())
        },
    );
}

fn same(program: &str, reference: &str) {
    let schema: Value =
        serde_json::from_slice(&std::fs::read(chart().join("values.schema.json")).unwrap())
            .unwrap();
    let mut known = BTreeSet::new();
    leaves(
        &schema["properties"][program]["properties"]["config"],
        "",
        &mut known,
    );
    let wanted: BTreeSet<_> = documented(reference)
        .into_iter()
        .filter(|key| !OF_THE_CHART.contains(&key.as_str()))
        .collect();
    assert!(wanted.len() > 10, "{wanted:?}");
    assert_eq!(known, wanted);
}

/// `cloud.url`, ... of a schema. A table whose keys are the user's own is one key.
fn leaves(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            assert_eq!(
                schema["additionalProperties"], false,
                "{path} takes anything"
            );
            for (key, schema) in properties {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(schema, &path, keys);
            }
        }
        None => {
            keys.insert(path.to_owned());
        }
    }
}

/// The same of a reference: headings name tables, the first column keys.
fn documented(reference: &str) -> BTreeSet<String> {
    let mut table = String::new();
    let mut is_open = false;
    let mut keys = BTreeSet::new();
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            table = heading.trim_matches(['`', '[', ']']).to_owned();
            if heading == "Top level" {
                table.clear();
            }
            is_open = true;
        } else if let Some(key) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next())
        {
            keys.insert(if table.is_empty() {
                key.to_owned()
            } else {
                format!("{table}.{key}")
            });
            is_open = false;
        } else if is_open && line.contains("The keys are your own") {
            keys.insert(table.clone());
        }
    }
    keys
}
