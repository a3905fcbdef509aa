//! The part of the table that takes several calls of one process: what happens to its connections.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::CannotRun;
use ask2do_token_tests::world::{PANEL, Server, Setup, World};
use ask2do_token_tests::{PATIENCE, until};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::programs::{ATTEMPTS, Program, Session};
use crate::relay::Relay;
use crate::rows::Expected::{self, Status, Token, Unreachable};
use crate::rows::{OUT_OF_TIME, Wait};
use crate::stage::{certificates, mints};
use crate::trace::arguments;

/// One line of the table.
pub(crate) struct Life {
    pub(crate) what: &'static str,
    /// What the page says of it.
    pub(crate) outcome: &'static str,
    /// The same of programs that see it another way.
    pub(crate) except: &'static [(&'static str, &'static str)],
    check: for<'a> fn(&'a Program) -> LocalBoxFuture<'a, Result<(), String>>,
}

const RATE_LIMITED: Expected = Status("RESOURCE_EXHAUSTED", "RATE_LIMITED", Wait::Some, &[]);
const CERTIFICATE_REJECTED: Expected =
    Status("UNAUTHENTICATED", "CERTIFICATE_REJECTED", Wait::No, &[]);

const AT_THAT_MOMENT: &str = "the same; a call at that very moment may be 1 UNKNOWN";

const WITH_THE_OLD: &str = "3 UNAVAILABLE SERVICE_UNAVAILABLE, until a new channel is made";

/// A name with two addresses, as a headless Service with two pods has.
const NAME: &str = "ask2do-token.test";

pub(crate) const LIVES: &[Life] = &[
    Life {
        what: "more calls than the service allows this caller",
        outcome: "1 RESOURCE_EXHAUSTED RATE_LIMITED, with the time to wait",
        except: &[],
        check: |program| too_many(program).boxed_local(),
    },
    Life {
        what: "the caller's CA was removed, and the call was sent before GOAWAY came",
        outcome: "1 UNAUTHENTICATED CERTIFICATE_REJECTED",
        except: &[],
        check: |program| ca_removed(program).boxed_local(),
    },
    Life {
        what: "the caller's CA and certificate are renewed, in the files",
        outcome: "0 a token, from the next connection on",
        except: &[
            ("Python", WITH_THE_OLD),
            ("Node", WITH_THE_OLD),
            ("Java", WITH_THE_OLD),
        ],
        check: |program| renewed(program).boxed_local(),
    },
    Life {
        what: "the service hangs during a call",
        outcome: "1 DEADLINE_EXCEEDED CLOUD_TIMEOUT, by the caller's own timer",
        except: &[(
            "Rust",
            "3 UNAVAILABLE SERVICE_UNAVAILABLE, as a rule: its keepalive is faster, 4 s",
        )],
        check: |program| hangs(program).boxed_local(),
    },
    Life {
        what: "the service is restarted between two calls",
        outcome: "0 a token",
        except: &[("Java", AT_THAT_MOMENT)],
        check: |program| restarted(program).boxed_local(),
    },
    Life {
        what: "connections reach their age (GOAWAY)",
        outcome: "0 a token each time: no call fails",
        except: &[],
        check: |program| aged(program).boxed_local(),
    },
    Life {
        what: "a name with two addresses",
        outcome: "0 a token each time: both get calls",
        except: &[],
        check: |program| two_addresses(program).boxed_local(),
    },
    Life {
        what: "one of two is killed",
        outcome: "0 a token each time: the other gets the calls",
        except: &[("Java", AT_THAT_MOMENT)],
        check: |program| one_killed(program).boxed_local(),
    },
    Life {
        what: "both are killed, and one is there again",
        outcome: "3 UNAVAILABLE SERVICE_UNAVAILABLE, then tokens again",
        except: &[("Java", AT_THAT_MOMENT)],
        check: |program| both_killed(program).boxed_local(),
    },
    Life {
        what: "one of two hangs",
        outcome: "a token or its own timer in turn; once keepalive has given up on it, tokens alone",
        except: &[(
            "Rust",
            "0 a token each time, or 3 until keepalive has given up on it, after 4 s",
        )],
        check: |program| one_hangs(program).boxed_local(),
    },
];

/// Runs every one, side by side since they wait, and reports all that differ.
pub(crate) async fn run(program: &Arc<Program>) -> Result<(), CannotRun> {
    can_have_names().await?;
    let check = |life: &'static Life| async move {
        let began = Instant::now();
        let difference = (life.check)(program).await.err();
        eprintln!("{}: {}: {:?}", program.name, life.what, began.elapsed());
        Some(format!("{}: {}", life.what, difference?))
    };
    let checks = futures_util::future::join_all(LIVES.iter().map(check)).await;
    let differ: Vec<_> = checks.into_iter().flatten().collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(())
}

async fn can_have_names() -> Result<(), CannotRun> {
    let try_out = ["--map-root-user", "--mount", "true"];
    match Command::new("unshare").args(try_out).output().await {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(CannotRun(
            "this system lets nobody make a mount namespace (unshare), for names of its own",
        )),
    }
}

/// A server that shows a certificate for [`NAME`] too.
fn named(world: &World) -> Setup {
    let pair = world.servers.issue(&Leaf::server().dns(NAME));
    world
        .server()
        .file("tls.crt", pair.certificate)
        .file("tls.key", pair.key)
}

/// Two servers at one port of two addresses, and a process that knows them by one name.
struct Two {
    world: World,
    first: Server,
    second: Server,
    session: Session,
    _folder: TempDir,
}

impl Two {
    async fn start(program: &Program) -> Result<Self, String> {
        let world = World::new().await;
        let first = named(&world).start().await;
        let port = first.grpc.port();
        let listen = format!("127.0.0.2:{port}");
        let second = named(&world).set("grpc.listen", &listen).start().await;
        let folder = certificates(&world);
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, format!("127.0.0.1 {NAME}\n127.0.0.2 {NAME}\n")).unwrap();
        let arguments = arguments(&format!("{NAME}:{port}"), "-");
        let session = program
            .session_with_hosts(&arguments, folder.path(), &hosts)
            .await?;
        let mut two = Self {
            world,
            first,
            second,
            session,
            _folder: folder,
        };
        two.until_both_answer().await?;
        Ok(two)
    }

    /// Every call is answered, and before long by both.
    async fn until_both_answer(&mut self) -> Result<(), String> {
        let give_up = Instant::now() + PATIENCE;
        while mints(&self.first).await == 0.0 || mints(&self.second).await == 0.0 {
            expect(&mut self.session, "two", Token).await?;
            if Instant::now() > give_up {
                return Err("one of the two gets no call".to_owned());
            }
        }
        Ok(())
    }
}

async fn expect(session: &mut Session, id: &str, expected: Expected) -> Result<(), String> {
    expected.is_said(&session.call_after_loss(id).await?)
}

async fn session(program: &Program, address: SocketAddr, folder: &Path) -> Result<Session, String> {
    let endpoint = format!("localhost:{}", address.port());
    program.session(&arguments(&endpoint, "-"), folder).await
}

/// Calls until the answer is no token.
async fn first_failure(session: &mut Session) -> Result<Value, String> {
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        let said = session.call("many").await?;
        if Token.is_said(&said).is_err() {
            return Ok(said);
        }
    }
    Err("no call fails".to_owned())
}

/// Calls until the answer is a token; all before are `meanwhile`.
async fn until_token(
    session: &mut Session,
    meanwhile: impl Fn(&Value) -> Result<(), String>,
) -> Result<(), String> {
    let give_up = Instant::now() + 2 * PATIENCE;
    while Instant::now() < give_up {
        let said = session.call_after_loss("again").await?;
        if Token.is_said(&said).is_ok() {
            return Ok(());
        }
        meanwhile(&said)?;
    }
    Err("no token any more".to_owned())
}

async fn too_many(program: &Program) -> Result<(), String> {
    let world = World::new().await;
    let server = world.server().set("limits.caller_rate", "1").start().await;
    let folder = certificates(&world);
    let mut session = session(program, server.grpc, folder.path()).await?;
    RATE_LIMITED.is_said(&first_failure(&mut session).await?)?;
    session.end(1).await
}

/// Again, where a busy machine took so long that a caller's keepalive gave the silent connection up.
async fn ca_removed(program: &Program) -> Result<(), String> {
    for _ in 1..ATTEMPTS {
        let (held, done) = ca_removed_once(program).await;
        if done.is_ok() || held < Duration::from_secs(3) {
            return done;
        }
    }
    ca_removed_once(program).await.1
}

/// How long the caller heard nothing, and what came of it.
async fn ca_removed_once(program: &Program) -> (Duration, Result<(), String>) {
    let mut held = Duration::ZERO;
    let done = ca_removed_while(program, &mut held).await;
    (held, done)
}

async fn ca_removed_while(program: &Program, held: &mut Duration) -> Result<(), String> {
    let world = World::new().await;
    let server = world.server().start().await;
    let relay = Relay::start(server.grpc).await;
    let folder = certificates(&world);
    let mut session = session(program, relay.address, folder.path()).await?;
    relay.hold(true);
    let began = Instant::now();
    let next = Authority::new("the callers' next CA");
    fs::write(server.folder().join("ca.crt.new"), next.pem()).unwrap();
    fs::rename(
        server.folder().join("ca.crt.new"),
        server.folder().join("ca.crt"),
    )
    .unwrap();
    let reloads = r#"ask2do_reloads_total{file="client_ca"}"#;
    server.metric_is(reloads, 1.0).await;
    let before = mints(&server).await;
    session.tell("after").await;
    until("the call at the server", async || {
        (mints(&server).await > before).then_some(())
    })
    .await;
    relay.hold(false);
    *held = began.elapsed();
    CERTIFICATE_REJECTED.is_said(&session.answer().await?)?;
    if world.cloud.calls_for("after") != 0 {
        return Err("Ask2Do was asked".to_owned());
    }
    session.end(1).await
}

async fn renewed(program: &Program) -> Result<(), String> {
    let world = World::new().await;
    let server = world.server().start().await;
    let folder = certificates(&world);
    let mut session = session(program, server.grpc, folder.path()).await?;
    let next = Authority::new("the callers' next CA");
    next.issue(&Leaf::client().uri(PANEL))
        .write(folder.path(), "caller");
    fs::write(server.folder().join("ca.crt"), next.pem()).unwrap();
    let reloads = r#"ask2do_reloads_total{file="client_ca"}"#;
    server.metric_is(reloads, 1.0).await;
    let reads_files = ["Rust", "Go"].contains(&program.name);
    let until = if reads_files { Token } else { Unreachable };
    let give_up = Instant::now() + PATIENCE;
    // The connection that is open has yet to end.
    while until.is_said(&session.call("renewed").await?).is_err() {
        if Instant::now() > give_up {
            return Err("it does not come to that".to_owned());
        }
    }
    until.is_said(&session.call("renewed").await?)
}

async fn hangs(program: &Program) -> Result<(), String> {
    let world = World::new().await;
    let server = world.server().start().await;
    let folder = certificates(&world);
    let mut session = session(program, server.grpc, folder.path()).await?;
    stop(&server).await;
    let said = session.call("hangs").await;
    server.process.signal(Signal::CONT);
    let highest = Cell::new(hung(program, &said?)?);
    let meanwhile = |said: &Value| {
        highest.set(highest.get().max(hung(program, said)?));
        Ok(())
    };
    until_token(&mut session, meanwhile).await?;
    session.end(highest.get()).await
}

/// What a caller says while the service hangs: its exit code. Our own client may have found out by itself.
fn hung(program: &Program, said: &Value) -> Result<i32, String> {
    let expected = if program.name == "Rust" && Unreachable.is_said(said).is_ok() {
        Unreachable
    } else {
        OUT_OF_TIME
    };
    expected.is_said(said).map(|()| expected.exit_code())
}

/// Stops it: the signal alone may take a while to reach its last thread.
async fn stop(server: &Server) {
    server.process.signal(Signal::STOP);
    let tasks = format!("/proc/{}/task", server.process.id());
    let is_stopped = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        // After the name, which is in brackets and may hold anything.
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    until("every thread to stop", async || {
        let mut tasks = fs::read_dir(&tasks).unwrap();
        tasks.all(|task| is_stopped(task.unwrap())).then_some(())
    })
    .await;
}

async fn restarted(program: &Program) -> Result<(), String> {
    let world = World::new().await;
    let server = world.server().start().await;
    let address = server.grpc;
    let folder = certificates(&world);
    let mut session = session(program, address, folder.path()).await?;
    server.end().await;
    let again = world.server().set("grpc.listen", &address.to_string());
    let _server = again.start().await;
    expect(&mut session, "after", Token).await?;
    session.end(0).await
}

async fn aged(program: &Program) -> Result<(), String> {
    let world = World::new().await;
    let server = world.server().set("grpc.max_connection_age", "1s");
    let server = server.start().await;
    let folder = certificates(&world);
    let mut session = session(program, server.grpc, folder.path()).await?;
    let accepted = r#"ask2do_connections_accepted_total{port="grpc"}"#;
    let give_up = Instant::now() + PATIENCE;
    while server.metric(accepted).await < 4.0 {
        expect(&mut session, "aged", Token).await?;
        if Instant::now() > give_up {
            return Err("no connection ends".to_owned());
        }
    }
    session.end(0).await
}

async fn two_addresses(program: &Program) -> Result<(), String> {
    let two = Two::start(program).await?;
    two.session.end(0).await
}

async fn one_killed(program: &Program) -> Result<(), String> {
    let mut two = Two::start(program).await?;
    two.second.process.signal(Signal::KILL);
    two.second.process.ended().await;
    for _ in 0..20 {
        expect(&mut two.session, "one", Token).await?;
    }
    two.session.end(0).await
}

async fn both_killed(program: &Program) -> Result<(), String> {
    let mut two = Two::start(program).await?;
    for server in [&mut two.first, &mut two.second] {
        server.process.signal(Signal::KILL);
        server.process.ended().await;
    }
    expect(&mut two.session, "none", Unreachable).await?;
    let listen = two.second.grpc.to_string();
    let again = named(&two.world).set("grpc.listen", &listen);
    let _server = again.start().await;
    until_token(&mut two.session, |said| Unreachable.is_said(said)).await?;
    two.session.end(3).await
}

async fn one_hangs(program: &Program) -> Result<(), String> {
    let mut two = Two::start(program).await?;
    stop(&two.second).await;
    // Round robin has its turn with every second call; given up, with none.
    let give_up = Instant::now() + 2 * PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 6 && Instant::now() < give_up {
        let said = two.session.call_after_loss("hangs").await?;
        if Token.is_said(&said).is_ok() {
            in_a_row += 1;
        } else {
            hung(program, &said)?;
            in_a_row = 0;
        }
    }
    two.second.process.signal(Signal::CONT);
    if in_a_row < 6 {
        return Err("it is not given up".to_owned());
    }
    Ok(())
}
