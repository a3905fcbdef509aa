//! The client itself.

use std::time::SystemTime;

use ask2do_token_proto::v1::MintTokenRequest;
use ask2do_token_proto::v1::token_service_client::TokenServiceClient;
use ask2do_token_tls::{Identity, Watched};
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::builder::TokenClientBuilder;
use crate::error::MintError;
use crate::minted_token::MintedToken;
use crate::panel_user::PanelUser;
use crate::transport::Transport;

/// Mints tokens at the token service.
///
/// Cheap to clone; all clones share their connections. Its background tasks end with the last clone.
#[derive(Clone, Debug)]
pub struct TokenClient {
    transport: Transport,
    identity: Option<Watched<Identity>>,
}

/// What the service says about itself by `grpc.health.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes calls.
    Serving,
    /// It does not, or does not say.
    NotServing,
}

impl TokenClient {
    /// A client of the service at `endpoint`, `https://HOST:PORT`. Where the host is a name with
    /// several addresses, such as that of a headless Service in Kubernetes, all of them are used.
    pub fn builder(endpoint: impl Into<String>) -> TokenClientBuilder {
        TokenClientBuilder::new(endpoint.into())
    }

    pub(crate) fn new(transport: Transport, identity: Option<Watched<Identity>>) -> Self {
        Self {
            transport,
            identity,
        }
    }

    /// Mints a token for one panel user. Each call mints anew.
    ///
    /// Dropping the future cancels the call, at the service too.
    ///
    /// # Errors
    ///
    /// The service's reason, or why it could not be reached before the deadline.
    pub async fn mint_token(&self, user: &PanelUser) -> Result<MintedToken, MintError> {
        let request = MintTokenRequest {
            panel_user: Some(user.to_message()),
        };
        let reply = self.grpc().mint_token(request).await?.into_inner();
        let minted = MintedToken::from_reply(reply);
        minted.map_err(|unusable| Status::internal(unusable.to_string()).into())
    }

    /// Asks the service whether it takes calls. Any certificate of its CA may ask.
    ///
    /// # Errors
    ///
    /// As [`mint_token`](Self::mint_token).
    pub async fn health(&self) -> Result<Health, MintError> {
        let request = HealthCheckRequest::default();
        let reply = HealthClient::new(self.transport.clone())
            .check(request)
            .await?;
        Ok(match reply.into_inner().status() {
            ServingStatus::Serving => Health::Serving,
            _ => Health::NotServing,
        })
    }

    /// When the certificate in use ends; `None` without one. For an expiry metric.
    #[must_use]
    pub fn certificate_not_after(&self) -> Option<SystemTime> {
        let identity = self.identity.as_ref()?.current();
        Some(identity.not_after())
    }

    /// The escape hatch: the generated stub over this client's transport, for what this crate does not
    /// wrap (metadata of your own, a deadline per call by `tonic::Request::set_timeout`). Its types are
    /// tonic's, and change with tonic's version. [`MintError`] is made from its `Status` by `From`.
    #[must_use]
    pub fn grpc(&self) -> TokenServiceClient<Transport> {
        TokenServiceClient::new(self.transport.clone())
    }
}
