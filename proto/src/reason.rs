//! Every way a request can fail, under the name that callers, logs and metrics see.

use std::{fmt, str::FromStr};

/// The `domain` of every `google.rpc.ErrorInfo` that the service sends.
pub const ERROR_DOMAIN: &str = "token.ask2do.com";

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a request failed.
        ///
        /// The name of a reason is part of the contract: it stands in `ErrorInfo.reason`, at the
        /// beginning of the status message, in the gateway's `code`, in logs and in metrics. A
        /// reason is never renamed and never used for something else; new ones may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the contract's table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The reason's name, as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(name: &str) -> Result<Self, UnknownReason> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnknownReason),
                }
            }
        }
    };
}

reasons! {
    /// The certificate names no caller, or this caller may not mint for that role.
    CallerNotAllowed = "CALLER_NOT_ALLOWED",
    /// The panel user's id or role is empty, too long, or holds control characters.
    PanelUserInvalid = "PANEL_USER_INVALID",
    /// Ask2Do does not serve this role.
    RoleNotAllowed = "ROLE_NOT_ALLOWED",
    /// The caller, or the panel user, is over its rate at the service.
    RateLimited = "RATE_LIMITED",
    /// Too much is in flight at the service.
    Overloaded = "OVERLOADED",
    /// Ask2Do refuses the tenant key: wrong, revoked or paused.
    TenantKeyRejected = "TENANT_KEY_REJECTED",
    /// Ask2Do answered 429.
    CloudRateLimited = "CLOUD_RATE_LIMITED",
    /// Ask2Do could not be reached, or answered 5xx.
    CloudUnavailable = "CLOUD_UNAVAILABLE",
    /// The time for the call ran out.
    CloudTimeout = "CLOUD_TIMEOUT",
    /// What answered was not a live token for this user.
    CloudResponseInvalid = "CLOUD_RESPONSE_INVALID",
    /// The request does not decode, or is too large.
    RequestInvalid = "REQUEST_INVALID",
    /// The certificate of the caller's connection no longer verifies.
    CertificateRejected = "CERTIFICATE_REJECTED",
    /// Seen by a client: the service cannot be reached, is draining, or its certificate is refused.
    ServiceUnavailable = "SERVICE_UNAVAILABLE",
    /// Seen by a client: a status or a reason that it does not know.
    Unknown = "UNKNOWN",
    /// Gateway: no session, or an expired one.
    LoginRequired = "LOGIN_REQUIRED",
    /// Gateway: the panel's session check is down, or its answer is unusable.
    SessionCheckUnavailable = "SESSION_CHECK_UNAVAILABLE",
    /// Gateway: the request comes from another site.
    CrossSiteRequest = "CROSS_SITE_REQUEST",
    /// Gateway: the endpoint does not serve this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// Gateway: there is nothing at this path.
    NotFound = "NOT_FOUND",
    /// Gateway: the request's headers or body are too large.
    RequestTooLarge = "REQUEST_TOO_LARGE",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no [`Reason`] of this version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownReason;

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a reason of this version of the contract")
    }
}

impl std::error::Error for UnknownReason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_name() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
    }

    #[test]
    fn names_are_upper_snake_case_as_error_info_wants_them() {
        // google/rpc/error_details.proto: at most 63 characters of [A-Z][A-Z0-9_]+[A-Z0-9].
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert!(name.len() <= 63);
            assert!(
                name.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
                "{name}"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert_eq!("NEW_REASON".parse::<Reason>(), Err(UnknownReason));
    }
}
