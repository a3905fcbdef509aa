//! `--check`: what is wrong with the settings, all of it, before anything runs.

use ask2do_token_tests::gateway::Setup;
use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::world::World;

/// What is set, and the words without which the answer is of no use.
type Mistake = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const MISTAKES: &[Mistake] = &[
    (
        &[("http.allowed_origins", r#"["*"]"#)],
        &["http.allowed_origins[0]"],
    ),
    (
        &[("http.allowed_origins", r#"["null"]"#)],
        &["http.allowed_origins[0]"],
    ),
    (
        &[("http.allowed_origins", r#"["https://a.example/"]"#)],
        &["http.allowed_origins[0]"],
    ),
    (&[("http.path", "api")], &["http.path"]),
    (
        &[("http.lisen", "127.0.0.1:0")],
        &["http.lisen", "http.listen"],
    ),
    (&[("session.mode", "cookie")], &["session.mode", "forward"]),
    (&[("session.mode", "jwt")], &["session.jwt"]),
    (&[("session.mode", "header")], &["session.header"]),
    (
        &[("session.forward.url", "http://panel.internal/whoami")],
        &["session.forward.url", "allow_plaintext"],
    ),
    (
        &[("session.forward.url", "ftp://panel.internal/")],
        &["session.forward.url"],
    ),
    (
        &[("session.forward.timeout", "1m")],
        &["session.forward.timeout", "5s"],
    ),
    (
        &[("session.forward.headers", "[]")],
        &["session.forward.headers"],
    ),
    (
        &[("service.endpoint", "http://ask2do-token:8443")],
        &["service.endpoint", "https"],
    ),
    (
        &[("service.ca_file", "gone.crt")],
        &["service.ca_file", "gone.crt"],
    ),
    (
        &[("service.private_key_file", "ca.crt")],
        &["service.certificate_file", "the private key's file"],
    ),
    (
        &[
            ("http.connections", "0"),
            ("shutdown.drain", "soon"),
            ("admin.listen", "9091"),
        ],
        &["http.connections", "shutdown.drain", "admin.listen"],
    ),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.case("check::what_is_right_is_ok", right);
    suite.case("check::every_mistake_is_named_with_its_key", mistakes);
}

fn setup(world: &World) -> Setup {
    let nobody = ([127, 0, 0, 1], 9).into();
    Setup::forward(world, nobody, nobody)
}

async fn right() {
    let (code, text) = setup(&World::new().await).run(&["--check"]).await;
    assert_eq!((code, text.as_str()), (0, "ok"));
}

async fn mistakes() {
    let world = World::new().await;
    for (settings, words) in MISTAKES {
        let wrong = |arguments: &'static [&'static str]| {
            let wrong = settings
                .iter()
                .fold(setup(&world), |setup, (key, value)| setup.set(key, value));
            wrong.run(arguments)
        };
        let (code, text) = wrong(&["--check"]).await;
        assert_eq!(code, 2, "{settings:?}: {text}");
        for word in *words {
            assert!(text.contains(word), "{settings:?}: {word} in\n{text}");
        }
        // A start finds the same, and listens nowhere.
        let (code, text) = wrong(&[]).await;
        assert_eq!(code, 2, "{settings:?}: {text}");
        assert!(!text.contains("listening"), "{text}");
    }
}
