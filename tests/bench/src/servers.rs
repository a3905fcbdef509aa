//! The processes that a scenario starts, on loopback, each until it is ready.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Result;
use crate::child::Process;
use crate::measure::Settings;
use crate::pki;

/// A process with one port.
pub(crate) struct Simple {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// The token server.
pub(crate) struct TokenServer {
    pub(crate) process: Process,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// From the start of the process to its first 200 at `/readyz`.
    pub(crate) ready_after: Duration,
}

/// The stub of Ask2Do's cloud.
pub(crate) async fn stub_cloud(settings: &Settings, folder: &Path) -> Result<Simple> {
    let this = std::env::current_exe()?;
    simple(
        "the stub cloud",
        settings.cores.load,
        &this,
        &["cloud"],
        folder,
    )
    .await
}

/// The stub of a trace collector.
pub(crate) async fn stub_collector(settings: &Settings, folder: &Path) -> Result<Simple> {
    let this = std::env::current_exe()?;
    let core = settings.cores.load;
    simple("the collector", core, &this, &["collector"], folder).await
}

/// The bare server.
pub(crate) async fn bare(settings: &Settings, folder: &Path, cloud: SocketAddr) -> Result<Simple> {
    let this = std::env::current_exe()?;
    let cloud = format!("http://{cloud}/auth/token");
    let arguments = ["bare", &cloud, "."];
    simple(
        "the bare server",
        settings.cores.server,
        &this,
        &arguments,
        folder,
    )
    .await
}

/// The Express app.
pub(crate) async fn express(
    settings: &Settings,
    folder: &Path,
    cloud: SocketAddr,
) -> Result<Simple> {
    let app = settings.express.join("app.js").into_os_string();
    let app = app
        .into_string()
        .map_err(|_| "the path of the Express app")?;
    let cloud = format!("http://{cloud}");
    // By `env`: a child has no environment, and Express is slower without this.
    let arguments = ["NODE_ENV=production", "node", &app, &cloud, pki::TENANT_KEY];
    simple(
        "Express",
        settings.cores.server,
        Path::new("/usr/bin/env"),
        &arguments,
        folder,
    )
    .await
}

/// The gateway.
pub(crate) async fn gateway(settings: &Settings, folder: &Path, config: &str) -> Result<Simple> {
    std::fs::write(folder.join("gateway.toml"), config)?;
    let program = settings.binaries.join("ask2do-token-gateway");
    let arguments = ["--config", "gateway.toml"];
    let mut process = Process::start(
        "the gateway",
        settings.cores.server,
        &program,
        arguments,
        folder,
    )?;
    let [address, admin] = process
        .says(|line| addresses(line, ["http", "admin"]))
        .await?;
    ready(admin, &process).await?;
    Ok(Simple { process, address })
}

/// Starts what says `listening ADDRESS`.
async fn simple(
    name: &'static str,
    core: usize,
    program: &Path,
    arguments: &[&str],
    folder: &Path,
) -> Result<Simple> {
    let mut process = Process::start(name, core, program, arguments, folder)?;
    let address = process
        .says(|line| line.strip_prefix("listening ")?.trim().parse().ok())
        .await?;
    Ok(Simple { process, address })
}

impl TokenServer {
    /// Starts it as it is by default, and waits until it is ready.
    pub(crate) async fn start(
        settings: &Settings,
        folder: &Path,
        cloud: SocketAddr,
    ) -> Result<Self> {
        let program = settings.binaries.join("ask2do-token-server");
        Self::run(settings, folder, cloud, &program, Vec::new(), &[]).await
    }

    /// The same with variables (`NAME=value`) and more settings (`key=value`).
    pub(crate) async fn start_with(
        settings: &Settings,
        folder: &Path,
        cloud: SocketAddr,
        variables: &[String],
        set: &[String],
    ) -> Result<Self> {
        let mut before = variables.to_vec();
        let program = settings.binaries.join("ask2do-token-server");
        before.push(program.display().to_string());
        // By `env`: a child has no environment.
        let program = Path::new("/usr/bin/env");
        Self::run(settings, folder, cloud, program, before, set).await
    }

    async fn run(
        settings: &Settings,
        folder: &Path,
        cloud: SocketAddr,
        program: &Path,
        before: Vec<String>,
        set: &[String],
    ) -> Result<Self> {
        let ours = [
            "grpc.listen=127.0.0.1:0".to_owned(),
            "admin.listen=127.0.0.1:0".to_owned(),
            format!("cloud.url=http://{cloud}"),
        ];
        let mut arguments = before;
        arguments.extend(["--config", "server.toml"].map(str::to_owned));
        for setting in ours.iter().chain(set) {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        let core = settings.cores.server;
        let mut process = Process::start("the server", core, program, arguments, folder)?;
        let [grpc, admin] = process
            .says(|line| addresses(line, ["grpc", "admin"]))
            .await?;
        let ready_after = ready(admin, &process).await?;
        Ok(Self {
            process,
            grpc,
            admin,
            ready_after,
        })
    }
}

/// Starts and ends the server some times: from exec to ready, each.
pub(crate) async fn start_times(
    settings: &Settings,
    folder: &Path,
    cloud: SocketAddr,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..settings.starts {
        let server = TokenServer::start(settings, folder, cloud).await?;
        times.push(server.ready_after);
        server.process.end().await?;
    }
    Ok(times)
}

/// What a started process does once (reads its files a second time, for one) is over after this.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// The ports in the log record `listening`.
fn addresses<const N: usize>(line: &str, ports: [&str; N]) -> Option<[SocketAddr; N]> {
    let record: Value = serde_json::from_str(line).ok()?;
    if record["message"] != "listening" {
        return None;
    }
    let found = ports.map(|port| record[port].as_str()?.parse().ok());
    found
        .iter()
        .all(Option::is_some)
        .then(|| found.map(|address| address.unwrap_or(([0; 4], 0).into())))
}

/// Waits for 200 at `/readyz`: how long after the start of the process that was.
async fn ready(admin: SocketAddr, process: &Process) -> Result<Duration> {
    let give_up = Instant::now() + Duration::from_secs(30);
    while Instant::now() < give_up {
        if get(admin, "/readyz")
            .await
            .is_ok_and(|status| status == 200)
        {
            return Ok(process.started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("{} does not become ready", process.name).into())
}

async fn get(address: SocketAddr, path: &str) -> Result<u16> {
    Ok(fetch(address, path).await?.0)
}

/// What `/metrics` shows, as Prometheus asks for it.
pub(crate) async fn scrape(admin: SocketAddr) -> Result<String> {
    Ok(String::from_utf8(fetch(admin, "/metrics").await?.1.into())?)
}

async fn fetch(address: SocketAddr, path: &str) -> Result<(u16, Bytes)> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(async { drop(connection.await) });
    let request = Request::get(path)
        .header("host", "localhost")
        .header("accept", "application/openmetrics-text;version=1.0.0")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
