//! A Kubernetes cluster, by the commands that an operator has.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::{binary, on_path, workspace};
use crate::suite::{CannotRun, Suite};

/// What the release is called in every namespace; the value sets' Secrets are named after it.
pub const RELEASE: &str = "ask2do-token";

/// The longest that a rollout may take here.
const ROLLOUT: &str = "180s";

/// So that the cases have room beside each other on a small node.
pub const SMALL: &str = "--set=server.resources.requests.cpu=5m,gateway.resources.requests.cpu=5m";

/// One helm, called after its file: `helm-3`.
#[derive(Clone, Debug)]
pub struct Helm {
    /// The program.
    pub path: PathBuf,
    /// What it is called.
    pub name: String,
}

impl Helm {
    fn new(path: PathBuf) -> Self {
        let name = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace('.', "-");
        Self { path, name }
    }
}

/// Adds a case for each helm. Without a cluster or a helm there is one that says so.
pub fn case_of_each_helm(
    suite: &mut Suite,
    name: &str,
    case: impl AsyncFn(Helm) + Clone + Send + 'static,
) {
    match helms() {
        Ok(helms) => {
            for helm in helms {
                let case = case.clone();
                let name = format!("{name}, with {}", helm.name);
                suite.case(name, async move || case(helm).await);
            }
        }
        Err(why) => suite.case_where_possible(name, async || Err(why)),
    }
}

/// All helms, where there is a cluster.
///
/// # Errors
///
/// There is no cluster, or what speaks to it is missing.
pub fn helms() -> Result<Vec<Helm>, CannotRun> {
    if std::env::var_os("KUBECONFIG").is_none() {
        return Err(CannotRun("no cluster: KUBECONFIG is not set"));
    }
    if on_path("kubectl").is_none() {
        return Err(CannotRun("no kubectl in PATH"));
    }
    if !answers() {
        return Err(CannotRun("the cluster of KUBECONFIG does not answer"));
    }
    let helms: Vec<_> = match std::env::var_os("ASK2DO_HELM") {
        Some(list) => std::env::split_paths(&list).map(Helm::new).collect(),
        None => on_path("helm").map(Helm::new).into_iter().collect(),
    };
    if helms.is_empty() {
        return Err(CannotRun("no helm: set ASK2DO_HELM, or put helm into PATH"));
    }
    Ok(helms)
}

/// Whether there is a cluster: asked once.
fn answers() -> bool {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    *ANSWERS.get_or_init(|| {
        let ask = ["version", "--request-timeout", "20s"];
        run(Command::new("kubectl").args(ask)).is_ok()
    })
}

/// The values under `ci/` of this name.
#[must_use]
pub fn value_set(name: &str) -> String {
    let file = format!("helm/ci/{name}-values.yaml");
    workspace().join(file).display().to_string()
}

/// A namespace that enforces Pod Security `restricted`, and the helm that installs into it. Removed in the end.
#[derive(Debug)]
pub struct Namespace {
    /// What it is called.
    pub name: String,
    helm: Helm,
    certificates: TempDir,
}

impl Namespace {
    /// A new one, with the Secrets that the value sets name: all certificates are of one throwaway CA.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(helm: &Helm, purpose: &str) -> Self {
        let namespace = Self::empty(helm, purpose);
        namespace.make_certificates();
        namespace
    }

    /// A new one with nothing in it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn empty(helm: &Helm, purpose: &str) -> Self {
        let name = format!("ask2do-test-{purpose}-{}-{}", helm.name, std::process::id());
        kubectl(&["create", "namespace", &name]);
        let namespace = Self {
            name,
            helm: helm.to_owned(),
            certificates: tempfile::tempdir().unwrap(),
        };
        restrict(&namespace.name);
        namespace
    }

    fn make_certificates(&self) {
        let host = |service: &str| format!("{service}.{}.svc", self.name);
        let made = Command::new(binary("ask2do-token"))
            .args(["certs", "--out", &self.certificate("")])
            .args(["--server-name", &host("ask2do-token")])
            .args(["--server-name", &host("ask2do-token-headless")])
            .args(["--server-name", &host("other-ask2do-token")])
            .args(["--server-name", &host("other-ask2do-token-headless")])
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
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn pair(&self, secret: &str, certificate: &str, key: &str) {
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

    /// `helm VERB RELEASE CHART`, and waits until all that it makes is ready: what it says.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn helm_and_wait(&self, verb: &str, arguments: &[&str]) -> String {
        let chart = workspace().join("helm").display().to_string();
        let own = [verb, RELEASE, &chart, "--wait", "--timeout", ROLLOUT];
        self.helm(&[&own, arguments, &[SMALL]].concat())
    }

    /// Runs helm here.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn helm(&self, arguments: &[&str]) -> String {
        let arguments = [arguments, &["--namespace", &self.name]].concat();
        run(Command::new(&self.helm.path).args(arguments))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.state()))
    }

    /// Runs helm here, which must fail: what it says.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn helm_fails(&self, arguments: &[&str]) -> String {
        let arguments = [arguments, &["--namespace", &self.name]].concat();
        run(Command::new(&self.helm.path).args(arguments)).expect_err("helm is content")
    }

    /// Runs a line of a page in a folder, where `helm` is this helm and `ask2do-token` this checkout's.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn shell(&self, folder: &Path, line: &str) -> String {
        shell(&self.helm, folder, line).unwrap_or_else(|error| panic!("{error}\n{}", self.state()))
    }

    /// Runs kubectl here.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// The objects of these kinds.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn list(&self, kinds: &str) -> Vec<Value> {
        let json = self.kubectl(&["get", kinds, "--output", "json"]);
        let list: Value = serde_json::from_str(&json).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// What there is to see when something did not come up.
    #[must_use]
    pub fn state(&self) -> String {
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
        // Also while a failed test unwinds. The cluster goes on by itself.
        remove(&self.name, "--wait=false");
    }
}

/// Makes a namespace refuse pods that are not hardened.
///
/// # Panics
///
/// When there is none of that name.
pub fn restrict(namespace: &str) {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", namespace, label]);
}

/// Removes a namespace and all in it.
pub fn remove(namespace: &str, wait: &str) {
    let delete = ["delete", "namespace", namespace, "--ignore-not-found", wait];
    // What cannot be removed is said by the test that finds it.
    _ = run(Command::new("kubectl").args(delete));
}

/// Runs a line in a folder with this helm and the checkout's own command line in `PATH`.
///
/// # Errors
///
/// It did not end well.
///
/// # Panics
///
/// When the folder cannot be prepared.
pub fn shell(helm: &Helm, folder: &Path, line: &str) -> Result<String, String> {
    let programs = folder.join("bin");
    if !programs.exists() {
        std::fs::create_dir(&programs).unwrap();
        symlink(&helm.path, programs.join("helm")).unwrap();
        symlink(binary("ask2do-token"), programs.join("ask2do-token")).unwrap();
        symlink(workspace().join("helm"), folder.join("helm")).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap();
    let path = std::iter::once(programs).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    run(Command::new("bash")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", path))
}

/// The block of a page that stands below this mark.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn marked(page: &str, mark: &str) -> String {
    let page = std::fs::read_to_string(workspace().join(page)).unwrap();
    let mark = format!("<!-- test: {mark} -->\n```");
    let (_, rest) = page
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no {mark}"));
    let (_, block) = rest.split_once('\n').unwrap();
    block.split("```").next().unwrap().to_owned()
}

fn kubectl(arguments: &[&str]) -> String {
    run(Command::new("kubectl").args(arguments)).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command: its output, or what it was and what it said.
///
/// # Errors
///
/// It did not end well.
///
/// # Panics
///
/// When there is no such program.
pub fn run(command: &mut Command) -> Result<String, String> {
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
