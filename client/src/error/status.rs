//! From a gRPC status to a [`MintError`].

use std::error::Error as _;

use ask2do_token_proto::{ERROR_DOMAIN, Reason};
use tonic::Status;
use tonic_types::StatusExt;

use super::{FieldViolation, MintError};
use crate::code::Code;
use crate::unavailable::{Unavailable, UnavailableKind};

/// Longest part of somebody else's text that a message of ours repeats, in characters.
const QUOTED: usize = 200;

/// Most field violations that are kept; the contract has two fields.
const FIELDS: usize = 8;

impl From<Status> for MintError {
    fn from(status: Status) -> Self {
        match status.get_details_error_info() {
            Some(info) => from_reason(&status, &info.domain, &info.reason),
            None => without_reason(&status),
        }
    }
}

fn from_reason(status: &Status, domain: &str, name: &str) -> MintError {
    let retry_after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let reason = name.parse().ok().filter(|_| domain == ERROR_DOMAIN);
    match reason {
        Some(Reason::CallerNotAllowed) => MintError::CallerNotAllowed,
        Some(Reason::PanelUserInvalid) => MintError::PanelUserInvalid {
            fields: fields(status),
        },
        Some(Reason::RoleNotAllowed) => MintError::RoleNotAllowed,
        Some(Reason::RateLimited) => MintError::RateLimited { retry_after },
        Some(Reason::Overloaded) => MintError::Overloaded { retry_after },
        Some(Reason::TenantKeyRejected) => MintError::TenantKeyRejected,
        Some(Reason::CloudRateLimited) => MintError::CloudRateLimited { retry_after },
        Some(Reason::CloudUnavailable) => MintError::CloudUnavailable,
        Some(Reason::CloudTimeout) => MintError::CloudTimeout { own_timer: false },
        Some(Reason::CloudResponseInvalid) => MintError::CloudResponseInvalid,
        Some(Reason::RequestInvalid) => MintError::RequestInvalid,
        Some(Reason::CertificateRejected) => MintError::CertificateRejected,
        // The rest are no answers of the service's.
        _ => unknown(status, Some(quoted(name))),
    }
}

/// What never reached the service's own code, or never left this client.
fn without_reason(status: &Status) -> MintError {
    match status.code() {
        tonic::Code::Unavailable => MintError::ServiceUnavailable(unavailable(status)),
        tonic::Code::DeadlineExceeded => MintError::CloudTimeout { own_timer: true },
        _ => unknown(status, None),
    }
}

fn unavailable(status: &Status) -> Unavailable {
    let cause = status.source().and_then(|source| source.downcast_ref());
    match cause {
        Some(cause) => Unavailable::clone(cause),
        None => Unavailable::new(
            UnavailableKind::Refused,
            format!("it answered UNAVAILABLE: {}", quoted(status.message())),
        ),
    }
}

fn unknown(status: &Status, reason: Option<String>) -> MintError {
    MintError::Unknown {
        code: Code::from_tonic(status.code()),
        reason,
        message: quoted(status.message()),
    }
}

fn fields(status: &Status) -> Vec<FieldViolation> {
    let Some(bad_request) = status.get_details_bad_request() else {
        return Vec::new();
    };
    let violations = bad_request.field_violations.into_iter().take(FIELDS);
    violations
        .map(|violation| FieldViolation {
            field: quoted(&violation.field),
            description: quoted(&violation.description),
        })
        .collect()
}

/// Somebody else's text, so that it cannot flood a log or steer a terminal.
fn quoted(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: tonic::Code, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(reason, ERROR_DOMAIN, [])
            .set_retry_info(Some(Duration::from_secs(2)));
        details.add_bad_request_violation("panel_user.id", "must not be empty");
        Status::with_error_details(code, format!("{reason}: words"), details)
    }

    /// What a caller can meet from the service, with its code: the contract's table.
    const ROWS: &[(Reason, Code, tonic::Code, bool)] = {
        use Reason as R;
        use tonic::Code as T;
        &[
            (
                R::CallerNotAllowed,
                Code::PermissionDenied,
                T::PermissionDenied,
                false,
            ),
            (
                R::PanelUserInvalid,
                Code::InvalidArgument,
                T::InvalidArgument,
                false,
            ),
            (
                R::RoleNotAllowed,
                Code::PermissionDenied,
                T::PermissionDenied,
                false,
            ),
            (
                R::RateLimited,
                Code::ResourceExhausted,
                T::ResourceExhausted,
                true,
            ),
            (
                R::Overloaded,
                Code::ResourceExhausted,
                T::ResourceExhausted,
                true,
            ),
            (
                R::TenantKeyRejected,
                Code::FailedPrecondition,
                T::FailedPrecondition,
                false,
            ),
            (R::CloudRateLimited, Code::Unavailable, T::Unavailable, true),
            (R::CloudUnavailable, Code::Unavailable, T::Unavailable, true),
            (
                R::CloudTimeout,
                Code::DeadlineExceeded,
                T::DeadlineExceeded,
                true,
            ),
            (R::CloudResponseInvalid, Code::Internal, T::Internal, false),
            (
                R::RequestInvalid,
                Code::InvalidArgument,
                T::InvalidArgument,
                false,
            ),
            (
                R::CertificateRejected,
                Code::Unauthenticated,
                T::Unauthenticated,
                false,
            ),
        ]
    };

    #[test]
    fn every_reason_of_the_service_becomes_its_variant_with_its_code() {
        for &(reason, code, wire, transient) in ROWS {
            let error = MintError::from(status(wire, reason.as_str()));
            assert_eq!(error.reason(), reason);
            assert_eq!(error.code(), code, "{reason}");
            assert_eq!(error.is_transient(), transient, "{reason}");
            assert!(!error.to_string().contains("words"), "{error}");
        }
    }

    #[test]
    fn only_limits_say_when_to_come_back() {
        for &(reason, _, wire, _) in ROWS {
            let error = MintError::from(status(wire, reason.as_str()));
            let limit = matches!(
                reason,
                Reason::RateLimited | Reason::Overloaded | Reason::CloudRateLimited
            );
            let expected = limit.then_some(Duration::from_secs(2));
            assert_eq!(error.retry_after(), expected, "{reason}");
        }
    }

    #[test]
    fn an_invalid_panel_user_names_the_fields() {
        let error = MintError::from(status(tonic::Code::InvalidArgument, "PANEL_USER_INVALID"));
        let MintError::PanelUserInvalid { fields } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(fields[0].field, "panel_user.id");
        assert!(
            error
                .to_string()
                .ends_with(": panel_user.id: must not be empty")
        );
    }

    #[test]
    fn a_reason_of_tomorrow_or_of_somebody_else_is_unknown_and_keeps_its_code() {
        let tomorrow = status(tonic::Code::Aborted, "NEW_REASON");
        let mut details = ErrorDetails::new();
        details.set_error_info("CALLER_NOT_ALLOWED", "proxy.example", []);
        let elsewhere = Status::with_error_details(tonic::Code::Aborted, "", details);
        for (status, name) in [(tomorrow, "NEW_REASON"), (elsewhere, "CALLER_NOT_ALLOWED")] {
            let error = MintError::from(status);
            let MintError::Unknown { code, reason, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!((code, reason.as_deref()), (Code::Aborted, Some(name)));
        }
    }

    #[test]
    fn without_error_info_only_unavailable_and_the_deadline_are_known() {
        let plain = |code| MintError::from(Status::new(code, "go away\x1b[2J")).reason();
        assert_eq!(plain(tonic::Code::Unavailable), Reason::ServiceUnavailable);
        assert_eq!(plain(tonic::Code::DeadlineExceeded), Reason::CloudTimeout);
        for code in [
            tonic::Code::PermissionDenied,
            tonic::Code::Unimplemented,
            tonic::Code::Ok,
        ] {
            assert_eq!(plain(code), Reason::Unknown);
        }
    }

    #[test]
    fn what_others_say_is_short_and_without_control_characters() {
        let status = Status::unimplemented(format!("x\r\n\x1b[2J{}", "y".repeat(1000)));
        let text = MintError::from(status).to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control));
    }

    #[test]
    fn the_cause_of_an_unreachable_service_is_kept() {
        let cause = Unavailable::new(UnavailableKind::Tls, "TLS failed");
        let mut status = Status::unavailable("");
        status.set_source(std::sync::Arc::new(cause));
        let MintError::ServiceUnavailable(cause) = MintError::from(status) else {
            panic!("another variant")
        };
        assert_eq!(cause.kind(), UnavailableKind::Tls);
    }
}
