//! Why an attempt brought no token: what it means for the caller, for a retry, and for the operator.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::dns::LookupError;
use super::token::NotLive;
use crate::mint::MintError;

/// One attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// For the log: what the libraries say, without the URL.
    pub(super) detail: String,
}

/// The causes. Each has one meaning for the caller ([`Cause::error`]) and one for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The name has no address, or nothing answers for it.
    Dns,
    /// No TCP connection, or it broke before TLS stood; a proxy's refusal too.
    Connect,
    /// Neither refused nor connected in time.
    ConnectTimeout,
    /// The two sides do not agree on TLS.
    Tls,
    /// The server's certificate does not hold.
    Certificate,
    /// Reset or closed before the answer was whole.
    ConnectionLost,
    /// What was sent was not acknowledged: the path leads nowhere any more.
    ConnectionDead,
    /// A 5xx.
    Server(StatusCode),
    /// The deadline.
    Deadline,
    /// The vendor's 401.
    KeyRejected,
    /// The vendor's 403.
    RoleRefused,
    /// A 429, with the time that it asks for.
    RateLimited(Option<Duration>),
    /// A 401 or 403 that the vendor did not write.
    NotTheVendor(StatusCode),
    /// A 3xx.
    Redirect(StatusCode),
    /// Any other status.
    Status(StatusCode),
    /// The bytes that came are not HTTP.
    NotHttp,
    /// A 200 that is too large.
    BodyTooLarge,
    /// A 200 without a live token for this user.
    NotLive(NotLive),
}

/// Which connection a retry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Any: the last one brought an answer.
    AnyConnection,
    /// A new one: a pooled one may be as dead as the last.
    NewConnection,
}

impl Cause {
    /// What the caller is told.
    pub(super) fn error(self) -> MintError {
        match self {
            Self::Dns
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls
            | Self::Certificate
            | Self::ConnectionLost
            | Self::ConnectionDead
            | Self::Server(_) => MintError::CloudUnavailable,
            Self::Deadline => MintError::CloudTimeout,
            Self::KeyRejected => MintError::TenantKeyRejected,
            Self::RoleRefused => MintError::RoleNotAllowed,
            Self::RateLimited(retry_after) => MintError::CloudRateLimited { retry_after },
            Self::NotTheVendor(_)
            | Self::Redirect(_)
            | Self::Status(_)
            | Self::NotHttp
            | Self::BodyTooLarge
            | Self::NotLive(_) => MintError::CloudResponseInvalid,
        }
    }

    /// Whether one more attempt is worth it: only where the cloud cannot have refused. A certificate
    /// that does not hold will not hold the next time.
    pub(super) fn retry(self) -> Option<Retry> {
        match self {
            Self::Dns
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls
            | Self::ConnectionLost
            | Self::ConnectionDead => Some(Retry::NewConnection),
            Self::Server(
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
            ) => Some(Retry::AnyConnection),
            _ => None,
        }
    }

    /// The label's value in metrics and logs: a closed set.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::ConnectionLost => "connection_lost",
            Self::ConnectionDead => "connection_dead",
            Self::Server(status) => match status {
                StatusCode::INTERNAL_SERVER_ERROR => "status_500",
                StatusCode::BAD_GATEWAY => "status_502",
                StatusCode::SERVICE_UNAVAILABLE => "status_503",
                StatusCode::GATEWAY_TIMEOUT => "status_504",
                _ => "status_5xx",
            },
            Self::Deadline => "timeout",
            Self::KeyRejected => "key_rejected",
            Self::RoleRefused => "role_refused",
            Self::RateLimited(_) => "rate_limited",
            Self::NotTheVendor(_) => "not_the_vendor",
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::NotHttp => "not_http",
            Self::BodyTooLarge => "body_too_large",
            Self::NotLive(why) => why.as_str(),
        }
    }

    /// The status that was answered, where it is what failed.
    pub(super) fn status(self) -> Option<StatusCode> {
        match self {
            Self::KeyRejected => Some(StatusCode::UNAUTHORIZED),
            Self::RoleRefused => Some(StatusCode::FORBIDDEN),
            Self::RateLimited(_) => Some(StatusCode::TOO_MANY_REQUESTS),
            Self::Server(status)
            | Self::NotTheVendor(status)
            | Self::Redirect(status)
            | Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// What an operator is told, in one sentence.
    fn advice(self) -> &'static str {
        match self {
            Self::KeyRejected => {
                "Ask2Do refuses the tenant key: wrong, revoked or paused; look in the Ask2Do portal"
            }
            Self::RoleRefused => "Ask2Do does not serve this role; compare cloud.roles",
            Self::NotTheVendor(_) => {
                "this refusal is not Ask2Do's: a proxy, firewall or captive portal answered in its \
                 place; the tenant key is not at fault"
            }
            Self::Certificate => {
                "the certificate shown for Ask2Do does not hold; where an egress proxy inspects \
                 TLS, its root belongs in cloud.ca_file"
            }
            Self::Redirect(_) => {
                "the answer is a redirect, which is never followed: check cloud.url"
            }
            Self::NotLive(NotLive::Expired) => {
                "the token that came has expired already: compare this machine's clock"
            }
            Self::RateLimited(_) => "Ask2Do asks for fewer requests",
            Self::Deadline => "Ask2Do did not answer in time",
            Self::Status(_) | Self::NotHttp | Self::BodyTooLarge | Self::NotLive(_) => {
                "what answered is not a token from Ask2Do: check cloud.url"
            }
            _ => "Ask2Do could not be reached, or failed",
        }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        let detail = match cause {
            Cause::NotLive(why) => why.to_string(),
            _ => String::new(),
        };
        Self { cause, detail }
    }
}

impl Failure {
    /// Sorts what went wrong below HTTP, or on the way through it.
    pub(super) fn from_transport(error: reqwest::Error) -> Self {
        // The URL may hold a password, and who reads the log knows it.
        let error = error.without_url();
        let cause = if error.is_connect() {
            connect_cause(&error, error.is_timeout())
        } else {
            exchange_cause(&error)
        };
        Self {
            cause,
            detail: chain(&error),
        }
    }

    /// Says in the log what happened, once for each attempt that failed.
    pub(super) fn log(&self, retrying: bool) {
        let cause = self.cause.as_str();
        let status = self.cause.status().map(|status| status.as_u16());
        let (reason, advice) = (self.cause.error().reason().as_str(), self.cause.advice());
        let detail = (!self.detail.is_empty()).then_some(self.detail.as_str());
        if retrying {
            tracing::info!(reason, cause, status, detail, "{advice}; trying once more");
        } else {
            tracing::warn!(reason, cause, status, detail, "{advice}");
        }
    }
}

/// Why there is no connection.
pub(super) fn connect_cause(error: &(dyn Error + 'static), timed_out: bool) -> Cause {
    if find::<LookupError>(error).is_some() {
        return Cause::Dns;
    }
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(_)) => Cause::Certificate,
        Some(_) => Cause::Tls,
        None if timed_out => Cause::ConnectTimeout,
        None => Cause::Connect,
    }
}

fn exchange_cause(error: &reqwest::Error) -> Cause {
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        return Cause::NotHttp;
    }
    match find::<io::Error>(error) {
        Some(io) if io.kind() == io::ErrorKind::TimedOut => Cause::ConnectionDead,
        _ => Cause::ConnectionLost,
    }
}

/// The first error of this type along the chain, those that hide inside an `io::Error` included.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `io::Error::source` passes over the error that it wraps.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The whole chain in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        // Wrappers that repeat what they wrap.
        if !text.ends_with(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}
