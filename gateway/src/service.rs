//! The token service, through the client crate.

use ask2do_token_client::{MintError, PanelUser, TokenClient};

use crate::Reason;
use crate::minter::{MintFailure, MintedToken, Minter};

impl Minter for TokenClient {
    async fn mint(&self, id: &str, role: &str) -> Result<MintedToken, MintFailure> {
        let minted = self.mint_token(&PanelUser::new(id, role)).await;
        let minted = minted.map_err(|error| {
            log(&error);
            MintFailure::from(&error)
        })?;
        Ok(MintedToken {
            token: minted.expose_token().to_owned(),
            expires_at: minted.expires_at(),
        })
    }
}

impl From<&MintError> for MintFailure {
    fn from(error: &MintError) -> Self {
        Self {
            reason: error.reason(),
            retry_after: error.retry_after(),
        }
    }
}

/// The error's words are the operator's; the browser gets its row. A user's own role is nobody's fault.
fn log(error: &MintError) {
    let reason = error.reason();
    if reason == Reason::RoleNotAllowed {
        tracing::info!(%reason, %error, "no token was minted");
    } else {
        tracing::warn!(%reason, %error, "no token was minted");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ask2do_token_client::Code;

    use super::*;
    use crate::failure::Failure;

    /// Every variant that a test can make; `ServiceUnavailable` is made by a real client in `tests/`.
    fn variants() -> Vec<(MintError, u16, &'static str, Option<u64>)> {
        let retry_after = Some(Duration::from_secs(7));
        let auth_failed = "ask2do auth failed";
        vec![
            (MintError::CallerNotAllowed, 502, auth_failed, None),
            (
                MintError::PanelUserInvalid { fields: vec![] },
                502,
                auth_failed,
                None,
            ),
            (MintError::RoleNotAllowed, 403, "role not allowed", None),
            (
                MintError::RateLimited { retry_after },
                429,
                "too many requests",
                Some(7),
            ),
            (
                MintError::RateLimited { retry_after: None },
                429,
                "too many requests",
                Some(1),
            ),
            (
                MintError::Overloaded { retry_after },
                503,
                "overloaded",
                Some(7),
            ),
            (MintError::TenantKeyRejected, 502, auth_failed, None),
            (
                MintError::CloudRateLimited { retry_after },
                503,
                "ask2do is busy",
                Some(7),
            ),
            (
                MintError::CloudRateLimited { retry_after: None },
                503,
                "ask2do is busy",
                Some(5),
            ),
            (MintError::CloudUnavailable, 502, auth_failed, None),
            (
                MintError::CloudTimeout { own_timer: false },
                504,
                "ask2do auth timed out",
                None,
            ),
            (
                MintError::CloudTimeout { own_timer: true },
                504,
                "ask2do auth timed out",
                None,
            ),
            (MintError::CloudResponseInvalid, 502, auth_failed, None),
            (MintError::RequestInvalid, 502, auth_failed, None),
            (MintError::CertificateRejected, 502, auth_failed, None),
            (
                MintError::Unknown {
                    code: Code::Internal,
                    reason: Some("NEW".into()),
                    message: String::new(),
                },
                502,
                auth_failed,
                None,
            ),
        ]
    }

    #[test]
    fn every_error_of_the_client_has_its_row() {
        for (error, status, text, retry_after) in variants() {
            let row = Failure::Mint((&error).into()).row();
            assert_eq!(row.status, status, "{error:?}");
            assert_eq!(row.error, text, "{error:?}");
            assert_eq!(row.reason, error.reason(), "{error:?}");
            let retry_after = retry_after.map(Duration::from_secs);
            assert_eq!(row.retry_after, retry_after, "{error:?}");
        }
    }
}
