//! Mode `header`: an identity-aware proxy says who is logged in.

use std::net::IpAddr;
use std::sync::Arc;

use ask2do_token_tls::PeerCertificate;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{SessionCheck, SessionError, SessionUser, roles_in_header};

/// Takes the user from headers, if the connection comes from the proxy that sets them.
#[derive(Clone, Debug)]
pub struct Header {
    proxies: TrustedProxies,
    id: HeaderName,
    role: HeaderName,
}

/// Who the other end of a request's connection is: an extension of the request. The binary's listener
/// puts it there; so does an application that mounts the router and uses [`Header`].
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that the connection comes from. Never one out of a header.
    pub address: Option<IpAddr>,
    /// The client certificate, verified, where the listener asked for one.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// How the proxy is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedProxies {
    /// By an exact SAN of its client certificate, a URI or a DNS name: the documented choice.
    Certificate(ProxySans),
    /// By its address alone: every process there can be any user.
    Addresses(TrustedCidrs),
}

/// SANs of proxies: URIs compared exactly, DNS names without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySans(Vec<String>);

/// Networks that are together small enough to be an operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCidrs(Vec<IpNet>);

/// Why a list of proxies cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedProxiesError {
    /// The list is empty.
    #[error("nobody is named")]
    Nobody,
    /// A SAN is blank, or holds a wildcard.
    #[error("a SAN is blank, or holds a `*`, which matches nothing")]
    San,
    /// The networks are larger than a /8, or than a /32 of IPv6.
    #[error("together larger than a /8 (IPv6: a /32): that is more than one operator's proxies")]
    TooLarge,
    /// A network is written as IPv4 inside IPv6.
    #[error("write the IPv4 network itself, not ::ffff:0:0/96")]
    Mapped,
}

impl ProxySans {
    /// At least one SAN, none of them with a wildcard.
    ///
    /// # Errors
    ///
    /// See [`TrustedProxiesError`].
    pub fn new(sans: Vec<String>) -> Result<Self, TrustedProxiesError> {
        if sans.is_empty() {
            return Err(TrustedProxiesError::Nobody);
        }
        if sans
            .iter()
            .any(|san| san.trim().is_empty() || san.contains('*'))
        {
            return Err(TrustedProxiesError::San);
        }
        Ok(Self(sans))
    }

    /// One URI at most may stand in a certificate, as for every caller of this project (SPIFFE X.509-SVID,
    /// §2): with two, nobody could say who it is.
    fn name(&self, certificate: &PeerCertificate) -> bool {
        let uris = certificate.uri_sans();
        uris.len() <= 1
            && self.0.iter().any(|san| {
                uris.contains(san)
                    || certificate
                        .dns_sans()
                        .iter()
                        .any(|dns| dns.eq_ignore_ascii_case(san))
            })
    }
}

impl TrustedCidrs {
    /// At least one network; together at most a /8, and of IPv6 a /32.
    ///
    /// # Errors
    ///
    /// See [`TrustedProxiesError`].
    pub fn new(cidrs: Vec<IpNet>) -> Result<Self, TrustedProxiesError> {
        if cidrs.is_empty() {
            return Err(TrustedProxiesError::Nobody);
        }
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for cidr in &cidrs {
            match cidr {
                IpNet::V4(net) => v4.push(*net),
                IpNet::V6(net) if net.network().to_ipv4_mapped().is_some() => {
                    return Err(TrustedProxiesError::Mapped);
                }
                IpNet::V6(net) => v6.push(*net),
            }
        }
        // Overlaps count once.
        let v4 = Ipv4Net::aggregate(&v4)
            .iter()
            .map(|net| 1_u64 << (32 - net.prefix_len()))
            .sum::<u64>();
        let too_large = v4 > 1 << 24
            || Ipv6Net::aggregate(&v6)
                .iter()
                .try_fold(0_u128, |sum, net| {
                    sum.checked_add(1_u128.checked_shl(u32::from(128 - net.prefix_len()))?)
                })
                .is_none_or(|sum| sum > 1 << 96);
        if too_large {
            return Err(TrustedProxiesError::TooLarge);
        }
        Ok(Self(cidrs))
    }

    fn contain(&self, address: IpAddr) -> bool {
        // A socket that listens on [::] shows IPv4 peers as ::ffff:a.b.c.d.
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

impl TrustedProxies {
    fn trust(&self, peer: Option<&Peer>) -> Result<(), SessionError> {
        let Some(peer) = peer else {
            return Err(refused("who is at the other end is not known"));
        };
        match self {
            Self::Certificate(sans) => match &peer.certificate {
                Some(certificate) if sans.name(certificate) => Ok(()),
                Some(_) => Err(refused("the client certificate is not the proxy's")),
                None => Err(refused("no client certificate")),
            },
            Self::Addresses(cidrs) => match peer.address {
                Some(address) if cidrs.contain(address) => Ok(()),
                Some(_) => Err(refused("the connection does not come from the proxy")),
                None => Err(refused("no peer address")),
            },
        }
    }
}

impl Header {
    /// Takes the id and the role, or several with commas between them, from these headers.
    #[must_use]
    pub fn new(proxies: TrustedProxies, id: HeaderName, role: HeaderName) -> Self {
        Self { proxies, id, role }
    }
}

impl SessionCheck for Header {
    async fn check(&self, request: &Parts) -> Result<SessionUser, SessionError> {
        self.proxies.trust(request.extensions.get())?;
        let id = identity(&request.headers, &self.id)?.ok_or(refused("no id header"))?;
        if id.contains(',') {
            // RFC 9110, section 5.3: so may any hop have joined the browser's own with the proxy's.
            return Err(refused("the id header holds a comma: two of them in one"));
        }
        // The proxy knows a user, so a missing role is its configuration, not a logged-out user.
        let roles = identity(&request.headers, &self.role)?.ok_or_else(|| {
            SessionError::unavailable(format!("the proxy sends {} without {}", self.id, self.role))
        })?;
        SessionUser::new(id, roles_in_header(&roles))
            .map_err(|_| refused("the id or role header is empty"))
    }

    fn is_ambient(&self, _: &HeaderMap) -> bool {
        // The proxy adds the headers to whatever the browser sends.
        true
    }
}

/// The one value of an identity header. Whoever sends it twice, or under a name that some software takes
/// for the same, wants to be somebody else.
fn identity(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, SessionError> {
    if headers
        .keys()
        .any(|other| other != name && same_name(other.as_str(), name.as_str()))
    {
        return Err(refused("an identity header in another spelling"));
    }
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
            Ok(value) if !value.trim().is_empty() => Ok(Some(value.to_owned())),
            Ok(_) => Err(refused("an identity header is empty")),
            Err(_) => Err(refused("an identity header is no UTF-8")),
        },
        (Some(_), Some(_)) => Err(refused("an identity header is there twice")),
    }
}

/// CGI and its heirs write `-`, `_` and `.` alike; names are lower case here already.
fn same_name(one: &str, other: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' | b'.' => b'-',
        byte => byte,
    };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn refused(why: &'static str) -> SessionError {
    SessionError::login_required(why)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn cidrs(list: &[&str]) -> Result<TrustedCidrs, TrustedProxiesError> {
        TrustedCidrs::new(list.iter().map(|net| net.parse().unwrap()).collect())
    }

    fn header() -> Header {
        Header::new(
            TrustedProxies::Addresses(cidrs(&["10.1.0.0/16", "fd00::/64"]).unwrap()),
            HeaderName::from_static("x-user-id"),
            HeaderName::from_static("x-user-role"),
        )
    }

    async fn check(
        address: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<SessionUser, SessionError> {
        let mut request = Request::post("/?X-User-Id=9");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap().into_parts().0;
        if let Some(address) = address {
            request.extensions.insert(Peer {
                address: Some(address.parse().unwrap()),
                certificate: None,
            });
        }
        header().check(&request).await
    }

    const USER: [(&str, &str); 2] = [("X-User-Id", "42"), ("X-User-Role", "owner")];

    #[tokio::test]
    async fn the_trusted_proxy_names_the_user() {
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            let user = check(Some(address), &USER).await.unwrap();
            assert_eq!((user.id(), user.roles()), ("42", &["owner".into()][..]));
        }
        let groups = [("x-user-id", "42"), ("x-user-role", "staff, owner ,")];
        let user = check(Some("10.1.2.3"), &groups).await.unwrap();
        assert_eq!(user.roles(), ["staff", "owner"]);
    }

    #[tokio::test]
    async fn anybody_else_is_logged_out() {
        for address in [Some("10.2.0.1"), Some("127.0.0.1"), Some("fd01::1"), None] {
            let error = check(address, &USER).await.unwrap_err();
            assert!(matches!(error, SessionError::LoginRequired { .. }));
        }
        let forwarded = [
            ("X-User-Id", "42"),
            ("X-User-Role", "owner"),
            ("X-Forwarded-For", "10.1.2.3"),
            ("Forwarded", "for=10.1.2.3"),
        ];
        assert!(check(Some("192.0.2.1"), &forwarded).await.is_err());
    }

    #[tokio::test]
    async fn headers_that_could_be_smuggled_are_refused() {
        let cases: &[&[(&str, &str)]] = &[
            &[],
            &[("X-User-Role", "owner")],
            &[("X-User-Id", ""), ("X-User-Role", "owner")],
            &[("X-User-Id", " "), ("X-User-Role", "owner")],
            &[("X-User-Id", "42"), ("X-User-Role", "")],
            &[("X-User-Id", "42"), ("X-User-Role", ",")],
            &[("X-User-Id", "1, 42"), ("X-User-Role", "owner, junior")],
            &[("X-User-Id", "42,"), ("X-User-Role", "owner")],
            &[
                ("X-User-Id", "42"),
                ("X-User-Id", "42"),
                ("X-User-Role", "owner"),
            ],
            &[
                ("X-User-Id", "42"),
                ("X-User-Role", "a"),
                ("X-User-Role", "owner"),
            ],
            &[("x_user_id", "42"), ("X-User-Role", "owner")],
            &[
                ("X-User-Id", "42"),
                ("x_user_id", "1"),
                ("X-User-Role", "owner"),
            ],
            &[
                ("X-User-Id", "42"),
                ("x-user_id", "1"),
                ("X-User-Role", "owner"),
            ],
            &[
                ("X-User-Id", "42"),
                ("x.user.id", "1"),
                ("X-User-Role", "owner"),
            ],
            &[
                ("X-User-Id", "42"),
                ("X-User-Role", "a"),
                ("x_user_role", "owner"),
            ],
        ];
        for headers in cases {
            let error = check(Some("10.1.2.3"), headers).await.unwrap_err();
            assert!(
                matches!(error, SessionError::LoginRequired { .. }),
                "{headers:?}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_proxy_that_forgets_the_role_is_a_fault_and_no_logged_out_user() {
        let error = check(Some("10.1.2.3"), &[("X-User-Id", "42")]).await;
        assert!(matches!(error, Err(SessionError::Unavailable { .. })));
    }

    #[test]
    fn networks_are_together_at_most_a_8_and_of_ipv6_a_32() {
        for list in [
            &["10.0.0.0/8"][..],
            &["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8"],
            &["10.0.0.0/9", "172.16.0.0/12", "192.168.0.0/16"],
            &["127.0.0.1/32", "::1/128"],
            &["2001:db8::/32", "10.0.0.0/8"],
        ] {
            assert!(cidrs(list).is_ok(), "{list:?}");
        }
        for list in [
            &["0.0.0.0/0"][..],
            &["10.0.0.0/7"],
            &["10.0.0.0/8", "192.168.0.0/32"],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["::/0"],
            &["2001:db8::/31"],
            &["2001:db8::/32", "fd00::/128"],
        ] {
            assert_eq!(cidrs(list), Err(TrustedProxiesError::TooLarge), "{list:?}");
        }
        assert_eq!(cidrs(&[]), Err(TrustedProxiesError::Nobody));
        assert_eq!(cidrs(&["::ffff:0:0/96"]), Err(TrustedProxiesError::Mapped));
    }

    #[test]
    fn proxies_are_named_exactly() {
        let new = |sans: &[&str]| ProxySans::new(sans.iter().map(|san| (*san).into()).collect());
        assert!(new(&["spiffe://demo/ns/ingress/sa/envoy", "envoy.ingress"]).is_ok());
        assert_eq!(new(&[]), Err(TrustedProxiesError::Nobody));
        for san in ["", " ", "*", "*.example"] {
            assert_eq!(new(&["a", san]), Err(TrustedProxiesError::San), "{san}");
        }
    }
}
