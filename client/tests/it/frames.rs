//! What a peer may do below gRPC: reset streams, refuse them, go away, answer nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ask2do_token_client::{Code, MintError, TokenClient};
use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::pki::Pki;
use crate::service::{tls, token, user};

type Connection = h2::server::Connection<TlsStream<TcpStream>, Bytes>;
type Stream = SendResponse<Bytes>;

/// A peer that does `act` with the stream of each number, and how many streams it saw.
async fn peer(
    pki: &Pki,
    act: impl Fn(usize, Stream, &mut Connection) + Send + Sync + 'static,
) -> (TokenClient, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let tls = tls(pki);
    let streams = Arc::new(AtomicUsize::new(0));
    let seen = streams.clone();
    let act = Arc::new(act);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let stream = tls.accept(tcp).await.unwrap();
            let (act, seen) = (act.clone(), seen.clone());
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, stream))) = connection.accept().await {
                    act(seen.fetch_add(1, Ordering::SeqCst), stream, &mut connection);
                }
            });
        }
    });
    let client = pki.client(endpoint).build().unwrap();
    (client, streams)
}

fn mint(mut stream: Stream) {
    let reply = token();
    let mut body = vec![0];
    body.extend(u32::try_from(reply.encoded_len()).unwrap().to_be_bytes());
    body.extend(reply.encode_to_vec());
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut send = stream.send_response(head, false).unwrap();
    send.send_data(body.into(), false).unwrap();
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    send.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_tried_once_more() {
    let pki = Pki::new();
    let (client, streams) = peer(&pki, |number, mut stream, _| match number {
        0 => stream.send_reset(Reason::REFUSED_STREAM),
        _ => mint(stream),
    })
    .await;
    client.mint_token(&user()).await.unwrap();
    assert_eq!(streams.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn other_resets_are_final_and_have_their_code() {
    for (reason, code) in [
        (Reason::INTERNAL_ERROR, Code::Internal),
        (Reason::CANCEL, Code::Cancelled),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ] {
        let pki = Pki::new();
        let (client, streams) = peer(&pki, move |_, mut stream, _| stream.send_reset(reason)).await;
        let error = client.mint_token(&user()).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(matches!(error, MintError::Unknown { .. }), "{error:?}");
        assert_eq!(streams.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_connection_that_ends_with_an_error_is_replaced() {
    let pki = Pki::new();
    let (client, streams) = peer(&pki, |number, stream, connection| match number {
        0 => connection.abrupt_shutdown(Reason::PROTOCOL_ERROR),
        _ => mint(stream),
    })
    .await;
    client.mint_token(&user()).await.unwrap();
    assert_eq!(streams.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn details_that_are_no_base64_do_no_harm() {
    let pki = Pki::new();
    let (client, _) = peer(&pki, |_, mut stream, _| {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "7")
            .header("grpc-message", "no%0Ano")
            .header("grpc-status-details-bin", "%%%")
            .body(())
            .unwrap();
        stream.send_response(head, true).unwrap();
    })
    .await;
    let error = client.mint_token(&user()).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let pki = Pki::new();
    let (client, _) = peer(&pki, |_, mut stream, _| {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut send = stream.send_response(head, false).unwrap();
        tokio::spawn(async move {
            let block = Bytes::from(vec![0; 1 << 14]);
            while send.send_data(block.clone(), false).is_ok() {
                tokio::task::yield_now().await;
            }
        });
    })
    .await;
    let error = client.mint_token(&user()).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
}

#[tokio::test]
async fn something_that_is_no_grpc_server_is_told_by_its_status() {
    let pki = Pki::new();
    let (client, streams) = peer(&pki, |_, mut stream, _| {
        let head = Response::builder().status(503).body(()).unwrap();
        stream.send_response(head, true).unwrap();
    })
    .await;
    let error = client.mint_token(&user()).await.unwrap_err();
    assert!(
        matches!(error, MintError::ServiceUnavailable(_)),
        "{error:?}"
    );
    assert_eq!(streams.load(Ordering::SeqCst), 2);
}
