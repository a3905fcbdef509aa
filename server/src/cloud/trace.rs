//! The spans of a call to the cloud, after OpenTelemetry's semantic conventions for HTTP clients.
//! None holds a panel user's id, the tenant key or a token.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ask2do_token_runtime::telemetry;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_RESEND_COUNT, HTTP_RESPONSE_STATUS_CODE,
    NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_VERSION, SERVER_ADDRESS, SERVER_PORT,
    URL_FULL,
};
use reqwest::Response;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use url::Url;

use super::failure::{Cause, connect_cause};

/// One request: a retry is a span of its own, with its number. There is none where the call's own trace is not
/// exported: nobody would see it, and it would be a tenth of the CPU of a mint.
pub(super) fn request(url: &Url, resend_count: u32) -> Span {
    let call = Span::current();
    if !call.is_none() && telemetry::sampled_trace_id(&call).is_none() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "POST",
        otel.kind = "client",
        otel.status_code = Empty,
        { HTTP_REQUEST_METHOD } = "POST",
        { NETWORK_PROTOCOL_VERSION } = "1.1",
        { SERVER_ADDRESS } = url.host_str(),
        { SERVER_PORT } = url.port_or_known_default(),
        { URL_FULL } = url.as_str(),
        { HTTP_REQUEST_RESEND_COUNT } = Empty,
        { HTTP_RESPONSE_STATUS_CODE } = Empty,
        { NETWORK_PEER_ADDRESS } = Empty,
        { NETWORK_PEER_PORT } = Empty,
        { ERROR_TYPE } = Empty,
    );
    if resend_count > 0 {
        span.record(HTTP_REQUEST_RESEND_COUNT, resend_count);
    }
    span
}

/// The status that was answered, and from which address: the cloud's, or the proxy's before it.
pub(super) fn answered(span: &Span, response: &Response) {
    let peer = response.remote_addr();
    tracing::record_all!(
        span,
        { HTTP_RESPONSE_STATUS_CODE } = response.status().as_u16(),
        { NETWORK_PEER_ADDRESS } = peer.map(|peer| tracing::field::display(peer.ip())),
        { NETWORK_PEER_PORT } = peer.map(|peer| peer.port()),
    );
}

/// Marks the request as failed; an error status is its own `error.type`.
pub(super) fn failed(span: &Span, cause: Cause) {
    span.record("otel.status_code", "ERROR");
    match cause.status() {
        Some(status) if !status.is_redirection() => span.record(ERROR_TYPE, status.as_str()),
        _ => span.record(ERROR_TYPE, cause.as_str()),
    };
}

/// Gives each new connection a span: looking the name up (a span in it), TCP and the TLS handshake.
/// A request that has none took a pooled connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectLayer {
    /// Whether TLS is part of connecting.
    pub(super) https: bool,
}

impl<S> Layer<S> for ConnectLayer {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        let https = self.https;
        Connect { inner, https }
    }
}

/// What [`ConnectLayer`] makes of a connector.
#[derive(Clone, Debug)]
pub(super) struct Connect<S> {
    inner: S,
    https: bool,
}

impl<S, R> Service<R> for Connect<S>
where
    S: Service<R, Error = Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let span = tracing::info_span!("connect", otel.status_code = Empty, { ERROR_TYPE } = Empty);
        let connecting = span.in_scope(|| self.inner.call(request));
        let recorded = span.clone();
        let https = self.https;
        Box::pin(
            async move {
                let connected = connecting.await;
                match &connected {
                    Ok(_) if https => tracing::info!("TLS handshake with the cloud done"),
                    Ok(_) => tracing::info!("connected to the cloud without TLS"),
                    Err(error) => failed(&recorded, connect_cause(&**error, false)),
                }
                connected
            }
            .instrument(span),
        )
    }
}
