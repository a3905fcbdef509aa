//! What the server is compared with: the same contract over tonic's own transport and reqwest, with
//! the same mTLS, and nothing else: no authorization, no validation, no limits, no telemetry.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ask2do_token_proto::v1::token_service_server::{TokenService, TokenServiceServer};
use ask2do_token_proto::v1::{MintTokenRequest, MintTokenResponse};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::Result;

/// Where it gets tokens and certificates.
#[derive(Debug, clap::Args)]
pub(crate) struct Bare {
    /// The cloud's URL, with its path.
    cloud: String,
    /// `tls.crt`, `tls.key` and `ca.crt` are here.
    folder: PathBuf,
}

struct Mints {
    cloud: String,
    tenant_key: String,
    client: reqwest::Client,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ask<'a> {
    tenant_key: &'a str,
    panel_user: PanelUser<'a>,
}

#[derive(Serialize)]
struct PanelUser<'a> {
    id: &'a str,
    role: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    token: String,
    expires_at: String,
}

/// Serves for ever; the first line of its output is its address.
#[expect(clippy::print_stdout, reason = "how the parent learns the address")]
pub(crate) fn serve(settings: &Bare) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // reqwest looks for it even where no call is over TLS.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
        println!("listening {}", incoming.local_addr()?);
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()?;
        let mints = Mints {
            cloud: settings.cloud.clone(),
            tenant_key: std::fs::read_to_string(settings.folder.join("tenant-key"))?,
            client,
        };
        Server::builder()
            .tls_config(tls(&settings.folder)?)?
            .serve_with_incoming(TokenServiceServer::new(mints), incoming)
            .await?;
        Ok(())
    })
}

fn tls(folder: &Path) -> Result<ServerTlsConfig> {
    let read = |name: &str| std::fs::read(folder.join(name));
    Ok(ServerTlsConfig::new()
        .identity(Identity::from_pem(read("tls.crt")?, read("tls.key")?))
        .client_ca_root(Certificate::from_pem(read("ca.crt")?)))
}

impl Mints {
    async fn ask(&self, request: MintTokenRequest) -> Result<MintTokenResponse> {
        let user = request.panel_user.unwrap_or_default();
        let ask = Ask {
            tenant_key: &self.tenant_key,
            panel_user: PanelUser {
                id: &user.id,
                role: &user.role,
            },
        };
        let json = HeaderValue::from_static("application/json");
        let response = self
            .client
            .post(&self.cloud)
            .header(CONTENT_TYPE, json)
            .body(serde_json::to_vec(&ask)?)
            .send()
            .await?
            .error_for_status()?;
        let granted: Granted = serde_json::from_slice(&response.bytes().await?)?;
        let expires_at = OffsetDateTime::parse(&granted.expires_at, &Rfc3339)?;
        Ok(MintTokenResponse {
            token: granted.token,
            expires_at: Some(SystemTime::from(expires_at).into()),
        })
    }
}

#[tonic::async_trait]
impl TokenService for Mints {
    async fn mint_token(
        &self,
        request: Request<MintTokenRequest>,
    ) -> std::result::Result<Response<MintTokenResponse>, Status> {
        let minted = self.ask(request.into_inner()).await;
        minted
            .map(Response::new)
            .map_err(|error| Status::unavailable(error.to_string()))
    }
}
