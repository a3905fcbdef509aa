//! Why no token was minted.

mod status;

use std::time::Duration;

use ask2do_token_proto::Reason;

use crate::code::Code;
use crate::unavailable::Unavailable;

/// Why no token was minted: one variant per reason of the service's contract.
///
/// Messages are for operators and logs. They never hold a token, a panel user or what Ask2Do
/// answered; show panel users a sentence of your own.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The certificate names no caller, or this caller may not mint for that role: ask the operator
    /// of the service.
    #[error("the service does not let this caller mint for this role")]
    CallerNotAllowed,
    /// The panel user's id or role is empty, too long, or holds control characters.
    #[error("the service refuses the panel user{}", Listed(.fields))]
    PanelUserInvalid {
        /// What is wrong, field by field.
        fields: Vec<FieldViolation>,
    },
    /// Ask2Do does not serve this role: tell the user.
    #[error("Ask2Do does not serve this role")]
    RoleNotAllowed,
    /// This caller, or this panel user, mints too often.
    #[error("over the rate that the service allows")]
    RateLimited {
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// Too much is in flight at the service.
    #[error("the service is overloaded")]
    Overloaded {
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// Ask2Do refuses the tenant key (wrong, revoked or paused): the service's operator looks in
    /// Ask2Do's portal.
    #[error("Ask2Do refuses the service's tenant key")]
    TenantKeyRejected,
    /// Ask2Do asks for patience.
    #[error("Ask2Do limits the rate")]
    CloudRateLimited {
        /// When to come back, where Ask2Do said so.
        retry_after: Option<Duration>,
    },
    /// Ask2Do could not be reached, or failed.
    #[error("Ask2Do is unavailable")]
    CloudUnavailable,
    /// Time ran out.
    #[error("{}", if *.own_timer {
        "the service did not answer before this call's deadline"
    } else {
        "Ask2Do did not answer in time"
    })]
    CloudTimeout {
        /// Whether it was this client's timer, rather than the service, that ended the call.
        own_timer: bool,
    },
    /// What answered in Ask2Do's place was not a live token for this user.
    #[error("what answered the service was not a token for this user")]
    CloudResponseInvalid,
    /// The request does not decode, or is over 16 KiB.
    #[error("the service refuses the request as malformed or too large")]
    RequestInvalid,
    /// The certificate no longer verifies at the service. Another one was tried already, where there
    /// is another one on disk.
    #[error("the service no longer accepts this client's certificate")]
    CertificateRejected,
    /// The service cannot be reached, is draining, or one end refuses the other's certificate.
    #[error("the token service is unavailable: {0}")]
    ServiceUnavailable(#[source] Unavailable),
    /// A status or a reason that this version of the client does not know.
    #[error("unexpected answer: {code}{}{}", Named(.reason), Said(.message))]
    Unknown {
        /// The status code.
        code: Code,
        /// The reason, where the service gave one.
        reason: Option<String>,
        /// The status message, shortened and without control characters.
        message: String,
    },
}

/// What is wrong with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The field's path in the request, such as `panel_user.id`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl MintError {
    /// The reason, by the name that the service, logs and metrics use.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::CallerNotAllowed => Reason::CallerNotAllowed,
            Self::PanelUserInvalid { .. } => Reason::PanelUserInvalid,
            Self::RoleNotAllowed => Reason::RoleNotAllowed,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Overloaded { .. } => Reason::Overloaded,
            Self::TenantKeyRejected => Reason::TenantKeyRejected,
            Self::CloudRateLimited { .. } => Reason::CloudRateLimited,
            Self::CloudUnavailable => Reason::CloudUnavailable,
            Self::CloudTimeout { .. } => Reason::CloudTimeout,
            Self::CloudResponseInvalid => Reason::CloudResponseInvalid,
            Self::RequestInvalid => Reason::RequestInvalid,
            Self::CertificateRejected => Reason::CertificateRejected,
            Self::ServiceUnavailable(_) => Reason::ServiceUnavailable,
            Self::Unknown { .. } => Reason::Unknown,
        }
    }

    /// The gRPC status code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::CallerNotAllowed | Self::RoleNotAllowed => Code::PermissionDenied,
            Self::PanelUserInvalid { .. } | Self::RequestInvalid => Code::InvalidArgument,
            Self::RateLimited { .. } | Self::Overloaded { .. } => Code::ResourceExhausted,
            Self::TenantKeyRejected => Code::FailedPrecondition,
            Self::CloudRateLimited { .. }
            | Self::CloudUnavailable
            | Self::ServiceUnavailable(_) => Code::Unavailable,
            Self::CloudTimeout { .. } => Code::DeadlineExceeded,
            Self::CloudResponseInvalid => Code::Internal,
            Self::CertificateRejected => Code::Unauthenticated,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    ///
    /// It is no advice to repeat it at once: the service and this client have done the retries that
    /// are worth it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::CloudRateLimited { .. }
            | Self::CloudUnavailable
            | Self::CloudTimeout { .. }
            | Self::ServiceUnavailable(_) => true,
            Self::CallerNotAllowed
            | Self::PanelUserInvalid { .. }
            | Self::RoleNotAllowed
            | Self::TenantKeyRejected
            | Self::CloudResponseInvalid
            | Self::RequestInvalid
            | Self::CertificateRejected
            | Self::Unknown { .. } => false,
        }
    }

    /// When to come back, where somebody said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::Overloaded { retry_after }
            | Self::CloudRateLimited { retry_after } => *retry_after,
            _ => None,
        }
    }
}

/// `: panel_user.id: must not be empty; ...`
struct Listed<'a>(&'a [FieldViolation]);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            let FieldViolation { field, description } = violation;
            write!(f, "{separator}{field}: {description}")?;
        }
        Ok(())
    }
}

/// ` (SOME_REASON)`
struct Named<'a>(&'a Option<String>);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// `: what it said`
struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0)
    }
}
