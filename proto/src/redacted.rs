//! Debug output that keeps tokens and personal data out of logs.

use std::fmt;

use crate::v1::{MintTokenResponse, PanelUser};

impl fmt::Debug for MintTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintTokenResponse")
            .field("token", &"[redacted]")
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

impl fmt::Debug for PanelUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanelUser")
            .field("id", &"[redacted]")
            .field("role", &"[redacted]")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::MintTokenRequest;

    #[test]
    fn debug_of_a_reply_does_not_show_the_token() {
        let reply = MintTokenResponse {
            token: "eyJ-canary".into(),
            expires_at: None,
        };
        assert_eq!(
            format!("{reply:?}"),
            r#"MintTokenResponse { token: "[redacted]", expires_at: None }"#
        );
    }

    #[test]
    fn debug_of_a_request_does_not_show_the_panel_user() {
        let request = MintTokenRequest {
            panel_user: Some(PanelUser {
                id: "canary-id".into(),
                role: "canary-role".into(),
            }),
        };
        assert!(!format!("{request:?}").contains("canary"));
    }
}
