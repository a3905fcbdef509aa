//! The whole path on one machine: certificates, the simulated cloud, the real server, one token, and
//! the lines to copy.

mod parts;
mod report;
mod settings;

use std::io::{self, Write as _};
use std::path::PathBuf;

use ask2do_token_client::{MintedToken, PanelUser, TokenClient};
use ask2do_token_runtime::shutdown::Signals;
use futures_util::future::select_all;

use crate::child::Child;
use crate::cli::Failure;
use crate::folder::{Folder, Readers};
use crate::ports::{self, Ports};

/// The specification's variable for where traces go.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Those for how, the one for traces first.
const OTLP_PROTOCOL: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// How the demo runs.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keeps the files there, under stable names, instead of in a temporary folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Fixes the ports: cloud N, gRPC N+1, server's admin port N+2, gateway N+3, its admin port N+4,
    /// demo panel N+5; free ones where not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(u16::MAX - ports::COUNT + 1)))]
    port: Option<u16>,

    /// Sends the parts' traces to this OTLP endpoint, such as http://localhost:4318 (a port for gRPC with
    /// OTEL_EXPORTER_OTLP_PROTOCOL=grpc)
    #[arg(long, value_name = "URL")]
    otlp: Option<url::Url>,

    /// Ends after the first token
    #[arg(long)]
    once: bool,
}

/// Runs until a signal, or to the first token.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut folder = match &options.dir {
        Some(dir) => Folder::at(dir)?,
        None => Folder::temporary()?,
    };
    let ports = match options.port {
        Some(first) => Ports::at(first)?,
        None => Ports::find()?,
    };
    write_files(&mut folder, ports)?;

    let mut children = Vec::new();
    let outcome = tokio::select! {
        outcome = stay_up(&options, &folder, ports, &mut children) => outcome,
        _ = signals.next() => Ok(()),
    };
    // The last one started stands on those before it.
    while let Some(child) = children.pop() {
        child.end().await?;
    }
    outcome
}

fn write_files(folder: &mut Folder, ports: Ports) -> Result<(), Failure> {
    folder.ensure_certificates()?;
    folder.ensure_tenant_key()?;
    for (name, written) in [
        ("server.toml", settings::server(ports)),
        ("gateway.toml", settings::gateway(ports)),
    ] {
        if folder.renew(name, Readers::All, &written)? {
            continue;
        }
        let path = folder.file(name);
        if !settings::names_ports(&folder.read(name)?, &written, ports) {
            return Err(format!(
                "{}: you changed this file, so it is used as it is, and it names other ports: give the --port it was made for, or move it away",
                path.display()
            )
            .into());
        }
        writeln!(io::stderr(), "using {} as you changed it", path.display())?;
    }
    Ok(())
}

async fn stay_up(
    options: &Options,
    folder: &Folder,
    ports: Ports,
    children: &mut Vec<Child>,
) -> Result<(), Failure> {
    start(options, folder, ports, children).await?;
    let minted = mint(folder, ports).await?;
    let mut told = report::token(minted.expose_token(), minted.expires_at())?;
    if !options.once {
        told += &report::running(folder, ports)?;
        if let Some(url) = &options.otlp {
            told += &report::traces(url);
        }
    }
    io::stdout().write_all(told.as_bytes())?;
    if options.once {
        return Ok(());
    }
    let (ended, ..) = select_all(children.iter_mut().map(|child| Box::pin(child.ended()))).await;
    Err(ended.into())
}

/// Starts every part, then waits for each.
async fn start(
    options: &Options,
    folder: &Folder,
    ports: Ports,
    children: &mut Vec<Child>,
) -> Result<(), Failure> {
    let panel = format!("http://127.0.0.1:{}", ports.panel());
    let to_panel = || {
        let protocol = OTLP_PROTOCOL.map(|name| (name, "http/protobuf"));
        [&[(OTLP_ENDPOINT, &*panel)], &protocol[..]].concat()
    };
    // The panel shows each hop, and passes it on; what it cannot speak to, or what the user's own variables
    // name, is exported to by the parts themselves.
    let (environment, relay) = match &options.otlp {
        Some(url) if can_relay(url) => (to_panel(), Some(url)),
        Some(url) => (vec![(OTLP_ENDPOINT, url.as_str())], None),
        None if environment_exports() => (Vec::new(), None),
        None => (to_panel(), None),
    };
    let parts = parts::parts(folder, ports, relay.map(|url| (url, protocol())));
    for part in &parts {
        children.push(Child::start(
            part.name,
            part.service,
            &environment,
            &part.arguments,
        )?);
    }
    for (child, part) in children.iter_mut().zip(&parts) {
        child.ready(async || part.is_ready().await).await?;
    }
    Ok(())
}

/// Whether the panel can pass spans on: not with TLS, headers or whatever else variables ask for.
fn can_relay(url: &url::Url) -> bool {
    let asks = |name: &str| {
        name.starts_with("OTEL_EXPORTER_OTLP_") && !OTLP_PROTOCOL.contains(&name)
            || name == "OTEL_TRACES_EXPORTER"
    };
    let asked = std::env::vars_os().any(|(name, _)| asks(&name.to_string_lossy()));
    url.scheme() == "http" && !asked
}

/// How the collector wants to be spoken to; what means nothing is the specification's default.
fn protocol() -> &'static str {
    let value = OTLP_PROTOCOL.iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.trim().is_empty()).then_some(value)
    });
    match value.as_deref().map(str::trim) {
        Some("grpc") => "grpc",
        _ => "http/protobuf",
    }
}

/// Whether the user's own variables say where traces go.
fn environment_exports() -> bool {
    std::env::vars_os().any(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("OTEL_EXPORTER_OTLP_") || name == "OTEL_TRACES_EXPORTER"
    })
}

/// One token, as any caller gets it.
async fn mint(folder: &Folder, ports: Ports) -> Result<MintedToken, Failure> {
    let client = TokenClient::builder(format!("https://localhost:{}", ports.grpc()))
        .ca_file(folder.file("ca.crt"))
        .identity_files(folder.file("caller.crt"), folder.file("caller.key"))
        .build()?;
    let user = PanelUser::new(report::PANEL_ID, report::PANEL_ROLE);
    Ok(client.mint_token(&user).await?)
}
