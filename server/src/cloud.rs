//! Mints tokens at Ask2Do, over HTTPS.
//!
//! [`Cloud`] exchanges the [tenant key](key::TenantKey) for a panel user's token: one request, and one
//! more where the cloud cannot have refused the first. All of it ends by the deadline.
//!
//! Source of the exchange: the vendor's documentation of `POST /auth/token`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_runtime::telemetry::{self, Inject};
use ask2do_token_tls::{TlsError, Watched, https_client_config};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::Client;
use tokio::time::{Instant, sleep, timeout_at};
use tower::retry::budget::{Budget as _, TpsBudget};
use tracing::{Instrument as _, Span};

mod answer;
mod connections;
mod dns;
mod endpoint;
mod failure;
pub mod key;
mod metrics;
mod token;
mod trace;

pub use endpoint::{EgressProxy, Endpoint, InvalidUrl};
pub use metrics::CloudMetrics;

use crate::mint::{Mint, MintError, MintedToken, PanelUser};
use connections::Connections;
use dns::BoundedResolver;
use failure::{Cause, Failure, Retry};
use key::TenantKey;
use metrics::Skipped;
use token::LiveToken;

/// The pause before a retry, in milliseconds: spread, so that what failed together does not come
/// back together.
const PAUSE: std::ops::RangeInclusive<u64> = 50..=200;

/// A retry that has less time than this by the deadline is not begun.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(200);

/// Retries may be a fifth of the requests of the last ten seconds, and two a second besides: without
/// these a quiet server would have none. A cloud that is down gets little more than its usual load.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_SHARE: f32 = 0.2;
const BUDGET_FLOOR_PER_SECOND: u32 = 2;

/// How the cloud is reached.
#[derive(Clone)]
pub struct Settings {
    /// Where tokens are minted.
    pub endpoint: Endpoint,
    /// The way there, where it is not direct. The environment's proxies are never used.
    pub proxy: Option<EgressProxy>,
    /// PEM of certificates that are trusted beside the public roots.
    pub extra_roots: Option<Vec<u8>>,
    /// The longest that a mint may take, its retry included.
    pub timeout: Duration,
    /// Whether the cloud gets the trace context: `traceparent` alone.
    pub send_traceparent: bool,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra roots.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The HTTP client's own.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// The cloud. Tokens are minted with whatever tenant key is current.
pub struct Cloud {
    settings: Settings,
    key: Watched<TenantKey>,
    metrics: Arc<CloudMetrics>,
    connections: Connections,
    budget: TpsBudget,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("endpoint", &self.settings.endpoint)
            .field("proxy", &self.settings.proxy)
            .finish_non_exhaustive()
    }
}

impl Cloud {
    /// Sets everything up; the first mint opens the first connection.
    ///
    /// # Errors
    ///
    /// The settings cannot be used.
    pub fn new(
        settings: Settings,
        key: Watched<TenantKey>,
        metrics: Arc<CloudMetrics>,
    ) -> Result<Self, SetupError> {
        Self::with_resolver(settings, key, metrics, BoundedResolver::system())
    }

    fn with_resolver(
        settings: Settings,
        key: Watched<TenantKey>,
        metrics: Arc<CloudMetrics>,
        resolver: BoundedResolver,
    ) -> Result<Self, SetupError> {
        let tls = https_client_config(settings.extra_roots.as_deref())?;
        let connections = Connections::new(
            tls,
            &settings.endpoint,
            settings.proxy.as_ref(),
            settings.timeout,
            resolver,
        )
        .map_err(|error| SetupError::Client(failure::chain(&error.without_url())))?;
        Ok(Self {
            settings,
            key,
            metrics,
            connections,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR_PER_SECOND, BUDGET_SHARE),
        })
    }

    async fn live_token(&self, user: &PanelUser, deadline: Instant) -> Result<LiveToken, Failure> {
        self.budget.deposit();
        let pool = self.connections.pooled();
        let first = match self.attempt(&pool, user, 0, deadline).await {
            Ok(live) => return Ok(live),
            Err(failure) => failure,
        };
        if first.cause == Cause::ConnectionDead {
            self.connections.discard(&pool);
        }
        let Some((retry, pause)) = self.plan_retry(first.cause, deadline) else {
            return Err(first);
        };
        first.log(true);
        sleep(pause).await;
        let client = match retry {
            Retry::AnyConnection => Client::clone(&self.connections.pooled()),
            Retry::NewConnection => self.connections.fresh(),
        };
        self.attempt(&client, user, 1, deadline).await
    }

    /// Whether there is a retry, and after which pause.
    fn plan_retry(&self, cause: Cause, deadline: Instant) -> Option<(Retry, Duration)> {
        let retry = cause.retry()?;
        let pause = Duration::from_millis(rand::random_range(PAUSE));
        if Instant::now() + pause + SHORTEST_ATTEMPT > deadline {
            self.metrics.retry_skipped(Skipped::Deadline);
            return None;
        }
        if !self.budget.withdraw() {
            self.metrics.retry_skipped(Skipped::Budget);
            return None;
        }
        self.metrics.retry(cause);
        Some((retry, pause))
    }

    /// One request, with its span and its metrics.
    async fn attempt(
        &self,
        client: &Client,
        user: &PanelUser,
        resend_count: u32,
        deadline: Instant,
    ) -> Result<LiveToken, Failure> {
        let span = trace::request(self.settings.endpoint.url(), resend_count);
        let started = Instant::now();
        let result = if started < deadline {
            let exchange = self.exchange(client, user, &span).instrument(span.clone());
            let in_time = timeout_at(deadline, exchange).await;
            in_time.unwrap_or_else(|_| Err(Cause::Deadline.into()))
        } else {
            Err(Cause::Deadline.into())
        };
        let cause = result.as_ref().err().map(|failure| failure.cause);
        self.metrics.request(started.elapsed(), cause, &span);
        if let Some(cause) = cause {
            trace::failed(&span, cause);
        }
        result
    }

    async fn exchange(
        &self,
        client: &Client,
        user: &PanelUser,
        span: &Span,
    ) -> Result<LiveToken, Failure> {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(ACCEPT, json.clone()), (CONTENT_TYPE, json)]);
        if self.settings.send_traceparent {
            // The request's own span, or the call's where the request has none.
            telemetry::inject(&Span::current(), &mut headers, Inject::Traceparent);
        }
        let body = self.key.current().request_body(user);
        let response = client
            .post(self.settings.endpoint.url().clone())
            .headers(headers)
            .body(body)
            .send()
            .await
            .map_err(Failure::from_transport)?;
        trace::answered(span, &response);
        answer::read(response, user, &self.metrics).await
    }

    /// A token whose own expiry is odd is passed on all the same: a vendor's rounding must not stop
    /// every mint.
    fn report_mismatch(&self, live: &LiveToken) {
        if let Some(mismatch) = live.mismatch {
            self.metrics.expiry_mismatch(mismatch);
            tracing::warn!(
                kind = mismatch.as_str(),
                "a token's own exp is missing, or more than a minute apart from expiresAt: passed on"
            );
        }
    }
}

impl Mint for Cloud {
    async fn mint(&self, user: &PanelUser, deadline: Instant) -> Result<MintedToken, MintError> {
        let deadline = deadline.min(Instant::now() + self.settings.timeout);
        match self.live_token(user, deadline).await {
            Ok(live) => {
                self.report_mismatch(&live);
                Ok(live.minted)
            }
            Err(failure) => {
                failure.log(false);
                Err(failure.cause.error())
            }
        }
    }
}

#[cfg(test)]
mod tests;
