//! A cloud that does what a test's script says, down to the bytes and the socket.

use std::future::Future;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::{NamedGroup, ServerConfig};
use serde_json::{Value, json};
use socket2::{SockFilter, SockRef, Socket};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What the stub does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Answers these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Answers these bytes and closes the connection.
    AnswerAndClose(Vec<u8>),
    /// Answers these bytes, then one byte more now and then, for ever.
    Drip(Vec<u8>),
    /// Never answers.
    Hang,
    /// Resets the connection.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Request line and headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// The stub. Its tasks end with the test's runtime.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<dyn Fn(usize) -> Act + Send + Sync>,
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    sockets: Mutex<Vec<Socket>>,
    key_exchanges: Mutex<Vec<NamedGroup>>,
    came: Notify,
}

impl Stub {
    /// Speaks plain HTTP. `script` gets the number of the request, beginning with 0.
    pub(super) async fn plain(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start(None, script).await
    }

    /// Speaks HTTPS.
    pub(super) async fn tls(
        config: ServerConfig,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), script).await
    }

    async fn start(
        acceptor: Option<TlsAcceptor>,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            sockets: Mutex::default(),
            key_exchanges: Mutex::default(),
            came: Notify::new(),
        });
        tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Self { address, shared }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    pub(super) fn requests_came(&self, count: usize) -> impl Future<Output = ()> + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            while shared.requests.lock().unwrap().len() < count {
                let _again =
                    tokio::time::timeout(Duration::from_millis(10), shared.came.notified());
                _again.await.unwrap_or_default();
            }
        }
    }

    /// The key exchange of each TLS handshake.
    pub(super) fn key_exchanges(&self) -> Vec<NamedGroup> {
        self.shared.key_exchanges.lock().unwrap().clone()
    }

    /// Whether the client has closed every connection.
    pub(super) fn closed_by_peer(&self) -> bool {
        let sockets = self.shared.sockets.lock().unwrap();
        sockets.iter().all(|socket| {
            let mut byte = [MaybeUninit::uninit()];
            matches!(socket.peek(&mut byte), Ok(0))
        })
    }

    /// From here on, packets on the connections that stand are dropped unseen, as where a NAT has
    /// forgotten them: nothing is acknowledged, refused or reset.
    pub(super) fn black_hole(&self) {
        // BPF_RET | BPF_K: accept 0 bytes of each packet.
        let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
        for socket in self.shared.sockets.lock().unwrap().iter() {
            socket.attach_filter(&drop_all).unwrap();
        }
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let socket = SockRef::from(&stream).try_clone().unwrap();
        shared.sockets.lock().unwrap().push(socket);
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, &shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let group = stream.get_ref().1.negotiated_key_exchange_group();
                        let group = group.unwrap().name();
                        shared.key_exchanges.lock().unwrap().push(group);
                        serve(stream, &shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Socketed + Unpin, shared: &Shared) {
    while let Some(request) = read(&mut stream).await {
        let number = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        shared.came.notify_waiters();
        match (shared.script)(number) {
            Act::Answer(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
            Act::AnswerAndClose(bytes) => {
                stream.write_all(&bytes).await.unwrap_or_default();
                return stream.shutdown().await.unwrap_or_default();
            }
            Act::Drip(bytes) => {
                let mut bytes = bytes;
                while stream.write_all(&bytes).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    bytes = b" ".to_vec();
                }
            }
            Act::Hang => std::future::pending().await,
            Act::Reset => {
                // Closing then sends RST; the other handle on the socket must go first.
                SockRef::from(stream.socket())
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                return shared.sockets.lock().unwrap().clear();
            }
        }
    }
}

/// What has a TCP socket below.
pub(super) trait Socketed {
    fn socket(&self) -> &TcpStream;
}

impl Socketed for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Socketed for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let mut body = bytes.split_off(head_end);
    let head = String::from_utf8(bytes).unwrap();
    let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
    while body.len() < length {
        (stream.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    Some(Request { head, body })
}

/// A header's value in a request's head.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// An HTTP answer with this status line, these headers and this body.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// A JWT for panel user 42, an admin, that ends in a quarter of an hour.
pub(super) fn token() -> String {
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let exp = (OffsetDateTime::now_utc() + Duration::from_secs(900)).unix_timestamp();
    let header = part(json!({"alg": "EdDSA", "kid": "1"}));
    let claims = part(json!({"sub": "42", "role": "admin", "exp": exp}));
    format!("{header}.{claims}.c2lnbmF0dXJl")
}

/// The vendor's 200 with [`token`].
pub(super) fn granted() -> Vec<u8> {
    let expires_at = OffsetDateTime::now_utc() + Duration::from_secs(900);
    let expires_at = expires_at.format(&Rfc3339).unwrap();
    let body = json!({"token": token(), "expiresAt": expires_at}).to_string();
    answer("200 OK", "Content-Type: application/json\r\n", &body)
}
