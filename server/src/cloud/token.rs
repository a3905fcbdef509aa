//! Whether what the cloud sent is a live token for the panel user that was asked for.
//!
//! The signature is not checked: the vendor publishes no keys. What is checked is what a mix-up, a
//! wrong clock or something else in the vendor's place would get wrong.

mod claim;

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::SecretString;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset};
use zeroize::Zeroizing;

use crate::mint::{MintedToken, PanelUser};
use claim::{Claim, Claims, Header};

/// The longest token that is passed on, in bytes. The vendor's have about 340; callers put theirs
/// into headers, which few servers take beyond 8 KiB.
pub(super) const MAX_TOKEN_LENGTH: usize = 8 * 1024;

/// How far the cloud's clock and ours may differ, and `exp` and `expiresAt` from one another.
const TOLERANCE: Duration = Duration::seconds(60);

/// The characters are what counts: a last one with bits to spare is nobody's mistake here.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The body of the cloud's 200. Its strings stay in the buffer that they came in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Granted<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow)]
    expires_at: Cow<'a, str>,
}

/// A token that may be passed on.
#[derive(Debug)]
pub(super) struct LiveToken {
    pub(super) minted: MintedToken,
    /// What the token says of its expiry, where that is not what the answer says.
    pub(super) mismatch: Option<ExpiryMismatch>,
}

/// How a token's own `exp` differs from the answer's `expiresAt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpiryMismatch {
    /// The token holds no `exp` that is a number.
    Missing,
    /// They are more than a minute apart.
    Apart,
}

impl ExpiryMismatch {
    /// The label's value in metrics and logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Apart => "apart",
        }
    }
}

/// Why a 200 holds no live token for this user. Shows nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotLive {
    #[error("the answer is not a JSON object with the strings `token` and `expiresAt`")]
    Body,
    #[error("the token is longer than {MAX_TOKEN_LENGTH} bytes")]
    TooLong,
    #[error("the token is not three base64url parts")]
    Parts,
    #[error("the token's header is not JSON with an `alg` other than `none`")]
    Algorithm,
    #[error("the token's claims are not a JSON object")]
    Claims,
    #[error("the token's `sub` is not the panel user that was asked for")]
    Subject,
    #[error("the token's `role` is not the one that was asked for")]
    Role,
    #[error("`expiresAt` is not an RFC 3339 time")]
    ExpiresAt,
    #[error("the token has expired")]
    Expired,
}

impl NotLive {
    /// The label's value in metrics, and the `error.type` of a span.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::TooLong => "token_too_long",
            Self::Parts => "token_parts",
            Self::Algorithm => "token_algorithm",
            Self::Claims => "token_claims",
            Self::Subject => "token_subject",
            Self::Role => "token_role",
            Self::ExpiresAt => "expires_at",
            Self::Expired => "token_expired",
        }
    }
}

impl<'a> Granted<'a> {
    /// Reads the body of a 200.
    pub(super) fn from_json(body: &'a [u8]) -> Result<Self, NotLive> {
        object(body).ok_or(NotLive::Body)
    }

    /// Checks that this is a token for `user` that lives at `now`.
    pub(super) fn check(self, user: &PanelUser, now: OffsetDateTime) -> Result<LiveToken, NotLive> {
        if self.token.len() > MAX_TOKEN_LENGTH {
            return Err(NotLive::TooLong);
        }
        let [header, claims] = decode(&self.token)?;
        check_algorithm(&header)?;
        let claims: Claims<'_> = object(&claims).ok_or(NotLive::Claims)?;
        if !is_absent_or(claims.sub.as_ref(), user.id()) {
            return Err(NotLive::Subject);
        }
        if !is_absent_or(claims.role.as_ref(), user.role()) {
            return Err(NotLive::Role);
        }
        let expires_at = OffsetDateTime::parse(&self.expires_at, &Rfc3339)
            .ok()
            .and_then(|time| time.checked_to_offset(UtcOffset::UTC))
            .ok_or(NotLive::ExpiresAt)?;
        let expiry = Expiry {
            exp: exp(claims.exp.as_ref()),
            expires_at,
        };
        if expiry.later() < now - TOLERANCE {
            return Err(NotLive::Expired);
        }
        let mismatch = expiry.mismatch();
        let expires_at = if mismatch.is_some() {
            expiry.earlier()
        } else {
            expires_at
        };
        Ok(LiveToken {
            minted: MintedToken {
                token: SecretString::new(Box::from(&*self.token)),
                expires_at,
            },
            mismatch,
        })
    }
}

/// The header and the claims, decoded; the signature must only look like one.
fn decode(token: &str) -> Result<[Zeroizing<Vec<u8>>; 2], NotLive> {
    let mut parts = token.split('.').map(|part| {
        let bytes = Zeroizing::new(BASE64URL.decode(part).map_err(|_| NotLive::Parts)?);
        if bytes.is_empty() {
            return Err(NotLive::Parts);
        }
        Ok(bytes)
    });
    let mut next = || parts.next().unwrap_or(Err(NotLive::Parts));
    let (header, claims, _signature) = (next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(NotLive::Parts);
    }
    Ok([header, claims])
}

/// Reads a JSON object: serde would take an array for a struct too.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(json).ok())?
}

fn check_algorithm(header: &[u8]) -> Result<(), NotLive> {
    let header: Header<'_> = object(header).ok_or(NotLive::Algorithm)?;
    match header.alg.as_ref().and_then(Claim::as_str) {
        Some(alg) if !alg.is_empty() && !alg.eq_ignore_ascii_case("none") => Ok(()),
        _ => Err(NotLive::Algorithm),
    }
}

/// Where the claim is present, it must be the string that was asked for.
fn is_absent_or(claim: Option<&Claim<'_>>, asked: &str) -> bool {
    claim.is_none_or(|claim| claim.as_str() == Some(asked))
}

/// The token's own expiry: RFC 7519 has it a number of seconds, with or without a fraction.
fn exp(claim: Option<&Claim<'_>>) -> Option<OffsetDateTime> {
    let seconds = claim?.as_f64()?;
    let latest = PrimitiveDateTime::MAX.assume_utc();
    let since_epoch = Duration::checked_seconds_f64(seconds);
    let time = since_epoch.and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since));
    // Beyond what a calendar holds is as far away as it goes.
    Some(time.unwrap_or(if seconds > 0.0 {
        latest
    } else {
        OffsetDateTime::UNIX_EPOCH
    }))
}

/// The two times that speak of a token's end.
struct Expiry {
    exp: Option<OffsetDateTime>,
    expires_at: OffsetDateTime,
}

impl Expiry {
    fn later(&self) -> OffsetDateTime {
        self.exp
            .map_or(self.expires_at, |exp| exp.max(self.expires_at))
    }

    /// At least the epoch: a protobuf timestamp knows no year before the first.
    fn earlier(&self) -> OffsetDateTime {
        self.exp
            .map_or(self.expires_at, |exp| exp.min(self.expires_at))
            .max(OffsetDateTime::UNIX_EPOCH)
    }

    fn mismatch(&self) -> Option<ExpiryMismatch> {
        let Some(exp) = self.exp else {
            return Some(ExpiryMismatch::Missing);
        };
        ((exp - self.expires_at).abs() > TOLERANCE).then_some(ExpiryMismatch::Apart)
    }
}

#[cfg(test)]
mod tests;
