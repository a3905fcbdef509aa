//! What a certificate vouches for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::SanType;
use rcgen::string::Ia5String;
use rustls_pki_types::DnsName;
use url::Url;

/// A subject alternative name, by its form: `spiffe://...` and other URIs, IP addresses, DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Name {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, such as a SPIFFE id.
    Uri(String),
}

/// The text is no name that a certificate can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no DNS name, no IP address and no URI")]
pub struct NameError(String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let is_uri = text.contains("://") && text.is_ascii() && Url::parse(text).is_ok();
        if is_uri {
            return Ok(Self::Uri(text.to_owned()));
        }
        let is_dns = DnsName::try_from(text).is_ok();
        is_dns
            .then(|| Self::Dns(text.to_owned()))
            .ok_or_else(|| NameError(text.to_owned()))
    }
}

impl Name {
    pub(super) fn to_san(&self) -> Result<SanType, rcgen::Error> {
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(Ia5String::try_from(name.as_str())?),
            Self::Ip(address) => SanType::IpAddress(*address),
            Self::Uri(uri) => SanType::URI(Ia5String::try_from(uri.as_str())?),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_says_what_a_name_is() {
        for (text, name) in [
            ("localhost", Name::Dns("localhost".into())),
            ("127.0.0.1", Name::Ip([127, 0, 0, 1].into())),
            ("::1", Name::Ip("::1".parse().unwrap())),
            ("spiffe://demo/x", Name::Uri("spiffe://demo/x".into())),
        ] {
            assert_eq!(text.parse(), Ok(name.clone()));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for text in [
            "",
            "a b",
            "grün.example",
            "spiffe://grün/x",
            "-",
            "*.example",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
