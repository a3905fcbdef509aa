//! Passes on to somebody else's collector, over plain HTTP or gRPC, what the parts export to the panel.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::uri::InvalidUri;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

/// The most batches that wait for the collector; more are not passed on.
const WAITING: usize = 64;
/// For one batch.
const LIMIT: Duration = Duration::from_secs(10);

/// What gRPC calls the exporters' method.
const METHOD: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// OTLP over HTTP.
    #[value(name = "http/protobuf")]
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// The way to the collector. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Relay(mpsc::Sender<Bytes>);

impl Relay {
    /// To the endpoint, as `--otlp` names it.
    ///
    /// # Errors
    ///
    /// It is no URL.
    pub(crate) fn to(endpoint: &str, protocol: Protocol) -> Result<Self, InvalidUri> {
        let endpoint = endpoint.trim_end_matches('/');
        let target = match protocol {
            Protocol::Http => format!("{endpoint}/v1/traces"),
            Protocol::Grpc => format!("{endpoint}/{METHOD}"),
        };
        let (sender, batches) = mpsc::channel(WAITING);
        tokio::spawn(pass_on(target.parse()?, protocol, batches));
        Ok(Self(sender))
    }

    /// Passes one batch on, in a while.
    pub(crate) fn send(&self, batch: Bytes) {
        if self.0.try_send(batch).is_err() {
            tracing::warn!("the trace collector is too slow: a batch is not passed on");
        }
    }
}

async fn pass_on(target: Uri, protocol: Protocol, mut batches: mpsc::Receiver<Bytes>) {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(protocol == Protocol::Grpc)
        .build_http();
    while let Some(batch) = batches.recv().await {
        let done = timeout(LIMIT, post(&client, &target, protocol, batch)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%target, error, "a batch of spans was not taken"),
            Err(_) => tracing::warn!(%target, "the trace collector does not answer"),
        }
    }
}

async fn post(
    client: &Client<HttpConnector, Full<Bytes>>,
    target: &Uri,
    protocol: Protocol,
    batch: Bytes,
) -> Result<(), String> {
    let request = Request::post(target.clone());
    let request = match protocol {
        Protocol::Http => request
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(batch)),
        Protocol::Grpc => request
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(framed(&batch))),
    };
    let request = request.map_err(|error| error.to_string())?;
    let response = client.request(request).await;
    let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let refused = |headers: &HeaderMap| {
        let status = headers.get("grpc-status")?;
        (status != "0").then(|| format!("gRPC status {status:?}"))
    };
    match refused(&head.headers).or_else(|| refused(body.trailers()?)) {
        Some(refused) => Err(refused),
        None if head.status.is_success() => Ok(()),
        None => Err(format!("HTTP status {}", head.status)),
    }
}

/// In gRPC's frame, not compressed.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    // A batch has a limit far below.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}
