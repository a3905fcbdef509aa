//! Certificates for one test.

use std::fs;
use std::path::PathBuf;

use ask2do_token_client::certs::{Authority, Issued, Leaf, Validity};
use ask2do_token_client::{TokenClient, TokenClientBuilder};
use tempfile::TempDir;

/// A CA, and the files of one caller.
pub(crate) struct Pki {
    pub(crate) authority: Authority,
    pub(crate) directory: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self {
            authority: Authority::new("test CA", Validity::days(1)).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(pki.file("ca.crt"), pki.authority.certificate_pem()).unwrap();
        pki.install(&pki.caller());
        pki
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A server's certificate for the names that tests use.
    pub(crate) fn server(&self) -> Issued {
        let names = ["localhost", "127.0.0.1", "token.test"].map(|name| name.parse().unwrap());
        self.authority
            .issue(&Leaf::server("server", names))
            .unwrap()
    }

    pub(crate) fn caller(&self) -> Issued {
        let san = "spiffe://demo/ns/panel/sa/backend".parse().unwrap();
        self.authority.issue(&Leaf::caller("caller", san)).unwrap()
    }

    /// Makes `issued` the caller's certificate on disk.
    pub(crate) fn install(&self, issued: &Issued) {
        fs::write(self.file("caller.crt"), issued.certificate_pem()).unwrap();
        fs::write(self.file("caller.key"), issued.private_key_pem()).unwrap();
    }

    /// A client of `endpoint` with this CA and this caller.
    pub(crate) fn client(&self, endpoint: impl Into<String>) -> TokenClientBuilder {
        TokenClient::builder(endpoint)
            .ca_file(self.file("ca.crt"))
            .identity_files(self.file("caller.crt"), self.file("caller.key"))
    }
}
