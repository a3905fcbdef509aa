//! Mode `jwt`: a JSON Web Token of the panel's identity provider, verified here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::forward::JsonPointer;
use super::jwks::Jwks;
use super::{SessionCheck, SessionError, SessionUser, json};
use crate::origin::only;

/// How far this clock and the issuer's may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// Verifies a JWT in the request, and takes the user from its claims.
#[derive(Debug)]
pub struct Jwt {
    jwks: Jwks,
    issuer: String,
    audience: String,
    place: TokenPlace,
    id: Claim,
    role: Claim,
}

/// Where a request has its JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// In a cookie of this name.
    Cookie(String),
    /// In a header of this name: in `Authorization` after `Bearer`, in another with or without it.
    Header(HeaderName),
}

/// A claim: by its name, or, where it begins with a slash, by a JSON pointer into the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(String);

/// A text names no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a claim's name, such as sub, nor a JSON pointer, such as /realm_access/roles")]
pub struct InvalidClaim;

impl Jwt {
    /// Takes tokens of this issuer for this audience, each compared exactly.
    #[must_use]
    pub fn new(
        jwks: Jwks,
        issuer: String,
        audience: String,
        place: TokenPlace,
        id: Claim,
        role: Claim,
    ) -> Self {
        Self {
            jwks,
            issuer,
            audience,
            place,
            id,
            role,
        }
    }

    async fn claims(&self, token: &str, now: f64) -> Result<Map<String, Value>, SessionError> {
        let token = Unverified::parse(token)?;
        let kid = token.header.kid.as_deref();
        let keys = self.jwks.keys_for(token.header.alg, kid).await?;
        if !keys
            .matching(token.header.alg, kid)
            .any(|key| token.is_signed_by(key))
        {
            return Err(refused("the JWT's signature does not verify"));
        }
        let claims = token.claims()?;
        self.validate(&claims, now)?;
        Ok(claims)
    }

    /// RFC 7519 §4.1: `iss`, `aud` and `exp` must be there, `nbf` may.
    fn validate(&self, claims: &Map<String, Value>, now: f64) -> Result<(), SessionError> {
        let leeway = LEEWAY.as_secs_f64();
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(refused("the JWT is of another issuer"));
        }
        let for_us = match claims.get("aud") {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(audiences)) => audiences
                .iter()
                .any(|audience| audience.as_str() == Some(&self.audience)),
            _ => false,
        };
        if !for_us {
            return Err(refused("the JWT is for another audience"));
        }
        let expires = claims.get("exp").and_then(Value::as_f64);
        if expires.is_none_or(|expires| now >= expires + leeway) {
            return Err(refused("the JWT has expired, or has no exp"));
        }
        let begins = match claims.get("nbf") {
            None => f64::NEG_INFINITY,
            Some(begins) => begins.as_f64().unwrap_or(f64::INFINITY),
        };
        if now < begins - leeway {
            return Err(refused("the JWT is not yet valid"));
        }
        Ok(())
    }
}

impl SessionCheck for Jwt {
    async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        let token = self.place.token(&request.headers)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(f64::INFINITY, |since| since.as_secs_f64());
        let claims = self.claims(token, now).await?;
        let id = json::id(self.id.of(&claims))
            .ok_or_else(|| misconfigured("no usable session.jwt.id_claim"))?;
        let roles = json::roles(self.role.of(&claims))
            .ok_or_else(|| misconfigured("no usable session.jwt.role_claim"))?;
        SessionUser::new(id, roles).map_err(|error| misconfigured(&error.to_string()))
    }

    fn is_ambient(&self, _: &HeaderMap) -> bool {
        // A proxy may put a token into a header of its own for whoever comes with a cookie.
        matches!(&self.place, TokenPlace::Header(name) if *name != header::AUTHORIZATION)
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        match &self.place {
            TokenPlace::Cookie(_) => Vec::new(),
            TokenPlace::Header(name) => vec![name.clone()],
        }
    }
}

impl TokenPlace {
    /// The one token of a request.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Result<&'a str, SessionError> {
        let token = match self {
            Self::Cookie(name) => cookie(headers, name)?,
            Self::Header(name) => match headers.get(name) {
                None => None,
                Some(_) => {
                    let value = only(headers, name)
                        .ok_or_else(|| refused("the JWT's header is there twice, or no text"))?;
                    let bearer = bearer(value);
                    // Another scheme in `Authorization` is no token of ours.
                    bearer.or((*name != header::AUTHORIZATION).then_some(value))
                }
            },
        };
        token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| refused("no JWT in the request"))
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of a cookie that is there once. Twice means that a sibling site may have set one of them.
///
/// Read as bytes: browsers send other cookies beside it that are no ASCII.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SessionError> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|cookie| {
            let rest = cookie.trim_ascii().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=")
        });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value)
            .map(|value| Some(value.trim_matches('"')))
            .map_err(|_| refused("the JWT's cookie is no text")),
        (Some(_), Some(_)) => Err(refused("the JWT's cookie is there twice")),
    }
}

/// A token whose three parts are known, and nothing about their truth.
struct Unverified<'a> {
    header: TokenHeader,
    message: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// What counts of a token's header. Keys that it brings along (`jwk`, `jku`, `x5u`) never do.
#[derive(Deserialize)]
struct TokenHeader {
    alg: Algorithm,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Unverified<'a> {
    fn parse(token: &'a str) -> Result<Self, SessionError> {
        let noise = || refused("the token is no signed JWT");
        let (message, signature) = token.rsplit_once('.').ok_or_else(noise)?;
        let (header, payload) = message.split_once('.').ok_or_else(noise)?;
        if payload.contains('.') {
            return Err(noise());
        }
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| noise());
        let signature = decode(signature)?;
        let header: TokenHeader = serde_json::from_slice(&decode(header)?)
            .map_err(|_| refused("the JWT's header is noise, or names no signature algorithm"))?;
        if header.alg.family() == AlgorithmFamily::Hmac {
            return Err(refused("the JWT is signed with a shared secret"));
        }
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: nothing that could stand in it is understood here.
            return Err(refused("the JWT wants an extension to be understood"));
        }
        Ok(Self {
            header,
            message,
            payload,
            signature,
        })
    }

    fn is_signed_by(&self, key: &DecodingKey) -> bool {
        // Named, because jsonwebtoken's process-wide default panics where an application links two.
        let provider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
        (provider.verifier_factory)(&self.header.alg, key).is_ok_and(|verifier| {
            verifier
                .verify(self.message.as_bytes(), &self.signature)
                .is_ok()
        })
    }

    fn claims(&self) -> Result<Map<String, Value>, SessionError> {
        URL_SAFE_NO_PAD
            .decode(self.payload)
            .ok()
            .and_then(|claims| serde_json::from_slice(&claims).ok())
            .ok_or_else(|| refused("the JWT's claims are no JSON object"))
    }
}

impl Claim {
    /// Reads a claim's name or pointer.
    ///
    /// # Errors
    ///
    /// It is empty, or an ill-formed pointer.
    pub fn parse(text: &str) -> Result<Self, InvalidClaim> {
        let pointer = text.starts_with('/');
        if text.is_empty() || (pointer && JsonPointer::parse(text).is_none()) {
            return Err(InvalidClaim);
        }
        Ok(Self(text.to_owned()))
    }

    fn of<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(path) = self.0.strip_prefix('/') else {
            return claims.get(&self.0);
        };
        let (first, rest) = path
            .find('/')
            .map_or((path, ""), |slash| path.split_at(slash));
        let first = first.replace("~1", "/").replace("~0", "~");
        claims.get(&first)?.pointer(rest)
    }
}

/// `sub`, the user's id (RFC 7519 §4.1.2).
impl Default for Claim {
    fn default() -> Self {
        Self("sub".to_owned())
    }
}

fn refused(why: &'static str) -> SessionError {
    SessionError::login_required(why)
}

fn misconfigured(why: &str) -> SessionError {
    SessionError::unavailable(format!("a valid JWT names no usable user: {why}"))
}
