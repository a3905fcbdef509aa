//! What a mint gives.

use std::fmt;

use ask2do_token_proto::v1::MintTokenResponse;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

/// A token for the widget, and when it ends.
///
/// The token is a credential: `Debug` does not show it, its memory is zeroed at the end, and only
/// [`expose_token`](Self::expose_token) hands it out.
#[derive(Clone)]
pub struct MintedToken {
    token: SecretString,
    expires_at: OffsetDateTime,
}

/// The service's reply holds no token, or no time.
#[derive(Debug, thiserror::Error)]
#[error("the service's reply holds no token that can be used")]
pub(crate) struct UnusableReply;

impl MintedToken {
    /// The JWT that the widget opens its WebSocket with. Its form is Ask2Do's; treat it as opaque.
    #[must_use]
    pub fn expose_token(&self) -> &str {
        self.token.expose_secret()
    }

    pub(crate) fn from_reply(reply: MintTokenResponse) -> Result<Self, UnusableReply> {
        let token = SecretString::from(reply.token);
        let ends = reply.expires_at.ok_or(UnusableReply)?;
        let nanos = u32::try_from(ends.nanos).map_err(|_| UnusableReply)?;
        let expires_at = OffsetDateTime::from_unix_timestamp(ends.seconds)
            .and_then(|second| second.replace_nanosecond(nanos))
            .map_err(|_| UnusableReply)?;
        if token.expose_secret().is_empty() {
            return Err(UnusableReply);
        }
        Ok(Self { token, expires_at })
    }

    /// When the token ends, in UTC; some 15 minutes after it was minted.
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken")
            .field("token", &"[redacted]")
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn reply(token: &str, expires_at: Option<(i64, i32)>) -> MintTokenResponse {
        MintTokenResponse {
            token: token.into(),
            expires_at: expires_at
                .map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
        }
    }

    #[test]
    fn a_reply_becomes_a_token_with_its_end_to_the_millisecond() {
        let minted =
            MintedToken::from_reply(reply("eyJ.a.b", Some((1_777_730_100, 250_000_000)))).unwrap();
        assert_eq!(minted.expose_token(), "eyJ.a.b");
        assert_eq!(minted.expires_at(), datetime!(2026-05-02 13:55:00.25 UTC));
    }

    #[test]
    fn a_reply_without_token_or_sensible_time_is_refused() {
        for bad in [
            reply("", Some((1_777_730_100, 0))),
            reply("t", None),
            reply("t", Some((i64::MAX, 0))),
            reply("t", Some((0, -1))),
            reply("t", Some((0, 1_000_000_000))),
        ] {
            assert!(MintedToken::from_reply(bad).is_err());
        }
    }

    #[test]
    fn debug_does_not_show_the_token() {
        let minted = MintedToken::from_reply(reply("canary", Some((0, 0)))).unwrap();
        assert!(!format!("{minted:?}").contains("canary"));
    }
}
