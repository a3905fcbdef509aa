//! Stands in until the tls crate says why a handshake failed.

use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeFailure {
    Timeout,
    Other,
}

impl HandshakeFailure {
    pub(super) const ALL: [Self; 2] = [Self::Timeout, Self::Other];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

pub(super) fn handshake_failure(error: &io::Error) -> HandshakeFailure {
    match error.kind() {
        io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
        _ => HandshakeFailure::Other,
    }
}
