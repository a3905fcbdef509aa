//! The gRPC service: who may call what, and one connection's calls to their answers.
//!
//! tonic's generated server would read and decode a request before anybody can ask who sends it.
//! Here each connection's [`Service`] authorizes first, and only then reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ask2do_token_runtime::listener::Handler;
use ask2do_token_runtime::readiness::Readiness;
use ask2do_token_runtime::shutdown::Stop;
use ask2do_token_tls::{PeerCertificate, ServerTls};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;

use crate::admission::Admission;
use crate::audit::Audit;
use crate::metrics::MintMetrics;
use crate::mint::Mint;

mod deadline;
mod message;
mod mint_token;
mod peer;
mod side;
mod status;
mod trace;

use mint_token::{MintToken, authorize};
use peer::Peer;
use side::{Reflection, Side};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const MINT_TOKEN: &str = "/ask2do.token.v1.TokenService/MintToken";
const HEALTH: &str = "/grpc.health.v1.Health/";

/// What the service is made of.
#[derive(Debug)]
pub struct Parts<M> {
    /// Mints.
    pub mint: M,
    /// Says who may.
    pub admission: Arc<Admission>,
    /// The most time for a mint, from the request's arrival.
    pub timeout: Duration,
    /// Counts mints.
    pub metrics: MintMetrics,
    /// Writes down what was decided.
    pub audit: Audit,
    /// Whether reflection is served.
    pub reflection: bool,
}

/// The service, for all connections. Clones share it.
pub struct Grpc<M>(Arc<Shared<M>>);

struct Shared<M> {
    mint_token: MintToken<M>,
    health: Side,
    reflection: Option<Reflection>,
}

impl<M> Clone for Grpc<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Mint> Grpc<M> {
    /// Puts the service together. The future keeps health in step with `readiness`: spawn it.
    ///
    /// # Errors
    ///
    /// The descriptors of reflection do not decode.
    pub async fn new(
        parts: Parts<M>,
        readiness: &Readiness,
        stop: &Stop,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<M>), tonic_reflection::server::Error>
    {
        let (health, follow) = side::health(readiness, stop.clone()).await;
        let reflection = parts
            .reflection
            .then(|| Reflection::new(stop))
            .transpose()?;
        let mint_token = MintToken {
            mint: parts.mint,
            admission: parts.admission,
            timeout: parts.timeout,
            metrics: parts.metrics,
            audit: parts.audit,
        };
        let shared = Shared {
            mint_token,
            health,
            reflection,
        };
        Ok((Self(Arc::new(shared)), follow))
    }

    /// Serves the connection of `certificate`, which `tls` has verified, and asks it to end when it
    /// no longer verifies.
    pub fn handler(
        &self,
        certificate: PeerCertificate,
        tls: &Arc<ServerTls>,
    ) -> Handler<Service<M>> {
        let peer = Arc::new(Peer::new(certificate));
        let (watched, tls) = (peer.clone(), tls.clone());
        let service = Service {
            grpc: self.0.clone(),
            peer,
        };
        Handler::new(service).leave_when(async move { watched.until_rejected(&tls).await })
    }
}

/// Serves one connection.
pub struct Service<M> {
    grpc: Arc<Shared<M>>,
    peer: Arc<Peer>,
}

impl<M> Clone for Service<M> {
    fn clone(&self) -> Self {
        Self {
            grpc: self.grpc.clone(),
            peer: self.peer.clone(),
        }
    }
}

impl<M: Mint> tower::Service<Request<Incoming>> for Service<M> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let Self { grpc, peer } = self.clone();
        Box::pin(async move { Ok(grpc.answer(&peer, request).await) })
    }
}

impl<M: Mint> Shared<M> {
    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        if let Some(status) = not_grpc(request.method(), request.headers()) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            return response;
        }
        // A query would make it another method's path.
        let path = request.uri().path_and_query();
        let path = path.map_or("", PathAndQuery::as_str);
        if path == MINT_TOKEN {
            let described = trace::mint_token(request.headers());
            return self.mint_token.answer(peer, request, described).await;
        }
        // Whoever has a certificate may ask for health; the rest is for callers.
        let is_health = path.starts_with(HEALTH);
        let allowed = if is_health {
            peer.verify()
        } else {
            authorize(&self.mint_token.admission, peer).map(drop)
        };
        if let Err(failure) = allowed {
            return failure.to_status().into_http();
        }
        let side = if is_health {
            Some(&self.health)
        } else {
            self.reflection
                .as_ref()
                .and_then(|reflection| reflection.serving(path))
        };
        match side {
            Some(side) => side.answer(request).await,
            None => Status::unimplemented("no such method").into_http(),
        }
    }
}

/// What is no gRPC at all gets a status of HTTP, as the gRPC-over-HTTP/2 specification wants it.
fn not_grpc(method: &Method, headers: &HeaderMap) -> Option<StatusCode> {
    if method != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let is_grpc = |value: &HeaderValue| {
        let value = value.as_bytes();
        let value = value.split(|byte| *byte == b';').next().unwrap_or(value);
        // Media types know no case (RFC 9110, 8.3.1).
        [&b"application/grpc"[..], b"application/grpc+proto"]
            .iter()
            .any(|served| served.eq_ignore_ascii_case(value.trim_ascii_end()))
    };
    let content_type = headers.get(header::CONTENT_TYPE);
    (!content_type.is_some_and(is_grpc)).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}
