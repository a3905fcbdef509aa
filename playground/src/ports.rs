//! The block of ports that a playground listens on, all on the loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// How many ports follow each other.
pub(crate) const COUNT: u16 = 6;

/// Free blocks are looked for here: below what Linux and macOS hand out for outgoing connections
/// and for port 0, so that nobody takes one between the look and the use.
const SEARCHED: std::ops::Range<u16> = 20_000..30_000;

/// Far more than a machine of any use needs.
const ATTEMPTS: u32 = 1_000;

/// Six ports in a row; the first decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports(u16);

/// Why the ports cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortsError {
    /// One of them cannot be bound.
    #[error(
        "port {port} on 127.0.0.1, for the {purpose}, cannot be used: {cause}; give another --port"
    )]
    Taken {
        /// Which.
        port: u16,
        /// What it was to be for.
        purpose: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// No six free ones were found in a row.
    #[error("found no six free ports in a row between {} and {}; give a --port", SEARCHED.start, SEARCHED.end)]
    NoneFree,
}

impl Ports {
    /// The block that begins at this port.
    ///
    /// # Errors
    ///
    /// When one of its ports is in use.
    pub(crate) fn at(first: u16) -> Result<Self, PortsError> {
        let ports = Self(first);
        for (purpose, port) in ports.named() {
            // Whoever starts listening there later finds out anyway; this is for a clear word early.
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|cause| PortsError::Taken {
                port,
                purpose,
                cause,
            })?;
        }
        Ok(ports)
    }

    /// A block that is free now.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn find() -> Result<Self, PortsError> {
        (0..ATTEMPTS)
            .find_map(|_| Self::at(rand::random_range(SEARCHED.start..SEARCHED.end - COUNT)).ok())
            .ok_or(PortsError::NoneFree)
    }

    /// The simulated cloud's, HTTPS.
    #[must_use]
    pub(crate) fn cloud(self) -> u16 {
        self.0
    }

    /// The server's, gRPC over mTLS.
    #[must_use]
    pub(crate) fn grpc(self) -> u16 {
        self.0 + 1
    }

    /// The server's admin port, HTTP.
    #[must_use]
    pub(crate) fn admin(self) -> u16 {
        self.0 + 2
    }

    /// The gateway's, HTTP.
    #[must_use]
    pub(crate) fn gateway(self) -> u16 {
        self.0 + 3
    }

    /// The gateway's admin port, HTTP.
    #[must_use]
    pub(crate) fn gateway_admin(self) -> u16 {
        self.0 + 4
    }

    /// The demo panel's origin, the one that a browser opens.
    #[must_use]
    pub(crate) fn panel(self) -> u16 {
        self.0 + 5
    }

    /// All of them.
    pub(crate) fn all(self) -> [u16; COUNT as usize] {
        self.named().map(|(_, port)| port)
    }

    fn named(self) -> [(&'static str, u16); COUNT as usize] {
        [
            ("simulated cloud", self.cloud()),
            ("server's gRPC", self.grpc()),
            ("server's admin port", self.admin()),
            ("gateway", self.gateway()),
            ("gateway's admin port", self.gateway_admin()),
            ("demo panel", self.panel()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_found_block_can_be_bound() {
        let ports = Ports::find().unwrap();
        let held: Vec<_> = ports
            .named()
            .into_iter()
            .map(|(_, port)| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap())
            .collect();
        assert_eq!(held.len(), usize::from(COUNT));
    }

    #[test]
    fn a_port_in_use_is_named_with_what_it_is_for() {
        let ports = Ports::find().unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.grpc())).unwrap();
        let message = Ports::at(ports.cloud()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("port {}", ports.grpc())),
            "{message}"
        );
        assert!(message.contains("server's gRPC"), "{message}");
    }
}
