//! Whom a token is for.

use std::fmt;

use ask2do_token_proto::v1;

/// A logged-in user of the company's admin panel.
///
/// Take both from your own session, never from what a browser sends. Nothing is checked here: the
/// service is the one that says what it accepts ([`MintError::PanelUserInvalid`] names each field).
/// Both are personal data, so `Debug` shows neither.
///
/// [`MintError::PanelUserInvalid`]: crate::MintError::PanelUserInvalid
#[derive(Clone, PartialEq, Eq)]
pub struct PanelUser {
    id: String,
    role: String,
}

impl PanelUser {
    /// The user with this id of the panel's own, the same at every call (at most 256 bytes), and this
    /// real role in the panel (at most 64 bytes).
    pub fn new(id: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            role: role.into(),
        }
    }

    /// The panel's id of the user.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user's role in the panel.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    pub(crate) fn to_message(&self) -> v1::PanelUser {
        v1::PanelUser {
            id: self.id.clone(),
            role: self.role.clone(),
        }
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

    #[test]
    fn debug_shows_neither_id_nor_role() {
        let user = PanelUser::new("canary-id", "canary-role");
        assert!(!format!("{user:?}").contains("canary"));
    }
}
