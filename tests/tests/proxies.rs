//! The gateway behind real proxies: what `docs/gateway.md` says to put into their configuration is what runs
//! here, with other ports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::exchange::Exchange;
use ask2do_token_tests::gateway::{Gateway, PATH, Setup, widget};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::process::{Process, free_port};
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::until;
use ask2do_token_tests::world::{Server, World};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A proxy whose configuration is in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Envoy,
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for proxy in [Proxy::Nginx, Proxy::Envoy] {
        let name = proxy.name();
        suite.case_where_possible(
            format!("{name}::a_token_comes_through_the_panels_origin"),
            move || async move {
                token(&Site::start(proxy).await?).await;
                Ok(())
            },
        );
        suite.case_where_possible(
            format!("{name}::the_one_path_goes_to_the_gateway_and_others_to_the_panel"),
            move || async move {
                paths(&Site::start(proxy).await?).await;
                Ok(())
            },
        );
        suite.case_where_possible(
            format!("{name}::what_a_browser_forwards_changes_nothing"),
            move || async move {
                spoofing(&Site::start(proxy).await?).await;
                Ok(())
            },
        );
        suite.case_where_possible(
            format!("{name}::cross_site_calls_are_refused"),
            move || async move {
                cross_site(&Site::start(proxy).await?).await;
                Ok(())
            },
        );
        suite.case_where_possible(
            format!("{name}::the_gateways_limits_hold"),
            move || async move {
                limits(&Site::start(proxy).await?).await;
                Ok(())
            },
        );
    }
    suite.case(
        "traefik::each_router_leads_to_a_service_as_the_others_do",
        traefik,
    );
    suite.run()
}

/// There is no Traefik to run here: what the page says for it must say the same as what is run.
async fn traefik() {
    let snippet: Value = serde_yaml_ng::from_str(&documented("traefik").0).unwrap();
    let http = &snippet["http"];
    let routers = http["routers"].as_object().unwrap();
    let services = http["services"].as_object().unwrap();
    let led_to = |name: &str| {
        let service = routers[name]["service"].as_str().unwrap();
        &services[service]["loadBalancer"]["servers"][0]["url"]
    };
    assert_eq!(led_to("ask2do-token"), "http://ask2do-gateway:8080");
    assert_eq!(led_to("panel"), "http://panel:3000");
    assert_eq!((routers.len(), services.len()), (2, 2));
    // The longer rule wins, which is the one with the path.
    let rule = |name: &str| routers[name]["rule"].as_str().unwrap();
    assert_eq!(rule("panel"), "Host(`panel.example`)");
    assert_eq!(
        rule("ask2do-token"),
        format!("{} && Path(`{PATH}`)", rule("panel"))
    );
    for router in routers.values() {
        // No middleware, which could change path or `Host`, and the keys of one that ends TLS.
        let mut keys: Vec<_> = router.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["entryPoints", "rule", "service", "tls"]);
    }
}

async fn token(site: &Site) {
    for (role, id) in [("owner", "1"), ("admin", "42")] {
        let answer = site.ask(widget(role, id)).await;
        assert_eq!(
            answer.outcome(),
            (200, "OK".to_owned()),
            "{}",
            answer.text()
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(site.world.cloud.calls_for(id), 1);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(token.split('.').count(), 3);
    }
    // As a browser does on plain HTTP: its `Origin` is compared with the `Host` that the proxy has kept.
    let old = Exchange::new(Method::POST, PATH).headers(&[
        ("cookie", "sid=admin/43"),
        ("origin", "http://panel.example"),
    ]);
    assert_eq!(site.ask(old).await.outcome().1, "OK");
    let junior = site.ask(widget("junior", "77")).await;
    assert_eq!(junior.outcome(), (403, "ROLE_NOT_ALLOWED".to_owned()));
    let nobody = Exchange::new(Method::POST, PATH).header("sec-fetch-site", "same-origin");
    let nobody = site.ask(nobody).await;
    assert_eq!(nobody.outcome(), (401, "LOGIN_REQUIRED".to_owned()));
    // What failed is told by its trace id, which the proxy leaves alone.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let failed = widget("admin", "status-401")
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    let failed = site.ask(failed).await;
    assert_eq!(failed.outcome(), (502, "TENANT_KEY_REJECTED".to_owned()));
    assert_eq!(failed.json()["requestId"], trace);
}

async fn paths(site: &Site) {
    for target in [PATH, "/api/ask2do/token?id=1"] {
        let answer = site.ask(Exchange::new(Method::POST, target)).await;
        assert_eq!(
            answer.outcome(),
            (401, "LOGIN_REQUIRED".to_owned()),
            "{target}"
        );
        let answer = site.ask(Exchange::new(Method::GET, target)).await;
        assert_eq!(
            answer.outcome(),
            (405, "METHOD_NOT_ALLOWED".to_owned()),
            "{target}"
        );
    }
    for target in [
        "/",
        "/api/ask2do/token/",
        "/api/ask2do/tokens",
        "/api/ask2do/token/x",
        "/api/ask2do",
        "/API/ask2do/token",
        "/x/api/ask2do/token",
        "/whoami?a=b",
    ] {
        let answer = site.ask(Exchange::new(Method::GET, target)).await;
        let (asked, headers) = site.panel.seen().pop().expect("the panel was asked");
        assert_eq!(
            (asked.as_str(), &headers["host"]),
            (target, &"panel.example".parse().unwrap())
        );
        assert!(
            !answer.headers.contains_key("x-request-id"),
            "{target}: the gateway answered"
        );
    }
    assert_eq!(site.minted(), 0);
}

async fn spoofing(site: &Site) {
    let spoofed = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=10.0.0.1;host=evil.example"),
        ("x-real-ip", "10.0.0.1"),
        ("x-user-id", "1"),
        ("x-user-role", "owner"),
    ];
    let answer = site.ask(widget("admin", "42").headers(&spoofed)).await;
    assert_eq!(answer.outcome(), (200, "OK".to_owned()));
    let call = site.world.cloud.last_call().unwrap();
    assert_eq!(call.panel_id.as_deref(), Some("42"), "the session's user");
    let (_, whoami) = site.panel.seen().pop().unwrap();
    for (name, _) in spoofed {
        assert!(!whoami.contains_key(name), "{name} went on to the panel");
    }
    // Neither do they log anybody in, nor make another origin the panel's.
    let nobody = Exchange::new(Method::POST, PATH)
        .header("sec-fetch-site", "same-origin")
        .headers(&spoofed);
    assert_eq!(site.ask(nobody).await.outcome().0, 401);
    let elsewhere = Exchange::new(Method::POST, PATH)
        .headers(&[
            ("cookie", "sid=admin/42"),
            ("origin", "http://evil.example"),
        ])
        .headers(&spoofed);
    assert_eq!(site.ask(elsewhere).await.outcome().1, "CROSS_SITE_REQUEST");
    // In the spelling that some servers take for the same: dropped by nginx, refused by Envoy.
    let underscores =
        widget("admin", "42").headers(&[("x_user_id", "1"), ("x_forwarded_host", "evil.example")]);
    let underscores = site.ask(underscores).await;
    match site.proxy {
        Proxy::Nginx => assert_eq!(underscores.outcome().0, 200),
        Proxy::Envoy => assert_eq!(underscores.status, 400),
    }
    assert_eq!(site.world.cloud.calls_for("1"), 0);
}

async fn cross_site(site: &Site) {
    for headers in [
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil-panel.example"),
        ][..],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://other.panel.example"),
        ],
        &[("sec-fetch-site", "none")],
        &[("origin", "http://evil-panel.example")],
        &[("origin", "http://panel.example:8443")],
        &[("origin", "null")],
        &[],
    ] {
        let request = Exchange::new(Method::POST, PATH)
            .header("cookie", "sid=admin/42")
            .headers(headers);
        let answer = site.ask(request).await;
        assert_eq!(
            answer.outcome(),
            (403, "CROSS_SITE_REQUEST".to_owned()),
            "{headers:?}"
        );
    }
    assert_eq!(site.minted(), 0);
}

async fn limits(site: &Site) {
    // Each fits into one of nginx's buffers of 8 KiB; together they are more than the gateway takes.
    let wide = ["x-a", "x-b", "x-c"]
        .into_iter()
        .fold(widget("admin", "42"), |request, name| {
            request.header(name, &"a".repeat(6 << 10))
        });
    let wide = site.ask(wide).await;
    assert_eq!(wide.outcome(), (431, "REQUEST_TOO_LARGE".to_owned()));
    let large = site
        .ask(widget("admin", "42").body(vec![b' '; 5 << 10]))
        .await;
    assert_eq!(large.outcome(), (413, "REQUEST_TOO_LARGE".to_owned()));
    // A cloud that is slow, but in time: the proxy waits longer than the gateway.
    let slow = site.ask(widget("admin", "slow-7s")).await;
    assert_eq!(
        slow.outcome(),
        (504, "CLOUD_TIMEOUT".to_owned()),
        "{}",
        slow.text()
    );
    assert_eq!(site.minted(), 1);
}

/// A panel, the gateway and what is behind it, and a proxy in front of both.
struct Site {
    proxy: Proxy,
    address: SocketAddr,
    world: World,
    before: u64,
    panel: Panel,
    _gateway: Gateway,
    _server: Server,
    _process: Process,
    _folder: TempDir,
}

impl Site {
    async fn start(proxy: Proxy) -> Result<Self, CannotRun> {
        let program = proxy.find()?;
        let world = World::new().await;
        let server = world.server().start().await;
        let panel = Panel::start(Whoami::Honest).await;
        let gateway = Setup::forward(&world, server.grpc, panel.address)
            .start()
            .await;
        gateway.warm().await;
        let folder = tempfile::tempdir().unwrap();
        let address = free_port();
        let arguments = proxy.configure(folder.path(), address, gateway.http, panel.address);
        let process = Process::start(&program, arguments, &HashMap::new(), folder.path());
        let site = Self {
            proxy,
            address,
            before: world.cloud.calls().total,
            world,
            panel,
            _gateway: gateway,
            _server: server,
            _process: process,
            _folder: folder,
        };
        until("the proxy reaches the panel", async || {
            let front = Exchange::new(Method::GET, "/").send(address).await.ok()?;
            (front.json() == json!({ "panel": "/" })).then_some(())
        })
        .await;
        Ok(site)
    }

    /// How many tokens so far.
    fn minted(&self) -> u64 {
        self.world.cloud.calls().total - self.before
    }

    async fn ask(&self, request: Exchange) -> ask2do_token_tests::exchange::Answer {
        request.send(self.address).await.unwrap()
    }
}

impl Proxy {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    fn find(self) -> Result<PathBuf, CannotRun> {
        let (variable, missing) = match self {
            Self::Nginx => (
                "ASK2DO_NGINX",
                "there is no nginx on PATH, and no ASK2DO_NGINX",
            ),
            Self::Envoy => (
                "ASK2DO_ENVOY",
                "there is no envoy on PATH, and no ASK2DO_ENVOY",
            ),
        };
        if let Some(program) = std::env::var_os(variable) {
            return Ok(program.into());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Where Debian has it, and an ordinary user's PATH does not lead.
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into()])
            .map(|folder| folder.join(self.name()))
            .find(|file| file.is_file())
            .ok_or(CannotRun(missing))
    }

    /// Writes the configuration; the arguments that have the proxy read it.
    fn configure(
        self,
        folder: &Path,
        listen: SocketAddr,
        gateway: SocketAddr,
        panel: SocketAddr,
    ) -> Vec<String> {
        let port = |address: SocketAddr| address.port().to_string();
        match self {
            Self::Nginx => {
                let server = documented("nginx")
                    .put("listen 80;", &format!("listen {listen};"))
                    .put("http://ask2do-gateway:8080;", &format!("http://{gateway};"))
                    .put("http://panel:3000;", &format!("http://{panel};"));
                let at = |name: &str| folder.join(name).display().to_string();
                let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
                    .concat();
                let config = format!(
                    "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{}}}\n",
                    at("pid"),
                    server.0,
                );
                std::fs::write(folder.join("nginx.conf"), config).unwrap();
                ["-p", ".", "-e", "stderr", "-c", &at("nginx.conf")]
                    .map(str::to_owned)
                    .into()
            }
            Self::Envoy => {
                let config = documented("envoy")
                    .put(
                        "address: 0.0.0.0, port_value: 80 }",
                        &format!("address: 127.0.0.1, port_value: {} }}", port(listen)),
                    )
                    .put(
                        "address: ask2do-gateway, port_value: 8080 }",
                        &format!("address: 127.0.0.1, port_value: {} }}", port(gateway)),
                    )
                    .put(
                        "address: panel, port_value: 3000 }",
                        &format!("address: 127.0.0.1, port_value: {} }}", port(panel)),
                    );
                std::fs::write(folder.join("envoy.yaml"), config.0).unwrap();
                [
                    "-c",
                    "envoy.yaml",
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "-l",
                    "warning",
                ]
                .map(str::to_owned)
                .into()
            }
        }
    }
}

/// A snippet of the documentation, and what of it differs here.
struct Snippet(String);

impl Snippet {
    fn put(self, documented: &str, here: &str) -> Self {
        assert_eq!(self.0.matches(documented).count(), 1, "{documented}");
        Self(self.0.replace(documented, here))
    }
}

fn documented(name: &str) -> Snippet {
    let text = std::fs::read_to_string(workspace().join("docs/gateway.md")).unwrap();
    let (_, rest) = text
        .split_once(&format!("<!-- test: {name} -->\n```"))
        .unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    Snippet(rest.split_once("```").unwrap().0.to_owned())
}
