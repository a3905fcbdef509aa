//! Scenario `panel`: gateway and server together beside an Express app that does the whole by itself,
//! all of it on one core, at 64 connections. Both check the session locally: a JWT of the kind that
//! OpenID Connect prescribes (RS256) in the gateway, a session in memory in Express.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpStream;

use crate::Result;
use crate::child::Process;
use crate::load::{self, Slot};
use crate::measure::{self, Compared, Settings};
use crate::servers::{self, TokenServer};

const CONNECTIONS: usize = 64;
const PATH: &str = "/api/ask2do/token";
const ISSUER: &str = "https://login.bench.test";
const AUDIENCE: &str = "panel";

/// Measures, in rounds of both.
pub(crate) async fn run(settings: &Settings, folder: &Path) -> Result<Compared> {
    let cloud = servers::stub_cloud(settings, folder).await?;
    let issuer = Issuer::new(folder)?;
    let server = TokenServer::start(settings, folder, cloud.address).await?;
    let gateway = servers::gateway(settings, folder, &config(server.grpc)).await?;
    let express = servers::express(settings, folder, cloud.address).await?;
    servers::settle().await;
    let mut ours_rest = Vec::new();
    for process in [&gateway.process, &server.process] {
        ours_rest.push(process.usage()?.rss);
    }
    let express_rest = express.process.usage()?.rss;

    let sessions: Vec<HeaderValue> = (0..CONNECTIONS)
        .map(|user| issuer.session(user))
        .collect::<Result<_>>()?;
    let logins = logins(express.address).await?;
    let (mut of_ours, mut of_express) = (Vec::new(), Vec::new());
    for number in 1..=settings.rounds {
        let ours: [&Process; 2] = [&gateway.process, &server.process];
        let slots = slots(gateway.address, &sessions).await?;
        of_ours.push(load::round(slots, &ours, settings.timing).await?);
        let slots = self::slots(express.address, &logins).await?;
        of_express.push(load::round(slots, &[&express.process], settings.timing).await?);
        measure::progress("panel", number, settings.rounds, &of_ours, &of_express);
    }
    let compared = Compared::new(
        measure::Server::new(of_ours, ours_rest, Vec::new()),
        measure::Server::new(of_express, vec![express_rest], Vec::new()),
    );
    for process in [
        gateway.process,
        server.process,
        express.process,
        cloud.process,
    ] {
        process.end().await?;
    }
    Ok(compared)
}

/// `gateway.toml`.
fn config(server: SocketAddr) -> String {
    format!(
        r#"
        [http]
        listen = "127.0.0.1:0"
        path = "{PATH}"
        [admin]
        listen = "127.0.0.1:0"
        [service]
        endpoint = "https://{server}"
        ca_file = "ca.crt"
        certificate_file = "caller.crt"
        private_key_file = "caller.key"
        [session]
        mode = "jwt"
        [session.jwt]
        issuer = "{ISSUER}"
        audience = "{AUDIENCE}"
        jwks_file = "jwks.json"
        cookie = "session"
        "#
    )
}

/// The panel's identity provider.
struct Issuer(RsaKeyPair);

impl Issuer {
    /// Writes `jwks.json`.
    fn new(folder: &Path) -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let jwks = json!({"keys": [{
            "kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256",
            "n": BASE64URL.encode(modulus(key.public_key().as_ref())?), "e": "AQAB",
        }]});
        fs::write(folder.join("jwks.json"), jwks.to_string())?;
        Ok(Self(key))
    }

    /// The cookie of a user who is logged in.
    fn session(&self, user: usize) -> Result<HeaderValue> {
        let now = OffsetDateTime::now_utc();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{user}"), "role": "admin",
            "iat": now.unix_timestamp(), "exp": (now + Duration::HOUR).unix_timestamp(),
        });
        let header = BASE64URL.encode(r#"{"alg":"RS256","typ":"JWT","kid":"1"}"#);
        let signed = format!("{header}.{}", BASE64URL.encode(claims.to_string()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )?;
        let cookie = format!("session={signed}.{}", BASE64URL.encode(signature));
        Ok(cookie.try_into()?)
    }
}

/// Of an `RSAPublicKey` (RFC 8017, A.1.1) with 2048 bits and the exponent 65537.
fn modulus(der: &[u8]) -> Result<&[u8]> {
    const BEFORE: &[u8] = &[0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
    const AFTER: &[u8] = &[0x02, 0x03, 0x01, 0x00, 0x01];
    let modulus = der.strip_prefix(BEFORE);
    let modulus = modulus.and_then(|rest| rest.strip_suffix(AFTER));
    modulus.ok_or_else(|| "the RSA key is of another form".into())
}

/// The cookies of 64 users who are logged in at Express.
async fn logins(express: SocketAddr) -> Result<Vec<HeaderValue>> {
    let mut cookies = Vec::new();
    let mut sender = connect(express).await?;
    for user in 0..CONNECTIONS {
        let request = Request::post(format!("/login/user-{user}"))
            .header(header::HOST, express.to_string())
            .body(Empty::new())?;
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        body.collect().await?;
        let cookie = head.headers.get(header::SET_COOKIE);
        let cookie = cookie.ok_or("no cookie from Express")?.to_str()?;
        let pair = cookie.split(';').next().unwrap_or(cookie);
        cookies.push(pair.parse()?);
    }
    Ok(cookies)
}

async fn slots(address: SocketAddr, cookies: &[HeaderValue]) -> Result<Vec<Fetches>> {
    let host: HeaderValue = address.to_string().try_into()?;
    let mut slots = Vec::new();
    for cookie in cookies {
        slots.push(Fetches {
            sender: connect(address).await?,
            host: host.clone(),
            cookie: cookie.clone(),
        });
    }
    Ok(slots)
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong with it shows in the requests.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// What the widget does, again and again.
struct Fetches {
    sender: SendRequest<Empty<Bytes>>,
    host: HeaderValue,
    cookie: HeaderValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted<'a> {
    token: &'a str,
    expires_at: &'a str,
}

impl Slot for Fetches {
    async fn exchange(&mut self) -> Result<()> {
        let request = Request::post(PATH)
            .header(header::HOST, &self.host)
            .header(header::COOKIE, &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header(header::ACCEPT, "*/*")
            .body(Empty::new())?;
        self.sender.ready().await?;
        check(self.sender.send_request(request).await?).await
    }
}

async fn check(response: Response<Incoming>) -> Result<()> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let granted: Option<Granted<'_>> = serde_json::from_slice(&body).ok();
    let whole =
        granted.is_some_and(|granted| granted.token.len() > 200 && !granted.expires_at.is_empty());
    if head.status == StatusCode::OK && whole {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&body);
    Err(format!("no token: {head:?} {body}").into())
}
