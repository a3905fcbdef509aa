//! Who is logged in: one trait, and the three ways of this project to implement it.

use std::fmt;

use http::request::Parts;
use http::{HeaderMap, HeaderName};

mod coalesce;
mod configured;
mod forward;
mod header;
mod http_client;
mod jwks;
mod jwt;

pub use configured::Configured;
pub(crate) use forward::may_pass_on;
pub use forward::{Forward, ForwardError, JsonPointer, Location};
pub use header::{Header, Peer, ProxySans, TrustedCidrs, TrustedProxies, TrustedProxiesError};
pub use http_client::{HttpClient, HttpClientError};
pub use jwks::{Jwks, JwksError};
pub use jwt::{Claim, InvalidClaim, Jwt, TokenPlace};

/// Finds out which panel user a request comes from.
///
/// A Rust panel that mounts [`router`](crate::router) implements this over its own sessions. The
/// trait is used as a generic parameter, not as an object: a gateway has one way to check sessions, known
/// when it is built, so that nothing needs boxing.
pub trait SessionCheck: Send + Sync + 'static {
    /// The logged-in user.
    ///
    /// `request` is the browser's request without its body, with the extensions that the panel's own
    /// middleware left there. Take the user from the session alone; whatever else a browser sends, the
    /// query too, it can choose freely.
    ///
    /// # Errors
    ///
    /// [`SessionError::LoginRequired`] where there is no session, [`SessionError::Unavailable`] where
    /// that could not be found out: an outage must never look like a logged-out user.
    fn check(
        &self,
        request: &Parts,
    ) -> impl Future<Output = Result<SessionUser, SessionError>> + Send;

    /// Whether the request may be authenticated by something that comes along by itself and is neither a
    /// cookie nor `Authorization`: a header that a proxy sets, a client certificate. The cross-site guard
    /// then also refuses requests without those two, unless they bear what a form cannot send.
    ///
    /// `true` unless implemented, which is always safe. `headers` are the request's.
    fn is_ambient(&self, headers: &HeaderMap) -> bool {
        let _ = headers;
        true
    }

    /// The headers with which a page may log in, so that one on an allowed origin gets them allowed by the answer to
    /// its preflight. `Authorization` is allowed anyway, and a page cannot set `Cookie`.
    ///
    /// None unless implemented.
    fn credential_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }
}

/// A logged-in panel user, with the roles as the panel names them. Personal data: `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionUser {
    id: String,
    roles: Vec<String>,
}

/// A session names no user that a token could be minted for: its id is blank, or it has no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSessionUser {
    /// The id is blank.
    #[error("the id is blank")]
    BlankId,
    /// There is no role, or only blank ones.
    #[error("there is no role")]
    NoRole,
}

impl SessionUser {
    /// A user with one role, or with several of which [`RoleMap`](crate::RoleMap) chooses one.
    ///
    /// # Errors
    ///
    /// The id is blank, or no role is left when blank ones are dropped. Longer rules (lengths, control
    /// characters) are the token service's.
    pub fn new(
        id: impl Into<String>,
        roles: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, InvalidSessionUser> {
        let id = id.into();
        if id.trim().is_empty() {
            return Err(InvalidSessionUser::BlankId);
        }
        let roles: Vec<String> = roles
            .into_iter()
            .map(Into::into)
            .filter(|role: &String| !role.trim().is_empty())
            .collect();
        if roles.is_empty() {
            return Err(InvalidSessionUser::NoRole);
        }
        Ok(Self { id, roles })
    }

    /// The panel's id of the user.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user's roles; at least one.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }
}

impl fmt::Debug for SessionUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionUser([redacted])")
    }
}

/// Why there is no user.
///
/// `why` goes to the log and never to the browser. It must hold nothing of what the request carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nobody is logged in: no session, an expired or a forged one. 401.
    #[error("login required: {why}")]
    LoginRequired {
        /// What was missing or wrong.
        why: &'static str,
    },
    /// It could not be found out whether somebody is: an outage, or an answer that is unusable. 503.
    #[error("session check unavailable: {why}")]
    Unavailable {
        /// What failed, for the operator.
        why: String,
    },
}

impl SessionError {
    pub(crate) fn login_required(why: &'static str) -> Self {
        Self::LoginRequired { why }
    }

    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into() }
    }
}

/// The id and the roles in a JSON document: a session answer's body, or a JWT's claims.
mod json {
    use serde_json::Value;

    /// An id: a string, or an integer, as panels number their users. Nothing else has one spelling only.
    pub(super) fn id(value: Option<&Value>) -> Option<String> {
        match value? {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) if !id.is_f64() => Some(id.to_string()),
            _ => None,
        }
    }

    /// One role as a string, or a list of strings.
    pub(super) fn roles(value: Option<&Value>) -> Option<Vec<String>> {
        match value? {
            Value::String(role) => Some(vec![role.clone()]),
            Value::Array(roles) => roles
                .iter()
                .map(|role| role.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        }
    }
}

/// The roles in a header: one, or several with commas between them, as proxies write groups.
fn roles_in_header(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_needs_an_id_and_a_role() {
        let none: [&str; 0] = [];
        assert_eq!(
            SessionUser::new(" ", ["a"]),
            Err(InvalidSessionUser::BlankId)
        );
        assert_eq!(SessionUser::new("7", none), Err(InvalidSessionUser::NoRole));
        assert_eq!(
            SessionUser::new("7", [" ", ""]),
            Err(InvalidSessionUser::NoRole)
        );
        assert_eq!(SessionUser::new("7", ["", "b"]).unwrap().roles(), ["b"]);
    }

    #[test]
    fn debug_does_not_show_the_user() {
        let user = SessionUser::new("canary-id", ["canary-role"]).unwrap();
        assert!(!format!("{user:?}").contains("canary"));
    }

    #[test]
    fn an_id_is_a_string_or_an_integer() {
        for (value, id) in [
            (json!("42"), Some("42")),
            (json!(42), Some("42")),
            (json!(-1), Some("-1")),
            (json!(42.0), None),
            (json!(1e30), None),
            (json!(true), None),
            (json!(null), None),
            (json!(["42"]), None),
            (json!({"id": "42"}), None),
        ] {
            assert_eq!(json::id(Some(&value)).as_deref(), id, "{value}");
        }
        assert_eq!(json::id(None), None);
    }

    #[test]
    fn roles_are_a_string_or_a_list_of_strings() {
        for (value, roles) in [
            (json!("owner"), Some(vec!["owner"])),
            (json!("owner,admin"), Some(vec!["owner,admin"])),
            (json!(["a", "b"]), Some(vec!["a", "b"])),
            (json!([]), Some(vec![])),
            (json!(["a", 1]), None),
            (json!(7), None),
            (json!({"owner": true}), None),
            (json!(null), None),
        ] {
            let expected = roles.map(|roles| roles.into_iter().map(str::to_owned).collect());
            assert_eq!(json::roles(Some(&value)), expected, "{value}");
        }
    }
}
