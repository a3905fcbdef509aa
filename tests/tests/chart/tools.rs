//! What the tools of the trade say: helm's own linter, kubeconform, kube-score, helm-docs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ask2do_token_tests::binaries::on_path;
use ask2do_token_tests::suite::{CannotRun, Suite};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::helm::{chart, documents, helm, helms, value_sets};

/// The oldest Kubernetes that the chart is for, and the newest that it is tried on.
const KUBERNETES: [&str; 2] = ["1.30.0", "1.34.0"];

/// What kube-score would have otherwise, and why not.
const KUBE_SCORE_IGNORED: &[&str] = &[
    // The image has one user; 65532 is what "nonroot" images have.
    "container-security-context-user-group-id",
    // It asks for `Always`, which makes a start depend on the registry; tags here are never moved.
    "container-image-pull-policy",
    // Nothing is written to disk; the log is the kubelet's.
    "container-ephemeral-storage-request-and-limit",
    // It knows required rules alone; spread is by topologySpreadConstraints.
    "deployment-has-host-podantiaffinity",
];

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible("helm's own linter has nothing to say", || async {
        for helm in helms()? {
            for (name, values) in value_sets() {
                let arguments = ["lint", "--strict", "--values"].map(str::to_owned);
                let arguments = [&arguments[..], &[text(&values), text(&chart())]].concat();
                let answer = helm.run(&arguments).unwrap();
                assert!(!answer.contains("[WARNING]"), "{name}: {answer}");
            }
        }
        Ok(())
    });
    suite.case_where_possible(
        "every object has the form that Kubernetes and the operators want",
        || async {
            let kubeconform = Kubeconform::find()?;
            let helm = helm()?;
            for (name, values) in value_sets() {
                let manifests = helm.template::<&str>(&values, &[]).unwrap();
                kubeconform.check(&name, &manifests);
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "every route in the gateway's documentation has that form, too",
        || async {
            let kubeconform = Kubeconform::find()?;
            let page =
                std::fs::read_to_string(chart().with_file_name("docs").join("gateway.md")).unwrap();
            let manifests: Vec<_> = page
                .split("```yaml\n")
                .filter(|block| block.starts_with("apiVersion:"))
                .map(|block| block.split("```").next().unwrap())
                .collect();
            assert_eq!(manifests.len(), 2, "an HTTPRoute and an Ingress");
            kubeconform.check("docs/gateway.md", &manifests.join("---\n"));
            Ok(())
        },
    );
    suite.case_where_possible(
        "kube-score finds nothing critical and nothing to warn of",
        || async {
            let kube_score = required("kube-score", "no kube-score in PATH")?;
            let helm = helm()?;
            for (name, values) in value_sets() {
                let manifests = helm.template::<&str>(&values, &[]).unwrap();
                let mut command = Command::new(&kube_score);
                command.args([
                    "score",
                    "--kubernetes-version",
                    "v1.30",
                    "--exit-one-on-warning",
                    "--output-format",
                    "ci",
                ]);
                for ignored in KUBE_SCORE_IGNORED {
                    command.args(["--ignore-test", ignored]);
                }
                command.arg("-");
                let (passed, said) = piped(command, &of_the_chart(&manifests));
                let found: Vec<_> = said
                    .lines()
                    .filter(|line| !line.starts_with("[OK]") && !line.starts_with("[SKIPPED]"))
                    .collect();
                assert!(passed, "{name}: {found:#?}");
            }
            Ok(())
        },
    );
    suite.case_where_possible(
        "the README's table is the one that values.yaml makes",
        || async {
            let helm_docs = required("helm-docs", "no helm-docs in PATH")?;
            let output = Command::new(helm_docs)
                .args([
                    "--dry-run",
                    "--log-level",
                    "error",
                    "--chart-search-root",
                    &text(&chart()),
                ])
                .output()
                .unwrap();
            assert!(output.status.success());
            let made = String::from_utf8(output.stdout).unwrap();
            let kept = std::fs::read_to_string(chart().join("README.md")).unwrap_or_default();
            assert!(
                made.trim() == kept.trim(),
                "run: helm-docs --chart-search-root helm"
            );
            Ok(())
        },
    );
}

/// kubeconform, with the schemas of Kubernetes and of the custom resources that the chart knows.
struct Kubeconform {
    program: PathBuf,
    kubernetes: std::ffi::OsString,
    custom: TempDir,
}

impl Kubeconform {
    fn find() -> Result<Self, CannotRun> {
        let kubernetes = "no schemas: ASK2DO_KUBE_SCHEMAS is not set";
        let definitions = "no custom resources: ASK2DO_CRDS is not set";
        Ok(Self {
            program: required("kubeconform", "no kubeconform in PATH")?,
            kubernetes: variable("ASK2DO_KUBE_SCHEMAS", kubernetes)?,
            custom: custom_resources(&variable("ASK2DO_CRDS", definitions)?),
        })
    }

    /// Panics where an object has another form in any of the versions.
    fn check(&self, name: &str, manifests: &str) {
        for version in KUBERNETES {
            let mut command = Command::new(&self.program);
            command.args(["-strict", "-summary", "-kubernetes-version", version]);
            for (folder, file) in [
                (
                    Path::new(&self.kubernetes),
                    "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json",
                ),
                (
                    self.custom.path(),
                    "{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json",
                ),
            ] {
                command.args(["-schema-location", &text(&folder.join(file))]);
            }
            let (passed, said) = piped(command, manifests);
            assert!(
                passed && said.contains("Skipped: 0"),
                "{name} {version}: {said}"
            );
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn required(name: &str, without: &'static str) -> Result<PathBuf, CannotRun> {
    on_path(name).ok_or(CannotRun(without))
}

fn variable(name: &str, without: &'static str) -> Result<std::ffi::OsString, CannotRun> {
    std::env::var_os(name).ok_or(CannotRun(without))
}

/// Gives a tool the manifests: whether it is content, and all that it says.
fn piped(mut command: Command, manifests: &str) -> (bool, String) {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, manifests.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let output = command.stdin(Stdio::from(file)).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Without what the values bring themselves (`extraObjects`), such as the demonstration's cloud.
fn of_the_chart(manifests: &str) -> String {
    let source = "# Source: ask2do-token/templates/";
    manifests
        .split("\n---\n")
        .filter(|document| !document.contains(&format!("{source}extra-objects.yaml")))
        .collect::<Vec<_>>()
        .join("\n---\n")
}

/// Schemas for kubeconform out of CustomResourceDefinitions: `GROUP/KIND_VERSION.json`, in which an unknown key is
/// an error as it is for the API server under strict validation.
fn custom_resources(definitions: &std::ffi::OsStr) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::env::split_paths(definitions) {
        let content = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for definition in documents(&content) {
            let spec = &definition["spec"];
            let group = folder.path().join(spec["group"].as_str().unwrap());
            std::fs::create_dir_all(&group).unwrap();
            let kind = spec["names"]["kind"].as_str().unwrap().to_lowercase();
            for version in spec["versions"].as_array().unwrap() {
                let mut schema = version["schema"]["openAPIV3Schema"].clone();
                close(&mut schema);
                let properties = schema["properties"].as_object_mut().unwrap();
                properties.insert("metadata".to_owned(), json!({"type": "object"}));
                let file = format!("{kind}_{}.json", version["name"].as_str().unwrap());
                std::fs::write(group.join(file), schema.to_string()).unwrap();
            }
        }
    }
    folder
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
                && object.get("x-kubernetes-preserve-unknown-fields") != Some(&json!(true))
            {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            // The same port may be a number or a name.
            if object.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                *object = Map::from_iter([("type".to_owned(), json!(["integer", "string"]))]);
            }
            object.values_mut().for_each(close);
        }
        Value::Array(array) => array.iter_mut().for_each(close),
        _ => {}
    }
}
