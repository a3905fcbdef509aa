//! The real helm.

use std::path::{Path, PathBuf};
use std::process::Command;

use ask2do_token_tests::binaries::{on_path, workspace};
use ask2do_token_tests::suite::CannotRun;
use serde::Deserialize as _;
use serde_json::Value;

/// What the release is called in each rendering, and its namespace.
pub(crate) const RELEASE: &str = "ask2do-token";
pub(crate) const NAMESPACE: &str = "ask2do";

/// One helm.
#[derive(Clone, Debug)]
pub(crate) struct Helm(PathBuf);

/// All helms that are here; at least one.
pub(crate) fn helms() -> Result<Vec<Helm>, CannotRun> {
    let helms: Vec<_> = match std::env::var_os("ASK2DO_HELM") {
        Some(list) => std::env::split_paths(&list).map(Helm).collect(),
        None => on_path("helm").map(Helm).into_iter().collect(),
    };
    if helms.is_empty() {
        return Err(CannotRun("no helm: set ASK2DO_HELM, or put helm into PATH"));
    }
    Ok(helms)
}

/// Any of them: for what does not depend on helm.
pub(crate) fn helm() -> Result<Helm, CannotRun> {
    helms().map(|mut helms| helms.remove(0))
}

impl Helm {
    /// Renders the chart: the manifests, or what helm complains of.
    pub(crate) fn template<S: AsRef<str>>(
        &self,
        values: &Path,
        set: &[S],
    ) -> Result<String, String> {
        self.template_as(RELEASE, values, set)
    }

    /// The same, of a release of this name.
    pub(crate) fn template_as<S: AsRef<str>>(
        &self,
        release: &str,
        values: &Path,
        set: &[S],
    ) -> Result<String, String> {
        let mut arguments = vec!["template".to_owned(), release.to_owned()];
        arguments.push(chart().display().to_string());
        arguments.extend(["--namespace".to_owned(), NAMESPACE.to_owned()]);
        arguments.extend(["--values".to_owned(), values.display().to_string()]);
        for assignment in set {
            arguments.extend(["--set-json".to_owned(), assignment.as_ref().to_owned()]);
        }
        self.run(&arguments)
    }

    /// The objects of a rendering.
    pub(crate) fn objects(&self, values: &Path, set: &[&str]) -> Vec<Value> {
        let manifests = self.template(values, set);
        documents(&manifests.unwrap_or_else(|error| panic!("{}: {error}", values.display())))
    }

    /// Runs helm: its output, or its complaint.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<String, String> {
        let output = Command::new(&self.0).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr) + &text(output.stdout))
        }
    }
}

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    workspace().join("helm")
}

/// The values under `ci/`, by name: `minimal`, `full`, ...
pub(crate) fn value_sets() -> Vec<(String, PathBuf)> {
    let mut sets: Vec<_> = std::fs::read_dir(chart().join("ci"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix("-values.yaml")?;
            Some((name.to_owned(), path))
        })
        .collect();
    sets.sort();
    assert!(sets.len() >= 4, "{sets:?}");
    sets
}

/// One of them.
pub(crate) fn value_set(name: &str) -> PathBuf {
    chart().join("ci").join(format!("{name}-values.yaml"))
}

/// The documents of a YAML stream; empty ones are left out.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// `Deployment/ask2do-token`
pub(crate) fn name(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    format!(
        "{}/{}",
        text("/kind").unwrap_or("?"),
        text("/metadata/name").unwrap_or("?")
    )
}

/// The object of this kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| name(object) == wanted)
        .unwrap_or_else(|| panic!("there is no {wanted}"))
}
