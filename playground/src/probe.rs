//! Whether a child answers yet.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A single question is not worth more; it is asked again.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether something accepts connections at this port of the loopback.
pub(crate) async fn listens(port: u16) -> bool {
    matches!(timeout(LIMIT, connect(port)).await, Ok(Ok(_)))
}

/// Whether `GET path` at this port of the loopback answers 200.
pub(crate) async fn answers(port: u16, path: &str) -> bool {
    matches!(
        timeout(LIMIT, status(port, path)).await,
        Ok(Ok(StatusCode::OK))
    )
}

async fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}

async fn status(
    port: u16,
    path: &str,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(connect(port).await?)).await?;
    let request = Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer?.status()),
        ended = connection => {
            ended?;
            Err("the connection ended without an answer".into())
        }
    }
}
