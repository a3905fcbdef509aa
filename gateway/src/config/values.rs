//! Settings of the gateway's own kinds.

use ask2do_token_runtime::config::{Given, Value};
use http::HeaderName;
use ipnet::IpNet;
use rustls::pki_types::ServerName as Name;

use crate::endpoint::EndpointPath;
use crate::origin::Origin;
use crate::session::{Claim, Location, may_pass_on};

/// The name of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingHeader(pub HeaderName);

/// The name of a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub String);

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub IpNet);

/// A name that a certificate can be verified for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(pub String);

impl SettingHeader {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn may_pass_on(&self) -> bool {
        may_pass_on(&self.0)
    }
}

impl Value for SettingHeader {
    const TYPE: &'static str = "name of a header";

    fn allowed() -> String {
        r#"the name of a header, such as "X-User-Id""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.text()?.parse().ok().map(Self)
    }

    fn stand_in() -> Self {
        Self(HeaderName::from_static("x-stand-in"))
    }
}

impl Value for CookieName {
    const TYPE: &'static str = "name of a cookie";

    fn allowed() -> String {
        r#"the name of a cookie, such as "session""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        // RFC 6265 §4.1.1 takes HTTP's tokens, as headers' names do; only case counts here.
        let name = given.text()?;
        HeaderName::try_from(name)
            .ok()
            .map(|_| Self(name.to_owned()))
    }

    fn stand_in() -> Self {
        Self("stand-in".to_owned())
    }
}

impl Value for Cidr {
    const TYPE: &'static str = "network";

    fn allowed() -> String {
        r#"a network, such as "10.0.3.0/24" or "fd00::/64""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.text()?.parse().ok().map(Self)
    }

    fn stand_in() -> Self {
        Self(IpNet::from(std::net::IpAddr::from([127, 0, 0, 1])))
    }
}

impl Value for ServerName {
    const TYPE: &'static str = "name of a server";

    fn allowed() -> String {
        r#"a DNS name or an IP address, such as "ask2do-token.example""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        let name = given.text()?;
        Name::try_from(name).ok().map(|_| Self(name.to_owned()))
    }

    fn stand_in() -> Self {
        Self("stand-in".to_owned())
    }
}

impl Value for Origin {
    const TYPE: &'static str = "origin";

    fn allowed() -> String {
        r#"an exact origin as browsers send it, such as "https://panel.example": lower case, no path, no default port; never "*" or "null", which would let any page act for a logged-in user"#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.text()?.parse().ok()
    }

    fn stand_in() -> Self {
        Self::loopback()
    }
}

impl Value for EndpointPath {
    const TYPE: &'static str = "path";

    fn allowed() -> String {
        r#"a path, such as "/api/ask2do/token": a slash before each segment, in it letters, digits and -._~"#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.text()?.parse().ok()
    }

    fn stand_in() -> Self {
        Self::default()
    }
}

impl Value for Location {
    const TYPE: &'static str = "JSON pointer or name of a header";

    fn allowed() -> String {
        r#"a JSON pointer into the answer's body, such as "/user/id", or the name of one of its headers, such as "X-User-Id""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.text()?.parse().ok()
    }

    fn stand_in() -> Self {
        Self::Header(HeaderName::from_static("x-stand-in"))
    }
}

impl Value for Claim {
    const TYPE: &'static str = "claim";

    fn allowed() -> String {
        r#"a claim's name, such as "sub", or a JSON pointer into the claims, such as "/realm_access/roles""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        Self::parse(given.text()?).ok()
    }

    fn stand_in() -> Self {
        Self::default()
    }
}
