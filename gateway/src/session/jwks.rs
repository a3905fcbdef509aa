//! The keys that JWTs are verified with: a JWKS (RFC 7517) from a URL or a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ask2do_token_tls::{LoadError, Reloader, Watched};
use http::{HeaderMap, StatusCode};
use jsonwebtoken::Algorithm;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, warn};
use url::Url;

use super::SessionError;
use super::http_client::HttpClient;
use crate::metrics::GatewayMetrics;

mod key_set;

pub use key_set::JwksError;
use key_set::KeySet;

/// An unknown `kid` asks the URL anew at most this often: forged tokens cost the identity provider nothing.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Until the keys were had once, the URL is asked this often.
const FIRST_LOAD_INTERVAL: Duration = Duration::from_secs(5);
/// The longest time for one answer of the URL.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A JWKS that follows its source. Clones share it.
#[derive(Clone, Debug)]
pub struct Jwks(Source);

#[derive(Clone, Debug)]
enum Source {
    File(Watched<KeySet>),
    Url(Arc<Remote>),
}

impl Jwks {
    /// Reads a file now. Run the reloader to follow it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no usable key.
    pub fn file(path: PathBuf) -> Result<(Self, Reloader), LoadError> {
        let (keys, reloader) = Watched::load("jwks", vec![path], |contents| {
            let text = contents.first().map_or(&[][..], |file| file.as_bytes());
            Ok(KeySet::parse(text)?)
        })?;
        Ok((Self(Source::File(keys)), reloader))
    }

    /// Asks a URL while [`Jwks::run`] runs: at once, then every `refresh`, and when a token names a key
    /// that is not known, though that at most every 30 s. Keys are kept while the URL is down.
    #[must_use]
    pub fn url(client: HttpClient, url: Url, refresh: Duration, metrics: GatewayMetrics) -> Self {
        Self(Source::Url(Arc::new(Remote {
            client,
            url,
            refresh,
            metrics,
            asked: Notify::new(),
            state: watch::Sender::new(State::default()),
        })))
    }

    /// Keeps the keys of a URL fresh, for ever. For a file there is nothing to do: run its reloader.
    pub async fn run(&self) {
        match &self.0 {
            Source::File(_) => std::future::pending().await,
            Source::Url(remote) => remote.run().await,
        }
    }

    /// Completes when keys were had once.
    pub async fn loaded(&self) {
        if let Source::Url(remote) = &self.0 {
            let mut state = remote.state.subscribe();
            // An error would mean that the sender is gone, and this holds it.
            let _ = state.wait_for(|state| state.keys.is_some()).await;
        }
    }

    /// A key set with a key that may have signed a token with this header.
    pub(super) async fn keys_for(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, SessionError> {
        match &self.0 {
            Source::File(keys) => Some(keys.current())
                .filter(|keys| keys.matching(algorithm, kid).next().is_some())
                .ok_or_else(unknown_key),
            Source::Url(remote) => remote.keys_for(algorithm, kid).await,
        }
    }
}

fn unknown_key() -> SessionError {
    SessionError::login_required("the JWT names a key that is not in the JWKS")
}

/// A JWKS behind a URL. One task asks; requests wait for its answers, so that none of them can break
/// off what others wait for.
#[derive(Debug)]
struct Remote {
    client: HttpClient,
    url: Url,
    refresh: Duration,
    metrics: GatewayMetrics,
    /// Somebody needs a key that is not there.
    asked: Notify,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    attempts: u64,
    last: Option<Attempt>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    ended: Instant,
    ok: bool,
}

impl State {
    fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<Arc<KeySet>> {
        let keys = self.keys.as_ref()?;
        keys.matching(algorithm, kid).next()?;
        Some(Arc::clone(keys))
    }

    fn may_ask(&self) -> bool {
        self.last
            .is_none_or(|last| last.ended.elapsed() >= REFRESH_INTERVAL)
    }
}

impl Remote {
    async fn keys_for(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, SessionError> {
        let mut states = self.state.subscribe();
        let seen = states.borrow_and_update().clone();
        if let Some(keys) = seen.find(algorithm, kid) {
            return Ok(keys);
        }
        let latest = if seen.may_ask() {
            self.asked.notify_one();
            let answered = states.wait_for(|state| state.attempts > seen.attempts);
            match tokio::time::timeout(TIMEOUT, answered).await {
                Ok(Ok(state)) => state.clone(),
                Ok(Err(_)) | Err(_) => seen,
            }
        } else {
            seen
        };
        if let Some(keys) = latest.find(algorithm, kid) {
            return Ok(keys);
        }
        match latest.last {
            // The key does not exist.
            Some(Attempt { ok: true, .. }) if !latest.may_ask() => Err(unknown_key()),
            // It may exist: nobody could be asked.
            _ => Err(SessionError::unavailable(
                "session.jwt.jwks_url: it does not answer, and the JWT names a key that is not known",
            )),
        }
    }

    async fn run(&self) {
        loop {
            self.attempt().await;
            let wait = match (&self.state.borrow().keys, self.last_was_ok()) {
                (None, _) => FIRST_LOAD_INTERVAL,
                (Some(_), false) => REFRESH_INTERVAL.min(self.refresh),
                (Some(_), true) => self.refresh,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.asked_in_time() => {}
            }
        }
    }

    /// Completes when somebody asked and it is not too soon. A question from before the last answer has
    /// had it.
    async fn asked_in_time(&self) {
        loop {
            self.asked.notified().await;
            if self.state.borrow().may_ask() {
                return;
            }
        }
    }

    fn last_was_ok(&self) -> bool {
        self.state.borrow().last.is_some_and(|last| last.ok)
    }

    async fn attempt(&self) {
        let answer = self.ask().await;
        let now = answer.is_ok().then(SystemTime::now);
        self.metrics.jwks_refreshed(now);
        match &answer {
            Ok(keys) => debug!(keys = keys.len(), "read the JWKS"),
            Err(why) => {
                let kept = self.state.borrow().keys.is_some();
                warn!(why, kept, "session.jwt.jwks_url: cannot read the JWKS");
            }
        }
        self.state.send_modify(|state| {
            state.attempts += 1;
            state.last = Some(Attempt {
                ended: Instant::now(),
                ok: answer.is_ok(),
            });
            if let Ok(keys) = answer {
                state.keys = Some(Arc::new(keys));
            }
        });
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let answer = self
            .client
            .get(&self.url, HeaderMap::new(), TIMEOUT)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answered {}", answer.status.as_u16()));
        }
        let body = answer.body.map_err(|error| error.to_string())?;
        KeySet::parse(&body).map_err(|error| error.to_string())
    }
}
