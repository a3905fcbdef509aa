//! Where the cloud is, and by which proxy it is reached.

use std::fmt;

use url::{Host, Url};

/// The path of the exchange, below the configured URL.
const PATH: [&str; 2] = ["auth", "token"];

/// The URL that tokens are minted at. It holds no credentials, so it may be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// An egress proxy for the calls to the cloud. Its URL may hold a user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct EgressProxy(Url);

/// Why a URL cannot be used. Shows nothing of the URL: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Plain HTTP would show the tenant key to the network.
    #[error("https only, unless the host is loopback (localhost, 127.0.0.0/8, ::1)")]
    NotHttps,
    /// Credentials, which would be sent along and logged.
    #[error("no user name or password may stand in it")]
    Credentials,
    /// A query or fragment, which the path would be put behind.
    #[error("no query and no fragment may stand in it")]
    Query,
    /// A proxy other than an HTTP one.
    #[error("a proxy's scheme is http or https")]
    ProxyScheme,
    /// A proxy's URL with more than a host and a port.
    #[error("a proxy has no path, query or fragment")]
    ProxyPath,
}

impl Endpoint {
    /// Makes the endpoint of `cloud.url`, for example `https://cloud.ask2do.com`.
    ///
    /// # Errors
    ///
    /// See [`InvalidUrl`].
    pub fn new(base: &Url) -> Result<Self, InvalidUrl> {
        let allowed = match base.scheme() {
            "https" => base.has_host(),
            "http" => is_loopback(base),
            _ => false,
        };
        if !allowed {
            return Err(InvalidUrl::NotHttps);
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(InvalidUrl::Credentials);
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(InvalidUrl::Query);
        }
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(PATH);
        }
        Ok(Self(url))
    }

    /// The whole URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether plain HTTP is refused at every step.
    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl EgressProxy {
    /// Makes the proxy of `cloud.proxy`, for example `http://user:password@proxy:3128`.
    ///
    /// # Errors
    ///
    /// See [`InvalidUrl`].
    pub fn new(url: &Url) -> Result<Self, InvalidUrl> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidUrl::ProxyScheme);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidUrl::ProxyPath);
        }
        Ok(Self(url.clone()))
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0)
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        let port = self.0.port_or_known_default().unwrap_or_default();
        write!(f, "EgressProxy({}://{host}:{port})", self.0.scheme())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<String, InvalidUrl> {
        Endpoint::new(&url.parse().unwrap()).map(|endpoint| endpoint.url().to_string())
    }

    #[test]
    fn the_exchanges_path_is_put_behind_the_url() {
        let expected = "https://cloud.ask2do.com/auth/token";
        for url in ["https://cloud.ask2do.com", "https://cloud.ask2do.com/"] {
            assert_eq!(endpoint(url).as_deref(), Ok(expected));
        }
        assert_eq!(
            endpoint("https://gateway.example/ask2do/").as_deref(),
            Ok("https://gateway.example/ask2do/auth/token")
        );
    }

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for url in [
            "http://localhost:8080",
            "http://127.0.0.2:1",
            "http://[::1]:1",
        ] {
            assert!(endpoint(url).is_ok(), "{url}");
        }
        for url in [
            "http://cloud.ask2do.com",
            "http://localhost.example",
            "http://10.0.0.1",
            "ftp://localhost",
            "unix:/run/x",
        ] {
            assert_eq!(endpoint(url), Err(InvalidUrl::NotHttps), "{url}");
        }
    }

    #[test]
    fn what_would_be_logged_or_cut_the_path_off_is_refused() {
        let table = [
            ("https://user@cloud.example", InvalidUrl::Credentials),
            ("https://:canary@cloud.example", InvalidUrl::Credentials),
            ("https://cloud.example/?a=b", InvalidUrl::Query),
            ("https://cloud.example/#a", InvalidUrl::Query),
        ];
        for (url, expected) in table {
            let error = endpoint(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        let url = "http://user:canary@proxy.example:3128".parse().unwrap();
        let proxy = EgressProxy::new(&url).unwrap();
        assert_eq!(
            format!("{proxy:?}"),
            "EgressProxy(http://proxy.example:3128)"
        );
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        let table = [
            ("socks5://proxy:1080", InvalidUrl::ProxyScheme),
            ("http://proxy/pac", InvalidUrl::ProxyPath),
            ("http://proxy/?a", InvalidUrl::ProxyPath),
        ];
        for (url, expected) in table {
            let error = EgressProxy::new(&url.parse().unwrap()).unwrap_err();
            assert_eq!(error, expected, "{url}");
        }
    }
}
