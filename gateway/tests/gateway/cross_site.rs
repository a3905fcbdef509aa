//! Every combination of what a browser says about where a request comes from.

use std::net::IpAddr;

use ask2do_token_gateway::application;
use ask2do_token_gateway::session::{Header, Peer, TrustedCidrs, TrustedProxies};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, Method, Request};

use crate::fakes::{Answer, FakeMinter, FakeSessions, Headers, PATH, call, endpoint};

const HOST: &str = "panel.example";
const ALLOWED: &str = "https://other.example";
const PUBLIC: &str = "https://public.example";

const SEC_FETCH_SITE: [Option<&str>; 7] = [
    None,
    Some("same-origin"),
    Some("same-site"),
    Some("cross-site"),
    Some("none"),
    Some("SAME-ORIGIN"),
    Some(""),
];
const ORIGIN: [Option<&str>; 10] = [
    None,
    Some("https://panel.example"),
    Some(ALLOWED),
    Some(PUBLIC),
    Some("null"),
    Some("https://sibling.panel.example"),
    Some("https://evil-panel.example"),
    Some("https://panel.example.evil.example"),
    Some("https://panel.example:8443"),
    Some(""),
];
/// Whether it marks a request that a form or an image could not have sent.
const CONTENT: [(&[(&str, &str)], bool); 7] = [
    (&[], false),
    (&[("content-type", "application/json")], true),
    (&[("content-type", "text/plain")], false),
    (
        &[("content-type", "application/x-www-form-urlencoded")],
        false,
    ),
    (
        &[(
            "content-type",
            "multipart/form-data; boundary=application/json",
        )],
        false,
    ),
    (&[("x-requested-with", "XMLHttpRequest")], true),
    (
        &[
            ("x-csrf-token", "1"),
            ("x-forwarded-host", "evil-panel.example"),
            ("x-forwarded-proto", "https"),
            ("x-user-id", "1"),
            ("x_user_id", "1"),
        ],
        false,
    ),
];
/// The credentials, and whether they are one that a browser attaches by itself.
const CREDENTIALS: [(&[(&str, &str)], bool); 7] = [
    (&[], false),
    (&[("cookie", "sid=1")], true),
    (&[("authorization", "Bearer x")], false),
    (&[("authorization", "Basic x")], true),
    (&[("authorization", "Negotiate x")], true),
    (&[("cookie", "sid=1"), ("authorization", "Bearer x")], true),
    (&[("x-user", "42")], false),
];
const METHODS: [Method; 7] = [
    Method::POST,
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
];

/// One endpoint of the table.
#[derive(Clone, Copy, Debug)]
struct Setup {
    allow_get: bool,
    ambient: bool,
    public: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cell<'a> {
    setup: Setup,
    site: Option<&'a str>,
    origin: Option<&'a str>,
    marked: bool,
    attached: bool,
    has_credential: bool,
    method: &'a Method,
}

/// The rules, written once more, in the words of the issue.
fn expected(cell: Cell<'_>) -> (u16, bool) {
    let Cell { setup, .. } = cell;
    let served = *cell.method == Method::POST || (*cell.method == Method::GET && setup.allow_get);
    if !served {
        return (405, false);
    }
    let allowed = cell.origin == Some(ALLOWED);
    let own = if setup.public {
        cell.origin == Some(PUBLIC)
    } else {
        cell.origin == Some("https://panel.example")
    };
    let passes = match (cell.site, cell.origin) {
        (Some("same-origin"), _) => true,
        (Some(_), _) => allowed,
        (None, Some(_)) => allowed || own,
        (None, None) => cell.marked || !(cell.attached || setup.ambient),
    };
    match (passes, cell.has_credential) {
        (false, _) => (403, false),
        (true, false) => (401, false),
        (true, true) => (200, true),
    }
}

#[tokio::test]
async fn only_the_legitimate_cells_mint() {
    let mut cells = 0;
    for allow_get in [false, true] {
        for ambient in [false, true] {
            for public in [false, true] {
                cells += table(Setup {
                    allow_get,
                    ambient,
                    public,
                })
                .await;
            }
        }
    }
    assert_eq!(cells, 8 * 7 * 10 * 7 * 7 * 7);
}

async fn table(setup: Setup) -> usize {
    let minter = FakeMinter::default();
    let endpoint = endpoint()
        .allow_get(setup.allow_get)
        .allowed_origins([ALLOWED.parse().unwrap()])
        .public_origins(setup.public.then(|| PUBLIC.parse().unwrap()));
    let sessions = FakeSessions {
        ambient: setup.ambient,
    };
    let router = application(endpoint, sessions, minter.clone());
    let mut cells = 0;
    let mut mints = 0;
    for site in SEC_FETCH_SITE {
        for origin in ORIGIN {
            for (content, marked) in CONTENT {
                for (credentials, attached) in CREDENTIALS {
                    for method in &METHODS {
                        let mut request = Request::builder()
                            .method(method)
                            .uri(PATH)
                            .header("host", HOST);
                        let site_header = site.map(|site| ("sec-fetch-site", site));
                        let origin_header = origin.map(|origin| ("origin", origin));
                        for (name, value) in content
                            .iter()
                            .chain(credentials)
                            .chain(&site_header)
                            .chain(&origin_header)
                        {
                            request = request.header(*name, *value);
                        }
                        let has_credential = credentials
                            .iter()
                            .any(|(name, _)| *name != "x-user" || setup.ambient);
                        let cell = Cell {
                            setup,
                            site,
                            origin,
                            marked,
                            attached,
                            has_credential,
                            method,
                        };
                        let answer = call(&router, request.body(Body::empty()).unwrap()).await;
                        let (status, mint) = expected(cell);
                        assert_eq!(answer.status, status, "{cell:?}");
                        mints += usize::from(mint);
                        assert_eq!(minter.count(), mints, "{cell:?}");
                        assert_eq!(
                            answer.header("access-control-allow-origin"),
                            origin.filter(|origin| *origin == ALLOWED),
                            "{cell:?}"
                        );
                        assert_eq!(answer.header("vary"), Some("Origin"), "{cell:?}");
                        cells += 1;
                    }
                }
            }
        }
    }
    assert!(mints > 0);
    cells
}

/// A POST of somebody who is logged in by cookie, with these headers beside.
async fn post(router: &Router, headers: Headers<'_>) -> Answer {
    let mut request = Request::post(PATH).header("cookie", "sid=1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    call(router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_header_that_is_there_twice_says_nothing() {
    let minter = FakeMinter::default();
    let by_host = application(
        endpoint().allowed_origins([ALLOWED.parse().unwrap()]),
        FakeSessions::default(),
        minter.clone(),
    );
    let by_name = application(
        endpoint().public_origins([PUBLIC.parse().unwrap()]),
        FakeSessions::default(),
        minter.clone(),
    );
    let host = ("host", HOST);
    let own = ("origin", "https://panel.example");
    let same_origin = ("sec-fetch-site", "same-origin");
    let json = ("content-type", "application/json");
    let cases: [(&Router, Headers<'_>, u16); 10] = [
        (&by_host, &[host, own], 200),
        (&by_host, &[host, own, own], 403),
        (&by_host, &[host, host, own], 403),
        (&by_host, &[own], 403),
        (
            &by_host,
            &[host, ("origin", ALLOWED), ("origin", ALLOWED)],
            403,
        ),
        (&by_host, &[host, same_origin, same_origin], 403),
        // The rule that comes first decides alone.
        (&by_host, &[host, same_origin, own, own], 200),
        (&by_host, &[host, json, json], 403),
        // `Host` is of no interest where the origins are named.
        (&by_name, &[host, host, ("origin", PUBLIC)], 200),
        (&by_name, &[host, host, own], 403),
    ];
    for (router, headers, status) in cases {
        let answer = post(router, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn the_host_is_taken_in_each_of_its_spellings() {
    let router = application(endpoint(), FakeSessions::default(), FakeMinter::default());
    for (host, origin, status) in [
        ("panel.example", "https://panel.example", 200),
        ("Panel.Example", "https://panel.example", 200),
        ("panel.example:443", "https://panel.example", 200),
        ("panel.example:80", "http://panel.example", 200),
        ("panel.example:", "https://panel.example", 200),
        ("panel.example:8443", "https://panel.example:8443", 200),
        ("[::1]:8080", "http://[::1]:8080", 200),
        ("[2001:db8::1]", "https://[2001:db8::1]", 200),
        ("panel.example.", "https://panel.example.", 200),
        // To a browser these are two origins.
        ("panel.example.", "https://panel.example", 403),
        ("panel.example", "https://panel.example.", 403),
        ("panel.example:443", "http://panel.example", 403),
        ("panel.example:80", "https://panel.example", 403),
        ("panel.example:8443", "https://panel.example", 403),
        ("panel.example:65536", "https://panel.example", 403),
        ("panel.example:x", "https://panel.example", 403),
        ("[::1]", "http://[::2]", 403),
        ("::1", "http://[::1]", 403),
        ("user@panel.example", "https://panel.example", 403),
        ("panel.example, evil.example", "https://panel.example", 403),
        ("panel.example/x", "https://panel.example", 403),
        ("", "https://panel.example", 403),
    ] {
        let answer = post(&router, &[("host", host), ("origin", origin)]).await;
        assert_eq!(answer.status, status, "{host} {origin}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_adds_is_a_credential_that_comes_by_itself() {
    let cidrs = TrustedCidrs::new(vec!["10.0.0.0/24".parse().unwrap()]).unwrap();
    let sessions = Header::new(
        TrustedProxies::Addresses(cidrs),
        HeaderName::from_static("x-user-id"),
        HeaderName::from_static("x-user-role"),
    );
    let minter = FakeMinter::default();
    let router = application(endpoint(), sessions, minter.clone());
    let mut mints = 0;
    for site in SEC_FETCH_SITE {
        for origin in ORIGIN {
            for (content, marked) in CONTENT {
                // The last of them brings the identity headers itself.
                let content = content.iter().filter(|(name, _)| !name.contains("user"));
                let mut request = Request::post(PATH)
                    .header("host", HOST)
                    .header("x-user-id", "42")
                    .header("x-user-role", "owner");
                for (name, value) in content
                    .chain(&site.map(|site| ("sec-fetch-site", site)))
                    .chain(&origin.map(|origin| ("origin", origin)))
                {
                    request = request.header(*name, *value);
                }
                let mut request = request.body(Body::empty()).unwrap();
                request.extensions_mut().insert(Peer {
                    address: Some(IpAddr::from([10, 0, 0, 7])),
                    certificate: None,
                });
                let passes = match (site, origin) {
                    (Some(site), _) => site == "same-origin",
                    (None, Some(origin)) => origin == "https://panel.example",
                    (None, None) => marked,
                };
                let answer = call(&router, request).await;
                let status = if passes { 200 } else { 403 };
                assert_eq!(answer.status, status, "{site:?} {origin:?} {marked}");
                mints += usize::from(passes);
                assert_eq!(minter.count(), mints);
            }
        }
    }
    assert!(mints > 0);
}
