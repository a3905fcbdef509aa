//! One connection's HTTP: hyper's settings, and how it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ask2do_token_tls::Coalesced;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rand::RngExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{Service, ServiceExt as _};

use super::first_bytes::Spoken;
use super::metrics::{Dropped, Port};
use super::table::{InFlight, Open};
use super::{BoxError, Handler, Options};
use crate::shutdown::Stop;

/// Flow control: what a peer may send before it is read. Requests here are some hundred bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Streams that the peer opened and reset at once, before they were looked at; more of them end the
/// connection (CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// A connection that was asked to end and has no request for this long is dropped: its peer may never
/// answer, and a well-behaved one has had time to.
const LEAVE_WHEN_IDLE: Duration = Duration::from_secs(1);

/// What a connection that makes room for another has left to write its GOAWAY.
const LAST_WORD: Duration = Duration::from_millis(10);

/// hyper's settings for one port.
#[derive(Debug)]
pub(super) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    max_age: Option<Duration>,
    grace: Duration,
}

impl Http {
    pub(super) fn new(options: &Options) -> Self {
        let header_bytes = usize::try_from(options.header_bytes).unwrap_or(usize::MAX);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(options.header)
            .max_header_size(header_bytes)
            // hyper demands 8 KiB at least; twice the limit lets it answer 431 instead of closing.
            .max_buf_size(header_bytes.saturating_mul(2).max(8 * 1024));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.streams)
            .max_header_list_size(options.header_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .keep_alive_interval(options.ping_interval)
            .keep_alive_timeout(options.ping_timeout);
        Self {
            http1,
            http2,
            max_age: options.max_age,
            grace: options.goaway_grace,
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve<I, S, B>(
        &self,
        io: I,
        spoken: Spoken,
        handler: Handler<S>,
        open: Open,
        stop: &Stop,
        metrics: &Port,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let open = Arc::new(open);
        // HTTP/2 says so by GOAWAY.
        let last_answer = (spoken != Spoken::Http2).then(Arc::<AtomicBool>::default);
        let end = End {
            leave: handler.leave,
            max_age: self.max_age.map(jittered),
            grace: self.grace,
            open: Arc::clone(&open),
            last_answer: last_answer.clone(),
            stop,
            metrics,
        };
        let service = handler.service;
        let service = service_fn(move |request| {
            let in_flight = open.begin();
            let answer = service.clone().oneshot(request);
            let last_answer = last_answer.clone();
            async move {
                let mut response = answer.await?;
                if last_answer.is_some_and(|is_last| is_last.load(Ordering::Acquire)) {
                    let headers = response.headers_mut();
                    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, S::Error>(response.map(|body| Counted {
                    body,
                    _in_flight: in_flight,
                }))
            }
        });
        if spoken == Spoken::Http2 {
            let io = TokioIo::new(Coalesced::new(io));
            end.drive(self.http2.serve_connection(io, service)).await;
        } else {
            let io = TokioIo::new(io);
            end.drive(self.http1.serve_connection(io, service)).await;
        }
    }
}

/// What ends a connection.
struct End<'a> {
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
    max_age: Option<Duration>,
    grace: Duration,
    open: Arc<Open>,
    /// Over HTTP/1.1: whether the next answer is the connection's last, and says so.
    last_answer: Option<Arc<AtomicBool>>,
    stop: &'a Stop,
    metrics: &'a Port,
}

impl End<'_> {
    async fn drive<C>(self, connection: C)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return ended(result),
            () = self.stop.cut_off() => return,
            () = self.stop.draining() => {}
            () = self.leave => {}
            () = aged(self.max_age) => {}
            () = self.open.evicted() => {
                connection.as_mut().graceful_shutdown();
                // Its place is taken already.
                tokio::select! {
                    result = connection.as_mut() => ended(result),
                    () = tokio::time::sleep(LAST_WORD) => {}
                }
                return;
            }
        }
        match &self.last_answer {
            // hyper would close an idle connection at once, and with it cut off a request that is on its way.
            Some(is_last) => is_last.store(true, Ordering::Release),
            None => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            result = connection.as_mut() => ended(result),
            () = self.stop.cut_off() => {}
            () = self.open.idle_for(LEAVE_WHEN_IDLE) => {}
            () = tokio::time::sleep(self.grace) => {
                self.metrics.dropped(Dropped::Overstayed);
                tracing::warn!(port = self.metrics.name, "a connection that was asked to end did not in time: dropped");
            }
        }
    }
}

fn ended<T>(result: Result<T, hyper::Error>) {
    if let Err(error) = result {
        // Peers go away and send nonsense at will; what matters of it is in a metric.
        tracing::debug!(%error, "connection ended with an error");
    }
}

async fn aged(max_age: Option<Duration>) {
    match max_age {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}

/// ±10 %, so that connections made together do not all come back together.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::rng().random_range(0.9..=1.1))
}

/// A body during which its request is in flight.
struct Counted<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
