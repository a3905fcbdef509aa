//! Our own client against real servers: what it makes of two of them, of their ends, and of their refusals.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ask2do_token_client::{
    Health, MintError, PanelUser, Reason, Resolve, Resolving, TokenClient, TokenClientBuilder,
};
use ask2do_token_tests::files::Way;
use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until;
use ask2do_token_tests::world::{PANEL, Server, Shared, World};
use rustix::process::Signal;
use tokio::task::JoinSet;

const OK: &str = r#"ask2do_mints_total{caller="panel",reason="OK"}"#;

pub(crate) fn add(suite: &mut Suite) {
    suite.case(
        "client: one of two servers is killed, and a third takes its place",
        one_is_killed,
    );
    suite.case("client: one of two servers drains", one_drains);
    suite.case("client: connections that reach their age fail no call", age);
    suite.case("client: certificates change on both sides", certificates);
    let shared = Shared::new(|world: &World| {
        let roles = r#"["admin", "owner", "nobody's"]"#;
        world.server().set("cloud.roles", roles)
    });
    for (id, role, reason) in REASONS {
        let shared = shared.clone();
        suite.case(
            format!("client: {role} {id:?} is one call and {reason}"),
            move || async move {
                let (world, server) = shared.get().await;
                let client = client(world, &[server.grpc]).build().unwrap();
                let id = &format!("{id}.client");
                let asked = world.cloud.calls_for(id);
                let series = format!(r#"ask2do_mints_total{{caller="panel",reason="{reason}"}}"#);
                let before = server.metric(&series).await;
                let error = client
                    .mint_token(&PanelUser::new(id, role))
                    .await
                    .unwrap_err();
                assert_eq!(error.reason(), reason);
                // Each reason has its own row, so nobody else counts there meanwhile.
                assert_eq!(server.metric(&series).await - before, 1.0);
                assert!(
                    world.cloud.calls_for(id) - asked <= 2,
                    "one call, one retry at the most"
                );
            },
        );
    }
    suite.case("client: its own timer is short", || async {
        let world = World::new().await;
        let server = world.server().start().await;
        let hurried = client(&world, &[server.grpc]).deadline(Duration::from_millis(400));
        let hurried = hurried.build().unwrap();
        let error = hurried
            .mint_token(&PanelUser::new("slow-7s", "admin"))
            .await;
        assert_eq!(error.unwrap_err().reason(), Reason::CloudTimeout);
        let client = client(&world, &[server.grpc]).build().unwrap();
        assert_eq!(client.health().await.unwrap(), Health::Serving);
    });
}

/// One scenario for each reason; no two rows have the same one.
const REASONS: [(&str, &str, Reason); 8] = [
    ("status-500", "admin", Reason::CloudUnavailable),
    (
        "status-429-retry-after-2",
        "admin",
        Reason::CloudRateLimited,
    ),
    ("status-401", "admin", Reason::TenantKeyRejected),
    ("status-403", "admin", Reason::RoleNotAllowed),
    ("garbage", "admin", Reason::CloudResponseInvalid),
    ("slow-7s", "admin", Reason::CloudTimeout),
    ("a\tb", "admin", Reason::PanelUserInvalid),
    ("42", "nobody's", Reason::CallerNotAllowed),
];

/// What a name resolves to, changed as it pleases.
#[derive(Clone, Debug, Default)]
struct Names(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
        let addresses = self.0.lock().unwrap().iter().copied().collect();
        Box::pin(async move { Ok::<_, io::Error>(addresses) })
    }
}

fn names(addresses: &[SocketAddr]) -> Names {
    Names(Arc::new(Mutex::new(addresses.iter().copied().collect())))
}

fn client(world: &World, addresses: &[SocketAddr]) -> TokenClientBuilder {
    following(world, names(addresses))
}

fn following(world: &World, names: Names) -> TokenClientBuilder {
    let pair = world.callers.issue(&Leaf::client().uri(PANEL));
    TokenClient::builder("https://localhost:8443")
        .ca_pem(world.servers.pem())
        .identity_pem(pair.certificate, pair.key)
        .resolver(names)
}

/// A client at work; none of its calls may fail.
struct Work {
    tasks: JoinSet<Result<(), MintError>>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Work {
    fn begin(client: &TokenClient) -> Self {
        let mut work = Self {
            tasks: JoinSet::new(),
            stop: Arc::default(),
            calls: Arc::default(),
        };
        for task in 0..4 {
            let (client, stop, calls) = (client.clone(), work.stop.clone(), work.calls.clone());
            work.tasks.spawn(async move {
                let user = PanelUser::new(format!("work-{task}"), "admin");
                while !stop.load(Ordering::SeqCst) {
                    client.mint_token(&user).await?;
                    calls.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            });
        }
        work
    }

    async fn goes_on(&mut self) {
        let target = self.calls.load(Ordering::SeqCst) + 30;
        until("calls go on", async || {
            while let Some(ended) = self.tasks.try_join_next() {
                ended.unwrap().expect("no call fails");
            }
            (self.calls.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    }

    async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().expect("no call fails");
        }
    }
}

async fn more_mints(server: &Server) {
    let before = server.metric(OK).await;
    until("it mints", async || {
        (server.metric(OK).await > before).then_some(())
    })
    .await;
}

async fn one_is_killed() {
    let world = World::new().await;
    let (one, two) = tokio::join!(world.server().start(), world.server().start());
    let names = names(&[one.grpc, two.grpc]);
    let client = following(&world, names.clone()).build().unwrap();
    let mut work = Work::begin(&client);
    more_mints(&one).await;
    more_mints(&two).await;

    let mut one = one;
    let gone = one.grpc;
    one.process.signal(Signal::KILL);
    one.process.ended().await;
    work.goes_on().await;
    more_mints(&two).await;

    let three = world.server().start().await;
    {
        let mut addresses = names.0.lock().unwrap();
        addresses.remove(&gone);
        addresses.insert(three.grpc);
    }
    more_mints(&three).await;
    work.goes_on().await;
    work.stop().await;
}

async fn one_drains() {
    let world = World::new().await;
    let (one, two) = tokio::join!(world.server().start(), world.server().start());
    let client = client(&world, &[one.grpc, two.grpc]).build().unwrap();
    let mut work = Work::begin(&client);
    more_mints(&one).await;
    more_mints(&two).await;
    one.end().await;
    work.goes_on().await;
    more_mints(&two).await;
    work.stop().await;
}

async fn age() {
    let world = World::new().await;
    let server = world
        .server()
        .set("grpc.max_connection_age", "1s")
        .start()
        .await;
    let client = client(&world, &[server.grpc]).build().unwrap();
    let mut work = Work::begin(&client);
    let accepted = r#"ask2do_connections_accepted_total{port="grpc"}"#;
    until("several ages pass", async || {
        (server.metric(accepted).await >= 4.0).then_some(())
    })
    .await;
    work.goes_on().await;
    work.stop().await;
}

/// The order in which an operator does it: trust both CAs, change the certificates, trust the new one.
async fn certificates() {
    let world = World::new().await;
    let server = world.server().start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world
        .callers
        .issue(&Leaf::client().uri(PANEL))
        .write(folder.path(), "caller");
    std::fs::write(path("ca.crt"), world.servers.pem()).unwrap();
    let client = TokenClient::builder("https://localhost:8443")
        .ca_file(path("ca.crt"))
        .identity_files(path("caller.crt"), path("caller.key"))
        .resolver(names(&[server.grpc]))
        .build()
        .unwrap();
    let mut work = Work::begin(&client);
    work.goes_on().await;

    let next = Authority::new("the next CA");
    let reloads = r#"ask2do_reloads_total{file="client_ca"}"#;
    let both = world.callers.pem() + &next.pem();
    Way::Rename.replace(server.folder(), &[("ca.crt", &both)]);
    server.metric_is(reloads, 1.0).await;
    let before = client.certificate_not_after();
    let pair = next.issue(&Leaf::client().uri(PANEL).valid(-60, 3600));
    let files = [
        ("caller.crt", &*pair.certificate),
        ("caller.key", &*pair.key),
    ];
    Way::Rename.replace(folder.path(), &files);
    until("the client has read it", async || {
        (client.certificate_not_after() != before).then_some(())
    })
    .await;
    work.goes_on().await;
    Way::Rename.replace(server.folder(), &[("ca.crt", &next.pem())]);
    server.metric_is(reloads, 2.0).await;
    work.goes_on().await;
    work.stop().await;
}
