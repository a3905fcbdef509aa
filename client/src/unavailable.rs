//! Why the service could not be reached.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ask2do_token_tls::{HandshakeFailure, handshake_failure};

/// Why the service could not be reached, in words for an operator: [`Display`](fmt::Display) names
/// addresses and causes, never what was asked for.
#[derive(Clone)]
pub struct Unavailable {
    kind: UnavailableKind,
    detail: Arc<str>,
    source: Option<Arc<io::Error>>,
}

/// What stood between caller and service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnavailableKind {
    /// The endpoint's name has no address, or could not be looked up.
    Resolution,
    /// No connection: refused, unreachable.
    Connect,
    /// Nothing answered in time.
    Timeout,
    /// One end refused the other's certificate, or what answered does not speak TLS 1.3.
    Tls,
    /// The connection was lost with the call on it.
    Lost,
    /// The service itself said so: it is draining, or refused the stream.
    Refused,
}

impl UnavailableKind {
    /// A stable name, for a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolution => "resolution",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }
}

impl Unavailable {
    /// What stood between.
    #[must_use]
    pub fn kind(&self) -> UnavailableKind {
        self.kind
    }

    /// Whether the service was there, and turned this caller's certificate, or the lack of one, away. With
    /// several addresses: what the first of them said.
    #[cfg(feature = "cli")]
    pub(crate) fn is_refusal_of_the_caller(&self) -> bool {
        self.source.as_deref().is_some_and(|error| {
            matches!(
                handshake_failure(error),
                HandshakeFailure::RefusedByPeer | HandshakeFailure::NoCertificate
            )
        })
    }

    pub(crate) fn new(kind: UnavailableKind, detail: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    fn caused(kind: UnavailableKind, detail: String, error: io::Error) -> Self {
        Self {
            source: Some(Arc::new(error)),
            ..Self::new(kind, detail)
        }
    }

    pub(crate) fn resolution(host: &str, error: io::Error) -> Self {
        let detail = format!("the name {host} cannot be resolved: {error}");
        Self::caused(UnavailableKind::Resolution, detail, error)
    }

    pub(crate) fn connect(address: SocketAddr, error: io::Error) -> Self {
        let detail = format!("no connection to {address}: {error}");
        Self::caused(UnavailableKind::Connect, detail, error)
    }

    pub(crate) fn connect_timeout(address: SocketAddr, step: &str) -> Self {
        let detail = format!("{address} did not answer in time: {step}");
        Self::new(UnavailableKind::Timeout, detail)
    }

    /// The handshake with `address`, or the first read after it, failed. In TLS 1.3 a client that the
    /// server refuses learns it only by that read.
    pub(crate) fn tls(address: SocketAddr, server_name: &str, error: io::Error) -> Self {
        let detail = match handshake_failure(&error) {
            HandshakeFailure::UnknownCa => {
                "its certificate was not issued by a CA in the CA file".to_owned()
            }
            HandshakeFailure::RefusedByPeer => "it refuses the client's certificate".to_owned(),
            HandshakeFailure::NoCertificate => "it wants a client certificate".to_owned(),
            HandshakeFailure::BadCertificate if names_another(&error) => {
                format!("its certificate is not for the name {server_name}")
            }
            HandshakeFailure::Plaintext => "it does not speak TLS".to_owned(),
            HandshakeFailure::Closed => {
                "it closed the connection, as for a client that it refuses".to_owned()
            }
            _ => "the handshake failed".to_owned(),
        };
        let detail = format!("TLS with {address} failed: {detail} ({error})");
        Self::caused(UnavailableKind::Tls, detail, error)
    }

    pub(crate) fn lost(address: SocketAddr, cause: impl fmt::Display) -> Self {
        let detail = format!("the connection to {address} was lost: {cause}");
        Self::new(UnavailableKind::Lost, detail)
    }

    /// All addresses failed, each for its own reason; the first gives the kind.
    pub(crate) fn all(causes: Vec<Self>) -> Option<Self> {
        /// More would be a page, and say no more.
        const SHOWN: usize = 3;
        let total = causes.len();
        let shown: Vec<_> = causes.iter().take(SHOWN).map(|c| &*c.detail).collect();
        let mut detail = shown.join("; ");
        if total > SHOWN {
            detail.push_str(&format!("; and {} more", total - SHOWN));
        }
        let first = causes.into_iter().next()?;
        Some(Self {
            detail: detail.into(),
            ..first
        })
    }
}

fn names_another(error: &io::Error) -> bool {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    matches!(
        inner,
        Some(rustls::Error::InvalidCertificate(
            NotValidForName | NotValidForNameContext { .. }
        ))
    )
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Debug for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unavailable")
            .field("kind", &self.kind)
            .field("detail", &self.detail)
            .finish()
    }
}

impl Error for Unavailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The cause is part of the sentence already; what lies behind it may say more.
        self.source.as_ref().and_then(|error| error.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_certificate_for_another_name_is_told_by_the_name_that_was_wanted() {
        let error = io::Error::other(rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName,
        ));
        let text = Unavailable::tls(address(1), "token.internal", error).to_string();
        assert!(
            text.contains("is not for the name token.internal"),
            "{text}"
        );
    }

    #[test]
    fn several_causes_are_listed_with_a_limit() {
        let causes = (1..=5)
            .map(|port| Unavailable::connect_timeout(address(port), "TCP"))
            .collect();
        let text = Unavailable::all(causes).unwrap().to_string();
        assert!(text.contains("127.0.0.1:3 ") && !text.contains("127.0.0.1:4 "));
        assert!(text.ends_with("and 2 more"), "{text}");
        assert!(Unavailable::all(Vec::new()).is_none());
    }
}
