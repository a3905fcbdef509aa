//! The name by which a certificate makes somebody a caller.

use std::fmt;

/// A subject alternative name that is compared exactly: no wildcard, no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum San {
    /// A URI, compared byte for byte: `spiffe://demo/ns/panel/sa/backend`.
    Uri(Box<str>),
    /// A DNS name in lower case; DNS compares without regard to case.
    Dns(Box<str>),
}

/// A text that is no [`San`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSan {
    /// It has a `*`.
    #[error("a wildcard matches nothing: name each caller by its exact SAN")]
    Wildcard,
    /// It is neither.
    #[error("neither a URI such as spiffe://demo/ns/panel/sa/backend nor a DNS name")]
    Malformed,
}

impl San {
    /// Takes a URI (what has a colon) or a DNS name.
    ///
    /// # Errors
    ///
    /// It is neither, or has a wildcard.
    pub fn parse(text: &str) -> Result<Self, InvalidSan> {
        if text.contains('*') {
            return Err(InvalidSan::Wildcard);
        }
        match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) && is_uri_rest(rest) => {
                Ok(Self::Uri(text.into()))
            }
            None if is_dns_name(text) => Ok(Self::Dns(text.to_ascii_lowercase().into())),
            _ => Err(InvalidSan::Malformed),
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Uri(text) | Self::Dns(text)) = self;
        f.write_str(text)
    }
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Printable ASCII, which is what a certificate's URI may hold (RFC 5280: an IA5String).
fn is_uri_rest(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

/// As certificates have them: without a dot at the end, underscores allowed.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_kept_as_it_is_and_a_dns_name_in_lower_case() {
        for uri in [
            "spiffe://Demo/ns/Panel",
            "urn:panel:1",
            "https://a.example:8443/x?y",
        ] {
            assert_eq!(San::parse(uri), Ok(San::Uri(uri.into())));
        }
        assert_eq!(
            San::parse("Panel_1.Example.COM"),
            Ok(San::Dns("panel_1.example.com".into()))
        );
    }

    #[test]
    fn a_wildcard_is_refused_wherever_it_stands() {
        for text in ["*", "*.example.com", "spiffe://demo/*", "pan*.example.com"] {
            assert_eq!(San::parse(text), Err(InvalidSan::Wildcard), "{text}");
        }
    }

    #[test]
    fn what_no_certificate_could_hold_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            "panel example",
            "spiffe:",
            "://demo",
            "spiffe://de mo",
            "1a:b",
            "spiffe://dëmo",
            "pänel",
            &long,
        ] {
            assert_eq!(San::parse(text), Err(InvalidSan::Malformed), "{text:?}");
        }
    }
}
