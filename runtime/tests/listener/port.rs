//! A listening port for the tests beside it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ask2do_token_runtime::listener::{
    Acceptor, BindError, ConnectionMetrics, Handler, Listener, Options, Plain, Protocols, Tls,
};
use ask2do_token_runtime::metrics::{Format, Metrics};
use ask2do_token_runtime::shutdown::Stop;
use ask2do_token_tls::{
    Authorities, ClientAuth, ClientTls, Identity, ServerTls, Versions, Watched,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::io::InspectWriter;
use tower::Service;

/// The bounds that a process has, but for PINGs: a paused clock runs on while their answers are on the way.
pub(crate) fn options(protocols: Protocols) -> Options {
    Options {
        ping_interval: Duration::from_secs(24 * 3600),
        ..Options::new(protocols, 1024, None)
    }
}

/// A port, its metrics and what ends it.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    pub(crate) serving: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

pub(crate) async fn bind(address: SocketAddr) -> Result<(Listener, Metrics), BindError> {
    bind_with(address, options(Protocols::Both)).await
}

async fn bind_with(
    address: SocketAddr,
    options: Options,
) -> Result<(Listener, Metrics), BindError> {
    let mut metrics = Metrics::new("test", "0");
    let connections = ConnectionMetrics::register(&mut metrics);
    let listener = Listener::bind("test", address, options, &connections).await?;
    Ok((listener, metrics))
}

impl Port {
    pub(crate) async fn serve(options: Options, slow: Slow) -> Self {
        Self::serve_with(options, Plain, slow).await
    }

    pub(crate) async fn serve_with<A: Acceptor>(options: Options, acceptor: A, slow: Slow) -> Self {
        Self::start(options, acceptor, move || Handler::new(slow.service())).await
    }

    pub(crate) async fn serve_making(
        options: Options,
        make: impl Fn() -> Handler<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start(options, Plain, make).await
    }

    async fn start<A: Acceptor>(
        options: Options,
        acceptor: A,
        make: impl Fn() -> Handler<Answer> + Send + Sync + 'static,
    ) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listener, metrics) = bind_with(any, options).await.unwrap();
        let address = listener.local_address().unwrap();
        let stop = Stop::new();
        let serving = listener.serve(acceptor, move |_connection| make(), stop.clone());
        Self {
            address,
            serving: tokio::spawn(serving),
            stop,
            metrics: Arc::new(metrics),
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until a line of the metrics ends as `expected`.
    pub(crate) async fn until(&self, expected: &str) {
        for _ in 0..1000 {
            let text = self.metrics.encode(Format::Classic);
            if text.lines().any(|line| line.ends_with(expected)) {
                return;
            }
            // Lets the others run; a sleep would let the paused clock jump.
            tokio::task::yield_now().await;
        }
        panic!("never {expected}\n{}", self.metrics.encode(Format::Classic));
    }
}

/// How long answers take.
#[derive(Clone)]
pub(crate) struct Slow {
    reached: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Slow {
    pub(crate) fn none() -> Self {
        let this = Self::until_released();
        this.release();
        this
    }

    pub(crate) fn until_released() -> Self {
        Self {
            reached: Arc::new(Semaphore::new(0)),
            released: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn release(&self) {
        self.released.add_permits(1000);
    }

    /// Waits for one more request.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    pub(crate) fn service(&self) -> Answer {
        Answer(self.clone())
    }
}

#[derive(Clone)]
pub(crate) struct Answer(Slow);

impl Service<Request<Incoming>> for Answer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        assert_ne!(request.uri().path(), "/panic", "as asked");
        let slow = self.0.clone();
        Box::pin(async move {
            slow.reached.add_permits(1);
            slow.released.acquire().await.unwrap().forget();
            Ok(Response::new(Full::from("answer")))
        })
    }
}

/// An HTTP/2 client, and the task that is its connection.
pub(crate) async fn h2(
    stream: TcpStream,
) -> (
    SendRequest<Empty<Bytes>>,
    JoinHandle<Result<(), hyper::Error>>,
) {
    let io = TokioIo::new(stream);
    let (client, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    (client, tokio::spawn(connection))
}

pub(crate) async fn request(
    client: &mut SendRequest<Empty<Bytes>>,
) -> Result<String, hyper::Error> {
    client.ready().await?;
    let request = Request::get("http://x/").body(Empty::new()).unwrap();
    let response = client.send_request(request).await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// What comes until the other end closes or resets.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // Virtual time: far longer than anything here takes.
    let limit = Duration::from_secs(3600);
    let _closed_or_reset = tokio::time::timeout(limit, read).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) struct TlsClient(ClientTls);

impl TlsClient {
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(self.0.config());
        connector.connect(name, stream).await.unwrap()
    }
}

/// TLS without client certificates, and a client that trusts it.
pub(crate) fn tls_acceptor(alpn: &[&[u8]]) -> (impl Acceptor<Peer = ()>, TlsClient) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let authorities = Authorities::from_pem(certificate.as_bytes()).unwrap();
    let server = ServerTls::new(
        Watched::fixed(identity),
        ClientAuth::None,
        Versions::Tls13,
        alpn,
    )
    .unwrap();
    let client = ClientTls::new(Watched::fixed(authorities), None, Versions::Tls13, alpn).unwrap();
    let acceptor = Tls::new(move || server.config(), |_connection| Ok(()));
    (acceptor, TlsClient(client))
}

/// Connections without TLS, whose writes are counted.
#[derive(Clone, Default)]
pub(crate) struct CountedWrites(Arc<AtomicUsize>);

impl CountedWrites {
    pub(crate) fn so_far(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Acceptor for CountedWrites {
    type Io = InspectWriter<TcpStream, Box<dyn FnMut(&[u8]) + Send>>;
    type Peer = ();

    async fn accept(&self, stream: TcpStream) -> io::Result<(Self::Io, ())> {
        let writes = Arc::clone(&self.0);
        let count = move |_: &[u8]| _ = writes.fetch_add(1, Ordering::Relaxed);
        Ok((InspectWriter::new(stream, Box::new(count)), ()))
    }
}
