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
/// and one a second for clients that seldom call.
const BUDGET_FLOOR: u32 = 1;

/// Longest pause before the retry: enough to part the calls that failed together.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes calls over the balancer's connections.
#[derive(Debug)]
pub(crate) struct Attempts<C: Connect> {
    pub(super) balancer: Balancer<C>,
    budget: TpsBudget,
    credentials: Credentials,
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
        }
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
            match &outcome {
                Err(Failure::NotSent(cause)) if progress.moves < MOVES => {
                    tracing::debug!(%cause, "moves to another connection");
                    progress.moves += 1;
                    member.retire();
                    continue;
                }
                Err(Failure::Lost(_) | Failure::NotSent(_)) => member.retire(),
                Ok(reply)
                    if progress.rejected.is_none()
                        && verdict(reply) == Verdict::CertificateRejected =>
                {
                    tracing::info!(address = %member.address, "certificate rejected: connects anew");
                    progress.demand.dialed_after = Some(self.balancer.tick());
                    progress.rejected = outcome.ok();
                    self.credentials.reread().await;
                    member.retire();
                    continue;
                }
                Err(Failure::Refused(_)) => {}
                Ok(reply) if verdict(reply) == Verdict::Unavailable => {}
                _ => return outcome,
            }
            if progress.retried || !self.budget.withdraw() {
                return outcome;
            }
            tracing::info!(address = %member.address, "retries once");
            progress.retried = true;
            progress.demand.other_than = Some(member.address);
            tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.0..1.0))).await;
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
