//! The one origin that a browser opens: a small reverse proxy in front of panel, gateway and cloud,
//! as an ingress would be.
//!
//! `/chat` goes to the simulated cloud, because a browser refuses a WebSocket whose certificate comes
//! from a throwaway CA; here it is same-origin and plain, and the hop behind is TLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where requests go; all on the loopback.
pub(crate) struct Upstreams {
    /// The panel's own port.
    pub(crate) panel: SocketAddr,
    /// The gateway's port, for [`TOKEN_PATH`].
    pub(crate) gateway: u16,
    /// The simulated cloud's port, for `/chat`.
    pub(crate) cloud: u16,
    /// Trusts the playground's CA.
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

/// Where the widget asks for its token.
pub(crate) const TOKEN_PATH: &str = "/api/ask2do/token";

/// Headers that belong to one connection, not to the request (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    UPGRADE,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
];

/// Everything goes through it.
pub(crate) fn router(upstreams: Upstreams) -> Router {
    Router::new()
        .fallback(forward)
        .with_state(Arc::new(upstreams))
}

async fn forward(
    State(upstreams): State<Arc<Upstreams>>,
    ConnectInfo(browser): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    match pass(&upstreams, browser, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(path, %error, "cannot reach what is behind this origin");
            (
                StatusCode::BAD_GATEWAY,
                "what is behind this origin cannot be reached\n",
            )
                .into_response()
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn pass(
    upstreams: &Upstreams,
    browser: SocketAddr,
    mut request: Request,
) -> Result<Response, Failure> {
    let stream = upstreams.connect(request.uri().path()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection behind this origin ended");
        }
    });
    let upgrade = take_upgrade(request.headers_mut());
    as_an_ingress_would(&mut request, browser)?;
    let Some(protocol) = upgrade else {
        let mut response = sender.send_request(request).await?;
        take_upgrade(response.headers_mut());
        return Ok(response.map(Body::new));
    };
    let browser = hyper::upgrade::on(&mut request);
    offer_upgrade(request.headers_mut(), protocol.clone());
    let mut response = sender.send_request(request).await?;
    take_upgrade(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        offer_upgrade(response.headers_mut(), protocol);
        let behind = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let joined = async {
                let (mut browser, mut behind) =
                    (TokioIo::new(browser.await?), TokioIo::new(behind.await?));
                copy_bidirectional(&mut browser, &mut behind).await?;
                Ok::<_, Failure>(())
            };
            if let Err(error) = joined.await {
                tracing::debug!(%error, "a WebSocket through this origin ended");
            }
        });
    }
    Ok(response.map(Body::new))
}

impl Upstreams {
    async fn connect(&self, path: &str) -> io::Result<Box<dyn Stream>> {
        let address = match path {
            TOKEN_PATH => (Ipv4Addr::LOCALHOST, self.gateway).into(),
            "/chat" => {
                let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.cloud)).await?;
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let stream = TlsConnector::from(Arc::clone(&self.tls))
                    .connect(name, socket)
                    .await?;
                return Ok(Box::new(stream));
            }
            _ => self.panel,
        };
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// `Host` stays as the browser sent it; the rest is what proxies add.
fn as_an_ingress_would(request: &mut Request, browser: SocketAddr) -> Result<(), Failure> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    let headers = request.headers_mut();
    headers.insert(
        "x-forwarded-for",
        HeaderValue::try_from(browser.ip().to_string())?,
    );
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    Ok(())
}

/// Removes what belongs to one connection; the protocol that it asks to change to, if any.
fn take_upgrade(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE).cloned().filter(|_| asked);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    protocol
}

fn offer_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::certificates::{Authority, https_client};
    use crate::cloud::{Cloud, CloudConfig};
    use crate::probe;

    async fn serve(router: Router) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    }

    /// Answers with what came, so that a test sees what got through.
    async fn echo(name: &'static str) -> SocketAddr {
        let told = move |request: Request| async move {
            let host = request.headers()["host"].to_str().unwrap_or("?").to_owned();
            let from = request.headers()["x-forwarded-for"]
                .to_str()
                .unwrap_or("?")
                .to_owned();
            format!(
                "{name} {} {} {host} {from}",
                request.method(),
                request.uri()
            )
        };
        serve(Router::new().fallback(any(told))).await
    }

    async fn origin() -> (SocketAddr, Cloud) {
        let authority = Authority::new("test CA").unwrap();
        let identity = authority.issue_for_localhost("cloud").unwrap();
        let cloud = Cloud::start(CloudConfig::https("key", identity.https_server().unwrap()))
            .await
            .unwrap();
        let upstreams = Upstreams {
            panel: echo("panel").await,
            gateway: echo("gateway").await.port(),
            cloud: cloud.address().port(),
            tls: https_client(authority.certificate_pem().as_bytes()).unwrap(),
        };
        (serve(router(upstreams)).await, cloud)
    }

    #[tokio::test]
    async fn the_tokens_path_goes_to_the_gateway_and_the_rest_to_the_panel() {
        let (origin, _cloud) = origin().await;
        for (path, expected) in [
            ("/", "panel GET /"),
            ("/api/ask2do/token", "gateway GET /api/ask2do/token"),
            ("/api/ask2do/token?a=b", "gateway GET /api/ask2do/token?a=b"),
            ("/api/ask2do/token/", "panel GET /api/ask2do/token/"),
        ] {
            let (status, body) = probe::get(origin.port(), path).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            assert_eq!(body, format!("{expected} localhost 127.0.0.1"));
        }
    }

    #[tokio::test]
    async fn a_web_socket_gets_through_to_the_cloud() {
        let (origin, cloud) = origin().await;
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{origin}/chat"))
            .await
            .unwrap();
        socket
            .send(Message::text(r#"{"type":"auth","jwt":"x"}"#))
            .await
            .unwrap();
        let refused = socket.next().await.unwrap().unwrap();
        assert_eq!(
            refused,
            Message::text(r#"{"error":"invalid token","type":"auth_error"}"#)
        );
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
        assert_eq!(cloud.calls().connections, 1);
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_a_bad_gateway() {
        let (_, cloud) = origin().await;
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let upstreams = Upstreams {
            panel: gone,
            gateway: gone.port(),
            // Its certificate is of another CA.
            cloud: cloud.address().port(),
            tls: https_client(
                Authority::new("other CA")
                    .unwrap()
                    .certificate_pem()
                    .as_bytes(),
            )
            .unwrap(),
        };
        let origin = serve(router(upstreams)).await;
        for path in ["/", TOKEN_PATH, "/chat"] {
            assert_eq!(
                probe::get(origin.port(), path).await.unwrap().0,
                StatusCode::BAD_GATEWAY,
                "{path}"
            );
        }
    }
}
