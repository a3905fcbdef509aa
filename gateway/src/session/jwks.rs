//! The keys that JWTs are verified with: a JWKS (RFC 7517) from a URL or a file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ask2do_token_tls::{LoadError, Reloader, Watched};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, warn};
use url::Url;

use super::SessionError;
use super::http_client::{ANSWER_BYTES, HttpClient};
use crate::metrics::GatewayMetrics;

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

/// A text is no JWKS that could verify anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// It is larger than 64 KiB.
    #[error("larger than 64 KiB")]
    TooLarge,
    /// It is not a JSON object with a list `keys`.
    #[error("not a JWKS: no JSON object with a list `keys`")]
    NotAJwks,
    /// No key in it is of any use.
    #[error(
        "no usable key in it: RSA from 2048 bits, P-256, P-384 and Ed25519 are, unless `use`, `key_ops` or `alg` say otherwise"
    )]
    NoUsableKey,
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
            Ok(keys) => debug!(keys = keys.0.len(), "read the JWKS"),
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

/// The usable keys of a JWKS; at least one.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

struct Key {
    kid: Option<String>,
    /// What this key may verify: its type, and its `alg` where it has one, decide; never the token.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// The members that matter of one key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWKS. Keys of other kinds, or for other uses, are left out: a set may hold any.
    fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > ANSWER_BYTES {
            return Err(JwksError::TooLarge);
        }
        let document: Document = serde_json::from_slice(text).map_err(|_| JwksError::NotAJwks)?;
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.into_key())
            .collect();
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(Self(keys))
    }

    /// The keys that may have signed a token with this header. One without a `kid` may only be of a set
    /// with a single key.
    pub(super) fn matching(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> impl Iterator<Item = &DecodingKey> {
        let single = self.0.len() == 1;
        self.0
            .iter()
            .filter(move |key| match kid {
                Some(kid) => key.kid.as_deref() == Some(kid),
                None => single,
            })
            .filter(move |key| key.algorithms.contains(&algorithm))
            .map(|key| &key.key)
    }
}

impl Jwk {
    fn into_key(self) -> Option<Key> {
        use Algorithm as A;

        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self
                .key_ops
                .as_ref()
                .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return None;
        }
        let octets = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let (key, algorithms): (_, &[Algorithm]) = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => {
                let n = octets(&self.n)?;
                let n = n.get(n.iter().position(|byte| *byte != 0)?..)?;
                if !(256..=1024).contains(&n.len()) {
                    return None; // 2048 to 8192 bits are what the verifier takes.
                }
                let key = DecodingKey::from_rsa_raw_components(n, &octets(&self.e)?);
                (
                    key,
                    &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512],
                )
            }
            ("EC", Some("P-256")) => (self.point(32)?, &[A::ES256]),
            ("EC", Some("P-384")) => (self.point(48)?, &[A::ES384]),
            ("OKP", Some("Ed25519")) => {
                let x = octets(&self.x).filter(|x| x.len() == 32)?;
                (DecodingKey::from_ed_der(&x), &[A::EdDSA])
            }
            // `oct` too: a shared secret in a JWKS would let everybody who reads it sign.
            _ => return None,
        };
        let algorithms: Vec<Algorithm> = match &self.alg {
            Some(alg) => vec![*algorithms.iter().find(|own| alg.parse() == Ok(**own))?],
            None => algorithms.to_vec(),
        };
        Some(Key {
            kid: self.kid,
            algorithms,
            key,
        })
    }

    /// An uncompressed point, each coordinate of exactly this many octets (RFC 7518 §6.2.1.2).
    fn point(&self, octets: usize) -> Option<DecodingKey> {
        let decode = |text: &Option<String>| {
            URL_SAFE_NO_PAD
                .decode(text.as_deref()?)
                .ok()
                .filter(|coordinate| coordinate.len() == octets)
        };
        let point = [&[4][..], &decode(&self.x)?, &decode(&self.y)?].concat();
        Some(DecodingKey::from_ec_der(&point))
    }
}
