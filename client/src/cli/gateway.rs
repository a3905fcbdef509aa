//! What `health --gateway` asks: a call without a session, which must be refused.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Scheme, Uri};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::exit::Exit;

/// A gateway answers within 10 s, whatever happens behind it.
const LIMIT: Duration = Duration::from_secs(15);

/// The URL of a gateway's one path.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    uri: Uri,
    host: String,
    port: u16,
    is_https: bool,
}

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be a URL such as http://gateway:8080/api/ask2do/token".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Ok(Self {
            uri,
            host,
            port,
            is_https,
        })
    }
}

impl Gateway {
    pub(super) async fn refuses_a_logged_out_call(self) -> Exit {
        let answer = timeout(LIMIT, self.call())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match answer {
            Ok(StatusCode::UNAUTHORIZED) => Exit::Done.print("LOGIN_REQUIRED"),
            Ok(status) => Exit::Failed.complain(&format!(
                "the gateway answered {status} to a logged-out call; 401 was to be expected"
            )),
            Err(error) => Exit::Unavailable.complain(&format!("{}: {error}", self.uri)),
        }
    }

    async fn call(&self) -> io::Result<StatusCode> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        if !self.is_https {
            return self.exchange(tcp).await;
        }
        let config = ask2do_token_tls::https_client_config(None).map_err(io::Error::other)?;
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        self.exchange(tls).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<StatusCode> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(connection);
        let request = self.request().map_err(io::Error::other)?;
        let status = sender
            .send_request(request)
            .await
            .map(|reply| reply.status());
        driver.abort();
        status.map_err(io::Error::other)
    }

    /// A script's call, which no session vouches for: neither cookie nor header.
    fn request(&self) -> http::Result<Request<Empty<Bytes>>> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        Request::post(path)
            .header(HOST, authority)
            // Past the gateway's guard against forms of other sites, to the question who this is.
            .header(CONTENT_TYPE, "application/json")
            .body(Empty::new())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a gateway that answers with this status line.
    async fn asked(status: &'static str) -> (Exit, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway: Gateway = format!("http://{address}/api/ask2do/token")
            .parse()
            .unwrap();
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        tokio::join!(gateway.refuses_a_logged_out_call(), answer)
    }

    #[tokio::test]
    async fn only_a_401_shows_that_a_logged_out_call_is_refused() {
        assert_eq!(asked("401 Unauthorized").await.0, Exit::Done);
        for other in ["200 OK", "302 Found", "403 Forbidden", "404 Not Found"] {
            assert_eq!(asked(other).await.0, Exit::Failed, "{other}");
        }
    }

    #[tokio::test]
    async fn the_call_is_a_post_to_the_path_without_a_session() {
        let request = asked("401 Unauthorized").await.1.to_lowercase();
        assert!(request.starts_with("post /api/ask2do/token http/1.1\r\n"));
        assert!(request.contains("host: 127.0.0.1:"));
        assert!(!request.contains("cookie") && !request.contains("authorization"));
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_unavailable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let gateway: Gateway = format!("http://{address}/").parse().unwrap();
        assert_eq!(gateway.refuses_a_logged_out_call().await, Exit::Unavailable);
    }
}
