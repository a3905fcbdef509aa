//! The guard against cross-site calls, after Go's `net/http.CrossOriginProtection`.
//!
//! A browser attaches a user's cookies to requests that other sites start. The rules, of which the
//! first that applies decides:
//!
//! 1. `Sec-Fetch-Site: same-origin` passes.
//! 2. Any other value, `none` and `same-site` too, passes only with an allowed `Origin`.
//! 3. Without it (an old browser, or plain HTTP), `Origin` must be an allowed or the panel's own one;
//!    where the panel's own are not configured, it must have the host and port of `Host`.
//! 4. With neither, the request comes from no browser, or from a very old one by form, link or image.
//!    It is refused if something in it may be a credential that was attached by itself, unless it
//!    bears what a form or an image cannot send: JSON, or `X-Requested-With`.
//!
//! No other header counts, because proxies add them; `X-Forwarded-*` is never read.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, header};

use crate::origin::{Origin, only};

/// Which origins may call, beside the one that the gateway itself is on.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrossSiteGuard {
    /// Panels on another origin.
    pub(crate) allowed: Vec<Origin>,
    /// The panel's own, where `Host` does not tell.
    pub(crate) public: Vec<Origin>,
}

impl CrossSiteGuard {
    /// Whether the request may go on. `ambient` says that it may be authenticated by something other
    /// than a cookie or `Authorization`, which nobody can see here.
    pub(crate) fn passes(&self, request: &Parts, ambient: bool) -> bool {
        let headers = &request.headers;
        let allowed = || self.allowed_origin(headers).is_some();
        if headers.contains_key("sec-fetch-site") {
            return only(headers, "sec-fetch-site") == Some("same-origin") || allowed();
        }
        if headers.contains_key(header::ORIGIN) {
            return allowed() || self.is_own(request);
        }
        let credential = ambient || headers.contains_key(header::COOKIE) || !only_bearer(headers);
        !credential || is_json(headers) || headers.contains_key("x-requested-with")
    }

    /// The allowed origin that the request comes from, if it does.
    pub(crate) fn allowed_origin(&self, headers: &HeaderMap) -> Option<&Origin> {
        let origin = Origin::of_request(headers)?;
        self.allowed.iter().find(|allowed| **allowed == origin)
    }

    fn is_own(&self, request: &Parts) -> bool {
        let Some(origin) = Origin::of_request(&request.headers) else {
            return false;
        };
        if self.public.is_empty() {
            host(request).is_some_and(|host| origin.has_host(&host))
        } else {
            self.public.contains(&origin)
        }
    }
}

/// The host that was asked for: HTTP/2's `:authority` (or an absolute target, RFC 9112 §3.2.2), else
/// the one `Host` header.
fn host(request: &Parts) -> Option<Authority> {
    match request.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => only(&request.headers, header::HOST)?.parse().ok(),
    }
}

/// Whether each `Authorization` is a bearer token, which browsers do not attach by themselves.
fn only_bearer(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().all(|value| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    })
}

/// Whether the body is declared as JSON, which a form cannot do.
fn is_json(headers: &HeaderMap) -> bool {
    only(headers, header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    fn guard() -> CrossSiteGuard {
        CrossSiteGuard {
            allowed: vec!["https://other.example".parse().unwrap()],
            public: vec![],
        }
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/").header("host", "panel.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn fetch_metadata_decides_where_it_is_there() {
        let cases: &[(Headers, bool)] = &[
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "")], false),
            (&[("sec-fetch-site", "Same-Origin")], false),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "cross-site"),
                ],
                false,
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://other.example"),
                ],
                true,
            ),
            // The panel's own origin is no way around a browser that says `cross-site`.
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://panel.example"),
                ],
                false,
            ),
            // JSON and X-Requested-With count only where the browser says nothing at all.
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("content-type", "application/json"),
                    ("x-requested-with", "x"),
                ],
                false,
            ),
        ];
        for (headers, passes) in cases {
            assert_eq!(
                guard().passes(&request(headers), false),
                *passes,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn without_fetch_metadata_the_origin_must_be_known() {
        let cases: &[(Headers, bool)] = &[
            (&[("origin", "https://panel.example")], true),
            (&[("origin", "https://other.example")], true),
            (&[("origin", "https://evil-panel.example")], false),
            (&[("origin", "https://panel.example:8443")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("x-forwarded-host", "evil.example"),
                    ("content-type", "application/json"),
                ],
                false,
            ),
        ];
        for (headers, passes) in cases {
            assert_eq!(
                guard().passes(&request(headers), false),
                *passes,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn configured_public_origins_replace_the_host() {
        let guard = CrossSiteGuard {
            allowed: vec![],
            public: vec!["https://public.example".parse().unwrap()],
        };
        assert!(guard.passes(&request(&[("origin", "https://public.example")]), false));
        assert!(!guard.passes(&request(&[("origin", "https://panel.example")]), false));
    }

    #[test]
    fn http_2s_authority_is_the_host() {
        let (mut request, ()) = Request::post("https://panel.example/")
            .header("host", "evil.example")
            .header("origin", "https://panel.example")
            .body(())
            .unwrap()
            .into_parts();
        assert!(guard().passes(&request, false));
        request
            .headers
            .insert("origin", "https://evil.example".parse().unwrap());
        assert!(!guard().passes(&request, false));
    }

    #[test]
    fn with_neither_header_a_credential_that_comes_by_itself_is_refused() {
        let cases: &[(Headers, bool, bool)] = &[
            (&[], false, true),
            (&[], true, false),
            (&[("cookie", "sid=1")], false, false),
            (&[("authorization", "Basic eDp5")], false, false),
            (&[("authorization", "Negotiate x")], false, false),
            (&[("authorization", "")], false, false),
            (&[("authorization", "Bearer x")], false, true),
            (&[("authorization", "bearer x")], false, true),
            (&[("authorization", "Bearerx")], false, false),
            (
                &[("authorization", "Bearer x"), ("authorization", "Basic y")],
                false,
                false,
            ),
            (
                &[("authorization", "Bearer x"), ("cookie", "a=b")],
                false,
                false,
            ),
            (&[("authorization", "Bearer x")], true, false),
            (
                &[("cookie", "sid=1"), ("content-type", "application/json")],
                false,
                true,
            ),
            (
                &[
                    ("cookie", "sid=1"),
                    ("content-type", "Application/JSON; charset=utf-8"),
                ],
                true,
                true,
            ),
            (
                &[
                    ("cookie", "sid=1"),
                    ("content-type", "text/plain; application/json"),
                ],
                false,
                false,
            ),
            (
                &[
                    ("cookie", "sid=1"),
                    ("content-type", "text/plain"),
                    ("content-type", "application/json"),
                ],
                false,
                false,
            ),
            (
                &[("cookie", "sid=1"), ("x-requested-with", "")],
                false,
                true,
            ),
            (&[("cookie", "sid=1"), ("x-csrf-token", "x")], false, false),
            (&[("cookie", "sid=1"), ("traceparent", "x")], false, false),
        ];
        for (headers, ambient, passes) in cases {
            assert_eq!(
                guard().passes(&request(headers), *ambient),
                *passes,
                "{headers:?} {ambient}"
            );
        }
    }
}
