//! One HTTP request on a connection of its own, each header as it is given: no client that knows better.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::openapi::assert_documented;

/// What the gateway, and nobody else here, puts into every answer.
const REQUEST_ID: &str = "x-request-id";

/// A request to be.
#[derive(Clone, Debug)]
pub struct Exchange {
    request: Request<Full<Bytes>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From the connection's begin to the body's end.
    pub took: Duration,
}

impl Exchange {
    /// With no header but `Host: panel.example`.
    ///
    /// # Panics
    ///
    /// When `target` is none.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "panel.example")
            .body(Full::default())
            .unwrap();
        Self { request }
    }

    /// With one more header, beside others of that name.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().unwrap();
        self.request.headers_mut().append(name, value);
        self
    }

    /// With these headers.
    #[must_use]
    pub fn headers(self, headers: &[(&'static str, &str)]) -> Self {
        headers
            .iter()
            .fold(self, |this, (name, value)| this.header(name, value))
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    /// Sends it there. A gateway's answer must be one that `docs/openapi.yaml` has.
    ///
    /// # Errors
    ///
    /// There is no whole answer.
    ///
    /// # Panics
    ///
    /// When a gateway's answer is not documented.
    pub async fn send(self, address: SocketAddr) -> io::Result<Answer> {
        let begun = Instant::now();
        let method = self.request.method().clone();
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let exchange = async {
            let (parts, body) = sender.send_request(self.request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
                took: begun.elapsed(),
            })
        };
        let answer = exchange.await;
        connection.abort();
        let answer = answer.map_err(io::Error::other)?;
        // Others answer here too: a proxy, and a panel behind it.
        if answer.headers.contains_key(REQUEST_ID) {
            answer.assert_documented(&method);
        }
        Ok(answer)
    }
}

impl Answer {
    /// Of HTTP/1, as it came over the wire. It says nothing of how long it took.
    ///
    /// # Panics
    ///
    /// When `head` is none.
    #[must_use]
    pub fn parse(head: &str, body: impl Into<Bytes>) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        Self {
            status: StatusCode::from_bytes(status.unwrap().as_bytes()).unwrap(),
            headers,
            body: body.into(),
            took: Duration::ZERO,
        }
    }

    /// Checks that this is an answer to this method that `docs/openapi.yaml` has.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[track_caller]
    pub fn assert_documented(&self, method: &Method) {
        assert_documented(method, self.status, &self.headers, &self.body);
    }

    /// The body's text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, where it is JSON; else `null`.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Status and `code` of a gateway's answer: `OK` for a token.
    ///
    /// # Panics
    ///
    /// When it is no answer of a gateway, which has a request's id.
    #[must_use]
    pub fn outcome(&self) -> (u16, String) {
        assert!(self.headers.contains_key(REQUEST_ID), "{self:?}");
        let json = self.json();
        let code = match json["code"].as_str() {
            None if json["token"].is_string() => "OK",
            code => code.unwrap_or("no code"),
        };
        (self.status.as_u16(), code.to_owned())
    }
}
