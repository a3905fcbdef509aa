//! Which failures are tried again, and how often.
//!
//! - A request that the service has not seen moves to another connection.
//! - UNAVAILABLE without an ErrorInfo (the service is gone or draining) is retried once, as long as
//!   few calls need it: a service in trouble is not given more to do.
//! - CERTIFICATE_REJECTED is tried once more, on a connection made with what is on disk now.
//!
//! Everything else is the service's last word: it has done the one retry that is worth it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ask2do_token_proto::{ERROR_DOMAIN, RETRY_PUSHBACK, Reason};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::retry::budget::{Budget, TpsBudget};

use super::balancer::Balancer;
use super::connect::{Connect, Connection};
use super::deadline;
use super::exchange::{Failure, Reply};
use super::pool::Demand;
use crate::credentials::Credentials;

/// Most connections that one call moves on from.
const MOVES: u8 = 3;

/// Retries: one in five calls, over this window,
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_SHARE: f32 = 0.2;
/// and some a second beside, for clients that seldom call and for servers lost with many calls on them.
const BUDGET_FLOOR: u32 = 5;

/// Longest pause before the retry: enough to part the calls that failed together.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes calls over the balancer's connections.
#[derive(Debug)]
pub(crate) struct Attempts<C: Connect> {
    pub(super) balancer: Balancer<C>,
    budget: TpsBudget,
    credentials: Credentials,
    retries: bool,
}

/// What one call has used up, and what it wants next.
#[derive(Debug, Default)]
struct Progress {
    moves: u8,
    retried: bool,
    demand: Demand,
    /// The reply that sent the call on a new connection.
    rejected: Option<Reply>,
}

/// What follows an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Return,
    /// To another connection: this one took no request.
    Move,
    /// Once more, if the budget allows.
    Retry,
    /// Once more, on a connection made with the certificates of now.
    Renew,
}

/// What a reply says about another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Final,
    Unavailable,
    CertificateRejected,
}

impl<C: Connect> Attempts<C> {
    pub(crate) fn new(balancer: Balancer<C>, credentials: Credentials) -> Self {
        Self {
            balancer,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, BUDGET_SHARE),
            credentials,
            retries: true,
        }
    }

    /// Whether a call that failed is made again. What the service has not seen moves on either way.
    pub(crate) fn retries(mut self, retries: bool) -> Self {
        self.retries = retries;
        self
    }

    /// Keeps the certificates current from now on.
    pub(super) fn start(&self) {
        self.credentials.start();
    }

    /// Sends the request until there is an answer that is to be taken. Bound it by the deadline:
    /// `connected` tells afterwards whether there was a connection.
    pub(super) async fn call(
        &self,
        request: &Request<Bytes>,
        until: Instant,
        connected: &AtomicBool,
    ) -> Result<Reply, Failure> {
        self.budget.deposit();
        let mut progress = Progress::default();
        loop {
            let member = match self.balancer.pick(&progress.demand).await {
                Ok(member) => member,
                Err(cause) => return progress.rejected.ok_or(Failure::Unreachable(cause)),
            };
            connected.store(true, Ordering::Relaxed);
            let outcome = member.connection.exchange(within(request, until)).await;
            if let Err(Failure::NotSent(_) | Failure::Lost(_)) = &outcome {
                member.retire();
            }
            match progress.next(&outcome) {
                Next::Move => progress.moves += 1,
                Next::Renew => {
                    let now = self.balancer.tick();
                    // Also for the calls after this one.
                    self.credentials.reread().await;
                    member.retire();
                    if !self.retries {
                        return outcome;
                    }
                    tracing::info!(address = %member.address, "certificate rejected: connects anew");
                    progress.demand.dialed_after = Some(now);
                    progress.rejected = outcome.ok();
                }
                Next::Retry if self.retries && self.budget.withdraw() => {
                    tracing::info!(address = %member.address, "retries once");
                    progress.retried = true;
                    progress.demand.other_than = Some(member.address);
                    tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.0..1.0))).await;
                }
                Next::Retry | Next::Return => return outcome,
            }
        }
    }
}

impl Progress {
    fn next(&self, outcome: &Result<Reply, Failure>) -> Next {
        let unavailable = if self.retried {
            Next::Return
        } else {
            Next::Retry
        };
        match outcome {
            Err(Failure::NotSent(_)) if self.moves < MOVES => Next::Move,
            Err(Failure::NotSent(_) | Failure::Lost(_) | Failure::Refused(_)) => unavailable,
            Err(Failure::Unreachable(_) | Failure::Ended(_)) => Next::Return,
            Ok(reply) => match verdict(reply) {
                Verdict::Unavailable => unavailable,
                Verdict::CertificateRejected if self.rejected.is_none() => Next::Renew,
                Verdict::CertificateRejected | Verdict::Final => Next::Return,
            },
        }
    }
}

/// The request, with what is left of its time.
fn within(request: &Request<Bytes>, until: Instant) -> Request<Bytes> {
    let mut request = request.clone();
    // With nothing left the caller's timer ends the call at this very moment.
    deadline::write(request.headers_mut(), until);
    request
}

fn verdict(reply: &Reply) -> Verdict {
    let Some(status) = status(reply) else {
        return without_status(reply.status());
    };
    let info = status.get_details_error_info();
    match (status.code(), info) {
        (Code::Unavailable, None) if !pushed_back(&status) => Verdict::Unavailable,
        (Code::Unauthenticated, Some(info))
            if info.domain == ERROR_DOMAIN
                && info.reason == Reason::CertificateRejected.as_str() =>
        {
            Verdict::CertificateRejected
        }
        _ => Verdict::Final,
    }
}

/// The reply's gRPC status, if it is not OK.
pub(super) fn status(reply: &Reply) -> Option<Status> {
    let of = |headers: &HeaderMap| {
        let given = headers.get(Status::GRPC_STATUS)?;
        (given != "0").then(|| Status::from_header_map(headers))?
    };
    of(reply.headers()).or_else(|| of(reply.body().trailers()?))
}

/// What something other than a gRPC server answers.
///
/// Source: gRPC's "HTTP to gRPC status code mapping".
fn without_status(status: StatusCode) -> Verdict {
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Unavailable,
        _ => Verdict::Final,
    }
}

/// The service asks that nobody try again: a value below zero, or one that is no number (gRFC A6).
fn pushed_back(status: &Status) -> bool {
    let Some(value) = status.metadata().get(RETRY_PUSHBACK) else {
        return false;
    };
    let millis = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    millis.is_none_or(|millis| millis < 0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use tonic_types::ErrorDetails;

    use super::*;
    use crate::transport::balancer::Target;
    use crate::transport::exchange::ReplyBody;
    use crate::transport::fakes::{FakeDns, FakeNet, Host, lost, ok};
    use crate::unavailable::{Unavailable, UnavailableKind};

    type Outcome = fn() -> Result<Reply, Failure>;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8443).into()
    }

    /// A client of two hosts that answer with these, one call after the other, and who was called.
    struct Setup {
        attempts: Attempts<FakeNet>,
        net: FakeNet,
        called: Arc<Mutex<Vec<SocketAddr>>>,
    }

    async fn setup(hosts: u8, outcomes: &'static [Outcome]) -> Setup {
        let addresses: Vec<_> = (1..=hosts).map(address).collect();
        let up: Vec<_> = addresses.iter().map(|a| (*a, Host::Up)).collect();
        let net = FakeNet::new(&up);
        let called = Arc::new(Mutex::new(Vec::new()));
        let log = called.clone();
        net.script(move |address| {
            let mut log = log.lock().unwrap();
            log.push(address);
            outcomes
                .get(log.len() - 1)
                .map_or_else(|| Ok(ok()), |outcome| outcome())
        });
        let target = Target {
            host: "token.test".into(),
            port: 8443,
            resolver: Box::new(FakeDns::new([Ok(addresses)])),
        };
        let attempts = Attempts::new(
            Balancer::new(target, net.clone()),
            Credentials::new(Vec::new(), None),
        );
        // So that every host has its connection.
        attempts.balancer.pick(&Demand::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        Setup {
            attempts,
            net,
            called,
        }
    }

    impl Setup {
        async fn call(&self) -> Result<Reply, Failure> {
            let until = Instant::now() + Duration::from_secs(6);
            let request = Request::new(Bytes::new());
            let connected = AtomicBool::new(false);
            let call = self.attempts.call(&request, until, &connected);
            tokio::time::timeout_at(until, call).await.expect("hangs")
        }

        fn calls(&self) -> usize {
            self.called.lock().unwrap().len()
        }
    }

    fn reply(status: &Status) -> Result<Reply, Failure> {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        Ok(Reply::new(ReplyBody::with_trailers(trailers)))
    }

    fn with_reason(code: Code, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, ERROR_DOMAIN, []);
        Status::with_error_details(code, "", details)
    }

    fn draining() -> Result<Reply, Failure> {
        reply(&Status::unavailable("draining"))
    }

    fn certificate_rejected() -> Result<Reply, Failure> {
        reply(&with_reason(Code::Unauthenticated, "CERTIFICATE_REJECTED"))
    }

    fn refused() -> Result<Reply, Failure> {
        let cause = Unavailable::new(UnavailableKind::Refused, "refused");
        Err(Failure::Refused(cause))
    }

    fn not_sent() -> Result<Reply, Failure> {
        let cause = Unavailable::new(UnavailableKind::Lost, "GOAWAY");
        Err(Failure::NotSent(cause))
    }

    fn code(outcome: &Result<Reply, Failure>) -> Option<Code> {
        status(outcome.as_ref().ok()?).map(|status| status.code())
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_service_answers_with_a_reason_is_called_once() {
        let answers: &[&'static [Outcome]] = &[
            &[|| reply(&with_reason(Code::Unavailable, "CLOUD_UNAVAILABLE"))],
            &[|| reply(&with_reason(Code::Unavailable, "CLOUD_RATE_LIMITED"))],
            &[|| reply(&with_reason(Code::Unavailable, "OF_TOMORROW"))],
            &[|| reply(&with_reason(Code::Unauthenticated, "OF_TOMORROW"))],
            &[|| reply(&Status::unauthenticated(""))],
            &[|| reply(&Status::deadline_exceeded(""))],
            &[|| reply(&Status::resource_exhausted(""))],
            &[|| reply(&Status::internal(""))],
            &[|| Err(Failure::Ended(Status::cancelled("")))],
        ];
        for outcomes in answers {
            let setup = setup(2, outcomes).await;
            let outcome = setup.call().await;
            assert_eq!(setup.calls(), 1, "{outcome:?}");
            assert!(code(&outcome).is_some() || outcome.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unavailable_without_a_reason_is_retried_once_elsewhere() {
        for outcome in [draining, refused, (|| Err(lost())) as Outcome] {
            let outcomes: &'static [Outcome] = Box::leak(Box::new([outcome]));
            let setup = setup(2, outcomes).await;
            // Another call takes the turn in between, so that the first host's comes again.
            let another = async {
                tokio::task::yield_now().await;
                setup.attempts.balancer.pick(&Demand::default()).await
            };
            let (outcome, another) = tokio::join!(setup.call(), another);
            assert_eq!(code(&outcome), None);
            another.unwrap();
            let called = setup.called.lock().unwrap();
            assert_eq!(called.len(), 2);
            assert_ne!(called[0], called[1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_failure_is_final() {
        let setup = setup(2, &[draining, draining]).await;
        assert_eq!(code(&setup.call().await), Some(Code::Unavailable));
        assert_eq!(setup.calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_host_is_retried_too() {
        let setup = setup(1, &[refused]).await;
        assert!(setup.call().await.is_ok());
        assert_eq!(setup.calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_replaced() {
        let setup = setup(1, &[|| Err(lost())]).await;
        assert!(setup.call().await.is_ok());
        assert_eq!(setup.net.dials(address(1)).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn pushback_stops_the_retry() {
        let setup = setup(
            2,
            &[|| {
                let mut status = Status::unavailable("");
                let no = tonic::metadata::MetadataValue::from_static("-1");
                status.metadata_mut().insert(RETRY_PUSHBACK, no);
                reply(&status)
            }],
        )
        .await;
        assert_eq!(code(&setup.call().await), Some(Code::Unavailable));
        assert_eq!(setup.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_sent_moves_on_without_using_the_retry_up() {
        let setup = setup(2, &[not_sent, not_sent, draining]).await;
        assert_eq!(code(&setup.call().await), None);
        assert_eq!(setup.calls(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn without_retries_what_was_seen_is_final_and_what_was_not_moves_on() {
        for outcome in [
            draining,
            refused,
            certificate_rejected,
            (|| Err(lost())) as Outcome,
        ] {
            let outcomes: &'static [Outcome] = Box::leak(Box::new([not_sent, outcome]));
            let mut setup = setup(2, outcomes).await;
            setup.attempts = setup.attempts.retries(false);
            let outcome = setup.call().await;
            assert!(code(&outcome).is_some() || outcome.is_err());
            assert_eq!(setup.calls(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn moving_on_has_an_end() {
        let outcomes: &'static [Outcome] = Box::leak(Box::new([not_sent as Outcome; 64]));
        let setup = setup(2, outcomes).await;
        assert!(setup.call().await.is_err());
        assert_eq!(setup.calls(), usize::from(MOVES) + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_end_when_every_call_needs_one() {
        let outcomes: &'static [Outcome] = Box::leak(Box::new([draining as Outcome; 2000]));
        let setup = setup(2, outcomes).await;
        for _ in 0..1000 {
            _ = setup.call().await;
        }
        let retries = setup.calls() - 1000;
        assert!((50..=300).contains(&retries), "{retries} of 1000 calls");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_certificate_is_tried_once_more_on_a_new_connection() {
        let setup = setup(2, &[certificate_rejected]).await;
        assert_eq!(code(&setup.call().await), None);
        let first = setup.called.lock().unwrap()[0];
        assert_eq!(*setup.called.lock().unwrap(), [first, first]);
        assert_eq!(setup.net.dials(first).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_that_stays_rejected_is_the_answer() {
        let setup = setup(2, &[certificate_rejected, certificate_rejected]).await;
        assert_eq!(code(&setup.call().await), Some(Code::Unauthenticated));
        assert_eq!(setup.calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_certificate_is_the_answer_too_when_no_new_connection_is_had() {
        let setup = setup(1, &[certificate_rejected]).await;
        setup.net.set(address(1), Host::Refuses);
        assert_eq!(code(&setup.call().await), Some(Code::Unauthenticated));
        assert_eq!(setup.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxys_503_is_unavailable() {
        let setup = setup(
            2,
            &[|| {
                let mut reply = ok();
                *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                Ok(reply)
            }],
        )
        .await;
        assert_eq!(setup.call().await.unwrap().status(), StatusCode::OK);
        assert_eq!(setup.calls(), 2);
    }
}
