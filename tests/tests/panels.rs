//! The recipes of `docs/panels.md`, each in a panel of its framework, with the gateway before it: what the page
//! says is what runs here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::exchange::{Answer, Exchange};
use ask2do_token_tests::gateway::{Gateway, PATH, Setup};
use ask2do_token_tests::process::{Process, free_port};
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::until;
use ask2do_token_tests::world::{Server, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A framework whose panel is in `tests/panels`.
struct Framework {
    name: &'static str,
    tool: &'static str,
    missing: &'static str,
    /// Who logs in, and the role that Ask2Do is asked for.
    users: [(&'static str, &'static str); 3],
}

const FRAMEWORKS: [Framework; 4] = [
    Framework {
        name: "express",
        tool: "npm",
        missing: "there is no Node",
        users: [
            ("1-owner", "owner"),
            ("42-admin", "admin"),
            ("77-junior", "junior"),
        ],
    },
    Framework {
        name: "django",
        tool: "python3",
        missing: "there is no Python",
        users: [
            ("1-superuser", "owner"),
            ("42-staff", "admin"),
            ("77-user", "user"),
        ],
    },
    Framework {
        name: "spring",
        tool: "mvn",
        missing: "there is no Maven",
        users: [("1", "owner"), ("42", "admin"), ("77", "ROLE_JUNIOR")],
    },
    Framework {
        name: "nextjs",
        tool: "npm",
        missing: "there is no Node",
        users: [
            ("1-owner", "owner"),
            ("42-admin", "admin"),
            ("77-junior", "junior"),
        ],
    },
];

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for framework in FRAMEWORKS {
        let name = format!(
            "{}::the_recipe_tells_the_gateway_who_is_logged_in",
            framework.name
        );
        suite.case_where_possible(name, move || async move {
            Panel::start(framework).await?.check().await;
            Ok(())
        });
    }
    suite.case("every_recipe_has_its_place", every_recipe_has_its_place);
    suite.run()
}

async fn every_recipe_has_its_place() {
    let mut placed = Vec::new();
    for Framework { name, .. } in &FRAMEWORKS {
        let folder = workspace().join("tests/panels").join(name);
        place(&folder, tempfile::tempdir().unwrap().path(), &mut placed);
        placed.extend(
            recipe(&format!("{name}/gateway.toml")).map(|_| format!("{name}/gateway.toml")),
        );
    }
    placed.sort();
    let page = page();
    let mut documented: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- recipe: ")?.strip_suffix(" -->"))
        .collect();
    documented.sort_unstable();
    assert_eq!(placed, documented);
}

/// A panel that runs, and all that is before and behind it.
struct Panel {
    framework: Framework,
    address: SocketAddr,
    process: Process,
    world: World,
    gateway: Gateway,
    _server: Server,
    _folder: TempDir,
}

impl Panel {
    async fn start(framework: Framework) -> Result<Self, CannotRun> {
        let program = build(&framework).await?;
        let world = World::new().await;
        let server = world.server().start().await;
        let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
        let port = address.port().to_string();
        let process = Process::start(&program, [port], &HashMap::new(), folder.path());
        until("the panel answers", async || {
            let answer = Exchange::new(Method::GET, "/whoami").send(address).await;
            answer.ok().map(drop)
        })
        .await;
        let mut setup = Setup::forward(&world, server.grpc, address);
        for (own, vendors) in role_map(framework.name) {
            setup = setup.set(&format!("session.role_map.{own}"), &vendors);
        }
        Ok(Self {
            gateway: setup.start().await,
            framework,
            address,
            process,
            world,
            _server: server,
            _folder: folder,
        })
    }

    async fn check(mut self) {
        // On a busy machine the first connections may take longer than they are given.
        let first = self.log_in(self.framework.users[0].0).await;
        until("a first token", async || {
            (self.widget(&first).await.outcome().0 == 200).then_some(())
        })
        .await;
        let before = self.world.cloud.calls().total;
        let mut sessions = Vec::new();
        for (user, role) in self.framework.users {
            let cookie = self.log_in(user).await;
            let id = user.split('-').next().unwrap();
            let answer = self.widget(&cookie).await;
            if matches!(role, "owner" | "admin") {
                assert_eq!(
                    answer.outcome(),
                    (200, "OK".to_owned()),
                    "{}",
                    answer.text()
                );
                let claims = claims(&answer);
                assert_eq!(
                    (&claims["sub"], &claims["role"]),
                    (&id.into(), &role.into())
                );
            } else {
                assert_eq!(answer.outcome(), (403, "ROLE_NOT_ALLOWED".to_owned()));
            }
            let whoami = Exchange::new(Method::GET, "/whoami").header("cookie", &cookie);
            let whoami = self.ask(whoami).await;
            assert_eq!(whoami.status, 200);
            let caching = whoami.headers["cache-control"].to_str().unwrap();
            assert!(caching.contains("no-store"), "{caching}");
            sessions.push(cookie);
        }
        assert_eq!(self.world.cloud.calls().total, before + 2);
        self.check_logged_out(&sessions[1]).await;

        self.process.signal(Signal::KILL);
        self.process.ended().await;
        let gone = self.widget(&sessions[0]).await;
        assert_eq!(
            gone.outcome(),
            (503, "SESSION_CHECK_UNAVAILABLE".to_owned())
        );
        assert_eq!(self.world.cloud.calls().total, before + 2);
    }

    /// A session that never was, and one that was ended.
    async fn check_logged_out(&self, session: &str) {
        let forged: Vec<_> = session
            .split("; ")
            .map(|cookie| format!("{}=forged", cookie.split('=').next().unwrap()))
            .collect();
        let answer = self.widget(&forged.join("; ")).await;
        assert_eq!(answer.outcome(), (401, "LOGIN_REQUIRED".to_owned()));
        if self.framework.name == "nextjs" {
            return; // Its sessions are JWTs, which hold until they end.
        }
        let log_out = Exchange::new(Method::POST, "/logout").header("cookie", session);
        assert!(self.ask(log_out).await.status.as_u16() < 400);
        let answer = self.widget(session).await;
        assert_eq!(answer.outcome(), (401, "LOGIN_REQUIRED".to_owned()));
    }

    /// As a browser does: the cookies of somebody who has logged in.
    async fn log_in(&self, user: &str) -> String {
        let form = |target: &str, form: String| {
            Exchange::new(Method::POST, target)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
        };
        let answer = match self.framework.name {
            "spring" => {
                self.ask(form("/login", format!("username={user}&password=demo")))
                    .await
            }
            "nextjs" => {
                let begin = self.ask(Exchange::new(Method::GET, "/api/auth/csrf")).await;
                let token = begin.json()["csrfToken"].as_str().unwrap().to_owned();
                let request = form(
                    "/api/auth/callback/credentials",
                    format!("csrfToken={token}&user={user}"),
                );
                self.ask(request.header("cookie", &cookies(&begin))).await
            }
            _ => {
                self.ask(Exchange::new(Method::POST, &format!("/login/{user}")))
                    .await
            }
        };
        assert!(answer.status.as_u16() < 400, "{user}: {answer:?}");
        cookies(&answer)
    }

    /// From the browser, through an ingress that ends TLS.
    async fn ask(&self, request: Exchange) -> Answer {
        let request = request.header("x-forwarded-proto", "https");
        request.send(self.address).await.unwrap()
    }

    async fn widget(&self, cookie: &str) -> Answer {
        let request = Exchange::new(Method::POST, PATH)
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin");
        request.send(self.gateway.http).await.unwrap()
    }
}

/// What a browser would send back.
fn cookies(answer: &Answer) -> String {
    let cookies: Vec<_> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().trim())
        .collect();
    cookies.join("; ")
}

fn claims(answer: &Answer) -> Value {
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The panel with the recipes in their places, built by `tests/panels/build`.
async fn build(framework: &Framework) -> Result<PathBuf, CannotRun> {
    let has_tool = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", framework.tool])
        .status();
    if !has_tool.await.unwrap().success() {
        return Err(CannotRun(framework.missing));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("panels")
        .join(framework.name);
    let panels = workspace().join("tests/panels");
    place(&panels.join(framework.name), &folder, &mut Vec::new());
    let built = Command::new(panels.join("build"))
        .arg(framework.name)
        .arg(&folder)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{}: {said}", framework.name);
    Ok(folder.join("run"))
}

/// Copies a folder, with the page's recipes where they are asked for.
fn place(from: &Path, to: &Path, placed: &mut Vec<String>) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            place(&entry.path(), &to, placed);
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let lines = text.lines().map(|line| {
            let Some(name) = asked_for(line) else {
                return format!("{line}\n");
            };
            placed.push(name.to_owned());
            let recipe = recipe(name).unwrap_or_else(|| panic!("{name} is not in the page"));
            // The test's own name for the panel inside the cluster.
            recipe.replace("panel.internal", "127.0.0.1")
        });
        let text: String = lines.collect();
        // Left alone where it is the same, so that what is built of it stays.
        if fs::read_to_string(&to).ok().as_ref() != Some(&text) {
            fs::write(to, text).unwrap();
        }
    }
}

/// The recipe that a comment asks for.
fn asked_for(line: &str) -> Option<&str> {
    let comment = ["# ", "// ", "/* "]
        .iter()
        .find_map(|begin| line.trim().strip_prefix(begin))?;
    let name = comment.strip_prefix("recipe: ")?;
    Some(name.trim_end_matches(" */"))
}

fn recipe(name: &str) -> Option<String> {
    let page = page();
    let (_, rest) = page.split_once(&format!("<!-- recipe: {name} -->\n```"))?;
    let (_, rest) = rest.split_once('\n')?;
    Some(rest.split_once("```")?.0.to_owned())
}

fn page() -> String {
    fs::read_to_string(workspace().join("docs/panels.md")).unwrap()
}

/// What the page says of the gateway's settings for this framework.
fn role_map(framework: &str) -> BTreeMap<String, String> {
    let Some(settings) = recipe(&format!("{framework}/gateway.toml")) else {
        return BTreeMap::new();
    };
    let settings: toml::Table = settings.parse().unwrap();
    settings["session"]["role_map"]
        .as_table()
        .unwrap()
        .iter()
        .map(|(own, vendors)| (own.clone(), vendors.as_str().unwrap().to_owned()))
        .collect()
}
