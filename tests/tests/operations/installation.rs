//! One installation in a namespace of its own, with the simulated cloud and the load beside it, and the folder from
//! which it is operated.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ask2do_token_tests::admin::sample;
use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::caller::Caller;
use ask2do_token_tests::cluster::{Helm, Namespace, run};
use ask2do_token_tests::pki::{Authority, Leaf, Pair};
use ask2do_token_tests::until_within;
use serde_json::Value;
use tempfile::TempDir;

use crate::pods::{ARRIVAL, Pod, ROLLOUT};
use crate::{load, manifests, page};

/// The tenant keys of the simulated cloud.
pub(crate) const KEYS: [&str; 2] = ["simulated-tenant-key-1", "simulated-tenant-key-2"];

/// A release, its neighbours, and the folder in which the page's commands run.
pub(crate) struct Installation {
    pub(crate) namespace: Namespace,
    pub(crate) helms: Vec<Helm>,
    pub(crate) values: Value,
    pub(crate) servers: Authority,
    /// The callers' CA, and the next one.
    pub(crate) callers: [Authority; 2],
    folder: TempDir,
    path: OsString,
    helm: Mutex<PathBuf>,
}

impl Installation {
    /// Installs everything, and waits until calls succeed.
    pub(crate) async fn new(helms: &[Helm]) -> Self {
        // The one of a case that failed may be on its way out still.
        static MADE: AtomicUsize = AtomicUsize::new(1);
        let purpose = format!("operations-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace::empty(&helms[0], &purpose);
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        symlink(workspace().join("helm"), folder.path().join("helm")).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(programs).chain(std::env::split_paths(&path));
        let installation = Self {
            path: std::env::join_paths(path).unwrap(),
            helms: helms.to_vec(),
            values: manifests::values(),
            servers: Authority::new("servers"),
            callers: [Authority::new("callers"), Authority::new("callers, next")],
            helm: Mutex::new(PathBuf::new()),
            namespace,
            folder,
        };
        installation.use_context();
        installation.use_helm(&helms[0]);
        installation.make_files();
        installation.make_objects();
        installation.write_values(&installation.values);
        installation.page("install");
        installation.apply(&manifests::load(&installation.namespace.name));
        installation.wait_ready("pod/load");
        installation.settled().await;
        until_within(ROLLOUT, "a second in which no call fails", async || {
            let now = load::now(&installation);
            let window = load::window(&installation, now - 1000, now);
            (window.calls() > 0 && window.failed() == 0).then_some(())
        })
        .await;
        installation
    }

    /// As an operator's own kubeconfig has it: the namespace is the context's.
    fn use_context(&self) {
        let own =
            run(Command::new("kubectl").args(["config", "view", "--raw", "--minify", "--flatten"]));
        std::fs::write(self.file("kubeconfig"), own.unwrap()).unwrap();
        let namespace = self.namespace.name.clone();
        self.shell(&format!(
            "kubectl config set-context --current --namespace {namespace}"
        ));
    }

    /// The page's `helm` is this one from now on.
    pub(crate) fn use_helm(&self, helm: &Helm) {
        let mut used = self.helm.lock().unwrap();
        if *used != helm.path {
            let link = self.file("bin/helm");
            _ = std::fs::remove_file(&link);
            symlink(&helm.path, link).unwrap();
            helm.path.clone_into(&mut used);
        }
    }

    fn make_files(&self) {
        self.write("tenant-key", KEYS[0]);
        let gateway = Leaf::client().uri("spiffe://example/ns/panel/sa/ask2do-gateway");
        self.write_pair("server", &self.servers.issue(&self.server_leaf()));
        self.write_pair("gateway", &self.callers[0].issue(&gateway));
        self.write_pair("panel", &self.callers[0].issue(&Self::panel_leaf()));
        let of = |name: &str| Leaf::client().uri(&format!("spiffe://example/ns/panel/sa/{name}"));
        self.write_pair("guest", &self.callers[0].issue(&of("guest")));
        self.write_pair("laggard", &self.callers[0].issue(&of("laggard")));
        let cloud = Leaf::client().dns("simulated-cloud").for_servers();
        self.write_pair("cloud", &self.servers.issue(&cloud));
        self.write("server-ca.crt", &self.servers.pem());
        self.write("client-ca.crt", &self.callers[0].pem());
        self.write("client-ca-new.crt", &self.callers[1].pem());
        self.write("keys", &KEYS.join("\n"));
    }

    /// The server's certificate: for its Services, and for `localhost`, where tests look at it.
    pub(crate) fn server_leaf(&self) -> Leaf {
        ["ask2do-token", "ask2do-token-headless"]
            .iter()
            .fold(Leaf::server(), |leaf, service| {
                leaf.dns(&format!("{service}.{}.svc", self.namespace.name))
            })
    }

    pub(crate) fn panel_leaf() -> Leaf {
        Leaf::client().uri("spiffe://example/ns/panel/sa/backend")
    }

    fn make_objects(&self) {
        self.shell(
            "kubectl create secret generic ask2do-tenant-key --from-file=tenant-key=tenant-key
             kubectl create secret tls ask2do-token-tls --cert=server.crt --key=server.key
             kubectl create secret tls ask2do-gateway-tls --cert=gateway.crt --key=gateway.key
             kubectl create configmap ask2do-client-ca --from-file=ca.crt=client-ca.crt
             kubectl create configmap ask2do-server-ca --from-file=ca.crt=server-ca.crt
             kubectl create secret generic cloud-keys --from-file=keys=keys
             kubectl create secret tls cloud-tls --cert=cloud.crt --key=cloud.key
             for caller in panel guest laggard; do
               kubectl create secret generic $caller-tls --from-file=tls.crt=$caller.crt \
                 --from-file=tls.key=$caller.key --from-file=ca.crt=server-ca.crt
             done",
        );
        self.apply(&manifests::cloud());
        self.apply(&manifests::panel());
        self.wait_ready("pod/simulated-cloud");
    }

    fn wait_ready(&self, what: &str) {
        self.shell(&format!(
            "kubectl wait --for=condition=Ready {what} --timeout={}s",
            ROLLOUT.as_secs()
        ));
    }

    /// Makes or changes an object.
    pub(crate) fn apply(&self, object: &Value) {
        self.input("kubectl apply -f -", &object.to_string());
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.file(name), content).unwrap();
    }

    pub(crate) fn write_pair(&self, name: &str, pair: &Pair) {
        pair.write(self.folder.path(), name);
    }

    pub(crate) fn write_values(&self, values: &Value) {
        self.write(
            "values.yaml",
            &serde_json::to_string_pretty(values).unwrap(),
        );
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .env("KUBECONFIG", self.file("kubeconfig"));
        command
    }

    /// Runs commands where the operator is.
    pub(crate) fn shell(&self, script: &str) -> String {
        run(&mut self.command(script)).unwrap_or_else(|error| panic!("{script}\n{error}"))
    }

    /// The same for commands that may fail.
    pub(crate) fn try_shell(&self, script: &str) -> Result<String, String> {
        run(&mut self.command(script))
    }

    /// Replaces a Secret by what `kubectl create secret` makes of these arguments.
    pub(crate) fn replace_secret(&self, arguments: &str) {
        self.shell(&format!(
            "kubectl create secret {arguments} --dry-run=client --output yaml | kubectl replace -f -"
        ));
    }

    /// Starts commands, with a variable.
    pub(crate) fn start(&self, script: &str, variable: (&str, &str)) -> std::process::Child {
        let mut command = self.command(script);
        command
            .env(variable.0, variable.1)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn input(&self, script: &str, input: &str) {
        let mut command = self.command(script);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{script}: {said}\n{input}");
    }

    /// Runs the page's commands of this name, as written.
    pub(crate) fn page(&self, block: &'static str) -> String {
        self.shell(&page::block(block))
    }

    /// What a pod's port answers, by way of the API server. `pod` is `NAME:PORT`.
    pub(crate) fn get(&self, pod: &str, page: &str) -> String {
        let namespace = &self.namespace.name;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/proxy/{page}");
        self.shell(&format!("kubectl get --raw '{path}'"))
    }

    /// A metric of a pod; 0 where it has no such series.
    pub(crate) fn metric(&self, pod: &Pod, series: &str) -> f64 {
        let port = if pod.component == "server" {
            9090
        } else {
            9091
        };
        let text = self.get(&format!("{}:{port}", pod.name), "metrics");
        sample(&text, series).unwrap_or_default()
    }

    /// A metric of each of these pods.
    pub(crate) fn metrics(&self, pods: &[Pod], series: &str) -> Vec<f64> {
        pods.iter().map(|pod| self.metric(pod, series)).collect()
    }

    /// Waits until each of these pods has counted one more than `before`.
    pub(crate) async fn one_more(&self, pods: &[Pod], series: &str, before: &[f64]) {
        until_within(ARRIVAL, series, async || {
            let now = self.metrics(pods, series);
            let more = now.iter().zip(before).all(|(now, before)| now > before);
            more.then_some(())
        })
        .await;
    }

    /// The records of a pod's log.
    pub(crate) fn log(&self, pod: &Pod) -> Vec<Value> {
        let text = self.shell(&format!("kubectl logs {} --tail=-1", pod.name));
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Starts what listens, and says where first.
    pub(crate) fn listening(&self, script: &str) -> (Listening, SocketAddr) {
        let mut child = self.start(script, ("_", ""));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        output.read_line(&mut said).unwrap();
        let listening = Listening {
            child,
            _output: output,
        };
        let address = said.split_whitespace().find_map(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{script}: {said}"));
        (listening, address)
    }

    /// The certificate that a pod serves now.
    pub(crate) async fn served(&self, pod: &Pod) -> Vec<u8> {
        let read = |name| std::fs::read_to_string(self.file(name)).unwrap();
        let panel = Pair {
            certificate: read("panel.crt"),
            key: read("panel.key"),
        };
        let caller = Caller::new(&self.servers.pem(), Some(&panel));
        let forward = format!("exec kubectl port-forward pod/{} :8443", pod.name);
        let (_forward, address) = self.listening(&forward);
        let stream = caller.handshake(address).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].to_vec()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.namespace.state());
        }
    }
}

/// A process that ends with what wanted it. What it goes on to write must not meet a closed pipe.
pub(crate) struct Listening {
    child: std::process::Child,
    _output: BufReader<ChildStdout>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
