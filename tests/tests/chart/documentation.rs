//! The values that the docs show.

use std::io::Write as _;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::suite::Suite;
use serde_json::Value;

use crate::helm::{chart, helms, value_set};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "three lines of values are enough, as the docs show them",
        || async {
            for page in ["docs/kubernetes.md", "helm/README.md"] {
                let block = blocks(page)
                    .into_iter()
                    .find(|block| block.contains("tenantKey:"))
                    .unwrap();
                let lines = block.lines().filter(|line| !line.starts_with('#')).count();
                assert_eq!(lines, 3, "{page}: {block}");
                for helm in helms()? {
                    helm.template::<&str>(file(&block).path(), &[]).unwrap();
                }
            }
            Ok(())
        },
    );
    suite.case_where_possible("all values that the docs show render", || async {
        let mut shown = 0;
        for block in blocks("docs/kubernetes.md") {
            let values: Value = serde_yaml_ng::from_str(&block).unwrap();
            if values.get("apiVersion").is_some() {
                // An object of somebody else's.
                continue;
            }
            for helm in helms()? {
                let values = file(&over_the_minimum(&values));
                let answer = helm.template::<&str>(values.path(), &[]);
                answer.unwrap_or_else(|error| panic!("{block}: {error}"));
            }
            shown += 1;
        }
        assert!(shown >= 5, "{shown}");
        Ok(())
    });
    suite.case("every value is explained", || async {
        let table = std::fs::read_to_string(chart().join("README.md")).unwrap();
        let silent: Vec<_> = table
            .lines()
            .filter(|line| line.starts_with("| ") && line.ends_with("|  |"))
            .collect();
        assert!(silent.is_empty(), "{silent:#?}");
    });
}

/// The required values, but for those that are shown.
fn over_the_minimum(shown: &Value) -> String {
    let minimal = std::fs::read_to_string(value_set("minimal")).unwrap();
    let mut values: Value = serde_yaml_ng::from_str(&minimal).unwrap();
    for (key, value) in shown.as_object().unwrap() {
        values[key] = value.clone();
    }
    values.to_string()
}

fn file(values: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(values.as_bytes()).unwrap();
    file
}

/// The YAML that a page shows.
fn blocks(page: &str) -> Vec<String> {
    let page = std::fs::read_to_string(workspace().join(page)).unwrap();
    page.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}
