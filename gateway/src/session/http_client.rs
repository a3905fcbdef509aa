//! The HTTP client of the session checks: it asks fixed URLs, and trusts no answer's size, time or
//! direction.

use std::path::PathBuf;
use std::time::Duration;

use ask2do_token_tls::{LoadError, Reloader, Watched, https_client_config};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::redirect;
use tracing::Span;
use url::Url;

/// The largest answer that is read, in bytes.
pub(super) const ANSWER_BYTES: usize = 64 * 1024;

/// Asks over HTTP/1.1: no redirects, no proxy from the environment, no retries, no cookies of its own.
#[derive(Clone, Debug)]
pub struct HttpClient(Watched<reqwest::Client>);

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// The CA file cannot be read, or holds no certificate.
    #[error(transparent)]
    CaFile(#[from] LoadError),
    /// TLS could not be set up.
    #[error("cannot set up TLS for session checks: {0}")]
    Tls(String),
}

/// An answer, its body read as far as it was wanted.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, BodyError>,
}

/// Why an answer's body is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("its body is larger than 64 KiB")]
    TooLarge,
    #[error("its body broke off")]
    Broken,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error("no connection to it")]
    Connect,
    #[error("it did not answer in time")]
    Timeout,
    #[error("it broke off, or answered no HTTP")]
    Broken,
}

impl HttpClient {
    /// Trusts the public roots.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new() -> Result<Self, HttpClientError> {
        let client = build(None).map_err(|error| HttpClientError::Tls(error.to_string()))?;
        Ok(Self(Watched::fixed(client)))
    }

    /// Trusts the public roots, and those in a file. Run the reloader to follow the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no certificate.
    pub fn with_ca_file(
        name: &'static str,
        path: PathBuf,
    ) -> Result<(Self, Reloader), HttpClientError> {
        let (client, reloader) = Watched::load(name, vec![path], |contents| {
            build(contents.first().map(|pem| pem.as_bytes()))
        })?;
        Ok((Self(client), reloader))
    }

    /// GETs `url` with these headers and the current span's `traceparent`, in `limit`.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Answer, AskError> {
        tokio::time::timeout(limit, self.get_unlimited(url, headers))
            .await
            .unwrap_or(Err(AskError::Timeout))
    }

    async fn get_unlimited(&self, url: &Url, mut headers: HeaderMap) -> Result<Answer, AskError> {
        use ask2do_token_runtime::telemetry::{Inject, inject};

        inject(&Span::current(), &mut headers, Inject::Traceparent);
        let asking = self.0.current().get(url.clone()).headers(headers).send();
        let mut response = asking.await.map_err(|error| {
            if error.is_connect() {
                AskError::Connect
            } else {
                AskError::Broken
            }
        })?;
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            // Only a 2xx means anything beyond its status.
            body: if response.status().is_success() {
                read(&mut response).await
            } else {
                Ok(Bytes::new())
            },
        })
    }
}

async fn read(response: &mut reqwest::Response) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| BodyError::Broken)? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn build(
    extra_ca: Option<&[u8]>,
) -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(https_client_config(extra_ca)?)
        .http1_only()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_secs(2))
        // Shorter than any server's keep-alive is likely to be: a reused dead connection is an outage seen
        // by one user.
        .pool_idle_timeout(Duration::from_secs(4))
        .pool_max_idle_per_host(64)
        .tcp_nodelay(true)
        .tcp_user_timeout(Duration::from_secs(2))
        .build()?;
    Ok(client)
}
