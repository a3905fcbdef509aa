//! The tokens: Ed25519 JWTs in the vendor's form, and their verification.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Every token of the vendor has this header.
const HEADER: &str = r#"{"alg":"EdDSA","kid":"1"}"#;

/// A key pair that signs tokens. Each has its own; nothing outlives the process.
pub(super) struct Signer(Ed25519KeyPair);

/// What a token claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The panel id.
    pub sub: String,
    /// The panel role.
    pub role: String,
    /// When it was made, in Unix seconds.
    pub iat: i64,
    /// When it ends, in Unix seconds. The vendor's always say so; `exp-missing` makes one without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The tenant it is for. Not in the vendor's documentation: with `jti` it stands for whatever
    /// brings the real tokens to their some 340 characters.
    pub tenant: String,
    /// The token's own id.
    pub jti: String,
}

/// Why `/chat` refuses a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Malformed, wrongly signed, or past its end.
    #[error("invalid token")]
    InvalidToken,
    #[error("role not allowed")]
    RoleNotAllowed,
}

impl Signer {
    pub(super) fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ed25519KeyPair::generate().map(Self)
    }

    /// The public key, 32 bytes.
    pub(super) fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<String, serde_json::Error> {
        self.sign_under(HEADER, claims)
    }

    /// Signs under a header of one's own, to make the tokens that a careful reader refuses.
    pub(super) fn sign_under(
        &self,
        header: &str,
        claims: &Claims,
    ) -> Result<String, serde_json::Error> {
        let message = message(header, claims)?;
        let signature = self.0.sign(message.as_bytes());
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this key signed and that has not ended at `now` (Unix seconds).
    pub(super) fn verify(&self, token: &str, now: i64) -> Result<Claims, Refusal> {
        self.claims(token)
            .filter(|claims| claims.exp.is_some_and(|exp| exp > now))
            .ok_or(Refusal::InvalidToken)
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.alg != "EdDSA" {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ED25519, self.public_key())
            .verify(message.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

/// A token without a signature, under a header that says that none is needed.
pub(super) fn unsigned(claims: &Claims) -> Result<String, serde_json::Error> {
    message(r#"{"alg":"none"}"#, claims).map(|message| message + ".")
}

fn message(header: &str, claims: &Claims) -> Result<String, serde_json::Error> {
    let claims = serde_json::to_vec(claims)?;
    Ok(format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    ))
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            sub: "42".to_owned(),
            role: "admin".to_owned(),
            iat: 1_000,
            exp: Some(1_900),
            tenant: "4ff6f6a2-3a50-4f5c-9d35-6f5f4f8e8a10".to_owned(),
            jti: "0b8f9b0e-5d0c-4c57-8f0b-6a8b7f9c2d11".to_owned(),
        }
    }

    #[test]
    fn a_signed_token_verifies_until_it_ends() {
        let signer = Signer::generate().unwrap();
        let token = signer.sign(&claims()).unwrap();
        assert_eq!(signer.verify(&token, 1_899), Ok(claims()));
        assert_eq!(signer.verify(&token, 1_900), Err(Refusal::InvalidToken));
        assert!(
            (300..380).contains(&token.len()),
            "{} characters",
            token.len()
        );
    }

    #[test]
    fn a_token_of_another_key_or_altered_is_refused() {
        let signer = Signer::generate().unwrap();
        let token = Signer::generate().unwrap().sign(&claims()).unwrap();
        assert_eq!(signer.verify(&token, 1_000), Err(Refusal::InvalidToken));

        let mut owner = claims();
        owner.role = "owner".to_owned();
        let token = signer.sign(&claims()).unwrap();
        let signature = token.rsplit_once('.').unwrap().1;
        let altered = format!("{}.{signature}", message(HEADER, &owner).unwrap());
        assert_eq!(signer.verify(&altered, 1_000), Err(Refusal::InvalidToken));
    }

    #[test]
    fn a_token_without_algorithm_or_end_is_refused() {
        let signer = Signer::generate().unwrap();
        let mut endless = claims();
        endless.exp = None;
        for token in [
            unsigned(&claims()).unwrap(),
            signer
                .sign_under(r#"{"alg":"NoNe","kid":"1"}"#, &claims())
                .unwrap(),
            signer.sign(&endless).unwrap(),
            String::new(),
            "..".to_owned(),
            "a.b".to_owned(),
        ] {
            assert_eq!(
                signer.verify(&token, 1_000),
                Err(Refusal::InvalidToken),
                "{token}"
            );
        }
    }
}
