//! The way to the trace collector: OTLP over HTTP or gRPC, with or without TLS.
//!
//! The exporter reads the endpoint, the headers and the compression from the environment itself; TLS
//! it does not.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use ask2do_token_tls as tls;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::TelemetryError;
use super::settings::{Export, Protocol};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Makes the exporter; it connects when there is something to export.
pub(super) fn exporter(export: &Export) -> Result<SpanExporter, TelemetryError> {
    let files = Files::read(export)?;
    match export.protocol {
        Protocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_timeout(export.timeout)
            .with_http_client(Http::new(files.client_config()?, export.timeout))
            .build(),
        Protocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_timeout(export.timeout)
            .with_tls_config(files.tonic_config())
            .build(),
    }
    .map_err(TelemetryError::Exporter)
}

/// The content of the files that the environment names, each found to be good.
struct Files {
    authorities: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    fn read(export: &Export) -> Result<Self, TelemetryError> {
        let authorities = match &export.certificate {
            None => None,
            Some(path) => {
                let pem = read(path)?;
                tls::Authorities::from_pem(&pem).map_err(|error| bad(path, error))?;
                Some(pem)
            }
        };
        let client = match &export.client {
            None => None,
            Some(client) => {
                let (certificate, key) = (read(&client.certificate)?, read(&client.key)?);
                tls::Identity::from_pem(&certificate, &key)
                    .map_err(|error| bad(&client.certificate, error))?;
                Some((certificate, key))
            }
        };
        Ok(Self {
            authorities,
            client,
        })
    }

    /// The authorities of the file alone, as the specification says; without one the public ones.
    fn client_config(&self) -> Result<ClientConfig, TelemetryError> {
        let roots = match &self.authorities {
            Some(pem) => tls::Authorities::from_pem(pem)
                .map_err(|error| TelemetryError::Tls(error.into()))?
                .roots(),
            None => public().into(),
        };
        let builder = ClientConfig::builder_with_provider(tls::crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TelemetryError::Tls(error.into()))?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| TelemetryError::Tls(error.into()))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TelemetryError::Tls(error.into()))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| TelemetryError::Tls(error.into()))
    }

    /// The same for tonic's own client, which uses it for `https` endpoints alone.
    fn tonic_config(&self) -> ClientTlsConfig {
        let config = match &self.authorities {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().trust_anchors(public().roots),
        };
        match &self.client {
            Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
            None => config,
        }
    }
}

fn public() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn read(path: &Path) -> Result<Vec<u8>, TelemetryError> {
    std::fs::read(path).map_err(|error| bad(path, error))
}

fn bad(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TelemetryError {
    TelemetryError::File {
        path: path.to_owned(),
        cause: cause.into(),
    }
}

/// A client that says why a request failed: the exporter keeps that to itself.
#[derive(Debug)]
struct Http(HyperClient<HttpsConnector<HttpConnector>>);

impl Http {
    fn new(mut config: ClientConfig, timeout: Duration) -> Self {
        config.alpn_protocols.clear(); // the connector sets its own
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT.min(timeout)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self(HyperClient::new(connector, timeout, None))
    }
}

impl HttpClient for Http {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let result = self.0.send_bytes(request).await;
            if let Err(error) = &result {
                let error: &(dyn std::error::Error + 'static) = &**error;
                tracing::warn!(error, "cannot reach the trace collector");
            }
            result
        })
    }
}
