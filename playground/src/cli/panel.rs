//! `panel`: the demo panel behind its origin. Only the playground starts it, as a child.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ask2do_token_runtime::shutdown::Signals;
use tokio::net::TcpListener;

use super::Failure;
use crate::certificates::https_client;
use crate::panel::relay::{Protocol, Relay};
use crate::{origin, panel};

/// Where the origin is, and what is behind it beside the panel.
#[derive(clap::Args)]
pub(super) struct Options {
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,

    #[arg(long, value_name = "PORT")]
    gateway: u16,

    #[arg(long, value_name = "PORT")]
    cloud: u16,

    #[arg(long, value_name = "FILE")]
    ca: PathBuf,

    /// Where the spans go on to that are exported to the panel.
    #[arg(long, value_name = "URL")]
    relay: Option<String>,

    #[arg(long, value_enum, default_value = "http/protobuf")]
    relay_protocol: Protocol,
}

pub(super) async fn run(options: Options) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let ca =
        std::fs::read(&options.ca).map_err(|error| format!("{}: {error}", options.ca.display()))?;
    let relay = options
        .relay
        .map(|endpoint| Relay::to(&endpoint, options.relay_protocol))
        .transpose()?;
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let upstreams = origin::Upstreams {
        panel: own.local_addr()?,
        gateway: options.gateway,
        cloud: options.cloud,
        tls: https_client(&ca)?,
    };
    let origin = TcpListener::bind(options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let origin = axum::serve(
        origin,
        origin::router(upstreams).into_make_service_with_connect_info::<SocketAddr>(),
    );
    tokio::select! {
        ended = async { axum::serve(own, panel::router(relay)).await } => Ok(ended?),
        ended = async { origin.await } => Ok(ended?),
        _ = signals.next() => Ok(()),
    }
}
