//! The cryptography that every configuration here uses, and what can go wrong in making one.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::authorities::AuthoritiesError;

/// The cryptography of every TLS configuration here: aws-lc-rs, with the hybrid X25519MLKEM768 as
/// the preferred key exchange.
///
/// One shared value: cloning the `Arc` is all that a call costs.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    // rustls puts X25519MLKEM768 first only under its feature `prefer-post-quantum`, which the
    // workspace names; a test reads the negotiated group.
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// Makes [`crypto_provider`] the process's default, for libraries that take no provider of their own.
///
/// Nothing in this crate rests on it. Where a default is installed already, that one stays.
pub fn install_default() {
    // The error only says that somebody was first.
    if CryptoProvider::clone(&crypto_provider())
        .install_default()
        .is_err()
    {
        tracing::debug!("the process has a default cryptography provider already");
    }
}

/// Which versions of TLS an end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.3 alone: both ends are ours, or the peer is a gRPC caller.
    Tls13,
    /// 1.2 too: proxies, panels and the vendor may be older.
    Tls12AndTls13,
}

impl Versions {
    pub(crate) fn as_rustls(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        static BOTH: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls13 => &TLS13,
            Self::Tls12AndTls13 => &BOTH,
        }
    }
}

/// Why a TLS configuration cannot be made, or a certificate no longer holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// rustls refuses the settings.
    #[error("the TLS configuration cannot be made: {0}")]
    Configuration(#[source] rustls::Error),
    /// The CA certificates given are none.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The chain does not verify against the CA of this moment, at this moment.
    #[error("the certificate does not verify: {0}")]
    Verification(#[source] rustls::Error),
    /// [`ServerTls::verify_again`](crate::ServerTls::verify_again) where client certificates are not
    /// asked for.
    #[error("no client certificate can verify here, because none is asked for")]
    NoClientAuthorities,
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn post_quantum_key_exchange_is_preferred_and_classic_ones_remain() {
        let groups: Vec<_> = crypto_provider()
            .kx_groups
            .iter()
            .map(|group| group.name())
            .collect();
        assert_eq!(
            groups,
            [
                NamedGroup::X25519MLKEM768,
                NamedGroup::X25519,
                NamedGroup::secp256r1,
                NamedGroup::secp384r1
            ]
        );
    }

    #[test]
    fn installing_the_default_twice_is_no_error() {
        install_default();
        install_default();
        assert!(CryptoProvider::get_default().is_some());
    }
}
