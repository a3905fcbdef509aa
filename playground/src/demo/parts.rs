//! What the playground starts, each part a process of its own.

use std::ffi::OsString;

use url::Url;

use crate::folder::Folder;
use crate::ports::Ports;
use crate::probe;

/// One child process.
pub(crate) struct Part {
    /// For people.
    pub(crate) name: &'static str,
    /// Its `service.name` in a trace.
    pub(crate) service: &'static str,
    /// Its arguments to this same binary.
    pub(crate) arguments: Vec<OsString>,
    ready: Ready,
}

enum Ready {
    /// When it accepts connections.
    Listening(u16),
    /// When it says so itself.
    Saying(u16, &'static str),
}

impl Part {
    /// Whether it does its work.
    pub(crate) async fn is_ready(&self) -> bool {
        match self.ready {
            Ready::Listening(port) => probe::listens(port).await,
            Ready::Saying(port, path) => probe::answers(port, path).await,
        }
    }
}

/// Every part, each before those that stand on it. The panel passes spans on to `relay`: where, and how.
pub(crate) fn parts(folder: &Folder, ports: Ports, relay: Option<(&Url, &str)>) -> Vec<Part> {
    let file = |name: &str| folder.file(name).into_os_string();
    let listen = |port: u16| OsString::from(format!("127.0.0.1:{port}"));
    let mut panel: Vec<OsString> = vec![
        "panel".into(),
        "--listen".into(),
        listen(ports.panel()),
        "--gateway".into(),
        ports.gateway().to_string().into(),
        "--cloud".into(),
        ports.cloud().to_string().into(),
        "--ca".into(),
        file("ca.crt"),
    ];
    if let Some((url, protocol)) = relay {
        let flags = ["--relay", url.as_str(), "--relay-protocol", protocol];
        panel.extend(flags.map(OsString::from));
    }
    vec![
        Part {
            name: "simulated cloud",
            service: "ask2do-cloud-simulated",
            arguments: vec![
                "cloud".into(),
                "--listen".into(),
                listen(ports.cloud()),
                "--tenant-key-file".into(),
                file("tenant-key"),
                "--certificate-file".into(),
                file("server.crt"),
                "--private-key-file".into(),
                file("server.key"),
            ],
            ready: Ready::Listening(ports.cloud()),
        },
        Part {
            name: "server",
            service: "ask2do-token-server",
            arguments: vec!["server".into(), "--config".into(), file("server.toml")],
            ready: Ready::Saying(ports.admin(), "/readyz"),
        },
        Part {
            name: "gateway",
            service: "ask2do-token-gateway",
            arguments: vec!["gateway".into(), "--config".into(), file("gateway.toml")],
            ready: Ready::Saying(ports.gateway_admin(), "/readyz"),
        },
        Part {
            name: "demo panel",
            service: "ask2do-demo-panel",
            arguments: panel,
            ready: Ready::Saying(ports.panel(), "/"),
        },
    ]
}
