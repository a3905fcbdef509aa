//! The domain: a panel user, the token that is minted for one, and why none was.
//!
//! It knows neither gRPC nor HTTP. [`Mint`] is the port: `cloud` implements it, `grpc` calls it.

use std::fmt;
use std::time::Duration;

use ask2do_token_proto::Reason;
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;

mod panel_user;

pub use panel_user::{Field, InvalidPanelUser, PanelUser, Problem, Violation};

/// Mints tokens: one call is one new token.
pub trait Mint: Send + Sync + 'static {
    /// Mints a token for `user` and answers by `deadline`: a call that would take longer is
    /// [`MintError::CloudTimeout`].
    ///
    /// The caller may drop the future at any time.
    fn mint(
        &self,
        user: &PanelUser,
        deadline: Instant,
    ) -> impl Future<Output = Result<MintedToken, MintError>> + Send;
}

/// A token that the widget can use until `expires_at`.
#[derive(Clone)]
pub struct MintedToken {
    /// The JWT. It is a credential of the panel user.
    pub token: SecretString,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken")
            .field("token", &"[redacted]")
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Why no token was minted. What it shows is meant for the caller: no upstream text, no personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The certificate names no caller, or this caller may not mint for that role.
    #[error("this certificate may not mint tokens, or not for this role")]
    CallerNotAllowed,
    /// The id or the role is not what one can be.
    #[error("{0}")]
    PanelUserInvalid(#[from] InvalidPanelUser),
    /// Ask2Do does not serve the role.
    #[error("Ask2Do does not serve this role")]
    RoleNotAllowed,
    /// The caller, or the panel user, mints more often than this server allows.
    #[error("too many mints by this caller or for this panel user")]
    RateLimited {
        /// When one more is allowed.
        retry_after: Duration,
    },
    /// As many mints as this server allows are in flight.
    #[error("too much in flight")]
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// Ask2Do refuses the tenant key.
    #[error("Ask2Do refuses the tenant key: wrong, revoked or paused")]
    TenantKeyRejected,
    /// Ask2Do answered 429.
    #[error("Ask2Do asks for patience")]
    CloudRateLimited {
        /// How long Ask2Do asked to wait, if it did; at most 30 s.
        retry_after: Option<Duration>,
    },
    /// Ask2Do could not be reached, or answered 5xx.
    #[error("Ask2Do could not be reached, or failed")]
    CloudUnavailable,
    /// The time for the call ran out.
    #[error("Ask2Do did not answer in time")]
    CloudTimeout,
    /// What answered was not a live token for this user.
    #[error("what answered was not a token for this user")]
    CloudResponseInvalid,
}

impl MintError {
    /// The reason under which callers, logs and metrics see it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::CallerNotAllowed => Reason::CallerNotAllowed,
            Self::PanelUserInvalid(_) => Reason::PanelUserInvalid,
            Self::RoleNotAllowed => Reason::RoleNotAllowed,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Overloaded { .. } => Reason::Overloaded,
            Self::TenantKeyRejected => Reason::TenantKeyRejected,
            Self::CloudRateLimited { .. } => Reason::CloudRateLimited,
            Self::CloudUnavailable => Reason::CloudUnavailable,
            Self::CloudTimeout => Reason::CloudTimeout,
            Self::CloudResponseInvalid => Reason::CloudResponseInvalid,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::CloudRateLimited { .. }
            | Self::CloudUnavailable
            | Self::CloudTimeout => true,
            Self::CallerNotAllowed
            | Self::PanelUserInvalid(_)
            | Self::RoleNotAllowed
            | Self::TenantKeyRejected
            | Self::CloudResponseInvalid => false,
        }
    }

    /// How long the caller had better wait, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Overloaded { retry_after } => {
                Some(*retry_after)
            }
            Self::CloudRateLimited { retry_after } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_token_does_not_show_it() {
        let token = MintedToken {
            token: "eyJ-canary".into(),
            expires_at: OffsetDateTime::UNIX_EPOCH,
        };
        assert!(!format!("{token:?}").contains("canary"));
    }

    #[test]
    fn a_wait_is_known_only_for_what_is_transient() {
        let wait = Duration::from_secs(1);
        let errors = [
            MintError::RateLimited { retry_after: wait },
            MintError::Overloaded { retry_after: wait },
            MintError::CloudRateLimited {
                retry_after: Some(wait),
            },
        ];
        for error in errors {
            assert_eq!(error.retry_after(), Some(wait));
            assert!(error.is_transient());
        }
        assert_eq!(MintError::TenantKeyRejected.retry_after(), None);
        assert!(!MintError::TenantKeyRejected.is_transient());
    }
}
