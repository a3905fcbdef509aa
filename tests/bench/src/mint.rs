//! Scenario `mint`: the server beside a bare one, each alone on one core, at 8 connections x 8 calls
//! in flight.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_proto::v1::{MintTokenRequest, PanelUser};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::child::Process;
use crate::load::{self, Round, Slot};
use crate::measure::{self, Compared, Settings};
use crate::servers::{self, TokenServer};
use crate::{Result, pki};

const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 8;

/// Measures, in rounds of both.
pub(crate) async fn run(settings: &Settings, folder: &Path) -> Result<Compared> {
    let cloud = servers::stub_cloud(settings, folder).await?;
    let starts = servers::start_times(settings, folder, cloud.address).await?;
    let ours = TokenServer::start(settings, folder, cloud.address).await?;
    let bare = servers::bare(settings, folder, cloud.address).await?;
    servers::settle().await;
    let rest = (ours.process.usage()?.rss, bare.process.usage()?.rss);

    let tls = pki::caller(folder)?;
    let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
    for number in 1..=settings.rounds {
        of_ours.push(round(settings, &tls, ours.grpc, &ours.process).await?);
        of_bare.push(round(settings, &tls, bare.address, &bare.process).await?);
        measure::progress("mint", number, settings.rounds, &of_ours, &of_bare);
    }
    let compared = Compared::new(
        measure::Server::new(of_ours, vec![rest.0], starts),
        measure::Server::new(of_bare, vec![rest.1], Vec::new()),
    );
    for process in [ours.process, bare.process, cloud.process] {
        process.end().await?;
    }
    Ok(compared)
}

/// One round of 8 connections x 8 calls in flight.
pub(crate) async fn round(
    settings: &Settings,
    tls: &Arc<ClientConfig>,
    address: SocketAddr,
    process: &Process,
) -> Result<Round> {
    let mut slots = Vec::new();
    for connection in 0..CONNECTIONS {
        let sender = connect(tls.clone(), address).await?;
        for slot in 0..IN_FLIGHT {
            let body = request(connection * IN_FLIGHT + slot);
            let sender = sender.clone();
            slots.push(Calls { sender, body });
        }
    }
    load::round(slots, &[process], settings.timing).await
}

async fn connect(tls: Arc<ClientConfig>, address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
    let (sender, connection) = tokio::time::timeout(Duration::from_secs(10), handshake).await??;
    // What goes wrong with it shows in the calls.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// One gRPC message for the user of this number.
fn request(user: usize) -> Bytes {
    let message = MintTokenRequest {
        panel_user: Some(PanelUser {
            id: format!("user-{user}"),
            role: "admin".to_owned(),
        }),
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.encoded_len().try_into().unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

struct Calls {
    sender: SendRequest<Full<Bytes>>,
    body: Bytes,
}

impl Slot for Calls {
    async fn exchange(&mut self) -> Result<()> {
        let request = Request::post("https://localhost/ask2do.token.v1.TokenService/MintToken")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "6S")
            .body(Full::new(self.body.clone()))?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let status =
            |headers: &HeaderMap| headers.get("grpc-status").is_some_and(|code| code == "0");
        let ok = head.status == StatusCode::OK && body.trailers().is_some_and(status);
        // A token has some 300 bytes.
        if ok && body.to_bytes().len() > 200 {
            return Ok(());
        }
        Err(format!("a mint failed: {head:?}").into())
    }
}
