//! What a JWKS says, as far as it is of use.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::session::http_client::ANSWER_BYTES;

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

/// The usable keys of a JWKS; at least one.
#[derive(Debug)]
pub(in crate::session) struct KeySet(Vec<Key>);

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
    pub(super) fn parse(text: &[u8]) -> Result<Self, JwksError> {
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

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token with this header. One without a `kid` may only be of a set
    /// with a single key.
    pub(in crate::session) fn matching(
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
