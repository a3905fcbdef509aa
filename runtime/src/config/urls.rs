//! URLs, by what they may hold.

use std::fmt;
use std::ops::Deref;

use url::{Host, Url};

use super::given::Given;
use super::setting::Value;

/// A URL without credentials or fragment: HTTPS, or plain HTTP to a loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(Url);

/// A URL without credentials or fragment: HTTPS or plain HTTP, wherever it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(Url);

/// The URL of a proxy: `http://` or `https://`, with credentials if it wants them. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Does the URL lead to this machine alone: `localhost`, 127.0.0.0/8 or ::1?
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_plain(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
}

/// `Url` forgives `https:/x`, spaces and tabs; a configuration must say what it means.
fn parse_url(given: &Given<'_>) -> Option<Url> {
    let text = given
        .text()
        .filter(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control()))?;
    let (scheme, _) = text.split_once("://")?;
    Url::parse(text)
        .ok()
        .filter(|url| url.scheme().eq_ignore_ascii_case(scheme) && url.has_host())
}

fn stand_in_url() -> Url {
    #[expect(clippy::expect_used, reason = "a constant")]
    Url::parse("https://localhost").expect("a URL")
}

impl Value for HttpsUrl {
    const TYPE: &'static str = "URL";

    fn allowed() -> String {
        r#"an https:// URL without credentials or fragment, such as "https://cloud.ask2do.com"; http:// to a loopback address alone"#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        let fits =
            |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
        parse_url(given)
            .filter(|url| fits(url) && is_plain(url))
            .map(Self)
    }

    fn stand_in() -> Self {
        Self(stand_in_url())
    }
}

impl Value for HttpUrl {
    const TYPE: &'static str = "URL";

    fn allowed() -> String {
        r#"an http:// or https:// URL without credentials or fragment, such as "https://panel.example/whoami""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        parse_url(given)
            .filter(|url| matches!(url.scheme(), "http" | "https") && is_plain(url))
            .map(Self)
    }

    fn stand_in() -> Self {
        Self(stand_in_url())
    }
}

impl Value for ProxyUrl {
    const TYPE: &'static str = "URL";
    const SECRET: bool = true;

    fn allowed() -> String {
        r#"the URL of an HTTP proxy, such as "http://user:password@proxy.example:3128""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        let fits = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && matches!(url.path(), "" | "/")
                && url.query().is_none()
                && url.fragment().is_none()
        };
        parse_url(given).filter(fits).map(Self)
    }

    fn stand_in() -> Self {
        Self(stand_in_url())
    }
}

impl Deref for HttpsUrl {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0
    }
}

impl Deref for HttpUrl {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0
    }
}

impl ProxyUrl {
    /// The URL with its credentials: for the HTTP client, never for a log.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(not shown)")
    }
}
