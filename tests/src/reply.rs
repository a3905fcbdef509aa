//! An answer of the service, as a caller in any language gets it.

use std::time::Duration;

use ask2do_token_proto::{ERROR_DOMAIN, RETRY_PUSHBACK};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An answer, to its end.
#[derive(Clone)]
pub struct Reply {
    /// HTTP's status.
    pub http: StatusCode,
    /// HTTP's header.
    pub headers: HeaderMap,
    /// All messages with their frames.
    pub body: Bytes,
    /// The trailers.
    pub trailers: HeaderMap,
}

/// What a refusal says beside its code and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The message behind the reason.
    pub message: String,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// Which fields are wrong, and why.
    pub violations: Vec<(String, String)>,
}

impl Reply {
    /// Reads it to its end.
    ///
    /// # Errors
    ///
    /// The connection broke before that.
    pub async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        Ok(Self {
            http: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// The status, whether it came in the header or the trailers.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_header_map(&self.trailers)
            .or_else(|| Status::from_header_map(&self.headers))
            .unwrap_or_else(|| panic!("no status in {} {:?}", self.http, self.headers))
    }

    /// Checks everything that is the same for all refusals: HTTP's 200, code, reason, the message that begins
    /// with it, the domain, the trailer that stops retries, and no token.
    ///
    /// # Panics
    ///
    /// When any of it is not so.
    #[track_caller]
    #[allow(clippy::must_use_candidate, reason = "its checks are the use")]
    pub fn refused(&self, code: Code, reason: &str) -> Refusal {
        let status = self.status();
        assert_eq!(self.http, StatusCode::OK);
        assert_eq!(status.code(), code, "{status:?}");
        let message = status.message().strip_prefix(&format!("{reason}: "));
        let message = message.unwrap_or_else(|| panic!("not {reason}: {status:?}"));
        assert!(!message.is_empty(), "{status:?}");
        let pushback = status.metadata().get(RETRY_PUSHBACK);
        assert_eq!(pushback.map(|value| value.as_bytes()), Some(&b"-1"[..]));
        assert!(self.body.is_empty(), "a refusal has no message");
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((&*info.reason, &*info.domain), (reason, ERROR_DOMAIN));
        assert!(info.metadata.is_empty(), "{info:?}");
        let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
        Refusal {
            message: message.to_owned(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            violations: violations
                .unwrap_or_default()
                .iter()
                .map(|violation| (violation.field.clone(), violation.description.clone()))
                .collect(),
        }
    }

    /// What a person may see of it, for the canary: header, trailers and status, without the token.
    #[must_use]
    pub fn shown(&self) -> String {
        let body = if self.status().code() == Code::Ok {
            String::new()
        } else {
            String::from_utf8_lossy(&self.body).into_owned()
        };
        let details = self.status().details().to_vec();
        format!(
            "{:?} {:?} {:?} {body} {}",
            self.headers,
            self.trailers,
            self.status(),
            String::from_utf8_lossy(&details)
        )
    }
}
