//! One request and its answer, on one connection.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tonic::Status;

use crate::unavailable::{Unavailable, UnavailableKind};

/// Largest answer that is read. A token and its status are some 500 bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Where a status keeps its details, in base64 with or without padding.
const DETAILS: &str = "grpc-status-details-bin";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A whole answer.
pub(crate) type Reply = Response<ReplyBody>;

/// The body of an answer that was read whole.
#[derive(Debug, Default)]
pub struct ReplyBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection to send it on.
    Unreachable(Unavailable),
    /// The service has not seen the request, and the connection takes no more.
    NotSent(Unavailable),
    /// The connection was lost with the request on it, which may have been served.
    Lost(Unavailable),
    /// The service refused this one stream.
    Refused(Unavailable),
    /// The peer ended the stream in another way: final.
    Ended(Status),
}

impl ReplyBody {
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn with_trailers(trailers: HeaderMap) -> Self {
        Self {
            data: None,
            trailers: Some(trailers),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let next = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(next.map(Ok))
    }
}

/// Sends `request` and reads the whole answer.
pub(super) async fn exchange(
    mut sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    request: Request<Bytes>,
) -> Result<Reply, Failure> {
    let response = match sender.try_send_request(request.map(Full::new)).await {
        Ok(response) => response,
        Err(mut error) => {
            let kept = error.take_message().is_some();
            return Err(failure(error.error(), kept, address));
        }
    };
    let (mut head, body) = response.into_parts();
    drop_bad_details(&mut head.headers);
    let body = read(body, address).await?;
    Ok(Response::from_parts(head, body))
}

async fn read(body: Incoming, address: SocketAddr) -> Result<ReplyBody, Failure> {
    let whole = match Limited::new(body, ANSWER_LIMIT).collect().await {
        Ok(whole) => whole,
        Err(error) if error.is::<LengthLimitError>() => {
            let status = Status::internal(format!("the answer is over {ANSWER_LIMIT} bytes"));
            return Err(Failure::Ended(status));
        }
        Err(error) => return Err(failure(&*error, false, address)),
    };
    let mut trailers = whole.trailers().cloned();
    if let Some(trailers) = &mut trailers {
        drop_bad_details(trailers);
    }
    Ok(ReplyBody {
        data: Some(whole.to_bytes()).filter(|data| !data.is_empty()),
        trailers,
    })
}

/// tonic 0.14.9 panics at details that are no base64.
fn drop_bad_details(headers: &mut HeaderMap) {
    let bad = |value: &http::HeaderValue| BASE64.decode(value.as_bytes()).is_err();
    if headers.get(DETAILS).is_some_and(bad) {
        headers.remove(DETAILS);
    }
}

/// What an error of hyper's means for the request. `kept`: it never left hyper's queue.
fn failure(error: &(dyn Error + 'static), kept: bool, address: SocketAddr) -> Failure {
    let hyper = find::<hyper::Error>(error);
    if hyper.is_some_and(hyper::Error::is_timeout) {
        return Failure::Lost(Unavailable::lost(address, "a PING was not answered"));
    }
    let lost = || Unavailable::lost(address, innermost(error));
    // hyper gives the request back, or drops it with an error of its own, where the connection ended
    // before the request's turn came.
    let dropped = hyper.is_some_and(|error| error.is_canceled() || error.is_user());
    if kept || dropped {
        return Failure::NotSent(lost());
    }
    match find::<h2::Error>(error) {
        // GOAWAY fails only the streams above the last one that the server takes.
        Some(h2) if h2.is_go_away() && h2.is_remote() && is_graceful(h2) => {
            Failure::NotSent(lost())
        }
        Some(h2) if h2.is_reset() => reset(h2, address),
        _ => Failure::Lost(lost()),
    }
}

fn is_graceful(error: &h2::Error) -> bool {
    error.reason() == Some(h2::Reason::NO_ERROR)
}

/// Source: gRPC over HTTP/2, "Errors".
fn reset(error: &h2::Error, address: SocketAddr) -> Failure {
    let text = format!("{address} reset the stream: {error}");
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => {
            Failure::Refused(Unavailable::new(UnavailableKind::Refused, text))
        }
        Some(h2::Reason::CANCEL) => Failure::Ended(Status::cancelled(text)),
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Failure::Ended(Status::resource_exhausted(text)),
        Some(h2::Reason::INADEQUATE_SECURITY) => Failure::Ended(Status::permission_denied(text)),
        _ => Failure::Ended(Status::internal(text)),
    }
}

/// An error of type `E` among the error and what caused it.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    match error.downcast_ref() {
        Some(found) => Some(found),
        None => find(error.source()?),
    }
}

/// The cause of causes: hyper's own words are `http2 error`.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_that_are_no_base64_are_dropped_and_others_stay() {
        for (value, stays) in [("CAw", true), ("CAw=", true), ("%%%", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(DETAILS, value.parse().unwrap());
            drop_bad_details(&mut headers);
            assert_eq!(headers.contains_key(DETAILS), stays, "{value}");
            _ = Status::from_header_map(&headers);
        }
    }

    #[tokio::test]
    async fn a_body_gives_its_data_then_its_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let body = ReplyBody {
            data: Some(Bytes::from_static(b"data")),
            trailers: Some(trailers.clone()),
        };
        let whole = body.collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers));
        assert_eq!(whole.to_bytes(), "data");
    }
}
