//! The service, as this backend calls it.

use ask2do_token_client::{BuildError, MintError, MintedToken, PanelUser, TokenClient};

// core: begin
/// Keep the client: its clones share the connections, one to each address of the name.
pub(crate) fn dial(
    endpoint: &str,
    ca: &str,
    identity: Option<(&str, &str)>,
) -> Result<TokenClient, BuildError> {
    let builder = TokenClient::builder(format!("https://{endpoint}")).ca_file(ca);
    match identity {
        Some((cert, key)) => builder.identity_files(cert, key).build(),
        None => builder.build(),
    }
}

/// Takes 6 s at most. Retries, keepalive and renewed certificates are the client's business.
pub(crate) async fn mint(client: &TokenClient, user: PanelUser) -> Result<MintedToken, MintError> {
    client.mint_token(&user).await
}
// core: end
