//! A stub of Ask2Do's cloud: plain HTTP, always 200, a token for whoever is asked for. It costs as
//! little as it can, because it shares its core with the load driver.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use time::macros::format_description;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;

use crate::Result;

/// A signature that nobody checks: the vendor publishes no key.
const SIGNATURE: [u8; 64] = [0x5a; 64];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    panel_user: PanelUser,
}

#[derive(Deserialize)]
struct PanelUser {
    id: String,
    role: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    sub: &'a str,
    role: &'a str,
    iat: i64,
    exp: i64,
    // What makes the token as long as the vendor's.
    tenant_id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    token: String,
    expires_at: String,
}

/// Serves for ever; the first line of its output is its address.
#[expect(clippy::print_stdout, reason = "how the parent learns the address")]
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            // How a connection ends is its client's business.
            tokio::spawn(async { drop(connection.await) });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.into_body().collect().await {
        Ok(body) => grant(&body.to_bytes()),
        Err(error) => Err(error.into()),
    };
    let mut response = match body {
        Ok(body) => Response::new(Full::new(body.into())),
        Err(error) => {
            let mut response = Response::new(Full::new(error.to_string().into()));
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
            response
        }
    };
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn grant(body: &[u8]) -> Result<Vec<u8>> {
    const FORM: &[time::format_description::BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let user = serde_json::from_slice::<Asked>(body)?.panel_user;
    let now = OffsetDateTime::now_utc();
    let expires_at = now + Duration::minutes(15);
    let claims = Claims {
        sub: &user.id,
        role: &user.role,
        iat: now.unix_timestamp(),
        exp: expires_at.unix_timestamp(),
        tenant_id: "3f6c1f0e-7a52-4b0e-9a57-0f4be2f3a9c1",
    };
    let token = [
        BASE64URL.encode(br#"{"alg":"EdDSA","typ":"JWT","kid":"1"}"#),
        BASE64URL.encode(serde_json::to_vec(&claims)?),
        BASE64URL.encode(SIGNATURE),
    ]
    .join(".");
    let expires_at = expires_at.format(FORM)?;
    Ok(serde_json::to_vec(&Granted { token, expires_at })?)
}
