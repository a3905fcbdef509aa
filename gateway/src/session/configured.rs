//! The mode that the configuration chose.

use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::{Forward, Header, Jwt, SessionCheck, SessionError, SessionUser};

/// One of the three ways, chosen when the process starts.
#[derive(Debug)]
#[non_exhaustive]
pub enum Configured {
    /// The panel is asked.
    Forward(Forward),
    /// A JWT says it.
    Jwt(Jwt),
    /// An identity-aware proxy says it.
    Header(Header),
}

impl SessionCheck for Configured {
    async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        match self {
            Self::Forward(forward) => forward.check(request).await,
            Self::Jwt(jwt) => jwt.check(request).await,
            Self::Header(header) => header.check(request).await,
        }
    }

    fn is_ambient(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Forward(forward) => forward.is_ambient(headers),
            Self::Jwt(jwt) => jwt.is_ambient(headers),
            Self::Header(header) => header.is_ambient(headers),
        }
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        match self {
            Self::Forward(forward) => forward.credential_headers(),
            Self::Jwt(jwt) => jwt.credential_headers(),
            Self::Header(header) => header.credential_headers(),
        }
    }
}
