//! Web origins, in the one form in which browsers send them.

use std::str::FromStr;

use http::uri::Authority;
use http::{HeaderMap, header};
use url::Url;

/// A web origin: scheme, host and port, exactly.
///
/// It holds the ASCII serialization of RFC 6454 §6.2, which is what browsers put into `Origin`: lower
/// case, punycode, no default port. Two origins are the same only if these bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    text: String,
    host: String,
    port: u16,
}

/// Why a text is no exact origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOrigin {
    /// It holds a `*`.
    #[error("a wildcard would let any matching site act for a logged-in user: list each origin")]
    Wildcard,
    /// It is `null`, which every sandboxed frame and every `data:` page sends.
    #[error("`null` is the origin of any sandboxed page, an attacker's too: it cannot be allowed")]
    Null,
    /// It is no `http` or `https` origin at all.
    #[error("not an origin: write scheme, host and port, such as https://panel.example")]
    NotAnOrigin,
    /// It is one, but not in the form in which browsers send it.
    #[error("browsers send this origin as {0}: write that")]
    NotExact(String),
}

impl Origin {
    /// The serialization, as it stands in the header `Origin`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `http://localhost`, where any origin will do.
    pub(crate) fn loopback() -> Self {
        Self {
            text: "http://localhost".to_owned(),
            host: "localhost".to_owned(),
            port: 80,
        }
    }

    /// The one `Origin` header of a request. A header that is there twice, or that holds anything but
    /// an exact origin, is none.
    pub(crate) fn of_request(headers: &HeaderMap) -> Option<Self> {
        only(headers, header::ORIGIN)?.parse().ok()
    }

    /// Whether `Host` names this origin's host and port. `Host` does not tell the scheme, so a host
    /// without a port stands for the default port of this origin's.
    pub(crate) fn has_host(&self, host: &Authority) -> bool {
        let Some(port) = host.as_str().strip_prefix(host.host()) else {
            return false; // With a user before the host, which no browser sends.
        };
        let same_port = match port {
            // `panel.example:` has an empty port, which is the default one.
            "" | ":" => self.port == self.default_port(),
            // A user that is called like the host leaves its `@` here.
            _ => port.starts_with(':') && host.port_u16() == Some(self.port),
        };
        same_port && host.host().eq_ignore_ascii_case(&self.host)
    }

    fn default_port(&self) -> u16 {
        if self.text.starts_with("https:") {
            443
        } else {
            80
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text.contains('*') {
            return Err(InvalidOrigin::Wildcard);
        }
        if text.trim().eq_ignore_ascii_case("null") {
            return Err(InvalidOrigin::Null);
        }
        let url = Url::parse(text).map_err(|_| InvalidOrigin::NotAnOrigin)?;
        let (Some(host), Some(port), "http" | "https") =
            (url.host_str(), url.port_or_known_default(), url.scheme())
        else {
            return Err(InvalidOrigin::NotAnOrigin);
        };
        let exact = url.origin().ascii_serialization();
        if exact != text {
            return Err(InvalidOrigin::NotExact(exact));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            text: exact,
        })
    }
}

/// The value of a header that stands there exactly once, as text.
pub(crate) fn only(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_origin_is_read() {
        for text in [
            "https://panel.example",
            "https://panel.example:8443",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_not_exact_is_refused_with_the_form_to_write() {
        for (text, exact) in [
            ("https://panel.example/", "https://panel.example"),
            ("https://panel.example:443", "https://panel.example"),
            ("http://panel.example:80", "http://panel.example"),
            ("https://Panel.example", "https://panel.example"),
            ("https://panel.example/admin?x#y", "https://panel.example"),
            ("https://user@panel.example", "https://panel.example"),
            (" https://panel.example", "https://panel.example"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(
                text.parse::<Origin>(),
                Err(InvalidOrigin::NotExact(exact.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn wildcards_null_and_other_schemes_are_refused() {
        for text in ["*", "https://*.panel.example", "https://*"] {
            assert_eq!(
                text.parse::<Origin>(),
                Err(InvalidOrigin::Wildcard),
                "{text}"
            );
        }
        for text in ["null", "NULL", " null "] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin::Null), "{text}");
        }
        for text in [
            "",
            "panel.example",
            "ftp://panel.example",
            "file:///x",
            "https://",
            "data:x",
        ] {
            assert_eq!(
                text.parse::<Origin>(),
                Err(InvalidOrigin::NotAnOrigin),
                "{text}"
            );
        }
    }

    #[test]
    fn the_host_is_compared_with_its_port() {
        let cases = [
            ("https://panel.example", "panel.example", true),
            ("https://panel.example", "PANEL.example", true),
            ("https://panel.example", "panel.example:443", true),
            ("http://panel.example", "panel.example", true),
            ("https://panel.example", "panel.example:80", false),
            ("https://panel.example:8443", "panel.example:8443", true),
            ("https://panel.example:8443", "panel.example", false),
            ("https://panel.example:8443", "panel.example:443", false),
            ("https://evil-panel.example", "panel.example", false),
            ("https://panel.example.evil", "panel.example", false),
            ("https://panel.example", "x@panel.example", false),
            (
                "https://panel.example",
                "panel.example@panel.example:443",
                false,
            ),
            ("https://panel.example", "panel.example:", true),
            ("https://panel.example", "panel.example:65536", false),
            ("http://[::1]:8080", "[::1]:8080", true),
        ];
        for (origin, host, same) in cases {
            let origin: Origin = origin.parse().unwrap();
            let host: Authority = host.parse().unwrap();
            assert_eq!(origin.has_host(&host), same, "{origin:?} {host}");
        }
    }

    #[test]
    fn an_origin_header_counts_only_once_and_exact() {
        let mut headers = HeaderMap::new();
        assert_eq!(Origin::of_request(&headers), None);
        headers.insert(header::ORIGIN, "https://panel.example".parse().unwrap());
        assert!(Origin::of_request(&headers).is_some());
        headers.append(header::ORIGIN, "https://panel.example".parse().unwrap());
        assert_eq!(Origin::of_request(&headers), None);
        headers.insert(header::ORIGIN, "https://panel.example/".parse().unwrap());
        assert_eq!(Origin::of_request(&headers), None);
    }
}
