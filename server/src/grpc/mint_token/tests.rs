//! One call at a time, without a network: the order of refusals, the deadline, and what is recorded.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ask2do_token_proto::v1::{self, MintTokenResponse};
use ask2do_token_runtime::metrics::{Format, Metrics};
use ask2do_token_tls::PeerCertificate;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, SanType};
use time::OffsetDateTime;
use tonic::Status;

use super::*;
use crate::admission::{Callers, Limits, Rate, Roles, San};
use crate::audit;

/// What the fake cloud does.
#[derive(Clone, Copy, Debug)]
enum Cloud {
    Mints,
    Refuses,
    Hangs,
    Panics,
}

#[derive(Debug)]
struct FakeMint {
    cloud: Cloud,
    calls: AtomicUsize,
    deadline: Mutex<Option<Instant>>,
}

impl Mint for FakeMint {
    async fn mint(&self, user: &PanelUser, deadline: Instant) -> Result<MintedToken, MintError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *self.deadline.lock().unwrap() = Some(deadline);
        match self.cloud {
            Cloud::Mints => Ok(MintedToken {
                token: format!("token-of-{}-{}", user.id(), user.role()).into(),
                expires_at: OffsetDateTime::from_unix_timestamp_nanos(1_777_777_777_123_456_789)
                    .unwrap(),
            }),
            Cloud::Refuses => Err(MintError::TenantKeyRejected),
            Cloud::Hangs => std::future::pending().await,
            Cloud::Panics => panic!("a bug"),
        }
    }
}

struct Fixture {
    mint_token: MintToken<FakeMint>,
    callers: Arc<Callers>,
    metrics: Metrics,
}

impl Fixture {
    fn new(cloud: Cloud) -> Self {
        let limits = Limits {
            cloud_roles: roles(&["admin", "owner"]),
            caller_rate: None,
            user_rate: None,
            in_flight: 8,
        };
        Self::with_limits(cloud, limits)
    }

    fn with_limits(cloud: Cloud, limits: Limits) -> Self {
        let panel = Caller::new("panel", San::parse("panel").unwrap(), roles(&["admin"]));
        let callers = Arc::new(Callers::listed([panel]).unwrap());
        let mut metrics = Metrics::new("test", "0");
        let mint_token = MintToken {
            mint: FakeMint {
                cloud,
                calls: AtomicUsize::new(0),
                deadline: Mutex::new(None),
            },
            admission: Arc::new(Admission::new(callers.clone(), limits)),
            timeout: Duration::from_secs(5),
            metrics: MintMetrics::register(&mut metrics),
            audit: Audit::default(),
        };
        Self {
            mint_token,
            callers,
            metrics,
        }
    }

    fn calls(&self) -> usize {
        self.mint_token.mint.calls.load(Ordering::Relaxed)
    }

    /// The counter of one outcome.
    fn count(&self, caller: &str, reason: &str) -> u64 {
        let line = format!("ask2do_mints_total{{caller=\"{caller}\",reason=\"{reason}\"}} ");
        self.value(&line)
    }

    fn value(&self, line: &str) -> u64 {
        let text = self.metrics.encode(Format::OpenMetrics);
        let value = text.lines().find_map(|found| found.strip_prefix(line));
        value
            .unwrap_or_else(|| panic!("no {line} in {text}"))
            .parse()
            .unwrap()
    }

    async fn call<B>(&self, peer: &Peer, request: Request<B>) -> Result<MintTokenResponse, Status>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let response = self
            .mint_token
            .answer(peer, request, (Span::current(), Hex::of([7; 16])))
            .await;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Ok(MintTokenResponse::decode(&body[5..]).unwrap())
    }

    /// The reason of a refusal, which the message begins with.
    async fn refusal<B>(&self, peer: &Peer, request: Request<B>) -> String
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let status = self.call(peer, request).await.unwrap_err();
        status.message().split(':').next().unwrap().to_owned()
    }
}

fn roles(names: &[&str]) -> Roles {
    names.iter().copied().collect()
}

fn peer(dns_name: &str) -> Peer {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(dns_name.try_into().unwrap())];
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Peer::new(PeerCertificate::from_chain(&[certificate.der().clone()]).unwrap())
}

fn panel() -> Peer {
    peer("panel")
}

fn request(id: &str, role: &str) -> Request<Full<Bytes>> {
    let message = MintTokenRequest {
        panel_user: Some(v1::PanelUser {
            id: id.to_owned(),
            role: role.to_owned(),
        }),
    };
    let length = u32::try_from(message.encoded_len()).unwrap();
    let framed = [&[0], &length.to_be_bytes()[..], &message.encode_to_vec()].concat();
    Request::new(Full::new(framed.into()))
}

/// A body that never comes.
fn silent() -> Request<impl HttpBody<Data = Bytes, Error = Infallible>> {
    Request::new(StreamBody::new(futures_util::stream::pending::<
        Result<Frame<Bytes>, Infallible>,
    >()))
}

fn with_timeout<B>(mut request: Request<B>, grpc_timeout: &'static str) -> Request<B> {
    let value = http::HeaderValue::from_static(grpc_timeout);
    request.headers_mut().insert("grpc-timeout", value);
    request
}

#[tokio::test]
async fn a_token_comes_with_its_end() {
    let fixture = Fixture::new(Cloud::Mints);
    let reply = fixture
        .call(&panel(), request("42", "admin"))
        .await
        .unwrap();
    assert_eq!(reply.token, "token-of-42-admin");
    let expected = prost_types::Timestamp {
        seconds: 1_777_777_777,
        nanos: 123_456_789,
    };
    assert_eq!(reply.expires_at, Some(expected));
    assert_eq!(fixture.count("panel", "OK"), 1);
    assert_eq!(fixture.value("ask2do_mint_duration_seconds_count "), 1);
    assert_eq!(fixture.value("ask2do_mints_in_flight "), 0);
}

#[tokio::test]
async fn the_first_that_fails_wins_and_the_cloud_is_not_called() {
    // Each row is wrong in everything that comes after what it is refused for.
    let fixture = Fixture::new(Cloud::Mints);
    let stranger = peer("stranger");
    assert_eq!(
        fixture.refusal(&stranger, request("", "")).await,
        "CALLER_NOT_ALLOWED"
    );
    let panel = panel();
    assert_eq!(
        fixture.refusal(&panel, request("", "junior")).await,
        "PANEL_USER_INVALID"
    );
    assert_eq!(
        fixture.refusal(&panel, request("1", "junior")).await,
        "ROLE_NOT_ALLOWED"
    );
    assert_eq!(
        fixture.refusal(&panel, request("1", "owner")).await,
        "CALLER_NOT_ALLOWED"
    );
    assert_eq!(fixture.calls(), 0);
    assert_eq!(fixture.count("", "CALLER_NOT_ALLOWED"), 1);
    assert_eq!(fixture.count("panel", "CALLER_NOT_ALLOWED"), 1);
    assert_eq!(fixture.count("panel", "PANEL_USER_INVALID"), 1);
    assert_eq!(fixture.count("panel", "ROLE_NOT_ALLOWED"), 1);
}

#[tokio::test]
async fn a_user_that_is_left_out_is_one_without_id_and_role() {
    let fixture = Fixture::new(Cloud::Mints);
    let empty = Request::new(Full::new(Bytes::from_static(&[0; 5])));
    let status = fixture.call(&panel(), empty).await.unwrap_err();
    assert_eq!(
        status.message(),
        "PANEL_USER_INVALID: panel_user.id must not be empty; panel_user.role must not be empty"
    );
}

#[tokio::test]
async fn a_certificate_that_no_longer_verifies_comes_before_everything() {
    let fixture = Fixture::new(Cloud::Mints);
    let peer = panel();
    peer.reject();
    assert_eq!(
        fixture.refusal(&peer, silent()).await,
        "CERTIFICATE_REJECTED"
    );
    assert_eq!(fixture.count("", "CERTIFICATE_REJECTED"), 1);
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let fixture = Fixture::new(Cloud::Mints);
    assert_eq!(
        fixture.refusal(&peer("stranger"), silent()).await,
        "CALLER_NOT_ALLOWED"
    );
}

#[tokio::test]
async fn a_request_that_does_not_decode_is_the_callers_fault() {
    let fixture = Fixture::new(Cloud::Mints);
    let garbage = Request::new(Full::new(Bytes::from_static(b"\0\0\0\0\x02\xff\xff")));
    let status = fixture.call(&panel(), garbage).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "REQUEST_INVALID: the request does not decode"
    );
    assert_eq!(fixture.count("panel", "REQUEST_INVALID"), 1);
}

#[tokio::test]
async fn rate_and_in_flight_come_before_the_cloud() {
    let limits = Limits {
        cloud_roles: roles(&["admin"]),
        caller_rate: Rate::per_second(1),
        user_rate: None,
        in_flight: 0,
    };
    let fixture = Fixture::with_limits(Cloud::Mints, limits);
    for expected in ["OVERLOADED", "OVERLOADED", "RATE_LIMITED"] {
        assert_eq!(
            fixture.refusal(&panel(), request("1", "admin")).await,
            expected
        );
    }
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn what_the_cloud_says_is_passed_on() {
    let fixture = Fixture::new(Cloud::Refuses);
    let status = fixture
        .call(&panel(), request("1", "admin"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(fixture.count("panel", "TENANT_KEY_REJECTED"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_by_the_shorter_of_both_deadlines() {
    let limit = Duration::from_secs(5);
    for (grpc_timeout, expected) in [
        ("2S", Duration::from_millis(1900)),
        ("60S", limit),
        ("5100m", limit),
    ] {
        let fixture = Fixture::new(Cloud::Hangs);
        let began = Instant::now();
        let request = with_timeout(request("1", "admin"), grpc_timeout);
        assert_eq!(fixture.refusal(&panel(), request).await, "CLOUD_TIMEOUT");
        assert_near(began.elapsed(), expected, grpc_timeout);
        let told = fixture.mint_token.mint.deadline.lock().unwrap();
        assert_eq!(told.unwrap(), began + expected);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_time_the_cloud_is_not_called() {
    let fixture = Fixture::new(Cloud::Mints);
    let request = with_timeout(request("1", "admin"), "100m");
    assert_eq!(fixture.refusal(&panel(), request).await, "CLOUD_TIMEOUT");
    assert_eq!(fixture.calls(), 0);
}

/// Tokio's timers are a millisecond late.
fn assert_near(found: Duration, expected: Duration, what: &str) {
    let late = found.checked_sub(expected);
    assert!(
        late.is_some_and(|late| late <= Duration::from_millis(2)),
        "{what}: {found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_a_body_that_does_not_come() {
    let fixture = Fixture::new(Cloud::Mints);
    let began = Instant::now();
    let status = fixture
        .call(&panel(), with_timeout(silent(), "1S"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_near(began.elapsed(), Duration::from_millis(900), "1S");
    assert_eq!(fixture.count("panel", "CLOUD_TIMEOUT"), 1);
}

#[tokio::test]
async fn a_malformed_timeout_is_told_to_the_caller() {
    let fixture = Fixture::new(Cloud::Mints);
    let request = with_timeout(request("1", "admin"), "5 seconds");
    assert_eq!(fixture.refusal(&panel(), request).await, "REQUEST_INVALID");
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn a_panic_is_an_internal_error_that_says_nothing() {
    let fixture = Fixture::new(Cloud::Panics);
    let status = fixture
        .call(&panel(), request("1", "admin"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "internal error")
    );
    assert_eq!(fixture.count("panel", "UNKNOWN"), 1);
    assert_eq!(fixture.value("ask2do_mints_in_flight "), 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_is_counted_and_gives_its_place_back() {
    let limits = Limits {
        cloud_roles: roles(&["admin"]),
        caller_rate: None,
        user_rate: None,
        in_flight: 1,
    };
    let fixture = Fixture::with_limits(Cloud::Hangs, limits);
    let peer = panel();
    let mut gone = Box::pin(fixture.call(&peer, request("1", "admin")));
    assert!(futures_util::poll!(&mut gone).is_pending());
    assert_eq!(fixture.value("ask2do_mints_in_flight "), 1);
    assert_eq!(
        fixture.refusal(&peer, request("2", "admin")).await,
        "OVERLOADED"
    );
    drop(gone);
    assert_eq!(fixture.count("panel", "CANCELLED"), 1);
    assert_eq!(fixture.value("ask2do_mints_in_flight "), 0);
    let mut next = Box::pin(fixture.call(&peer, request("2", "admin")));
    assert!(futures_util::poll!(&mut next).is_pending());
    assert_eq!(fixture.calls(), 2);
}

#[tokio::test]
async fn nothing_that_a_caller_sends_becomes_a_label() {
    let fixture = Fixture::new(Cloud::Mints);
    let series = || {
        let text = fixture.metrics.encode(Format::OpenMetrics);
        assert!(!text.contains("canary"));
        text.matches("ask2do_mints_total{").count()
    };
    drop(fixture.call(&panel(), request("1", "admin")).await);
    // The caller's and the stranger's: some for each reason, whatever was sent.
    fixture.mint_token.metrics.show_callers(&fixture.callers);
    let before = series();
    for n in 0..100 {
        let id = format!("canary-{n}");
        drop(fixture.call(&panel(), request(&id, &id)).await);
        drop(
            fixture
                .call(&peer(&format!("canary{n}")), request(&id, "admin"))
                .await,
        );
    }
    assert_eq!(series(), before);
}

/// The audit log of `fixture`, in a file of `dir`.
fn audited(mut fixture: Fixture, dir: &std::path::Path) -> Fixture {
    let settings = audit::Settings {
        output: audit::Output::File(dir.join("audit.log")),
        key: None,
        hash_ids: false,
        refuse: true,
    };
    fixture.mint_token.audit =
        Audit::begin(Some(settings), audit::Idle::default(), &mut fixture.metrics).unwrap();
    fixture
}

fn decisions(dir: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &serde_json::Value| line["event"] == "mint")
        .collect()
}

#[tokio::test]
async fn each_decision_is_a_line_before_it_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = audited(Fixture::new(Cloud::Mints), dir.path());
    let token = fixture
        .call(&panel(), request("42", "admin"))
        .await
        .unwrap()
        .token;
    let line = &decisions(dir.path())[0];
    assert_eq!(line["token_sha256"], audit::hash_of(&token));
    for (member, value) in [
        ("caller", "panel"),
        ("panel_user_id", "42"),
        ("panel_user_role", "admin"),
        ("outcome", "minted"),
        ("reason", "OK"),
        ("expires_at", "2026-05-03T03:09:37.123456789Z"),
    ] {
        assert_eq!(line[member], value, "{member}");
    }

    fixture.refusal(&panel(), request("43", "owner")).await;
    fixture.refusal(&panel(), request("", "admin")).await;
    fixture
        .refusal(&peer("stranger"), request("44", "admin"))
        .await;
    let lines = decisions(dir.path());
    let said: Vec<_> = lines[1..]
        .iter()
        .map(|line| {
            (
                &line["outcome"],
                &line["reason"],
                &line["caller"],
                &line["panel_user_id"],
            )
        })
        .map(|said| {
            format!("{said:?}")
                .replace("String", "")
                .replace(['(', ')', '"'], "")
        })
        .collect();
    assert_eq!(
        said,
        [
            "failed, CALLER_NOT_ALLOWED, panel, 43",
            "failed, PANEL_USER_INVALID, panel, Null",
            "failed, CALLER_NOT_ALLOWED, Null, Null",
        ]
    );
}

#[tokio::test]
async fn a_call_that_was_given_up_is_a_line_too() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = audited(Fixture::new(Cloud::Hangs), dir.path());
    let panel = panel();
    tokio::select! {
        answer = fixture.call(&panel, request("42", "admin")) => panic!("{answer:?}"),
        () = async {
            while fixture.calls() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    fixture.mint_token.audit.end(Duration::from_secs(60)).await;
    let lines = decisions(dir.path());
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["panel_user_id"]),
        (&"cancelled".into(), &"42".into())
    );
}

#[tokio::test]
async fn what_cannot_be_written_down_is_neither_handed_out_nor_minted() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = audited(Fixture::new(Cloud::Mints), dir.path());
    let log = dir.path().join("audit.log");
    std::fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    fixture.mint_token.audit.reopen();
    let status = fixture
        .call(&panel(), request("42", "admin"))
        .await
        .unwrap_err();
    assert_eq!(
        status.message(),
        "OVERLOADED: the audit log of this server cannot be written"
    );
    assert_eq!(fixture.calls(), 1, "minted, and kept back");
    assert_eq!(
        fixture.refusal(&panel(), request("42", "admin")).await,
        "OVERLOADED"
    );
    assert_eq!(fixture.calls(), 1, "not minted any more");
    assert_eq!(fixture.count("panel", "OVERLOADED"), 2);
}
