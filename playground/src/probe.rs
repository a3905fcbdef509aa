//! Whether a child answers yet.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A single question is not worth more; it is asked again.
const LIMIT: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whether something accepts connections at this port of the loopback.
pub(crate) async fn listens(port: u16) -> bool {
    matches!(timeout(LIMIT, connect(port)).await, Ok(Ok(_)))
}

/// Whether `GET path` at this port of the loopback answers 200.
pub(crate) async fn answers(port: u16, path: &str) -> bool {
    matches!(
        timeout(LIMIT, get(port, path)).await,
        Ok(Ok((StatusCode::OK, _)))
    )
}

/// What `GET path` at this port of the loopback answers.
pub(crate) async fn get(port: u16, path: &str) -> Result<(StatusCode, String), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(connect(port).await?)).await?;
    let request = Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, Failure>((parts.status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => {
            ended?;
            // The whole answer may have come with the end.
            answer.await
        }
    }
}

async fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}
