//! The admin port, as Kubernetes and Prometheus ask it.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Status and body of one GET.
///
/// # Errors
///
/// There is no answer.
///
/// # Panics
///
/// When `path` is none.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask(address, path, "*/*").await
}

/// The body of one GET in a form of its choice.
///
/// # Panics
///
/// When there is none.
pub async fn get_as(address: SocketAddr, path: &str, accept: &str) -> String {
    ask(address, path, accept).await.unwrap().1
}

async fn ask(address: SocketAddr, path: &str, accept: &str) -> io::Result<(u16, String)> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "admin")
        .header("accept", accept)
        .body(Empty::<Bytes>::new())
        .unwrap();
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let answered: Result<_, hyper::Error> = exchange.await;
    connection.abort();
    let (status, body) = answered.map_err(io::Error::other)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The value of one series in the text of `/metrics`.
#[must_use]
pub fn sample(text: &str, series: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .and_then(|value| value.split(' ').next()?.parse().ok())
}
