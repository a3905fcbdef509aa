//! `MintToken`: from a request to its one decision, and from there to the reply.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_proto::v1::{MintTokenRequest, MintTokenResponse};
use ask2do_token_runtime::telemetry;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body as HttpBody;
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use tonic::body::Body;
use tracing::{Instrument as _, Span};

use super::peer::Peer;
use super::status::Failure;
use super::{BoxError, deadline, message, trace};
use crate::admission::{Admission, Caller};
use crate::audit::{Audit, Decision, Hex, NotWritten, Outcome};
use crate::metrics::{self, MintMetrics};
use crate::mint::{Mint, MintError, MintedToken, PanelUser};

/// The service's one method.
#[derive(Debug)]
pub(super) struct MintToken<M> {
    pub(super) mint: M,
    pub(super) admission: Arc<Admission>,
    pub(super) timeout: Duration,
    pub(super) metrics: MintMetrics,
    pub(super) audit: Audit,
}

impl<M: Mint> MintToken<M> {
    /// Answers one call, in a span that describes it, and in its trace.
    pub(super) async fn answer<B>(
        &self,
        peer: &Peer,
        request: Request<B>,
        (span, trace_id): (Span, Hex<16>),
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut call = self.begin(span.clone(), trace_id);
        let decided = AssertUnwindSafe(self.decide(&mut call, peer, request)).catch_unwind();
        // What comes after it is awaited outside: entering a span costs more than waiting.
        let decided = decided.instrument(span);
        // The panic itself was reported by the hook, with its place.
        let mut outcome = decided.await.unwrap_or(Err(Failure::Bug));
        // Before anybody has the token: what is not written down is not handed out.
        if call.write_down(&outcome).await.is_err() && outcome.is_ok() {
            outcome = Err(Failure::AuditFailing);
        }
        call.conclude(&outcome);
        match outcome {
            Ok(token) => message::reply(to_message(&token)),
            Err(failure) => failure.to_status().into_http(),
        }
    }

    fn begin(&self, span: Span, trace_id: Hex<16>) -> Call<'_> {
        self.metrics.begun();
        let arrived = Instant::now();
        Call {
            metrics: &self.metrics,
            audit: &self.audit,
            span,
            trace_id,
            arrived,
            deadline: arrived + self.timeout,
            caller: None,
            user: None,
            written_down: false,
            concluded: false,
        }
    }

    /// The order in which a call is refused: the contract has it too.
    async fn decide<B>(
        &self,
        call: &mut Call<'_>,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<MintedToken, Failure>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let caller = &*call.caller.insert(authorize(&self.admission, peer)?);
        let (head, body) = request.into_parts();
        let deadline = call.arrived + deadline::time_for(&head.headers, self.timeout)?;
        call.deadline = deadline;
        let user = &mut call.user;
        let minted = async {
            let request = message::read(&head.headers, body).await?;
            let user = &*user.insert(to_user(request)?);
            let _in_flight = self.admission.admit(caller, user)?;
            if Instant::now() >= deadline {
                // Begun, it would only be broken off.
                return Err(MintError::CloudTimeout.into());
            }
            if !self.audit.allows_mints() {
                return Err(Failure::AuditFailing);
            }
            Ok(self.mint.mint(user, deadline).await?)
        };
        // The mint keeps the deadline itself; this holds for reading the request too.
        timeout_at(deadline, minted)
            .await
            .unwrap_or(Err(MintError::CloudTimeout.into()))
    }
}

/// The caller that is at the other end, before anything of a request is read.
pub(super) fn authorize(admission: &Admission, peer: &Peer) -> Result<Arc<Caller>, Failure> {
    peer.verify()?;
    admission.identify(peer.presented()).map_err(|stranger| {
        peer.report(stranger);
        MintError::CallerNotAllowed.into()
    })
}

/// A user that is left out is one without id and role.
fn to_user(request: MintTokenRequest) -> Result<PanelUser, Failure> {
    let user = request.panel_user.unwrap_or_default();
    Ok(PanelUser::parse(user.id, user.role)?)
}

fn to_message(token: &MintedToken) -> MintTokenResponse {
    let expires_at = token.expires_at;
    MintTokenResponse {
        token: token.token.expose_secret().to_owned(),
        expires_at: Some(prost_types::Timestamp {
            seconds: expires_at.unix_timestamp(),
            nanos: expires_at.nanosecond().cast_signed(),
        }),
    }
}

/// One call as far as it has got. Dropped before its conclusion, its caller has gone away.
struct Call<'a> {
    metrics: &'a MintMetrics,
    audit: &'a Audit,
    span: Span,
    trace_id: Hex<16>,
    arrived: Instant,
    deadline: Instant,
    caller: Option<Arc<Caller>>,
    user: Option<PanelUser>,
    written_down: bool,
    concluded: bool,
}

impl Call<'_> {
    /// Hands the decision to the audit log; under `refuse`, waits until it is there.
    async fn write_down(
        &mut self,
        outcome: &Result<MintedToken, Failure>,
    ) -> Result<(), NotWritten> {
        self.written_down = true;
        if !self.audit.is_on() {
            return Ok(());
        }
        let (reason, token) = match outcome {
            Ok(token) => (metrics::OK, Some(token)),
            Err(failure) => (failure.reason().as_str(), None),
        };
        let what = token.map_or(Outcome::Failed, |_| Outcome::Minted);
        let decision = self.decision(what, reason, token);
        self.audit.record(&decision, self.deadline).await
    }

    fn decision<'b>(
        &'b self,
        outcome: Outcome,
        reason: &'static str,
        token: Option<&'b MintedToken>,
    ) -> Decision<'b> {
        Decision {
            caller: self.caller.as_ref().map(|caller| caller.name()),
            panel_user: self.user.as_ref().map(|user| (user.id(), user.role())),
            outcome,
            reason,
            token: token.map(|token| (token.token.expose_secret(), token.expires_at)),
            trace_id: self.trace_id,
        }
    }

    /// The one place where everything about a decision is known: who asked, for whom, what came of
    /// it.
    fn conclude(mut self, outcome: &Result<MintedToken, Failure>) {
        self.concluded = true;
        match outcome {
            Ok(_) => self.record(metrics::OK, Code::Ok),
            Err(failure) => self.record(failure.reason().as_str(), failure.code()),
        }
    }

    fn record(&self, reason: &'static str, code: Code) {
        let caller = self.caller.as_ref().map(|caller| caller.name());
        let sampled = telemetry::sampled_trace_id(&self.span);
        // Most traces nobody will see, and what is recorded in them is not free.
        if sampled.is_some() {
            // Inside it, since a span ends when it was left last: what the audit log took is part of it.
            let caller = caller.map(|name| &**name);
            self.span
                .in_scope(|| trace::ended(&self.span, caller, reason, code));
        }
        let caller = caller.cloned().unwrap_or_else(|| Arc::from(""));
        tracing::debug!(parent: &self.span, caller = &*caller, reason, "decided");
        let trace_id = sampled.map(|id| id.to_string());
        self.metrics
            .ended(caller, reason, self.arrived.elapsed(), trace_id);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.written_down && self.audit.is_on() {
            let decision = self.decision(Outcome::Cancelled, metrics::CANCELLED, None);
            self.audit.note(&decision);
        }
        if !self.concluded {
            self.record(metrics::CANCELLED, Code::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests;
