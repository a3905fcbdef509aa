//! The reply with the token, sound or defective.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, offset};
use time::{Duration, OffsetDateTime};

use super::super::scenario::Defect;
use super::super::token::{Claims, Signer, unsigned};
use super::PanelUser;

/// The vendor's tokens live this long.
const LIFETIME: Duration = Duration::minutes(15);

/// Stands for the customer's tenant in every token.
const TENANT: &str = "simulated-tenant-0b8f9b0e5d0c4c57";

#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("cannot write the claims: {0}")]
    Claims(#[from] serde_json::Error),
    #[error("cannot write a time: {0}")]
    Time(#[from] time::error::Format),
}

/// `{"token": ..., "expiresAt": ...}` for this user.
pub(super) fn reply(
    signer: &Signer,
    user: &PanelUser,
    defect: Option<Defect>,
) -> Result<Value, ReplyError> {
    let now = OffsetDateTime::now_utc().truncate_to_second();
    let ends = match defect {
        Some(Defect::Expired) => now - Duration::HOUR,
        Some(Defect::ShortLived(seconds)) => now + Duration::seconds(seconds.into()),
        _ => now + LIFETIME,
    };
    let mut reply = json!({
        "token": token(signer, &claims(user, defect, now, ends), defect)?,
        "expiresAt": expires_at(ends, defect)?,
    });
    let dropped = match defect {
        Some(Defect::TokenMissing) => "token",
        Some(Defect::ExpiresAtMissing) => "expiresAt",
        _ => return Ok(reply),
    };
    if let Some(fields) = reply.as_object_mut() {
        fields.remove(dropped);
    }
    Ok(reply)
}

fn claims(
    user: &PanelUser,
    defect: Option<Defect>,
    now: OffsetDateTime,
    ends: OffsetDateTime,
) -> Claims {
    let begun = if defect == Some(Defect::Expired) {
        ends - LIFETIME
    } else {
        now
    };
    Claims {
        sub: match defect {
            Some(Defect::WrongSub) => "somebody-else".to_owned(),
            _ => user.id.clone(),
        },
        role: match defect {
            Some(Defect::WrongRole) if user.role == "owner" => "admin".to_owned(),
            Some(Defect::WrongRole) => "owner".to_owned(),
            _ => user.role.clone(),
        },
        iat: begun.unix_timestamp(),
        exp: match defect {
            Some(Defect::ExpMissing) => None,
            Some(Defect::ExpMismatch) => Some((ends - Duration::minutes(5)).unix_timestamp()),
            _ => Some(ends.unix_timestamp()),
        },
        tenant: TENANT.to_owned(),
        jti: format!("{:032x}", rand::random::<u128>()),
    }
}

fn token(
    signer: &Signer,
    claims: &Claims,
    defect: Option<Defect>,
) -> Result<String, serde_json::Error> {
    match defect {
        Some(Defect::AlgNone) => unsigned(claims),
        Some(Defect::AlgNoneMixedCase) => signer.sign_under(r#"{"alg":"NoNe","kid":"1"}"#, claims),
        Some(Defect::Malformed) => Ok("this-is-no-jwt".to_owned()),
        Some(Defect::BadSignature) => {
            let signed = signer.sign(claims)?;
            let message = signed.rsplit_once('.').map_or("", |(message, _)| message);
            Ok(format!("{message}.{}", "A".repeat(86)))
        }
        _ => signer.sign(claims),
    }
}

fn expires_at(ends: OffsetDateTime, defect: Option<Defect>) -> Result<String, time::error::Format> {
    match defect {
        Some(Defect::ExpiresAtGarbage) => Ok("in a quarter of an hour".to_owned()),
        Some(Defect::ExpiresAtOffset) => ends.to_offset(offset!(+2)).format(&Rfc3339),
        _ => {
            let vendors = format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            );
            ends.format(vendors)
        }
    }
}
