//! The cluster, by the commands that an operator has.

use std::path::{Path, PathBuf};
use std::process::Command;

use ask2do_token_tests::binaries::{binary, workspace};
use ask2do_token_tests::suite::CannotRun;
use serde_json::Value;
use tempfile::TempDir;

/// What the release is called in every namespace; the value sets' Secrets are named after it.
pub(crate) const RELEASE: &str = "ask2do-token";

/// The longest that a rollout may take here.
const ROLLOUT: &str = "180s";

/// All helms, where there is a cluster.
pub(crate) fn helms() -> Result<Vec<PathBuf>, CannotRun> {
    if std::env::var_os("KUBECONFIG").is_none() {
        return Err(CannotRun("no cluster: KUBECONFIG is not set"));
    }
    if in_path("kubectl").is_none() {
        return Err(CannotRun("no kubectl in PATH"));
    }
    let helms: Vec<_> = match std::env::var_os("ASK2DO_HELM") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => in_path("helm").into_iter().collect(),
    };
    if helms.is_empty() {
        return Err(CannotRun("no helm: set ASK2DO_HELM, or put helm into PATH"));
    }
    Ok(helms)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The values under `ci/` of this name.
pub(crate) fn value_set(name: &str) -> String {
    let file = format!("helm/ci/{name}-values.yaml");
    workspace().join(file).display().to_string()
}

/// A namespace that enforces Pod Security `restricted`, and the helm that installs into it. Removed in the end.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    helm: PathBuf,
    certificates: TempDir,
}

impl Namespace {
    /// A new one, with the Secrets that the value sets name: all certificates are of one throwaway CA.
    pub(crate) fn new(helm: &Path, purpose: &str) -> Self {
        let name = format!("ask2do-test-{purpose}-{}", std::process::id());
        kubectl(&["create", "namespace", &name]);
        let namespace = Self {
            name,
            helm: helm.to_owned(),
            certificates: tempfile::tempdir().unwrap(),
        };
        namespace.restrict();
        namespace.make_certificates();
        namespace
    }

    fn restrict(&self) {
        restrict(&self.name);
    }

    fn make_certificates(&self) {
        let host = |service: &str| format!("{service}.{}.svc", self.name);
        let made = Command::new(binary("ask2do-token"))
            .args(["certs", "--out", &self.certificate("")])
            .args(["--server-name", &host("ask2do-token")])
            .args(["--server-name", &host("ask2do-token-headless")])
            .args(["--server-name", "simulated-cloud"])
            .args(["--caller", "panel=spiffe://demo/ns/panel/sa/backend"])
            .args([
                "--caller",
                "gateway=spiffe://example/ns/panel/sa/ask2do-gateway",
            ])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        for (secret, pair) in [
            ("ask2do-token-tls", "server"),
            ("panel-tls", "panel"),
            ("ask2do-gateway-tls", "gateway"),
            ("ask2do-token-gateway-identity", "gateway"),
        ] {
            self.pair(secret, pair, pair);
        }
        let ca = format!("--from-file=ca.crt={}", self.certificate("ca.crt"));
        self.kubectl(&["create", "configmap", "ask2do-client-ca", &ca]);
        self.kubectl(&["create", "secret", "generic", "otlp-ca", &ca]);
        self.kubectl(&[
            "create",
            "secret",
            "generic",
            "otlp-headers",
            "--from-literal=headers=a=b",
        ]);
        let key = "--from-literal=tenant-key=simulated-tenant-key";
        self.kubectl(&[
            "create",
            "secret",
            "generic",
            "ask2do-tenant-key",
            key,
            "--from-literal=key=k",
        ]);
    }

    /// A Secret with this certificate, this key, and the CA.
    pub(crate) fn pair(&self, secret: &str, certificate: &str, key: &str) {
        self.kubectl(&[
            "create",
            "secret",
            "generic",
            secret,
            &format!(
                "--from-file=tls.crt={}",
                self.certificate(&format!("{certificate}.crt"))
            ),
            &format!(
                "--from-file=tls.key={}",
                self.certificate(&format!("{key}.key"))
            ),
            &format!("--from-file=ca.crt={}", self.certificate("ca.crt")),
        ]);
    }

    fn certificate(&self, file: &str) -> String {
        self.certificates
            .path()
            .join("made")
            .join(file)
            .display()
            .to_string()
    }

    /// `helm VERB RELEASE CHART`, and waits until all that it makes is ready.
    pub(crate) fn helm_and_wait(&self, verb: &str, arguments: &[&str]) {
        let chart = workspace().join("helm").display().to_string();
        let own = [verb, RELEASE, &chart, "--wait", "--timeout", ROLLOUT];
        self.helm(&[&own, arguments].concat());
    }

    /// Runs helm here.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        let arguments = [arguments, &["--namespace", &self.name]].concat();
        run(Command::new(&self.helm).args(arguments))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.state()))
    }

    /// Runs kubectl here.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// The objects of these kinds.
    pub(crate) fn list(&self, kinds: &str) -> Vec<Value> {
        let json = self.kubectl(&["get", kinds, "--output", "json"]);
        let list: Value = serde_json::from_str(&json).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// What there is to see when something did not come up.
    fn state(&self) -> String {
        [
            "get pods,deployments",
            "get events --sort-by=.lastTimestamp",
            "logs --selector app.kubernetes.io/instance=ask2do-token --tail 5 --prefix",
        ]
        .map(|command| {
            let arguments: Vec<_> = command.split(' ').collect();
            let all = [&["--namespace", &self.name], &arguments[..]].concat();
            run(Command::new("kubectl").args(all)).unwrap_or_else(|error| error)
        })
        .join("\n")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Makes a namespace refuse pods that are not hardened.
pub(crate) fn restrict(namespace: &str) {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", namespace, label]);
}

/// Removes a namespace and all in it, and waits until it is gone.
pub(crate) fn remove(namespace: &str) {
    let delete = [
        "delete",
        "namespace",
        namespace,
        "--ignore-not-found",
        "--wait",
    ];
    // Also while a failed test unwinds: what cannot be removed is said by the test that finds it.
    _ = run(Command::new("kubectl").args(delete));
}

fn kubectl(arguments: &[&str]) -> String {
    run(Command::new("kubectl").args(arguments)).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command: its output, or what it was and what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!(
        "{command:?}: {}{}",
        text(&output.stderr),
        text(&output.stdout)
    ))
}
