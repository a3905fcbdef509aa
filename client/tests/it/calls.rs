//! One call and its answer.

use std::time::{Duration, SystemTime};

use ask2do_token_client::{Health, MintError, Reason};
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::pki::Pki;
use crate::service::{Service, answers, mints, token, user};

#[tokio::test]
async fn a_token_is_minted_for_the_user() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let minted = client.mint_token(&user()).await.unwrap();
    assert_eq!(minted.expose_token(), token().token);
    let left = SystemTime::from(minted.expires_at()).duration_since(SystemTime::now());
    assert!(left.unwrap() > Duration::from_secs(800));

    let seen = &service.seen()[0];
    assert_eq!((&*seen.id, &*seen.role), ("42", "admin"));
    let agent = seen.headers["user-agent"].to_str().unwrap();
    assert!(agent.starts_with("ask2do-token-client/"), "{agent}");
}

#[tokio::test]
async fn certificates_from_memory_do_as_well() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let caller = pki.caller();
    let client = ask2do_token_client::TokenClient::builder(service.endpoint())
        .ca_pem(pki.authority.certificate_pem())
        .identity_pem(caller.certificate_pem(), caller.private_key_pem())
        .build()
        .unwrap();
    client.mint_token(&user()).await.unwrap();
    assert!(client.certificate_not_after().unwrap() > SystemTime::now());
}

#[test]
fn a_client_may_be_built_before_the_runtime() {
    let pki = Pki::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(Service::start(&pki, mints()));
    let client = pki.client(service.endpoint()).build().unwrap();
    runtime.block_on(client.mint_token(&user())).unwrap();
}

#[tokio::test]
async fn the_time_that_is_left_goes_along() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    client.mint_token(&user()).await.unwrap();
    let mut request = tonic::Request::new(Default::default());
    request.set_timeout(Duration::from_secs(2));
    client.grpc().mint_token(request).await.unwrap();

    let millis = |number: usize| {
        let seen = &service.seen()[number];
        let text = seen.headers["grpc-timeout"].to_str().unwrap();
        text.strip_suffix('m').unwrap().parse::<u32>().unwrap()
    };
    assert!(millis(0) > 2000 && millis(0) <= 6000, "{}", millis(0));
    assert!(millis(1) <= 2000, "{}", millis(1));
}

#[tokio::test]
async fn a_call_ends_by_its_own_timer_and_tells_the_service() {
    let pki = Pki::new();
    let (dropped, mut drops) = tokio::sync::mpsc::unbounded_channel();
    let answer = answers(move |_| {
        let guard = Guard(dropped.clone());
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let service = Service::start(&pki, answer).await;
    let client = pki
        .client(service.endpoint())
        .deadline(Duration::from_millis(400))
        .build()
        .unwrap();
    let error = client.mint_token(&user()).await.unwrap_err();
    assert!(matches!(error, MintError::CloudTimeout { own_timer: true }));
    assert!(error.is_transient());
    // Its handler was dropped: the stream was reset.
    drops.recv().await.unwrap();
    assert_eq!(service.calls(), 1);
}

struct Guard(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_failure_with_a_reason_is_one_call_and_keeps_its_details() {
    let pki = Pki::new();
    let service = Service::start(
        &pki,
        answers(|_| async {
            let mut details = ErrorDetails::new();
            details
                .set_error_info("CLOUD_RATE_LIMITED", "token.ask2do.com", [])
                .set_retry_info(Some(Duration::from_secs(2)));
            Err(Status::with_error_details(
                tonic::Code::Unavailable,
                "CLOUD_RATE_LIMITED: later",
                details,
            ))
        }),
    )
    .await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let error = client.mint_token(&user()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::CloudRateLimited);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn a_draining_service_is_asked_twice() {
    let pki = Pki::new();
    let service = Service::start(
        &pki,
        answers(|_| async { Err(Status::unavailable("draining")) }),
    )
    .await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let error = client.mint_token(&user()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ServiceUnavailable);
    assert!(error.to_string().contains("draining"), "{error}");
    assert_eq!(service.calls(), 2);
}

#[tokio::test]
async fn a_reply_without_a_token_is_no_token() {
    let pki = Pki::new();
    let service = Service::start(&pki, answers(|_| async { Ok(Default::default()) })).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let error = client.mint_token(&user()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unknown);
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn the_trace_of_the_caller_is_continued() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let trace = SpanContext::new(
        TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
        SpanId::from_hex("00f067aa0ba902b7").unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("vendor", "value")]).unwrap(),
    );
    let context = opentelemetry::Context::new().with_remote_span_context(trace);
    client
        .mint_token(&user())
        .with_context(context)
        .await
        .unwrap();
    let seen = &service.seen()[0];
    assert_eq!(
        seen.headers["traceparent"],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    );
    assert_eq!(seen.headers["tracestate"], "vendor=value");
}

#[tokio::test]
async fn the_service_says_that_it_serves() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    assert_eq!(client.health().await.unwrap(), Health::Serving);
}

#[tokio::test]
async fn connections_end_with_the_client_and_not_before_its_calls() {
    let pki = Pki::new();
    let (release, held) = tokio::sync::watch::channel(false);
    let service = Service::start(
        &pki,
        answers(move |_| {
            let mut held = held.clone();
            async move {
                held.wait_for(|released| *released).await.unwrap();
                Ok(token())
            }
        }),
    )
    .await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.mint_token(&user()).await }
    });
    service.until_called(0).await;
    drop(client);
    release.send_replace(true);
    call.await.unwrap().unwrap();
    service.until_open(0).await;
}
