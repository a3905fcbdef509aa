//! Servers with one fault each, and callers' certificates by theirs.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::path::Path;

use ask2do_token_tests::pki::{Authority, Leaf};
use ask2do_token_tests::until;
use ask2do_token_tests::world::{PANEL, SHOP, Server, World};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Where a row's calls go.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) server: Server,
    /// For rows that count its calls, one at a time.
    pub(crate) counted: Mutex<Server>,
    rejected: Server,
    misnamed: Server,
    busy: Server,
    over_ipv6: Option<Server>,
    /// Accepts connections, and never says a word.
    silent: TcpListener,
    /// Nobody listens there.
    down: u16,
    folder: TempDir,
    keeps_busy: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.keeps_busy.abort();
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let rejected = world.server().file("tenant-key", "another");
        let misnamed = world.server();
        world
            .servers
            .issue(&Leaf::client().dns("elsewhere.test").for_servers())
            .write(misnamed.path("").as_path(), "tls");
        let busy = world.server().set("limits.in_flight", "1");
        let busy = busy.set("cloud.timeout", "1m").start().await;
        let over_ipv6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            Ok(_) => Some(world.server().set("grpc.listen", "[::1]:0").start().await),
            Err(_) => None,
        };
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            server: world.server().set("cloud.timeout", "2s").start().await,
            counted: Mutex::new(world.server().set("cloud.timeout", "2s").start().await),
            rejected: rejected.start().await,
            misnamed: misnamed.start().await,
            over_ipv6,
            silent: listen(),
            down: listen().local_addr().unwrap().port(),
            folder: certificates(&world),
            keeps_busy: keep_busy(&world, &busy).await,
            busy,
            world,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a row means by an endpoint: `@server` is `localhost` with its port, `{port}` the main server's.
    pub(crate) async fn endpoint(&self, named: &str) -> Option<String> {
        let port = match named {
            "@counted" => self.counted.lock().await.grpc.port(),
            "@rejected" => self.rejected.grpc.port(),
            "@misnamed" => self.misnamed.grpc.port(),
            "@busy" => self.busy.grpc.port(),
            "@silent" => self.silent.local_addr().unwrap().port(),
            "@down" => self.down,
            "@ipv6" => return Some(self.over_ipv6.as_ref()?.grpc.to_string()),
            literal => {
                let port = self.server.grpc.port().to_string();
                return Some(literal.replace("{port}", &port));
            }
        };
        Some(format!("localhost:{port}"))
    }
}

/// Callers' certificates and CAs, in a folder.
pub(crate) fn certificates(world: &World) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let caller = || Leaf::client().uri(PANEL);
    let other = Authority::new("another CA");
    let write = |name: &str, content: &str| fs::write(path.join(name), content).unwrap();
    write("ca.crt", &world.servers.pem());
    write("other-ca.crt", &other.pem());
    write("empty.pem", "");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write("garbage.pem", garbage);
    fs::create_dir(path.join("folder")).unwrap();
    other.issue(&caller()).write(path, "foreign");
    for (name, leaf) in [
        ("caller", caller()),
        ("shop", Leaf::client().uri(SHOP)),
        ("stranger", Leaf::client().uri("spiffe://demo/stranger")),
        ("expired", caller().valid(-7200, -3600)),
    ] {
        world.callers.issue(&leaf).write(path, name);
    }
    folder
}

/// Has one mint in flight there, again and again.
async fn keep_busy(world: &World, busy: &Server) -> JoinHandle<()> {
    let (panel, address) = (world.panel(), busy.grpc);
    let keeps = tokio::spawn(async move {
        let connection = panel.connect(address).await;
        loop {
            _ = connection.try_mint("slow-55s", "admin").await;
        }
    });
    until("a mint in flight", async || {
        (busy.metric("ask2do_mints_in_flight").await == 1.0).then_some(())
    })
    .await;
    keeps
}

/// How many calls the server has answered, whatever came of them.
pub(crate) async fn mints(server: &Server) -> f64 {
    let (_, text) = server.get("/metrics").await;
    text.lines()
        .filter(|line| line.starts_with("ask2do_mints_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}
