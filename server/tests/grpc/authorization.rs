//! Who may call what.

use std::convert::Infallible;

use ask2do_token_proto::v1::token_service_server::SERVICE_NAME;
use bytes::Bytes;
use http::Uri;
use http_body::Frame;
use http_body_util::StreamBody;
use time::Duration;
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::pki::{self, Ca, PANEL, Pair};
use crate::support::{Connection, MINT_TOKEN, ORIGIN, Running, caller, post, status_of, within};

async fn health(connection: &Connection, service: &str) -> Result<ServingStatus, Status> {
    let mut client = HealthClient::with_origin(connection.channel(), Uri::from_static(ORIGIN));
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    Ok(within(client.check(request)).await?.into_inner().status())
}

/// The services that reflection lists.
async fn reflected(connection: &Connection) -> Result<Vec<String>, Status> {
    let mut client =
        ServerReflectionClient::with_origin(connection.channel(), Uri::from_static(ORIGIN));
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = futures_util::stream::iter([request]);
    let mut replies = within(client.server_reflection_info(Request::new(requests)))
        .await?
        .into_inner();
    let reply = within(replies.message()).await?.unwrap();
    match reply.message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => Ok(list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn any_verified_certificate_may_ask_for_health_and_only_callers_for_the_rest() {
    let server = Running::start_with("grpc.reflection = true").await;
    let stranger = server.files.ca.client("spiffe://demo/ns/other/sa/stranger");
    let stranger = server.connect(Some(&stranger)).await.unwrap();
    for service in ["", SERVICE_NAME] {
        assert_eq!(
            health(&stranger, service).await.unwrap(),
            ServingStatus::Serving
        );
    }
    let refusals = [
        stranger.mint("42", "admin").await.unwrap_err(),
        reflected(&stranger).await.unwrap_err(),
        stranger
            .send(post("/other.Service/Method", Bytes::new()))
            .await
            .1
            .unwrap(),
    ];
    for status in refusals {
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().starts_with("CALLER_NOT_ALLOWED: "));
    }
    assert!(server.mint.users().is_empty());

    let panel = server.panel().await;
    assert_eq!(health(&panel, "").await.unwrap(), ServingStatus::Serving);
    let services = reflected(&panel).await.unwrap();
    for service in [SERVICE_NAME, "grpc.health.v1.Health"] {
        assert!(services.iter().any(|name| name == service), "{services:?}");
    }
}

#[tokio::test]
async fn reflection_is_off_by_default() {
    let server = Running::start().await;
    let status = reflected(&server.panel().await).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn reflection_is_there_in_its_older_version_too() {
    use tonic_reflection::pb::v1alpha as old;
    let server = Running::start_with("grpc.reflection = true").await;
    let panel = server.panel().await;
    let mut client = old::server_reflection_client::ServerReflectionClient::with_origin(
        panel.channel(),
        Uri::from_static(ORIGIN),
    );
    let symbol = old::server_reflection_request::MessageRequest::FileContainingSymbol(
        SERVICE_NAME.to_owned(),
    );
    let request = old::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(symbol),
    };
    let replies = client
        .server_reflection_info(futures_util::stream::iter([request]))
        .await;
    let reply = replies
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        reply.message_response.unwrap(),
        old::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
    ));
}

#[tokio::test]
async fn without_a_certificate_that_verifies_there_is_no_service() {
    let server = Running::start().await;
    let ca = &server.files.ca;
    let bad: [(&str, Option<Pair>); 6] = [
        ("none", None),
        ("self-signed", Some(pki::self_signed())),
        ("another CA's", Some(Ca::new().client(PANEL))),
        ("expired", Some(ca.client_ending_in(Duration::hours(-1)))),
        ("not yet valid", Some(ca.not_yet_valid())),
        ("for servers", Some(ca.for_servers_only())),
    ];
    for (defect, identity) in bad {
        // In TLS 1.3 the client may believe that the handshake is done before the server has looked.
        if let Ok(connection) = server.connect(identity.as_ref()).await {
            let status = connection.mint("42", "admin").await.unwrap_err();
            assert!(status.details().is_empty(), "{defect}: {status:?}");
        }
    }
    assert!(server.mint.users().is_empty());
}

#[tokio::test]
async fn a_certificate_with_two_uris_is_nobodys() {
    let server = Running::start().await;
    let identity = server.files.ca.client_with_two_uris();
    let connection = server.connect(Some(&identity)).await.unwrap();
    let status = connection.mint("42", "admin").await.unwrap_err();
    assert!(status.message().starts_with("CALLER_NOT_ALLOWED: "));
}

#[tokio::test]
async fn a_stranger_is_answered_before_the_body_is_there() {
    let server = Running::start().await;
    let stranger = server.files.ca.client("spiffe://demo/stranger");
    let stranger = server.connect(Some(&stranger)).await.unwrap();
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let request = post(MINT_TOKEN, Bytes::new()).map(|_| Body::new(StreamBody::new(never)));
    let response = within(stranger.sender.clone().send_request(request))
        .await
        .unwrap();
    let (_, status) = status_of(response).await;
    assert!(
        status
            .unwrap()
            .message()
            .starts_with("CALLER_NOT_ALLOWED: ")
    );
}

#[tokio::test]
async fn each_caller_mints_for_its_own_roles() {
    let server = Running::start().await;
    let two = [
        caller("panel", PANEL),
        caller("jobs", "spiffe://demo/jobs").replace(", \"owner\"", ""),
    ];
    server.files.write("callers.toml", &two.concat());
    let jobs = server
        .connect(Some(&server.files.ca.client("spiffe://demo/jobs")))
        .await
        .unwrap();
    crate::support::until("the new caller mints", async || {
        jobs.mint("1", "admin").await.is_ok()
    })
    .await;
    let status = jobs.mint("1", "owner").await.unwrap_err();
    assert!(status.message().starts_with("CALLER_NOT_ALLOWED: "));
    assert!(server.panel().await.mint("1", "owner").await.is_ok());
}
