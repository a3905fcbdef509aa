//! One request message in, one reply message out, in tonic's own codec.
//!
//! The generated server would answer a request that does not decode with codes of its own, from
//! places that cannot be told apart from the handler's; here they become one error.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as HttpBody;
use http_body_util::Limited;
use tonic::body::Body;
use tonic::codec::{BufferSettings, EncodeBody};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status, Streaming};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::BoxError;

/// The most bytes of a request message.
pub(super) const LIMIT: usize = 16 * 1024;
/// What stands before a message: a flag and a length.
const PREFIX: usize = 5;

/// A request that is not one of the contract. It is told to the caller as it stands here: nothing
/// of the request is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidRequest {
    #[error("the request is larger than 16 KiB")]
    TooLarge,
    #[error("the request does not decode")]
    Undecodable,
    #[error("a request is one message, and there is none")]
    NoMessage,
    #[error("a request is one message, and there are several")]
    SeveralMessages,
    #[error("compressed requests are not supported")]
    Compressed,
    #[error("grpc-timeout is malformed")]
    MalformedTimeout,
}

/// Reads the one message of a unary call.
pub(super) async fn read<M, B>(headers: &HeaderMap, body: B) -> Result<M, InvalidRequest>
where
    M: prost::Message + Default + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let plain = |encoding: &HeaderValue| encoding.as_bytes() == b"identity";
    if !headers.get("grpc-encoding").is_none_or(plain) {
        return Err(InvalidRequest::Compressed);
    }
    let body = Limited::new(body, LIMIT + PREFIX);
    let decoder = ProstDecoder::new(buffers());
    let mut messages = Streaming::new_request(decoder, body, None, Some(LIMIT));
    let message = messages.message().await.map_err(why)?;
    let message = message.ok_or(InvalidRequest::NoMessage)?;
    match messages.message().await.map_err(why)? {
        None => Ok(message),
        Some(_) => Err(InvalidRequest::SeveralMessages),
    }
}

/// tonic's decoder says by the code that a message is too large; the body's limit by its error.
fn why(status: Status) -> InvalidRequest {
    let limit = std::error::Error::source(&status)
        .is_some_and(|error| error.is::<http_body_util::LengthLimitError>());
    if limit || status.code() == Code::OutOfRange {
        InvalidRequest::TooLarge
    } else {
        InvalidRequest::Undecodable
    }
}

/// Messages here have some hundred bytes; tonic would take 8 KiB for each.
fn buffers() -> BufferSettings {
    BufferSettings::new(1024, 32 * 1024)
}

/// The answer to a unary call that went well.
pub(super) fn reply<M: prost::Message + 'static>(message: M) -> Response<Body> {
    let messages = futures_util::stream::iter([Ok(message)]);
    let encoder = ProstEncoder::new(buffers());
    let body = EncodeBody::new_server(encoder, messages, None, Default::default(), None);
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

#[cfg(test)]
mod tests {
    use ask2do_token_proto::v1::{MintTokenRequest, PanelUser};
    use http_body_util::{BodyExt as _, Full};
    use prost::Message as _;

    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag], &length[..], message].concat()
    }

    fn request(id_bytes: usize) -> MintTokenRequest {
        MintTokenRequest {
            panel_user: Some(PanelUser {
                id: "x".repeat(id_bytes),
                role: "admin".to_owned(),
            }),
        }
    }

    async fn read_bytes(bytes: Vec<u8>) -> Result<MintTokenRequest, InvalidRequest> {
        read(&HeaderMap::new(), Full::new(Bytes::from(bytes))).await
    }

    #[tokio::test]
    async fn one_message_is_read_up_to_the_limit() {
        let overhead = request(16_000).encoded_len() - 16_000;
        let largest = request(LIMIT - overhead);
        assert_eq!(largest.encoded_len(), LIMIT);
        assert_eq!(
            read_bytes(framed(0, &largest.encode_to_vec())).await,
            Ok(largest)
        );

        let larger = request(LIMIT - overhead + 1).encode_to_vec();
        assert_eq!(
            read_bytes(framed(0, &larger)).await,
            Err(InvalidRequest::TooLarge)
        );
        let mib = request(1024 * 1024).encode_to_vec();
        assert_eq!(
            read_bytes(framed(0, &mib)).await,
            Err(InvalidRequest::TooLarge)
        );
    }

    #[tokio::test]
    async fn what_does_not_decode_is_one_error_whatever_is_wrong() {
        let good = framed(0, &request(1).encode_to_vec());
        let invalid_utf8 = [0x0a, 0x04, 0x0a, 0x02, 0xc3, 0x28];
        let nested_length = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let bad = [
            framed(0, &invalid_utf8),
            framed(0, &nested_length),
            framed(1, &request(1).encode_to_vec()),
            framed(7, &request(1).encode_to_vec()),
            good[..good.len() - 1].to_vec(),
            good[..3].to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec()[..4].to_vec(),
        ];
        for bytes in bad {
            assert_eq!(
                read_bytes(bytes.clone()).await,
                Err(InvalidRequest::Undecodable),
                "{bytes:?}"
            );
        }
    }

    #[tokio::test]
    async fn there_is_exactly_one_message() {
        assert_eq!(read_bytes(Vec::new()).await, Err(InvalidRequest::NoMessage));
        let one = framed(0, &request(1).encode_to_vec());
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(read_bytes(two).await, Err(InvalidRequest::SeveralMessages));
        let flood = one.repeat(LIMIT);
        assert!(read_bytes(flood).await.is_err());
    }

    #[tokio::test]
    async fn fields_that_this_version_does_not_know_are_skipped() {
        let mut message = request(1).encode_to_vec();
        message.extend([0x7a, 0x02, b'h', b'i']);
        assert_eq!(read_bytes(framed(0, &message)).await, Ok(request(1)));
    }

    #[tokio::test]
    async fn only_identity_is_an_encoding() {
        let with = |encoding| async move {
            let value = HeaderValue::from_static(encoding);
            let headers = HeaderMap::from_iter([("grpc-encoding".parse().unwrap(), value)]);
            let body = Full::new(Bytes::from(framed(0, &[])));
            read::<MintTokenRequest, _>(&headers, body).await
        };
        assert_eq!(with("identity").await, Ok(MintTokenRequest::default()));
        for encoding in ["gzip", "deflate", "br", ""] {
            assert_eq!(
                with(encoding).await,
                Err(InvalidRequest::Compressed),
                "{encoding}"
            );
        }
    }

    #[tokio::test]
    async fn a_reply_is_one_message_and_a_status_of_0() {
        let response = reply(request(1));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), framed(0, &request(1).encode_to_vec()));
    }
}
