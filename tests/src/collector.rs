//! Takes whatever is exported to it, as an OpenTelemetry collector would.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running collector. It ends when this is dropped.
#[derive(Debug)]
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`, with the protocol `http/protobuf`.
    pub url: String,
    got: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(accept(listener, got.clone()));
        Self {
            url,
            got,
            accepting,
        }
    }

    /// Everything so far.
    ///
    /// # Panics
    ///
    /// Never: nothing panics under the lock.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, got: Arc<Mutex<Vec<u8>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let got = got.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let got = got.clone();
            async move {
                if let Ok(body) = request.into_body().collect().await {
                    got.lock().unwrap().extend_from_slice(&body.to_bytes());
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}
