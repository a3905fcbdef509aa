//! `values.schema.json`: a misspelt key is an error everywhere, and no value brings a template down.

use std::collections::BTreeSet;

use ask2do_token_tests::suite::Suite;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::helm::{chart, helm, value_set};

/// Places whose keys are Kubernetes' own, or a parent chart's.
const OPEN: &[&str] = &[
    "/definitions/kubernetes",
    "/definitions/containers/items",
    "/definitions/volumes/items",
    "/definitions/volumeSource",
    "/properties/global",
];

/// How templates speak of a value that is not there.
const MISHAPS: &[&str] = &["nil pointer", "wrong type", "<nil>", "%!", "<no value>"];

/// How many helms run at a time.
const AT_A_TIME: usize = 4;

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("no object takes a key that nobody knows", || async {
        let mut open = BTreeSet::new();
        find_open(&schema(), "", &mut open);
        let wanted: BTreeSet<_> = OPEN.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(open, wanted);
    });
    suite.case("schema and values.yaml know the same keys", || async {
        let (mut known, mut given) = (BTreeSet::new(), BTreeSet::new());
        properties(&schema(), &mut Vec::new(), &mut known);
        keys(&values(), &mut Vec::new(), &mut given);
        // What only the user can name.
        let without_default = BTreeSet::from(["global".to_owned()]);
        let unknown: Vec<_> = known.difference(&given).collect();
        assert_eq!(unknown, without_default.iter().collect::<Vec<_>>());
        // Maps with keys of their own have no keys in the schema.
        let within_maps = |key: &&String| {
            !known
                .iter()
                .any(|known| key.starts_with(&format!("{known}.")))
        };
        let undeclared: Vec<_> = given.difference(&known).filter(within_maps).collect();
        assert!(undeclared.is_empty(), "{undeclared:?}");
    });
    suite.case_where_possible(
        "a value that is null renders, or is asked for by its name",
        || async {
            let helm = helm()?;
            let mut paths = BTreeSet::new();
            keys(&values(), &mut Vec::new(), &mut paths);
            assert!(paths.len() > 150);
            let answers = stream::iter(paths).map(|path| {
                let helm = helm.clone();
                tokio::task::spawn_blocking(move || {
                    let answer = helm.template(&value_set("full"), &[&format!("{path}=null")]);
                    (path, answer)
                })
            });
            let answers: Vec<_> = answers.buffered(AT_A_TIME).collect().await;
            for answer in answers {
                let (path, answer) = answer.unwrap();
                let (Ok(said) | Err(said)) = &answer;
                for mishap in MISHAPS {
                    assert!(!said.contains(mishap), "{path}: {mishap}: {said}");
                }
                let last = path.rsplit('.').next().unwrap();
                assert!(answer.is_ok() || said.contains(last), "{path}: {said}");
            }
            Ok(())
        },
    );
}

fn schema() -> Value {
    serde_json::from_slice(&std::fs::read(chart().join("values.schema.json")).unwrap()).unwrap()
}

fn values() -> Value {
    serde_yaml_ng::from_slice(&std::fs::read(chart().join("values.yaml")).unwrap()).unwrap()
}

/// Objects that say nothing of further keys.
fn find_open(schema: &Value, path: &str, open: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
                open.insert(path.to_owned());
            }
            for (key, value) in object {
                find_open(value, &format!("{path}/{key}"), open);
            }
        }
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                find_open(value, &format!("{path}/{index}"), open);
            }
        }
        _ => {}
    }
}

/// `server.service.port`, ... of a schema. The programs' settings are another test's.
fn properties(schema: &Value, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        path.push(key.clone());
        found.insert(path.join("."));
        if key != "config" && path.join(".") != "test.mint" {
            properties(schema, path, found);
        }
        path.pop();
    }
}

/// The same of values.
fn keys(values: &Value, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    for (key, value) in values.as_object().into_iter().flatten() {
        path.push(key.clone());
        found.insert(path.join("."));
        keys(value, path, found);
        path.pop();
    }
}
