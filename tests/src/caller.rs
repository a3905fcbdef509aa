//! A caller of the service that owes nothing to our own client: TLS, HTTP/2 and gRPC's framing, each
//! to be bent by a test.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ask2do_token_proto::v1::{MintTokenRequest, MintTokenResponse, PanelUser};
use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::Pair;
use crate::reply::Reply;
use crate::wire::Wire;

/// The service's one method.
pub const MINT_TOKEN: &str = "/ask2do.token.v1.TokenService/MintToken";

/// A request's body.
pub type RequestBody = BoxBody<Bytes, Infallible>;

/// What a caller brings to a connection: whom it trusts, and who it is.
#[derive(Clone, Debug)]
pub struct Caller(Arc<ClientConfig>);

/// An open connection. Dropped, it closes.
#[derive(Debug)]
pub struct Connection {
    sender: http2::SendRequest<RequestBody>,
    wire: Wire,
    driver: JoinHandle<Result<(), hyper::Error>>,
    /// What TLS has agreed on.
    pub tls: Agreed,
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The version.
    pub version: ProtocolVersion,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: String,
    /// Whether it resumed an earlier session.
    pub resumed: bool,
    /// The server's certificate.
    pub certificate: CertificateDer<'static>,
}

impl Caller {
    /// Trusts `authorities` (PEM) and shows `pair`, in TLS 1.3 and 1.2.
    ///
    /// # Panics
    ///
    /// When that makes no configuration.
    #[must_use]
    pub fn new(authorities: &str, pair: Option<&Pair>) -> Self {
        Self::speaking(rustls::ALL_VERSIONS, authorities, pair)
    }

    /// The same, in these versions of TLS alone.
    ///
    /// # Panics
    ///
    /// When that makes no configuration.
    #[must_use]
    pub fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        authorities: &str,
        pair: Option<&Pair>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![pair.der()], key)
                    .unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// The same, offering these protocols of applications instead of HTTP/2.
    #[must_use]
    pub fn offering(&self, protocols: &[&str]) -> Self {
        let mut config = (*self.0).clone();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Self(Arc::new(config))
    }

    /// Shakes hands. In TLS 1.3 the server's verdict on the caller's certificate comes later, with the
    /// first bytes that are read.
    ///
    /// # Errors
    ///
    /// There is no connection, or the handshake fails on this side.
    pub async fn handshake(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(self.0.clone())
            .connect(ServerName::IpAddress(address.ip().into()), stream)
            .await
    }

    /// Connects, for calls.
    ///
    /// # Errors
    ///
    /// As [`handshake`](Self::handshake).
    ///
    /// # Panics
    ///
    /// When TLS says nothing of what it agreed on.
    pub async fn try_connect(&self, address: SocketAddr) -> io::Result<Connection> {
        self.open(address, false).await
    }

    /// The same, deaf to the server's wish to end the connection.
    ///
    /// # Panics
    ///
    /// When there is no connection.
    pub async fn connect_deaf(&self, address: SocketAddr) -> Connection {
        self.open(address, true).await.unwrap()
    }

    async fn open(&self, address: SocketAddr, is_deaf: bool) -> io::Result<Connection> {
        let stream = self.handshake(address).await?;
        let session = stream.get_ref().1;
        let tls = Agreed {
            version: session.protocol_version().unwrap(),
            group: format!(
                "{:?}",
                session.negotiated_key_exchange_group().unwrap().name()
            ),
            resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            certificate: session.peer_certificates().unwrap()[0].clone().into_owned(),
        };
        let (stream, wire) = Wire::tap(stream, is_deaf);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Connection {
            sender,
            wire,
            driver: tokio::spawn(connection),
            tls,
        })
    }

    /// Connects, for calls.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn connect(&self, address: SocketAddr) -> Connection {
        self.try_connect(address).await.unwrap()
    }
}

impl Connection {
    /// Sends any request.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Reply, hyper::Error> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Reply::read(sender.send_request(request).await?).await
    }

    /// Calls `path` with the bytes of one message.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn call(&self, path: &str, message: &[u8]) -> Result<Reply, hyper::Error> {
        self.send(request(path, framed(message))).await
    }

    /// Asks for a token.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn mint(&self, id: &str, role: &str) -> Reply {
        self.try_mint(id, role).await.unwrap()
    }

    /// Asks for a token.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn try_mint(&self, id: &str, role: &str) -> Result<Reply, hyper::Error> {
        self.call(MINT_TOKEN, &user(id, role)).await
    }

    /// Asks for a token with a `grpc-timeout`.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn mint_within(&self, timeout: &str, id: &str, role: &str) -> Reply {
        let mut request = request(MINT_TOKEN, framed(&user(id, role)));
        request
            .headers_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
        self.send(request).await.unwrap()
    }

    /// What came over the wire.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A request as gRPC wants it.
///
/// # Panics
///
/// When `path` is none.
#[must_use]
pub fn request(path: &str, body: Bytes) -> Request<RequestBody> {
    with_body(path, Full::new(body).boxed())
}

/// A request as gRPC wants it, with any body.
///
/// # Panics
///
/// When `path` is none.
#[must_use]
pub fn with_body(path: &str, body: RequestBody) -> Request<RequestBody> {
    Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// One message in gRPC's frame.
///
/// # Panics
///
/// When it has 4 GiB.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// The bytes of a `MintTokenRequest`.
#[must_use]
pub fn user(id: &str, role: &str) -> Vec<u8> {
    let panel_user = PanelUser {
        id: id.to_owned(),
        role: role.to_owned(),
    };
    MintTokenRequest {
        panel_user: Some(panel_user),
    }
    .encode_to_vec()
}

/// The same for a role and an id that are no text.
#[must_use]
pub fn raw_user(id: &[u8], role: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
        out
    };
    field(1, &[field(1, id), field(2, role)].concat())
}

/// A reply's one message.
///
/// # Panics
///
/// When it is none.
#[track_caller]
#[allow(clippy::must_use_candidate, reason = "its check is the use")]
pub fn minted(reply: &Reply) -> MintTokenResponse {
    let status = reply.status();
    assert_eq!(status.code(), tonic::Code::Ok, "{status:?}");
    let (prefix, message) = reply.body.split_at(5);
    assert_eq!(prefix[0], 0, "not compressed");
    assert_eq!(
        &prefix[1..],
        u32::try_from(message.len()).unwrap().to_be_bytes()
    );
    MintTokenResponse::decode(message).unwrap()
}
