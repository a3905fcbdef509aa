//! Mode `jwt`, with tokens good and bad, and key sets that come, change and go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ask2do_token_gateway::session::{Claim, HttpClient, Jwks, Jwt, TokenPlace};
use ask2do_token_gateway::{GatewayMetrics, application};
use ask2do_token_tls::Polled;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use serde_json::{Value, json};

use crate::fakes::{Answer, FakeMinter, Headers, PATH, call, endpoint, serve, widget};

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "panel";

/// A key pair of the identity provider.
struct Signer {
    kid: Option<&'static str>,
    algorithm: Algorithm,
    pair: KeyPair,
    key: EncodingKey,
}

impl Signer {
    fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let kind: &SignatureAlgorithm = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => &PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        Self {
            kid: Some(kid),
            algorithm,
            pair,
            key: key.unwrap(),
        }
    }

    /// The public half as the JWKS has it, without `alg`.
    fn jwk(&self) -> Value {
        let mut jwk = if self.algorithm == Algorithm::EdDSA {
            let x = URL_SAFE_NO_PAD.encode(self.pair.public_key_raw());
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
        } else {
            let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
            serde_json::to_value(jwk).unwrap()
        };
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        if let Some(kid) = self.kid {
            members.insert("kid".into(), kid.into());
        }
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.algorithm, self.kid, claims)
    }

    fn sign_as(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(Into::into);
        encode(&header, claims, &self.key).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 300, "nbf": now(),
        "sub": "42", "role": "owner",
    })
}

/// The claims with some of them changed; `null` takes one away.
fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn jwks_of(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn file(text: &str) -> (Jwks, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, text).unwrap();
    (Jwks::file(path).unwrap().0, folder)
}

fn jwt(jwks: Jwks, place: TokenPlace) -> Jwt {
    let claim = |name| Claim::parse(name).unwrap();
    Jwt::new(
        jwks,
        ISSUER.into(),
        AUDIENCE.into(),
        place,
        claim("sub"),
        claim("role"),
    )
}

/// A gateway whose tokens come in the cookie `session`.
struct Gateway {
    router: Router,
    minter: FakeMinter,
}

impl Gateway {
    fn new(sessions: Jwt) -> Self {
        let minter = FakeMinter::default();
        Self {
            router: application(endpoint(), sessions, minter.clone()),
            minter,
        }
    }

    fn by_cookie(jwks: Jwks) -> Self {
        Self::new(jwt(jwks, TokenPlace::Cookie("session".into())))
    }

    async fn ask(&self, token: &str) -> Answer {
        call(
            &self.router,
            widget(&[("cookie", &format!("a=b; session={token}"))]),
        )
        .await
    }

    async fn assert_refused(&self, token: &str, status: u16, why: &str) {
        let before = self.minter.count();
        let answer = self.ask(token).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        assert_eq!(self.minter.count(), before, "{why}");
    }
}

#[tokio::test]
async fn tokens_of_every_asymmetric_algorithm_are_taken() {
    let algorithms = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    for algorithm in algorithms {
        let signer = Signer::new("1", algorithm);
        let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
        let gateway = Gateway::by_cookie(jwks);
        let answer = gateway.ask(&signer.sign(&claims())).await;
        assert_eq!(
            answer.token().unwrap(),
            "token of 42 as owner",
            "{algorithm:?}"
        );
    }
}

#[tokio::test]
async fn claims_are_checked() {
    let signer = Signer::new("1", Algorithm::ES256);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let gateway = Gateway::by_cookie(jwks);
    let taken = [
        json!({}),
        json!({ "nbf": null }),
        json!({ "aud": ["other", AUDIENCE] }),
        json!({ "exp": now() - 20 }),
        json!({ "exp": (now() + 60) as f64 + 0.5 }),
        json!({ "nbf": now() + 20 }),
        json!({ "sub": 42 }),
        json!({ "role": ["junior", "owner"] }),
    ];
    for changes in taken {
        let answer = gateway
            .ask(&signer.sign(&claims_with(changes.clone())))
            .await;
        assert_eq!(
            answer.token().as_deref(),
            Some("token of 42 as owner"),
            "{changes}"
        );
    }
    let logged_out = [
        json!({ "iss": null }),
        json!({ "iss": "https://idp.example/" }),
        json!({ "iss": [ISSUER] }),
        json!({ "aud": null }),
        json!({ "aud": "other" }),
        json!({ "aud": [] }),
        json!({ "aud": ["other"] }),
        json!({ "aud": 7 }),
        json!({ "exp": null }),
        json!({ "exp": now() - 31 }),
        json!({ "exp": "2999-01-01" }),
        json!({ "exp": (now() + 60).to_string() }),
        json!({ "nbf": now() + 60 }),
        json!({ "nbf": "now" }),
    ];
    for changes in logged_out {
        let token = signer.sign(&claims_with(changes.clone()));
        gateway
            .assert_refused(&token, 401, &changes.to_string())
            .await;
    }
    // A good token whose user cannot be told is somebody's mistake, and no logged-out user.
    let unusable = [
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": {"id": "42"} }),
        json!({ "role": null }),
        json!({ "role": [] }),
        json!({ "role": 7 }),
    ];
    for changes in unusable {
        let token = signer.sign(&claims_with(changes.clone()));
        gateway
            .assert_refused(&token, 503, &changes.to_string())
            .await;
    }
}

/// A token of these parts, whose signature is whatever is given.
fn token_of(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode(signature);
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let signer = Signer::new("1", Algorithm::RS256);
    let other = Signer::new("1", Algorithm::RS256);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let gateway = Gateway::by_cookie(jwks);
    let good = signer.sign(&claims());
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    assert_eq!(gateway.ask(&good).await.status, 200);

    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": alg, "kid": "1", "typ": "JWT" });
        let token = token_of(&header, &claims(), b"");
        gateway.assert_refused(&token, 401, alg).await;
        gateway
            .assert_refused(
                &format!("{}.{payload}.{signature}", token.split('.').next().unwrap()),
                401,
                alg,
            )
            .await;
    }
    // HS256 with whatever of the public key an attacker may take for the secret.
    let jwk = signer.jwk();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let secrets = [
        signer.pair.public_key_pem().into_bytes(),
        signer.pair.public_key_raw().to_vec(),
        modulus,
        jwk.to_string().into_bytes(),
    ];
    for secret in secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some("1".into());
            let token = encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
            gateway
                .assert_refused(&token, 401, "HS with the public key")
                .await;
        }
    }
    let forged = [
        (other.sign(&claims()), "another's key under the same kid"),
        (
            signer.sign_as(Algorithm::RS256, Some("2"), &claims()),
            "wrong kid",
        ),
        (
            signer.sign_as(Algorithm::RS256, Some(""), &claims()),
            "empty kid",
        ),
        (format!("{header}.{payload}."), "no signature"),
        (format!("{header}.{payload}"), "two parts"),
        (format!("{good}.x"), "four parts"),
        (format!("{header}.{payload}.{signature}="), "padding"),
        (format!("{header}..{signature}"), "no claims"),
        ("a.b.c".into(), "noise"),
        ("..".into(), "empty parts"),
        ("%%%.%%%.%%%".into(), "no base64"),
        ("eyJ.eyJ.eyJ".into(), "three parts of noise"),
        (String::new(), "an empty cookie"),
    ];
    for (token, why) in forged {
        gateway.assert_refused(&token, 401, why).await;
    }
    let changed = claims_with(json!({ "sub": "1" })).to_string();
    let changed = URL_SAFE_NO_PAD.encode(changed);
    gateway
        .assert_refused(
            &format!("{header}.{changed}.{signature}"),
            401,
            "changed claims",
        )
        .await;
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_counts_for_nothing() {
    let signer = Signer::new("1", Algorithm::ES256);
    let attacker = Signer::new("1", Algorithm::ES256);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let gateway = Gateway::by_cookie(jwks);
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("1".into());
    header.jku = Some("https://attacker.example/jwks.json".into());
    header.jwk = Some(Jwk::from_encoding_key(&attacker.key, Algorithm::ES256).unwrap());
    let token = encode(&header, &claims(), &attacker.key).unwrap();
    gateway.assert_refused(&token, 401, "jwk and jku").await;

    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("1".into());
    header.crit = Some(vec!["exp".into()]);
    let token = encode(&header, &claims(), &signer.key).unwrap();
    gateway.assert_refused(&token, 401, "crit").await;
}

#[tokio::test]
async fn the_key_decides_the_algorithm_and_never_the_token() {
    let signer = Signer::new("1", Algorithm::RS256);
    let mut jwk = signer.jwk();
    jwk["alg"] = "RS256".into();
    let (jwks, _folder) = file(&jwks_of(&[jwk]));
    let gateway = Gateway::by_cookie(jwks);
    assert_eq!(gateway.ask(&signer.sign(&claims())).await.status, 200);
    let token = signer.sign_as(Algorithm::PS256, Some("1"), &claims());
    gateway
        .assert_refused(&token, 401, "PS256 with a key for RS256")
        .await;
}

#[tokio::test]
async fn without_a_kid_only_a_single_key_is_tried() {
    let one = Signer::new("1", Algorithm::ES256);
    let two = Signer::new("2", Algorithm::EdDSA);
    let token = one.sign_as(Algorithm::ES256, None, &claims());
    let (jwks, _folder) = file(&jwks_of(&[one.jwk()]));
    assert_eq!(Gateway::by_cookie(jwks).ask(&token).await.status, 200);
    let (jwks, _folder) = file(&jwks_of(&[one.jwk(), two.jwk()]));
    Gateway::by_cookie(jwks)
        .assert_refused(&token, 401, "two keys")
        .await;
}

#[tokio::test]
async fn a_key_set_may_hold_keys_that_are_of_no_use() {
    let signer = Signer::new("1", Algorithm::ES256);
    let mut for_encryption = signer.jwk();
    for_encryption["use"] = "enc".into();
    let others = [
        json!({ "kty": "oct", "kid": "1", "k": "c2VjcmV0" }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "1", "x": "AA", "y": "AA" }),
        json!({ "kty": "RSA", "kid": "1", "n": "AQAB", "e": "AQAB" }),
        json!({ "kty": "OKP", "crv": "X25519", "kid": "1", "x": "AA" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "1" }),
        json!({ "kty": 7 }),
        json!("noise"),
        for_encryption,
    ];
    let mut keys = others.to_vec();
    keys.push(signer.jwk());
    let (jwks, _folder) = file(&jwks_of(&keys));
    let answer = Gateway::by_cookie(jwks).ask(&signer.sign(&claims())).await;
    assert_eq!(answer.status, 200);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let huge = format!("{}{}", jwks_of(&[signer.jwk()]), " ".repeat(64 << 10));
    for text in [
        "",
        "{}",
        "[]",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        &jwks_of(&others),
        &huge,
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(Jwks::file(path.clone()).is_err(), "{text:.40}");
    }
}

#[tokio::test]
async fn a_token_is_taken_from_its_one_place() {
    let signer = Signer::new("1", Algorithm::EdDSA);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let token = signer.sign(&claims());
    let bearer = format!("Bearer {token}");
    let cookie = format!("session={token}");
    let quoted = format!("session=\"{token}\"");
    let gateway = |place| Gateway::new(jwt(jwks.clone(), place));
    let by_cookie = gateway(TokenPlace::Cookie("session".into()));
    let by_authorization = gateway(TokenPlace::Header(HeaderName::from_static("authorization")));
    let by_header = gateway(TokenPlace::Header(HeaderName::from_static("x-jwt")));
    let cases: [(&Gateway, Headers<'_>, u16); 16] = [
        (&by_cookie, &[("cookie", &cookie)], 200),
        (&by_cookie, &[("cookie", &quoted)], 200),
        (&by_cookie, &[("cookie", "a=b"), ("cookie", &cookie)], 200),
        (&by_cookie, &[("cookie", &cookie), ("cookie", &cookie)], 401),
        (
            &by_cookie,
            &[("cookie", &format!("{cookie}; session=x"))],
            401,
        ),
        (&by_cookie, &[("cookie", &format!("Session={token}"))], 401),
        (&by_cookie, &[("authorization", &bearer)], 401),
        (&by_authorization, &[("authorization", &bearer)], 200),
        (
            &by_authorization,
            &[("authorization", &format!("bearer {token}"))],
            200,
        ),
        (&by_authorization, &[("authorization", &token)], 401),
        (
            &by_authorization,
            &[("authorization", &format!("Basic {token}"))],
            401,
        ),
        (
            &by_authorization,
            &[("authorization", &bearer), ("authorization", &bearer)],
            401,
        ),
        (&by_authorization, &[("x-jwt", &token)], 401),
        (&by_header, &[("x-jwt", &token)], 200),
        (&by_header, &[("x-jwt", &bearer)], 200),
        (&by_header, &[("x-jwt", &token), ("x-jwt", &token)], 401),
    ];
    for (gateway, headers, status) in cases {
        let answer = call(&gateway.router, widget(headers)).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn a_header_that_a_proxy_may_add_is_guarded_in_any_case() {
    let signer = Signer::new("1", Algorithm::EdDSA);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let token = signer.sign(&claims());
    let bare = |name: &str, value: &str, json: bool| {
        let mut request = Request::post(PATH).header("host", "panel.example");
        request = request.header(name, value);
        if json {
            request = request.header("content-type", "application/json");
        }
        request.body(Body::empty()).unwrap()
    };
    let by_header = Gateway::new(jwt(
        jwks.clone(),
        TokenPlace::Header(HeaderName::from_static("x-jwt")),
    ));
    let answer = call(&by_header.router, bare("x-jwt", &token, false)).await;
    assert_eq!(answer.code(), "CROSS_SITE_REQUEST");
    let answer = call(&by_header.router, bare("x-jwt", &token, true)).await;
    assert_eq!(answer.status, 200);
    // A bearer token nobody adds by itself.
    let by_authorization = Gateway::new(jwt(
        jwks,
        TokenPlace::Header(HeaderName::from_static("authorization")),
    ));
    let bearer = format!("Bearer {token}");
    let answer = call(
        &by_authorization.router,
        bare("authorization", &bearer, false),
    )
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn cookies_of_others_that_are_no_text_do_not_log_anybody_out_or_in() {
    let signer = Signer::new("1", Algorithm::EdDSA);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let gateway = Gateway::by_cookie(jwks);
    let token = signer.sign(&claims());
    let ask = async |cookies: &[&str]| {
        let mut request = widget(&[]);
        for cookie in cookies {
            let value = HeaderValue::from_bytes(cookie.as_bytes()).unwrap();
            request.headers_mut().append("cookie", value);
        }
        call(&gateway.router, request).await.status
    };
    assert_eq!(ask(&[&format!("name=Jürgen; session={token}")]).await, 200);
    assert_eq!(
        ask(&["name=Jürgen", &format!("session={token}")]).await,
        200
    );
    let twice = format!("session={token}; name=Jürgen; session=x");
    assert_eq!(ask(&[&twice]).await, 401);
    assert_eq!(ask(&["session=ü", &format!("session={token}")]).await, 401);
    assert_eq!(ask(&["session=ü"]).await, 401);
    assert_eq!(ask(&[&format!("sessionx={token}; session")]).await, 401);
}

#[tokio::test]
async fn keys_under_one_kid_are_each_tried() {
    let (one, two) = (
        Signer::new("1", Algorithm::ES256),
        Signer::new("1", Algorithm::ES256),
    );
    let stranger = Signer::new("1", Algorithm::ES256);
    let (jwks, _folder) = file(&jwks_of(&[one.jwk(), two.jwk()]));
    let gateway = Gateway::by_cookie(jwks);
    for signer in [&one, &two] {
        assert_eq!(gateway.ask(&signer.sign(&claims())).await.status, 200);
    }
    gateway
        .assert_refused(&stranger.sign(&claims()), 401, "of neither")
        .await;
    let unnamed = one.sign_as(Algorithm::ES256, None, &claims());
    gateway.assert_refused(&unnamed, 401, "no kid").await;
}

#[tokio::test]
async fn a_key_for_something_else_verifies_nothing() {
    let signer = Signer::new("1", Algorithm::RS256);
    let other = Signer::new("2", Algorithm::ES256);
    let token = signer.sign(&claims());
    for (member, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!([])),
        ("alg", json!("RS512")),
        ("alg", json!("PS256")),
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("HS256")),
        ("alg", json!("none")),
    ] {
        let mut jwk = signer.jwk();
        jwk[member] = value.clone();
        let (jwks, _folder) = file(&jwks_of(&[jwk, other.jwk()]));
        Gateway::by_cookie(jwks)
            .assert_refused(&token, 401, &format!("{member} {value}"))
            .await;
    }
    for (member, value) in [
        ("use", json!("sig")),
        ("key_ops", json!(["sign", "verify"])),
        ("alg", json!("RS256")),
    ] {
        let mut jwk = signer.jwk();
        jwk[member] = value;
        let (jwks, _folder) = file(&jwks_of(&[jwk, other.jwk()]));
        assert_eq!(Gateway::by_cookie(jwks).ask(&token).await.status, 200);
    }
}

#[tokio::test]
async fn a_token_may_be_as_large_as_the_header() {
    let signer = Signer::new("1", Algorithm::EdDSA);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let gateway = Gateway::by_cookie(jwks);
    let of_size = |bytes| signer.sign(&claims_with(json!({ "groups": "x".repeat(bytes) })));
    assert_eq!(gateway.ask(&of_size(11 << 10)).await.status, 200);
    let huge = of_size(16 << 10);
    gateway.assert_refused(&huge, 431, "over 16 KiB").await;
    // In base64 of noise, deep, and with a number that no type holds.
    let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    for claims in [deep, r#"{"exp":1e999}"#.to_owned()] {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"1"}"#);
        let payload = URL_SAFE_NO_PAD.encode(claims);
        gateway
            .assert_refused(&format!("{header}.{payload}.AAAA"), 401, "forged")
            .await;
    }
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":1}"#);
    gateway
        .assert_refused(&format!("{header}.e30.AAAA"), 401, "kid as a number")
        .await;
}

#[tokio::test]
async fn a_page_on_an_allowed_origin_may_send_the_tokens_header() {
    let signer = Signer::new("1", Algorithm::EdDSA);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let sessions = jwt(jwks, TokenPlace::Header(HeaderName::from_static("x-jwt")));
    let origin = "https://other.example";
    let endpoint = endpoint().allowed_origins([origin.parse().unwrap()]);
    let router = application(endpoint, sessions, FakeMinter::default());
    let preflight = Request::options(PATH)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-jwt");
    let answer = call(&router, preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 204);
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(allowed.split(", ").any(|name| name == "x-jwt"), "{allowed}");
    let request = Request::post(PATH)
        .header("origin", origin)
        .header("sec-fetch-site", "cross-site")
        .header("x-jwt", signer.sign(&claims()));
    let answer = call(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
}

#[tokio::test]
async fn claims_may_be_nested() {
    let signer = Signer::new("1", Algorithm::EdDSA);
    let (jwks, _folder) = file(&jwks_of(&[signer.jwk()]));
    let claim = |name| Claim::parse(name).unwrap();
    let cases = [
        ("/user/id", "/realm_access/roles"),
        ("sub", "https://panel.example/roles"),
        ("/sub", "/a~1b"),
    ];
    for (id, role) in cases {
        let sessions = Jwt::new(
            jwks.clone(),
            ISSUER.into(),
            AUDIENCE.into(),
            TokenPlace::Cookie("session".into()),
            claim(id),
            claim(role),
        );
        let token = signer.sign(&claims_with(json!({
            "user": { "id": "42" },
            "role": null,
            "realm_access": { "roles": ["offline_access", "admin"] },
            "https://panel.example/roles": ["admin"],
            "a/b": "admin",
        })));
        let answer = Gateway::new(sessions).ask(&token).await;
        assert_eq!(
            answer.token().as_deref(),
            Some("token of 42 as admin"),
            "{id} {role}"
        );
    }
}

/// An identity provider whose JWKS can change, and which counts who asks.
#[derive(Clone)]
struct Provider {
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            answer: Arc::new(Mutex::new((status, body.into()))),
            asked: Arc::default(),
        }
    }

    fn set(&self, status: u16, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Its JWKS, followed by a task of its own.
    async fn jwks(&self) -> Jwks {
        let provider = self.clone();
        let address = serve(Router::new().fallback(async move || {
            provider.asked.fetch_add(1, Ordering::SeqCst);
            let (status, body) = provider.answer.lock().unwrap().clone();
            Response::builder()
                .status(status)
                .body(Body::from(body))
                .unwrap()
        }))
        .await;
        let jwks = Jwks::url(
            HttpClient::new().unwrap(),
            format!("http://{address}/jwks.json").parse().unwrap(),
            Duration::from_secs(300),
            GatewayMetrics::default(),
        );
        let following = jwks.clone();
        tokio::spawn(async move { following.run().await });
        jwks
    }

    async fn asked_at_least(&self, times: usize) {
        while self.asked() < times {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets time pass for timers, but not for sockets.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_unknown_kid_asks_the_url_at_most_every_30_seconds() {
    let (old, new) = (
        Signer::new("old", Algorithm::ES256),
        Signer::new("new", Algorithm::ES256),
    );
    let provider = Provider::new(200, jwks_of(&[old.jwk()]));
    let jwks = provider.jwks().await;
    jwks.loaded().await;
    let gateway = Gateway::by_cookie(jwks);
    assert_eq!(gateway.ask(&old.sign(&claims())).await.status, 200);
    for _ in 0..20 {
        let token = new.sign(&claims());
        gateway
            .assert_refused(&token, 401, "unknown kid, too soon to ask")
            .await;
    }
    assert_eq!(provider.asked(), 1);

    provider.set(200, jwks_of(&[old.jwk(), new.jwk()]));
    pass(Duration::from_secs(31)).await;
    assert_eq!(gateway.ask(&new.sign(&claims())).await.status, 200);
    assert_eq!(gateway.ask(&old.sign(&claims())).await.status, 200);
    assert_eq!(provider.asked(), 2);
    let unknown = Signer::new("unknown", Algorithm::ES256).sign(&claims());
    gateway
        .assert_refused(&unknown, 401, "a kid that nobody has")
        .await;
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn keys_are_kept_while_the_url_is_down_and_an_unknown_one_is_503() {
    let (old, new) = (
        Signer::new("old", Algorithm::ES256),
        Signer::new("new", Algorithm::ES256),
    );
    let good = jwks_of(&[old.jwk()]);
    let huge = format!("{good}{}", " ".repeat(10 << 20));
    let bad = [
        (500, good.clone()),
        (302, good.clone()),
        (200, "{\"keys\":[]}".into()),
        (200, huge),
    ];
    for (status, body) in bad {
        let provider = Provider::new(200, good.clone());
        let jwks = provider.jwks().await;
        jwks.loaded().await;
        let gateway = Gateway::by_cookie(jwks);
        provider.set(status, body);
        pass(Duration::from_secs(31)).await;
        gateway
            .assert_refused(&new.sign(&claims()), 503, "a key that may exist")
            .await;
        assert_eq!(provider.asked(), 2);
        assert_eq!(
            gateway.ask(&old.sign(&claims())).await.status,
            200,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_key_that_was_taken_away_is_gone_after_the_refresh() {
    let (old, new) = (
        Signer::new("old", Algorithm::ES256),
        Signer::new("new", Algorithm::ES256),
    );
    let provider = Provider::new(200, jwks_of(&[old.jwk(), new.jwk()]));
    let jwks = provider.jwks().await;
    jwks.loaded().await;
    let gateway = Gateway::by_cookie(jwks);
    assert_eq!(gateway.ask(&old.sign(&claims())).await.status, 200);
    provider.set(200, jwks_of(&[new.jwk()]));
    pass(Duration::from_secs(301)).await;
    provider.asked_at_least(2).await;
    while gateway.ask(&old.sign(&claims())).await.status == 200 {
        tokio::task::yield_now().await;
    }
    gateway
        .assert_refused(&old.sign(&claims()), 401, "gone")
        .await;
    assert_eq!(gateway.ask(&new.sign(&claims())).await.status, 200);
}

#[tokio::test]
async fn without_keys_nobody_can_be_asked_and_they_are_asked_for_until_they_come() {
    let signer = Signer::new("1", Algorithm::ES256);
    let provider = Provider::new(503, "");
    let jwks = provider.jwks().await;
    let gateway = Gateway::by_cookie(jwks.clone());
    provider.asked_at_least(1).await;
    gateway
        .assert_refused(&signer.sign(&claims()), 503, "no keys yet")
        .await;
    // Without a token there is nothing to ask about.
    gateway.assert_refused("", 401, "no token").await;
    provider.set(200, jwks_of(&[signer.jwk()]));
    pass(Duration::from_secs(6)).await;
    jwks.loaded().await;
    assert_eq!(gateway.ask(&signer.sign(&claims())).await.status, 200);
}

#[tokio::test]
async fn a_jwks_file_is_followed() {
    let (old, new) = (
        Signer::new("old", Algorithm::ES256),
        Signer::new("new", Algorithm::ES256),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, jwks_of(&[old.jwk()])).unwrap();
    let (jwks, mut reloader) = Jwks::file(path.clone()).unwrap();
    let gateway = Gateway::by_cookie(jwks);
    gateway
        .assert_refused(&new.sign(&claims()), 401, "not in the file")
        .await;
    std::fs::write(&path, jwks_of(&[new.jwk()])).unwrap();
    assert!(matches!(reloader.poll().await, Polled::Reloaded));
    assert_eq!(gateway.ask(&new.sign(&claims())).await.status, 200);
    gateway
        .assert_refused(&old.sign(&claims()), 401, "taken out")
        .await;
    std::fs::write(&path, "noise").unwrap();
    assert!(matches!(reloader.poll().await, Polled::Failed { .. }));
    assert_eq!(gateway.ask(&new.sign(&claims())).await.status, 200);
}
