//! Where the service is.

use std::net::{IpAddr, SocketAddr};

use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;
use url::{Host, Url};

/// A parsed `https://host[:port]`, and the name that the server's certificate must hold.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: EndpointHost,
    pub(crate) port: u16,
    pub(crate) authority: Authority,
    pub(crate) server_name: ServerName<'static>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndpointHost {
    /// Looked up, again and again.
    Name(String),
    /// Never looked up.
    Address(IpAddr),
}

/// What is wrong with an endpoint, or with the server name beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not a URL of the form that is wanted.
    #[error("must be of the form https://HOST:PORT, without a path, a query or a user")]
    Form,
    /// Another scheme than `https`.
    #[error("must begin with https://: the service speaks TLS alone")]
    Scheme,
    /// The host is no name that a certificate can hold.
    #[error("the host is not a DNS name or an IP address")]
    Host,
    /// The name to verify is no DNS name and no IP address.
    #[error("the server name is not a DNS name or an IP address")]
    ServerName,
}

impl Endpoint {
    /// # Errors
    ///
    /// What is wrong with either.
    pub(crate) fn parse(endpoint: &str, server_name: Option<&str>) -> Result<Self, EndpointError> {
        let url = Url::parse(endpoint).map_err(|_| EndpointError::Form)?;
        if url.scheme() != "https" {
            return Err(EndpointError::Scheme);
        }
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare {
            return Err(EndpointError::Form);
        }
        let host = match url.host().ok_or(EndpointError::Form)? {
            Host::Domain(name) => EndpointHost::Name(name.to_owned()),
            Host::Ipv4(address) => EndpointHost::Address(address.into()),
            Host::Ipv6(address) => EndpointHost::Address(address.into()),
        };
        let port = url.port_or_known_default().ok_or(EndpointError::Form)?;
        let written = url.host_str().ok_or(EndpointError::Form)?;
        let authority = format!("{written}:{port}")
            .parse()
            .map_err(|_| EndpointError::Host)?;
        let server_name = match server_name {
            Some(name) => parse_name(name).ok_or(EndpointError::ServerName)?,
            None => host.server_name().ok_or(EndpointError::Host)?,
        };
        Ok(Self {
            host,
            port,
            authority,
            server_name,
        })
    }

    /// The one address of an endpoint that is no name.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self.host {
            EndpointHost::Address(ip) => Some((ip, self.port).into()),
            EndpointHost::Name(_) => None,
        }
    }

    /// `uri` at this endpoint, whatever origin it named.
    pub(crate) fn rebase(&self, uri: &http::Uri) -> Result<http::Uri, http::uri::InvalidUriParts> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = uri.path_and_query().cloned();
        http::Uri::from_parts(parts)
    }
}

impl EndpointHost {
    fn server_name(&self) -> Option<ServerName<'static>> {
        match self {
            // A name that ends in a dot is looked up as it is; no certificate holds the dot.
            Self::Name(name) => parse_name(name.trim_end_matches('.')),
            Self::Address(ip) => Some(ServerName::IpAddress((*ip).into())),
        }
    }
}

fn parse_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_and_verified() {
        let endpoint = Endpoint::parse("https://ask2do-token.shop.svc:8443", None).unwrap();
        assert_eq!(
            endpoint.host,
            EndpointHost::Name("ask2do-token.shop.svc".into())
        );
        assert_eq!(endpoint.authority, "ask2do-token.shop.svc:8443");
        assert_eq!(endpoint.server_name.to_str(), "ask2do-token.shop.svc");
        assert_eq!(endpoint.address(), None);
    }

    #[test]
    fn an_address_of_either_family_is_dialled_as_it_is() {
        let v4 = Endpoint::parse("https://127.0.0.1:8443/", None).unwrap();
        assert_eq!(v4.address(), Some(([127, 0, 0, 1], 8443).into()));
        let v6 = Endpoint::parse("https://[::1]:8443", None).unwrap();
        assert_eq!(v6.address().unwrap().to_string(), "[::1]:8443");
        assert_eq!(v6.server_name.to_str(), "::1");
    }

    #[test]
    fn the_port_defaults_to_that_of_https() {
        assert_eq!(Endpoint::parse("https://token", None).unwrap().port, 443);
    }

    #[test]
    fn a_server_name_replaces_the_hosts() {
        let endpoint = Endpoint::parse("https://127.0.0.1:1", Some("token.internal")).unwrap();
        assert_eq!(endpoint.server_name.to_str(), "token.internal");
    }

    #[test]
    fn the_dot_of_an_absolute_name_is_looked_up_but_not_verified() {
        let endpoint = Endpoint::parse("https://token.shop.svc.:1", None).unwrap();
        assert_eq!(endpoint.host, EndpointHost::Name("token.shop.svc.".into()));
        assert_eq!(endpoint.server_name.to_str(), "token.shop.svc");
    }

    #[test]
    fn every_wrong_endpoint_is_told_what_is_wrong() {
        for (endpoint, server_name, error) in [
            ("", None, EndpointError::Form),
            ("localhost:8443", None, EndpointError::Scheme),
            ("http://localhost:8443", None, EndpointError::Scheme),
            ("https://localhost:8443/path", None, EndpointError::Form),
            ("https://localhost:8443/?q=1", None, EndpointError::Form),
            ("https://u:p@localhost:8443", None, EndpointError::Form),
            ("https://localhost:99999", None, EndpointError::Form),
            ("https://exa_mple..com", None, EndpointError::Host),
            ("https://localhost:1", Some(""), EndpointError::ServerName),
            (
                "https://localhost:1",
                Some("a b"),
                EndpointError::ServerName,
            ),
        ] {
            assert_eq!(
                Endpoint::parse(endpoint, server_name).unwrap_err(),
                error,
                "{endpoint}"
            );
        }
    }
}
