//! The services beside the one that this server is for: health and reflection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ask2do_token_proto::FILE_DESCRIPTOR_SET;
use ask2do_token_proto::v1::token_service_server::SERVICE_NAME;
use ask2do_token_runtime::readiness::Readiness;
use ask2do_token_runtime::shutdown::Stop;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::{Service, ServiceExt as _};

use super::message;

/// The longest time to read a request and begin the answer.
const LIMIT: Duration = Duration::from_secs(5);

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// One service, by a clone per call.
pub(super) struct Side {
    // The services' own types have no names.
    call: Box<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>,
    stop: Stop,
}

impl Side {
    /// `service` is one that tonic generated.
    pub(super) fn new<S>(service: S, stop: Stop) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let call = move |request| {
            let answer = service.clone().oneshot(request);
            let answer: Answer = Box::pin(async move {
                let Ok(response) = answer.await;
                response
            });
            answer
        };
        Self {
            call: Box::new(call),
            stop,
        }
    }

    /// Answers; a stream of answers ends when the drain begins.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let Ok(response) = tokio::time::timeout(LIMIT, (self.call)(request)).await else {
            return Status::deadline_exceeded("the request did not arrive in time").into_http();
        };
        let stop = self.stop.clone();
        response.map(|body| {
            Body::new(UntilDrain {
                body: Some(body),
                draining: Box::pin(async move { stop.draining().await }),
            })
        })
    }
}

/// `grpc.health.v1`: serving, as a whole and for the token service, when `readiness` is.
pub(super) async fn health(
    readiness: &Readiness,
    stop: Stop,
) -> (Side, impl Future<Output = ()> + Send + use<>) {
    let reporter = HealthReporter::new();
    let mut ready = readiness.subscribe();
    let now = *ready.borrow_and_update();
    report(&reporter, now).await;
    let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
        .max_decoding_message_size(message::LIMIT);
    let follow = async move {
        while ready.changed().await.is_ok() {
            let now = *ready.borrow_and_update();
            report(&reporter, now).await;
        }
    };
    (Side::new(service, stop), follow)
}

async fn report(reporter: &HealthReporter, ready: bool) {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in ["", SERVICE_NAME] {
        reporter.set_service_status(service, status).await;
    }
}

/// Reflection in both of its versions: grpcurl still asks for the older one first.
pub(super) struct Reflection {
    v1: Side,
    v1alpha: Side,
}

impl Reflection {
    /// Describes the token service, health, and itself.
    pub(super) fn new(stop: &Stop) -> Result<Self, tonic_reflection::server::Error> {
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let v1 = builder()
            .build_v1()?
            .max_decoding_message_size(message::LIMIT);
        let v1alpha = builder()
            .build_v1alpha()?
            .max_decoding_message_size(message::LIMIT);
        Ok(Self {
            v1: Side::new(v1, stop.clone()),
            v1alpha: Side::new(v1alpha, stop.clone()),
        })
    }

    /// The version that serves `path`.
    pub(super) fn serving(&self, path: &str) -> Option<&Side> {
        if path.starts_with("/grpc.reflection.v1.ServerReflection/") {
            Some(&self.v1)
        } else if path.starts_with("/grpc.reflection.v1alpha.ServerReflection/") {
            Some(&self.v1alpha)
        } else {
            None
        }
    }
}

/// A body that ends with UNAVAILABLE when the drain begins and it has nothing to say: a stream
/// that is watched for ever would hold the drain until its hard limit.
struct UntilDrain {
    body: Option<Body>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for UntilDrain {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        std::task::ready!(self.draining.as_mut().poll(cx));
        self.body = None;
        let mut trailers = HeaderMap::new();
        Status::unavailable("this server is draining").add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}
