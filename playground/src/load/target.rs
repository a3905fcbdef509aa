//! One call, and what became of it.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ask2do_token_client::{PanelUser, TokenClient};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use url::Url;

use super::{Failure, Lane};

/// Clients of a lane of callers, each with connections of its own.
const CALLERS: usize = 4;

/// The role of every user.
pub(super) const ROLE: &str = "admin";

/// Longer than the gateway's own limits together: what is later is lost.
const BROWSER_PATIENCE: Duration = Duration::from_secs(10);

/// A gateway's answer is some 500 bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// What became of a call: `OK` or the reason, and what there is to say of a failure.
pub(super) struct Outcome {
    pub(super) reason: String,
    pub(super) detail: Option<String>,
}

/// Where a lane's calls go.
#[derive(Clone)]
pub(super) enum Target {
    Service(Vec<TokenClient>),
    Gateway(Box<Client<HttpConnector, Empty<Bytes>>>, Url),
}

impl Target {
    pub(super) fn of(lane: &Lane) -> Result<Self, Failure> {
        let Some(folder) = &lane.folder else {
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(HttpConnector::new());
            return Ok(Self::Gateway(Box::new(client), lane.url.clone()));
        };
        let clients = (0..CALLERS).map(|_| caller(&lane.url, folder));
        Ok(Self::Service(clients.collect::<Result<_, _>>()?))
    }

    pub(super) async fn call(&self, number: u32, id: String) -> Outcome {
        match self {
            Self::Service(clients) => {
                let turn = usize::try_from(number).unwrap_or_default() % clients.len();
                let minted = clients[turn].mint_token(&PanelUser::new(id, ROLE)).await;
                match minted {
                    Ok(_) => Outcome::ok(),
                    Err(error) => Outcome::failed(error.reason().as_str(), &error),
                }
            }
            Self::Gateway(client, url) => {
                match tokio::time::timeout(BROWSER_PATIENCE, browse(client, url, &id)).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => Outcome::failed("CONNECTION_LOST", &*error),
                    Err(elapsed) => Outcome::failed("NO_ANSWER", &elapsed),
                }
            }
        }
    }
}

fn caller(url: &Url, folder: &Path) -> Result<TokenClient, Failure> {
    // Without the slash of an empty path, which is no part of an endpoint.
    let endpoint = url.as_str().trim_end_matches('/');
    let client = TokenClient::builder(endpoint)
        .ca_file(folder.join("ca.crt"))
        .identity_files(folder.join("tls.crt"), folder.join("tls.key"))
        .retries(false);
    Ok(client.build()?)
}

/// What a widget sends: the session of the user of this id, as [`super::pages`] knows it.
async fn browse(
    client: &Client<HttpConnector, Empty<Bytes>>,
    url: &Url,
    id: &str,
) -> Result<Outcome, Failure> {
    let request = Request::post(url.as_str())
        .header(header::COOKIE, format!("session={id}"))
        .header("sec-fetch-site", "same-origin")
        .body(Empty::new())?;
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_LIMIT).collect().await?.to_bytes();
    let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
    Ok(match (head.status, answer) {
        (StatusCode::OK, Answer { token: Some(_), .. }) => Outcome::ok(),
        (
            _,
            Answer {
                code: Some(code), ..
            },
        ) => Outcome {
            reason: code,
            detail: None,
        },
        (status, _) => Outcome {
            reason: "ANSWER_UNKNOWN".to_owned(),
            detail: Some(status.to_string()),
        },
    })
}

#[derive(Default, Deserialize)]
struct Answer {
    token: Option<serde::de::IgnoredAny>,
    code: Option<String>,
}

impl Outcome {
    fn ok() -> Self {
        Self {
            reason: "OK".to_owned(),
            detail: None,
        }
    }

    fn failed(reason: &str, error: &(dyn Error + 'static)) -> Self {
        let mut detail = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            detail = format!("{detail}: {cause}");
            source = cause.source();
        }
        Self {
            reason: reason.to_owned(),
            detail: Some(detail),
        }
    }
}
