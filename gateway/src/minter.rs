//! The port to the token service.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;

use crate::Reason;

/// Mints tokens for panel users. [`TokenClient`](ask2do_token_client::TokenClient) is the one that counts; tests bring others.
pub trait Minter: Send + Sync + 'static {
    /// A token for the user `id`, who acts as `role`.
    ///
    /// # Errors
    ///
    /// The reason, as the token service or the way to it gave it.
    fn mint(
        &self,
        id: &str,
        role: &str,
    ) -> impl Future<Output = Result<MintedToken, MintFailure>> + Send;
}

/// A token and its end. A credential: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct MintedToken {
    /// The JWT that the widget opens its WebSocket with.
    pub token: String,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken")
            .field("token", &"[redacted]")
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Why no token was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintFailure {
    /// The reason, which decides what the browser sees.
    pub reason: Reason,
    /// When to come back, where somebody said so.
    pub retry_after: Option<Duration>,
}

impl From<Reason> for MintFailure {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_token() {
        let minted = MintedToken {
            token: "canary".into(),
            expires_at: OffsetDateTime::UNIX_EPOCH,
        };
        assert!(!format!("{minted:?}").contains("canary"));
    }
}
