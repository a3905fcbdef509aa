//! A server that runs in this process, and connections to it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use ask2do_token_proto::v1::token_service_client::TokenServiceClient;
use ask2do_token_proto::v1::{MintTokenRequest, PanelUser as ProtoUser};
use ask2do_token_runtime::config::Arguments;
use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_runtime::shutdown::{Ending, Signals};
use ask2do_token_server::audit::Idle;
use ask2do_token_server::inputs;
use ask2do_token_server::mint::{Mint, MintError, MintedToken, PanelUser};
use ask2do_token_server::serve::{Addresses, Server};
use ask2do_token_tls::{Authorities, crypto_provider};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;

use crate::pki::{Ca, PANEL, Pair};

/// No correct server is as slow; only an incorrect one reaches it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const ORIGIN: &str = "https://localhost";
/// Of a `server.toml`: any free ones.
pub(crate) const PORTS: &str = "grpc.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n";
pub(crate) const MINT_TOKEN: &str = "/ask2do.token.v1.TokenService/MintToken";

/// Mints at once, but for the user `held`, who waits for [`FakeMint::release`].
#[derive(Clone, Default)]
pub(crate) struct FakeMint(Arc<Fake>);

#[derive(Default)]
struct Fake {
    users: Mutex<Vec<String>>,
    release: Notify,
}

impl FakeMint {
    /// The ids that were minted for.
    pub(crate) fn users(&self) -> Vec<String> {
        self.0.users.lock().unwrap().clone()
    }

    pub(crate) fn release(&self) {
        self.0.release.notify_one();
    }
}

impl Mint for FakeMint {
    async fn mint(&self, user: &PanelUser, _: Instant) -> Result<MintedToken, MintError> {
        self.0.users.lock().unwrap().push(user.id().to_owned());
        if user.id() == "held" {
            self.0.release.notified().await;
        }
        Ok(MintedToken {
            token: format!("token-of-{}", user.id()).into(),
            expires_at: OffsetDateTime::now_utc() + Duration::from_secs(900),
        })
    }
}

/// The files of a server.
pub(crate) struct Files {
    pub(crate) dir: TempDir,
    pub(crate) ca: Ca,
}

impl Files {
    /// All that a server needs, with `toml` before the caller [`PANEL`] in `callers.toml`.
    pub(crate) fn new(toml: &str) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
            ca: Ca::new(),
        };
        let server = files.ca.server();
        files.write("ca.crt", &files.ca.pem());
        files.write("tls.crt", &server.cert);
        files.write("tls.key", &server.key);
        files.write("tenant-key", "a-tenant-key\n");
        files.write("callers.toml", &caller("panel", PANEL));
        files.write(
            "server.toml",
            &format!("callers_file = \"callers.toml\"\n{PORTS}{toml}"),
        );
        files
    }

    /// As a whole, so that nobody reads half of it.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    pub(crate) fn arguments(&self) -> Arguments {
        Arguments {
            config: Some(self.dir.path().join("server.toml")),
            ..Arguments::default()
        }
    }
}

pub(crate) fn caller(name: &str, san: &str) -> String {
    format!("[[callers]]\nname = \"{name}\"\nsan = \"{san}\"\nroles = [\"admin\", \"owner\"]\n")
}

/// A server that runs until it is told to end.
pub(crate) struct Running {
    pub(crate) files: Files,
    pub(crate) mint: FakeMint,
    pub(crate) addresses: Addresses,
    signals: mpsc::Sender<&'static str>,
    ended: JoinHandle<Ending>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    pub(crate) async fn start_with(toml: &str) -> Self {
        Self::start_from(Files::new(toml)).await
    }

    pub(crate) async fn start_from(files: Files) -> Self {
        let (inputs, _) = inputs::read(&files.arguments()).unwrap();
        let mint = FakeMint::default();
        let metrics = Metrics::new("test", "0");
        let server = Server::bind(inputs, mint.clone(), metrics, Idle::default())
            .await
            .unwrap();
        let addresses = server.addresses().unwrap();
        let (sender, mut signals) = Signals::channel();
        let ended = tokio::spawn(async move { server.run(&mut signals, async |_| ()).await });
        Self {
            files,
            mint,
            addresses,
            signals: sender,
            ended,
        }
    }

    pub(crate) async fn signal(&self) {
        self.signals.send("SIGTERM").await.unwrap();
    }

    pub(crate) async fn ended(self) -> Ending {
        within(self.ended).await.unwrap()
    }

    pub(crate) async fn connect(&self, identity: Option<&Pair>) -> io::Result<Connection> {
        Connection::open(self.addresses.grpc, &self.files.ca, identity).await
    }

    /// As the caller that is listed.
    pub(crate) async fn panel(&self) -> Connection {
        let identity = self.files.ca.client(PANEL);
        self.connect(Some(&identity)).await.unwrap()
    }

    /// What the admin port answers: status and body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.addresses.admin).await.unwrap();
        let text = within(exchange(stream, path)).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }
}

async fn exchange(mut stream: TcpStream, path: &str) -> io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// One HTTP/2 connection.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Body>,
    pub(crate) ended: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    async fn open(address: SocketAddr, ca: &Ca, identity: Option<&Pair>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(client_config(ca, identity)));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = within(connector.connect(name, stream)).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender,
            ended: tokio::spawn(connection),
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel(self.sender.clone())
    }

    pub(crate) async fn mint(&self, id: &str, role: &str) -> Result<String, Status> {
        let request = MintTokenRequest {
            panel_user: Some(ProtoUser {
                id: id.to_owned(),
                role: role.to_owned(),
            }),
        };
        let mut client = TokenServiceClient::with_origin(self.channel(), Uri::from_static(ORIGIN));
        let reply = within(client.mint_token(request)).await?;
        Ok(reply.into_inner().token)
    }

    /// A request as it stands, and its answer: the status of HTTP, the status of gRPC.
    pub(crate) async fn send(&self, request: Request<Body>) -> (u16, Option<Status>) {
        let response = within(self.sender.clone().send_request(request))
            .await
            .unwrap();
        status_of(response).await
    }
}

pub(crate) async fn status_of(response: Response<Incoming>) -> (u16, Option<Status>) {
    let code = response.status().as_u16();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return (code, Some(status));
    }
    let body = within(response.into_body().collect()).await.unwrap();
    (code, body.trailers().and_then(Status::from_header_map))
}

/// A request with this body, framed or not.
pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    let body = Body::new(http_body_util::Full::new(body.into()));
    Request::post(format!("{ORIGIN}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// What tonic's clients want.
#[derive(Clone)]
pub(crate) struct Channel(SendRequest<Body>);

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

fn client_config(ca: &Ca, identity: Option<&Pair>) -> ClientConfig {
    let authorities = Authorities::from_pem(ca.pem().as_bytes()).unwrap();
    let builder = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authorities.roots());
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes());
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Polls until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, poll).await.is_ok(), "{what}");
}
