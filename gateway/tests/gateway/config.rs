//! The configuration: every mistake is told, with what to write instead.

use ask2do_token_gateway::config::Config;
use ask2do_token_runtime::config::{Arguments, Mistakes, Sources};

/// Reads these settings, as `--set` gives them.
fn read(set: &[&str]) -> Result<Config, Mistakes> {
    let arguments = Arguments {
        set: set.iter().map(|set| (*set).to_owned()).collect(),
        ..Arguments::default()
    };
    Sources::with_environment(&arguments, []).read()
}

const FORWARD: [&str; 2] = [
    "session.mode=forward",
    "session.forward.url=https://panel.example/whoami",
];
const JWT: [&str; 5] = [
    "session.mode=jwt",
    "session.jwt.issuer=https://idp.example",
    "session.jwt.audience=panel",
    "session.jwt.jwks_url=https://idp.example/jwks.json",
    "session.jwt.cookie=session",
];
const HEADER: [&str; 4] = [
    "session.mode=header",
    "session.header.trusted_cidrs=[\"10.0.3.0/24\"]",
    "session.header.id_header=X-User-Id",
    "session.header.role_header=X-User-Role",
];
const PROXY: [&str; 7] = [
    "session.mode=header",
    "session.header.client_ca_file=proxy-ca.crt",
    "session.header.proxy_sans=[\"spiffe://demo/ns/ingress/sa/envoy\"]",
    "session.header.id_header=X-User-Id",
    "session.header.role_header=X-User-Role",
    "http.tls.certificate_file=tls.crt",
    "http.tls.private_key_file=tls.key",
];

#[test]
fn the_least_of_each_mode_is_enough() {
    for set in [&FORWARD[..], &JWT, &HEADER, &PROXY] {
        let config = read(set).unwrap_or_else(|mistakes| panic!("{set:?}:\n{mistakes}"));
        assert_eq!(config.http.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(config.http.path.as_str(), "/api/ask2do/token");
        assert_eq!(
            config.service.endpoint.as_str(),
            "https://ask2do-token:8443/"
        );
        assert_eq!(config.admin.listen.to_string(), "0.0.0.0:9091");
        assert!(!config.http.allow_get);
        assert!(!config.telemetry.trust_browser_sampling);
    }
}

#[test]
fn without_a_session_mode_a_sentence_says_what_to_choose() {
    let mistakes = read(&[]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes}");
    let sentence = mistakes.to_string();
    for part in [
        "session.mode",
        "forward",
        "jwt",
        "header",
        "begin with this one",
    ] {
        assert!(sentence.contains(part), "{sentence}");
    }
}

/// A good configuration, what is added to it, and where the mistake is then, with a word of what is said.
type Case = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    &'static str,
);

#[test]
fn each_mistake_is_told_at_its_key() {
    let cases: &[Case] = &[
        (
            &FORWARD,
            &["http.allowed_origins=[\"*\"]"],
            "http.allowed_origins[0]",
            "exact origin",
        ),
        (
            &FORWARD,
            &["http.allowed_origins=[\"null\"]"],
            "http.allowed_origins[0]",
            "never",
        ),
        (
            &FORWARD,
            &["http.allowed_origins=[\"https://*.example\"]"],
            "http.allowed_origins[0]",
            "exact",
        ),
        (
            &FORWARD,
            &["http.allowed_origins=[\"https://panel.example/\"]"],
            "http.allowed_origins[0]",
            "no path",
        ),
        (
            &FORWARD,
            &["http.allowed_origins=[\"https://panel.example:443\"]"],
            "http.allowed_origins[0]",
            "no default port",
        ),
        (
            &FORWARD,
            &["http.allowed_origins=[\"panel.example\"]"],
            "http.allowed_origins[0]",
            "exact",
        ),
        (
            &FORWARD,
            &["http.public_origins=[\"HTTPS://panel.example\"]"],
            "http.public_origins[0]",
            "lower case",
        ),
        (
            &FORWARD,
            &["http.public_origins=[\"*\"]"],
            "http.public_origins[0]",
            "exact",
        ),
        (
            &FORWARD,
            &[
                "http.public_origins=[\"https://a.example\"]",
                "http.allowed_origins=[\"https://a.example\"]",
            ],
            "http.allowed_origins",
            "both lists",
        ),
        (&FORWARD, &["http.path=token"], "http.path", "slash"),
        (&FORWARD, &["http.path=/a/{id}"], "http.path", "slash"),
        (
            &FORWARD,
            &["http.connections=0"],
            "http.connections",
            "1 to",
        ),
        (&FORWARD, &["http.in_flight=0"], "http.in_flight", "1 to"),
        (
            &FORWARD,
            &["http.allow_get=maybe"],
            "http.allow_get",
            "true or false",
        ),
        (
            &FORWARD,
            &["http.tls.certificate_file=tls.crt"],
            "http.tls.private_key_file",
            "missing",
        ),
        (
            &FORWARD,
            &["http.alow_get=true"],
            "http.alow_get",
            "allow_get",
        ),
        (
            &FORWARD,
            &["service.endpoint=http://127.0.0.1:8443"],
            "service.endpoint",
            "https",
        ),
        (
            &FORWARD,
            &["service.endpoint=http://token:8443"],
            "service.endpoint",
            "https",
        ),
        (
            &FORWARD,
            &["service.endpoint=https://token:8443/path"],
            "service.endpoint",
            "host and a port",
        ),
        (
            &FORWARD,
            &["service.server_name=a b"],
            "service.server_name",
            "DNS name",
        ),
        (&[], &["session.mode=forwards"], "session.mode", "forward"),
        (
            &[],
            &["session.mode=forward"],
            "session.forward",
            "[session.forward]",
        ),
        (&[], &["session.mode=jwt"], "session.jwt", "[session.jwt]"),
        (
            &[],
            &["session.mode=header"],
            "session.header",
            "[session.header]",
        ),
        (
            &FORWARD,
            &["session.forward.url=http://panel/whoami"],
            "session.forward.url",
            "allow_plaintext",
        ),
        (
            &FORWARD,
            &["session.forward.url=http://10.0.0.1/whoami"],
            "session.forward.url",
            "any user",
        ),
        (
            &FORWARD,
            &["session.forward.url=ftp://panel/whoami"],
            "session.forward.url",
            "http",
        ),
        (
            &FORWARD,
            &["session.forward.url=https://u:p@panel/"],
            "session.forward.url",
            "credentials",
        ),
        (
            &FORWARD,
            &["session.forward.headers=[]"],
            "session.forward.headers",
            "1 to 16",
        ),
        (
            &FORWARD,
            &["session.forward.headers=[\"Host\"]"],
            "session.forward.headers",
            "host",
        ),
        (
            &FORWARD,
            &["session.forward.headers=[\"traceparent\"]"],
            "session.forward.headers",
            "traceparent",
        ),
        (
            &FORWARD,
            &["session.forward.headers=[\"a b\"]"],
            "session.forward.headers[0]",
            "name of a header",
        ),
        (
            &FORWARD,
            &["session.forward.id=user/id"],
            "session.forward.id",
            "JSON pointer",
        ),
        (
            &FORWARD,
            &["session.forward.role=/a~"],
            "session.forward.role",
            "JSON pointer",
        ),
        (
            &FORWARD,
            &["session.forward.timeout=1m"],
            "session.forward.timeout",
            "5s",
        ),
        (&JWT, &["session.jwt.issuer="], "session.jwt.issuer", ""),
        (
            &JWT,
            &["session.jwt.jwks_url=http://idp.example/jwks.json"],
            "session.jwt.jwks_url",
            "https",
        ),
        (
            &JWT,
            &["session.jwt.jwks_file=jwks.json"],
            "session.jwt.jwks_url",
            "beside",
        ),
        (
            &JWT,
            &["session.jwt.jwks_url="],
            "session.jwt.jwks_url",
            "neither",
        ),
        (
            &JWT,
            &["session.jwt.header=Authorization"],
            "session.jwt.cookie",
            "beside",
        ),
        (
            &JWT,
            &["session.jwt.cookie="],
            "session.jwt.cookie",
            "neither",
        ),
        (
            &JWT,
            &["session.jwt.cookie=a;b"],
            "session.jwt.cookie",
            "name of a cookie",
        ),
        (
            &JWT,
            &[
                "session.jwt.jwks_url=",
                "session.jwt.jwks_file=jwks.json",
                "session.jwt.ca_file=ca.crt",
            ],
            "session.jwt.ca_file",
            "beside jwks_url",
        ),
        (
            &JWT,
            &["session.jwt.jwks_refresh=1s"],
            "session.jwt.jwks_refresh",
            "30s",
        ),
        (
            &JWT,
            &["session.jwt.id_claim="],
            "session.jwt.id_claim",
            "claim",
        ),
        (
            &JWT,
            &["session.jwt.algorithms=[\"HS256\"]"],
            "session.jwt.algorithms",
            "unknown",
        ),
        (
            &HEADER,
            &["session.header.trusted_cidrs=[]"],
            "session.header.client_ca_file",
            "neither",
        ),
        (
            &HEADER,
            &["session.header.trusted_cidrs=[\"0.0.0.0/0\"]"],
            "session.header.trusted_cidrs",
            "/8",
        ),
        (
            &HEADER,
            &["session.header.trusted_cidrs=[\"::/0\"]"],
            "session.header.trusted_cidrs",
            "/32",
        ),
        (
            &HEADER,
            &["session.header.trusted_cidrs=[\"10.0.0.0/8\",\"172.16.0.0/12\"]"],
            "session.header.trusted_cidrs",
            "/8",
        ),
        (
            &HEADER,
            &["session.header.trusted_cidrs=[\"10.0.0.1\"]"],
            "session.header.trusted_cidrs[0]",
            "network",
        ),
        (
            &HEADER,
            &["session.header.id_header="],
            "session.header.id_header",
            "name of a header",
        ),
        (
            &HEADER,
            &["session.header.role_header=X-User-Id"],
            "session.header.role_header",
            "two headers",
        ),
        (
            &PROXY,
            &["session.header.trusted_cidrs=[\"10.0.3.0/24\"]"],
            "session.header.client_ca_file",
            "beside",
        ),
        (
            &PROXY,
            &["session.header.proxy_sans=[]"],
            "session.header.client_ca_file",
            "both",
        ),
        (
            &PROXY,
            &["session.header.client_ca_file="],
            "session.header.client_ca_file",
            "both",
        ),
        (
            &PROXY,
            &["session.header.proxy_sans=[\"*.ingress\"]"],
            "session.header.proxy_sans",
            "exact SANs",
        ),
        (
            &FORWARD,
            &["telemetry.trust_browser_sampling=1"],
            "telemetry.trust_browser_sampling",
            "true or false",
        ),
        (&FORWARD, &["admin.listen=9091"], "admin.listen", "port"),
        (&FORWARD, &["shutdown.drain=0s"], "shutdown.drain", "1s"),
        (&FORWARD, &["cloud.tenant_key_file=key"], "cloud", "unknown"),
    ];
    for (base, added, key, word) in cases {
        let set: Vec<&str> = base.iter().chain(*added).copied().collect();
        let mistakes = read(&set).expect_err(&format!("{added:?}"));
        let there = mistakes
            .iter()
            .any(|mistake| mistake.key == *key && mistake.to_string().contains(word));
        assert!(
            there,
            "{added:?}: want {key} with {word:?}, got\n{mistakes}"
        );
        assert_eq!(mistakes.len(), 1, "{added:?}: got\n{mistakes}");
    }
}

#[test]
fn every_mistake_is_told_and_not_just_the_first() {
    let mistakes = read(&[
        "http.allowed_origins=[\"*\", \"https://ok.example\", \"null\"]",
        "http.path=x",
        "service.endpoint=http://token",
        "session.mode=forward",
        "session.forward.url=http://panel/",
        "shutdown.drain=never",
    ])
    .unwrap_err();
    assert_eq!(mistakes.len(), 6, "{mistakes}");
}

#[test]
fn plaintext_off_this_machine_is_for_those_who_say_so() {
    let plain = [
        "session.mode=forward",
        "session.forward.url=http://panel/whoami",
    ];
    assert!(read(&plain).is_err());
    let [mode, url] = plain;
    assert!(read(&[mode, url, "session.forward.allow_plaintext=true"]).is_ok());
    assert!(read(&[mode, "session.forward.url=http://127.0.0.1:3000/whoami"]).is_ok());
    assert!(read(&[mode, "session.forward.url=http://localhost:3000/whoami"]).is_ok());
}

#[test]
fn client_certificates_need_tls_on_the_port() {
    let without: Vec<&str> = PROXY
        .into_iter()
        .filter(|set| !set.starts_with("http.tls"))
        .collect();
    let mistakes = read(&without).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes}");
    assert!(mistakes.to_string().contains("http.tls"), "{mistakes}");
}

#[test]
fn variables_count_with_two_underscores_and_one_of_our_tables() {
    let arguments = Arguments::default();
    let environment = [
        ("ASK2DO_SESSION__MODE", "forward"),
        (
            "ASK2DO_SESSION__FORWARD__URL",
            "https://panel.example/whoami",
        ),
        ("ASK2DO_SESSION__ROLE_MAP__SUPERUSER", "owner"),
        ("ASK2DO_TOKEN_PORT", "tcp://10.0.0.1:8443"),
        ("ASK2DO_GRPC__LISTEN", "the server's"),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    let config: Config = Sources::with_environment(&arguments, environment)
        .read()
        .unwrap();
    assert_eq!(config.session.role_map["superuser"], "owner");
}
