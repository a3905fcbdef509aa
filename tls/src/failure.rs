//! Why a TLS handshake failed, in a handful of words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::peer::PeerCertificateError;

/// Why a handshake failed: few values, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HandshakeFailure {
    /// The peer showed no certificate, or wants one of us that we do not have.
    NoCertificate,
    /// No authority of ours issued the peer's certificate: it is self-signed, from another CA, or from a
    /// CA of the same name with another key (which gives a bad signature).
    UnknownCa,
    /// The peer's certificate, or one of its chain, expired.
    Expired,
    /// The peer's certificate, or one of its chain, is not valid yet. Or a clock is wrong.
    NotYetValid,
    /// Something else is wrong with the peer's certificate: issued for another use or name, broken.
    BadCertificate,
    /// The peer refused our certificate.
    RefusedByPeer,
    /// The peer does not speak TLS.
    Plaintext,
    /// No version of TLS in common.
    ProtocolVersion,
    /// Nothing came in time.
    Timeout,
    /// The peer closed the connection before the end.
    Closed,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// All of them, so that each metric exists before its first count.
    pub const ALL: [Self; 11] = [
        Self::NoCertificate,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::BadCertificate,
        Self::RefusedByPeer,
        Self::Plaintext,
        Self::ProtocolVersion,
        Self::Timeout,
        Self::Closed,
        Self::Other,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownCa => "unknown_ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BadCertificate => "bad_certificate",
            Self::RefusedByPeer => "refused_by_peer",
            Self::Plaintext => "plaintext",
            Self::ProtocolVersion => "protocol_version",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

/// Tells why a handshake failed, from the error that tokio-rustls, a time-out, or a look at the
/// [`PeerCertificate`](crate::PeerCertificate) gave.
#[must_use]
pub fn handshake_failure(error: &io::Error) -> HandshakeFailure {
    if let Some(error) = cause::<Error>(error) {
        return tls_failure(error);
    }
    if let Some(error) = cause::<PeerCertificateError>(error) {
        return match error {
            PeerCertificateError::None => HandshakeFailure::NoCertificate,
            _ => HandshakeFailure::BadCertificate,
        };
    }
    match error.kind() {
        io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => HandshakeFailure::Closed,
        _ => HandshakeFailure::Other,
    }
}

/// What `error` was made of.
fn cause<E: std::error::Error + 'static>(error: &io::Error) -> Option<&E> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn tls_failure(error: &Error) -> HandshakeFailure {
    match error {
        Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
        Error::InvalidCertificate(error) => certificate_failure(error),
        Error::AlertReceived(alert) => alert_failure(*alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeFailure::Plaintext,
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => HandshakeFailure::ProtocolVersion,
        _ => HandshakeFailure::Other,
    }
}

fn certificate_failure(error: &CertificateError) -> HandshakeFailure {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            HandshakeFailure::UnknownCa
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeFailure::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            HandshakeFailure::NotYetValid
        }
        _ => HandshakeFailure::BadCertificate,
    }
}

/// What the peer says of us.
fn alert_failure(alert: AlertDescription) -> HandshakeFailure {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            HandshakeFailure::NoCertificate
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        // A CA of the name that is trusted, but with another key: made anew.
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => HandshakeFailure::RefusedByPeer,
        AlertDescription::ProtocolVersion => HandshakeFailure::ProtocolVersion,
        _ => HandshakeFailure::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use rustls::OtherError;
    use tokio::time::timeout;

    use super::*;

    fn of(error: Error) -> HandshakeFailure {
        handshake_failure(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn every_failure_has_its_own_label() {
        let labels: BTreeSet<_> = HandshakeFailure::ALL.map(HandshakeFailure::as_str).into();
        assert_eq!(labels.len(), HandshakeFailure::ALL.len());
    }

    #[test]
    fn errors_of_the_connection_are_told_apart() {
        for (kind, expected) in [
            (io::ErrorKind::UnexpectedEof, HandshakeFailure::Closed),
            (io::ErrorKind::ConnectionReset, HandshakeFailure::Closed),
            (io::ErrorKind::TimedOut, HandshakeFailure::Timeout),
            (io::ErrorKind::OutOfMemory, HandshakeFailure::Other),
        ] {
            assert_eq!(handshake_failure(&io::Error::from(kind)), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokios_own_time_out_is_one() {
        let elapsed = timeout(Duration::from_secs(5), std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(
            handshake_failure(&io::Error::from(elapsed)),
            HandshakeFailure::Timeout
        );
    }

    #[test]
    fn what_the_peer_says_of_us_is_not_said_of_the_peer() {
        assert_eq!(
            of(Error::AlertReceived(AlertDescription::CertificateExpired)),
            HandshakeFailure::RefusedByPeer
        );
        assert_eq!(
            of(Error::AlertReceived(AlertDescription::CertificateRequired)),
            HandshakeFailure::NoCertificate
        );
        assert_eq!(
            of(Error::AlertReceived(AlertDescription::ProtocolVersion)),
            HandshakeFailure::ProtocolVersion
        );
    }

    #[test]
    fn a_certificate_whose_names_cannot_be_read_is_a_bad_one() {
        for (error, expected) in [
            (PeerCertificateError::None, HandshakeFailure::NoCertificate),
            (
                PeerCertificateError::UndecodableNames,
                HandshakeFailure::BadCertificate,
            ),
        ] {
            assert_eq!(handshake_failure(&io::Error::other(error)), expected);
        }
    }

    #[test]
    fn what_is_unknown_is_other() {
        assert_eq!(of(Error::DecryptError), HandshakeFailure::Other);
        let inner = OtherError(std::sync::Arc::new(io::Error::other("x")));
        assert_eq!(of(Error::Other(inner)), HandshakeFailure::Other);
    }
}
