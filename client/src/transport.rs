//! gRPC's way to the service: deadline, trace, connections, retries.

mod attempts;
mod balancer;
mod connect;
mod deadline;
mod exchange;
mod lane;
mod pool;
mod resolve;
pub(crate) mod task;
mod trace;

#[cfg(test)]
mod fakes;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME, SERVER_ADDRESS, SERVER_PORT,
};
use tokio::time::timeout_at;
use tonic::Status;
use tower::Service;
use tracing::{Instrument, Span, field};

pub(crate) use attempts::Attempts;
pub(crate) use balancer::{Balancer, Target};
pub(crate) use connect::{ALPN, TlsDialer};
pub use exchange::ReplyBody;
pub(crate) use resolve::Literal;
pub use resolve::{Resolve, Resolving, SystemResolver};

use crate::endpoint::Endpoint;
use crate::error::MintError;
use crate::unavailable::Unavailable;
use exchange::{Failure, Reply};

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("ask2do-token-client/", env!("CARGO_PKG_VERSION")));

/// What a generated gRPC stub sends its requests by: the way to the service, with this client's
/// connections, deadline, trace context and retries.
///
/// A call's own timeout (`tonic::Request::set_timeout`) takes the place of the client's deadline.
/// Request and answer are held whole, so calls are unary.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    attempts: Attempts<TlsDialer>,
    endpoint: Endpoint,
    deadline: Duration,
}

impl Transport {
    pub(crate) fn new(
        attempts: Attempts<TlsDialer>,
        endpoint: Endpoint,
        deadline: Duration,
    ) -> Self {
        // Without a runtime yet, the first call starts it.
        if tokio::runtime::Handle::try_current().is_ok() {
            attempts.start();
        }
        Self {
            inner: Arc::new(Inner {
                attempts,
                endpoint,
                deadline,
            }),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.inner.endpoint.authority)
            .field("deadline", &self.inner.deadline)
            .finish_non_exhaustive()
    }
}

impl Service<Request<tonic::body::Body>> for Transport {
    type Response = Response<ReplyBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let inner = self.inner.clone();
        let span = inner.span(&request);
        let call = async move {
            let outcome = inner.call(request).await;
            record(&Span::current(), &outcome);
            outcome
        };
        Box::pin(call.instrument(span))
    }
}

impl Inner {
    /// Names and attributes: OpenTelemetry's semantic conventions for RPC.
    fn span(&self, request: &Request<tonic::body::Body>) -> Span {
        let method = request.uri().path().trim_start_matches('/');
        tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = field::Empty,
            { RPC_SYSTEM_NAME } = "grpc",
            { RPC_METHOD } = method,
            { SERVER_ADDRESS } = self.endpoint.authority.host(),
            { SERVER_PORT } = self.endpoint.port,
            { RPC_RESPONSE_STATUS_CODE } = field::Empty,
            { ERROR_TYPE } = field::Empty,
            ask2do.reason = field::Empty,
        )
    }

    async fn call(&self, request: Request<tonic::body::Body>) -> Result<Reply, Status> {
        self.attempts.start();
        let until = deadline::of(request.headers(), self.deadline);
        let request = self.prepare(request).await?;
        let connected = AtomicBool::new(false);
        let call = self.attempts.call(&request, until, &connected);
        match timeout_at(until, call).await {
            Ok(outcome) => outcome.map_err(Status::from),
            Err(_) if connected.load(Ordering::Relaxed) => {
                Err(Status::deadline_exceeded("no answer before the deadline"))
            }
            Err(_) => Err(Status::deadline_exceeded(
                "no connection before the deadline",
            )),
        }
    }

    /// The request as it goes out, whole, so that it can be sent again.
    async fn prepare(&self, request: Request<tonic::body::Body>) -> Result<Request<Bytes>, Status> {
        let (mut head, body) = request.into_parts();
        head.uri = self
            .endpoint
            .rebase(&head.uri)
            .map_err(|error| Status::internal(error.to_string()))?;
        head.headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        trace::inject(&Span::current(), &mut head.headers);
        let body = body.collect().await?.to_bytes();
        Ok(Request::from_parts(head, body))
    }
}

fn record(span: &Span, outcome: &Result<Reply, Status>) {
    let failure = match outcome {
        Ok(reply) => attempts::status(reply),
        Err(status) => Some(status.clone()),
    };
    let Some(status) = failure else {
        span.record(RPC_RESPONSE_STATUS_CODE, "OK");
        return;
    };
    let error = MintError::from(status);
    let code = error.code().as_str();
    span.record(RPC_RESPONSE_STATUS_CODE, code);
    span.record(ERROR_TYPE, code);
    span.record("otel.status_code", "ERROR");
    span.record("ask2do.reason", error.reason().as_str());
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(cause)
            | Failure::Lost(cause)
            | Failure::Refused(cause)
            | Failure::Unreachable(cause) => unavailable(cause),
            Failure::Ended(status) => status,
        }
    }
}

fn unavailable(cause: Unavailable) -> Status {
    let mut status = Status::unavailable(cause.to_string());
    status.set_source(Arc::new(cause));
    status
}
