//! Mode `forward`: ask the panel.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, SERVER_ADDRESS, SERVER_PORT,
    URL_FULL,
};
use serde_json::Value;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use url::Url;

use super::coalesce::Coalesce;
use super::http_client::{Answer, HttpClient};
use super::{SessionCheck, SessionError, SessionUser, json, roles_in_header};

/// Asks one URL of the panel who sent a request, with the request's own credentials.
pub struct Forward {
    question: Arc<Question>,
    headers: Vec<HeaderName>,
    in_flight: Coalesce<Vec<(HeaderName, Bytes)>, Result<SessionUser, SessionError>>,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("url", &self.question.url.as_str())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

struct Question {
    client: HttpClient,
    url: Url,
    timeout: Duration,
    id: Location,
    role: Location,
}

/// Where the panel's answer holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a response header.
    Header(HeaderName),
    /// In the JSON body, at a JSON pointer (RFC 6901).
    Body(JsonPointer),
}

/// A JSON pointer (RFC 6901) that begins with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPointer(String);

/// What makes a [`Forward`] impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// A place is neither a JSON pointer nor a header's name.
    #[error(
        "neither a JSON pointer into the body, such as /user/id, nor a response header's name, such as X-User-Id"
    )]
    Location,
    /// A header cannot be passed on.
    #[error(
        "`{0}` belongs to the connection, or to the gateway's own question: it cannot be passed on"
    )]
    Header(HeaderName),
}

impl Forward {
    /// Asks `url` in at most `timeout`, with those of `headers` that the request has.
    ///
    /// # Errors
    ///
    /// One of `headers` is not the panel's to see: a connection's own, or `traceparent`.
    pub fn new(
        client: HttpClient,
        url: Url,
        timeout: Duration,
        headers: Vec<HeaderName>,
        id: Location,
        role: Location,
    ) -> Result<Self, ForwardError> {
        if let Some(header) = headers.iter().find(|header| !may_pass_on(header)) {
            return Err(ForwardError::Header(header.clone()));
        }
        let question = Question {
            client,
            url,
            timeout,
            id,
            role,
        };
        Ok(Self {
            question: Arc::new(question),
            headers,
            in_flight: Coalesce::new(),
        })
    }

    /// The headers that are passed on, as the request has them.
    fn credentials(&self, request: &Parts) -> Vec<(HeaderName, Bytes)> {
        let mut credentials = Vec::new();
        for name in &self.headers {
            let values = request
                .headers
                .get_all(name)
                .iter()
                .map(HeaderValue::as_bytes);
            if *name == header::COOKIE {
                // HTTP/2 may split cookies; HTTP/1.1 wants one header (RFC 9113, §8.2.3).
                let cookies: Vec<&[u8]> = values.collect();
                if !cookies.is_empty() {
                    credentials.push((name.clone(), cookies.join(&b"; "[..]).into()));
                }
            } else {
                credentials
                    .extend(values.map(|value| (name.clone(), Bytes::copy_from_slice(value))));
            }
        }
        credentials
    }
}

/// Says in the question's span what went wrong.
fn failed(kind: &str) {
    let span = Span::current();
    span.record(ERROR_TYPE, kind);
    span.record("otel.status_code", "ERROR");
}

/// A header of the connection, of the message's form, or of the trace must be this side's own; with a condition
/// or a range, the panel would not answer who somebody is.
pub(crate) fn may_pass_on(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "host"
            | "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "transfer-encoding"
            | "content-length"
            | "content-type"
            | "accept-encoding"
            | "range"
            | "if-match"
            | "if-none-match"
            | "if-modified-since"
            | "if-unmodified-since"
            | "if-range"
            | "expect"
            | "te"
            | "trailer"
            | "upgrade"
            | "traceparent"
            | "tracestate"
            | "baggage"
    )
}

impl SessionCheck for Forward {
    async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        let credentials = self.credentials(request);
        if credentials.is_empty() {
            return Err(SessionError::login_required("no credential in the request"));
        }
        let question = Arc::clone(&self.question);
        let headers = question_headers(&credentials)?;
        self.in_flight
            .ask(credentials, || {
                let span = info_span!(
                    "GET session",
                    otel.name = "GET",
                    otel.kind = "client",
                    { HTTP_REQUEST_METHOD } = "GET",
                    { SERVER_ADDRESS } = question.url.host_str(),
                    { SERVER_PORT } = question.url.port_or_known_default(),
                    { URL_FULL } = shown(&question.url).as_str(),
                    { HTTP_RESPONSE_STATUS_CODE } = Empty,
                    { ERROR_TYPE } = Empty,
                    otel.status_code = Empty,
                );
                async move { question.ask(headers).await }.instrument(span)
            })
            .await
    }

    fn is_ambient(&self, headers: &HeaderMap) -> bool {
        // A cookie and `Authorization` the guard sees by itself.
        self.headers.iter().any(|name| {
            *name != header::COOKIE && *name != header::AUTHORIZATION && headers.contains_key(name)
        })
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        let own = self.headers.iter().filter(|name| **name != header::COOKIE);
        own.cloned().collect()
    }
}

/// The URL without what may be a credential in it, as the conventions want it.
fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // Both fail only where there is no host.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown
}

fn question_headers(credentials: &[(HeaderName, Bytes)]) -> Result<HeaderMap, SessionError> {
    let mut headers = HeaderMap::new();
    if !credentials.iter().any(|(name, _)| name == header::ACCEPT) {
        // Frameworks answer 401 to this, where they would send a browser to their login page.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    }
    for (name, value) in credentials {
        let mut value = HeaderValue::from_maybe_shared(value.clone())
            .map_err(|_| SessionError::login_required("a credential is no header value"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

impl Question {
    async fn ask(&self, headers: HeaderMap) -> Result<SessionUser, SessionError> {
        let answer = self
            .client
            .get(&self.url, headers, self.timeout)
            .await
            .map_err(|error| unavailable(&error.to_string()))
            .inspect_err(|_| failed("connection"))?;
        Span::current().record(HTTP_RESPONSE_STATUS_CODE, answer.status.as_u16());
        if answer.status.is_client_error() || answer.status.is_server_error() {
            failed(answer.status.as_str());
        }
        match answer.status {
            status if status.is_success() => self.user(&answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(SessionError::login_required("the panel knows no session"))
            }
            status if status.is_redirection() => Err(SessionError::login_required(
                "the panel redirects to a login",
            )),
            status => Err(unavailable(&format!("it answered {}", status.as_u16()))),
        }
    }

    /// The user in a 2xx. Without a usable one, session check and panel do not fit together.
    fn user(&self, answer: &Answer) -> Result<SessionUser, SessionError> {
        let body = self.body(answer)?;
        let body = body.as_ref();
        let id = match &self.id {
            Location::Header(name) => header_value(&answer.headers, name),
            Location::Body(at) => json::id(body.and_then(|body| body.pointer(&at.0))),
        };
        let roles = match &self.role {
            Location::Header(name) => header_value(&answer.headers, name)
                .map(|value| roles_in_header(&value).map(str::to_owned).collect()),
            Location::Body(at) => json::roles(body.and_then(|body| body.pointer(&at.0))),
        };
        let (id, roles): (String, Vec<String>) = match (id, roles) {
            (Some(id), Some(roles)) => (id, roles),
            (None, _) => return Err(misconfigured("no id, or not one string or integer")),
            (_, None) => return Err(misconfigured("no role, or not a string or a list of them")),
        };
        SessionUser::new(id, roles).map_err(|error| misconfigured(&error.to_string()))
    }

    fn body(&self, answer: &Answer) -> Result<Option<Value>, SessionError> {
        if let (Location::Header(_), Location::Header(_)) = (&self.id, &self.role) {
            return Ok(None);
        }
        let body = answer
            .body
            .as_ref()
            .map_err(|error| misconfigured(&error.to_string()))?;
        serde_json::from_slice(body)
            .map(Some)
            .map_err(|_| misconfigured("its body is not JSON"))
    }
}

/// The value of a header that the answer has exactly once.
fn header_value(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => String::from_utf8(value.as_bytes().to_vec()).ok(),
        _ => None,
    }
}

fn unavailable(why: &str) -> SessionError {
    SessionError::unavailable(format!("session.forward.url: {why}"))
}

fn misconfigured(why: &str) -> SessionError {
    SessionError::unavailable(format!(
        "session.forward.url answered 2xx, but unusably: {why}; look at session.forward.id and session.forward.role"
    ))
}

impl FromStr for Location {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        if text.starts_with('/') {
            JsonPointer::parse(text).map(Self::Body)
        } else {
            text.parse().ok().map(Self::Header)
        }
        .ok_or(ForwardError::Location)
    }
}

impl JsonPointer {
    /// A pointer that begins with a slash; each `~` is part of `~0` or `~1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let escapes =
            |(at, _): (usize, &str)| matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1'));
        let well_formed = text.starts_with('/') && text.match_indices('~').all(escapes);
        well_formed.then(|| Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_pointer_or_a_header() {
        let pointer = |text: &str| Ok(Location::Body(JsonPointer(text.into())));
        assert_eq!("/user/id".parse(), pointer("/user/id"));
        assert_eq!("/".parse(), pointer("/"));
        assert_eq!("/a~1b~0c".parse(), pointer("/a~1b~0c"));
        assert_eq!(
            "X-User-Id".parse(),
            Ok(Location::Header(HeaderName::from_static("x-user-id")))
        );
        for text in ["", "user id", "user/id", "/a~", "/a~2", "ü"] {
            assert_eq!(
                text.parse::<Location>(),
                Err(ForwardError::Location),
                "{text}"
            );
        }
    }
}
