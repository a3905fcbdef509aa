//! Every failure's row: what the browser sees of it.

use std::time::Duration;

use http::StatusCode;

use crate::Reason;
use crate::minter::MintFailure;
use crate::session::SessionError;

/// Why a request gets no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing is at this path.
    NotFound,
    /// The endpoint does not serve this method.
    MethodNotAllowed,
    /// The header is larger than the limit.
    HeaderTooLarge,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body broke off, or is no HTTP.
    BodyBroken,
    /// The body did not come in time.
    BodyTimeout,
    /// It comes from another site.
    CrossSite,
    /// Too many requests are in flight.
    Overloaded,
    /// There is no session, or nobody knows.
    Session(SessionError),
    /// The token service gave no token.
    Mint(MintFailure),
}

/// What the browser sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    /// For people and for the vendor's documentation; the widget decides by `reason`.
    pub(crate) error: &'static str,
    /// The body's `code`.
    pub(crate) reason: Reason,
    /// Where 429 and 503 come without a time of their own.
    pub(crate) retry_after: Option<Duration>,
}

/// After which the service, or this process, has probably recovered from a burst.
const SOON: Duration = Duration::from_secs(1);
/// After which somebody else's outage may be over.
const LATER: Duration = Duration::from_secs(5);

/// The vendor's own words for any failure of its sample endpoint.
const AUTH_FAILED: &str = "ask2do auth failed";

impl Failure {
    /// The one place that decides what a failure looks like.
    pub(crate) fn row(&self) -> Row {
        use Failure as F;
        let row = |status, reason, error, retry_after| Row {
            status,
            error,
            reason,
            retry_after,
        };
        match self {
            F::NotFound => row(StatusCode::NOT_FOUND, Reason::NotFound, "not found", None),
            F::MethodNotAllowed => row(
                StatusCode::METHOD_NOT_ALLOWED,
                Reason::MethodNotAllowed,
                "method not allowed",
                None,
            ),
            F::HeaderTooLarge => row(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Reason::RequestTooLarge,
                "request too large",
                None,
            ),
            F::BodyTooLarge => row(
                StatusCode::PAYLOAD_TOO_LARGE,
                Reason::RequestTooLarge,
                "request too large",
                None,
            ),
            F::BodyBroken => row(
                StatusCode::BAD_REQUEST,
                Reason::RequestInvalid,
                "request invalid",
                None,
            ),
            F::BodyTimeout => row(
                StatusCode::REQUEST_TIMEOUT,
                Reason::RequestInvalid,
                "request invalid",
                None,
            ),
            F::CrossSite => row(
                StatusCode::FORBIDDEN,
                Reason::CrossSiteRequest,
                "cross-site request",
                None,
            ),
            F::Overloaded => mint_row(Reason::Overloaded),
            F::Session(SessionError::LoginRequired { .. }) => row(
                StatusCode::UNAUTHORIZED,
                Reason::LoginRequired,
                "login required",
                None,
            ),
            F::Session(SessionError::Unavailable { .. }) => row(
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::SessionCheckUnavailable,
                "session check unavailable",
                Some(LATER),
            ),
            F::Mint(failure) => {
                let row = mint_row(failure.reason);
                Row {
                    retry_after: row
                        .retry_after
                        .map(|own| failure.retry_after.unwrap_or(own)),
                    ..row
                }
            }
        }
    }
}

/// The rows of what the token service answers.
fn mint_row(reason: Reason) -> Row {
    let (status, error, retry_after) = match reason {
        Reason::RoleNotAllowed => (StatusCode::FORBIDDEN, "role not allowed", None),
        Reason::RateLimited => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests",
            Some(SOON),
        ),
        Reason::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", Some(SOON)),
        Reason::CloudRateLimited => (
            StatusCode::SERVICE_UNAVAILABLE,
            "ask2do is busy",
            Some(LATER),
        ),
        Reason::CloudTimeout => (StatusCode::GATEWAY_TIMEOUT, "ask2do auth timed out", None),
        Reason::CallerNotAllowed
        | Reason::PanelUserInvalid
        | Reason::TenantKeyRejected
        | Reason::CloudUnavailable
        | Reason::CloudResponseInvalid
        | Reason::RequestInvalid
        | Reason::CertificateRejected
        | Reason::ServiceUnavailable
        | Reason::Unknown => (StatusCode::BAD_GATEWAY, AUTH_FAILED, None),
        // The gateway's own, and those of later versions: no token service sends them to this one.
        _ => {
            return Row {
                reason: Reason::Unknown,
                ..mint_row(Reason::Unknown)
            };
        }
    };
    Row {
        status,
        error,
        reason,
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The table of docs/gateway.md as data: status, error, whether `Retry-After` is there.
    fn expected(reason: Reason) -> (u16, &'static str, bool) {
        match reason {
            Reason::RoleNotAllowed => (403, "role not allowed", false),
            Reason::RateLimited => (429, "too many requests", true),
            Reason::Overloaded => (503, "overloaded", true),
            Reason::CloudRateLimited => (503, "ask2do is busy", true),
            Reason::CloudTimeout => (504, "ask2do auth timed out", false),
            _ => (502, "ask2do auth failed", false),
        }
    }

    #[test]
    fn every_reason_of_the_token_service_has_its_row() {
        for reason in Reason::ALL {
            let row = Failure::Mint((*reason).into()).row();
            let (status, error, retry) = expected(*reason);
            assert_eq!(row.status, status, "{reason}");
            assert_eq!(row.error, error, "{reason}");
            assert_eq!(row.retry_after.is_some(), retry, "{reason}");
            let gateways_own = matches!(
                reason,
                Reason::LoginRequired
                    | Reason::SessionCheckUnavailable
                    | Reason::CrossSiteRequest
                    | Reason::MethodNotAllowed
                    | Reason::NotFound
                    | Reason::RequestTooLarge
            );
            let code = if gateways_own {
                Reason::Unknown
            } else {
                *reason
            };
            assert_eq!(row.reason, code, "{reason}");
        }
    }

    #[test]
    fn every_failure_of_the_gateway_has_its_row() {
        let rows = [
            (Failure::NotFound, 404, "NOT_FOUND", "not found"),
            (
                Failure::MethodNotAllowed,
                405,
                "METHOD_NOT_ALLOWED",
                "method not allowed",
            ),
            (
                Failure::HeaderTooLarge,
                431,
                "REQUEST_TOO_LARGE",
                "request too large",
            ),
            (
                Failure::BodyTooLarge,
                413,
                "REQUEST_TOO_LARGE",
                "request too large",
            ),
            (
                Failure::BodyBroken,
                400,
                "REQUEST_INVALID",
                "request invalid",
            ),
            (
                Failure::BodyTimeout,
                408,
                "REQUEST_INVALID",
                "request invalid",
            ),
            (
                Failure::CrossSite,
                403,
                "CROSS_SITE_REQUEST",
                "cross-site request",
            ),
            (Failure::Overloaded, 503, "OVERLOADED", "overloaded"),
            (
                Failure::Session(SessionError::login_required("x")),
                401,
                "LOGIN_REQUIRED",
                "login required",
            ),
            (
                Failure::Session(SessionError::unavailable("x")),
                503,
                "SESSION_CHECK_UNAVAILABLE",
                "session check unavailable",
            ),
        ];
        for (failure, status, code, error) in rows {
            let row = failure.row();
            assert_eq!(row.status, status, "{failure:?}");
            assert_eq!(row.reason.as_str(), code, "{failure:?}");
            assert_eq!(row.error, error, "{failure:?}");
            assert_eq!(row.retry_after.is_some(), status == 503, "{failure:?}");
        }
    }

    /// Each row that there can be.
    fn rows() -> impl Iterator<Item = Row> {
        let own = [
            Failure::NotFound,
            Failure::MethodNotAllowed,
            Failure::HeaderTooLarge,
            Failure::BodyTooLarge,
            Failure::BodyBroken,
            Failure::BodyTimeout,
            Failure::CrossSite,
            Failure::Overloaded,
            Failure::Session(SessionError::login_required("x")),
            Failure::Session(SessionError::unavailable("x")),
        ];
        let mint = Reason::ALL
            .iter()
            .map(|reason| Failure::Mint((*reason).into()));
        own.into_iter().chain(mint).map(|failure| failure.row())
    }

    #[test]
    fn every_row_is_in_the_docs() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gateway.md");
        let page = std::fs::read_to_string(page).unwrap();
        for row in rows() {
            let begin = format!("| {} | `{}` |", row.status.as_u16(), row.error);
            let code = format!("`{}`", row.reason);
            let there = page
                .lines()
                .any(|line| line.starts_with(&begin) && line.contains(&code));
            assert!(there, "{begin} {code}");
        }
    }

    #[test]
    fn the_openapi_document_has_these_rows_and_no_others() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");
        let document = std::fs::read_to_string(document).unwrap();
        let document: Value = serde_yaml_ng::from_str(&document).unwrap();
        let mut documented = BTreeSet::new();
        let operations = document["paths"]["/api/ask2do/token"].as_object().unwrap();
        for (status, response) in operations
            .values()
            .flat_map(|operation| operation["responses"].as_object().unwrap())
        {
            let name = response["$ref"].as_str().unwrap();
            let response = document.pointer(name.strip_prefix('#').unwrap()).unwrap();
            let schema = &response["content"]["application/json"]["schema"];
            let one = [schema.clone()];
            for schema in schema["oneOf"].as_array().map_or(&one[..], |all| all) {
                let Some(error) = schema["properties"]["error"]["const"].as_str() else {
                    continue; // No failure.
                };
                let code = &schema["properties"]["code"];
                let one = [code["const"].clone()];
                for code in code["enum"].as_array().map_or(&one[..], |all| all) {
                    let code = code.as_str().unwrap().to_owned();
                    documented.insert((status.clone(), error.to_owned(), code));
                }
            }
        }
        let rows: BTreeSet<_> = rows()
            .map(|row| {
                let status = row.status.as_u16().to_string();
                (status, row.error.to_owned(), row.reason.to_string())
            })
            .collect();
        assert_eq!(documented, rows);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_services_own_time_to_come_back_is_passed_on() {
        let row = |reason, retry_after| {
            Failure::Mint(MintFailure {
                reason,
                retry_after,
            })
            .row()
        };
        let long = Some(Duration::from_secs(30));
        assert_eq!(row(Reason::CloudRateLimited, long).retry_after, long);
        assert_eq!(row(Reason::RateLimited, long).retry_after, long);
        // Only 429 and 503 have one.
        assert_eq!(row(Reason::CloudUnavailable, long).retry_after, None);
    }
}
