//! Every way a call fails, as the gRPC status that the caller sees: the server's column of the
//! contract's table.

use std::time::Duration;

use ask2do_token_proto::{ERROR_DOMAIN, RETRY_PUSHBACK, Reason};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::message::InvalidRequest;
use crate::mint::{InvalidPanelUser, MintError};

/// So often an audit log that failed is tried again.
const AUDIT_RETRY: Duration = Duration::from_secs(1);

/// Why a call failed. What it shows is what the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The domain refused it.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The request is not one of this contract.
    #[error(transparent)]
    RequestInvalid(#[from] InvalidRequest),
    /// The certificate verified when the connection began, and does not any more.
    #[error("this connection's certificate no longer verifies: connect again with the current one")]
    CertificateRejected,
    /// What would be decided cannot be written down.
    #[error("the audit log of this server cannot be written")]
    AuditFailing,
    /// A bug of ours: the handler panicked.
    #[error("internal error")]
    Bug,
}

impl From<InvalidPanelUser> for Failure {
    fn from(invalid: InvalidPanelUser) -> Self {
        Self::Mint(invalid.into())
    }
}

impl Failure {
    /// The reason, under which callers, logs and metrics see it; the contract has none for a bug, and a
    /// client that finds none calls it the same.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Mint(error) => error.reason(),
            Self::RequestInvalid(_) => Reason::RequestInvalid,
            Self::CertificateRejected => Reason::CertificateRejected,
            // Something that this server needs is exhausted, and another may have it.
            Self::AuditFailing => Reason::Overloaded,
            Self::Bug => Reason::Unknown,
        }
    }

    /// The status code.
    pub(super) const fn code(&self) -> Code {
        match self {
            Self::Mint(error) => match error {
                MintError::CallerNotAllowed | MintError::RoleNotAllowed => Code::PermissionDenied,
                MintError::PanelUserInvalid(_) => Code::InvalidArgument,
                MintError::RateLimited { .. } | MintError::Overloaded { .. } => {
                    Code::ResourceExhausted
                }
                MintError::TenantKeyRejected => Code::FailedPrecondition,
                MintError::CloudRateLimited { .. } | MintError::CloudUnavailable => {
                    Code::Unavailable
                }
                MintError::CloudTimeout => Code::DeadlineExceeded,
                MintError::CloudResponseInvalid => Code::Internal,
            },
            Self::RequestInvalid(_) => Code::InvalidArgument,
            Self::CertificateRejected => Code::Unauthenticated,
            Self::AuditFailing => Code::ResourceExhausted,
            Self::Bug => Code::Internal,
        }
    }

    /// The whole status: message, details, and the trailer that stops a gRPC library's own retries.
    pub(super) fn to_status(&self) -> Status {
        if *self == Self::Bug {
            return Status::new(self.code(), self.to_string());
        }
        let reason = self.reason();
        let mut details = ErrorDetails::new();
        details.set_error_info(reason.as_str(), ERROR_DOMAIN, []);
        if let Self::Mint(error) = self {
            if let MintError::PanelUserInvalid(invalid) = error {
                for violation in invalid.violations() {
                    let problem = violation.problem.to_string();
                    details.add_bad_request_violation(violation.field.path(), problem);
                }
            }
            if let Some(retry_after) = error.retry_after() {
                details.set_retry_info(Some(retry_after));
            }
        }
        if *self == Self::AuditFailing {
            details.set_retry_info(Some(AUDIT_RETRY));
        }
        let mut metadata = MetadataMap::with_capacity(1);
        metadata.insert(RETRY_PUSHBACK, MetadataValue::from_static("-1"));
        let message = format!("{reason}: {self}");
        Status::with_error_details_and_metadata(self.code(), message, details, metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mint::PanelUser;

    fn invalid_user() -> Failure {
        PanelUser::parse(String::new(), "\n".repeat(65))
            .unwrap_err()
            .into()
    }

    #[test]
    fn every_row_of_the_contracts_table_has_its_code_reason_wait_and_violations() {
        let wait = Duration::from_millis(1500);
        let some = Some(wait);
        let mint = Failure::Mint;
        #[rustfmt::skip]
        let rows = [
            (mint(MintError::CallerNotAllowed), Code::PermissionDenied, "CALLER_NOT_ALLOWED", None, 0),
            (invalid_user(), Code::InvalidArgument, "PANEL_USER_INVALID", None, 3),
            (mint(MintError::RoleNotAllowed), Code::PermissionDenied, "ROLE_NOT_ALLOWED", None, 0),
            (mint(MintError::RateLimited { retry_after: wait }), Code::ResourceExhausted, "RATE_LIMITED", some, 0),
            (mint(MintError::Overloaded { retry_after: wait }), Code::ResourceExhausted, "OVERLOADED", some, 0),
            (mint(MintError::TenantKeyRejected), Code::FailedPrecondition, "TENANT_KEY_REJECTED", None, 0),
            (mint(MintError::CloudRateLimited { retry_after: some }), Code::Unavailable, "CLOUD_RATE_LIMITED", some, 0),
            (mint(MintError::CloudRateLimited { retry_after: None }), Code::Unavailable, "CLOUD_RATE_LIMITED", None, 0),
            (mint(MintError::CloudUnavailable), Code::Unavailable, "CLOUD_UNAVAILABLE", None, 0),
            (mint(MintError::CloudTimeout), Code::DeadlineExceeded, "CLOUD_TIMEOUT", None, 0),
            (mint(MintError::CloudResponseInvalid), Code::Internal, "CLOUD_RESPONSE_INVALID", None, 0),
            (InvalidRequest::TooLarge.into(), Code::InvalidArgument, "REQUEST_INVALID", None, 0),
            (Failure::CertificateRejected, Code::Unauthenticated, "CERTIFICATE_REJECTED", None, 0),
            (Failure::AuditFailing, Code::ResourceExhausted, "OVERLOADED", Some(AUDIT_RETRY), 0),
        ];
        for (failure, code, reason, retry_after, violations) in rows {
            let status = failure.to_status();
            assert_eq!(status.code(), code, "{failure:?}");
            assert!(
                status.message().starts_with(&format!("{reason}: ")),
                "{status:?}"
            );
            assert_eq!(status.metadata().get(RETRY_PUSHBACK).unwrap(), "-1");

            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((&*info.domain, &*info.reason), (ERROR_DOMAIN, reason));
            assert!(info.metadata.is_empty());
            let found = details.retry_info().and_then(|info| info.retry_delay);
            assert_eq!(found, retry_after, "{failure:?}");
            let found = details
                .bad_request()
                .map_or(0, |bad| bad.field_violations.len());
            assert_eq!(found, violations, "{failure:?}");
        }
    }

    #[test]
    fn the_contracts_manual_has_these_reasons_with_these_codes() {
        let contract = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../proto/ask2do/token/v1/token_service.proto"
        );
        let contract = std::fs::read_to_string(contract).unwrap();
        let manual: BTreeSet<_> = contract
            .lines()
            .filter_map(|line| {
                let cells: Vec<_> = line.strip_prefix("// |")?.split('|').collect();
                let (reason, code) = (cells[0].trim(), cells[1].trim());
                let is_row = reason.contains('_') || reason == "OVERLOADED";
                is_row.then(|| (reason.to_owned(), code.replace('_', "").to_lowercase()))
            })
            .collect();
        let wait = Duration::ZERO;
        let sent: BTreeSet<_> = [
            MintError::CallerNotAllowed.into(),
            invalid_user(),
            MintError::RoleNotAllowed.into(),
            MintError::RateLimited { retry_after: wait }.into(),
            MintError::Overloaded { retry_after: wait }.into(),
            MintError::TenantKeyRejected.into(),
            MintError::CloudRateLimited { retry_after: None }.into(),
            MintError::CloudUnavailable.into(),
            MintError::CloudTimeout.into(),
            MintError::CloudResponseInvalid.into(),
            InvalidRequest::TooLarge.into(),
            Failure::CertificateRejected,
        ]
        .map(|failure| {
            let code = format!("{:?}", failure.code()).to_lowercase();
            (failure.reason().to_string(), code)
        })
        .into();
        assert_eq!(manual, sent);
    }

    #[test]
    fn a_bad_request_names_each_field_and_what_is_wrong_with_it() {
        let details = invalid_user().to_status().get_error_details();
        let violations: Vec<_> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|violation| (&*violation.field, &*violation.description))
            .collect();
        assert_eq!(
            violations,
            [
                ("panel_user.id", "must not be empty"),
                ("panel_user.role", "must have at most 64 bytes"),
                ("panel_user.role", "must not hold control characters"),
            ]
        );
    }

    #[test]
    fn a_bug_is_internal_and_says_nothing() {
        let status = Failure::Bug.to_status();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "internal error");
        assert!(status.details().is_empty());
    }
}
