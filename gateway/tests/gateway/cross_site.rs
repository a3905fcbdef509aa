//! Every combination of what a browser says about where a request comes from.

use ask2do_token_gateway::application;
use axum::body::Body;
use axum::http::{Method, Request};

use crate::fakes::{FakeMinter, FakeSessions, PATH, call, endpoint};

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
                        cells += 1;
                    }
                }
            }
        }
    }
    assert!(mints > 0);
    cells
}
