//! Where a call comes from: every cell, against the real gateway. Only the legitimate ones mint.

use ask2do_token_tests::exchange::Exchange;
use ask2do_token_tests::gateway::{PATH, Setup};
use ask2do_token_tests::panel::{Panel, Whoami};
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::World;
use http::Method;

const SITES: [Option<&str>; 6] = [
    None,
    Some("same-origin"),
    Some("same-site"),
    Some("cross-site"),
    Some("none"),
    Some("Same-Origin"),
];

/// `Host` is `panel.example`; `https://allowed.example` is among the allowed origins.
const ORIGINS: [Option<&str>; 8] = [
    None,
    Some("https://panel.example"),
    Some("https://allowed.example"),
    Some("null"),
    Some("https://sibling.panel.example"),
    Some("https://evil-panel.example"),
    Some("https://panel.example:8443"),
    Some("https://allowed.example.evil.example"),
];

const TYPES: [Option<&str>; 5] = [
    None,
    Some("application/json"),
    Some("text/plain"),
    Some("application/x-www-form-urlencoded"),
    Some("text/plain; application/json"),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.case("sites::only_the_panels_own_pages_mint", || cells(false));
    suite.case("sites::serving_get_opens_no_other_cell", || cells(true));
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Cell {
    site: Option<&'static str>,
    origin: Option<&'static str>,
    content_type: Option<&'static str>,
    cookie: bool,
    post: bool,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let flags = [(true, true), (true, false), (false, true), (false, false)];
        let cells = SITES
            .into_iter()
            .flat_map(|site| ORIGINS.map(|origin| (site, origin)));
        let cells =
            cells.flat_map(|(site, origin)| TYPES.map(|content_type| (site, origin, content_type)));
        cells.flat_map(move |(site, origin, content_type)| {
            flags.map(|(cookie, post)| Self {
                site,
                origin,
                content_type,
                cookie,
                post,
            })
        })
    }

    fn request(self) -> Exchange {
        let method = if self.post { Method::POST } else { Method::GET };
        let headers = [
            ("sec-fetch-site", self.site),
            ("origin", self.origin),
            ("content-type", self.content_type),
            ("cookie", self.cookie.then_some("sid=admin/42")),
        ];
        headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .fold(Exchange::new(method, PATH), |request, (name, value)| {
                request.header(name, value)
            })
    }

    /// What it must come to, by the words of the documentation rather than by the code.
    fn expected(self, serves_get: bool) -> (u16, &'static str) {
        if !self.post && !serves_get {
            return (405, "METHOD_NOT_ALLOWED");
        }
        let allowed = self.origin == Some("https://allowed.example");
        let own = self.origin == Some("https://panel.example");
        let harmless = !self.cookie || self.content_type == Some("application/json");
        let passes = match (self.site, self.origin) {
            (Some("same-origin"), _) => true,
            (Some(_), _) => allowed,
            (None, Some(_)) => allowed || own,
            (None, None) => harmless,
        };
        match (passes, self.cookie) {
            (false, _) => (403, "CROSS_SITE_REQUEST"),
            (true, false) => (401, "LOGIN_REQUIRED"),
            (true, true) => (200, "OK"),
        }
    }
}

async fn cells(serves_get: bool) {
    let world = World::new().await;
    let server = world.server().start().await;
    let panel = Panel::start(Whoami::Honest).await;
    let gateway = Setup::forward(&world, server.grpc, panel.address)
        .set("http.allowed_origins", r#"["https://allowed.example"]"#)
        .set("http.allow_get", &serves_get.to_string())
        .start()
        .await;
    gateway.warm().await;
    let mut minted = world.cloud.calls().total;
    let before = minted;
    for cell in Cell::all() {
        let answer = cell.request().send(gateway.http).await.unwrap();
        let (status, code) = cell.expected(serves_get);
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{cell:?}");
        minted += u64::from(status == 200);
        assert_eq!(world.cloud.calls().total, minted, "{cell:?}");
        let told = answer.headers.get("access-control-allow-origin");
        let allowed = cell.origin == Some("https://allowed.example");
        assert_eq!(told.is_some(), allowed, "{cell:?}");
    }
    assert!(minted > before);
}
