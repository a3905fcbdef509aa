//! A stub of a trace collector: takes whatever comes by OTLP over HTTP, and answers at once.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Result;

/// Serves for ever; the first line of its output is its address.
#[expect(clippy::print_stdout, reason = "how the parent learns the address")]
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(take));
            // How a connection ends is its client's business.
            tokio::spawn(async { drop(connection.await) });
        }
    })
}

async fn take(
    request: Request<Incoming>,
) -> std::result::Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    // An empty message: everything was taken.
    let mut response = Response::new(Empty::new());
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, protobuf);
    Ok(response)
}
