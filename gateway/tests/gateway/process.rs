//! The program itself: its ports, its readiness, its listener's bounds, its end.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use ask2do_token_tls::{Authorities, ClientTls, Identity, Versions, Watched, https_client_config};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::fakes::{PATH, serve};
use crate::openapi::assert_documented;

/// A CA, and files of certificates that it has issued.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key in PEM, for either end of a connection.
    fn issue(&self, dns: &[&str], uri: Option<&str>) -> (String, String) {
        let names: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if let Some(uri) = uri {
            let uri = SanType::URI(uri.try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        (certificate, key.serialize_pem())
    }

    fn client(&self, identity: Option<&(String, String)>) -> reqwest::Client {
        let identity = identity.map(|(certificate, key)| {
            let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes());
            Watched::fixed(identity.unwrap())
        });
        let authorities = Authorities::from_pem(self.pem.as_bytes()).unwrap();
        let authorities = Watched::fixed(authorities);
        let tls = ClientTls::new(authorities, identity, Versions::Tls13, &[b"http/1.1"]).unwrap();
        reqwest::Client::builder()
            .tls_backend_preconfigured((*tls.config()).clone())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    }
}

/// A client for ports without TLS. Its TLS is configured all the same: reqwest has no provider of its own.
fn plain() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(https_client_config(None).unwrap())
        .no_proxy()
        .build()
        .unwrap()
}

/// A folder with all files that a gateway needs to start.
fn folder(ca: &Ca) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let (certificate, key) = ca.issue(&[], Some("spiffe://demo/ns/panel/sa/gateway"));
    write("tls.crt", &certificate);
    write("tls.key", &key);
    write("ca.crt", &ca.pem);
    let (certificate, key) = ca.issue(&["localhost"], None);
    write("http.crt", &certificate);
    write("http.key", &key);
    folder
}

/// A gateway that runs.
struct Gateway {
    child: Child,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    /// Starts it with this session table, on free ports, before a service that is not there.
    fn start(folder: &Path, settings: &str) -> Self {
        let file = folder.join("gateway.toml");
        std::fs::write(&file, settings).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ask2do-token-gateway"))
            .arg("--config")
            .arg(file)
            .args(["--set", "http.listen=127.0.0.1:0"])
            .args(["--set", "admin.listen=127.0.0.1:0"])
            .args(["--set", "service.endpoint=https://127.0.0.1:9"])
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (listening, wait) = mpsc::channel();
        // Read to the end, so that the child never waits for a full pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("listening") {
                    let _ = listening.send(line);
                }
            }
        });
        let line = wait.recv().expect("the gateway ended before it listened");
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| find(&line, name).expect(name).parse().unwrap();
        Self {
            http: address("http"),
            admin: address("admin"),
            child,
        }
    }

    async fn ready(&self) -> (StatusCode, String) {
        let answer = plain()
            .get(format!("http://{}/readyz", self.admin))
            .send()
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn until_ready(&self) {
        while self.ready().await.0 != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    }

    /// SIGTERM, and how it ended.
    fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a member of this name, wherever a log line has it.
fn find<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    match line {
        Value::Object(members) => members
            .get(name)
            .and_then(Value::as_str)
            .or_else(|| members.values().find_map(|value| find(value, name))),
        _ => None,
    }
}

const BY_ADDRESS: &str = r#"
[session]
mode = "header"
[session.header]
trusted_cidrs = ["127.0.0.1/32"]
id_header = "X-User-Id"
role_header = "X-User-Role"
"#;

fn post(client: &reqwest::Client, http: SocketAddr) -> reqwest::RequestBuilder {
    client
        .post(format!("http://{http}{PATH}"))
        .header("content-type", "application/json")
}

async fn code(request: reqwest::RequestBuilder) -> (StatusCode, String) {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let method = request.method().clone();
    let answer = client.execute(request).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    assert_documented(&method, status, &headers, &body);
    let body: Value = serde_json::from_slice(&body).unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn it_serves_is_ready_counts_and_ends() {
    let folder = folder(&Ca::new());
    let gateway = Gateway::start(folder.path(), BY_ADDRESS);
    gateway.until_ready().await;
    let client = plain();

    let answer = code(post(&client, gateway.http)).await;
    assert_eq!(answer, (StatusCode::UNAUTHORIZED, "LOGIN_REQUIRED".into()));
    let user = |request: reqwest::RequestBuilder| {
        request
            .header("x-user-id", "42")
            .header("x-user-role", "owner")
    };
    // The user is known, so the gateway asks the service, which is not there.
    let answer = code(user(post(&client, gateway.http))).await;
    assert_eq!(
        answer,
        (StatusCode::BAD_GATEWAY, "SERVICE_UNAVAILABLE".into())
    );
    let smuggled = user(post(&client, gateway.http)).header("x_user_id", "1");
    assert_eq!(code(smuggled).await.1, "LOGIN_REQUIRED");
    let elsewhere = client.post(format!("http://{}/other", gateway.http));
    assert_eq!(
        code(elsewhere).await,
        (StatusCode::NOT_FOUND, "NOT_FOUND".into())
    );
    let large = user(post(&client, gateway.http)).body(vec![b' '; 5000]);
    assert_eq!(
        code(large).await,
        (StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_TOO_LARGE".into())
    );
    let wide = user(post(&client, gateway.http)).header("x-padding", "x".repeat(17 << 10));
    let wide = code(wide).await;
    assert_eq!(wide.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(wide.1, "REQUEST_TOO_LARGE");
    let wider = user(post(&client, gateway.http)).header("x-padding", "x".repeat(200 << 10));
    assert_eq!(
        wider.send().await.unwrap().status(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );

    let metrics = client
        .get(format!("http://{}/metrics", gateway.admin))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        r#"ask2do_gateway_requests_total{code="LOGIN_REQUIRED"} 2"#,
        r#"ask2do_gateway_requests_total{code="SERVICE_UNAVAILABLE"} 1"#,
        r#"ask2do_gateway_session_check_duration_seconds_count{outcome="session"} 1"#,
        "ask2do_gateway_requests_in_flight 0",
        r#"ask2do_reloads_total{file="certificate"} 0"#,
        r#"ask2do_certificate_expiry_timestamp_seconds{certificate="client"}"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(gateway.stop().success());
}

#[tokio::test]
async fn http_2_is_served_without_tls_by_prior_knowledge() {
    let folder = folder(&Ca::new());
    let gateway = Gateway::start(folder.path(), BY_ADDRESS);
    gateway.until_ready().await;
    let stream = tokio::net::TcpStream::connect(gateway.http).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    // `Origin` is compared with `:authority`: HTTP/2 has no `Host`.
    for (origin, status) in [
        ("https://panel.example", 502),
        ("https://evil.example", 403),
    ] {
        let request = axum::http::Request::post(format!("https://panel.example{PATH}"))
            .header("origin", origin)
            .header("x-user-id", "42")
            .header("x-user-role", "owner")
            .body(Body::empty())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
    }
}

#[tokio::test]
async fn the_proxy_is_known_by_its_certificate() {
    let (ca, proxies) = (Ca::new(), Ca::new());
    let folder = folder(&ca);
    std::fs::write(folder.path().join("proxy-ca.crt"), &proxies.pem).unwrap();
    let gateway = Gateway::start(
        folder.path(),
        r#"
        [http.tls]
        certificate_file = "http.crt"
        private_key_file = "http.key"
        [session]
        mode = "header"
        [session.header]
        client_ca_file = "proxy-ca.crt"
        proxy_sans = ["spiffe://demo/ns/ingress/sa/proxy", "Proxy.Ingress"]
        id_header = "X-User-Id"
        role_header = "X-User-Role"
        "#,
    );
    gateway.until_ready().await;
    let url = format!("https://localhost:{}{PATH}", gateway.http.port());
    let ask = |client: reqwest::Client| {
        let request = client
            .post(&url)
            .header("content-type", "application/json")
            .header("x-user-id", "42")
            .header("x-user-role", "owner");
        request.send()
    };
    let status = async |dns: &[&str], uri| {
        let identity = proxies.issue(dns, uri);
        let answer = ask(ca.client(Some(&identity))).await.unwrap();
        answer.status().as_u16()
    };
    // 502: the session is there, and the service is not.
    assert_eq!(
        status(&[], Some("spiffe://demo/ns/ingress/sa/proxy")).await,
        502
    );
    assert_eq!(status(&["proxy.ingress"], None).await, 502);
    assert_eq!(
        status(&[], Some("spiffe://demo/ns/ingress/sa/other")).await,
        401
    );
    assert_eq!(status(&["evil-proxy.ingress"], None).await, 401);
    assert_eq!(status(&["*.ingress"], None).await, 401);
    assert!(ask(ca.client(None)).await.is_err());
    let stranger = ca.issue(&[], Some("spiffe://demo/ns/ingress/sa/proxy"));
    assert!(ask(ca.client(Some(&stranger))).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let (old, new) = (Ca::new(), Ca::new());
    let folder = folder(&old);
    let gateway = Gateway::start(
        folder.path(),
        r#"
        [http.tls]
        certificate_file = "http.crt"
        private_key_file = "http.key"
        [session]
        mode = "header"
        [session.header]
        trusted_cidrs = ["127.0.0.1/32"]
        id_header = "X-User-Id"
        role_header = "X-User-Role"
        "#,
    );
    gateway.until_ready().await;
    let url = format!("https://localhost:{}{PATH}", gateway.http.port());
    let ask = |ca: &Ca| ca.client(None).post(&url).send();
    assert_eq!(ask(&old).await.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(ask(&new).await.is_err());
    let (certificate, key) = new.issue(&["localhost"], None);
    std::fs::write(folder.path().join("http.crt"), certificate).unwrap();
    std::fs::write(folder.path().join("http.key"), key).unwrap();
    while ask(&new).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(ask(&old).await.is_err());
}

#[tokio::test]
async fn it_is_ready_once_the_keys_were_had_and_runs_before() {
    let folder = folder(&Ca::new());
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = provider.local_addr().unwrap();
    let gateway = Gateway::start(
        folder.path(),
        &format!(
            r#"
            [session]
            mode = "jwt"
            [session.jwt]
            issuer = "https://idp.example"
            audience = "panel"
            jwks_url = "http://{address}/jwks.json"
            cookie = "session"
            "#
        ),
    );
    // Nobody answers the question for the keys yet.
    let (status, text) = gateway.ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("jwks"), "{text}");
    let client = plain();
    assert_eq!(code(post(&client, gateway.http)).await.1, "LOGIN_REQUIRED");

    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let router = Router::new().fallback(async move || Response::new(Body::from(jwks)));
    tokio::spawn(async move { axum::serve(provider, router).await });
    gateway.until_ready().await;
    assert!(gateway.stop().success());
}

#[tokio::test]
async fn the_browsers_trace_goes_on_to_the_panel_without_its_baggage() {
    let folder = folder(&Ca::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let panel = serve(Router::new().fallback(async move |headers: HeaderMap| {
        keep.lock().unwrap().push(headers);
        StatusCode::UNAUTHORIZED
    }))
    .await;
    let gateway = Gateway::start(
        folder.path(),
        &format!(
            r#"
            [session]
            mode = "forward"
            [session.forward]
            url = "http://{panel}/whoami"
            "#
        ),
    );
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = post(&plain(), gateway.http)
        .header("cookie", "sid=1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("tracestate", "vendor=1")
        .header("baggage", "user=1");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], trace);
    let seen = seen.lock().unwrap();
    let sent = seen[0]["traceparent"].to_str().unwrap();
    // In the browser's trace, under a span of the gateway's; nothing is exported, so it is not recorded.
    assert!(sent.starts_with(&format!("00-{trace}-")), "{sent}");
    assert!(!sent.contains("00f067aa0ba902b7"), "{sent}");
    assert!(sent.ends_with("-00"), "{sent}");
    assert!(!seen[0].contains_key("tracestate"));
    assert!(!seen[0].contains_key("baggage"));
}

#[tokio::test]
async fn the_panel_is_verified_by_its_ca() {
    let ca = Ca::new();
    let folder = folder(&ca);
    // The panel is another gateway with TLS: it refuses the question, which shows that it got it.
    let panel = Gateway::start(
        folder.path(),
        r#"
        [http]
        allow_get = true
        [http.tls]
        certificate_file = "http.crt"
        private_key_file = "http.key"
        [session]
        mode = "forward"
        [session.forward]
        url = "https://localhost/"
        "#,
    );
    let url = format!("https://localhost:{}{PATH}", panel.http.port());
    for (ca_file, answer) in [
        ("ca.crt", "LOGIN_REQUIRED"),
        ("", "SESSION_CHECK_UNAVAILABLE"),
    ] {
        let gateway = Gateway::start(
            folder.path(),
            &format!(
                r#"
                [session]
                mode = "forward"
                [session.forward]
                url = "{url}"
                ca_file = "{ca_file}"
                "#
            ),
        );
        let request = post(&plain(), gateway.http).header("cookie", "sid=1");
        assert_eq!(code(request).await.1, answer, "{ca_file}");
    }
}

#[test]
fn mistakes_end_it_with_2_before_it_listens() {
    let output = Command::new(env!("CARGO_BIN_EXE_ask2do-token-gateway"))
        .args(["--set", "http.allowed_origins=[\"*\"]"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().count(), 4, "{errors}");
    for word in [
        "http.allowed_origins[0]",
        "session.mode",
        "service.certificate_file",
        "service.ca_file",
    ] {
        assert!(errors.contains(word), "{errors}");
    }
}

#[test]
fn check_reads_every_file_and_ends() {
    let folder = folder(&Ca::new());
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, BY_ADDRESS).unwrap();
    let check = || {
        let output = Command::new(env!("CARGO_BIN_EXE_ask2do-token-gateway"))
            .arg("--check")
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    assert_eq!(check(), (Some(0), "ok\n".into()));
    std::fs::write(folder.path().join("ca.crt"), "noise").unwrap();
    std::fs::remove_file(folder.path().join("tls.key")).unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(2), "{text}");
    for key in ["service.ca_file", "service.private_key_file"] {
        assert!(text.contains(key), "{text}");
    }
}
